"""``copygym data prepare``: a log of any size as Parquet parts, each user's rows in one, in order.

The log is validated in a stream, as `ClickLog.read` does; then its rows are dealt out to parts and
every part is sorted by itself. Memory holds a piece of the log or one part of it, never all. What
deals the rows out is an engine: polars on this machine (here), or a Ray Data job
(`copygym.envs.logs.prepare_ray`); the rows of the parts are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.locks import locked
from copygym.core.files.storage import atomic, write_json
from copygym.core.files.written import LIST, has_list, is_draft_of, keep_list
from copygym.core.progress import progress
from copygym.core.tables.files import is_csv, log_files, resolve_log_path, write_frame
from copygym.core.tables.prepared import (
    MANIFEST,
    MOST_PARTS,
    new_preparation,
    part_names,
    read_preparation,
    whole,
)
from copygym.envs.logs.clicklog import ClickLog

ENGINES = ("polars", "ray")
#: Columns that are there while rows are dealt out: the row's number in the source, and its part.
ROW, PART = "__row__", "__part__"
#: Rows that are read at a time, and rows of a part where nobody chose the number of parts: at 19
#: columns, some hundreds of megabytes.
PIECE_ROWS, PART_ROWS = 500_000, 1_000_000
_STAGING = ".staging"


@dataclass(frozen=True)
class Deal:
    """How rows come to parts; the same for every engine, and sent to Ray's workers as it is.

    Attributes:
        frame: the validated log; where others than this process read it, by absolute paths.
        out: the folder of the parts, absolute.
        key: the column whose values stay together; None deals the rows out one by one.
        order: columns by which a part is sorted; the row's number comes last, so that no two rows
            are equal.
        partitions: number of parts.
        missing: numbers of the parts that are to be written, ascending.
    """

    frame: pl.LazyFrame
    out: Path
    key: str | None
    order: tuple[str, ...]
    partitions: int
    missing: tuple[int, ...]

    def piece(self, start: int, rows: int) -> pl.LazyFrame:
        """Return ``rows`` rows of the log from ``start``, with their numbers and missing parts."""
        # Cut before anything is added, so that polars skips what lies before in the files.
        frame = self.frame.slice(start, rows).with_row_index(ROW, offset=start)
        frame = frame.with_columns(pl.col(ROW).cast(pl.Int64))
        code = pl.col(ROW)
        if self.key is not None:
            code = pl.col(self.key).map_batches(_codes, return_dtype=pl.Int64, is_elementwise=True)
        frame = frame.with_columns((code % self.partitions).alias(PART))
        if len(self.missing) == self.partitions:
            return frame
        return frame.filter(pl.col(PART).is_in(self.missing))

    def nothing(self) -> pl.DataFrame:
        """Return the rows of a part to which none came."""
        return pl.DataFrame(schema=self.piece(0, 0).drop(PART).collect_schema())

    def write(self, part: int, rows: pl.DataFrame) -> dict[str, Any]:
        """Sort a part's ``rows`` (with `ROW`), write its file at once; return what to note of it.

        Raises:
            UserError: the file cannot be written.
        """
        name = part_names(self.partitions)[part]
        path = self.out / name
        try:
            with atomic(path) as temporary:
                rows.sort(self.order).drop(ROW).write_parquet(temporary)
                with temporary.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = temporary.stat().st_size
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror or error}).") from error
        return {"name": name, "rows": rows.height, "bytes": size, "sha256": digest}


def _codes(ids: pl.Series) -> pl.Series:
    """Return a number below 2**32 for each id, the same on every machine and in every version."""
    if ids.is_empty():
        return pl.Series(ids.name, [], dtype=pl.Int64)
    distinct = ids.unique()
    codes = pl.Series([zlib.crc32(value.encode()) for value in distinct], dtype=pl.Int64)
    return ids.replace_strict(distinct, codes, return_dtype=pl.Int64)


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    partitions: int | None = None,
    engine: str = "polars",
    address: str | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    time_zone: str | None = None,
    empty: Mapping[str, Any] | None = None,
    ignore: Sequence[str] = (),
    time_format: str | None = None,
    cap: Sequence[str] = (),
) -> dict[str, Any]:
    """Write a log as Parquet parts with a manifest; go on where an earlier call was stopped.

    Rows with one ``user_id`` (without users, one ``test_id``) are in one part, sorted by that id,
    by time and by their order in the source. Every part that is there is whole, and a folder of
    which a part is missing is not read as a log.

    Args:
        source: a CSV, a Parquet file or a folder of Parquet, as for `ClickLog.read`.
        out: the folder to write; new, empty, or of an earlier call with the same arguments.
        partitions: number of parts; None makes one for every million rows.
        engine: ``polars`` (this machine) or ``ray``.
        address: of the Ray cluster to join; None starts a Ray that only this machine reaches.
        columns: canonical name -> column of the source.
        constants: canonical name -> one value for every row.
        separator: of a CSV.
        encoding: of a CSV.
        time_zone: IANA zone of timestamps that carry none.
        empty: canonical name -> what an empty value means.
        ignore: columns of the source that are left out.
        time_format: how the source writes times; None: as ISO 8601.
        cap: counts that are cut to what they can be at most.

    Returns:
        The manifest.

    Raises:
        UserError: a fault of the source, a folder that holds something else, or no Ray.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, list(ENGINES))
    if partitions is not None and not 1 <= partitions <= MOST_PARTS:
        raise UserError(f"--partitions {partitions}: a log has 1 to {MOST_PARTS:,} parts.")
    if address is not None and engine != "ray":
        raise UserError(f"--address {address}: only `--engine ray` joins a cluster; add it.")
    file, folder = resolve_log_path(source), Path(out).expanduser()
    if folder.is_file():
        raise UserError(f"{folder} is a file; --out names a folder.")
    if folder.resolve() in (file.resolve(), file.resolve().parent):
        raise UserError(f"{folder} holds the source itself; choose another --out.")
    reading: dict[str, Any] = {
        "columns": dict(columns or {}),
        "constants": dict(constants or {}),
        "separator": separator,
        "encoding": encoding,
        "time_zone": time_zone,
    }
    # Only where they are used, so that folders prepared before these options are still known.
    reading |= {
        k: v
        for k, v in (
            ("empty", dict(empty or {})),
            ("ignore", list(ignore)),
            ("time_format", time_format),
            ("cap", list(cap)),
        )
        if v
    }
    fresh = not folder.exists()
    with locked(folder):
        manifest = _earlier(folder, _identity(file, reading), partitions)
        if manifest is not None and manifest["complete"] and not _missing(folder, manifest):
            if has_list(folder / _STAGING):  # killed between its last part and its end
                _remove_staging(folder.absolute() / _STAGING)
            return manifest
        with _staging(folder, fresh) as staging:
            log = ClickLog.read(file.absolute() if engine == "ray" else file, **reading)
            frame = log.frame
            if is_csv(file):
                # Text can only be read from its start, so it is read once more and no oftener.
                rows_file = write_frame(frame, staging / "rows.parquet")
                frame = pl.scan_parquet(rows_file, glob=False, hive_partitioning=False)
            rows = int(frame.select(pl.len()).collect(engine="streaming").item())
            if manifest is None:
                manifest = _begin(folder, file, reading, log, rows, partitions)
            _deal_out(manifest, frame, rows, folder, staging, engine, address)
            return _finish(folder, manifest, rows)


