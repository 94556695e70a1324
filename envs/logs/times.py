"""Timestamps of a log: ISO 8601 text or datetime columns, read as UTC microseconds."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from copygym.core.errors import UserError

UTC_TIME = pl.Datetime("us", "UTC")

#: Timestamp formats, after a blank between date and time became a T: ISO 8601 with an offset as
#: the standard writes it or " UTC", with an offset of hours alone (as Postgres writes it) or
#: without seconds, then without an offset.
_FORMATS = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
#: An offset stands after a time; the end of a date such as -05 is none.
_OFFSET = r"(?i):\d\d(?:[.,]\d+)?\s*(z|utc|gmt|[+-]\d\d(?::?\d\d)?)$"
_DAY = r"^\d+-\d+-\d+$"
_NAMED_UTC = r"(?i)\s*(?:utc|gmt)$"
#: No click log is older or younger; 30-04-24 read as the year 30 is.
_YEARS = (datetime(1900, 1, 1), datetime(2200, 1, 1))


#: Formats that are no strptime pattern: seconds and milliseconds since 1970 in UTC.
EPOCHS = {"epoch": 1_000_000, "epoch_ms": 1_000}


def read_format(fmt: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column ``timestamp`` as a stated format reads it; null where it does not.

    Args:
        fmt: a pattern such as ``%d.%m.%Y %H:%M`` (strptime's letters), or one of `EPOCHS`.
        dtype: of the column in the file.

    Raises:
        UserError: the format has neither a day nor a name.
    """
    column = pl.col("timestamp")
    if fmt in EPOCHS:
        number = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        micros = (number * EPOCHS[fmt]).round().cast(pl.Int64, strict=False)
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not re.search(r"%-?[dDejFxc+]", fmt):
        raise UserError(
            f"time format {fmt!r} names no day: write one such as '%d.%m.%Y %H:%M', or "
            f"{' or '.join(EPOCHS)} for seconds or milliseconds since 1970."
        )
    text = column.cast(pl.String).str.strip_chars()
    if re.search(r"%([zZ+]|:z|#z)", fmt):
        return text.str.to_datetime(fmt, time_unit="us", time_zone="UTC", strict=False)
    if re.search(r"%-?([HIklTRXscr])", fmt):
        return text.str.to_datetime(fmt, time_unit="us", strict=False)
    return text.str.to_date(fmt, strict=False).cast(pl.Datetime("us"))


