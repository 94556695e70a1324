"""Intervals of off-policy estimates: the bootstrap over independent units, and the normal one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np

from copygym.core.estimates import (
    RESAMPLES,
    Estimate,
    normal_quantile,
    ratio,
    resample_sums,
    with_interval,
)
from copygym.evaluation.ope.estimators import (
    ESTIMATORS,
    TUNED,
    available_estimators,
    influence,
    parts,
    point,
    standard_error,
    tune,
)
from copygym.evaluation.ope.terms import Terms

#: Independent units beyond which the bootstrap takes blocks of units instead.
_UNITS = 50_000
#: Rows looked at to tell whether many rows are equal; below it nothing is won.
_PROBE = 2_000


class Valued(NamedTuple):
    """An estimate with both intervals.

    Attributes:
        bootstrap: value with the percentile interval over resampled units.
        normal: value with the normal interval of its influence function.
        draws: (R,) resampled values.
        constant: of the estimators in `TUNED`, else None.
    """

    bootstrap: Estimate
    normal: Estimate
    draws: np.ndarray
    constant: float | None = None


class Bootstrap:
    """Resamples of independent units, shared by all statistics so that they are paired.

    Equal rows are drawn together (the Poisson(1) counts of c equal rows add up to Poisson(c)), and
    beyond 50,000 units consecutive ones are drawn in blocks, whose sums vary as the units' do.

    Args:
        unit: (N,) int64 independent unit of each row (user); None: each row is one.
        resamples: R >= 2.
        seed: of the draws.
    """

    def __init__(
        self, unit: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        self.resamples, self.seed = resamples, seed
        self._unit = None if unit is None else np.unique(unit, return_inverse=True)[1]

    def by_unit(self, column: np.ndarray) -> np.ndarray:
        """Return the sums of a column (N,) over each unit, (U,)."""
        return column if self._unit is None else np.bincount(self._unit, column)

    def sums(self, columns: list[np.ndarray]) -> np.ndarray:
        """Return (R, M) resampled sums of M columns over rows, each (N,)."""
        matrix = np.column_stack([self.by_unit(column) for column in columns])
        if len(matrix) > _UNITS:
            few, counts = _equal_rows(matrix)
            if counts is not None:
                return self._resample_groups(few, counts)
            edges = np.linspace(0, len(matrix), _UNITS, endpoint=False).astype(np.int64)
            matrix = np.add.reduceat(matrix, edges, axis=0)
        elif len(matrix) > _PROBE:
            few, counts = _equal_rows(matrix)
            if counts is not None:
                return self._resample_groups(few, counts)
        return resample_sums(matrix, self.resamples, self.seed)[:, :-1]

    def _resample_groups(self, few: np.ndarray, counts: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        step = max(1, 4_000_000 // len(few))
        return np.concatenate(
            [
                rng.poisson(counts, size=(min(step, self.resamples - start), len(few))) @ few
                for start in range(0, self.resamples, step)
            ]
        )


def _equal_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return distinct rows and how often each occurs; no counts where most rows are distinct."""
    import polars as pl

    names = [str(i) for i in range(matrix.shape[1])]
    probe = pl.DataFrame(matrix[:: max(1, len(matrix) // _PROBE)], schema=names)
    if probe.n_unique() > len(probe) / 2:
        return matrix, None
    # -0.0 and 0.0 are equal rows; the order of first occurrence makes the draws repeatable.
    table = pl.DataFrame(matrix + 0.0, schema=names)
    found = table.group_by(names, maintain_order=True).len("count of equal rows")
    if found.height > len(matrix) / 4:
        return matrix, None
    counts = found["count of equal rows"].to_numpy().astype(np.float64)
    return found.select(names).to_numpy(), counts


def value_terms(
    terms: Mapping[Hashable, Terms],
    bootstrap: Bootstrap,
    names: tuple[str, ...] = tuple(ESTIMATORS),
    level: float = 0.95,
) -> dict[Hashable, dict[str, Valued]]:
    """Return every estimator that the terms allow, with both intervals.

    Args:
        terms: key -> terms of the same N decisions.
        bootstrap: the resamples.
        names: estimators, keys of `ESTIMATORS`.
        level: coverage of the intervals.

    Returns:
        key -> estimator -> value with its intervals; NaN for SNIPS and SNDR of a policy whose
        weights are all 0. The constants of `TUNED` are chosen on the rows, users or not.
    """
    columns: list[np.ndarray] = []
    places: dict[tuple[Hashable, str], list[tuple[int, int]]] = {}
    known: dict[tuple[Hashable, str], tuple[float, float, float | None]] = {}

    def add(column: np.ndarray) -> int:
        for index, other in enumerate(columns):
            if other is column:
                return index
        columns.append(column)
        return len(columns) - 1

    first = next(iter(terms.values()))
    size = first.trials if first.trials is not None else np.ones(len(first.rewards))
    trials = add(size)
    for key, entry in terms.items():
        constants = tune(entry) if any(name in TUNED for name in names) else {}
        shared: dict[bytes, np.ndarray] = {}
        for name in names:
            if name not in available_estimators(entry):
                continue
            pieces = parts(name, entry, constants.get(name))
            effects = bootstrap.by_unit(influence(pieces, entry.trials))
            value, error = point(pieces, entry.trials), standard_error(effects)
            known[key, name] = (value, error, constants.get(name))
            places[key, name] = [
                (
                    add(_same(shared, p.top)),
                    trials if p.bottom is None else add(_same(shared, p.bottom)),
                )
                for p in pieces
            ]
    sums = bootstrap.sums(columns)
    found: dict[Hashable, dict[str, Valued]] = {key: {} for key in terms}
    for (key, name), pairs in places.items():
        value, error, constant = known[key, name]
        draws = np.sum([ratio(sums[:, top], sums[:, bottom]) for top, bottom in pairs], axis=0)
        half = normal_quantile(level) * error
        normal = Estimate(value, value - half, value + half)
        found[key][name] = Valued(with_interval(value, draws, level), normal, draws, constant)
    return found


def _same(shared: dict[bytes, np.ndarray], column: np.ndarray) -> np.ndarray:
    """Return an earlier column of the same content, so that it is resampled once."""
    import hashlib

    digest = hashlib.blake2b(np.ascontiguousarray(column).data, digest_size=16).digest()
    return shared.setdefault(digest, column)


def difference(one: Valued, other: Valued, level: float = 0.95) -> Estimate:
    """Return ``one - other`` with the percentile interval of their paired resamples."""
    return with_interval(
        one.bootstrap.value - other.bootstrap.value, one.draws - other.draws, level
    )
