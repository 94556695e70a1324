"""Opening a CSV: its encoding and separator, its form, and what reads it accordingly."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.csv_exact import Dialect, Exact, RowFault, looks_like_rows, read_exactly
from copygym.core.tables.csv_form import Form, survey
from copygym.core.tables.kind import content_of, is_utf8, open_bytes, to_utf8

#: Separators that are looked for where a header is one field.
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 18


@dataclass(frozen=True)
class OpenedTable:
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


@lru_cache(maxsize=4)
def open_csv(
    path: Path,
    _: tuple[str | int, ...],
    given: tuple[str, bool, bool],
    encoding: str,
    header: tuple[str, ...] | None,
    quotes: bool,
) -> OpenedTable:
    """Open a CSV; the verdict on a file that has not changed is kept.

    Args:
        path: of the file.
        _: what changes when the file does.
        given: the separator, whether the user named it, and whether the header may overrule it.
        encoding: of a file without a byte order mark.
        header: names of the columns of a file without a header line.
        quotes: whether quote marks may quote.

    Raises:
        UserError: a fault of the file, with the row.
    """
    separator, said, detect = given
    file, notes = _in_utf8(path, encoding)
    sample = _sample(path, file)
    if header is None:
        other = None if said and not detect else _other_separator(sample, separator)
        if other and not detect:
            raise UserError(
                f"{path}, row 1: one column only (is another separator needed?); columns are "
                f"separated by {other!r}; say so by --separator {other!r} "
                f"""('data.separator="{repr(other)[1:-1]}"' for runs)."""
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
    if any('""' in name for name in names):
        # polars leaves the doubled quote marks of a header as they stand.
        frame = frame.rename({name: name.replace('""', '"') for name in names if '""' in name})
        names = frame.collect_schema().names()
    if int(frame.select(pl.len()).collect(engine="streaming").item()) != form.rows:
        return _exact_table(path, _exactly(path, file, dialect, form), form, dialect, notes)
    notes += _form_notes(form, names)
    return OpenedTable(frame, tuple(notes), 1 if header else 2, True)


def _in_utf8(path: Path, encoding: str) -> tuple[Path, list[str]]:
    """Return the file, or a copy of it in UTF-8, and what to say of it."""
    mark = content_of(path).mark
    if mark == "utf-8-sig":
        said = [] if is_utf8(encoding) else [f"{path.name} is UTF-8 by its byte order mark."]
        return path, said
    if mark is not None:
        told = encoding.lower().replace("_", "-").startswith(mark)
        note = f"{path.name} is {mark.upper()} by its byte order mark, and read so."
        return to_utf8(path, mark), [] if told else [note]
    return (path if is_utf8(encoding) else to_utf8(path, encoding)), []


def _sample(path: Path, file: Path) -> str:
    """Return whole lines from the beginning of a CSV as text, without blank ones before them.

    Raises:
        UserError: the file is empty, or its first line is no text.
    """
    with open_bytes(file) as stream:
        head = stream.read(_SAMPLE)
        empty = not head.removeprefix(codecs.BOM_UTF8).strip() and not stream.read(1)
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
            find_bad_byte(path, file, dialect.separator)
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


def _exact_table(
    path: Path, found: Exact, form: Form, dialect: Dialect, notes: list[str]
) -> OpenedTable:
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
        first = f"after row {after} first" if after else "before the header first"
        notes.append(
            f"{count:,} blank line{'s' * (count != 1)} ({first}) "
            f"{'are' if count != 1 else 'is'} skipped and not counted as rows."
        )
    if found.returns:
        notes.append("lines end with a carriage return alone, and are read so.")
    return OpenedTable(found.frame, tuple(notes), 1 if dialect.header else 2, True)


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


def find_bad_byte(path: Path, file: Path, separator: str) -> None:
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
