"""A lawful plan out of ranked wishes: greedy by value, under caps, budgets and exposure floors.

Budgets make the best plan a knapsack and floors make it a matching; greedy is within one send of
the best under one budget with equal costs, and takes a second for millions of wishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numba import njit

from copygym.core.errors import UserError, unknown_name
from copygym.envs.rules.plan import ROUNDING, sends_of
from copygym.envs.rules.rules import UTC, Rules, ids_of, local, zones_of


@dataclass(frozen=True)
class Lawful:
    """What may be sent of what was wished for.

    Attributes:
        plan: the wishes that are sent, in the order in which they were given.
        notes: what was left out and what no wish could fill, counted.
    """

    plan: pl.DataFrame
    notes: tuple[str, ...]


def lawful(wishes: pl.DataFrame, rules: Rules, people: pl.DataFrame) -> Lawful:
    """Return a plan of the most valuable wishes that breaks no rule.

    First the products with a floor get their sends, those with the fewest wishes for each send
    first; then everything goes by value, of equal ones the first. A person gets one message at a
    moment. A wish of no value is used to fill a floor and for nothing else.

    Args:
        wishes: M wishes with the columns of a plan (`PLAN_COLUMNS`) and ``value``, in any order,
            as many alternatives a person as you like; other columns are kept.
        rules: to obey.
        people: everybody who may be sent to.

    Raises:
        UserError: a product has a floor and nobody wishes to send it, a channel has no cost though
            there is a budget, or a value is no number.
    """
    if "value" not in wishes.columns:
        raise unknown_name("column that wishes need", "value", wishes.columns)
    sent = sends_of(wishes)
    value = wishes["value"].cast(pl.Float64).to_numpy()[sent["row"].to_numpy()]
    if np.isnan(value).any():
        row = int(sent["row"][int(np.isnan(value).argmax())])
        raise UserError(f"wishes: row {row + 1} has no value; give a number.")
    channels, channel = _coded(sent["channel"])
    products, product = _coded(sent["product"])
    for name in rules.min_exposure:
        if name not in products:
            raise unknown_name("product of min_exposure", name, products)
    if rules.budget is not None:
        for name in channels:
            if name not in rules.costs:
                raise unknown_name("channel with a cost in rules", name, list(rules.costs))
    person, open_M, windows = _who_and_when(sent, rules, people, channels, channel)
    order = np.lexsort((np.arange(len(value)), -value))
    order = order[open_M[order]]
    floors = np.array([rules.min_exposure.get(name, 0) for name in products], np.int64)
    wanted = np.bincount(product[order], minlength=len(products)) / np.maximum(floors, 1)
    scarce = np.argsort(np.where(floors > 0, wanted, np.inf), kind="stable")
    first = order[floors[product[order]] > 0]
    rank = np.empty(len(products), np.int64)
    rank[scarce] = np.arange(len(products))
    first = first[np.argsort(rank[product[first]], kind="stable")]
    costs = np.array([rules.costs.get(name, 0.0) for name in channels])
    limits = [rules.budget, *(rules.channel_budget.get(name) for name in channels)]
    budgets = np.array([np.inf if limit is None else limit for limit in limits])
    caps = (1, rules.cap_per_day, rules.cap_per_week, rules.cap_per_campaign)
    most = np.array([len(value) if cap is None else cap for cap in caps], np.int64)
    chosen, left = _greedy(
        first, order[value[order] > 0], np.stack([*windows, person], axis=1), most, channel,
        product, costs, budgets + ROUNDING / 2, floors,
    )  # fmt: skip
    notes = [f"{int((~open_M).sum()):,} of {len(value):,} wishes may not be sent to those people, "
             "on those channels or at those hours."]  # fmt: skip
    notes += [
        f"{products[p]!r} gets {floors[p] - left[p]:,} of the {floors[p]:,} sends that "
        "min_exposure asks for: no further wish for it is lawful."
        for p in np.flatnonzero(left > 0)
    ]
    rows = np.sort(sent["row"].to_numpy()[chosen])
    return Lawful(wishes[rows], tuple(notes))


def _who_and_when(
    sent: pl.DataFrame, rules: Rules, people: pl.DataFrame, channels: list[str], channel: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return each wish's person (M,), whether it may be sent (M,) and its three windows (M,).

    Windows are of the moment, the day and the week, numbered so that no two people share one.
    """
    ids = ids_of(people)
    known = pl.DataFrame({"user": ids, "who": np.arange(len(ids))})
    who = sent.select("user").join(known, on="user", how="left", maintain_order="left")["who"]
    strangers = who.is_null()
    if strangers.all():
        raise UserError("wishes: none of them is for one of the people; give both the same ids.")
    person = who.fill_null(0).to_numpy().astype(np.int64)
    zones, zone_of = zones_of(people, rules.time_zone)
    moments, moment = np.unique(sent["send_at"].to_numpy(), return_inverse=True)
    times = sent["send_at"].unique().sort().to_list()
    assert len(times) == len(moments)
    pairs, pair = np.unique(zone_of[person] * len(times) + moment, return_inverse=True)
    clocks = [(zones[p // len(times)], times[p % len(times)]) for p in pairs.tolist()]
    locals_P = [local(time, zone or UTC) for zone, time in clocks]
    quiet = np.array([
        rules.quiet_hours is not None and (zone is None or rules.is_quiet(clock))
        for (zone, _), clock in zip(clocks, locals_P, strict=True)
    ])  # fmt: skip
    day = np.array([clock.date().toordinal() for clock in locals_P], np.int64)
    week = (day - 1) // 7  # ordinal 1 was a Monday
    consent_UC = np.stack([rules.consents(people, name) for name in channels], axis=1)
    open_M = rules.reachable(people)[person] & consent_UC[person, channel] & ~quiet[pair]
    windows = [_window(person, code) for code in (moment, day[pair], week[pair])]
    return person, open_M & ~strangers.to_numpy(), windows


def _coded(column: pl.Series) -> tuple[list[Any], np.ndarray]:
    names = column.unique().sort()
    codes = column.cast(pl.Enum(names)).to_physical()
    return names.to_list(), codes.to_numpy().astype(np.int64)


def _window(person: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Return a number for each pair of person and code, (M,) int64 from 0."""
    _, code = np.unique(code, return_inverse=True)
    return np.unique(person * (code.max() + 1) + code, return_inverse=True)[1].astype(np.int64)


@njit(cache=True)
def _greedy(  # type: ignore[no-untyped-def]
    first, second, windows, most, channel, product, costs, budgets, floors
):
    counts = np.zeros((windows.max() + 1 if windows.size else 1, windows.shape[1]), np.int64)
    chosen = np.zeros(len(channel), np.bool_)
    spent = np.zeros(len(budgets))
    left = floors.copy()
    for phase in range(2):
        for i in first if phase == 0 else second:
            c, p = channel[i], product[i]
            if chosen[i] or (phase == 0 and left[p] <= 0):
                continue
            if spent[0] + costs[c] > budgets[0] or spent[1 + c] + costs[c] > budgets[1 + c]:
                continue
            full = False
            for w in range(windows.shape[1]):
                full |= counts[windows[i, w], w] >= most[w]
            if full:
                continue
            chosen[i] = True
            left[p] -= 1
            spent[0] += costs[c]
            spent[1 + c] += costs[c]
            for w in range(windows.shape[1]):
                counts[windows[i, w], w] += 1
    return chosen, left


__all__ = ["Lawful", "lawful"]
