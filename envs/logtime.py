"""Timestamps of a log: ISO 8601 text or datetime columns, read as UTC microseconds."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.envs.errors import UserError

UTC_TIME = pl.Datetime("us", "UTC")

#: Timestamp formats, after a blank between date and time became a T: ISO 8601 with an offset,
#: then without one.
_FORMATS = ("%+", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_OFFSET = r"(?i)(z|[+-]\d{2}:?\d{2})$"


def check_zone(name: str | None) -> None:
    """Raise a `UserError` unless ``name`` is None or an IANA time zone."""
    if name is not None:
        try:
            zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise UserError(
                f"unknown time zone {name!r}: use an IANA name such as 'Europe/Berlin' or 'UTC'."
            ) from None


class TimestampPlan:
    """How a timestamp column is read; for text, settled by what the first pass found."""

    def __init__(self, dtype: pl.DataType, time_zone: str | None) -> None:
        check_zone(time_zone)
        self.dtype, self.zone = dtype, time_zone or "UTC"
        self.is_text = dtype == pl.String
        self.text = pl.col("timestamp").cast(pl.String).str.strip_chars()
        self.formats: tuple[str, ...] = _FORMATS

    @property
    def offset(self) -> pl.Expr:
        """The UTC offset written in each value, "none" where there is none."""
        offset = self.text.str.extract(_OFFSET, 1).str.replace(":", "", literal=True)
        upper = offset.str.to_uppercase()
        # Not `replace`, for which polars would hold the whole column in memory.
        zero = (upper == "Z") | (upper == "-0000")
        return pl.when(zero).then(pl.lit("+0000")).otherwise(upper).fill_null("none")

    def parse(self, fmt: str) -> pl.Expr:
        """Return the UTC time read by one format; null where it doesn't fit."""
        text = self.text.str.replace(" ", "T", literal=True)
        if fmt == "%+":
            return text.str.to_datetime(fmt, time_unit="us", time_zone="UTC", strict=False)
        if fmt == "%Y-%m-%d":
            naive = text.str.to_date(fmt, strict=False).cast(pl.Datetime("us"))
        else:
            naive = text.str.to_datetime(fmt, time_unit="us", strict=False)
        return self._localise(naive)

    def _localise(self, naive: pl.Expr) -> pl.Expr:
        if self.zone == "UTC":
            return naive.dt.replace_time_zone("UTC")
        local = naive.dt.replace_time_zone(self.zone, ambiguous="earliest", non_existent="null")
        return local.dt.convert_time_zone("UTC")

    def expression(self) -> pl.Expr:
        """Return the column as UTC microseconds; null where unreadable."""
        if self.is_text:
            return pl.coalesce([self.parse(fmt) for fmt in self.formats]).cast(UTC_TIME)
        column = pl.col("timestamp").cast(pl.Datetime("us", getattr(self.dtype, "time_zone", None)))
        if getattr(self.dtype, "time_zone", None) is None:
            return self._localise(column)
        return column.dt.convert_time_zone("UTC")

    def aggregates(self) -> list[pl.Expr]:
        """Return what the first pass measures of a text column."""
        if not self.is_text:
            return []
        return [
            # The least and the greatest, not the distinct ones: constant memory.
            self.offset.min().alias("time:least"),
            self.offset.max().alias("time:greatest"),
        ]

    def settle(self, frame: pl.LazyFrame) -> None:
        """Keep only the formats that occur in the first rows; each one tried costs a parse."""
        if self.is_text:
            counts = [self.parse(f).is_not_null().sum().alias(f) for f in _FORMATS]
            found = frame.head(1000).select(counts).collect().row(0, named=True)
            self.formats = tuple(f for f in _FORMATS if found[f]) or _FORMATS

    def widen(self) -> bool:
        """Try all formats again; tell whether that is a change."""
        narrow, self.formats = len(self.formats) < len(_FORMATS), _FORMATS
        return self.is_text and narrow

    def naive(self, found: Mapping[str, Any]) -> bool:
        """Tell whether the values, all of one kind, carry no time zone."""
        if self.is_text:
            return found["time:least"] == "none"
        return getattr(self.dtype, "time_zone", None) is None