def check_zone(name: str | None) -> None:
    """Raise a `UserError` unless ``name`` is None or an IANA time zone."""
    if name is not None:
        try:
            zoneinfo.ZoneInfo(name)
            # polars knows fewer of them: not this machine's "localtime".
            pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(name)
        except (KeyError, ValueError, OSError, pl.exceptions.ComputeError):
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
        zero = upper.is_in(("Z", "UTC", "GMT", "-0000", "-00", "+00"))
        hours = pl.when(upper.str.len_bytes() == 3).then(upper + "00").otherwise(upper)
        return pl.when(zero).then(pl.lit("+0000")).otherwise(hours).fill_null("none")

    def _naive_text(self, fmt: str) -> pl.Expr:
        """Return the time as written, by a format without an offset; null where it doesn't fit."""
        text = self.text.str.replace(" ", "T", literal=True)
        if fmt == "%Y-%m-%d":
            return text.str.to_date(fmt, strict=False).cast(pl.Datetime("us"))
        return text.str.to_datetime(fmt, time_unit="us", strict=False)

    def _is_day(self) -> pl.Expr | None:
        """Return where a value is a date without a time; None: nowhere.

        A day begins when its clocks do: in Chile or Egypt they skip a midnight every year.
        """
        if self.is_text:
            return self.text.str.contains(_DAY)
        return pl.lit(True) if self.dtype == pl.Date else None

    def parse(self, fmt: str) -> pl.Expr:
        """Return the UTC time read by one format; null where it doesn't fit."""
        if fmt == "%+" or fmt.endswith("z"):
            text = self.text.str.replace(" ", "T", literal=True).str.replace(_NAMED_UTC, "Z")
            return text.str.to_datetime(fmt, time_unit="us", time_zone="UTC", strict=False)
        return self._localise(self._naive_text(fmt))

    def _localise(self, naive: pl.Expr, ambiguous: str = "earliest") -> pl.Expr:
        if self.zone == "UTC":
            return naive.dt.replace_time_zone("UTC")
        when: Any = ambiguous
        local = naive.dt.replace_time_zone(self.zone, ambiguous=when, non_existent="null")
        if (day := self._is_day()) is not None:
            later = naive.dt.offset_by("1h").dt.replace_time_zone(
                self.zone, ambiguous=when, non_existent="null"
            )
            local = pl.coalesce(local, pl.when(day).then(later))
        return local.dt.convert_time_zone("UTC")

    def expression(self) -> pl.Expr:
        """Return the column as UTC microseconds; null where unreadable."""
        if self.is_text:
            return pl.coalesce([self.parse(fmt) for fmt in self.formats]).cast(UTC_TIME)
        column = pl.col("timestamp").cast(pl.Datetime("us", getattr(self.dtype, "time_zone", None)))
        if getattr(self.dtype, "time_zone", None) is None:
            return self._localise(column)
        return column.dt.convert_time_zone("UTC")

    def _naive_time(self) -> pl.Expr | None:
        """Return the times that carry no zone, as written; None where all carry one."""
        if self.is_text:
            naive = [f for f in self.formats if f != "%+" and not f.endswith("z")]
            return pl.coalesce([self._naive_text(f) for f in naive]) if naive else None
        if getattr(self.dtype, "time_zone", None) is None:
            return pl.col("timestamp").cast(pl.Datetime("us"))
        return None

    def skipped(self) -> pl.Expr | None:
        """Return where a time falls into an hour that the zone's clocks skip; None: nowhere."""
        naive = None if self.zone == "UTC" else self._naive_time()
        if naive is None:
            return None
        return (naive.is_not_null() & self._localise(naive).is_null()).fill_null(False)

    def doubled(self) -> pl.Expr | None:
        """Return where a time falls into an hour that the zone's clocks repeat; None: nowhere."""
        naive = None if self.zone == "UTC" else self._naive_time()
        if naive is None:
            return None
        return (self._localise(naive) != self._localise(naive, "latest")).fill_null(False)

    def outside(self) -> pl.Expr:
        """Return where a time lies in a year that no click log is from."""
        first, last = (pl.lit(day).dt.replace_time_zone("UTC") for day in _YEARS)
        time = self.expression()
        return ((time < first) | (time >= last)).fill_null(False)

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
            kept = [f for f in _FORMATS if found[f]]
            if "%+" in kept and found["%+"] >= found["%Y-%m-%dT%H:%M:%S%.f%#z"]:
                # Both read the offsets of the standard; one parse of them is enough.
                kept = [f for f in kept if f != "%Y-%m-%dT%H:%M:%S%.f%#z"]
            self.formats = tuple(kept) or _FORMATS

    def widen(self) -> bool:
        """Try all formats again; tell whether that is a change."""
        narrow, self.formats = len(self.formats) < len(_FORMATS), _FORMATS
        return self.is_text and narrow

    def naive(self, found: Mapping[str, Any]) -> bool:
        """Tell whether the values, all of one kind, carry no time zone."""
        if self.is_text:
            return found["time:least"] == "none"
        return getattr(self.dtype, "time_zone", None) is None

    def mixed(self, found: Mapping[str, Any]) -> bool:
        """Tell whether some values carry an offset and others do not."""
        # An offset begins with a sign, which sorts before "none".
        return self.is_text and found["time:least"] != "none" == found["time:greatest"]

    def several(self, found: Mapping[str, Any]) -> bool:
        """Tell whether the values carry different offsets."""
        return self.is_text and found["time:least"] != found["time:greatest"]
