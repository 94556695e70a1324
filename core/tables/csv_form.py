"""The form of a CSV: what its quote marks, separators and line ends add up to, told beforehand.

A reader that takes quote marks at their word merges or drops rows where one stands alone, and it
skips the columns that nobody asked for. So the whole file is surveyed once, block by block, in
numpy. Two readings are followed side by side:

* plain: no field begins with a quote mark, so that every mark is a character like others and
  every line is a row;
* quoted: all marks are those of RFC 4180, so that a separator or line end is one of the file's
  own just where an even number of marks precedes it.

A file in which one of them holds for every byte is read by polars accordingly. Any other is read
exactly, row by row (`copygym.core.tables.csv_exact`), or refused.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import numpy as np

_BLOCK = 1 << 23
#: A quoted value that is longer than this is one whose closing mark is missing.
LONGEST = 1 << 24
_CR, _LF, _QUOTE = 13, 10, 34
#: Rows that run over several lines, kept to see whether the lines are rows of their own.
KEPT = 200
#: An odd number of backslashes before a quote mark.
ESCAPED = re.compile(rb'(?<!\\)(?:\\\\)*\\"')


@dataclass
class Marks:
    """Values of a column with quote marks that are not doubled: how many, first in which row."""

    values: int
    row: int


@dataclass
class Form:
    """What a survey found.

    Attributes:
        style: how to read the file; "exactly" where neither plain nor quoted is right.
        rows: of data, where the style is plain or quoted.
        marks: by number of the column, where the style is plain.
        broken: rows that hold line breaks, the first of them, and their lines beyond one a row.
        escaped: a backslash stands before a quote mark, where the style is quoted.
        doubtful: rows whose lines have the number of fields of a row each: (row, text).
        sample: the beginning of the file.
    """

    style: Literal["plain", "quoted", "exactly"] = "exactly"
    rows: int = 0
    marks: dict[int, Marks] = field(default_factory=dict)
    broken: tuple[int, int, int] = (0, 0, 0)
    escaped: bool = False
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)
    sample: bytes = b""


def survey(stream: BinaryIO, separator: str, columns: int | None, quotes: bool) -> Form:
    """Return the form of a CSV in UTF-8.

    Args:
        stream: its bytes.
        separator: between fields, one ASCII character.
        columns: number of columns of a file without a header; None takes the first row's.
        quotes: whether quote marks may quote; else each is a character like others.
    """
    work = _Survey(ord(separator), columns, quotes)
    rest = stream.read(_BLOCK).removeprefix(codecs.BOM_UTF8)
    while True:
        block = stream.read(_BLOCK)
        rest = work.take(rest, final=not block)
        if not block or not work.open:
            break
        rest += block
    return work.finished()


class _Survey:
    def __init__(self, separator: int, columns: int | None, quotes: bool) -> None:
        self.separator, self.columns, self.quotes = separator, columns, quotes
        self.has_header = columns is None
        self.plain, self.quoted = True, quotes
        self.lines = self.records = 0
        self.form = Form()
        # What may stand before a field, and after one that is quoted.
        self.begins, self.ends = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
        self.begins[[separator, _LF]] = True
        self.ends[[separator, _LF, _CR, _QUOTE]] = True

    @property
    def open(self) -> bool:
        return self.plain or self.quoted

    def finished(self) -> Form:
        form = self.form
        if self.open:
            # Without any mark both readings are the same.
            form.style = "plain" if self.plain else "quoted"
            form.rows = (self.lines if self.plain else self.records) - int(self.has_header)
        return form

    def take(self, data: bytes, final: bool) -> bytes:
        """Survey the whole rows of ``data`` and return what is left over."""
        if final and data and not data.endswith(b"\n"):
            data += b"\n"
        if b"\0" in data:
            self.plain = self.quoted = False
            return b""
        bytes_N = np.frombuffer(data, np.uint8)
        mark_M = np.flatnonzero((bytes_N == self.separator) | (bytes_N == _LF))
        newline_M = bytes_N[mark_M] == _LF
        any_quote = self.quotes and b'"' in data
        inside_M = np.zeros(len(mark_M), dtype=bool)
        if any_quote and self.quoted:
            self.quoted = self._well_quoted(bytes_N)
        if any_quote and self.quoted:
            odd_N = np.cumsum(bytes_N == _QUOTE, dtype=np.uint8)
            inside_M = (odd_N[mark_M] & 1).astype(bool)
        ends = np.flatnonzero(newline_M & ~inside_M)
        if not len(ends):
            return self._unfinished(data, final)
        last = int(ends[-1])
        size = int(mark_M[last]) + 1
        left = data[size:]
        if len(left) > LONGEST:
            self.quoted = False
        whole = _Rows(
            data[:size], bytes_N[:size], mark_M[: last + 1], newline_M[: last + 1],
            inside_M[: last + 1],
        )  # fmt: skip
        if not self.form.sample:
            self.form.sample = data[: min(size, 1 << 18)]
        if final and left:
            self.quoted = False  # a quote mark is never closed
            whole = _Rows(data, bytes_N, mark_M, newline_M, np.zeros(len(mark_M), dtype=bool))
            left = b""
        self._rows(whole, any_quote)
        return left

    def _well_quoted(self, bytes_N: np.ndarray) -> bool:
        """Tell whether each mark opens a field, closes one or is doubled; rows start at 0."""
        quote_Q = np.flatnonzero(bytes_N == _QUOTE)
        open_O, close_C = quote_Q[0::2], quote_Q[1::2]
        good_O = self.begins[bytes_N[open_O - 1]] | (open_O == 0)
        # A doubled mark closes and opens again.
        good_O[1:] |= close_C[: len(open_O) - 1] == open_O[1:] - 1
        if not good_O.all():
            return False
        if len(close_C) and close_C[-1] == len(bytes_N) - 1:
            close_C = close_C[:-1]  # what follows it comes with the next block
        return bool(self.ends[bytes_N[close_C + 1]].all())

    def _unfinished(self, data: bytes, final: bool) -> bytes:
        if len(data) > LONGEST or (final and data):
            self.plain = self.quoted = False
        return data if self.open else b""

    def _rows(self, rows: _Rows, any_quote: bool) -> None:
        quote_Q = np.flatnonzero(rows.bytes_N == _QUOTE) if any_quote else np.zeros(0, np.int64)
        if b"\r" in rows.data:
            self._carriage_returns(rows, quote_Q)
        line_ends = np.flatnonzero(rows.newline_M)
        fields_L = np.diff(line_ends, prepend=-1)
        if self.plain:
            self._plain(rows, quote_Q, line_ends, fields_L)
        if self.quoted:
            self._quoted(rows, line_ends, fields_L)
        if any_quote and not self.form.escaped and b'\\"' in rows.data:
            self.form.escaped = ESCAPED.search(rows.data) is not None

    def _carriage_returns(self, rows: _Rows, quote_Q: np.ndarray) -> None:
        """A carriage return that ends no line is for the exact reader, unless it is quoted."""
        return_R = np.flatnonzero(rows.bytes_N == _CR)
        alone_R = return_R[rows.bytes_N[return_R + 1] != _LF]
        if not len(alone_R):
            return
        self.plain = False
        if self.quoted and (np.searchsorted(quote_Q, alone_R) % 2 == 0).any():
            self.quoted = False

    def _width(self, fields: np.ndarray) -> int:
        """Return the number of columns: as given, else of the first row of the file."""
        return self.columns if self.columns is not None else int(fields[0])

    def _blank(self, rows: _Rows, ends: np.ndarray) -> bool:
        """Tell whether a line without any field is among those that end at these marks."""
        at = rows.mark_M[ends]
        size = np.diff(at, prepend=-1) - 1
        return bool(((size == 0) | ((size == 1) & (rows.bytes_N[at - 1] == _CR))).any())

    def _plain(
        self, rows: _Rows, quote_Q: np.ndarray, line_ends: np.ndarray, fields_L: np.ndarray
    ) -> None:
        if len(quote_Q) and (self.begins[rows.bytes_N[quote_Q - 1]] | (quote_Q == 0)).any():
            self.plain = False
            return
        width = self._width(fields_L)
        if (fields_L != width).any() or (width > 1 and self._blank(rows, line_ends)):
            self.plain = False
            return
        if len(quote_Q):
            # The fields that hold a mark, then their columns.
            field_F = np.unique(np.searchsorted(rows.mark_M, quote_Q))
            line_F, column_F = np.divmod(field_F, width)
            for column in np.unique(column_F):
                of_column = line_F[column_F == column]
                first = self.lines + int(of_column[0]) + 1
                found = self.form.marks.setdefault(int(column), Marks(0, first))
                found.values += len(of_column)
        self.lines += len(fields_L)
        if not self.quoted:
            self.columns = width

    def _quoted(self, rows: _Rows, line_ends: np.ndarray, fields_L: np.ndarray) -> None:
        own_M = ~rows.inside_M
        ends = np.flatnonzero(rows.newline_M & own_M)
        fields_R = np.diff(np.cumsum(own_M)[ends], prepend=0)
        width = self._width(fields_R)
        if (fields_R != width).any() or (width > 1 and self._blank(rows, ends)):
            self.quoted = False
            return
        self.columns = width
        if len(ends) < len(line_ends):
            self._broken(rows, ends, line_ends, fields_L, width)
        self.records += len(ends)

    def _broken(
        self,
        rows: _Rows,
        ends: np.ndarray,
        line_ends: np.ndarray,
        fields_L: np.ndarray,
        width: int,
    ) -> None:
        """Note the rows over several lines, and keep those whose lines could be rows."""
        last_L = np.searchsorted(line_ends, ends)  # the line with which each row ends
        first_L = np.r_[0, last_L[:-1] + 1]
        several = np.flatnonzero(last_L > first_L)
        count, first, more = self.form.broken
        first = first or self.records + int(several[0]) + 1
        extra = len(line_ends) - len(ends)
        self.form.broken = (count + len(several), first, more + extra)
        odd = np.add.reduceat((fields_L != width).astype(np.int64), first_L)
        start_R = np.r_[0, rows.mark_M[ends][:-1] + 1]
        for index in several[odd[several] == 0][: KEPT - len(self.form.doubtful)]:
            text = rows.data[int(start_R[index]) : int(rows.mark_M[ends[index]])]
            self.form.doubtful.append((self.records + int(index) + 1, text))


@dataclass(frozen=True)
class _Rows:
    """Whole rows. N bytes; M separators and line ends, of which some are inside of quotes."""

    data: bytes
    bytes_N: np.ndarray
    mark_M: np.ndarray
    newline_M: np.ndarray
    inside_M: np.ndarray
