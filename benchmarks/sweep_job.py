"""A study that does nothing but work for so long: what a sweep costs beside its jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from copygym.evaluation.records import Records, Rows
from copygym.experiments.report.page import Report
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.folder import Record, RunFolder


def check(config: Mapping[str, Any]) -> None:
    """Accept any config."""


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Any) -> Records:
    """Keep one core busy for ``work`` CPU seconds."""

    def compute() -> Record:
        end = time.process_time() + float(config["work"])
        while time.process_time() < end:
            pass
        return Record()

    folder.stage("work", compute)
    rows = Rows(int(config["seed"]))
    rows.add("work", float(config["work"]))
    return Records(rows.frame, {rows.seed: {}})


def report(records: Records) -> Report:
    """Return an empty table."""
    return Report("Work", "", Table(("work",), ()), [])
