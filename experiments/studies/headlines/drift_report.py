"""What E11 says of real headlines: tables, figures and words from its records."""

from __future__ import annotations

from typing import Any

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import NONE, Shown, estimates_table
from copygym.experiments.report.figures import Picture, lines_figure, scaled
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

#: What learns from the first tests and never again, from which gains are taken.
ONCE = "once"
#: What a model learned from, in words.
WORDS = {
    ONCE: "once: the first tests",
    "window": "window: as many of the latest tests",
    "everything": "everything so far",
    "hindsight": "hindsight: later tests, too",
}
#: Metrics of `copygym.rewards.ctr.ranking.ratios` -> heading.
METRICS = {
    "pairwise": "pairs right %",
    "pairwise_significant": "significant pairs right %",
    "best_of_k": "best of K %",
    "lift": "lift over a random arm %",
}


def report(records: Records) -> Report:
    """Return each release's models over all judged periods, and by period."""
    frame = records.estimates
    releases = records.values("release")
    return Report(
        "Changing tastes: a headline model with and without updates",
        " ".join(_sentence(name, records) for name in releases),
        _main_table(frame, records),
        [_release(name, frame, records) for name in releases],
    )


def _gaining(records: Records) -> list[str]:
    """Return the updates that are compared with none."""
    return [update for update in records.values("update") if update != ONCE]


def _over(records: Records) -> str:
    count = len(records.seeds)
    return f"over {count} seeds" if count > 1 else "over tests"


def _main_table(frame: pl.DataFrame, records: Records) -> Table:
    rows = []
    for name in records.values("release"):
        own = filtered(frame, release=name)
        pooled = filtered(own, period=None)
        for update in records.values("update"):
            gains = ("pairwise", "lift") if update != ONCE else ()
            gained = [
                interval(number(pooled, key, update=update, versus=ONCE), "%") for key in gains
            ]
            rows.append(
                (
                    f"{name}, {WORDS[update]}",
                    _learned(own, update),
                    *(interval(number(pooled, key, update=update), "%") for key in METRICS),
                    *(gained or (NONE, NONE)),
                )
            )
    columns = (
        "release, model", "tests learned from", *METRICS.values(),
        "gain in pairs %", "gain in lift %",
    )  # fmt: skip
    return Table(
        columns,
        tuple(rows),
        "All tests after the first ones, each judged by a model that saw none of its period; 95% "
        f"intervals by bootstrap {_over(records)}; gains are over the model fitted once, paired by "
        "test. Tests learned from: in the first and the last judged period.",
    )


def _learned(frame: pl.DataFrame, update: str) -> str:
    sizes = filtered(frame, metric="tests_learned", update=update).sort("period")["value"]
    first, last = sizes[0], sizes[-1]
    return f"{first:,.0f} to {last:,.0f}" if first != last else f"{first:,.0f}"


def _sentence(name: str, records: Records) -> str:
    pooled = filtered(records.estimates, release=name, period=None)
    gains = ", ".join(
        f"{WORDS[update].partition(':')[0]} "
        f"{interval(number(pooled, 'pairwise', update=update, versus=ONCE), '%')}"
        for update in _gaining(records)
    )
    once = interval(number(pooled, "pairwise", update=ONCE), "%")
    last = records.first["periods"][name]["learned"][-1]
    return (
        f"{name}: a model of the earliest tests (up to {last}) ranks {once}% of the pairs of "
        f"headlines in {number(pooled, 'tests')['value']:,.0f} later tests as their clicks did; in "
        f"percentage points the others differ by: {gains}."
    )


def _release(name: str, frame: pl.DataFrame, records: Records) -> Section:
    own = filtered(frame, release=name)
    updates, gaining = records.values("update"), _gaining(records)
    rows = []
    for period, label in enumerate(records.first["periods"][name]["judged"], 1):
        here = filtered(own, period=period)
        rows.append(
            (
                label,
                f"{number(here, 'tests')['value']:,.0f}",
                *(interval(number(here, "pairwise", update=u), "%") for u in updates),
                *(interval(number(here, "pairwise", update=u, versus=ONCE), "%") for u in gaining),
            )
        )
    tables = [
        Table(
            ("period", "tests", *updates, *(f"{u} - once" for u in gaining)),
            tuple(rows),
            "Pairs of headlines in the right order, %, by period.",
        )
    ]
    change = filtered(own, metric="pairwise_change")
    if not change.is_empty():
        words = pl.col("update").replace(list(WORDS), list(WORDS.values()))
        tables.append(
            estimates_table(
                change.with_columns(words),
                "update",
                {"pairwise_change": Shown("change of pairs right, %", "%")},
                "From the first judged period to the last, by a straight line.",
                heading="model",
            )
        )
    return Section(f"By period: {name}", (), tuple(tables), (_picture(name, own, records),))


def _picture(name: str, frame: pl.DataFrame, records: Records) -> Picture:
    frame = filtered(frame, metric="pairwise", versus=None).drop_nulls("period").sort("period")
    lines: dict[str, dict[str, Any]] = {}
    for update in records.values("update"):
        rows = [scaled(_edges(row)) for row in filtered(frame, update=update).iter_rows(named=True)]
        line = {"x": list(range(1, len(rows) + 1)), "y": [row["value"] for row in rows]}
        # Four bands would hide each other.
        if update in (ONCE, "everything"):
            line |= {edge: [row[edge] for row in rows] for edge in ("low", "high")}
        lines[WORDS[update]] = line
    caption = (
        f"{name}: pairs of headlines in the right order by period, in order of time; bands are 95% "
        f"intervals {_over(records)}."
    )
    slug = "".join(c if c.isalnum() else "_" for c in name)
    return lines_figure(f"drift_{slug}", caption, lines, "judged period", "pairs right, %")


def _edges(row: dict[str, Any]) -> dict[str, Any]:
    return {edge: row[edge] for edge in ("value", "low", "high")}
