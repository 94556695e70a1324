"""Tables and figures of the reward-model experiment (E2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import calibration_figure, interval_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

#: Published, on the archive's tests but not on this split: best of K in per cent.
PUBLISHED = (
    ("published: OpenAI embeddings + linear (LOLA, arXiv 2406.02611)", "46.3"),
    ("published: Llama-3-8B with LoRA (LOLA, arXiv 2406.02611)", "46.9"),
)
_COLUMNS = {
    "pairwise": "pairs right, all",
    "pairwise_significant": "pairs right, |z| > 1.96",
    "best_of_3": "best of 3 right",
    "best_of_k": "best of K right",
    "lift": "CTR lift of its favourite",
}


def main_table(result: Mapping[str, Any]) -> Table:
    """Return every model on the test tests, the noise ceiling, and published numbers."""
    rows = []
    for name in result["models"]:
        ranking = result["metrics"][name]["test"]["ranking"]
        rows.append((result["names"][name], *(interval(ranking[key], "%") for key in _COLUMNS)))
    ranking = result["metrics"]["model"]["test"]["ranking"]
    rows.append(
        (
            "the most that noise allows (oracle for lift)",
            interval(ranking["noise_ceiling"], "%"),
            "-",
            "-",
            "-",
            interval(ranking["lift_oracle"], "%"),
        )
    )
    rows += [(name, "-", "-", "-", value, "-") for name, value in PUBLISHED]
    tests, pairs = int(ranking["tests"]["value"]), int(ranking["pairs"]["value"])
    caption = (
        f"%, with 95% intervals over {tests:,} tests ({pairs:,} pairs, "
        f"{int(ranking['significant_pairs']['value']):,} significant) that no model was trained "
        "on. Best of 3: of any three arms of a test, by chance 33.3; best of K: of all its arms. "
        "Published rows are from the paper's own split, whose tests have other numbers of arms, "
        "and can't be set beside the others directly."
    )
    return Table(("model", *_COLUMNS.values()), tuple(rows), caption, strong=0)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [_comparison(result), _arms(result), _calibration(result), _validation(result)]
    if result["leakage"]:
        warning = (
            "More than 83% of all pairs are right, which is more than noise allows: the test "
            "tests have leaked into the training.",
        )
        found.insert(0, Section("Leakage", warning))
    return found


def _comparison(result: Mapping[str, Any]) -> Section:
    panels = {
        title: {
            result["names"][name]: _percent(result["metrics"][name]["test"]["ranking"][key])
            for name in result["models"]
        }
        for key, title in _COLUMNS.items()
    }
    picture = interval_figure(
        "ranking",
        "Share of pairs in the order of their clicks, of favourites that are the best of their "
        "test, and lift of the favourite over a random arm (%), on test tests; 95% intervals.",
        panels,
        result["names"]["model"],
    )
    return Section("On tests that nobody trained on", pictures=(picture,))


def _arms(result: Mapping[str, Any]) -> Section:
    by_arms = result["metrics"]["model"]["test"]["by_arms"]
    rows = tuple(
        (
            label,
            number(entry["tests"]["value"], 6),
            interval(entry["best_of_k"], "%"),
            interval({"value": entry["best_of_k_random"]["value"]}, "%"),
            interval(entry["pairwise"], "%"),
        )
        for label, entry in by_arms.items()
    )
    text = ("How often the favourite is the best depends on how many arms there are to miss.",)
    columns = ("arms of the test", "tests", "best of K right", "by chance", "pairs right, all")
    return Section("By number of arms", text, (Table(columns, rows, "%, the main model."),))


def _calibration(result: Mapping[str, Any]) -> Section:
    entry = result["metrics"]["model"]["test"]
    picture = calibration_figure(
        "calibration",
        "Observed and predicted click rate of test headlines in groups of equal impressions, "
        "with 95% intervals over headlines. Headlines alone say little of a story's level.",
        entry["calibration"],
    )
    error = 100 * entry["calibration_error"]
    text = (f"Mean gap of the groups: {error:.2g} percentage points.",)
    return Section("Calibration", text, pictures=(picture,))


def _validation(result: Mapping[str, Any]) -> Section:
    trained = [name for name in result["models"] if name in result["training"]]
    rows = tuple(
        (
            result["names"][name],
            *(
                interval(result["metrics"][name]["validation"]["ranking"][key], "%")
                for key in _COLUMNS
            ),
        )
        for name in trained
    )
    text = ("These tests chose penalties, steps, stack weights and calibration: they flatter.",)
    table = Table(("model", *_COLUMNS.values()), rows, "%, on the validation tests.")
    return Section("On the validation tests", text, (table,), folded=True)


def _percent(entry: Mapping[str, Any]) -> dict[str, float | None]:
    return scaled({edge: entry.get(edge) for edge in ("value", "low", "high")})
