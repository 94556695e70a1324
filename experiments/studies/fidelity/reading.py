"""What E1's records hold, for its report: who promises, who judges, and what groups are missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.evaluation.fidelity.judges import LOG
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.evaluation.records import NUMBER, Records, filtered

#: What a policy's value is of: a whole episode, or the next decision in a logged state.
EPISODE, DECISION = "episode", "decision"
#: Groups of held-out impressions: by user feature, or by creative.
SEGMENTS, CREATIVES = "segments", "creatives"


def unit_of(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return what values are in, and "%" where they are shown times 100."""
    one = about["horizon"] == 1
    return ("clicks per 100 decisions", "%") if one else ("clicks per person", "")


def judges_of(records: Records) -> list[str]:
    """Return who judges what was promised."""
    return records.where(metric="optimism").values("judge")


def homes_of(records: Records) -> list[str]:
    """Return the simulators in which policies learned."""
    return records.where(metric="promised_gain").values("home")


def simulators_of(records: Records) -> list[str]:
    """Return the simulators of both halves."""
    return records.where(metric="auc").values("judge")


def comparisons_of(records: Records) -> list[tuple[str, str, str]]:
    """Return by whom policies are ranked, over what span, and both in words."""
    found = records.where(metric="kendall_tau").frame.select("reference", "span")
    names = {DECISION: "decision by decision", EPISODE: "over an episode"}
    return [
        (reference, span, LOG if reference == LOG else f"{reference}, {names[span]}")
        for reference, span in found.unique(maintain_order=True).iter_rows()
    ]


def too_few(reference: str) -> str:
    """Return the sentence that says why there is no order of policies."""
    if reference != LOG:
        return "fewer than three policies have values that differ."
    return (
        f"fewer than three policies have the {LEAST_ESS} effective rows and {LEAST_EVENTS} "
        "effective clicks that an order needs."
    )


def by_cell(frame: pl.DataFrame, *columns: str) -> dict[Any, dict[str, dict[str, Any]]]:
    """Return cell -> metric -> ``{value, low, high}``; the cell of one column is its value."""
    found: dict[Any, dict[str, dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        cell = row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns)
        found.setdefault(cell, {})[row["metric"]] = {edge: row[edge] for edge in NUMBER}
    return found


def rates_of(records: Records, judge: str, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (kind, segment) -> metric -> estimate of a judge's user segments, or creatives."""
    frame = filtered(records.estimates, judge=judge).filter(pl.col("segment").is_not_null())
    mine = (pl.col("kind") == "creative") == (kind == CREATIVES)
    return by_cell(frame.filter(mine), "kind", "segment")


def worst_of(rates: Mapping[tuple[str, str], Mapping[str, Any]]) -> tuple[str, str]:
    """Return the group whose gap is the largest in standard errors: not the smallest group."""
    return max(rates, key=lambda group: abs(rates[group]["z"]["value"]))


def inside_of(rates: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Return how many simulated rates lie in the real ones' intervals, such as "3 of 5"."""
    return f"{sum(rate['inside']['value'] for rate in rates.values()):.0f} of {len(rates)}"


def percent(entry: Mapping[str, Any]) -> str:
    """Return a rate in percent, with its interval if it has one."""
    value, low, high = (entry[edge] for edge in NUMBER)
    if low is None:
        return f"{100 * value:.2f}"
    return f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
