"""Reading and writing log files: CSV, csv.gz, Parquet, and folders of partitioned Parquet.

What a file is, its content says (`copygym.core.tables.kind`). A CSV is read as text and cast
later, so that a bad value can be quoted as the file has it. Before anything is read, its form is
surveyed (`copygym.core.tables.csv`), so that every row is there whatever columns are asked for: a
file that polars would read otherwise is read row by row, or refused with the row.
"""

from __future__ import annotations

import contextlib
import difflib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl

from copygym.core.errors import UserError
from copygym.core.files.checksum import stamp
from copygym.core.files.storage import atomic
from copygym.core.tables.csv import OpenedTable, find_bad_byte, open_csv
from copygym.core.tables.hive import parquet_files, scan_folder
from copygym.core.tables.kind import PARQUET_SUFFIXES, content_of, is_csv
from copygym.core.tables.kind import named_parquet as is_parquet
from copygym.core.tables.prepared import prepared_parts

__all__ = [
    "CSV_SUFFIXES",
    "PARQUET_SUFFIXES",
    "OpenedTable",
    "is_csv",
    "is_parquet",
    "log_files",
    "open_table",
    "readable",
    "resolve_log_path",
    "write_frame",
]

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")


def resolve_log_path(path: str | Path) -> Path:
    """Return the log that ``path`` means: a file, or a folder with one log in it.

    Raises:
        UserError: nothing is there, or a folder holds none, several or an unfinished one.
    """
    try:
        path = Path(path)
        # A file of such a name comes before the home folder: spreadsheets call drafts ~name.
        path = path if path.is_file() else path.expanduser()
        if path.is_file():
            return path
        there, folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise UserError(f"{path} cannot be opened ({reason}); check the path.") from None
    if not there:
        raise _nothing_there(path)
    if not folder:
        raise UserError(
            f"{path} is a pipe or a device and no file; save what comes out of it as a file first "
            "(a .csv.gz needs no unpacking)."
        )
    if prepared_parts(path) is not None:
        return path
    parquet = any(parquet_files(path))
    files = sorted(p for p in path.iterdir() if p.is_file() and _named_csv(p))
    if parquet and not files:
        return path
    if len(files) == 1 and not parquet:
        return files[0]
    listed = ", ".join(p.name for p in files[:8]) or "none"
    raise UserError(
        f"{path} is a folder with {len(files)} CSV files ({listed}) and "
        f"{'' if parquet else 'no '}Parquet files; name one file."
    )


def _nothing_there(path: Path) -> UserError:
    parent = path.parent
    if path.is_symlink():
        return UserError(f"{path} is a link to a file that is not there; check where it leads.")
    hint = "check the path."
    with contextlib.suppress(OSError):
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        if close := difflib.get_close_matches(path.name, names, n=1):
            hint = f"did you mean {str(parent / close[0])!r}?"
    return UserError(f"{path}: there is no such file; {hint}")


def _named_csv(path: Path) -> bool:
    return path.name.lower().endswith(CSV_SUFFIXES)


def log_files(path: Path) -> list[Path]:
    """Return the files of the log that `resolve_log_path` has found, in the order of their rows.

    Raises:
        UserError: a prepared log of which a part is missing.
    """
    if not path.is_dir():
        return [path]
    prepared = prepared_parts(path)
    return parquet_files(path) if prepared is None else prepared[0]


def separator_of(path: Path, separator: str | None) -> str:
    """Return the column separator: as given, else a tab for .tsv files and a comma.

    A tab may be written as ``\\t`` or ``tab``, since a shell passes it on so.
    """
    separator = "\t" if separator in ("\\t", "tab") else separator
    if separator is not None and (
        len(separator) != 1 or not separator.isascii() or separator in '\r\n"\0'
    ):
        raise UserError(f"the separator {separator!r} is not one ASCII character, such as ';'.")
    return separator or ("\t" if ".tsv" in path.name.lower() else ",")


def open_table(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: list[str] | None = None,
    quote: str | None = '"',
    detect: bool = False,
) -> OpenedTable:
    """Open a table file. Every row of it is in the frame, whatever columns are asked for.

    Args:
        path: a CSV or TSV (packed by gzip or not), a Parquet file, or a folder of Parquet files
            whose sub-folders may be named ``column=value`` (Hive partitions become columns).
        separator: of a CSV; None means comma, or tab for ``.tsv``.
        encoding: of a CSV without a byte order mark.
        header: names of the columns of a CSV without a header line.
        quote: the quote mark of a CSV; None where quotes are ordinary characters.
        detect: where the given separator splits no header and another does, take that one; else
            it is asked for.

    Raises:
        UserError: missing, empty or unreadable file, unknown encoding, or a row that cannot be
            read exactly.
    """
    path = resolve_log_path(path)
    with readable(path):
        if path.is_dir():
            prepared = prepared_parts(path)
            return OpenedTable(scan_folder(path, None if prepared is None else prepared[0]))
        if content_of(path).kind == "parquet":
            frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            frame.collect_schema()  # a file that is no Parquet fails here, not later
            named = () if is_parquet(path) else (f"{path.name} is a Parquet file.",)
            return OpenedTable(frame, named)
        wanted = None if header is None else tuple(header)
        mark = separator_of(path, separator)
        given = (mark, separator is not None, detect)
        here = (str(Path.cwd()), *stamp(path))
        return open_csv(path, here, given, encoding, wanted, quote is not None)


@contextlib.contextmanager
def readable(path: str | Path, separator: str | None = None) -> Iterator[None]:
    """Turn what polars raises while it reads ``path`` into a `UserError` that names the place."""
    path = Path(path)
    try:
        yield
    except pl.exceptions.NoDataError:
        raise UserError(f"{path} is empty; it needs a header and at least one row.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise UserError(
            f"{path} is a damaged or truncated gzip file; fetch or compress it again."
        ) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (13, 1):
            raise UserError(f"{path} may not be read: permission denied.") from None
        text = is_csv(path)
        if text:
            with readable(path):
                find_bad_byte(path, path, separator_of(path, separator))
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read as {'CSV' if text else 'Parquet'} ({reason}); is the file "
            "whole, and of this format?"
        ) from error


def write_frame(frame: pl.LazyFrame, path: str | Path) -> Path:
    """Stream ``frame`` to a ``.parquet``, ``.csv`` or ``.csv.gz`` file, atomically.

    Raises:
        UserError: the name has another suffix, or the folder cannot be written.
    """
    path = Path(path).expanduser()
    name = path.name.lower()
    if not (is_parquet(path) or name.endswith((".csv", ".csv.gz"))):
        raise UserError(f"{path}: a log is written as .parquet, .csv or .csv.gz; rename it.")
    try:
        with atomic(path) as temporary:
            if is_parquet(path):
                frame.sink_parquet(temporary)
            else:
                _sink_csv(frame, temporary, compress=name.endswith(".gz"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}).") from error
    return path


def _sink_csv(frame: pl.LazyFrame, path: Path, *, compress: bool) -> None:
    time = "%Y-%m-%dT%H:%M:%S%.6f%:z"
    with path.open("wb") as stream:
        if not compress:
            frame.sink_csv(stream, datetime_format=time)
            return
        # No name and no time in the gzip header, so that equal logs make equal files.
        with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
            frame.sink_csv(cast(IO[bytes], packed), datetime_format=time)
