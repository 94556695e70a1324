"""What the study of readers' histories says, from its records."""

from __future__ import annotations

from typing import Any

from copygym.evaluation.records import Records, filtered
from copygym.experiments.report.blocks import (
    Shown,
    by_seed,
    curve,
    differences,
    estimates_table,
    forest,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table

#: Models by the name in records and tables.
MODEL, TITLES, LIKENESS = "history x title", "titles alone", "untrained likeness"
OTHERS, CHANCE = "another reader's history", "chance"
SHOWN = {
    "auc": Shown("AUC", "%"),
    "mrr": Shown("MRR", "%"),
    "ndcg_5": Shown("nDCG@5", "%"),
    "ndcg_10": Shown("nDCG@10", "%"),
}
#: Published on MIND's test week, in per cent: Wu et al. (2020), "MIND: A Large-scale Dataset for
#: News Recommendation", ACL 2020, the table of news recommendation methods, all users.
PUBLISHED = {
    "LibFM": (59.93, 28.23, 30.05, 35.74),
    "DKN": (64.60, 31.32, 33.84, 39.48),
    "NPA": (66.69, 32.24, 34.98, 40.68),
    "NAML": (66.86, 32.49, 35.24, 40.91),
    "LSTUR": (67.73, 32.77, 35.59, 41.34),
    "NRMS": (67.76, 33.05, 35.94, 41.63),
}


def report(records: Records) -> Report:
    """Return how well histories tell which title is clicked."""
    about, frame = records.first, records.estimates
    several = len(records.seeds) > 1
    over = f"{len(records.seeds)} seeds of the learning" if several else "readers"
    slates, readers = about["slates"], about["readers"]
    summary = (
        f"On {slates['train']:,} slates of {readers['train']:,} readers of {about['log']} a model "
        f"of history x title ({about['encoder']} vectors, a low-rank product) learned which of the "
        f"titles shown is clicked. It was judged on {slates['test']:,} later slates of "
        f"{readers['test']:,} readers ({100 * about['without_history']:.0f}% of the slates have no "
        f"history). Intervals (95%) by bootstrap over {over}."
    )
    plain = filtered(frame, versus=None, epoch=None)
    table = estimates_table(
        plain,
        "model",
        SHOWN,
        f"Means over the judged slates, 95% intervals over {over}. {OTHERS.capitalize()} is the "
        "control: the same model, given what somebody else read.",
        strong=MODEL,
    )
    gains = differences(
        filtered(frame, epoch=None),
        ("model", "versus"),
        SHOWN,
        "Percentage points above titles alone, paired: both on the same resampled slates.",
        heading="model, less",
    )
    picture = forest(
        plain, "model", {"auc": SHOWN["auc"], "ndcg_10": SHOWN["ndcg_10"]}, "histories",
        f"AUC and nDCG@10 on the judged slates, 95% intervals over {over}.", strong=MODEL,
    )  # fmt: skip
    sections = [
        Section("What the history adds", (), (gains,), (picture,)),
        _published(about),
        _learning(records.only()),
    ]
    if several:
        metrics = {"auc": SHOWN["auc"]}
        sections.append(by_seed(records.where(versus=None, epoch=None), "model", metrics))
    return Report(f"Readers' histories: {about['log']}", summary, table, sections)


def _published(about: dict[str, Any] | Any) -> Section:
    """Return the table of what others published on MIND."""
    rows = tuple(
        (name, *(f"{value:.2f}" for value in values)) for name, values in PUBLISHED.items()
    )
    labels = (shown.label for shown in SHOWN.values())
    table = Table(
        ("published", *labels),
        rows,
        "Per cent, on the test week of MIND (Wu et al. 2020, ACL, table of news recommendation "
        "methods, all users).",
    )
    same = "that is this log, of another size and week" if about["log"] == "mind" else "another log"
    text = (
        f"Networks that read titles word by word, with attention over the history, on MIND ({same})"
        ": they see 2.2 million training impressions. What a run on MINDsmall obtains is to be "
        "read beside them, not against them.",
    )
    return Section("Published numbers", text, (table,))


def _learning(records: Records) -> Section:
    picture = curve(
        filtered(records.frame, metric="loss"),
        "epoch",
        "model",
        "loss",
        "validation",
        "Loss of the validation slates (nats a click) after each epoch; the best one is kept.",
        "epoch",
        "loss",
    )
    return Section("Learning", pictures=(picture,), folded=True)
