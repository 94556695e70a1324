"""Tables, figures and sections of E11 on real headlines, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

#: What a model learned from, in words.
WORDS = {
    "once": "once: the first tests",
    "window": "window: as many of the latest tests",
    "everything": "everything so far",
    "hindsight": "hindsight: later tests, too",
}
_LABELS = {
    "pairwise": "pairs right %",
    "pairwise_significant": "significant pairs right %",
    "best_of_k": "best of K %",
    "lift": "lift over a random arm %",
}


def main_table(result: Mapping[str, Any]) -> Table:
    """Return each release's models over all judged periods, and their gain over never updating."""
    rows = tuple(
        (
            f"{name}, {WORDS[update]}",
            f"{_trained(entry, update)}",
            *(interval(entry["pooled"][update][key], "%") for key in _LABELS),
            *(
                interval(entry["gain"][update][key], "%") if update in entry["gain"] else "-"
                for key in ("pairwise", "lift")
            ),
        )
        for name, entry in result["releases"].items()
        for update in result["updates"]
    )
    columns = (
        "release, model", "tests learned from", *_LABELS.values(),
        "gain in pairs %", "gain in lift %",
    )  # fmt: skip
    return Table(
        columns,
        rows,
        "All tests after the first ones, each judged by a model that saw none of its period; 95% "
        "intervals by bootstrap over tests; gains are over the model fitted once, paired by test. "
        "Tests learned from: in the first and the last judged period.",
    )


def _trained(entry: Mapping[str, Any], update: str) -> str:
    first, last = (entry["periods"][i]["trained_on"][update] for i in (0, -1))
    return f"{first:,} to {last:,}" if first != last else f"{first:,}"


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    sentences = []
    for name, entry in result["releases"].items():
        gains = ", ".join(
            f"{WORDS[update].partition(':')[0]} {interval(entry['gain'][update]['pairwise'], '%')}"
            for update in result["updates"]
            if update in entry["gain"]
        )
        once = interval(entry["pooled"]["once"]["pairwise"], "%")
        sentences.append(
            f"{name}: a model of the earliest tests (up to {entry['first'][1]}) ranks "
            f"{once}% of the pairs of headlines in {entry['tests']:,} later tests as their clicks "
            f"did; in percentage points the others differ by: {gains}."
        )
    return " ".join(sentences)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    return [_release(name, entry, result) for name, entry in result["releases"].items()]


def _release(name: str, entry: Mapping[str, Any], result: Mapping[str, Any]) -> Section:
    updates = result["updates"]
    # Keys of a saved result stand in the order of the alphabet, so that each is asked by its name.
    gained = [update for update in updates if update in entry["gain"]]
    by_period = Table(
        ("period", "tests", *updates, *(f"{u} - once" for u in gained)),
        tuple(
            (
                period["label"],
                f"{period['tests']:,}",
                *(interval(period["models"][u]["pairwise"], "%") for u in updates),
                *(
                    interval(period["gain"][u]["pairwise"], "%")
                    for u in updates
                    if u in entry["gain"]
                ),
            )
            for period in entry["periods"]
        ),
        "Pairs of headlines in the right order, %, by period.",
    )
    tables = [by_period]
    if entry["slope"]:
        tables.append(
            Table(
                ("model", "change of pairs right, %"),
                tuple((WORDS[u], interval(entry["slope"][u], "%")) for u in updates),
                "From the first judged period to the last, by a straight line.",
            )
        )
    return Section(f"By period: {name}", (), tuple(tables), (_picture(name, entry, updates),))


def _picture(name: str, entry: Mapping[str, Any], updates: list[str]) -> Picture:
    lines: dict[str, dict[str, Any]] = {}
    for update in updates:
        found = [period["models"][update]["pairwise"] for period in entry["periods"]]
        lines[WORDS[update]] = {
            "x": list(range(1, len(found) + 1)),
            "y": [_percent(one["value"]) for one in found],
        }
        # Four bands would hide each other.
        if update in ("once", "everything"):
            lines[WORDS[update]] |= {
                edge: [_percent(one[edge]) for one in found] for edge in ("low", "high")
            }
    caption = (
        f"{name}: pairs of headlines in the right order by period, in order of time; bands are 95% "
        "intervals over tests."
    )
    slug = "".join(c if c.isalnum() else "_" for c in name)
    return lines_figure(f"drift_{slug}", caption, lines, "judged period", "pairs right, %")


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
