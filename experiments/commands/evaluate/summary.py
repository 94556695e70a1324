"""A sweep's summary in W&B: one run with the aggregates, tables and figures of an evaluation."""

from __future__ import annotations

from pathlib import Path

from copygym.evaluation.records import Records
from copygym.experiments.commands.evaluate.report import numbers
from copygym.experiments.report.page import Report
from copygym.experiments.tracking.wandb import WandbConfig, WandbMirror

#: What W&B shows as the run's config.
_TOLD = ("metric", "baseline", "unit", "tasks", "policies", "learned")


def log_summary(
    records: Records, report: Report, options: WandbConfig, folder: Path
) -> WandbMirror:
    """Send an evaluation to W&B as a run of job type "summary" and return the closed mirror.

    Args:
        records: of `combined`; W&B gets them as one table.
        report: its tables and figures.
        options: the user's own, group included; nothing of them comes from a run's folder.
        folder: W&B's own files go to ``wandb/`` in it.
    """
    group = str(options.group)
    told = {key: records.first[key] for key in _TOLD}
    names = {"group": group, "job_type": "summary", "name": f"{group}-summary"}
    mirror = WandbMirror(options, folder, told | {"title": report.title}, names)
    mirror.table("main", report.table)
    for section in report.sections:
        for number, table in enumerate(section.tables, 1):
            suffix = f"_{number}" if len(section.tables) > 1 else ""
            mirror.table(section.heading.lower().replace(" ", "_") + suffix, table)
        for picture in section.pictures:
            mirror.image(picture.name, picture.png)
    mirror.records(records.frame)
    mirror.summary(numbers(records))
    mirror.finish()
    return mirror


__all__ = ["log_summary"]
