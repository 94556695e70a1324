"""A stage's outcome on disk: values as JSON, arrays as npz, and what tells whether they are whole.

Whatever a stage has written, its folders too, is noted with its SHA-256. A file that was cut, whose
bits have turned or in whose place another one lies is found when the stage is asked for, and the
stage is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.checksum import sha256_of
from copygym.core.files.storage import check_ends, read_arrays, read_json, understood, write_arrays
from copygym.experiments.runs.outputs import plain, write_result


@dataclass(frozen=True)
class Record:
    """What a stage leaves behind: plain values and named arrays."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Doing:
    """A stage that is being computed.

    Attributes:
        seconds: wall and CPU time that it has spent outside inner stages, once it has ended.
        folders: that it has written.
        inner: seconds of the stages inside it.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    inner: list[float] = field(default_factory=lambda: [0.0, 0.0])


#: Stages that are being computed, the outermost first.
_doing: list[Doing] = []


@contextmanager
def doing() -> Iterator[Doing]:
    """Yield what is known, after the block, of the stage that it computes."""
    stage = Doing()
    start = time.perf_counter(), time.process_time()
    _doing.append(stage)
    try:
        yield stage
    finally:
        _doing.pop()
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        if _doing:
            _doing[-1].inner = [a + b for a, b in zip(_doing[-1].inner, spent, strict=True)]
    names = ("wall_seconds", "cpu_seconds")
    for name, total, part in zip(names, spent, stage.inner, strict=True):
        stage.seconds[name] = round(max(total - part, 0.0), 3)


def wrote(folder: Path) -> None:
    """Note that the stage which is being computed, if any is, has written a folder."""
    if _doing:
        _doing[-1].folders.append(folder)


def write_stage(record: Path, root: Path, outcome: Record, stage: Doing) -> None:
    """Write what a stage leaves behind.

    Args:
        record: JSON file, which marks the stage as finished and so is written last.
        root: folder of the run.
        outcome: to write.
        stage: that has been computed.
    """
    arrays = record.with_suffix(".npz")
    written = [file for folder in stage.folders for file in sorted(folder.rglob("*"))]
    if outcome.arrays:
        write_arrays(arrays, outcome.arrays)
        written.append(arrays)
    files = {
        path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in written
        if path.is_file() and path.is_relative_to(root)
    }
    content = {"values": outcome.values, "arrays": bool(outcome.arrays), "files": files}
    content["values_sha256"] = _digest(outcome.values)
    write_result(record, content | stage.seconds)


def read_stage(record: Path) -> Record:
    """Read what a finished stage has left behind.

    Raises:
        UserError: it is damaged.
    """
    with understood(record):
        stored = read_json(record)
        values: dict[str, Any] = {**stored["values"]}
        loaded = read_arrays(record.with_suffix(".npz")) if stored["arrays"] else {}
        if stored.get("values_sha256", _digest(values)) != _digest(values):
            raise UserError(
                f"{record} is not as it was written (its checksum differs): it is damaged; delete "
                "it and make it again."
            )
    return Record(values, loaded)


def check_stage(record: Path, root: Path) -> None:
    """Check that every file which a finished stage has written is as it was.

    Files of stages before copygym noted checksums are left to their readers.

    Args:
        record: of the stage.
        root: folder of the run.

    Raises:
        UserError: one is missing or has changed, or what was noted of it cannot be read.
    """
    with understood(record):
        for name, noted in read_json(record).get("files", {}).items():
            parts = PurePosixPath(name)
            if parts.is_absolute() or ".." in parts.parts:
                raise UserError(f"{record} names {name!r}, which is no file of its run.")
            path = root / parts
            if not os.path.lexists(path):
                raise UserError(f"{path} is missing, though {record.name} notes it.")
            check_ends(path)
            if path.stat().st_size != noted["bytes"] or sha256_of(path) != noted["sha256"]:
                raise UserError(
                    f"{path} is not as it was written (its checksum differs): it is damaged."
                )


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(plain(values), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
