"""Reading and writing log files: CSV, csv.gz, Parquet, and folders of partitioned Parquet.

What a file is, its content says (`copygym.envs.filekind`). A CSV is read as text and cast later, so
that a bad value can be quoted as the file has it. Before anything is read, its form is surveyed
(`copygym.envs.csvform`), so that every row is there whatever columns are asked for: a file that
polars would read otherwise is read row by row (`copygym.envs.csvexact`), or refused with the row.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import polars as pl

from copygym.envs.checksum import stamp
from copygym.envs.csvexact import Dialect, Exact, RowFault, looks_like_rows, read_exactly
from copygym.envs.csvform import Form, survey
from copygym.envs.errors import UserError
from copygym.envs.filekind import (
    PARQUET_SUFFIXES,
    content_of,
    decoded,
    is_csv,
    is_utf8,
    open_bytes,
)
from copygym.envs.filekind import named_parquet as is_parquet
from copygym.envs.hivefolder import parquet_files, scan_folder
from copygym.envs.preparedlog import prepared_parts
from copygym.envs.storage import atomic

__all__ = [
    "CSV_SUFFIXES",
    "PARQUET_SUFFIXES",
    "Table",
    "is_csv",
    "is_parquet",
    "log_files",
    "open_table",
    "readable",
    "resolve_log_path",
    "scan",
    "write_frame",
]

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
#: Separators that are looked for where a header is one field.
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 18


@dataclass(frozen=True)
class Table:
    """A table file that was opened.

    Attributes:
        frame: its raw columns, lazily; those of a CSV are all text.
        notes: what was unusual about the file, for the user to read.
        first_row: number of the first data row in messages: 2 in a CSV, whose header is row 1.
        text: whether the file is a CSV.
    """

    frame: pl.LazyFrame
    notes: tuple[str, ...] = ()
    first_row: int = 1
    text: bool = False


def resolve_log_path(path: str | Path) -> Path:
    """Return the log that ``path`` means: a file, or a folder with one log in it.

    Raises:
        UserError: nothing is there, or a folder holds none, several or an unfinished one.
    """
    try:
        path = Path(path).expanduser()
        if path.is_file():
            return path
        there, folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
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
    """Return the column separator: as given, else a tab for .tsv files and a comma."""
    if separator is not None and (
        len(separator) != 1 or not separator.isascii() or separator in '\r\n"\0'
    ):
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


def scan(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: list[str] | None = None,
    quote: str | None = '"',
) -> pl.LazyFrame:
    """Return the raw columns of a log file, lazily; as `open_table`, without its notes."""
    return open_table(
        path, separator=separator, encoding=encoding, header=header, quote=quote
    ).frame


def open_table(
    path: str | Path,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    header: list[str] | None = None,
    quote: str | None = '"',
    detect: bool = False,
) -> Table:
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
            return Table(scan_folder(path, None if prepared is None else prepared[0]))
        if content_of(path).kind == "parquet":
            frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            frame.collect_schema()  # a file that is no Parquet fails here, not later
            named = () if is_parquet(path) else (f"{path.name} is a Parquet file.",)
            return Table(frame, named)
        wanted = None if header is None else tuple(header)
        mark = separator_of(path, separator)
        given = (mark, separator is not None, detect)
        here = (str(Path.cwd()), *stamp(path))
        return _open_csv(path, here, given, encoding, wanted, quote is not None)


@lru_cache(maxsize=4)
def _open_csv(
    path: Path,
    _: tuple[str | int, ...],
    given: tuple[str, bool, bool],
    encoding: str,
    header: tuple[str, ...] | None,
    quotes: bool,
) -> Table:
    """Open a CSV; the verdict on a file that has not changed is kept."""
    separator, said, detect = given
    file, notes = _in_utf8(path, encoding)
    sample = _sample(path, file)
    if header is None:
        other = None if said and not detect else _other_separator(sample, separator)
        if other and not detect:
            raise UserError(
                f"{path}, row 1: one column only (is another separator needed?); columns are "
                f"separated by {other!r}; say so by --separator {other!r} (data.separator for "
                "runs)."
            )
        if other:
            separator = other
            notes.append(f"columns are separated by {other!r}, as the header says.")
        _check_header(path, sample, separator)
    with open_bytes(file) as stream:
        form = survey(stream, separator, None if header is None else len(header), quotes)
    dialect = Dialect(separator, quotes, False, header)
    if form.style == "exactly" or (form.escaped and form.style == "quoted"):
        found = _exactly(path, file, dialect, form)
        if form.style == "exactly":
            return _exact_table(path, found, form, dialect, notes)
    _refuse_swallowed(path, form.doubtful, form.sample, separator)
    frame = pl.scan_csv(
        file,
        separator=separator,
        infer_schema=False,
        has_header=header is None,
        new_columns=None if header is None else list(header),
        quote_char=None if form.style == "plain" else '"',
        glob=False,
    )
    names = frame.collect_schema().names()
    if int(frame.select(pl.len()).collect(engine="streaming").item()) != form.rows:
        return _exact_table(path, _exactly(path, file, dialect, form), form, dialect, notes)
    notes += _form_notes(form, names)
    return Table(frame, tuple(notes), 1 if header else 2, True)


def _in_utf8(path: Path, encoding: str) -> tuple[Path, list[str]]:
    """Return the file, or a copy of it in UTF-8, and what to say of it."""
    mark = content_of(path).mark
    if mark == "utf-8-sig":
        said = [] if is_utf8(encoding) else [f"{path.name} is UTF-8 by its byte order mark."]
        return path, said
    if mark is not None:
        told = encoding.lower().replace("_", "-").startswith(mark)
        note = f"{path.name} is {mark.upper()} by its byte order mark, and read so."
        return decoded(path, mark), [] if told else [note]
    return (path if is_utf8(encoding) else decoded(path, encoding)), []


def _sample(path: Path, file: Path) -> str:
    """Return whole lines from the beginning of a CSV as text, without blank ones before them.

    Raises:
        UserError: the file is empty, or its first line is no text.
    """
    with open_bytes(file) as stream:
        head = stream.read(_SAMPLE)
        empty = not head.strip() and not stream.read(1)
    if empty:
        raise UserError(f"{path} is empty; it needs a header and at least one row.")
    if len(head) == _SAMPLE and b"\n" in head:
        head = head[: head.rindex(b"\n") + 1]
    text = head.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    first = re.split(r"\n" if "\n" in text else r"\r", text, maxsplit=1)[0]
    if first.count("\0") > len(first) // 3:
        odd = "le" if first[1:2] == "\0" else "be"
        raise UserError(
            f"{path} seems to be UTF-16 without a byte order mark; pass --encoding utf-16-{odd} "
            f"(data.encoding=utf-16-{odd} for runs), or save it as UTF-8."
        )
    if control := next((c for c in first if c < " " and c not in "\t\r\n"), ""):
        raise _not_text(path, f"its first line holds the control character 0x{ord(control):02x}")
    return text


def _split(sample: str, separator: str, rows: int) -> list[list[str]]:
    """Return the first rows of a sample."""
    # Lines of old Macs end with a carriage return alone.
    end = "\n" if "\n" in sample else "\r"
    lines = re.findall(rf"[^{end}]*{end}|[^{end}]+\Z", sample)
    out = []
    for fields in csv.reader(lines, delimiter=separator):
        out.append(fields)
        if len(out) == rows:
            break
    return out


def _other_separator(sample: str, separator: str) -> str | None:
    """Return the mark that splits header and rows alike, where ``separator`` splits no header."""
    with contextlib.suppress(csv.Error):
        if len(_split(sample, separator, 1)[0]) > 1:
            return None
        for mark in _SEPARATORS:
            widths = {len(fields) for fields in _split(sample, mark, 20)[:-1] or [[]] if fields}
            widths |= {len(_split(sample, mark, 1)[0])}
            if mark != separator and len(widths) == 1 and widths.pop() > 1:
                return mark
    return None


def _check_header(path: Path, sample: str, separator: str) -> None:
    """Refuse repeated column names, and Excel's line that only names the separator."""
    with _as_text(path):
        names = _split(sample, separator, 1)[0]
    if re.fullmatch(r'"?sep=.?"?', sample.split("\n")[0].strip(" \r"), re.IGNORECASE):
        raise UserError(
            f"{path}, row 1: {names[0]!r} is Excel's note on the separator and no header; delete "
            "this line."
        )
    for index, name in enumerate(names):
        if name and name in names[:index]:
            raise UserError(
                f"{path}, row 1: column {name!r} occurs twice; rename or remove one of them."
            )


