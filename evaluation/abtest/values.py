"""Values of units before they are compared: ratios made linear, and CUPED.

Axes: N units, A arms. Both keep an arm's mean effect and change its variance to what it is
(`linearise`) or to less (`cuped`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.core.errors import UserError

#: Numbers beyond it cannot be squared.
_LARGE = 1e100


def linearise(arm_N: Any, clicks_N: Any, impressions_N: Any, n_arms: int) -> np.ndarray:
    """Return values whose mean is an arm's clicks per impression, (N,) float64.

    The delta method for a ratio whose units are users (Deng, Knoblich and Lu 2018, section 3):
    with R the arm's ratio, a user's value is R + (clicks - R impressions) / mean impressions. Its
    mean is R and its variance that of the ratio, however a user's impressions depend on each
    other.

    Args:
        arm_N: (N,) int index of the arm.
        clicks_N: (N,) clicks of a user.
        impressions_N: (N,) impressions of a user.
        n_arms: A; every arm needs an impression.
    """
    arm = np.asarray(arm_N, np.int64)
    clicks, shown = np.asarray(clicks_N, np.float64), np.asarray(impressions_N, np.float64)
    total = np.bincount(arm, shown, n_arms)
    if (total <= 0).any():
        raise UserError("an arm has no impression, so it has no click rate; leave it out.")
    rate = np.bincount(arm, clicks, n_arms) / total
    per_unit = total / np.bincount(arm, minlength=n_arms)
    return np.asarray(rate[arm] + (clicks - rate[arm] * shown) / per_unit[arm])


@dataclass(frozen=True)
class Cuped:
    """Values freed of what a covariate from before the test explains.

    Attributes:
        value_N: (N,) float64 adjusted values.
        theta: slope on the covariate, pooled within arms.
        correlation: of value and covariate within arms; the variance falls by its square.
    """

    value_N: np.ndarray
    theta: float
    correlation: float


def cuped(arm_N: Any, value_N: Any, covariate_N: Any) -> Cuped:
    """Return values less theta (covariate - its mean): same effect, variance times 1 - rho^2.

    Deng, Xu, Kohavi and Walker (2013, "Improving the sensitivity of online controlled
    experiments by utilizing pre-experiment data"), eq. 3 to 5. The covariate must be from before
    the test: one that the arms change takes a part of the effect away.

    Args:
        arm_N: (N,) int index of the arm.
        value_N: (N,) float64.
        covariate_N: (N,) float64, such as the same user's clicks in the month before.

    Raises:
        UserError: unequal lengths, values that are not finite, or a constant covariate.
    """
    arm = np.asarray(arm_N, np.int64)
    value, x = np.asarray(value_N, np.float64), np.asarray(covariate_N, np.float64)
    if not arm.shape == value.shape == x.shape:
        raise UserError(
            f"{arm.size} arms, {value.size} values and {x.size} covariates: give one of each per "
            "unit."
        )
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise UserError(
            f"unit {bad[0]}: the covariate is {x[bad[0]]}; give 0 for users without a past."
        )
    largest = float(np.abs(x).max()) if len(x) else 0.0
    if largest > _LARGE:
        raise UserError(
            f"covariates as large as {largest:.3g} cannot be squared; give them in a larger unit."
        )
    x_inside, value_inside = _centred(arm, x), _centred(arm, value)
    spread = float((x_inside**2).sum())
    if spread <= 1e-12 * max(1.0, float((x**2).sum())):
        raise UserError("the covariate is the same for all units, so it explains nothing.")
    product = float((x_inside * value_inside).sum())
    theta = product / spread
    total = float((value_inside**2).sum())
    correlation = product / np.sqrt(spread * total) if total > 0 else 0.0
    return Cuped(value - theta * (x - x.mean()), theta, float(correlation))


def _centred(arm: np.ndarray, values: np.ndarray) -> np.ndarray:
    counts = np.maximum(np.bincount(arm), 1)
    return np.asarray(values - (np.bincount(arm, values) / counts)[arm])
