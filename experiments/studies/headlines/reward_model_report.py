"""What E2 says: tables, figures and words from its records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import NONE, Shown, by_seed, estimates_table, forest
from copygym.experiments.report.figures import calibration_figure
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.report.tables import number as digits

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names among the models: the main one, a random arm, and the most that any could get.
MAIN, RANDOM, CEILING = "model", "random", "at most"
#: Numbers of a model.
SHOWN = {
    "pairwise": Shown("pairs right, all", "%"),
    "pairwise_significant": Shown("pairs right, |z| > 1.96", "%"),
    "best_of_3": Shown("best of 3 right", "%"),
    "best_of_k": Shown("best of K right", "%"),
    "lift": Shown("CTR lift of its favourite", "%"),
}
#: Above this share of right pairs a model must have seen what it is judged on.
LEAKAGE = 0.83
#: Published, on the archive's tests but not on this split: best of K in per cent.
PUBLISHED = (
    ("published: OpenAI embeddings + linear (LOLA, arXiv 2406.02611)", "46.3"),
    ("published: Llama-3-8B with LoRA (LOLA, arXiv 2406.02611)", "46.9"),
)


def report(records: Records) -> Report:
    """Return how well each model ranks the headlines of tests that nobody trained on."""
    frame = _titled(records).estimates
    test = filtered(frame, part="test", arms=None)
    several = len(records.seeds) > 1
    title = "Reward model: which headline will be clicked?"
    sections = [_comparison(test, records)]
    if several:
        plain = records.where(part="test", arms=None)
        sections.append(by_seed(_titled(plain), "model", SHOWN, unit="split"))
    # Tests by number of arms, and bins, are those of one split.
    first = _titled(records.only())
    sections += [_arms(first), _calibration(first), _validation(first)]
    pairwise = records.number("pairwise", model=MAIN, part="test", arms=None)["value"]
    if pairwise is not None and pairwise > LEAKAGE:
        warning = (
            f"More than {100 * LEAKAGE:g}% of all pairs are right, which is more than noise "
            "allows: the test tests have leaked into the training.",
        )
        sections.insert(0, Section("Leakage", warning))
    return Report(
        f"{title} {len(records.seeds)} splits" if several else title,
        _summary(records),
        _main_table(test, records),
        sections,
    )


def _titled(records: Records) -> Records:
    """Return the records with models named by what they are."""
    titles = {
        **records.first["titles"],
        RANDOM: "a random arm",
        CEILING: "the most that noise allows (oracle for lift)",
    }
    named = pl.col("model").replace(list(titles), list(titles.values()))
    return Records(records.frame.with_columns(named), records.about)


def _main(records: Records) -> str:
    return str(records.first["titles"][MAIN])


def _over(records: Records) -> str:
    """Return what intervals are over."""
    count, tests = len(records.seeds), records.first["judged"]["tests_of_test"]
    if count > 1:
        return f"means over {count} splits with 95% bootstrap intervals over them"
    return f"95% intervals over {tests:,} tests"


def _main_table(test: pl.DataFrame, records: Records) -> Table:
    judged = records.first["judged"]
    of = f" in split {records.seeds[0]}" if len(records.seeds) > 1 else ""
    caption = (
        f"%, {_over(records)}; no model was trained on the tests "
        f"({judged['tests_of_test']:,} with {judged['pairs_of_test']:,} pairs, "
        f"{judged['significant_pairs_of_test']:,} significant{of}). Best of 3: of any three arms "
        "of a test, by chance 33.3; best of K: of all its arms. Published rows are from the "
        "paper's own split, whose tests have other numbers of arms, and can't be set beside the "
        "others directly."
    )
    table = estimates_table(test, "model", SHOWN, caption, strong=_main(records))
    published = tuple(
        (name, *(value if key == "best_of_k" else NONE for key in SHOWN))
        for name, value in PUBLISHED
    )
    return replace(table, rows=(*table.rows, *published))


def _summary(records: Records) -> str:
    about, count = records.first, len(records.seeds)
    seen = about["rows_seen"]
    lead = f"Of split {records.seeds[0]}: " if count > 1 else ""
    splits = (
        f" The same was done in {count} splits of the tests, each with its own fits; numbers are "
        f"{_over(records)}."
        if count > 1
        else f" Intervals (95%) are over tests ({about['resamples']:,} bootstrap resamples)."
    )
    return (
        f"{lead}{seen['train']['tests']:,} randomised tests with {seen['train']['rows']:,} "
        f"headlines trained each model, {seen['validation']['tests']:,} chose its settings and "
        f"calibrated it, and {about['judged']['tests_of_test']:,} others with "
        f"{seen['test']['rows']:,} headlines judged it. No headline of those is in another part, "
        "directly or through a chain of shared headlines; arms are compared under the same picture "
        f"only.{splits}"
    )


def _comparison(test: pl.DataFrame, records: Records) -> Section:
    models = test.filter(pl.col("model") != "the most that noise allows (oracle for lift)")
    picture = forest(
        models,
        "model",
        SHOWN,
        "ranking",
        "Share of pairs in the order of their clicks, of favourites that are the best of their "
        "test, and lift of the favourite over a random arm (%), on test tests; "
        f"{_over(records)}.",
        strong=_main(records),
    )
    return Section("On tests that nobody trained on", pictures=(picture,))


def _of_split(records: Records) -> str:
    return f"split {records.seeds[0]}"


def _arms(records: Records) -> Section:
    frame = filtered(records.estimates, part="test")
    frame = frame.filter(pl.col("arms").is_not_null())
    rows = []
    for arms in frame["arms"].unique(maintain_order=True):

        def entry(metric: str, model: str, arms: str = arms) -> dict[str, Any]:
            return number(frame, metric, model=model, arms=arms)

        main, chance = _main(records), "a random arm"
        rows.append(
            (
                arms,
                digits(entry("tests", main)["value"], 6),
                interval(entry("best_of_k", main), "%"),
                interval({"value": entry("best_of_k", chance)["value"]}, "%"),
                interval(entry("pairwise", main), "%"),
            )
        )
    text = ("How often the favourite is the best depends on how many arms there are to miss.",)
    columns = ("arms of the test", "tests", "best of K right", "by chance", "pairs right, all")
    caption = f"%, the main model, {_of_split(records)}."
    return Section("By number of arms", text, (Table(columns, tuple(rows), caption),))


def _calibration(records: Records) -> Section:
    frame = filtered(records.estimates, part="test", model=_main(records))
    bins = frame.filter(pl.col("bin").is_not_null()).sort("bin", maintain_order=True)
    curve: list[Mapping[str, Any]] = []
    for place in bins["bin"].unique(maintain_order=True):
        real = number(bins, "observed", bin=place)
        predicted = number(bins, "predicted", bin=place)["value"]
        curve.append({"predicted": predicted, "real": list(real.values())})
    picture = calibration_figure(
        "calibration",
        "Observed and predicted click rate of test headlines in groups of equal impressions, "
        f"{_of_split(records)}, with 95% intervals over headlines. Headlines alone say little of "
        "a story's level.",
        curve,
    )
    error = number(frame, "calibration_error")["value"]
    text = (f"Mean gap of the groups: {100 * (error or 0.0):.2g} percentage points.",)
    return Section("Calibration", text, pictures=(picture,))


def _validation(records: Records) -> Section:
    trained = list(records.first["titles"].values())
    frame = filtered(records.estimates, part="validation", arms=None, model=trained)
    text = ("These tests chose penalties, steps, stack weights and calibration: they flatter.",)
    caption = f"%, on the validation tests of {_of_split(records)}."
    table = estimates_table(frame, "model", SHOWN, caption)
    return Section("On the validation tests", text, (table,), folded=True)