def _exactly(path: Path, file: Path, dialect: Dialect, form: Form) -> Exact:
    """Read a CSV row by row, with backslashes as escapes where only that makes rows of it.

    Raises:
        UserError: neither way makes rows of it, or both do and differ.
    """

    def read(backslash: bool, count: bool) -> Exact:
        how = Dialect(dialect.separator, dialect.quotes, backslash, dialect.header)
        try:
            return read_exactly(path, lambda: open_bytes(file), how, count=count)
        except UnicodeDecodeError:
            _find_bad_byte(path, file, dialect.separator)
            raise

    try:
        found = read(False, form.style != "exactly")
    except RowFault as fault:
        if not dialect.quotes:
            raise
        try:
            return read(True, False)
        except RowFault:
            raise fault from None
    if dialect.quotes and found.backslash:
        with contextlib.suppress(RowFault):
            other, same = read(True, True), read(False, True)
            if other.escapes and (other.rows, other.digest) != (same.rows, same.digest):
                raise UserError(
                    f"{path}, row {other.escapes}: a backslash stands before a quote mark, and the "
                    "file can be read in two ways; double the quote marks inside of values, or "
                    "save it as Parquet."
                )
    return found


def _refuse_swallowed(
    path: Path, doubtful: list[tuple[int, bytes]], sample: bytes, separator: str
) -> None:
    row = looks_like_rows(doubtful, sample, separator)
    if row is not None:
        raise RowFault(
            path,
            row,
            "a quote mark opens a value that runs over several lines, and these look like rows of "
            "their own; if the mark belongs to the text, quote the value and double the mark "
            "inside of it, else save the file as Parquet",
        )


