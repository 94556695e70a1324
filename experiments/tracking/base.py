"""Tracking: local files always, Weights & Biases as their mirror.

The files in the run's folder (``config.yaml``, ``metrics.jsonl``, ``tables/``, ``figures/``,
``result.json``) are the source of truth. W&B gets copies; whatever happens to it, the run goes
on, because tracking must never cost a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from copygym.core.files import written
from copygym.core.files.storage import write_bytes, write_text
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.outputs import plain
from copygym.experiments.tracking.wandb import METRICS, WandbConfig, WandbMirror

if TYPE_CHECKING:
    import polars as pl


class Tracker(Protocol):
    """Where a run reports to; every metric is named ``stage/name``."""

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Report the metrics of a stage at a step of that stage (env steps while learning)."""
        ...

    def table(self, name: str, table: Table) -> None:
        """Report a finished table."""
        ...

    def records(self, frame: pl.DataFrame) -> None:
        """Report the study's records."""
        ...

    def image(self, name: str, png: bytes) -> None:
        """Report a picture."""
        ...

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """Report a file or folder, such as a model."""
        ...

    def summary(self, values: Mapping[str, float]) -> None:
        """Report the run's final numbers."""
        ...

    def finish(self, failed: bool = False) -> None:
        """Close the run."""
        ...


class LocalFiles:
    """Writes metrics, tables and figures into the run's folder.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metrics = folder / METRICS

    def begin(self, stage: str) -> None:
        """Forget what a killed run logged of this stage before it starts again."""
        if not self._metrics.exists():
            return
        lines = self._metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _stage_of(line) not in (None, stage)]
        write_text(self._metrics, "".join(line + "\n" for line in kept))

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Append one line: stage, step and metrics."""
        line = json.dumps(plain({"stage": stage, "step": step, **metrics}), allow_nan=False)
        written.check_inside(self._metrics, self.folder)
        written.note(self._metrics)
        with self._metrics.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def table(self, name: str, table: Table) -> None:
        """Write ``tables/NAME.md``."""
        path = self.folder / "tables" / f"{name}.md"
        written.check_inside(path, self.folder)
        write_text(path, table.to_page())

    def records(self, frame: pl.DataFrame) -> None:
        """Leave the records to ``records.parquet``."""

    def image(self, name: str, png: bytes) -> None:
        """Write ``figures/NAME.png``."""
        path = self.folder / "figures" / f"{name}.png"
        written.check_inside(path, self.folder)
        write_bytes(path, png)

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """Leave the file where it is: it already lies in the run's folder."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Leave the numbers to ``result.json``, which holds them all."""

    def finish(self, failed: bool = False) -> None:
        """Nothing stays open."""


def _stage_of(line: str) -> str | None:
    """Return the stage of a metrics line; None for the half line that a kill can leave."""
    try:
        return str(json.loads(line)["stage"])
    except (ValueError, KeyError, TypeError):
        return None


class Trackers:
    """Local files first, then every mirror.

    Args:
        local: the source of truth.
        mirrors: told the same afterwards.
        inside: of the run, what is reported: goes before every stage's and artifact's name.
    """

    def __init__(
        self, local: LocalFiles, mirrors: tuple[Tracker, ...] = (), inside: str = ""
    ) -> None:
        self.local = local
        self._all: tuple[Tracker, ...] = (local, *mirrors)
        self._inside = inside

    def within(self, part: str) -> Trackers:
        """Return trackers of a part of the run, such as a seed, whose stages stand apart."""
        return Trackers(self.local, self._all[1:], f"{self._inside}{part}/")

    def begin(self, stage: str) -> None:
        """Start a stage's metrics afresh."""
        self.local.begin(self._inside + stage)

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Report metrics everywhere."""
        for tracker in self._all:
            tracker.log(self._inside + stage, metrics, step)

    def table(self, name: str, table: Table) -> None:
        """Report a table everywhere."""
        for tracker in self._all:
            tracker.table(name, table)

    def records(self, frame: pl.DataFrame) -> None:
        """Report the study's records everywhere."""
        for tracker in self._all:
            tracker.records(frame)

    def image(self, name: str, png: bytes) -> None:
        """Report a picture everywhere."""
        for tracker in self._all:
            tracker.image(name, png)

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """Report a file or folder everywhere."""
        for tracker in self._all:
            # W&B wants no slash in the name of an artifact.
            tracker.artifact(self._inside.replace("/", "-") + name, kind, path)

    def summary(self, values: Mapping[str, float]) -> None:
        """Report the final numbers everywhere."""
        for tracker in self._all:
            tracker.summary(values)

    def finish(self, failed: bool = False) -> None:
        """Close every tracker."""
        for tracker in self._all:
            tracker.finish(failed)


def make_trackers(
    config: Mapping[str, Any],
    folder: Path,
    run_config: Mapping[str, Any],
    names: Mapping[str, str],
) -> Trackers:
    """Return the trackers of a run: local files, and W&B unless it is disabled.

    Args:
        config: the ``tracker`` part of the config (fields of `WandbConfig`).
        folder: the run's folder.
        run_config: the resolved config.
        names: default ``group``, ``job_type`` and ``name``.
    """
    local = LocalFiles(folder)
    options = WandbConfig(**config)
    if options.mode == "disabled":
        return Trackers(local)
    return Trackers(local, (WandbMirror(options, folder, run_config, names, goes_on=True),))
