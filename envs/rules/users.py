"""Rules in an environment: masks of simulated users."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.people.model import UserModel
from copygym.envs.rules.rules import Rules

#: A day without a change of clocks.
_DAY = date(2026, 1, 5)


def with_rules(users: UserModel, rules: Rules, people: pl.DataFrame | None = None) -> UserModel:
    """Return users to whom nothing is sent without consent, in quiet hours or to the holdout.

    Caps are the environment's (`Rules.caps`); budgets and exposure are what a constrained agent
    learns, as they bind all users together.

    Args:
        users: U simulated users.
        rules: to mask by.
        people: ``user_id`` and the columns that the rules name, of all users and in any order;
            None where rules look at nobody's columns.

    Raises:
        UserError: a user is not among the people, quiet hours without a time for each slot, or
            what `Rules.allowed` says.
    """
    ids = pl.DataFrame({"user": users.profiles.user_ids})
    if people is None:
        people = ids
    else:
        people = people.rename({"user_id": "user"} if "user_id" in people.columns else {})
        known = people.with_columns(pl.col("user").cast(pl.String), here=True)
        people = ids.join(known, on="user", how="left", maintain_order="left")
        if missing := people["here"].null_count():
            raise UserError(
                f"rules: {missing:,} of {len(users):,} simulated users are not among the people; "
                "give the file of everybody in the log."
            )
    catalogue = users.catalogue
    allowed_USC = rules.allowed(people, _times(rules, catalogue.slots), catalogue.channels)
    allowed_UC = allowed_USC.any(axis=1)
    sends = np.tile(allowed_UC, catalogue.n_creatives)
    assert users.allowed is not None
    mask = users.allowed & np.concatenate([np.ones((len(users), 1), bool), sends], axis=1)
    # All channels have the same quiet hours, so that people and channels come apart.
    awake = None if rules.quiet_hours is None else np.asarray(allowed_USC.any(axis=2))
    return replace(users, allowed=mask, awake=awake)


def _times(rules: Rules, slots: tuple[str, ...]) -> list[datetime]:
    """Return when each slot is sent."""
    if rules.quiet_hours is None:
        return [datetime.combine(_DAY, time(12), UTC)] * len(slots)
    found = []
    for slot in slots:
        try:
            found.append(datetime.combine(_DAY, time.fromisoformat(rules.slot_times[slot]), UTC))
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"rules: quiet_hours need slot_times of each slot, and {slot!r} has "
                f"{rules.slot_times.get(slot)!r}; write its UTC time, such as '08:00'."
            ) from None
    return found


__all__ = ["with_rules"]
