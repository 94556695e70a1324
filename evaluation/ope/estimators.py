"""Off-policy estimators: pure functions of arrays with one entry per logged decision.

Axes: N logged decisions. Decision i has action a_i, propensity e_i = P(a_i | x_i) under the logging
policy and outcome r_i; the target policy's probabilities are pi(. | x_i) and its importance weight
is w_i = pi(a_i | x_i) / e_i. A response model q enters by two numbers a decision: q(x_i, a_i) and
sum_a pi(a | x_i) q(x_i, a). So nothing here has the shape decisions x actions.

References: IPS, Horvitz and Thompson (1952); clipping, Bottou et al. (2013, "Counterfactual
reasoning and learning systems"), section 4.4; SNIPS, Swaminathan and Joachims (2015, "The
self-normalized estimator for counterfactual learning"), eq. 9; DM and DR, Dudik, Langford and Li
(2011, "Doubly robust policy evaluation and learning"), eq. 2; SNDR, Thomas and Brunskill (2016,
"Data-efficient off-policy policy evaluation for reinforcement learning"), section 4, at horizon 1;
SWITCH-DR, Wang, Agarwal and Dudik (2017, "Optimal and adaptive off-policy evaluation in contextual
bandits"), eq. 8; DR with optimistic shrinkage, Su et al. (2020, "Doubly robust off-policy
evaluation with shrinkage"), eq. 7; the choice of their constants, Su, Srinath and Krishnamurthy
(2020, "Adaptive estimator selection for off-policy evaluation"), algorithm 1 (SLOPE).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from copygym.core.estimates import ratio
from copygym.evaluation.ope.terms import Terms

#: Estimators by the name that results carry, with how a table's legend explains them.
ESTIMATORS: dict[str, str] = {
    "ips": "weights the logged outcomes by w = pi / propensity; unbiased, noisy",
    "clipped_ips": "IPS with weights cut at a cap; a little biased towards 0, calmer",
    "snips": "IPS divided by the mean weight; stays within the outcomes' range",
    "dm": "asks the response model alone, as wrong as it is; its interval leaves that out",
    "dr": "DM plus the weighted errors of the model; right if propensities or model are",
    "sndr": "DR with the weights divided by their mean",
    "switch_dr": "DR that trusts the model alone where a weight exceeds tau",
    "dr_os": "DR whose weights are shrunk smoothly, w * lambda / (w^2 + lambda)",
}
#: The ones that need a response model.
MODEL_BASED = ("dm", "dr", "sndr", "switch_dr", "dr_os")
#: Estimators with a constant that trades bias for variance, and the constant's name.
TUNED = {"clipped_ips": "cap", "switch_dr": "tau", "dr_os": "lambda"}
#: How many constants are tried, from "changes nothing" downwards.
_CANDIDATES = 12


def available_estimators(terms: Terms) -> tuple[str, ...]:
    """Return the estimators that terms allow: without a model, those that need none."""
    if terms.logged_model is None or terms.policy_model is None:
        return tuple(name for name in ESTIMATORS if name not in MODEL_BASED)
    return tuple(ESTIMATORS)


def ips(rewards: np.ndarray, weights: np.ndarray) -> float:
    """Return (1/N) sum w_i r_i: unbiased, of high variance. Arguments (N,)."""
    return float(weights @ rewards) / len(rewards)


def clipped_ips(rewards: np.ndarray, weights: np.ndarray, cap: float) -> float:
    """Return (1/N) sum min(w_i, cap) r_i. Arguments (N,)."""
    return ips(rewards, np.minimum(weights, cap))


def snips(rewards: np.ndarray, weights: np.ndarray) -> float:
    """Return sum w_i r_i / sum w_i: slightly biased, bounded by the rewards. Arguments (N,)."""
    return float(ratio(np.sum(weights * rewards), np.sum(weights)))


def dm(policy_model: np.ndarray) -> float:
    """Return the mean of sum_a pi(a|x_i) q(x_i, a), (N,): as good as the response model q."""
    return float(np.mean(policy_model))


def dr_terms(
    rewards: np.ndarray, weights: np.ndarray, logged_model: np.ndarray, policy_model: np.ndarray
) -> np.ndarray:
    """Return the N summands of `dr`, (N,) float64: DM's plus w_i (r_i - q(x_i, a_i))."""
    residual = rewards - logged_model
    residual *= weights
    residual += policy_model
    return residual


def dr(
    rewards: np.ndarray, weights: np.ndarray, logged_model: np.ndarray, policy_model: np.ndarray
) -> float:
    """Return DM plus the weighted residual: unbiased if propensities or model are right."""
    return float(np.mean(dr_terms(rewards, weights, logged_model, policy_model)))


def sndr(
    rewards: np.ndarray, weights: np.ndarray, logged_model: np.ndarray, policy_model: np.ndarray
) -> float:
    """Return DM plus sum w_i (r_i - q(x_i, a_i)) / sum w_i. Arguments (N,)."""
    return dm(policy_model) + snips(rewards - logged_model, weights)


def switch_dr(
    rewards: np.ndarray,
    weights: np.ndarray,
    logged_model: np.ndarray,
    policy_model: np.ndarray,
    tau: float,
) -> float:
    """Return `dr` without the residuals of weights above ``tau``. Arguments (N,)."""
    return dr(rewards, switch_weights(weights, tau), logged_model, policy_model)


def dr_os(
    rewards: np.ndarray,
    weights: np.ndarray,
    logged_model: np.ndarray,
    policy_model: np.ndarray,
    shrinkage: float,
) -> float:
    """Return `dr` with optimistically shrunk weights; ``shrinkage`` is lambda, 0 is DM."""
    return dr(rewards, shrink_weights(weights, shrinkage), logged_model, policy_model)


