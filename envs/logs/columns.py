"""Columns of a click log, and how a rule names the rows that break it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.times import UTC_TIME

#: Canonical columns and their types; only impressions and clicks are required.
SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "timestamp": UTC_TIME,
    "product_id": pl.String(),
    "creative_id": pl.String(),
    "text": pl.String(),
    "brief": pl.String(),
    "topic": pl.String(),
    "channel": pl.String(),
    "slot": pl.String(),
    "test_id": pl.String(),
    "impression_id": pl.String(),
    "propensity": pl.Float64(),
    "impressions": pl.Int64(),
    "clicks": pl.Int64(),
    "conversions": pl.Int64(),
    "unsubscribes": pl.Int64(),
    "revenue": pl.Float64(),
}
REQUIRED = ("impressions", "clicks")
COUNTS = ("impressions", "clicks", "conversions", "unsubscribes")
IDS = ("user_id", "creative_id", "test_id", "impression_id")
#: Names of things: blanks around them mean nothing.
LABELS = (*IDS, "product_id", "topic", "channel", "slot")
FEATURE_PREFIXES = ("user_", "context_")

#: Blanks that `strip` takes off: those of Unicode, and marks of no width that editors leave.
BLANKS = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u200b\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
#: What tables write where a value is missing, in lower case.
MISSING_WORDS = (
    "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "-nan", "null", "(null)", "nil", "none",
    "missing", "undefined", "unknown", "not available", "-", "--", "---", "–", "—", "?", ".",
    "\\n", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!",
)  # fmt: skip

ROW = "__row__"
#: So many hashes are compared at a time: about half a gigabyte.
HASHES = 20_000_000


@dataclass(frozen=True)
class Source:
    """Where a log comes from, for error messages.

    Attributes:
        label: the file as the user named it.
        first_row: number of the first data row: 2 in a CSV, whose header is row 1; else 1.
        columns: canonical name -> name in the file, where they differ.
    """

    label: str
    first_row: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """Return the file's own name of a canonical column."""
        return self.columns.get(name, name)

    def at(self, row: int, column: str) -> str:
        """Return ``FILE, row R, column C`` for the zero-based data row ``row``."""
        return f"{self.label}, row {row + self.first_row}, column {self.column(column)}"

    def note(self, row: int, column: str) -> str:
        """Return ``column C, row R`` for the zero-based data row ``row``: how a note begins."""
        return f"column {self.column(column)}, row {row + self.first_row}"


@dataclass(frozen=True)
class Check:
    """One rule: ``bad`` is true where a row breaks it.

    Attributes:
        column: the column to blame.
        bad: boolean expression on the raw frame, never null.
        problem: what is wrong, a template over the raw values of ``show``.
        way_out: what to do.
        show: columns whose values the message quotes; user ids are never among them.
    """

    column: str
    bad: pl.Expr
    problem: str
    way_out: str
    show: tuple[str, ...] = ()

    def refusal(self, frame: pl.LazyFrame, count: int, source: Source) -> UserError:
        """Return the error that names the first of ``count`` bad rows."""
        row = first_row(frame, self.bad, self.show)
        if row is None:  # the file changed between the two passes
            return UserError(f"{source.label} changed while it was read; run again.")
        where = source.at(row[ROW], self.column)
        said = self.problem.format(*(shorten(row[name]) for name in self.show))
        return UserError(f"{where}: {said}; {self.way_out}{such_rows(count)}.")


@dataclass(frozen=True)
class Hint:
    """Something that is usable but must be said.

    Attributes:
        column: where it is.
        seen: boolean expression on the raw frame, never null.
        says: what is said, a template over the raw values of ``show``.
        show: as in `Check`.
    """

    column: str
    seen: pl.Expr
    says: str
    show: tuple[str, ...] = ()

    def note(self, frame: pl.LazyFrame, count: int, source: Source) -> str | None:
        """Return the note that names the first of ``count`` rows; None where there is none."""
        row = first_row(frame, self.seen, self.show) if count else None
        if row is None:
            return None
        said = self.says.format(*(shorten(row[name]) for name in self.show))
        return f"{source.note(row[ROW], self.column)}: {said}{such_rows(count)}."


def is_feature(name: str) -> bool:
    """Tell whether a column is a free ``user_*`` or ``context_*`` feature."""
    return name.startswith(FEATURE_PREFIXES) and name not in SCHEMA


def is_text(dtype: pl.DataType) -> bool:
    """Tell whether a column holds text, categories included."""
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def cannot_be_used(dtype: pl.DataType) -> bool:
    """Tell whether a type is neither text, number nor time."""
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object)


def refuse_types(schema: Mapping[str, pl.DataType], source: Source) -> None:
    """Raise a `UserError` for the first column that holds neither text, numbers nor times."""
    for name, dtype in schema.items():
        if cannot_be_used(dtype):
            raise UserError(
                f"{source.label}, column {source.column(name)}: type {dtype} cannot be used; write "
                "text, numbers or times."
            )


def strip(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as text without blanks around it."""
    column = pl.col(name)
    return (column if dtype == pl.String else column.cast(pl.String)).str.strip_chars(BLANKS)


def is_missing(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return whether a value is null or, as text, blank."""
    return strip(name, dtype).fill_null("") == "" if is_text(dtype) else pl.col(name).is_null()


def first_row(frame: pl.LazyFrame, where: pl.Expr, show: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the first row (zero-based, key ``__row__``) where ``where`` holds, or None.

    Times are returned as text: Python has none before the year 1.
    """
    schema = frame.collect_schema()
    shown = [
        pl.col(name).cast(pl.String) if schema[name].is_temporal() else pl.col(name)
        for name in dict.fromkeys(show)
    ]
    found = (
        frame.with_row_index(ROW)
        .filter(where)
        .select(ROW, *shown)
        .head(1)
        .collect(engine="streaming")
    )
    return found.row(0, named=True) if found.height else None


def shorten(value: Any) -> Any:
    """Return the value as a message quotes it: long text is cut."""
    value = str(value) if isinstance(value, Decimal) else value
    return value[:40] + "..." if isinstance(value, str) and len(value) > 40 else value


def such_rows(count: int) -> str:
    """Return `` (N such rows)``, nothing for a single one."""
    return f" ({count:,} such rows)" if count > 1 else ""
