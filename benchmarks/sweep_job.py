"""A job that does nothing but work for so long: what a sweep costs beside its jobs."""

from __future__ import annotations

import time
from typing import Any

from copygym.experiments.report.tables import Table
from copygym.experiments.runs.folder import Record, RunFolder


def run(config: dict[str, Any], folder: RunFolder, trackers: Any) -> dict[str, Any]:
    """Keep one core busy for ``work`` CPU seconds."""

    def compute() -> Record:
        end = time.process_time() + float(config["work"])
        while time.process_time() < end:
            pass
        return Record()

    folder.stage("work", compute)
    return {"title": "Work", "summary": "", "notes": [], "assumptions": []}


def sections(result: dict[str, Any]) -> list[Any]:
    """Return nothing to report."""
    return []


def main_table(result: dict[str, Any]) -> Table:
    """Return an empty table."""
    return Table(("work",), ())
