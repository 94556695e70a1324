"""Scores of predicted rates on counts, and how well they are calibrated: functions of arrays.

A row is n impressions with k clicks and one prediction p; arguments are (N,) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copygym.core.estimates import Estimate, clustered_rate


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


@dataclass(frozen=True)
class CalibrationBin:
    """Predicted and real rate of one bin of a calibration curve.

    Attributes:
        impressions: in the bin.
        predicted: mean prediction, weighted by impressions.
        real: click rate with its 95% interval (Wilson, units as clusters).
    """

    impressions: int
    predicted: float
    real: Estimate


def calibration_curve(
    p: np.ndarray, n: np.ndarray, k: np.ndarray, unit: np.ndarray, bins: int = 15
) -> tuple[CalibrationBin, ...]:
    """Return predicted and real rates over equal-mass bins, ascending in ``p``; none is empty.

    Args:
        p: (N,) predictions.
        n: (N,) impressions.
        k: (N,) clicks.
        unit: (N,) what is independent of each other.
        bins: at most so many.
    """
    code = equal_mass_bins(p, n, bins)
    found = []
    for b in np.unique(code):
        rows = code == b
        predicted = float((n[rows] * p[rows]).sum() / n[rows].sum())
        real = clustered_rate(n[rows], k[rows], unit[rows])
        found.append(CalibrationBin(int(n[rows].sum()), predicted, real))
    return tuple(found)


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


def isotonic_steps(
    x: np.ndarray, rate: np.ndarray, weight: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the knots of the isotonic regression of rates on ``x``, (M,) float64 each.

    The non-decreasing function of weighted least squares (Zadrozny and Elkan 2002, "Transforming
    classifier scores into accurate multiclass probability estimates"), to be interpolated.

    Args:
        x: (N,) scores.
        rate: (N,) observed rates.
        weight: (N,) their weights.
        least: rates are cut to [least, 1 - least]: a step at 0 or 1 would claim certainty.
    """
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(out_of_bounds="clip").fit(x, rate, sample_weight=weight)
    return curve.X_thresholds_, np.clip(curve.y_thresholds_, least, 1 - least)
