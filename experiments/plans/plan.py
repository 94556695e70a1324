"""A campaign plan: a row for everybody, with what is sent, why, and how likely that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.profiles.audiences import with_audiences
from copygym.envs.profiles.builder import Profiles
from copygym.envs.rules.lawful import lawful
from copygym.envs.rules.plan import check_plan
from copygym.envs.rules.rules import Rules
from copygym.experiments.plans.choosing import Choices, choose
from copygym.experiments.plans.floors import best_sends, check_floors
from copygym.experiments.plans.saved import SavedPolicy

#: Columns of a plan, in their order.
COLUMNS = (
    "user", "product", "topic", "audience", "creative", "copy", "channel", "slot", "send_at",
    "propensity", "policy", "click_probability", "low", "high", "reason", "control",
)  # fmt: skip

#: Why nothing is sent to somebody, and why something is that the policy did not choose.
REASONS = {
    "control": "control group: nothing is sent, to measure what sending adds",
    "closed": "the rules close every channel and time",
    "waits": "the policy waits",
    "left out": "a cap or the budget is used up",
    "floor": "a floor asks for sends of ",
}


@dataclass(frozen=True)
class Plan:
    """A plan and what to know of it.

    Attributes:
        table: `COLUMNS`, a row a person in the order of the people's file.
        notes: what was left out, counted.
    """

    table: pl.DataFrame
    notes: tuple[str, ...]


def profiles_of_people(policy: SavedPolicy, people: pl.DataFrame) -> Profiles:
    """Return the profiles of people: as the run knows them, else of somebody new.

    Args:
        policy: whose profile builder is asked.
        people: ``user`` and the ``user_*`` columns of the log.
    """
    frame = people.rename({"user": "user_id"})
    builder = policy.fitted.profile_builder
    fresh = builder.cold_start(frame)
    known = policy.fitted.users.profiles
    if builder.audiences is not None and fresh.audience is None:
        fresh = with_audiences(fresh, builder.audiences)
    place = known.index_of(fresh.user_ids)
    there = place >= 0
    if not there.any():
        return fresh
    features, segments = fresh.features.copy(), fresh.segments.copy()
    features[there], segments[there] = known.features[place[there]], known.segments[place[there]]
    audience = None if fresh.audience is None else fresh.audience.copy()
    if audience is not None and known.audience is not None:
        audience[there] = known.audience[place[there]]
    return Profiles(fresh.user_ids, features, fresh.names, segments, audience, fresh.audience_names)


def make_plan(
    policy: SavedPolicy,
    people: pl.DataFrame,
    start: datetime,
    *,
    rules: Rules | None = None,
    decisions: int | None = None,
    slot_hours: float | None = None,
    first_slot: str | None = None,
    control: float = 0.1,
    explore: float = 0.1,
    seed: int = 0,
    on_people: Callable[[int], None] | None = None,
) -> Plan:
    """Return what to send to everybody, at most once each.

    Args:
        policy: chooses.
        people: ``user``, without repeats, the log's ``user_*`` columns, and what rules need.
        start: UTC time of the first decision.
        rules: every plan obeys them.
        decisions: how many slots to look ahead; None: each slot once, the horizon at most.
        slot_hours: from one slot to the next; None: as the log has it, else a day over all slots.
        first_slot: name of the first decision's slot; None: the first.
        control: share of people to whom nothing is sent, by a hash of their id, so that what the
            campaign adds can be measured.
        explore: share of decisions at random, from which the next round learns.
        seed: of the policy's draws.
        on_people: called with how many people were asked about.

    Raises:
        UserError: a number out of range, an unknown slot, or what `Rules` refuse.
    """
    catalogue = policy.catalogue
    for name, share in (("control", control), ("explore", explore)):
        if not 0.0 <= share < 1.0:
            raise UserError(f"{name} is {share}; it must lie in [0, 1).")
    count = min(catalogue.n_slots, policy.horizon) if decisions is None else decisions
    if not 1 <= count <= policy.horizon:
        raise UserError(
            f"decisions is {count}; the policy {policy.name} looks 1 to {policy.horizon} ahead."
        )
    begin = 0 if first_slot is None else _slot(catalogue.slots, first_slot)
    slots = (begin + np.arange(count)) % catalogue.n_slots
    hours = slot_hours or policy.fitted.settings.get("slot_hours") or 24 / catalogue.n_slots
    times = [start + timedelta(hours=float(hours) * i) for i in range(count)]
    rules = rules or Rules()
    check_floors(policy, rules)
    allowed = rules.allowed(people, times, catalogue.channels)
    aside = Rules(holdout=control, holdout_key=f"control of {policy.version}")
    in_control = aside.held_out(people["user"])
    profiles = profiles_of_people(policy, people)
    chosen = choose(
        policy, profiles, slots, allowed_NTH=allowed, kept_back=in_control, explore=explore,
        seed=seed, on_people=on_people,
    )  # fmt: skip
    # Who is in the control group was drawn before the policy was asked.
    chance = (1.0 - control) * chosen.propensity
    chance[chosen.decision < 0] += control
    chosen = replace(chosen, propensity=chance)
    closed = ~allowed.any(axis=(1, 2)) & ~in_control
    given = (policy, people, profiles)
    table = _table(*given, chosen, slots, times, in_control, closed)
    others = [
        _table(
            *given, best_sends(policy, profiles, name, slots, allowed & ~in_control[:, None, None]),
            slots, times, in_control, closed,
        )
        for name in _short_of(table, rules)
    ]  # fmt: skip
    table, dropped = _lawful(table, others, rules, people)
    if breaches := check_plan(table.filter(pl.col("creative") != HOLD), rules, people):
        if breaches[0].rule == "min_exposure":
            raise UserError(
                f"min_exposure cannot be met under the other rules: {breaches[0].why}; lower it, "
                "raise the budget, look further ahead (decisions), or give more people."
            )
        # A fault of ours; better no plan than an unlawful one.
        raise UserError(
            f"the plan would break the rule {breaches[0].rule} ({breaches[0].why}); nothing was "
            "written: please report this."
        )
    return Plan(table, (*rules.notes(people), *dropped))


def _short_of(table: pl.DataFrame, rules: Rules) -> list[str]:
    """Return the products with a floor, where any of them may miss it.

    A budget or a cap may leave out what the policy wishes, so that wishes alone promise nothing.
    """
    wished = dict(table.group_by("product").len().iter_rows())
    limited = rules.budget is not None or rules.channel_budget
    return [
        name for name, least in rules.min_exposure.items() if limited or wished.get(name, 0) < least
    ]


def _slot(slots: Sequence[str], name: str) -> int:
    if name not in slots:
        raise UserError(f"there is no slot {name!r}; the log has {', '.join(slots)}.")
    return list(slots).index(name)


def _table(
    policy: SavedPolicy,
    people: pl.DataFrame,
    profiles: Profiles,
    chosen: Choices,
    slots: np.ndarray,
    times: Sequence[datetime],
    in_control: np.ndarray,
    closed: np.ndarray,
) -> pl.DataFrame:
    """Return a plan's rows before caps, budgets and floors."""
    catalogue, creatives = policy.catalogue, policy.creatives
    sent = chosen.decision >= 0
    audience = (
        np.zeros(len(profiles), np.int64)
        if len(creatives.audiences) == 1
        else profiles.audience_of(np.arange(len(profiles)))
    )
    place = np.maximum(catalogue.creative_of_action[chosen.action], 0)
    decision = np.maximum(chosen.decision, 0)
    low, high = _interval(policy, chosen.probability)

    def where_sent(
        names: Sequence[str] | np.ndarray, index: np.ndarray, empty: str | None = None
    ) -> pl.Series:
        # Each text is kept once, however many people get it.
        column = pl.Series(np.asarray(names).ravel().tolist(), dtype=pl.String).gather(index)
        return column.zip_with(pl.Series(sent), pl.Series([empty], dtype=pl.String))

    cell = audience * catalogue.n_creatives + place
    channel = np.maximum(catalogue.channel_of_action[chosen.action], 0)
    frame = pl.DataFrame(
        {
            "user": people["user"],
            "product": where_sent(catalogue.product_ids, place),
            "topic": where_sent(catalogue.topics, catalogue.topic_of_creative[place]),
            "audience": pl.Series(creatives.audiences).gather(audience),
            "creative": where_sent(creatives.ids_AK, cell, HOLD),
            "copy": where_sent(creatives.texts_AK, cell),
            "channel": where_sent(catalogue.channels, channel),
            "slot": where_sent(catalogue.slots, slots[decision]),
            "send_at": pl.Series(list(times), dtype=pl.Datetime("us", "UTC"))
            .gather(decision)
            .zip_with(pl.Series(sent), pl.Series([None], dtype=pl.Datetime("us", "UTC"))),
            "propensity": chosen.propensity,
            "policy": pl.repeat(f"{policy.name}@{policy.version}", len(people), eager=True),
            "click_probability": chosen.probability,
            "low": low,
            "high": high,
            "control": in_control,
            "_closed": closed,
            "_new": creatives.new_AK[audience, place],
        }
    ).with_columns(pl.col("click_probability", "low", "high").fill_nan(None))
    return frame.with_columns(reason=short_reason()).select(COLUMNS)


