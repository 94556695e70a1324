"""Reading and writing log files: CSV, csv.gz, Parquet, and folders of partitioned Parquet.

A CSV is read as text and cast later, so that a bad value can be quoted as the file has it.
Faults that polars reports without a place (encoding, ragged lines) are located here by a second,
slower look at the file.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import polars as pl

from copygym.envs.errors import UserError
from copygym.envs.preparedlog import prepared_parts
from copygym.envs.storage import atomic

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
_BLOCK = 1 << 20
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def is_csv(path: Path) -> bool:
    """Tell whether the file's name says CSV (or TSV), compressed or not."""
    return path.name.lower().endswith(CSV_SUFFIXES)


def is_parquet(path: Path) -> bool:
    """Tell whether the file's name says Parquet."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def resolve_log_path(path: str | Path) -> Path:
    """Return the log that ``path`` means: a file, or a folder with one log in it.

    Raises:
        UserError: nothing is there, or a folder holds none, several or an unfinished one.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.exists():
        parent = path.parent
        names = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
        close = difflib.get_close_matches(path.name, names, n=1)
        hint = f"did you mean {str(parent / close[0])!r}?" if close else "check the path."
        raise UserError(f"{path}: there is no such file; {hint}")
    if prepared_parts(path) is not None:
        return path
    parquet = any(_parquet_files(path))
    files = sorted(p for p in path.iterdir() if p.is_file() and is_csv(p))
    if parquet and not files:
        return path
    if len(files) == 1 and not parquet:
        return files[0]
    listed = ", ".join(p.name for p in files[:8]) or "none"
    raise UserError(
        f"{path} is a folder with {len(files)} CSV files ({listed}) and "
        f"{'' if parquet else 'no '}Parquet files; name one file."
    )


def log_files(path: Path) -> list[Path]:
    """Return the files of the log that `resolve_log_path` has found, in the order of their rows.

    Raises:
        UserError: a prepared log of which a part is missing.
    """
    if not path.is_dir():
        return [path]
    prepared = prepared_parts(path)
    return _parquet_files(path) if prepared is None else prepared[0]


