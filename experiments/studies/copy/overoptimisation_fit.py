"""Gold and proxy reward against distance from the starting writer: best-of-k curves and laws.

Distance is d = sqrt(KL), nats. The laws are those of Gao, Schulman and Hilton (2022), "Scaling Laws
for Reward Model Overoptimization" (arXiv 2210.10760), section 3: the gold reward gained at d is
d (alpha - beta d) by best-of-n and d (alpha - beta ln d) by reinforcement learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copygym.agents.copywriter.algorithms.best_of_n import best_of_n_kl, favourite_weights
from copygym.core.errors import UserError, unknown_name

#: Laws by the name that tables show.
LAWS = ("best_of_n", "rl")


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        kind: "best_of_n" or "rl".
        alpha: gain per unit of d at the start.
        beta: how fast the gain is lost; at most 0 where no loss is in sight.
        r2: share of the points' variance that the law explains; None where they don't vary.
        peak: d at which the fitted gold is highest; None where it rises for good.
    """

    kind: str
    alpha: float
    beta: float
    r2: float | None
    peak: float | None

    def at(self, d: np.ndarray) -> np.ndarray:
        """Return the law's gain at distances ``d`` (N,) >= 0."""
        return _columns(self.kind, np.asarray(d, np.float64)) @ np.array([self.alpha, self.beta])


def fit_law(kind: str, d: Sequence[float], gain: Sequence[float]) -> Law:
    """Fit a law by least squares; it is linear in alpha and beta.

    Args:
        kind: one of `LAWS`.
        d: (N,) distances sqrt(KL); points at or below 0 are left out, where every law says 0.
        gain: (N,) gold reward less that of the start.

    Raises:
        UserError: fewer than three points are left, or one is not finite.
    """
    if kind not in LAWS:
        raise unknown_name("law", kind, list(LAWS))
    x, y = np.asarray(d, np.float64), np.asarray(gain, np.float64)
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("a law of over-optimisation needs one finite gain per finite distance.")
    x, y = x[x > 0], y[x > 0]
    if len(x) < 3:
        raise UserError(f"a law of over-optimisation needs 3 points beyond d = 0, not {len(x)}.")
    columns = _columns(kind, x)
    (alpha, beta), *_ = np.linalg.lstsq(columns, y, rcond=None)
    left = float(((y - columns @ (alpha, beta)) ** 2).sum())
    spread = float(((y - y.mean()) ** 2).sum())
    return Law(
        kind=kind,
        alpha=float(alpha),
        beta=float(beta),
        r2=1.0 - left / spread if spread > 0 else None,
        peak=_peak(kind, float(alpha), float(beta)),
    )


def _columns(kind: str, d: np.ndarray) -> np.ndarray:
    if kind == "best_of_n":
        return np.column_stack([d, -(d**2)])
    return np.column_stack([d, -d * np.log(np.maximum(d, 1e-12))])


def _peak(kind: str, alpha: float, beta: float) -> float | None:
    # What rounding leaves of a beta of 0 is none.
    if beta <= 1e-9 * abs(alpha) or (kind == "best_of_n" and alpha <= 0):
        return None
    if kind == "best_of_n":
        return alpha / (2.0 * beta)
    exponent = alpha / beta - 1.0
    return math.exp(exponent) if exponent < 50 else None


@dataclass(frozen=True)
class BestOfCurve:
    """What the best of k draws by a proxy is worth, for k = 1, 2, 4 ... K.

    Attributes:
        k: (C,) draws.
        d: (C,) sqrt of the analytic KL, ln k - (k - 1) / k nats.
        proxy_TC: (T, C) proxy reward of the favourite, by task, less that of one draw.
        gold_TC: (T, C) gold reward, likewise.
    """

    k: np.ndarray
    d: np.ndarray
    proxy_TC: np.ndarray
    gold_TC: np.ndarray


def best_of_curve(proxy_TK: np.ndarray, gold_TK: np.ndarray) -> BestOfCurve:
    """Return the curve from K draws for each of T tasks.

    Every k uses all K draws: the unbiased estimate of Nakano et al. (2021, arXiv 2112.09332,
    appendix I), see `favourite_weights`. Draws that tie share their gold reward.

    Args:
        proxy_TK: proxy reward of the draws.
        gold_TK: gold reward of the same draws.
    """
    n = proxy_TK.shape[1]
    order = np.argsort(proxy_TK, axis=1, kind="stable")
    ranked = np.take_along_axis(proxy_TK, order, axis=1)
    gold = _share_ties(ranked, np.take_along_axis(gold_TK, order, axis=1))
    ks = sorted({*(2**i for i in range(n.bit_length()) if 2**i <= n), n})
    weights_KC = np.stack([favourite_weights(n, k) for k in ks], axis=1)
    proxy_TC, gold_TC = ranked @ weights_KC, gold @ weights_KC
    return BestOfCurve(
        k=np.array(ks),
        d=np.sqrt([best_of_n_kl(k) for k in ks]),
        proxy_TC=proxy_TC - proxy_TC[:, :1],
        gold_TC=gold_TC - gold_TC[:, :1],
    )


def _share_ties(ranked_TK: np.ndarray, gold_TK: np.ndarray) -> np.ndarray:
    """Return gold in which draws of equal proxy have their mean: no order among them counts."""
    shared = np.empty_like(gold_TK, dtype=np.float64)
    for row, (proxy, gold) in enumerate(zip(ranked_TK, gold_TK, strict=True)):
        starts = np.flatnonzero(np.r_[True, proxy[1:] != proxy[:-1]])
        sizes = np.diff(np.r_[starts, len(proxy)])
        shared[row] = np.repeat(np.add.reduceat(gold.astype(np.float64), starts) / sizes, sizes)
    return shared


__all__ = ["LAWS", "BestOfCurve", "Law", "best_of_curve", "fit_law"]
