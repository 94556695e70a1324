"""Point estimates in one pass: sums over blocks of decisions, for logs of many rows.

Nothing of the size of the log is made, and a policy or model in a file is read block by block. For
intervals take `intervals.value_terms`. Axes as there: N decisions, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from copygym.core.errors import UserError
from copygym.core.estimates import ratio
from copygym.evaluation.ope.terms import ActionValues

#: Entries of a decisions x actions block: two of them fit a processor's second cache.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class OnDisk:
    """Numbers for each decision and action in a ``.npy`` file, (N, A), read block by block.

    Attributes:
        path: written by `numpy.save` from a C-ordered float array.
        shape: (N, A).
        dtype: of the file.
        offset: where the numbers begin.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    offset: int

    @classmethod
    def open(cls, path: str | Path) -> OnDisk:
        """Read the file's header.

        Raises:
            UserError: it is no such file.
        """
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as .npy: {error}.") from error
        good = isinstance(stored, np.memmap) and stored.ndim == 2 and stored.dtype.kind == "f"
        if not good or not stored.flags.c_contiguous:
            raise UserError(f"{path}: save a C-ordered (decisions, actions) array of floats.")
        return cls(Path(path), stored.shape, stored.dtype, int(stored.offset))

    def block(self, rows: slice) -> np.ndarray:
        """Return (n, A)."""
        a = self.shape[1]
        at = self.offset + rows.start * a * self.dtype.itemsize
        count = (rows.stop - rows.start) * a
        return np.fromfile(self.path, self.dtype, count, offset=at).reshape(-1, a)

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the numbers of the actions taken, (N,) float64, or of some rows'."""
        n, a = self.shape
        index = np.arange(n) if rows is None else rows
        out = np.empty(len(index))
        step = max(1, _BLOCK // a)
        for start in range(0, n, step):
            stop = min(start + step, n)
            low, high = np.searchsorted(index, [start, stop])
            if low < high:
                values = self.block(slice(start, stop))
                out[low:high] = values[index[low:high] - start, actions[low:high]]
        return out


@njit(cache=True)
def _nonzero(values: np.ndarray) -> np.ndarray:
    """Return `numpy.flatnonzero`, (M,) int64, without a branch per value: half its time."""
    count = 0
    for i in range(len(values)):
        count += values[i] != 0.0
    # One place more: what is not kept is written, too, and overwritten.
    places, kept = np.empty(count + 1, np.int64), 0
    for i in range(len(values)):
        places[kept] = i
        kept += values[i] != 0.0
    return places[:count]


def _sum_expected(chances_MA: np.ndarray, answers_MA: np.ndarray, m: int) -> float:
    """Return sum pi q of m decisions; policy and model have m rows or one for all."""
    if len(chances_MA) > 1 and len(answers_MA) > 1:
        # BLAS on all entries at once: no loop of ours fetches memory as fast.
        return float(np.dot(chances_MA.ravel(), answers_MA.ravel()))
    times = m if len(chances_MA) == len(answers_MA) else 1
    chances_A, answers_A = (x.sum(0, dtype=np.float64) for x in (chances_MA, answers_MA))
    return times * float(chances_A @ answers_A)


@njit(cache=True, fastmath={"reassoc", "contract"})
def _sum_taken(
    chances: np.ndarray,
    each: int,
    answers: np.ndarray,
    known: int,
    actions: np.ndarray,
    propensities: np.ndarray,
    rewards: np.ndarray,
) -> tuple[float, float, float]:
    """Return sum w, sum w r and sum w q of decisions.

    Policy and model are flat; ``each`` and ``known`` are the steps from one decision to the next
    there, 0 where all have the same.
    """
    weight = gained = missed = 0.0
    for i in range(len(actions)):
        w = np.float64(chances[i * each + actions[i]]) / propensities[i]
        weight += w
        gained += w * rewards[i]
        missed += w * np.float64(answers[i * known + actions[i]])
    return weight, gained, missed


def ips_point(
    actions: np.ndarray, propensities: np.ndarray, rewards: np.ndarray, target: ActionValues
) -> float:
    """Return `estimators.ips`; only rows with an outcome are looked at, which are few.

    Args:
        actions: (N,) int64.
        propensities: (N,) float64 in (0, 1].
        rewards: (N,) float64.
        target: the policy.
    """
    rows = _nonzero(rewards)
    chances = target.of_actions(actions.take(rows), rows)
    return float(chances @ (rewards.take(rows) / propensities.take(rows))) / len(rewards)


def points(
    actions: np.ndarray,
    propensities: np.ndarray,
    rewards: np.ndarray,
    target: ActionValues,
    model: ActionValues,
) -> dict[str, float]:
    """Return IPS, SNIPS, DM, DR and SNDR, by name, from one pass over policy and model.

    Args:
        actions: (N,) int64 in [0, A); `terms.check_log` finds others, this does not.
        propensities: (N,) float64 in (0, 1].
        rewards: (N,) float64.
        target: the policy.
        model: the response model.
    """
    n, a = len(actions), model.block(slice(0, 1)).shape[1]
    step = min(n, max(1, _BLOCK // a))
    expected = weight = gained = missed = 0.0
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        # A policy or model that is the same for all decisions gives one row.
        chances_MA, answers_MA = target.block(rows), model.block(rows)
        expected += _sum_expected(chances_MA, answers_MA, rows.stop - rows.start)
        sums = _sum_taken(
            chances_MA.ravel(), a * (len(chances_MA) > 1), answers_MA.ravel(),
            a * (len(answers_MA) > 1), actions[rows], propensities[rows], rewards[rows],
        )  # fmt: skip
        weight, gained, missed = weight + sums[0], gained + sums[1], missed + sums[2]
    direct, residual = expected / n, gained - missed
    return {
        "ips": gained / n,
        "snips": float(ratio(np.array(gained), np.array(weight))),
        "dm": direct,
        "dr": direct + residual / n,
        "sndr": direct + float(ratio(np.array(residual), np.array(weight))),
    }
