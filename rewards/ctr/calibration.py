"""From raw scores to a calibrated logit of a click: temperature or isotonic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from copygym.core.errors import unknown_name
from copygym.core.scores import isotonic_steps
from copygym.rewards.ctr.data import CopyCounts

METHODS = ("temperature", "isotonic", "none")
#: The least slope: an uninformative model must not turn the order round.
_MIN_SLOPE = 1e-3
#: Share of the raw score that tells apart what isotonic regression ties together.
_TIE_BREAK = 1e-6


class Calibration:
    """A monotone map from raw scores to logits, fitted on held-out counts.

    ``temperature``: logit = intercept + raw / T (Guo et al. 2017, arXiv 1706.04599, with the
    intercept that a score without a level needs; Platt 1999). ``isotonic``: the non-decreasing
    step function of least squares weighted by impressions (Zadrozny and Elkan 2002), interpolated
    between its steps. ``none``: logit = raw.

    Args:
        method: one of `METHODS`.
    """

    def __init__(self, method: str = "temperature") -> None:
        if method not in METHODS:
            raise unknown_name("calibration", method, list(METHODS))
        self.method = method
        self.intercept, self.slope = 0.0, 1.0
        self.knots = np.zeros((2, 0))

    def fit(self, raw: np.ndarray, counts: CopyCounts) -> None:
        """Fit on raw scores (N,) of N arms."""
        if self.method == "none":
            return
        self.intercept, self.slope = _platt(raw, counts)
        if self.method == "isotonic":
            self.knots = _isotonic(raw, counts.clicks, counts.impressions)

    @property
    def flat(self) -> bool:
        """True where better scores did not mean more clicks: the slope met its floor."""
        return self.slope <= _MIN_SLOPE * (1 + 1e-6)

    @property
    def numbers(self) -> list[float]:
        """All that was fitted."""
        return [self.intercept, self.slope, *self.knots.ravel().tolist()]

    def logit(self, raw: np.ndarray) -> np.ndarray:
        """Return the calibrated logits (N,) float64; strictly increasing in ``raw``."""
        raw = np.asarray(raw, dtype=np.float64)
        straight = self.intercept + self.slope * raw
        if self.knots.shape[1] == 0:
            return straight
        steps = np.interp(raw, self.knots[0], self.knots[1])
        return (1 - _TIE_BREAK) * steps + _TIE_BREAK * straight

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, as JSON types."""
        return {
            "method": self.method,
            "intercept": self.intercept,
            "slope": self.slope,
            "knots": self.knots.tolist(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Calibration:
        """Return the calibration whose `state` this is."""
        calibration = cls(state["method"])
        calibration.intercept, calibration.slope = state["intercept"], state["slope"]
        calibration.knots = np.asarray(state["knots"], dtype=np.float64).reshape(2, -1)
        return calibration


def _platt(raw: np.ndarray, counts: CopyCounts) -> tuple[float, float]:
    """Return intercept and slope that maximise the binomial likelihood of clicks.

    The slope is that within tests: raw scores of other products or stories may lie anywhere, and
    their click rates too, so that a pooled slope can even have the wrong sign. The intercept then
    gives as many clicks as there were. Where no test has two scores, the slope is the pooled one.
    """
    from scipy.optimize import brentq, minimize
    from scipy.special import expit, logit

    clicks, impressions = counts.clicks, counts.impressions
    total = impressions.sum()
    _, test = np.unique(counts.test, return_inverse=True)
    shown = np.bincount(test, impressions)
    centred = raw - (np.bincount(test, impressions * raw) / shown)[test]
    offset = logit((np.bincount(test, clicks) + 0.5) / (shown + 1.0))[test]
    if float(np.abs(centred).max()) < 1e-12:
        centred = raw - raw.mean()
        offset = np.full(len(raw), logit((clicks.sum() + 0.5) / (total + 1)))
    spread = float(centred.std()) or 1.0
    z = centred / spread

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value_N = offset + theta[0] + theta[1] * z
        value = (impressions * np.logaddexp(0.0, value_N) - clicks * value_N).sum() / total
        error = (impressions * expit(value_N) - clicks) / total
        return float(value), np.array([error.sum(), (error * z).sum()])

    bounds = [(-30, 30), (_MIN_SLOPE * spread, 30)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    slope = float(found.x[1]) / spread
    wanted = clicks.sum() + 0.5 * total / (total + 1.0)

    def surplus(intercept: float) -> float:
        return float((impressions * expit(intercept + slope * raw)).sum() - wanted)

    reach = 40.0 + float(np.abs(slope * raw).max())
    return float(brentq(surplus, -reach, reach)), slope


def _isotonic(raw: np.ndarray, clicks: np.ndarray, impressions: np.ndarray) -> np.ndarray:
    """Return (2, M) knots: raw score and logit."""
    rate = (clicks + 0.5) / (impressions + 1.0)
    at, chance = isotonic_steps(raw, rate, impressions, 1e-9)
    return np.stack([at, np.log(chance / (1 - chance))])
