"""Scores of predicted rates on counts, and intervals of rates: pure functions of arrays.

A row is n impressions with k clicks and one prediction p; arguments are (N,) throughout.
"""

from __future__ import annotations

import numpy as np

#: Normal quantile of a 95% interval.
_Z = 1.959964


def log_loss_counts(p: np.ndarray, n: np.ndarray, k: np.ndarray) -> float:
    """Return the log loss in nats per impression of predicted ``p`` (N,) on k clicks of n.

    ``-sum(k log p + (n - k) log(1 - p)) / sum(n)``; infinite where a certainty was wrong.
    """
    return float(log_losses(p, n, k).sum() / n.sum())


def log_losses(p: np.ndarray, n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return (N,) float64 log losses, in nats, of all impressions of each row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(k > 0, k * np.log(p), 0.0)
        miss = np.where(n > k, (n - k) * np.log1p(-p), 0.0)
    return -(hit + miss)


def brier_counts(p: np.ndarray, n: np.ndarray, k: np.ndarray) -> float:
    """Return the Brier score per impression: ``sum(k (1 - p)^2 + (n - k) p^2) / sum(n)``."""
    return float((k * (1 - p) ** 2 + (n - k) * p**2).sum() / n.sum())


def auc_counts(p: np.ndarray, n: np.ndarray, k: np.ndarray) -> float:
    """Return the chance that a clicked impression was scored above one without a click.

    Ties count half. NaN where all impressions or none were clicked.

    Args:
        p: (N,) scores, in any order.
        n: (N,) impressions.
        k: (N,) clicks.
    """
    level = np.unique(p, return_inverse=True)[1]
    return auc_of_levels(np.bincount(level, k), np.bincount(level, n - k))


def auc_of_levels(clicked_L: np.ndarray, missed_L: np.ndarray) -> float:
    """Return the AUC of counts at L ascending score levels."""
    pairs = float(clicked_L.sum()) * float(missed_L.sum())
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(missed_L) - missed_L
    return float((clicked_L * (below + 0.5 * missed_L)).sum() / pairs)


def equal_mass_bins(p: np.ndarray, n: np.ndarray, bins: int) -> np.ndarray:
    """Return (N,) int64 bin of each row: ascending in p, each with about the same impressions.

    Rows of equal p share a bin, so that the order of the rows doesn't matter.
    """
    levels, level = np.unique(p, return_inverse=True)
    mass = np.bincount(level, n, len(levels))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[level]


def expected_calibration_error(
    p: np.ndarray, n: np.ndarray, k: np.ndarray, bins: int = 15
) -> float:
    """Return the ECE: mean gap between predicted and real rate over equal-mass bins.

    ``sum_b (n_b / n) |mean p_b - k_b / n_b|``, all weighted by impressions (Naeini et al. 2015,
    with quantile bins). Noise makes it positive even for a perfect model.
    """
    b = equal_mass_bins(p, n, bins)
    return ece_of_bins(
        np.bincount(b, n, bins), np.bincount(b, k, bins), np.bincount(b, n * p, bins)
    )


def ece_floor(
    p: np.ndarray, n: np.ndarray, bins: int = 15, *, draws: int = 20, seed: int = 0
) -> float:
    """Return the mean ECE over ``draws`` of clicks from ``p`` itself: noise without any error."""
    rng = np.random.default_rng(seed)
    b = equal_mass_bins(p, n, bins)
    n_B, np_B = np.bincount(b, n, bins), np.bincount(b, n * p, bins)
    whole = n.astype(np.int64)
    clicks = (np.bincount(b, rng.binomial(whole, p), bins) for _ in range(draws))
    return float(np.mean([ece_of_bins(n_B, k_B, np_B) for k_B in clicks]))


def ece_of_bins(n_B: np.ndarray, k_B: np.ndarray, np_B: np.ndarray) -> float:
    """Return the ECE from each bin's impressions, clicks and expected clicks."""
    return float(np.abs(np_B - k_B).sum() / n_B.sum())


def wilson_interval(k: float, n: float, design_effect: float = 1.0) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a rate (Wilson 1927).

    Args:
        k: clicks.
        n: impressions, > 0.
        design_effect: by how much clustering inflates the variance (Kish): the counts are divided
            by it.
    """
    n_effective = n / max(design_effect, 1.0)
    rate = k / n
    centre = rate + _Z**2 / (2 * n_effective)
    half = _Z * np.sqrt(rate * (1 - rate) / n_effective + _Z**2 / (4 * n_effective**2))
    scale = 1 + _Z**2 / n_effective
    return max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale))


def design_effect(n: np.ndarray, k: np.ndarray, unit: np.ndarray) -> float:
    """Return variance of the rate with units as clusters over its binomial variance, at least 1.

    The numerator is the linearised variance of a ratio estimate, ``sum_u (k_u - rate n_u)^2 /
    n^2``. All arguments (N,).
    """
    code = np.unique(unit, return_inverse=True)[1]
    n_U, k_U = np.bincount(code, n), np.bincount(code, k)
    rate = k_U.sum() / n_U.sum()
    binomial = n_U.sum() * rate * (1 - rate)
    return max(1.0, float(((k_U - rate * n_U) ** 2).sum() / binomial)) if binomial > 0 else 1.0
