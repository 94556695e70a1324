"""What a user's demographic columns say: features and the segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name

#: level that rare levels of a categorical column are merged into.
OTHER = "other"

#: segment of a user whose demographics are unknown or were never seen by the fit.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Demographics:
    """Vocabulary of the ``user_*`` columns.

    Attributes:
        numeric: mean and standard deviation per numeric column.
        categorical: kept levels per categorical column; the last may be ``other``.
        segment_columns: columns whose levels make the segment.
        segments: G names in sorted order; ``unknown`` is always one of them.
    """

    numeric: dict[str, tuple[float, float]]
    categorical: dict[str, tuple[str, ...]]
    segment_columns: tuple[str, ...]
    segments: tuple[str, ...]

    @classmethod
    def fit(
        cls,
        users: pl.DataFrame,
        columns: Sequence[str],
        segment_by: Sequence[str] | None,
        min_share: float,
        max_levels: int,
    ) -> Demographics:
        """Learn from a frame of one row per user; arguments as in `ProfileBuilder`."""
        numeric: dict[str, tuple[float, float]] = {}
        categorical: dict[str, tuple[str, ...]] = {}
        for name in columns:
            if _is_number(users[name]):
                numeric[name] = _moments(users[name])
            else:
                categorical[name] = _frequent_levels(users[name], min_share, max_levels)
        if segment_by is None:
            segment_by = list(categorical)[:1]
        for name in segment_by:
            if name not in columns:
                raise unknown_name("profile column", name, list(columns) or ["(none)"])
            if name in numeric and users[name].n_unique() > max_levels:
                raise UserError(
                    f"profiles.segment_by: {name!r} is a number with {users[name].n_unique()} "
                    f"values; name a column with at most {max_levels}, or bin it in the log."
                )
        draft = cls(numeric, categorical, tuple(segment_by), ())
        segments = sorted({*draft._segment_names(users).tolist(), UNKNOWN})
        return cls(numeric, categorical, tuple(segment_by), tuple(segments))

    @property
    def columns(self) -> list[str]:
        """The ``user_*`` columns, numeric ones first."""
        return [*self.numeric, *self.categorical]

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names: ``user_x`` for a number, ``user_x=level`` for a level."""
        levels = [f"{name}={level}" for name, kept in self.categorical.items() for level in kept]
        return (*self.numeric, *levels)

    def features(self, users: pl.DataFrame) -> np.ndarray:
        """Return (U, D) float64: standardised numbers, one-hot levels; unknown values are 0."""
        columns = []
        for name, (mean, deviation) in self.numeric.items():
            values = users[name].cast(pl.Float64, strict=False).fill_nan(None).fill_null(mean)
            columns.append((values.to_numpy() - mean) / deviation)
        for name, kept in self.categorical.items():
            values = self._levels(users, name)
            columns += [(values == level).to_numpy().astype(np.float64) for level in kept]
        return np.stack(columns, axis=1) if columns else np.zeros((users.height, 0))

    def segment_index(self, users: pl.DataFrame) -> np.ndarray:
        """Return (U,) int64 index into ``segments``."""
        known = np.array(self.segments)
        names = self._segment_names(users)
        names = np.where(np.isin(names, known), names, UNKNOWN)
        return np.searchsorted(known, names).astype(np.int64)

    def blank(self, users: pl.DataFrame) -> pl.DataFrame:
        """Return ``user_id`` and all columns of ``users``; a column that is missing is null."""
        present = [pl.col(name) for name in self.columns if name in users.columns]
        missing = [
            pl.lit(None, dtype=pl.Float64 if name in self.numeric else pl.String).alias(name)
            for name in self.columns
            if name not in users.columns
        ]
        return users.select(pl.col("user_id").cast(pl.String), *present, *missing)

    def _levels(self, users: pl.DataFrame, name: str) -> pl.Series:
        values = users[name].cast(pl.String)
        kept = self.categorical[name]
        if OTHER in kept:
            rare = ~values.is_in(list(kept)) & values.is_not_null()
            values = values.zip_with(
                ~rare.fill_null(False), pl.repeat(OTHER, len(values), eager=True)
            )
        return values.fill_null("")

    def _segment_names(self, users: pl.DataFrame) -> np.ndarray:
        if not self.segment_columns:
            return np.full(users.height, "all")
        parts = [
            self._levels(users, name) if name in self.categorical else _plain(users[name])
            for name in self.segment_columns
        ]
        joined = pl.DataFrame({str(i): part for i, part in enumerate(parts)}).select(
            pl.concat_str(pl.all(), separator=" | ")
        )
        complete = np.all([(part != "").to_numpy() for part in parts], axis=0)
        return np.where(complete, joined.to_series().to_numpy().astype(np.str_), UNKNOWN)


def _plain(values: pl.Series) -> pl.Series:
    """Return the numbers as text, whole ones without a fraction, so that 1 and 1.0 agree."""
    if not _is_number(values):
        values = values.cast(pl.Float64, strict=False)
    return pl.Series(["" if x is None else _digits(x) for x in values], dtype=pl.String)


def _digits(number: float) -> str:
    """Return all digits of a number, so that no two numbers become one."""
    whole = isinstance(number, int) or number.is_integer()
    return str(int(number)) if whole else repr(number)


def _is_number(values: pl.Series) -> bool:
    return values.dtype.is_numeric() or values.dtype == pl.Boolean


def _moments(values: pl.Series) -> tuple[float, float]:
    numbers = values.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
    if not len(numbers):
        return 0.0, 1.0
    unit = max(float(np.abs(numbers).max()), 1e-300)  # squares of huge numbers would overflow
    deviation = float((numbers / unit).std())
    return float((numbers / unit).mean()) * unit, deviation * unit if deviation > 1e-12 else 1.0


def _frequent_levels(values: pl.Series, min_share: float, max_levels: int) -> tuple[str, ...]:
    text = values.cast(pl.String).drop_nulls()
    counts = (
        pl.DataFrame({"level": text})
        .group_by("level")
        .len()
        .sort(["len", "level"], descending=[True, False])
    )
    frequent = counts.filter(pl.col("len") >= min_share * len(text)).head(max_levels)
    kept = sorted(level for level in frequent["level"] if level != OTHER)
    return tuple(kept) if len(kept) == counts.height else (*kept, OTHER)