def _parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files right in a folder, else those in its ``column=value`` folders.

    Other sub-folders are left alone: they may hold anything.
    """
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("*=*/**/*.parquet"))


def _open_bytes(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def separator_of(path: Path, separator: str | None) -> str:
    """Return the column separator: as given, else a tab for .tsv files and a comma."""
    if separator is not None and (len(separator) != 1 or not separator.isascii()):
        raise UserError(f"the separator {separator!r} is not one ASCII character, such as ';'.")
    return separator or ("\t" if ".tsv" in path.name.lower() else ",")


@contextlib.contextmanager
def _as_text(path: Path) -> Iterator[None]:
    """Turn what the csv module cannot split into a `UserError`."""
    try:
        yield
    except csv.Error as error:
        raise _not_text(path, str(error)) from None


def _not_text(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not a CSV text file ({reason}); export it as CSV in UTF-8, or give it the "
        "suffix of what it is, such as .parquet or .csv.gz."
    )


def _check_header(path: Path, separator: str, encoding: str) -> None:
    """Refuse an empty file, a byte order mark of UTF-16 and repeated column names."""
    with _open_bytes(path) as stream:
        head = stream.read(4)
        if not head.strip():
            raise UserError(f"{path} is empty; it needs a header and at least one row.")
        for mark, name in _BOMS.items():
            if head.startswith(mark) and encoding in ("utf-8", "utf8"):
                raise UserError(
                    f"{path}, row 1: the file is {name.upper()}, not UTF-8; pass "
                    f"encoding={name!r} or convert it to UTF-8."
                )
        if encoding not in ("utf-8", "utf8"):
            return
        first = (head + stream.readline()).decode("utf-8-sig", errors="replace")
    if control := next((c for c in first if c < " " and c not in "\t\r\n"), ""):
        raise _not_text(path, f"its first line holds the control character 0x{ord(control):02x}")
    if first.count('"') % 2:
        return  # a quoted name runs over the line; polars reads it
    with _as_text(path):
        names = next(csv.reader([first.rstrip("\r\n")], delimiter=separator), [])
    for index, name in enumerate(names):
        if name and name in names[:index]:
            raise UserError(
                f"{path}, row 1: column {name!r} occurs twice; rename or remove one of them."
            )


def scan(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: list[str] | None = None,
    quote: str | None = '"',
) -> pl.LazyFrame:
    """Return the raw columns of a log file, lazily; a CSV's columns are all text.

    Args:
        path: a CSV or TSV (``.gz`` too), a Parquet file, or a folder of Parquet files whose
            sub-folders may be named ``column=value`` (Hive partitions become columns).
        separator: of a CSV; None means comma, or tab for ``.tsv``.
        encoding: of a CSV. Anything but UTF-8 is decoded in memory, so convert large files first.
        header: names of the columns of a CSV without a header line.
        quote: the quote mark of a CSV; None where quotes are ordinary characters.

    Raises:
        UserError: missing, empty or unreadable file, unknown encoding.
    """
    path = resolve_log_path(path)
    with readable(path, separator):
        if path.is_dir():
            return pl.scan_parquet(log_files(path), hive_partitioning=True)
        if is_parquet(path):
            frame = pl.scan_parquet(path)
            frame.collect_schema()  # a file that is no Parquet fails here, not later
            return frame
        mark = separator_of(path, separator)
        if header is None:
            _check_header(path, mark, encoding.lower())
        source: Path | io.BytesIO = path
        if encoding.lower() not in ("utf-8", "utf8"):
            source = io.BytesIO(_decode(path, encoding))
        frame = pl.scan_csv(
            source,
            separator=mark,
            infer_schema=False,
            has_header=header is None,
            new_columns=header,
            quote_char=quote,
        )
        frame.collect_schema()
        return frame


def _decode(path: Path, encoding: str) -> bytes:
    try:
        with _open_bytes(path) as stream:
            return stream.read().decode(encoding).encode("utf-8")
    except LookupError:
        raise UserError(
            f"unknown encoding {encoding!r}: use a Python codec name such as 'latin-1', 'cp1252' "
            "or 'utf-16'."
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} cannot be read as {encoding}; try another encoding."
        ) from None


@contextlib.contextmanager
def readable(path: str | Path, separator: str | None = None) -> Iterator[None]:
    """Turn what polars raises while it reads ``path`` into a `UserError` that names the place."""
    path = Path(path)
    try:
        yield
    except pl.exceptions.NoDataError:
        raise UserError(f"{path} is empty; it needs a header and at least one row.") from None
    except (pl.exceptions.PolarsError, OSError, zlib.error, EOFError) as error:
        if isinstance(error, OSError) and error.errno in (13, 1):
            raise UserError(f"{path} may not be read: permission denied.") from None
        if path.is_file() and is_csv(path):
            _locate_csv_fault(path, separator_of(path, separator))
        kind = "Parquet" if path.is_dir() or is_parquet(path) else "CSV"
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read as {kind} ({reason}); is the file whole, and of this format?"
        ) from error


def _locate_csv_fault(path: Path, separator: str) -> None:
    """Raise the precise error for a damaged archive, bad bytes or a line with extra fields."""
    try:
        _find_bad_byte(path, separator)
        _find_ragged_line(path, separator)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(
            f"{path} is a damaged or truncated gzip file; fetch or compress it again."
        ) from None


def _find_bad_byte(path: Path, separator: str) -> None:
    """Raise where the first byte sequence is that is not UTF-8."""
    offset, row = 0, 1
    with _open_bytes(path) as stream:
        for line in stream:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                before = line[: error.start].decode("utf-8")
                with _as_text(path):
                    field = len(next(csv.reader([before], delimiter=separator), [""])) or 1
                raise UserError(
                    f"{path}, row {row}, column {_header_name(path, separator, field)}: byte "
                    f"0x{line[error.start]:02x} at offset {offset + error.start} is not UTF-8; "
                    "convert it with iconv, or for a log pass encoding='latin-1' (or what the file "
                    "was written in)."
                ) from None
            offset, row = offset + len(line), row + 1


def _header_name(path: Path, separator: str, field: int) -> str:
    with _open_bytes(path) as stream:
        first = stream.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
    with _as_text(path):
        names = next(csv.reader([first], delimiter=separator), [])
    return names[field - 1] if field <= len(names) else f"number {field}"


def _find_ragged_line(path: Path, separator: str) -> None:
    """Raise at the first line that has more fields than the header."""
    with (
        _open_bytes(path) as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text,
        _as_text(path),
    ):
        reader = csv.reader(text, delimiter=separator)
        header = next(reader, [])
        for row, fields in enumerate(reader, start=2):
            if len(fields) > len(header):
                raise UserError(
                    f"{path}, row {row}: {len(fields)} fields where the header has "
                    f"{len(header)} columns; quote values that hold the separator {separator!r}."
                )


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