def short_reason() -> pl.Expr:
    """Return why each row of a plan is what it is, in a few words.

    It reads ``_closed`` (the rules close everything), ``_new`` (the copy was never sent), and the
    plan's own columns. This is the one place in which a plan gets its reasons.
    """
    like = pl.lit(" is clicked most by readers like: ")
    new = pl.lit(", in new copy for readers like: ")
    return (
        pl.when("control")
        .then(pl.lit(REASONS["control"]))
        .when(pl.col("creative") != HOLD)
        .then(
            pl.when("_new")
            .then(pl.col("product") + new + pl.col("audience"))
            .otherwise(pl.col("product") + like + pl.col("audience"))
        )
        .when("_closed")
        .then(pl.lit(REASONS["closed"]))
        .otherwise(pl.lit(REASONS["waits"]))
    )


def _interval(policy: SavedPolicy, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) ends of the click rate that held-out people of like predictions had."""
    curve = policy.fitted.fidelity.curve
    if not curve:
        return np.full(len(probability), np.nan), np.full(len(probability), np.nan)
    at = np.array([point.predicted for point in curve])
    order = np.argsort(at)
    ends = [np.array([getattr(p.real, end) for p in curve])[order] for end in ("low", "high")]
    low, high = (np.interp(probability, at[order], end) for end in ends)
    return np.minimum(low, probability), np.maximum(high, probability)


def _lawful(
    table: pl.DataFrame, others: Sequence[pl.DataFrame], rules: Rules, people: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the table without sends that caps or budgets leave out, and with those of floors.

    Args:
        table: what the policy wishes, a row a person.
        others: what may be sent instead, in the same order, to fill a floor and for nothing else.
        rules: to obey.
        people: of the table.
    """
    floor = pl.col("click_probability") - 1.0
    numbered = table.with_row_index("_row").with_columns(
        _wish=True, value=pl.col("click_probability")
    )
    wishes = pl.concat(
        [
            numbered,
            *(one.with_row_index("_row").with_columns(_wish=False, value=floor) for one in others),
        ]
    ).filter(pl.col("creative") != HOLD)
    if wishes.is_empty():
        return table, ()
    found = lawful(wishes, replace(rules, cap_per_campaign=1), people)
    kept = found.plan.filter("_wish")["_row"]
    filled = found.plan.filter(~pl.col("_wish"))
    out = numbered.filter(
        (pl.col("creative") != HOLD) & ~pl.col("_row").is_in(kept.implode())
    )["_row"]  # fmt: skip
    notes = [note for note in found.notes if not note.startswith("0 of")]
    if filled.height:
        notes.append(
            f"{filled.height:,} people get what a floor asks for in the place of what the policy "
            "chose; of that no chance is known."
        )
    if out.is_empty() and filled.is_empty():
        return table, tuple(notes)
    left_out = pl.col("_row").is_in(out.implode())
    emptied = [
        pl.when(left_out).then(None).otherwise(pl.col(name)).alias(name)
        for name in (
            "product", "topic", "copy", "channel", "slot", "send_at", "click_probability", "low",
            "high", "propensity",
        )
    ]  # fmt: skip
    table = numbered.with_columns(
        *emptied,
        pl.when(left_out).then(pl.lit(HOLD)).otherwise(pl.col("creative")).alias("creative"),
        pl.when(left_out)
        .then(pl.lit(REASONS["left out"]))
        .otherwise(pl.col("reason"))
        .alias("reason"),
    )
    filled = filled.with_columns(
        propensity=pl.lit(None, dtype=pl.Float64),
        reason=pl.lit(REASONS["floor"]) + pl.col("product"),
    )
    rest = table.filter(~pl.col("_row").is_in(filled["_row"].implode()))
    table = pl.concat([rest.select("_row", *COLUMNS), filled.select("_row", *COLUMNS)])
    return table.sort("_row").select(COLUMNS), tuple(notes)


__all__ = ["COLUMNS", "REASONS", "Plan", "make_plan", "profiles_of_people"]