def switch_weights(weights: np.ndarray, tau: float) -> np.ndarray:
    """Return the weights (N,) with those above ``tau`` set to 0."""
    return np.where(weights <= tau, weights, 0.0)


def shrink_weights(weights: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return lambda w / (w^2 + lambda), (N,); lambda = inf leaves the weights as they are."""
    if np.isinf(shrinkage):
        return weights
    with np.errstate(invalid="ignore"):
        return np.where(weights > 0, shrinkage * weights / (weights**2 + shrinkage), 0.0)


class Part(NamedTuple):
    """An estimate is a sum of ratios of sums; this is one of them.

    ``bottom`` None stands for the impressions (one a row, or `Terms.trials`).
    """

    top: np.ndarray
    bottom: np.ndarray | None


def parts(name: str, terms: Terms, constant: float | None = None) -> list[Part]:
    """Return an estimator as ratios of sums over rows, which intervals are made from.

    Args:
        name: a key of `ESTIMATORS`.
        terms: N decisions.
        constant: of the estimators in `TUNED`.
    """
    n = terms.trials

    def scale(column: np.ndarray) -> np.ndarray:
        return column if n is None else n * column

    weights = terms.weights
    if name in TUNED:
        if constant is None:
            raise ValueError(f"{name} needs its constant {TUNED[name]}")
        bend: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
            "clipped_ips": np.minimum,
            "switch_dr": switch_weights,
            "dr_os": shrink_weights,
        }
        weights = bend[name](weights, constant)
    if name in ("ips", "clipped_ips"):
        return [Part(scale(weights * terms.rewards), None)]
    if name == "snips":
        return [Part(scale(weights * terms.rewards), scale(weights))]
    logged, policy = terms.model()
    if name == "dm":
        return [Part(scale(policy), None)]
    if name == "sndr":
        residual = Part(scale(weights * (terms.rewards - logged)), scale(weights))
        return [Part(scale(policy), None), residual]
    return [Part(scale(dr_terms(terms.rewards, weights, logged, policy)), None)]


def point(pieces: list[Part], trials: np.ndarray | None) -> float:
    """Return the value of an estimator's parts; NaN where a sum of weights is 0."""
    return float(sum(_ratio(part, trials) for part in pieces))


def influence(pieces: list[Part], trials: np.ndarray | None) -> np.ndarray:
    """Return each row's first-order effect on the estimate, (N,) float64, summing to 0.

    For a ratio T / B of sums it is (t_i - (T / B) b_i) / B (the delta method), so that the
    estimate's variance is the sum of squares over independent units.
    """
    total = np.zeros(len(pieces[0].top))
    for part in pieces:
        bottom = _bottom(part, trials)
        scale = float(np.sum(bottom))
        with np.errstate(divide="ignore", invalid="ignore"):
            total += (part.top - _ratio(part, trials) * bottom) / scale
    return total


def standard_error(effects: np.ndarray) -> float:
    """Return sqrt(U / (U - 1) sum psi_u^2) of influences by independent unit, (U,)."""
    units = len(effects)
    if units < 2:
        return float("nan")
    return float(np.sqrt(units / (units - 1) * np.sum(effects**2)))


def _bottom(part: Part, trials: np.ndarray | None) -> np.ndarray:
    if part.bottom is not None:
        return part.bottom
    return np.ones(len(part.top)) if trials is None else trials


def _ratio(part: Part, trials: np.ndarray | None) -> float:
    if part.bottom is None and trials is None:
        return float(np.mean(part.top))
    return float(ratio(np.sum(part.top), np.sum(_bottom(part, trials))))


def candidates(name: str, weights: np.ndarray) -> np.ndarray:
    """Return constants to try for an estimator of `TUNED`, the least biased first, (C,).

    Args:
        name: a key of `TUNED`.
        weights: (N,) importance weights.
    """
    largest, total = float(np.max(weights, initial=0.0)), float(weights.sum())
    # A few times the mean weight of what the target policy itself would do is nothing extreme;
    # bending such weights too would give the whole log to the model.
    usual = float((weights**2).sum()) / total if total > 0 else 0.0
    least = max(10.0, 3.0 * usual)
    if largest <= least:
        return np.array([np.inf if name == "dr_os" else max(largest, 1.0)])
    grid = np.geomspace(largest, least, _CANDIDATES)
    return np.append(np.inf, 10.0 * grid**2) if name == "dr_os" else grid


def slope(values: np.ndarray, errors: np.ndarray) -> int:
    """Return the index that SLOPE picks among estimates of falling variance and rising bias.

    It goes on to the next, calmer estimate as long as all intervals so far (two standard errors
    wide to each side) have a point in common: then the bias is not yet seen above the noise.

    Args:
        values: (C,) estimates.
        errors: (C,) their standard errors.
    """
    low, high = (
        np.maximum.accumulate(values - 2 * errors),
        np.minimum.accumulate(values + 2 * errors),
    )
    common = low <= high
    return int(np.argmin(common) - 1) if not common.all() else len(values) - 1


def tune(terms: Terms) -> dict[str, float]:
    """Return the constant of each estimator in `TUNED` that these terms allow, by SLOPE."""
    found = {}
    for name in TUNED:
        if name not in available_estimators(terms):
            continue
        grid = candidates(name, terms.weights)
        values, errors = np.empty(len(grid)), np.empty(len(grid))
        for i, constant in enumerate(grid):
            pieces = parts(name, terms, float(constant))
            values[i] = point(pieces, terms.trials)
            errors[i] = standard_error(influence(pieces, terms.trials))
        found[name] = float(grid[slope(values, np.nan_to_num(errors))])
    return found
