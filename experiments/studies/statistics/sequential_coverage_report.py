"""What the sequential half of E8 says: tables and words from its records."""

from __future__ import annotations

from typing import Any

from copygym.evaluation.ope.judge import LEAST_ESS
from copygym.evaluation.ope.sequential.estimators import ESTIMATORS
from copygym.evaluation.records import NUMBER, Records
from copygym.experiments.report.figures import interval_figure, scaled
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table

_COLUMNS = (
    "decisions, policy: estimator", "truth", "effective episodes", "relative error %", "bias %",
    "width %", "bootstrap covers %", "normal covers %", "log says no %",
)  # fmt: skip


def report(records: Records) -> Report:
    """Return how far estimates of whole episodes are from the truth, and when a log says no."""
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in records.estimates.iter_rows(named=True):
        cell = (int(row["horizon"]), str(row["policy"]), str(row["estimator"]))
        found.setdefault(cell, {})[row["metric"]] = {name: row[name] for name in NUMBER}
    single = {cell: one for cell, one in found.items() if cell[1] != "all"}
    about = records.first
    table = Table(
        _COLUMNS,
        tuple(_line(cell, one) for cell, one in single.items()),
        f"From {about['replications']:,} logs of {about['episodes']:,} episodes each; coverage of "
        "95% intervals with its own 95% interval. Errors and widths are relative to the truth.",
    )
    ranked = Table(
        ("decisions: estimator", "policies in their true order %"),
        tuple(
            (f"{cell[0]}: {cell[2]}", _percent(one["ranked"]))
            for cell, one in found.items()
            if cell[1] == "all"
        ),
        "Share of the logs in which all policies are put in their true order.",
    )
    panels: dict[str, dict[str, Any]] = {}
    for (horizon, policy, estimator), one in single.items():
        if estimator != "fqe" and _speaks(one):
            panel = panels.setdefault(f"{policy}, {horizon} decisions", {})
            panel[estimator] = scaled(one["bootstrap_coverage"])
    picture = interval_figure(
        "sequential_coverage",
        "How often 95% bootstrap intervals cover the truth, %, where the log supports the policy. "
        "Without FQE, whose interval does not know its own error.",
        panels,
    )
    return Report(
        "Do off-policy estimates of whole episodes hold?",
        _summary(single),
        table,
        [
            Section("Coverage", pictures=(picture,) if panels else ()),
            Section("Ranking", tables=(ranked,)),
            Section("Estimators", points=tuple(f"{n}: {w}." for n, w in ESTIMATORS.items())),
        ],
    )


def _speaks(one: dict[str, Any]) -> bool:
    return bool(one["effective_episodes"]["value"] >= LEAST_ESS)


def _summary(single: dict[tuple[int, str, str], dict[str, Any]]) -> str:
    held = {c: one for c, one in single.items() if c[2] in ("dr", "wdr") and _speaks(one)}
    inside = sum(0.93 <= one["bootstrap_coverage"]["value"] <= 0.97 for one in held.values())
    thin = {c[:2]: one for c, one in single.items() if not _speaks(one)}
    refused = ", ".join(
        f"{policy} over {horizon} decisions ({one['refused']['value']:.0%} of the logs)"
        for (horizon, policy), one in thin.items()
    )
    return (
        f"Of {len(held)} pairs of a doubly robust estimator and a policy that the log supports, "
        f"the 95% bootstrap intervals of {inside} cover the truth in 93% to 97% of the logs. "
        + (f"The verdict is no for {refused}." if thin else "The log supports every policy.")
    )


def _line(cell: tuple[int, str, str], one: dict[str, Any]) -> tuple[str, ...]:
    def value(metric: str) -> float:
        return float(one[metric]["value"])

    return (
        f"{cell[0]}, {cell[1]}: {cell[2]}",
        f"{value('truth'):.4g}",
        f"{value('effective_episodes'):,.0f}",
        f"{100 * value('relative_error'):.1f}",
        f"{100 * value('relative_bias'):+.1f}",
        f"{100 * value('relative_width'):.1f}",
        _percent(one["bootstrap_coverage"]),
        _percent(one["normal_coverage"]),
        f"{100 * value('refused'):.0f}",
    )


def _percent(entry: dict[str, float]) -> str:
    return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"
