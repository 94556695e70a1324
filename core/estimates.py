"""Estimates with intervals: the bootstrap over units, Wilson's interval and that of no event.

Units are what is independent of each other: users, customers, tests. Every statistic that copygym
reports is a function of sums over units, so resampling needs sums only: draw how often each unit is
in a resample, multiply, and apply the function. All columns share the draws, which makes
differences between policies paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

#: Resamples where none are asked for; the 2.5 % quantile then rests on 50 of them.
RESAMPLES = 2000
_CELLS = 4_000_000
#: `normal_quantile` of 0.95, which most intervals need: no reason to import scipy.
_NORMAL_95 = 1.959963984540054


class Estimate(NamedTuple):
    """A number and its interval; never report ``value`` alone."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return ``{"value", "low", "high"}``."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __format__(self, spec: str) -> str:
        """Return ``value [low, high]``, each number formatted by ``spec`` (default ``.4g``)."""
        value, low, high = (format(float(number), spec or ".4g") for number in self)
        return f"{value} [{low}, {high}]"

    def __repr__(self) -> str:
        """Return ``value [low, high]``, short."""
        return format(self)


def resampled_units(
    units: int, resamples: int, seed: int | np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield how often each unit is in each resample of the Poisson bootstrap.

    Each unit enters a resample Poisson(1) times, independently (Chamandy et al. 2012, "Estimating
    uncertainty for massive data streams"): it needs no shuffling, and with sums divided by the
    resample's own size it agrees with the multinomial bootstrap.

    Args:
        units: U.
        resamples: R.
        seed: of the draws, or the generator that they are taken from; the same seed and U give the
            same draws, hence paired statistics.

    Yields:
        (r, U) float64, R rows in all, a few at a time so that they fit in memory.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // units)
    for start in range(0, resamples, chunk):
        size = (min(chunk, resamples - start), units)
        yield rng.poisson(1.0, size=size).astype(np.float64)


def resample_sums(columns: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the columns' sums in resamples of the Poisson bootstrap; see `resampled_units`.

    Args:
        columns: (U, M) float64, one row per independent unit.
        resamples: R >= 2.
        seed: of the draws; the same seed and U give the same draws, hence paired statistics.

    Returns:
        (R, M + 1) float64 sums; the last column is the size of the resample (sum of the draws).
    """
    columns = np.asarray(columns, dtype=np.float64)
    if columns.ndim != 2 or len(columns) == 0:
        raise ValueError(f"columns must be (U, M) with U > 0, not {columns.shape}")
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; an interval needs at least 2")
    extended = np.column_stack([columns, np.ones(len(columns))])
    blocks = resampled_units(len(columns), resamples, seed)
    return np.concatenate([counts @ extended for counts in blocks])


def estimate(
    columns: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    sums: np.ndarray,
    level: float = 0.95,
) -> Estimate:
    """Return a statistic of sums with its percentile interval.

    Args:
        columns: (U, M) as given to `resample_sums`.
        statistic: maps sums (..., M + 1), the number of units last, to values (...).
        sums: (R, M + 1) from `resample_sums` for these columns.
        level: coverage of the interval, in (0, 1).
    """
    total = np.append(np.asarray(columns, dtype=np.float64).sum(axis=0), len(columns))
    value = float(statistic(total[None])[0])
    return with_interval(value, statistic(sums), level)


def with_interval(value: float, resampled: np.ndarray, level: float = 0.95) -> Estimate:
    """Return ``value`` with the percentile interval of ``resampled`` (R,); NaN draws are left out.

    Where no resample gives a number (a CTR without a single send), the interval is NaN.
    """
    finite = resampled[np.isfinite(resampled)]
    if len(finite) == 0:
        return Estimate(value, np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def no_events(n: float, *, share: bool, level: float = 0.95) -> Estimate:
    """Return 0 with the exact interval of a sample of size ``n`` in which an event never happened.

    Resamples of zeros are zeros, so a bootstrap would be certain. Exact are Clopper and Pearson's
    interval for a share, whose upper end is close to 3.7 / n ("rule of three"; 3 where one asks for
    the upper end alone), and that of a Poisson count for a mean number of events. Both take the n
    chances to be independent of each other.

    Args:
        n: chances that there were, > 0.
        share: whether each chance has one event at most.
        level: coverage of the interval, in (0, 1).
    """
    tail = (1 - level) / 2
    high = 1.0 - tail ** (1.0 / n) if share else -np.log(tail) / n
    return Estimate(0.0, 0.0, float(high))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return ``numerator / denominator``, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator != 0, numerator / denominator, np.nan)


def mean_estimate(
    values: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    unit: np.ndarray | None = None,
) -> Estimate:
    """Return the mean of ``values`` (U,) with its bootstrap interval.

    Args:
        values: what is averaged.
        resamples: R >= 2.
        seed: of the draws.
        level: coverage of the interval, in (0, 1).
        unit: (U,) what is drawn as one; None: each value by itself.
    """
    values = np.asarray(values, dtype=np.float64)
    columns = np.column_stack([values, np.ones(len(values))])
    if unit is not None:
        code = np.unique(unit, return_inverse=True)[1]
        columns = np.column_stack([np.bincount(code, column) for column in columns.T])
    sums = resample_sums(columns, resamples, seed)
    return estimate(columns, lambda s: ratio(s[..., 0], s[..., 1]), sums, level)


def normal_quantile(level: float) -> float:
    """Return z such that a standard normal number lies within -z and z with this probability."""
    if level == 0.95:
        return _NORMAL_95
    from scipy.special import ndtri

    return float(ndtri(0.5 + 0.5 * level))


def wilson(k: float, n: float, design_effect: float = 1.0, level: float = 0.95) -> Estimate:
    """Return a rate with its Wilson score interval (Wilson 1927; Newcombe 1998, method 3).

    Args:
        k: events.
        n: chances that there were, > 0.
        design_effect: by how much clustering inflates the variance (Kish); n is divided by it.
        level: coverage of the interval, in (0, 1).
    """
    z, rate, size = normal_quantile(level), k / n, n / max(design_effect, 1.0)
    scale = 2 * (size + z**2)
    centre = (2 * size * rate + z**2) / scale
    half = z / scale * np.sqrt(4 * size * rate * (1 - rate) + z**2)
    low = 0.0 if k == 0 else float(centre - half)
    high = 1.0 if k == n else float(centre + half)
    return Estimate(float(rate), low, high)


def design_effect(n: np.ndarray, k: np.ndarray, unit: np.ndarray) -> float:
    """Return variance of the rate with units as clusters over its binomial variance, at least 1.

    The numerator is the linearised variance of a ratio estimate, ``sum_u (k_u - rate n_u)^2 /
    n^2``.

    Args:
        n: (N,) chances.
        k: (N,) events.
        unit: (N,) what is independent of each other.
    """
    code = np.unique(unit, return_inverse=True)[1]
    n_U, k_U = np.bincount(code, n), np.bincount(code, k)
    rate = k_U.sum() / n_U.sum()
    binomial = n_U.sum() * rate * (1 - rate)
    return max(1.0, float(((k_U - rate * n_U) ** 2).sum() / binomial)) if binomial > 0 else 1.0


def clustered_rate(n: np.ndarray, k: np.ndarray, unit: np.ndarray) -> Estimate:
    """Return sum k / sum n with its 95% Wilson interval, units as clusters; arguments (N,)."""
    return wilson(float(k.sum()), float(n.sum()), design_effect(n, k, unit))