def _exact_table(path: Path, found: Exact, form: Form, dialect: Dialect, notes: list[str]) -> Table:
    with open_bytes(path) as stream:
        sample = form.sample or stream.read(_SAMPLE)
    _refuse_swallowed(path, found.doubtful, sample, dialect.separator)
    assert found.frame is not None
    form.marks, form.broken = found.marks, found.broken
    notes = [*notes, *_form_notes(form, found.names)]
    if found.escapes:
        notes.append(
            "quote marks inside of values are escaped by backslashes (row "
            f"{found.escapes} first), and read so."
        )
    count, after = found.blank
    if count:
        notes.append(
            f"{count:,} blank line{'s' * (count != 1)} (after row {after} first) "
            f"{'are' if count != 1 else 'is'} skipped and not counted as rows."
        )
    if found.returns:
        notes.append("lines end with a carriage return alone, and are read so.")
    return Table(found.frame, tuple(notes), 1 if dialect.header else 2, True)


def _form_notes(form: Form, names: list[str]) -> list[str]:
    notes = []
    for column, marks in sorted(form.marks.items()):
        said = "1 value holds" if marks.values == 1 else f"{marks.values:,} values hold"
        notes.append(
            f"column {names[column]}: {said} quote marks that are not doubled (row {marks.row} "
            "first); read as they stand."
        )
    count, first, more = form.broken
    if count:
        notes.append(
            f"{count:,} row{'s hold' if count != 1 else ' holds'} values with line breaks (row "
            f"{first} first), so that the file has {more:,} line{'s' * (more != 1)} more than rows."
        )
    return notes


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
                _find_bad_byte(path, path, separator_of(path, separator))
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read as {'CSV' if text else 'Parquet'} ({reason}); is the file "
            "whole, and of this format?"
        ) from error


def _find_bad_byte(path: Path, file: Path, separator: str) -> None:
    """Raise where the first byte sequence is that is not UTF-8."""
    offset, row, header = 0, 1, b""
    with open_bytes(file) as stream:
        for line in stream:
            header = header or line
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                before = line[: error.start].decode("utf-8")
                with _as_text(path):
                    number = len(next(csv.reader([before], delimiter=separator), [""])) or 1
                    first = header.decode("utf-8-sig", errors="replace").rstrip("\r\n")
                    names = next(csv.reader([first], delimiter=separator), [])
                column = names[number - 1] if number <= len(names) else f"number {number}"
                raise UserError(
                    f"{path}, row {row}, column {column}: byte "
                    f"0x{line[error.start]:02x} at offset {offset + error.start} is not UTF-8; "
                    "convert it with iconv, or pass --encoding latin-1 (or what the file was "
                    "written in; data.encoding=latin-1 for runs)."
                ) from None
            offset, row = offset + len(line), row + 1


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
