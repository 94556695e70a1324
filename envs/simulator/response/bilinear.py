"""Newton sums of a logistic regression that is bilinear in profile and cell features.

The logit of user u in cell c is ``x_u' W z_c + v' m_c``: profile features x with a leading 1, cell
features z that meet every profile feature, and cell features m that don't. Written out, that is a
logistic regression on the products ``x (x) z`` and ``m``. But a cell's z is the same in all its
rows, so gradient and Hessian need only each cell's own sums over x, of size P instead of P * Q:
with P = 40 and Q = 40 a pass over the rows costs a thousandth of what the products would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from copygym.envs.simulator.response.design import Counts

#: Cells whose (P, P) sums are held at once before they are folded into the Hessian.
_CELLS_AT_ONCE = 256


@dataclass(frozen=True)
class Bilinear:
    """Cell features of one fit: C cells, Z crossed columns, M uncrossed ones.

    The D = Z * P + M coefficients are stored as W (Z, P) row by row, then v (M,).
    """

    crossed_CZ: np.ndarray  #: float64
    main_CM: np.ndarray  #: float64
    n_profile: int  #: P, with the leading 1

    @property
    def n_coefficients(self) -> int:
        """D."""
        return self.crossed_CZ.shape[1] * self.n_profile + self.main_CM.shape[1]

    def cell_weights(self, beta_D: np.ndarray) -> np.ndarray:
        """Return (C, P) float64: the weights of the profile features in each cell."""
        split = self.crossed_CZ.shape[1] * self.n_profile
        weights_CP = self.crossed_CZ @ beta_D[:split].reshape(-1, self.n_profile)
        weights_CP[:, 0] += self.main_CM @ beta_D[split:]
        return weights_CP


def with_constant(profiles_UP: np.ndarray) -> np.ndarray:
    """Return (U, 1 + P) float32: the profiles with a leading column of ones."""
    ones = np.ones((len(profiles_UP), 1), dtype=np.float32)
    return np.concatenate([ones, profiles_UP.astype(np.float32, copy=False)], axis=1)


def sorted_by_cell(counts: Counts) -> Counts:
    """Return the counts in the order that `newton_sums` needs."""
    return counts.take(np.argsort(counts.cell, kind="stable"))


def log_likelihood_terms(
    logit: np.ndarray, trials: np.ndarray, successes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's binomial log likelihood, its first and its negative second derivative.

    All (N,) float64; the log binomial coefficient, which depends on no parameter, is left out.
    """
    logit = logit.astype(np.float64, copy=False)
    probability = 1.0 / (1.0 + np.exp(-logit))
    value = successes * logit - trials * np.logaddexp(0.0, logit)
    return value, successes - trials * probability, trials * probability * (1.0 - probability)


def newton_sums(
    model: Bilinear, beta_D: np.ndarray, users_UP: np.ndarray, counts: Counts, batch_rows: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return log likelihood, gradient (D,) and negative Hessian (D, D) at ``beta_D``, float64.

    Streams over ``counts`` (sorted by cell) in batches of ``batch_rows``: features are expanded
    to float32 for one batch at a time, sums are kept in float64.

    Args:
        model: the cell features.
        beta_D: coefficients.
        users_UP: profiles with the leading 1.
        counts: N observations sorted by cell.
        batch_rows: rows per batch.
    """
    sums = _Sums(model)
    weights_CP = model.cell_weights(beta_D).astype(np.float32)
    total = 0.0
    for rows, x_NP, cells, starts in _segments(users_UP, counts, batch_rows):
        logit = np.einsum("np,np->n", x_NP, weights_CP[counts.cell[rows]])
        if counts.offset is not None:
            logit = logit + counts.offset[rows]
        value, slope, curvature = log_likelihood_terms(
            logit, counts.trials[rows], counts.successes[rows]
        )
        total += float(value.sum())
        slope_N1 = slope.astype(np.float32)[:, None]
        curved_NP = x_NP * curvature.astype(np.float32)[:, None]
        for cell, start, stop in zip(cells, starts[:-1], starts[1:], strict=True):
            x = x_NP[start:stop]
            sums.add(cell, (x.T @ slope_N1[start:stop])[:, 0], x.T @ curved_NP[start:stop])
    return total, *sums.result()


def _segments(
    users_UP: np.ndarray, counts: Counts, batch_rows: int
) -> Iterator[tuple[slice, np.ndarray, list[int], list[int]]]:
    """Yield batches: their rows, profiles, and the runs of equal cells inside them."""
    for start in range(0, len(counts), batch_rows):
        rows = slice(start, min(start + batch_rows, len(counts)))
        cell = counts.cell[rows]
        firsts = np.flatnonzero(np.diff(cell, prepend=-1))
        yield rows, users_UP[counts.user[rows]], cell[firsts].tolist(), [*firsts, len(cell)]


class _Sums:
    """Folds the cells' own sums into the gradient and Hessian of all coefficients."""

    def __init__(self, model: Bilinear) -> None:
        self._model, p = model, model.n_profile
        z, m = model.crossed_CZ.shape[1], model.main_CM.shape[1]
        self._gradient_CP = np.zeros((len(model.crossed_CZ), p))
        self._cross_PPZZ = np.zeros((p * p, z * z))
        self._mixed_ZPM = np.zeros((z * p, m))
        self._main_MM = np.zeros((m, m))
        self._cells: list[int] = []
        self._held_BPP = np.zeros((_CELLS_AT_ONCE, p, p))

    def add(self, cell: int, gradient_P: np.ndarray, hessian_PP: np.ndarray) -> None:
        self._gradient_CP[cell] += gradient_P
        if not self._cells or self._cells[-1] != cell:
            if len(self._cells) == _CELLS_AT_ONCE:
                self._fold()
            self._cells.append(cell)
            self._held_BPP[len(self._cells) - 1] = 0.0
        self._held_BPP[len(self._cells) - 1] += hessian_PP

    def _fold(self) -> None:
        b = len(self._cells)
        z_BZ, m_BM = self._model.crossed_CZ[self._cells], self._model.main_CM[self._cells]
        held_BPP = self._held_BPP[:b]
        outer_BZZ = (z_BZ[:, :, None] * z_BZ[:, None, :]).reshape(b, -1)
        self._cross_PPZZ += held_BPP.reshape(b, -1).T @ outer_BZZ
        first_BP = held_BPP[:, :, 0]
        self._mixed_ZPM += (z_BZ[:, :, None] * first_BP[:, None, :]).reshape(b, -1).T @ m_BM
        self._main_MM += (m_BM * first_BP[:, :1]).T @ m_BM
        self._cells = []

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        self._fold()
        p, z = self._model.n_profile, self._model.crossed_CZ.shape[1]
        gradient_ZP = self._model.crossed_CZ.T @ self._gradient_CP
        gradient_M = self._model.main_CM.T @ self._gradient_CP[:, 0]
        cross = self._cross_PPZZ.reshape(p, p, z, z).transpose(2, 0, 3, 1).reshape(z * p, z * p)
        hessian = np.block([[cross, self._mixed_ZPM], [self._mixed_ZPM.T, self._main_MM]])
        return np.concatenate([gradient_ZP.ravel(), gradient_M]), hessian
