"""Does a plan obey the rules? Checked row by row, plainly, apart from the code that makes plans."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.envs.rules.rules import UTC, Rules, ids_of, local, zones_of

#: Columns of a plan that rules look at.
PLAN_COLUMNS = ("user", "product", "channel", "send_at")
#: Rounding of many small costs, in currency.
ROUNDING = 1e-6


class Breach(NamedTuple):
    """A row of a plan that breaks a rule; no id of a person stands in it."""

    row: int | None  #: from 0; None: the plan as a whole
    rule: str  #: name of the rule in `Rules`; ``once`` and ``person`` are everybody's
    why: str


def check_plan(plan: pl.DataFrame, rules: Rules, people: pl.DataFrame) -> tuple[Breach, ...]:
    """Return what in a plan breaks the rules; nothing: the plan is lawful.

    Two rules need no saying: nobody is sent two messages at the same moment (``once``), and nobody
    who is not among the people is sent anything (``person``).

    Args:
        plan: a row a send, in any order, with `PLAN_COLUMNS`. Rows whose ``control`` is true are
            not sent. Of more sends than a
            cap allows the first rows of the plan are the lawful ones.
        rules: to check.
        people: everybody who may be in the plan.

    Raises:
        UserError: a column of the plan is missing, or people lack what the rules need.
    """
    sent = sends_of(plan)
    person = {user: i for i, user in enumerate(ids_of(people))}
    channels = sent["channel"].unique().to_list()
    consent = {channel: rules.consents(people, channel) for channel in channels}
    zones, zone_of = zones_of(people, rules.time_zone)
    held_out, blocked = rules.held_out(ids_of(people)), rules.blocked()
    breaches: list[Breach] = []
    seen: Counter[tuple[object, ...]] = Counter()
    spent: Counter[str | None] = Counter()
    exposed: Counter[str] = Counter()
    for row, user, product, channel, time in sent.iter_rows():
        exposed[product] += 1
        for rule, why in _of_row(rules, person.get(user), user, channel, time, consent, held_out,
                                 blocked, zones, zone_of, seen):  # fmt: skip
            breaches.append(Breach(row, rule, why))
        if rules.budget is not None and channel not in rules.costs:
            raise unknown_name("channel with a cost in rules", channel, list(rules.costs))
        cost = rules.costs.get(channel, 0.0)
        for name, limit in ((None, rules.budget), (channel, rules.channel_budget.get(channel))):
            spent[name] += cost  # type: ignore[assignment]
            if limit is not None and spent[name] > limit + ROUNDING:
                rule = "budget" if name is None else "channel_budget"
                breaches.append(Breach(row, rule, f"{spent[name]:.2f} are spent of {limit:.2f}"))
    for product, least in rules.min_exposure.items():
        if exposed[product] < least:
            why = f"{exposed[product]:,} sends of {product!r}, at least {least:,} are asked for"
            breaches.append(Breach(None, "min_exposure", why))
    return tuple(breaches)


def _of_row(  # type: ignore[no-untyped-def]
    rules, who, user, channel, time: datetime, consent, held_out, blocked, zones, zone_of, seen
):  # fmt: skip
    """Yield the rules that one send breaks and why; ``seen`` counts the sends before it."""
    if who is None:
        yield "person", "not among the people"
        return
    if user in blocked:
        yield "blocklist", "is on the blocklist"
    if held_out[who]:
        yield "holdout", "is held out"
    if not consent[channel][who]:
        yield "consent", f"no consent to {channel}"
    zone = zones[zone_of[who]]
    if zone is None and rules.quiet_hours is not None:
        yield "quiet_hours", "has no time zone"
    clock = local(time, zone or UTC)
    if zone is not None and rules.is_quiet(clock):
        yield "quiet_hours", f"it is {clock:%H:%M} there"
    windows = (
        ("once", (time,), 1),
        ("cap_per_day", clock.date(), rules.cap_per_day),
        ("cap_per_week", clock.isocalendar()[:2], rules.cap_per_week),
        ("cap_per_campaign", None, rules.cap_per_campaign),
    )
    for rule, window, most in windows:
        seen[rule, who, window] += 1
        if most is not None and seen[rule, who, window] > most:
            yield rule, f"send {seen[rule, who, window]} where {most} may be"


def sends_of(plan: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a plan that are sent: ``row`` (from 0) and `PLAN_COLUMNS`.

    Raises:
        UserError: a column is missing, or a time of sending.
    """
    for name in PLAN_COLUMNS:
        if name not in plan.columns:
            raise unknown_name("column that a plan needs", name, plan.columns)
    sent = plan.with_row_index("row")
    if "control" in plan.columns:
        sent = sent.filter(~pl.col("control").fill_null(False))
    if not isinstance(plan.schema["send_at"], pl.Datetime):
        raise UserError(f"plan: send_at is {plan.schema['send_at']}; give dates with times.")
    for name in PLAN_COLUMNS:
        if sent[name].null_count():
            row = sent.filter(pl.col(name).is_null())["row"][0]
            raise UserError(f"plan: row {row + 1} has no {name}; fill it in, or leave the row out.")
    return sent.select(
        "row", pl.col("user").cast(pl.String), pl.col("product").cast(pl.String),
        pl.col("channel").cast(pl.String), "send_at",
    )  # fmt: skip


__all__ = ["PLAN_COLUMNS", "Breach", "check_plan", "sends_of"]
