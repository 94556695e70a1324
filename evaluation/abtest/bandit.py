"""Valid intervals from an adaptively allocated test, such as Thompson sampling's.

A bandit shows more of what did well so far, so an arm's mean depends on its own luck: it is
biased, and its usual interval covers too rarely. Scores that divide by the known propensity are
not: with e_t(a) the probability of arm a at decision t and m_t(a) any guess made before t,

    Gamma_t(a) = m_t(a) + 1{A_t = a} (y_t - m_t(a)) / e_t(a)

has the arm's mean as expectation, given the past (the augmented inverse propensity scores of
Hadad et al. 2021, "Confidence intervals for policy evaluation in adaptive experiments"). The
running sum of Gamma_t(a) - Gamma_t(control) minus the effect is a martingale, so the always-valid
interval of `abtest_sequential` holds for it, in the martingale's own time V_t = sum of conditional
variances (Waudby-Smith et al. 2024, "Time-uniform central limit theory and asymptotic confidence
sequences", the Lyapunov form). It holds at any stopping time, hence at a fixed horizon too.

Axes: leading axes are independent tests; T batches of decisions with one propensity each (single
decisions are batches of one), A arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.abtest.sequential import always_valid_p, critical_z

#: Propensities under it are mistakes rather than chances.
_SMALLEST = 1e-12
#: How far the propensities' shares may be from those of the arms: standard errors, and relative.
_FAR, _OFF = 5.0, 0.1


@dataclass(frozen=True)
class Batches:
    """What was shown and what came of it, by batch.

    Attributes:
        units_TA: (..., T, A) decisions that took the arm.
        sums_TA: (..., T, A) sum of their outcomes.
        squares_TA: (..., T, A) sum of the squares; for clicks equal to the sums.
        propensity_TA: (..., T, A) probability of the arm, > 0; anything where no unit took it.
    """

    units_TA: np.ndarray
    sums_TA: np.ndarray
    squares_TA: np.ndarray
    propensity_TA: np.ndarray


@dataclass(frozen=True)
class Running:
    """An effect after each batch, with its always-valid interval.

    Attributes:
        effect_T: (..., T) estimate of arm - control, or of the arm's mean.
        low_T: (..., T) lower end; -inf before each arm has been shown twice.
        high_T: (..., T) upper end; +inf before.
        p_T: (..., T) always-valid p-value of no effect, at this batch.
    """

    effect_T: np.ndarray
    low_T: np.ndarray
    high_T: np.ndarray
    p_T: np.ndarray


def decisions(arm_N: Any, propensity_N: Any, outcome_N: Any, n_arms: int) -> Batches:
    """Return N logged decisions, in the order of time, as batches of one.

    Args:
        arm_N: (N,) int index of the arm that was shown.
        propensity_N: (N,) probability with which it was, in (0, 1].
        outcome_N: (N,) float64 outcome.
        n_arms: A.

    Raises:
        UserError: unequal lengths, or a propensity outside (0, 1].
    """
    arm = np.asarray(arm_N, np.int64)
    propensity, outcome = np.asarray(propensity_N, np.float64), np.asarray(outcome_N, np.float64)
    if not arm.shape == propensity.shape == outcome.shape:
        raise UserError(
            f"{arm.size} arms, {propensity.size} propensities and {outcome.size} outcomes: give "
            "one of each per decision."
        )
    bad = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
    if len(bad):
        raise UserError(
            f"decision {bad[0]}: the propensity is {propensity[bad[0]]:g}; it must lie in (0, 1]."
        )
    small = np.flatnonzero(propensity < _SMALLEST)
    if len(small):
        raise UserError(
            f"decision {small[0]}: a propensity of {propensity[small[0]]:g} is too small to divide "
            f"by; an arm that is shown has {_SMALLEST:g} or more."
        )
    shown = np.zeros((len(arm), n_arms))
    shown[np.arange(len(arm)), arm] = 1.0
    sums = shown * outcome[:, None]
    chances = np.where(shown > 0, propensity[:, None], 1.0)
    return Batches(shown, sums, sums * outcome[:, None], chances)


def share_of_propensities(arm_N: Any, propensity_N: Any, arm: int) -> tuple[float, bool]:
    """Return the mean of 1{A = arm} / propensity, and whether it contradicts the propensities.

    Its expectation is 1 whatever the policy. Its variance, the sum of (1 - e) / e over N^2, is
    estimated by 1{A = arm} (1 - e) / e^2.

    Args:
        arm_N: (N,) int index of the arm that was shown.
        propensity_N: (N,) probability with which it was.
        arm: index.
    """
    e = np.asarray(propensity_N, np.float64)[np.asarray(arm_N) == arm]
    size = len(np.asarray(arm_N))
    mean = float((1 / e).sum() / size)
    error = float(np.sqrt(((1 - e) / e**2).sum()) / size)
    odd = len(e) >= 10 and abs(mean - 1) > max(_FAR * error, _OFF)
    return mean, odd


def contrast(
    batches: Batches, arm: int, control: int | None, *, planned: int, alpha: float = 0.05
) -> Running:
    """Return the effect of an arm against the control, or its mean, after each batch.

    The guess m is the arm's mean before the batch, 0 before its first unit.

    Args:
        batches: of the test.
        arm: index.
        control: index of the other; None estimates the arm's own mean.
        planned: decisions of all arms at which the interval is to be narrowest if they were
            shared out evenly; fixed before the test.
        alpha: error level over all looks together.
    """
    units, sums = batches.units_TA, batches.sums_TA
    pulls = np.cumsum(units, axis=-2)
    guess = _before(sums) / np.maximum(_before(units), 1.0)
    mean = np.cumsum(sums, axis=-2) / np.maximum(pulls, 1.0)
    spread = np.cumsum(batches.squares_TA, axis=-2) / np.maximum(pulls, 1.0) - mean**2
    chance = np.where(units > 0, batches.propensity_TA, 1.0)
    size_T = units.sum(axis=-1)
    signs = {arm: 1.0} if control is None else {arm: 1.0, control: -1.0}
    total_T = variance_T = np.zeros_like(size_T)
    for index, sign in signs.items():
        m, e, n = guess[..., index], chance[..., index], units[..., index]
        total_T = total_T + sign * (size_T * m + (sums[..., index] - m * n) / e)
        variance_T = variance_T + _conditional(
            n / e**2, m, mean[..., index], np.maximum(spread[..., index], 0.0)
        )
    count_T = np.maximum(np.cumsum(size_T, axis=-1), 1.0)
    effect_T = np.cumsum(total_T, axis=-1) / count_T
    # The time at which the interval is narrowest: an even share of the arms at today's spread.
    even_T = planned * float(len(signs) * units.shape[-1]) * _outcome_variance(batches)
    own = (pulls[..., list(signs)] > 1).all(axis=-1) & (variance_T > 0) & (even_T > 0)
    fraction_T = np.where(own, variance_T, 1.0) / np.where(own, even_T, 1.0)
    error_T = np.sqrt(np.where(own, variance_T, 1.0)) / count_T
    half_T = np.where(own, critical_z(fraction_T, alpha) * error_T, np.inf)
    p_T = np.where(own, always_valid_p(effect_T / error_T, fraction_T, alpha), 1.0)
    return Running(effect_T, effect_T - half_T, effect_T + half_T, p_T)


def _conditional(
    weight_T: np.ndarray, guess_T: np.ndarray, mean_T: np.ndarray, spread_T: np.ndarray
) -> np.ndarray:
    """Return the sum of the scores' conditional variances so far, sum E[(y - m)^2] / e, (..., T).

    1 / e is estimated by 1{A = a} / e^2, which needs no propensity of an arm that was not shown.
    E[(y - m)^2] takes mean and variance of the arm's outcomes so far for all earlier decisions:
    summing the scores' own squares instead misses the variance that rare clicks at a small
    propensity have not shown yet, and its intervals then cover too rarely.
    """
    first, second, third = (
        np.cumsum(weight_T * power, axis=-1) for power in (1.0, guess_T, guess_T**2)
    )
    return np.asarray(first * (spread_T + mean_T**2) - 2 * mean_T * second + third)


def _before(values_TA: np.ndarray) -> np.ndarray:
    """Return sums over the batches before each one, of the same shape."""
    return np.asarray(np.cumsum(values_TA, axis=-2) - values_TA)


def _outcome_variance(batches: Batches) -> np.ndarray:
    """Return the variance of the outcomes so far, (..., T)."""
    units = np.maximum(np.cumsum(batches.units_TA.sum(axis=-1), axis=-1), 1.0)
    mean = np.cumsum(batches.sums_TA.sum(axis=-1), axis=-1) / units
    square = np.cumsum(batches.squares_TA.sum(axis=-1), axis=-1) / units
    return np.asarray(np.maximum(square - mean**2, 0.0))
