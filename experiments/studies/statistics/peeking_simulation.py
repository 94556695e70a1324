"""Simulated A/B tests whose truth is known: how often does each method err?

Axes: R replications (independent tests), L looks. All functions are pure but for the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from copygym.evaluation.abtest.bandit import Batches, contrast
from copygym.evaluation.abtest.compare import arms_from_values, compare
from copygym.evaluation.abtest.sequential import FIRST_LOOK, critical_z
from copygym.evaluation.abtest.values import cuped

#: Replications that are simulated at once.
_CHUNK = 1000


def chunks(total: int) -> list[int]:
    """Return sizes that add up to ``total``, each small enough for the memory."""
    full, rest = divmod(total, _CHUNK)
    return [_CHUNK] * full + ([rest] if rest else [])


def z_paths(
    rng: np.random.Generator, replications: int, looks: int, users: int, rates: Sequence[float]
) -> np.ndarray:
    """Return z of the difference of click rates at each look, (R, L) float64.

    Args:
        rng: luck of the clicks.
        replications: R.
        looks: L, evenly spaced.
        users: new ones per arm between two looks.
        rates: click rates of control and arm.
    """
    new = rng.binomial(users, np.asarray(rates), size=(replications, looks, 2))
    n = users * np.arange(1, looks + 1, dtype=np.float64)[:, None]
    mean = np.cumsum(new, axis=1) / n
    error = (mean * (1 - mean) / (n - 1)).sum(axis=-1)
    gap = mean[..., 1] - mean[..., 0]
    return np.divide(gap, np.sqrt(error), out=np.zeros_like(gap), where=error > 0)


def ever_rejected(z_RL: np.ndarray, looks: int, alpha: float, planned: float | None) -> np.ndarray:
    """Return whether a test rejects at any of ``looks`` evenly spaced looks, (R,) bool.

    Args:
        z_RL: from `z_paths`; L a multiple of ``looks``.
        looks: how many of them are taken; the last one always.
        alpha: error level.
        planned: None for a fixed-horizon test looked at again and again; for an always-valid one
            the number of looks of `z_paths` at which its interval is narrowest.
    """
    step = z_RL.shape[1] // looks
    taken = np.arange(step - 1, z_RL.shape[1], step)
    return np.asarray((np.abs(z_RL[:, taken]) >= _bound(taken, alpha, planned)).any(axis=1))


def first_rejection(z_RL: np.ndarray, alpha: float, planned: float) -> np.ndarray:
    """Return after how many looks an always-valid test stops, (R,) int64; L where it never does."""
    length = z_RL.shape[1]
    hit = np.abs(z_RL) >= _bound(np.arange(length), alpha, planned)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, length)


def _bound(taken: np.ndarray, alpha: float, planned: float | None) -> np.ndarray:
    if planned is None:
        return np.full(len(taken), norm.isf(alpha / 2))
    return critical_z((taken + 1) / planned, alpha)


class CupedRuns(NamedTuple):
    """What CUPED did in R tests.

    Attributes:
        ratio_R: (R,) squared standard error of the effect with CUPED / without.
        covered_R: (R,) bool, the interval with CUPED holds the true effect.
    """

    ratio_R: np.ndarray
    covered_R: np.ndarray


def cuped_runs(
    rng: np.random.Generator,
    replications: int,
    users: int,
    correlation: float,
    effect: float = 0.1,
    on_test: Callable[[], object] = lambda: None,
) -> CupedRuns:
    """Run tests of a normal outcome whose covariate has a known correlation with it.

    Args:
        rng: luck.
        replications: R.
        users: per arm.
        correlation: of outcome and covariate within arms, in (-1, 1).
        effect: true difference, in standard deviations of the outcome.
        on_test: called after every test.
    """
    arm = np.repeat([0, 1], users)
    ratios, covered = np.empty(replications), np.empty(replications, bool)
    for r in range(replications):
        x, noise = rng.normal(size=(2, 2 * users))
        y = correlation * x + np.sqrt(1 - correlation**2) * noise + effect * arm
        plain = arms_from_values(("a", "b"), arm, y)
        adjusted = arms_from_values(("a", "b"), arm, cuped(arm, y, x).value_N)
        ratios[r] = adjusted.error_A.sum() / plain.error_A.sum()
        found = compare(adjusted)[0].difference
        covered[r] = found.low <= effect <= found.high
        on_test()
    return CupedRuns(ratios, covered)


def thompson_batches(
    rng: np.random.Generator,
    replications: int,
    batches: int,
    size: int,
    rates: Sequence[float],
    floor: float,
) -> Batches:
    """Return R tests of two arms that Thompson sampling allocates, in batches.

    Thompson sampling with the normal approximation of the posterior, for which the probability
    that an arm's draw is the higher has a closed form: the propensity is known exactly.

    Args:
        rng: luck of the choices and clicks.
        replications: R.
        batches: T; the propensity changes between them.
        size: decisions in a batch.
        rates: click rates of control and arm.
        floor: least propensity of an arm, in (0, 0.5].
    """
    shape = (replications, batches, 2)
    units, clicks, chance = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    pulls, sums = np.zeros((replications, 2)), np.zeros((replications, 2))
    for t in range(batches):
        mean = (sums + 1) / (pulls + 2)
        spread = (mean * (1 - mean) / (pulls + 3)).sum(axis=1)
        better = norm.cdf((mean[:, 1] - mean[:, 0]) / np.sqrt(spread))
        second = np.clip(better, floor, 1 - floor)
        chance[:, t] = np.column_stack([1 - second, second])
        shown = rng.binomial(size, second)
        units[:, t] = np.column_stack([size - shown, shown])
        clicks[:, t] = rng.binomial(units[:, t].astype(np.int64), np.asarray(rates))
        pulls, sums = pulls + units[:, t], sums + clicks[:, t]
    return Batches(units, clicks, clicks, chance)


class BanditRuns(NamedTuple):
    """Which intervals of the effect held the truth, in R tests.

    Attributes:
        naive_end_R: (R,) bool, the usual interval of the arms' means, at the end.
        naive_always_R: (R,) bool, the same at every look.
        valid_always_R: (R,) bool, the always-valid interval of the scores, at every look.
        gap_R: (R,) float64 difference of the arms' means at the end.
    """

    naive_end_R: np.ndarray
    naive_always_R: np.ndarray
    valid_always_R: np.ndarray
    gap_R: np.ndarray


def bandit_runs(batches: Batches, truth: float, alpha: float, planned: int) -> BanditRuns:
    """Return which intervals held the true effect.

    Looks begin with the first batch after which each arm has `FIRST_LOOK` clicks.

    Args:
        batches: (R, T, 2) from `thompson_batches`.
        truth: arm - control.
        alpha: error level.
        planned: decisions at which the always-valid interval is narrowest.
    """
    units, clicks = (np.cumsum(v, axis=1) for v in (batches.units_TA, batches.sums_TA))
    mean = clicks / np.maximum(units, 1)
    error = (mean * (1 - mean) / np.maximum(units - 1, 1)).sum(axis=-1)
    gap = mean[..., 1] - mean[..., 0]
    inside = np.abs(gap - truth) <= norm.isf(alpha / 2) * np.sqrt(error)
    early = clicks.min(axis=-1) < FIRST_LOOK
    running = contrast(batches, 1, 0, planned=planned, alpha=alpha)
    held = (running.low_T <= truth) & (truth <= running.high_T)
    return BanditRuns(
        inside[:, -1], (inside | early).all(axis=1), (held | early).all(axis=1), gap[:, -1]
    )
