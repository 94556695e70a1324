"""A folder of Parquet files, whose sub-folders may be named ``column=value`` (Hive partitions)."""

from __future__ import annotations

import re
import urllib.parse
from collections import defaultdict
from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.kind import named_parquet

_NOTHING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files right in a folder, else those in its ``column=value`` folders.

    Other sub-folders are left alone: they may hold anything.

    Raises:
        UserError: there are both, of which one would be left out.
    """
    files = sorted(path for path in folder.iterdir() if _table(path))
    if not files:
        return sorted(path for path in folder.glob("*=*/**/*") if _table(path))
    inside = next((path for path in folder.glob("*=*/**/*") if _table(path)), None)
    if inside is not None:
        raise UserError(
            f"{folder} holds {files[0].name} and, in a folder of its own, "
            f"{inside.relative_to(folder)}; name one of them, or keep them apart."
        )
    return files


def _table(path: Path) -> bool:
    return named_parquet(path) and not path.name.startswith(".") and path.is_file()


def scan_folder(folder: Path, parts: list[Path] | None = None) -> pl.LazyFrame:
    """Return the rows of a folder's Parquet files, in the order of their names.

    Args:
        folder: where they are; names of folders above it say nothing of the rows.
        parts: the files, where a manifest names them.
    """
    files = parquet_files(folder) if parts is None else parts
    groups: dict[tuple[tuple[str, str | None], ...], list[Path]] = defaultdict(list)
    for file in files:
        groups[_partition(file.relative_to(folder).parent)].append(file)
    if list(groups) == [()]:
        return pl.scan_parquet(files, glob=False, hive_partitioning=False)
    kinds = _kinds(list(groups))
    # polars would take the names of folders above for columns, unless it finds the files itself.
    alone = "=" in str(folder) and sum(path.is_file() for path in folder.rglob("*")) == len(files)
    if "=" not in str(folder) or alone:
        source = folder if alone else files
        return pl.scan_parquet(source, glob=False, hive_partitioning=True, hive_schema=kinds)
    frames = []
    for partition, paths in groups.items():
        values = [
            pl.lit(value, dtype=pl.String).cast(kinds[name]).alias(name)
            for name, value in partition
        ]
        scanned = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        frames.append(scanned.with_columns(values))
    return pl.concat(frames)


def _partition(relative: Path) -> tuple[tuple[str, str | None], ...]:
    pairs = (part.partition("=") for part in relative.parts if "=" in part)
    decoded = [(name, urllib.parse.unquote(value)) for name, _, value in pairs]
    return tuple((name, None if value == _NOTHING else value) for name, value in decoded)


def _kinds(
    partitions: list[tuple[tuple[str, str | None], ...]],
) -> dict[str, pl.DataType]:
    """Return the type of each partition's column: whole numbers where all look so, else text."""
    values: dict[str, list[str]] = defaultdict(list)
    for partition in partitions:
        for name, value in partition:
            if value is not None:
                values[name].append(value)
    kinds: dict[str, pl.DataType] = {}
    for name in {name for partition in partitions for name, _ in partition}:
        whole = values[name] and all(map(_WHOLE.fullmatch, values[name]))
        kinds[name] = pl.Int64() if whole else pl.String()
    return kinds
