"""What E8 says: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.judge import LEAST_ESS, WEAK_EVENTS
from copygym.evaluation.records import NUMBER, Records, cells
from copygym.experiments.report.figures import interval_figure, scaled
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table

#: Coverage that a nominal 95% interval should have.
GOAL = (0.93, 0.97)
_CELL = ("world", "outcome", "policy", "estimator")
_COLUMNS = (
    "policy: estimator", "truth", "effective rows", "effective events", "relative error %",
    "bias %", "width %", "bootstrap covers %", "normal covers %",
)  # fmt: skip

#: What is known of a policy's estimates in a world: its cell, and metric -> estimate.
Row = dict[str, Any]


def report(records: Records) -> Report:
    """Return how far estimates are from the truth, and how often their intervals cover it."""
    rows = _rows(records)
    worlds = [
        _world([row for row in rows if (row["world"], row["outcome"]) == key])
        for key in _worlds(rows)
    ]
    text = tuple(f"{name}: {words}." for name, words in ESTIMATORS.items())
    return Report(
        "Do off-policy estimates hold?",
        _summary(rows, records.first),
        _main_table(rows, records.first),
        [*worlds, Section("Estimators", points=text)],
    )


def _rows(records: Records) -> list[Row]:
    frame = records.estimates
    found: dict[tuple[Any, ...], Row] = {
        tuple(cell.values()): dict(cell) for cell in cells(frame, _CELL)
    }
    for row in frame.iter_rows(named=True):
        cell = tuple(row[name] for name in _CELL)
        found[cell][row["metric"]] = {name: row[name] for name in NUMBER}
    return list(found.values())


def _worlds(rows: list[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["world"], row["outcome"]) for row in rows))


def _value(row: Row, metric: str) -> float:
    return float(row[metric]["value"])


def _speaks(row: Row) -> bool:
    """Return whether the log supports the row's policy, by the bounds of `copygym ope`."""
    events = _value(row, "effective_events")
    return _value(row, "effective_rows") >= LEAST_ESS and events >= WEAK_EVENTS


def _summary(rows: list[Row], about: Mapping[str, Any]) -> str:
    supported = [row for row in rows if row["estimator"] != "dm" and _speaks(row)]
    inside = sum(GOAL[0] <= _value(row, "bootstrap_coverage") <= GOAL[1] for row in supported)
    return (
        f"{about['replications']:,} logs were drawn from each world and every policy's value "
        f"estimated from each. Of {len(supported)} pairs of a policy that the log supports and an "
        f"estimator other than DM, the 95% bootstrap intervals of {inside} cover the truth in "
        f"{GOAL[0]:.0%} to {GOAL[1]:.0%} of the logs. DM's interval does not know its model's own "
        f"error, and policies with fewer than {WEAK_EVENTS} effective events are left out of the "
        "count."
    )


def _main_table(rows: list[Row], about: Mapping[str, Any]) -> Table:
    """Return error and coverage of each estimator, over the policies that the logs support."""
    lines = []
    for key in _worlds(rows):
        for name in ESTIMATORS:
            ours = [
                row
                for row in rows
                if (row["world"], row["outcome"]) == key and row["estimator"] == name
                if _speaks(row)
            ]
            if ours:
                lines.append(
                    (
                        f"{key[0]}, {key[1]}: {name}",
                        f"{len(ours)}",
                        f"{100 * np.mean([_value(row, 'relative_error') for row in ours]):.1f}",
                        f"{100 * np.mean([_value(row, 'relative_bias') for row in ours]):+.1f}",
                        _range([_value(row, "bootstrap_coverage") for row in ours]),
                        _range([_value(row, "normal_coverage") for row in ours]),
                    )
                )
    columns = (
        "world, outcome: estimator", "policies", "relative error %", "bias %",
        "bootstrap covers %", "normal covers %",
    )  # fmt: skip
    sizes = ", ".join(f"{n:,} rows in {world}" for world, n in about["log_rows"].items())
    caption = (
        f"Mean over the policies with at least {LEAST_ESS} effective rows and {WEAK_EVENTS} "
        f"effective events (lowest and highest in brackets), from {about['replications']:,} logs "
        f"of {sizes}; 95% intervals."
    )
    return Table(columns, tuple(lines), caption)


def _range(shares: list[float]) -> str:
    percent = [100 * share for share in shares]
    return f"{np.mean(percent):.1f} ({min(percent):.1f} to {max(percent):.1f})"


def _world(rows: list[Row]) -> Section:
    """Return the section on one outcome of one world."""
    world, outcome = rows[0]["world"], rows[0]["outcome"]
    table = Table(
        _COLUMNS,
        tuple(
            (
                f"{row['policy']}: {row['estimator']}",
                f"{_value(row, 'truth'):.4g}",
                f"{_value(row, 'effective_rows'):,.0f}",
                f"{_value(row, 'effective_events'):,.0f}",
                f"{100 * _value(row, 'relative_error'):.1f}",
                f"{100 * _value(row, 'relative_bias'):+.1f}",
                f"{100 * _value(row, 'relative_width'):.1f}",
                *(_percent(row[kind]) for kind in ("bootstrap_coverage", "normal_coverage")),
            )
            for row in rows
        ),
        "Coverage with its own 95% interval. Errors and widths are relative to the truth.",
    )
    panels = {
        policy: {
            row["estimator"]: scaled(row["bootstrap_coverage"])
            for row in rows
            # Far below the others, it would leave them no room.
            if row["policy"] == policy and row["estimator"] != "dm"
        }
        for policy in dict.fromkeys(row["policy"] for row in rows)
    }
    picture = interval_figure(
        f"coverage_{world}_{outcome}",
        f"How often 95% bootstrap intervals cover the truth, %: {world}, {outcome}. Without "
        "DM, whose interval does not know its model's error.",
        panels,
    )
    return Section(f"{world}: {outcome}", tables=(table,), pictures=(picture,))


def _percent(entry: Mapping[str, float]) -> str:
    return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"
