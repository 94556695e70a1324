"""Reading a CSV row by row, exactly or not at all: for files whose form is none that polars reads.

Fields that begin with a quote mark are quoted as in RFC 4180 or, where the file shows it, with
backslashes as escapes; in other fields a quote mark is a character like others. A row that is
neither, or has not the fields of the header, is named.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.csv_form import KEPT, LONGEST, Marks
from copygym.core.tables.kind import scratch

#: Rows of a batch, and characters up to which the rows are held in memory.
_BATCH, _HELD = 20_000, 1 << 26
_ESCAPE = re.compile(r'\\(["\\]?)')
_limit = threading.Lock()


class RowFault(UserError):
    """A row that cannot be read; ``row`` counts from 1, the header included."""

    def __init__(self, path: Path, row: int, problem: str) -> None:
        self.row = row
        super().__init__(f"{path}, row {row}: {problem}.")


@dataclass
class Exact:
    """What was read.

    Attributes:
        names: of the columns.
        rows: number of data rows.
        frame: the rows, all text; None where they were only counted.
        marks: by number of the column, values with quote marks that are not doubled.
        backslash: a backslash stands before a quote mark somewhere.
        escapes: first row in which one does so inside of a quoted value, where that escapes.
        blank: blank lines that were skipped, and the row that the first of them follows.
        broken: rows that hold line breaks, the first of them, and their lines beyond one a row.
        returns: lines end with a carriage return alone.
        doubtful: rows whose lines have the number of fields of a row each: (row, text).
        digest: of all fields, to compare two readings.
    """

    names: list[str] = field(default_factory=list)
    rows: int = 0
    frame: pl.LazyFrame | None = None
    marks: dict[int, Marks] = field(default_factory=dict)
    backslash: bool = False
    escapes: int = 0
    blank: tuple[int, int] = (0, 0)
    broken: tuple[int, int, int] = (0, 0, 0)
    returns: bool = False
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)
    digest: int = 0


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written.

    Attributes:
        separator: between fields.
        quotes: whether quote marks may quote.
        backslash: whether a backslash escapes a quote mark (and a backslash), which doubles none.
        header: names of the columns of a file without a header line.
    """

    separator: str
    quotes: bool = True
    backslash: bool = False
    header: tuple[str, ...] | None = None


class _Lines:
    """Lines of a text; remembers those of the row under way."""

    def __init__(self, stream: TextIOWrapper, change: Callable[[str], str] | None) -> None:
        self._stream, self._change = stream, change
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._stream)
        self.taken.append(line)
        return self._change(line) if self._change and "\\" in line else line


def read_exactly(
    path: Path, open_text: Callable[[], BinaryIO], dialect: Dialect, *, count: bool = False
) -> Exact:
    """Read a CSV row by row.

    Args:
        path: the file, for messages.
        open_text: opens its bytes, UTF-8.
        dialect: how it is written.
        count: only count the rows and take their digest.

    Raises:
        RowFault: a row that is ambiguous, damaged, or has not the fields of the header.
        UnicodeDecodeError: a byte is not UTF-8.
    """
    with open_text() as raw:
        begin = raw.read(1 << 20)
    returns = b"\r" in begin and b"\n" not in begin
    with open_text() as raw, _long_fields():
        # Only line ends of one kind split lines: a carriage return inside of one is a fault.
        stream = TextIOWrapper(raw, encoding="utf-8-sig", newline="\r" if returns else "\n")
        work = _Reading(path, dialect, stream, None if count else _Rows())
        work.found.returns = returns
        return work.run()


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of any sensible length; the limit is one of the process."""
    with _limit:
        before = csv.field_size_limit(LONGEST)
        try:
            yield
        finally:
            csv.field_size_limit(before)


class _Rows:
    """Rows as frames: in memory while they are few, else as Parquet parts in a private folder."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.parts: list[Path] = []
        self.size = 0

    def add(self, batch: list[list[str]], width: int) -> None:
        columns = zip(*batch, strict=True) if batch else ((),) * width
        series = [pl.Series(f"c{i}", c, dtype=pl.String) for i, c in enumerate(columns)]
        # An empty field is a missing value, as it is to polars.
        frame = pl.DataFrame(series).with_columns(pl.all().replace("", None))
        self.frames.append(frame)
        self.size += int(frame.estimated_size())
        if self.size > _HELD:
            self._spill()

    def _spill(self) -> None:
        if not self.parts:
            self.folder = Path(tempfile.mkdtemp(dir=scratch()))
        path = self.folder / f"{len(self.parts):06d}.parquet"
        pl.concat(self.frames).write_parquet(path)
        self.parts.append(path)
        self.frames, self.size = [], 0

    def frame(self, names: list[str]) -> pl.LazyFrame:
        if self.parts:
            if self.frames:
                self._spill()
            found = pl.scan_parquet(self.parts, glob=False, hive_partitioning=False)
        else:
            found = pl.concat(self.frames).lazy()
        return found.rename({f"c{i}": name for i, name in enumerate(names)})


