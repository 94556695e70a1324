"""What E13 says of writers: tables, figure and words from its records."""

from __future__ import annotations

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import (
    Shown,
    by_seed,
    differences,
    estimates_table,
    forest,
    texts_table,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.studies.copy import copywriting_report as of_copy

#: Writer of what the marketer sends of a product that is new.
DEFAULT = "marketer's default"
_SHOWN = {
    "gold_ctr": Shown("gold CTR, %", "%"),
    "personal_gain": Shown("personal gain, %", "%"),
    "gain": Shown("gain over one for all, %", "%"),
    "passed_first": Shown("deliverable drafts, %", "%", alone=True),
    "passed": Shown("tasks with one, %", "%", alone=True),
    "own": Shown("new copy sent, %", "%", alone=True),
}
#: Columns that say that a number is of other tasks than the main ones.
_ASIDE = ("products",)
_ALL, _EACH = of_copy.ONE_FOR_ALL, "log, sent"


def report(records: Records) -> Report:
    """Return whether copy that suits its reader pays, against copy that knows none."""
    worlds = _worlds(records)
    main = records.where(**dict.fromkeys(_ASIDE))
    sections = [_gains(main)]
    launches = _launches(records)
    if launches is not None:
        sections.append(launches)
    sections += of_copy.sections(main)
    if len(records.seeds) > 1:
        sections.append(_each(main))
    return Report(
        f"Does personal copy pay? {worlds} of {records.first['copy']['log']}",
        _summary(main, worlds),
        _main_table(main, worlds),
        sections,
    )


def _worlds(records: Records) -> str:
    count = len(records.seeds)
    return f"{count} worlds" if count > 1 else "one world"


def _whole(records: Records) -> pl.DataFrame:
    aside = ("term", "segment", "task", "step", "audience", "trait")
    frame = filtered(records.estimates, **dict.fromkeys(aside))
    return frame.filter(pl.col("writer").is_not_null())


def _over_all(frame: pl.DataFrame, versus: str = _ALL) -> pl.DataFrame:
    """Return the plain numbers, and gains over one writer alone: a column for each metric."""
    return frame.filter(pl.col("versus").is_null() | (pl.col("versus") == versus))


def _summary(records: Records, worlds: str) -> str:
    about, frame = records.first, _whole(records)
    sent = f"{about['algorithm']}, sent"
    blind, permuted = f"blind {sent}", f"{sent}, permuted"

    def percent(metric: str, writer: str, **cell: str) -> str:
        return f"{interval(number(frame, metric, writer=writer, **cell), '%')}%"

    return (
        f"In {worlds} of {about['copy']['log']}, {about['algorithm']} was trained on "
        f"{about['copy']['samples']:,} scored samples with a reward that knows the reader. Its "
        f"copy (of {about['draws']} drafts for each reader of a product, channel and slot, the one "
        "that is true to its brief and that the models of clicks like best for this reader) "
        f"changes its reader's click rate by {percent('personal_gain', sent)} from the same "
        "writer's copy for other readers of the same product, channel and slot; chosen by models "
        f"that took readers for each other, by {percent('personal_gain', permuted)}. It gains "
        f"{percent('gain', sent, versus=_ALL)} over the log's best honest copy for everybody, "
        f"{percent('gain', sent, versus=_EACH)} over the log's copy chosen for each reader without "
        "writing, and "
        f"{percent('gain', sent, versus=blind)} over training and choice from the same start by "
        "models that know no reader. "
        f"{about['copy']['gold']}"
    )


def _main_table(records: Records, worlds: str) -> Table:
    frame = _over_all(_whole(records))
    tasks = records.first["copy"]["tasks"]
    over = (
        f"Means over {worlds} with 95% bootstrap intervals over worlds"
        if len(records.seeds) > 1
        else "95% intervals by bootstrap over groups of readers, one world"
    )
    caption = (
        f"{over}; {tasks:,} held-out tasks in groups of readers who are asked for the same "
        "product, channel and slot. Personal gain: own copy against the same writer's copy for the "
        "others of the group. One for all: the log's honest copy that the proxy likes best on "
        "average; chosen for each: the one that it likes best for each reader. SFT is the same for "
        "all, as are tasks, prompts, samples and numbers of drafts. Sent: of all drafts for the "
        "product, channel and slot that pass the grounding check, the one that proxy and judge "
        "like best for the reader, else the log's; or log: of these and the log's. Blind: models "
        "that know no reader train and choose; blind, chosen for each: its drafts, chosen by those "
        "that do. Permuted: drafts chosen by models that took each reader for another. "
        "Attainable: the truth's choices among the log's honest copy."
    )
    return estimates_table(frame, "writer", _SHOWN, caption)


def _gains(records: Records) -> Section:
    frame = _whole(records)
    gains = filtered(frame, metric="gain").with_columns(
        difference=pl.concat_str("writer", "versus", separator=" over ")
    )
    table = differences(
        gains.filter(pl.col("versus") != _ALL),
        "difference",
        {"gain": Shown("gain, %", "%")},
        "Change of the gold click rate, paired by task; intervals as above.",
    )
    picture = forest(
        _over_all(frame),
        "writer",
        {key: _SHOWN[key] for key in ("gold_ctr", "personal_gain", "gain")},
        "personal",
        "What the truth says of each writer and of choices of the log's copy, with 95% intervals; "
        "what is sent in orange.",
        strong=f"{records.first['algorithm']}, sent",
    )
    return Section("What is gained", (), (table,), (picture,))


def _launches(records: Records) -> Section | None:
    """Return what is gained where nobody was ever sent the product; None without launches."""
    told = records.first["launches"]
    if told is None:
        return None
    frame = filtered(records.estimates, products="launches")
    table = estimates_table(
        _over_all(frame, DEFAULT),
        "writer",
        {**_SHOWN, "gain": Shown("gain over the default, %", "%")},
        f"{told['tasks']} held-out tasks of {told['products']} products that the log never showed. "
        "Sent: of the drafts that pass the grounding check, the CTR model's favourite for the "
        "reader, and where none passes, the default; or log: of the drafts and the default.",
    )
    names = {name: name for name in told["writers"]}
    beside = texts_table(
        told["examples"],
        {"product": "product", **names},
        "The first task of each launch (first seed).",
    )
    return Section("Launches: products that no log shows", (), (table, beside))


def _each(records: Records) -> Section:
    aside = ("term", "segment", "task", "step", "audience", "trait")
    whole = records.where(**dict.fromkeys(aside))
    frame = _over_all(whole.frame).filter(pl.col("writer").is_not_null()).drop("versus")
    metrics = {key: _SHOWN[key] for key in ("personal_gain", "gain", "gold_ctr")}
    return by_seed(Records(frame, records.about), "writer", metrics, unit="world")
