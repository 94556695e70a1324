"""A multirun taken together: the records of its jobs as one table, and one report of them.

Jobs that differ in their seed alone are one study, whose own report says what they found. Jobs
that differ in more get a column for each swept key, and a table that compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.files.storage import read_json, understood
from copygym.core.files.written import keep_list
from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import FIXED, Records, joined
from copygym.experiments.report.blocks import estimates_table, forest
from copygym.experiments.report.page import Report, Section, write_report
from copygym.experiments.runs.manifest import write_joint_manifest
from copygym.experiments.runs.publish import check_publish
from copygym.experiments.studies.results import (
    PUBLISHED,
    publish_results,
    show,
    write_records,
)
from copygym.experiments.studies.study import Study

if TYPE_CHECKING:
    from copygym.experiments.sweeps.job import Job

#: Metrics that a comparison of jobs shows where their study has them, at most.
_MAIN = ("ctr", "clicks_per_user", "profit_per_user", "unsubscribe_rate")
_MOST = 6


class Compared:
    """The report of jobs that differ in more than their seed.

    Args:
        study: that ran in each.
        name: of the sweep.
        swept: columns that tell the jobs apart.
    """

    def __init__(self, study: Study, name: str, swept: Sequence[str]) -> None:
        self._study, self._name, self._swept = study, name, list(swept)

    def check(self, config: Mapping[str, Any]) -> None:
        """Leave the check to the study."""
        self._study.check(config)

    def seed_records(self, config: Any, folder: Any, trackers: Any) -> Records:
        """Leave the records to the study."""
        return self._study.seed_records(config, folder, trackers)

    def report(self, records: Records) -> Report:
        """Return one table of all jobs: a row for each cell that is named by text."""
        whole = records.whole
        frame, names = whole.estimates, whole.compared
        metrics = _metrics(frame["metric"].unique(maintain_order=True).to_list())
        count = len(records.seeds)
        caption = (
            "A row for each combination of what was swept over and of what the study compares"
            + (f"; over {count} seeds, intervals by bootstrap over them." if count > 1 else ".")
        )
        table = estimates_table(frame, names, metrics, caption)
        picture = forest(frame, names, dict(list(metrics.items())[:3]), "compared", caption)
        summary = f"Jobs that differ in {', '.join(self._swept)}, taken together."
        return Report(self._name, summary, table, [Section("Compared", (), (), (picture,))])


def _metrics(names: Sequence[str]) -> dict[str, Any]:
    from copygym.experiments.report.blocks import Shown

    chosen = [name for name in _MAIN if name in names] or list(names)[:_MOST]
    return {name: METRICS.get(name, Shown(name)) for name in chosen}


def take_together(
    folder: Path,
    jobs: Sequence[Job],
    swept: Sequence[str],
    study: Study,
    command: Sequence[str],
    publish: Path | None = None,
) -> Records:
    """Write the records and the report of a multirun's jobs to its folder; return the records.

    Args:
        folder: of the multirun.
        jobs: finished ones.
        swept: keys that the sweep went over.
        study: that ran in each.
        command: words after ``copygym``, for the manifest.
        publish: gets a copy; None: nobody does.

    Raises:
        UserError: records are missing or damaged, or lack a seed.
    """
    if publish is not None:
        check_publish(publish, PUBLISHED)
    columns = {key: _column(key, swept) for key in swept if key != "seed"}
    parts, names = [], []
    for job in jobs:
        part = Records.read(job.folder)
        own = dict(_pairs(job.overrides))
        added = {column: own.get(key, "") for key, column in columns.items()}
        parts.append(_with_columns(part, added))
        with understood(job.folder / "result.json"):
            names.append(str(read_json(job.folder / "result.json")["name"]))
    records = joined(parts)
    name = ", ".join(dict.fromkeys(names))
    reporter: Study = Compared(study, name, list(columns.values())) if columns else study
    keep_list(folder)
    # Finished jobs may be old: what their records rest on may have been edited or damaged since.
    with understood(folder):
        result = write_records(folder, records, reporter, name=name, seed=None)
        manifests = [read_json(job.folder / "manifest.json") for job in jobs]
        write_joint_manifest(folder, list(command), manifests, result)
    page, report = write_report(folder, reporter)
    show(result, report.table, page)
    if publish is not None:
        publish_results(folder, publish)
    return records


def _column(key: str, swept: Sequence[str]) -> str:
    """Return the column of a swept key: its last word where that tells it from all others."""
    short = key.rpartition(".")[2].rpartition("/")[2]
    taken = [other for other in swept if other.rpartition(".")[2].rpartition("/")[2] == short]
    return short if len(taken) == 1 and short not in FIXED else key


def _pairs(overrides: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for override in overrides:
        key, _, value = override.partition("=")
        found.append((key.lstrip("+~").partition("@")[0], value.strip("'\"")))
    return found


def _with_columns(records: Records, added: Mapping[str, str]) -> Records:
    import polars as pl

    if not added:
        return records
    kept = {name: f"{name} of the study" for name in added if name in records.frame.columns}
    frame = records.frame.rename(kept)
    frame = frame.select(
        "seed", *(pl.lit(value).alias(name) for name, value in added.items()), pl.exclude("seed")
    )
    return Records(frame, records.about)