class _Reading:
    """One pass over a file."""

    def __init__(
        self, path: Path, dialect: Dialect, stream: TextIOWrapper, rows: _Rows | None
    ) -> None:
        self.path, self.dialect, self.rows = path, dialect, rows
        self.found = Exact()
        self.lines = _Lines(stream, _escapes if dialect.backslash else None)
        self.strict = _strict_row(dialect.separator)
        self.escaped_row, self.escaped_value = _escaped_row(dialect.separator)

    def run(self) -> Exact:
        found, separator = self.found, self.dialect.separator
        reader = csv.reader(
            self.lines,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if self.dialect.quotes else csv.QUOTE_NONE,
            escapechar="\\" if self.dialect.backslash else None,
            strict=True,
        )
        row, digest = 0, 0
        names = list(self.dialect.header or ())
        width = len(names)
        batch: list[list[str]] = []
        while (fields := self._next(reader, row + 1)) is not None:
            taken, self.lines.taken = self.lines.taken, []
            # In a file of one column a line without anything is a row: one with an empty field.
            if len(fields) < 2 and width != 1 and not "".join(fields).strip():
                found.blank = (found.blank[0] + 1, found.blank[1] if found.blank[0] else row)
                continue
            row += 1
            if not names:
                names, width = fields, len(fields)
                continue
            fields = fields or [""]
            if len(fields) != width:
                raise self._wrong_width(row, fields, names, taken[-1])
            if len(taken) > 1 or '"' in taken[0] or "\0" in taken[0]:
                self._look(row, fields, taken)
            if self.rows is None:
                digest = hash((digest, *fields))
                continue
            batch.append(fields)
            if len(batch) >= _BATCH:
                self.rows.add(batch, width)
                batch = []
        if self.rows is not None and names:
            self.rows.add(batch, width)
            found.frame = self.rows.frame(_unique(names))
        found.names, found.digest = names, digest
        found.rows = max(row - int(self.dialect.header is None), 0)
        return found

    def _next(self, reader: Iterator[list[str]], row: int) -> list[str] | None:
        try:
            return next(reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise self._fault(row, str(error)) from None

    def _fault(self, row: int, reason: str) -> UserError:
        if "new-line character" in reason:
            return UserError(
                f"{self.path} is not a CSV text file (new-line character seen in unquoted field, "
                f"row {row}); export it as CSV in UTF-8 with one kind of line ends, or give it the "
                "suffix of what it is, such as .parquet or .csv.gz."
            )
        shown = _excerpt(self.lines.taken[0] if self.lines.taken else "")
        if "unexpected end" in reason or "field larger" in reason:
            problem = (
                f"a quote mark opens a value that never ends ({shown}); if it belongs to the text, "
                "quote the value and double the mark inside of it, or remove it"
            )
        elif "expected after" in reason:
            problem = (
                f"a value begins with a quote mark and goes on after the closing one ({shown}); "
                "double the quote marks inside of a quoted value, or export the file again"
            )
        else:
            problem = f"it cannot be read as CSV ({reason})"
        return RowFault(self.path, row, problem)

    def _wrong_width(self, row: int, fields: list[str], names: list[str], line: str) -> RowFault:
        separator = self.dialect.separator
        said = f"{len(fields)} field{'s' * (len(fields) != 1)} where the header has"
        if len(fields) > len(names) == 1:
            way = f"quote values that hold the separator {separator!r}, or remove lines before the "
            way += "header, such as a title"
        elif len(fields) == len(names) + 1 and not fields[-1].strip():
            way = f"the row ends with the separator {separator!r}: end the header with it as well"
        elif len(fields) > len(names) and re.search(rf'{re.escape(separator)}[ \t]+"', line):
            way = "blanks before a quote mark make it an ordinary character: remove these blanks"
        elif len(fields) > len(names):
            way = f"quote values that hold the separator {separator!r}"
        elif not line.endswith(("\n", "\r")):
            way = "the file ends in the middle of this row, so fetch or export it again"
        else:
            way = "write every field, be it empty, or remove the row"
        columns = f"{len(names)} column{'s' * (len(names) != 1)}"
        return RowFault(self.path, row, f"{said} {columns}; {way}")

    def _look(self, row: int, fields: list[str], taken: list[str]) -> None:
        """Note what is out of the ordinary in a row."""
        found, text = self.found, "".join(taken)
        if "\0" in text:
            raise RowFault(
                self.path,
                row,
                "it holds a NUL byte, which no text does; the file is damaged or in another "
                "encoding, such as utf-16-le (--encoding, or data.encoding for runs)",
            )
        if len(taken) > 1:
            count, first, more = found.broken
            found.broken = (count + 1, first or row, more + len(taken) - 1)
            width = len(fields) - 1
            if len(found.doubtful) < KEPT and all(
                line.count(self.dialect.separator) == width for line in taken
            ):
                found.doubtful.append((row, text.rstrip("\r\n").encode()))
        if '"' not in text:
            return
        found.backslash = found.backslash or '\\"' in text
        if self.dialect.backslash:
            if not self.escaped_row.fullmatch(text):
                raise RowFault(self.path, row, "its quote marks are neither doubled nor escaped")
            if not found.escapes and self.escaped_value.search(text):
                found.escapes = row
        elif self.dialect.quotes and not self.strict.fullmatch(text):
            for column, value in enumerate(fields):
                if '"' in value:
                    marks = found.marks.setdefault(column, Marks(0, row))
                    marks.values += 1


def _escapes(line: str) -> str:
    """Double the backslashes that escape neither a quote mark nor a backslash.

    The csv module drops every backslash; those before other characters belong to the text.
    """
    return _ESCAPE.sub(lambda match: match[0] if match[1] else "\\\\", line)


def _strict_row(separator: str) -> re.Pattern[str]:
    """Return what a row looks like whose quote marks are all those of RFC 4180."""
    mark = re.escape(separator)
    value = rf'(?:"(?:[^"]++|"")*+"|[^"{mark}\r\n]*+)'
    return re.compile(rf"{value}(?:{mark}{value})*+[\r\n]*")


def _escaped_row(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what a row looks like where backslashes escape, and an escaped mark in a value."""
    mark = re.escape(separator)
    quoted = r'"(?:[^"\\]++|\\[\s\S])*+"'
    value = rf'(?:{quoted}|(?!")(?:[^{mark}\r\n\\]++|\\["\\]|\\)*+)'
    return (
        re.compile(rf"{value}(?:{mark}{value})*+[\r\n]*"),
        re.compile(rf'(?:^|{mark})"(?:[^"\\]++|\\[^"])*+\\"'),
    )


def _unique(names: list[str]) -> list[str]:
    """Return names that differ; only columns without a name repeat, the others were refused."""
    out: list[str] = []
    for name in names:
        out.append(name if name not in out else f"{name}_duplicated_{len(out)}")
    return out


def _excerpt(line: str) -> str:
    line = line.rstrip("\r\n")
    return repr(line if len(line) <= 60 else line[:60] + "...")


def looks_like_rows(doubtful: list[tuple[int, bytes]], sample: bytes, separator: str) -> int | None:
    """Return the first row over several lines that look like rows of their own; None: none does.

    Each line has the number of fields of a row; what tells is a column that holds numbers, codes
    or a few values throughout, and does so in each of these lines as well.
    """
    if not doubtful:
        return None
    text = sample.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    rows = [row for row in _rows_of(text, separator) if not any("\n" in v for v in row)][1:300]
    width = max((len(row) for row in rows), default=0)
    rows = [row for row in rows if len(row) == width]
    kinds = [_kind([row[c] for row in rows]) for c in range(width)] if rows else []
    for row, block in doubtful:
        lines = block.decode("utf-8", errors="replace").splitlines()
        fields = [line.split(separator) for line in lines]
        if not all(len(one) == width for one in fields):
            continue
        if any(all(kind(one[c]) for one in fields) for c, kind in enumerate(kinds) if kind):
            return row
    return None


def _rows_of(text: str, separator: str) -> list[list[str]]:
    out = []
    with contextlib.suppress(csv.Error):
        for row in csv.reader(text.splitlines(keepends=True)[:2000], delimiter=separator):
            out.append(row)
    return out


def _kind(values: list[str]) -> Callable[[str], bool] | None:
    """Return a test of whether a value is like these; None where they are like anything."""
    shapes = {_shape(value) for value in values}
    if len(shapes) <= 3 and all("9" in shape for shape in shapes):
        return lambda value: _shape(value) in shapes
    few = set(values)
    if "" not in few and len(values) >= 8 and len(few) <= min(50, len(values) // 2):
        return lambda value: value in few
    return None


def _shape(value: str) -> str:
    """Return a value with each run of digits as 9 and each run of letters as a."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", value.strip()))