def _identity(file: Path, reading: Mapping[str, Any]) -> str:
    """Return a hash of the source's files (names, sizes, times of change) and how it is read."""
    stats = [(path, path.stat()) for path in log_files(file)]
    root = file if file.is_dir() else file.parent
    seen = [[str(p.relative_to(root)), s.st_size, s.st_mtime_ns] for p, s in stats]
    text = json.dumps([seen, reading], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _earlier(folder: Path, identity: str, partitions: int | None) -> dict[str, Any] | None:
    """Return the manifest of an earlier call with the same arguments; None where there was none.

    Raises:
        UserError: the folder is of another call, or holds something else.
    """
    manifest = read_preparation(folder)
    if manifest is None:
        names = sorted(p.name for p in folder.iterdir() if p.name != _STAGING)
        # A call that was killed as it began leaves a draft of its manifest.
        others = [name for name in names if not is_draft_of(name, MANIFEST)]
        if others:
            raise UserError(
                f"{folder} holds {others[0]!r} and no {MANIFEST}, so it is no prepared log; choose "
                "another --out."
            )
        return None
    if manifest["source"]["identity"] != identity:
        raise UserError(
            f"{folder} was prepared from {manifest['source']['name']!r} as another file, or with "
            "other options, or the file has changed since; choose another --out or delete it."
        )
    if partitions not in (None, manifest["partitions"]):
        raise UserError(
            f"{folder} has {manifest['partitions']} parts, not the {partitions} of --partitions; "
            "leave that out, or choose another --out."
        )
    return manifest


def _missing(folder: Path, manifest: Mapping[str, Any]) -> tuple[int, ...]:
    names = enumerate(part_names(manifest["partitions"]))
    return tuple(k for k, n in names if not whole(folder, n, manifest["parts"].get(n)))


@contextmanager
def _staging(folder: Path, fresh: bool) -> Iterator[Path]:
    """Yield a folder inside ``folder`` for what is in between; what a killed call left there goes.

    A folder that was made for this call and in which nothing was written goes, too.
    """
    path = folder.absolute() / _STAGING
    _remove_staging(path)
    try:
        keep_list(path)
        yield path
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}).") from error
    finally:
        _remove_all(path)
        if fresh:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _remove_staging(path: Path) -> None:
    """Remove what a killed call left.

    Raises:
        UserError: somebody else made a folder of this name, or a file.
    """
    if has_list(path) and not path.is_symlink():
        _remove_all(path)
    with suppress(OSError):
        path.rmdir()  # killed before its list was begun
    if os.path.lexists(path):
        raise UserError(
            f"{path} was not made by copygym, which needs a folder of this name for a while; move "
            "it elsewhere, or choose another --out."
        )


