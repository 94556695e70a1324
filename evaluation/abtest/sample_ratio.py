"""Sample-ratio mismatch: did units arrive in the shares that were planned?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln
from scipy.stats import chisquare

from copygym.core.errors import UserError

#: p-value under which a sample-ratio mismatch is called one (Fabijan et al. 2019).
SRM_THRESHOLD = 1e-3
#: What shares may miss 1 by, as thirds do that are written .33.
_ROUNDED = 0.0101


@dataclass(frozen=True)
class SampleRatio:
    """Whether units arrived in the shares that were planned.

    Attributes:
        expected_A: (A,) float64 units that the shares call for.
        p: of shares as planned.
        mismatch: whether p is under the threshold; then no effect is to be believed.
    """

    expected_A: np.ndarray
    p: float
    mismatch: bool


def planned_shares(weights_A: Any, n_arms: int) -> np.ndarray:
    """Return weights such as (50, 50) or (9, 1) as shares, (A,); None means even.

    Raises:
        UserError: another number of weights than arms, or one that is not above 0.
    """
    if weights_A is None:
        return np.full(n_arms, 1.0 / n_arms)
    weights = np.asarray(weights_A, np.float64)
    if weights.shape != (n_arms,):
        raise UserError(
            f"the ratio has {weights.size} numbers and there are {n_arms} arms; give one per arm."
        )
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise UserError(
            f"the ratio is {':'.join(f'{w:g}' for w in weights)}; every number must be above 0."
        )
    with np.errstate(over="ignore"):
        total = float(weights.sum())
    if not np.isfinite(total):
        raise UserError(f"the ratio's numbers add up to {total:g}; give smaller ones, such as 9:1.")
    if (weights < 1).all() and abs(total - 1) > _ROUNDED:
        raise UserError(
            f"the ratio is {':'.join(f'{w:g}' for w in weights)}: as shares they add up to "
            f"{total:g} and not to 1; mend them, or write whole numbers such as 9:1."
        )
    return np.asarray(weights / total)


def named_weights(weights: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Return a ratio by name in the order of the arms.

    Raises:
        UserError: it names other arms than there are.
    """
    if set(weights) != set(names):
        raise UserError(
            f"the ratio names {', '.join(weights)} and the file has the arms {', '.join(names)}; "
            "give one number for each of them."
        )
    return [weights[name] for name in names]


def sample_ratio(
    units_A: Any, weights_A: Any = None, threshold: float = SRM_THRESHOLD
) -> SampleRatio:
    """Test for a sample-ratio mismatch by Pearson's chi-square (Fabijan et al. 2019).

    Args:
        units_A: (A,) units that arrived; what was randomised, users rather than impressions.
        weights_A: (A,) planned ratio; None means even.
        threshold: p-value under which it is a mismatch.

    Raises:
        UserError: fewer than two arms, no unit, or a ratio that does not fit.
    """
    units = np.asarray(units_A, np.float64)
    if units.ndim != 1 or len(units) < 2:
        raise UserError("a sample ratio needs the units of at least two arms.")
    if not (np.isfinite(units) & (units >= 0)).all():
        raise UserError("units must be numbers of 0 or more.")
    if units.sum() == 0:
        raise UserError("no arm has a unit, so there is no ratio to check.")
    expected = units.sum() * planned_shares(weights_A, len(units))
    p = float(chisquare(units, expected).pvalue)
    return SampleRatio(expected, p, p < threshold)


def sequential_ratio_p(counts_A: Any, shares_A: Any, concentration: float = 100.0) -> float:
    """Return an always-valid p-value for a sample-ratio mismatch.

    Lindon and Malek (2022, "Anytime-valid inference for multinomial count data", NeurIPS): the
    Dirichlet-multinomial likelihood of the counts against that of the planned shares.

    Args:
        counts_A: (A,) units per arm so far.
        shares_A: (A,) planned shares, which sum to 1.
        concentration: of the Dirichlet prior around the planned shares, > 0; larger finds small
            mismatches in large tests, smaller finds large ones early.
    """
    counts = np.asarray(counts_A, np.float64)
    shares = np.asarray(shares_A, np.float64)
    if concentration <= 0:
        raise UserError(f"the concentration is {concentration:g}; it must be above 0.")
    prior = concentration * shares
    total, size = float(counts.sum()), concentration + float(counts.sum())
    posterior = prior + counts
    # The log-gammas of large counts are huge and cancel, so that only what Stirling's formula
    # leaves of them is computed: posterior = size * shares * (1 + drift).
    drift = (counts - shares * total) / (shares * size)
    log_ratio = (
        gammaln(concentration)
        - gammaln(prior).sum()
        + 0.5 * (len(counts) - 1) * np.log(2 * np.pi)
        + 0.5 * (1 - len(counts)) * np.log(size)
        + ((posterior - 0.5) * np.log1p(drift) + (prior - 0.5) * np.log(shares)).sum()
        + _after_stirling(posterior).sum()
        - float(_after_stirling(np.array([size]))[0])
    )
    return float(np.exp(min(0.0, -log_ratio)))


def _after_stirling(z: np.ndarray) -> np.ndarray:
    """Return log Gamma(z) less Stirling's formula, (z - 1/2) log z - z + log(2 pi) / 2."""
    exact = gammaln(z) - ((z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi))
    return np.asarray(np.where(z > 1e3, 1 / (12 * z) - 1 / (360 * z**3), exact))
