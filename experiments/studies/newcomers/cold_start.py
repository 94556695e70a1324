"""New users: how well people are predicted after their first n sends, by kind of profile.

Everybody here was fitted by nobody. Of each only the first n sends are revealed; what is predicted
is the same for every n: the sends after the largest n. In storefront, whose truth is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.data import describe, seen
from copygym.experiments.studies.newcomers.known_log import (
    Scored,
    Sends,
    demographics,
    fit_options,
    judged_sends,
    known_log,
    predicted,
    scores,
)

#: Nobody's profile: one response for all.
POPULATION = "population"
UPPER = "truth"


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in ``cold_start`` of a config."""
    reveal = config["cold_start"]["reveal"]
    if not reveal or any(int(n) != n or n < 0 for n in reveal):
        raise UserError(f"cold_start.reveal={reveal}: list how many sends are revealed, 0 or more.")
    if not config["cold_start"]["profiles"]:
        raise UserError("cold_start.profiles is empty: name at least one.")


def baselines(cell: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the scores of a cell are compared with: a name, and its cell."""
    profile, n = cell["profile"], cell["n_sends"]
    if profile == UPPER:
        return []
    found = [
        (other, {"profile": other, "n_sends": None})
        for other in (POPULATION, "demographics")
        if profile != other
    ]
    if profile == "shrunk" and n is not None:
        found.append(("raw means", {"profile": "raw means", "n_sends": n}))
    return found


def measure(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return one world's ``scores``, ``data``, ``rows_seen``, and what it has in ``about``.

    Scores are of a ``profile`` and, where it has a history, the number of sends revealed,
    ``n_sends``: those of `known_log.scores` and ``value``, true clicks per 100 sends if everybody,
    rested, is sent in each slot what is predicted to be clicked most; beside them the `POPULATION`
    and, for the value, the `UPPER`.
    """
    own = config["cold_start"]
    known = known_log(int(config["seed"]), own["data"])
    parts, sends = judged_sends(known, config, own)
    catalogue = known.world.catalogue
    most = max(own["reveal"])
    rest = after(sends, most)
    who = np.unique(rest.user)
    people = demographics(parts["test"])
    gold = gold_clicks(known.world.user_model(users=known.world.rows_of(sends.ids[who])))
    found = [Scored({"profile": UPPER, "n_sends": None}, {"value": value(gold, gold)})]

    def add(name: str, n: int | None, fitted: FittedUsers, shown: ClickLog) -> None:
        profiles = fitted.profile_builder.transform(shown, users=people)
        users = simulate(fitted, profiles)
        values = scores(predicted(users, fitted, rest), rest)
        values["value"] = value(gold_clicks(users)[who], gold)
        found.append(Scored({"profile": name, "n_sends": n}, values))

    nothing = revealed(parts["test"], 0)
    for name, options in {POPULATION: {"history": False}, **own["profiles"]}.items():
        train = parts["train"] if name != POPULATION else without_features(parts["train"])
        fitted = _fit(train, parts["test"], options, catalogue, config, name)
        if options.get("history") is False:
            add(name, None, fitted, nothing)
            continue
        for n in own["reveal"]:
            add(name, int(n), fitted, revealed(parts["test"], int(n)))
    return {
        "scores": found,
        "about": {"people": len(who), "sends": len(rest)},
        "data": {"cold_start": describe(known.log)},
        "rows_seen": {name: seen(part) for name, part in parts.items()},
    }


def _fit(
    train: ClickLog,
    test: ClickLog,
    options: Mapping[str, Any],
    catalogue: Catalogue,
    config: Mapping[str, Any],
    name: str,
) -> FittedUsers:
    """Return users fitted on the same later rows, whatever the profile.

    A history takes the first rows of everybody for the profiles; without one the response could
    have them, too, and the comparison would be one of data.
    """
    settings = fit_options(config, config["cold_start"])
    settings.pop("profiles", None)
    share = float(settings["history_fraction"])
    if options.get("history") is False:
        cut = train.frame.select(pl.col("timestamp").quantile(share, "lower")).collect().item()
        train = train.filter(pl.col("timestamp") >= cut)
    settings["seed"] = derived_seed(int(config["seed"]), "cold start", name)
    return fit_users(
        train, holdout=_in(test, train), catalogue=catalogue, profiles=options, **settings
    )


def _in(test: ClickLog, train: ClickLog) -> ClickLog:
    """Return ``test`` with the columns of ``train``."""
    return test.with_frame(test.frame.select(train.columns))


def without_features(log: ClickLog) -> ClickLog:
    """Return the log without the ``user_*`` features."""
    return log.with_frame(log.frame.drop(log.user_features()))


def revealed(log: ClickLog, n: int) -> ClickLog:
    """Return everybody's first ``n`` sends, in order of time.

    Raises:
        UserError: the log does not say who, or when.
    """
    log.require("user_id", "timestamp")
    sends = log.sends()
    rank = pl.col("timestamp").rank("ordinal").over("user_id")
    return sends.filter(rank <= n)


def after(sends: Sends, n: int) -> Sends:
    """Return the sends that follow everybody's first ``n``.

    Raises:
        UserError: nobody has so many.
    """
    rest = sends.take(sends.order >= n)
    if not len(rest):
        longest = int(sends.order.max()) + 1 if len(sends) else 0
        raise UserError(
            f"cold_start.reveal asks for the first {n} sends, and nobody has more than {longest}; "
            "reveal fewer or raise cold_start.data.n_slots."
        )
    return rest


def gold_clicks(users: UserModel) -> np.ndarray:
    """Return (U, S, A) chances of a click of rested people; hold is 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-users.click_logit.astype(np.float64))))


def value(believed_USA: np.ndarray, gold_USA: np.ndarray) -> float:
    """Return true clicks per 100 sends of what is believed best for each person and slot."""
    best_US = believed_USA[:, :, 1:].argmax(axis=2)[..., None] + 1
    return float(100 * np.take_along_axis(gold_USA, best_US, axis=2).mean())