def _remove_all(path: Path) -> None:
    """Remove a folder, its list last: killed meanwhile, what is left is still known for ours."""
    for part in path.iterdir() if path.is_dir() else ():
        if part.name == LIST:
            continue
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _begin(
    folder: Path,
    file: Path,
    reading: Mapping[str, Any],
    log: ClickLog,
    rows: int,
    partitions: int | None,
) -> dict[str, Any]:
    """Write the manifest of a log of which no part is there yet, and return it."""
    key = next((name for name in ("user_id", "test_id") if log.has(name)), None)
    files = log_files(file)
    manifest = new_preparation(
        source={
            "name": file.name,
            "files": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "identity": _identity(file, reading),
        },
        reading=dict(reading),
        key=key,
        order=[name for name in (key, "timestamp") if name and log.has(name)],
        partitions=partitions or max(1, -(-rows // PART_ROWS)),
        columns={name: str(kind) for name, kind in log.frame.collect_schema().items()},
        notes=list(log.notes),
        rows=rows,
    )
    write_json(folder / MANIFEST, manifest)
    return manifest


def _deal_out(
    manifest: dict[str, Any],
    frame: pl.LazyFrame,
    rows: int,
    folder: Path,
    staging: Path,
    engine: str,
    address: str | None,
) -> None:
    """Write the parts that are missing; each is noted as soon as it is there."""
    missing = _missing(folder, manifest)
    if not missing:  # killed between its last part and its end
        return
    deal = Deal(
        frame,
        folder.absolute(),
        manifest["key"],
        (*manifest["order"], ROW),
        manifest["partitions"],
        missing,
    )
    pieces = [(start, min(PIECE_ROWS, rows - start)) for start in range(0, rows, PIECE_ROWS)]
    written: Iterator[dict[str, Any]]
    if engine == "ray":
        from copygym.envs.logs.prepare_ray import ray_parts

        written = ray_parts(deal, pieces, address)
    else:
        written = _polars_parts(deal, pieces, staging)
    manifest["complete"] = False
    already = manifest["partitions"] - len(missing)
    with progress(what="parts", total=manifest["partitions"], initial=already) as bar:
        for part in written:
            manifest["parts"][part.pop("name")] = part
            write_json(folder / MANIFEST, manifest)
            bar.update()


def _polars_parts(
    deal: Deal, pieces: Sequence[tuple[int, int]], staging: Path
) -> Iterator[dict[str, Any]]:
    """Deal the pieces out to files in ``staging``, then write the parts one after the other."""
    for number, (start, rows) in enumerate(progress(pieces, "pieces", leave=False)):
        # A query of its own for each piece: in one over all, memory grew with the rows.
        target = pl.PartitionBy(staging / f"{number:06d}", key=PART, include_key=False)
        deal.piece(start, rows).sink_parquet(target, mkdir=True, compression="lz4")
    for part in deal.missing:
        files = sorted(staging.glob(f"*/{PART}={part}/*.parquet"))
        found = (
            pl.read_parquet(files, glob=False, hive_partitioning=False) if files else deal.nothing()
        )
        yield deal.write(part, found)


def _finish(folder: Path, manifest: dict[str, Any], rows: int) -> dict[str, Any]:
    """Check the rows of all parts against the source's, and mark the manifest as complete."""
    names = part_names(manifest["partitions"])
    parts = {name: manifest["parts"][name] for name in names}
    found = sum(part["rows"] for part in parts.values())
    if found != rows:
        raise UserError(
            f"{folder} has {found:,} rows where the source has {rows:,}: it changed while it was "
            "read; delete the folder and prepare it again."
        )
    digests = "".join(part["sha256"] for part in parts.values())
    manifest |= {
        "complete": True,
        "parts": parts,
        "sha256": hashlib.sha256(digests.encode()).hexdigest(),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest
