"""Results as strict JSON, whatever numbers they hold, and outputs that can be written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import atomic, read_json, write_text
from copygym.core.files.written import is_draft_of
from copygym.core.tables.files import is_parquet
from copygym.core.text.plain import harmless

if TYPE_CHECKING:
    import polars as pl

#: Stands in the help of what writes a CSV.
FORMULAS = (
    "In a CSV, texts that begin with = + - @, a tab or a line's end get an apostrophe in front, "
    "so that no spreadsheet takes them for formulas; score and write take it off again when they "
    "read such a file. Numbers stay, and so does Parquet."
)


def write_result(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON (sorted keys, NaN as null) to ``path`` atomically."""
    write_text(path, json_text(value))


def json_text(value: Any, *, sort_keys: bool = True) -> str:
    """Return ``value`` as strict JSON (NaN as null), ending in a line break."""
    content = plain(value)
    text = json.dumps(content, indent=2, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def plain(value: Any) -> Any:
    """Return ``value`` as JSON types: arrays become lists, non-finite numbers None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def without_formulas(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table as it goes into a CSV, and say on stderr how many cells that has changed."""
    safe, changed = harmless(table)
    if changed:
        begins = "cell or column name begins" if changed == 1 else "cells or column names begin"
        sys.stderr.write(
            f"copygym: {changed:,} {begins} as a formula does and got an apostrophe in front, so "
            "that no spreadsheet runs it (Parquet keeps texts as they are)\n"
        )
    return safe


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, csv.gz or Parquet by its name, atomically; a CSV without formulas."""
    with atomic(path) as temporary:
        if is_parquet(path):
            table.write_parquet(temporary)
            return
        safe = without_formulas(table)
        if path.name.lower().endswith(".gz"):
            safe.write_csv(temporary, compression="gzip", check_extension=False)
        else:
            safe.write_csv(temporary)


def check_suffix(path: Path, option: str) -> None:
    """Raise `UserError` unless the name of a table to be written tells what kind it is."""
    if not path.name.lower().endswith((".csv", ".csv.gz", ".parquet")):
        raise UserError(f"{option}={path}: give a name that ends in .csv, .csv.gz or .parquet.")


def check_kinds(table: pl.DataFrame, source: Path, output: Path | None) -> None:
    """Refuse columns that the output's kind of file cannot hold; None is a printed CSV.

    Raises:
        UserError: a column of lists or other nested values, or of bytes, and no Parquet.
    """
    import polars as pl

    if output is not None and is_parquet(output):
        return
    for name, dtype in table.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise UserError(
                f"{source}, column {name}: a CSV cannot hold {dtype}; name a .parquet file by "
                "--output."
            )


def check_output(
    path: Path, *, reads: Path | None = None, columns: Collection[str] = (), holds: str = ""
) -> None:
    """Refuse, before any work, an ``--output`` that could not be written, or would cost a file.

    Args:
        path: as given.
        reads: the file that the command reads.
        columns: that an earlier output of the command has; none: it is no table.
        holds: what stands in an earlier output that is no table.

    Raises:
        UserError: it is a folder, a device, the file that is read or another one that is no
            earlier output of the command, or lies where nothing can be written.
    """
    if path.is_dir():
        raise UserError(f"--output={path} is a folder; name a file.")
    if path.exists() and not path.is_file():
        raise UserError(
            f"--output={path} is a pipe or a device, which a file would take the place of; name a "
            "file."
        )
    if reads is not None and path.exists() and reads.exists() and path.samefile(reads):
        raise UserError(f"--output={path} is the file that is read; name another one.")
    if path.is_file() and not _earlier_output(path, columns, holds):
        raise UserError(
            f"--output={path} is there and is no earlier output of this command; name another "
            "file, or remove it."
        )
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"--output={path}: {parent} cannot be written to; choose another folder.")


def _earlier_output(path: Path, columns: Collection[str], holds: str) -> bool:
    """Return whether a file is what the command writes; an empty one is nobody's."""
    import polars as pl

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        if path.stat().st_size == 0:
            return True
        if path.name.lower().endswith((".parquet", ".pq")):
            return set(columns) <= pl.read_parquet_schema(path).keys()
        with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
            head = str(stream.read(1 << 16))
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError):
        return False
    if not columns:
        return holds in head
    return set(columns) <= set(next(csv.reader(io.StringIO(head)), []))


def check_output_folder(
    folder: Path, names: Collection[str], key: str, marker: str = "result.json"
) -> None:
    """Refuse, before any work, an ``--output`` folder that holds more than an earlier output.

    Args:
        folder: as given.
        names: of the files that are written there; ``marker`` is one.
        key: that the marker of an earlier output has, itself or in each of its entries.
        marker: JSON file by which an earlier output is known.

    Raises:
        UserError: it is a file, holds files of another origin, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder} is a file; name a folder.")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    # Drafts of a killed command go when it writes the same names again.
    there = [name for name in found if not any(is_draft_of(name, wanted) for wanted in names)]
    other = next((name for name in there if name not in names), None)
    if other is None and there and not _holds(folder / marker, key):
        other = there[0]
    if other is not None:
        raise UserError(
            f"--output={folder} holds other files, such as {other!r}, which copygym did not write "
            "there; name a new or empty folder."
        )
    check_output(folder / marker)


def _holds(path: Path, key: str) -> bool:
    try:
        content = read_json(path)
        parts = [part for part in content.values() if isinstance(part, dict)]
        return key in content or (bool(parts) and all(key in part for part in parts))
    except UserError:
        return False
