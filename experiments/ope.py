"""Off-policy estimates from a one-step log with propensities.

Pure functions on arrays. Axes: N logged decisions, A actions. A decision i has action a_i,
propensity e_i = P(a_i | x_i) under the logging policy, outcome r_i, and the target policy's
probabilities pi(. | x_i). The estimator's name is part of every result.

References: IPS, Horvitz and Thompson (1952); SNIPS, Swaminathan and Joachims (2015, "The
self-normalized estimator for counterfactual learning"), eq. 9; DM and DR, Dudik, Langford and Li
(2011, "Doubly robust policy evaluation and learning"), eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from copygym.envs.errors import UserError
from copygym.experiments.bootstrap import RESAMPLES, Estimate, ratio, resample_sums, with_interval

#: Estimators by the name that results carry.
ESTIMATORS = ("ips", "snips", "dm", "dr")


@dataclass(frozen=True)
class Support:
    """How much of the log speaks for a target policy.

    Attributes:
        ess: effective sample size, (sum w)^2 / sum w^2; at most N.
        max_weight: the largest importance weight.
        mean_weight: near 1 where the logging policy covers the target policy.
        n: logged decisions.
    """

    ess: float
    max_weight: float
    mean_weight: float
    n: int


def check_log(actions: np.ndarray, propensities: np.ndarray, target_NA: np.ndarray) -> None:
    """Raise `UserError` where an importance weight would be undefined or silently wrong.

    Args:
        actions: (N,) int64 in [0, A).
        propensities: (N,) float64 in (0, 1].
        target_NA: (N, A) float64 rows that sum to 1.
    """
    bad = np.flatnonzero(~((propensities > 0) & (propensities <= 1)))
    if len(bad):
        raise UserError(
            f"off-policy log: row {bad[0]}: propensity is {propensities[bad[0]]}; it must lie in "
            "(0, 1], so drop such rows or give the logging policy's probabilities."
        )
    off = np.flatnonzero(np.abs(target_NA.sum(axis=1) - 1) > 1e-6)
    if len(off):
        raise UserError(
            f"target policy: row {off[0]}: probabilities sum to {target_NA[off[0]].sum():.6g}, "
            "not 1; normalise them."
        )
    if len(actions) != len(target_NA) or actions.min() < 0 or actions.max() >= target_NA.shape[1]:
        raise UserError(
            f"off-policy log: actions must be {len(target_NA)} indices below "
            f"{target_NA.shape[1]}, one per row of the target policy."
        )


def importance_weights(
    actions: np.ndarray, propensities: np.ndarray, target_NA: np.ndarray
) -> np.ndarray:
    """Return w_i = pi(a_i | x_i) / e_i, (N,) float64; arguments as in `check_log`."""
    return target_NA[np.arange(len(actions)), actions] / propensities


def support(weights: np.ndarray) -> Support:
    """Return effective sample size and extremes of importance weights (N,)."""
    squares = float((weights**2).sum())
    ess = float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
    return Support(ess, float(weights.max()), float(weights.mean()), len(weights))


def ips(rewards: np.ndarray, weights: np.ndarray) -> float:
    """Return (1/N) sum w_i r_i: unbiased, of high variance. Arguments (N,)."""
    return float(np.mean(weights * rewards))


def snips(rewards: np.ndarray, weights: np.ndarray) -> float:
    """Return sum w_i r_i / sum w_i: slightly biased, bounded by the rewards. Arguments (N,)."""
    return float(ratio(np.sum(weights * rewards), np.sum(weights)))


def dm(target_NA: np.ndarray, model_NA: np.ndarray) -> float:
    """Return (1/N) sum_a pi(a|x_i) q(x_i, a): as good as the response model q. Arguments (N, A)."""
    return float(np.mean((target_NA * model_NA).sum(axis=1)))


def dr(
    rewards: np.ndarray,
    weights: np.ndarray,
    actions: np.ndarray,
    target_NA: np.ndarray,
    model_NA: np.ndarray,
) -> float:
    """Return DM plus the weighted residual: unbiased if propensities or model are right.

    (1/N) sum [ sum_a pi(a|x_i) q(x_i, a) + w_i (r_i - q(x_i, a_i)) ].
    """
    return float(np.mean(dr_terms(rewards, weights, actions, target_NA, model_NA)))


def dr_terms(
    rewards: np.ndarray,
    weights: np.ndarray,
    actions: np.ndarray,
    target_NA: np.ndarray,
    model_NA: np.ndarray,
) -> np.ndarray:
    """Return the N summands of `dr`, (N,) float64."""
    residual = rewards - model_NA[np.arange(len(actions)), actions]
    return (target_NA * model_NA).sum(axis=1) + weights * residual


@dataclass(frozen=True)
class OffPolicyLog:
    """Held-out decisions for which several policies are estimated.

    Attributes:
        actions: (N,) int64.
        propensities: (N,) float64 in (0, 1].
        outcomes: named (N,) float64 outcomes, e.g. visit and spend.
        models: for each outcome (N, A) float64, the response model's expectation, fitted on rows
            that are not in this log.
    """

    actions: np.ndarray
    propensities: np.ndarray
    outcomes: Mapping[str, np.ndarray]
    models: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OffPolicyTable:
    """Estimates by policy, outcome and estimator; and paired differences.

    Attributes:
        values: policy -> outcome -> estimator -> `Estimate`.
        differences: (policy, baseline) -> outcome -> estimator -> `Estimate` of policy - baseline.
        support: policy -> `Support`.
    """

    values: dict[str, dict[str, dict[str, Estimate]]]
    differences: dict[tuple[str, str], dict[str, dict[str, Estimate]]]
    support: dict[str, Support]

    def to_dict(self) -> dict:
        """Return JSON types; differences are keyed ``policy - baseline``."""

        def strip(tree: dict) -> dict:
            return {
                outcome: {name: e.to_dict() for name, e in by_name.items()}
                for outcome, by_name in tree.items()
            }

        return {
            "values": {policy: strip(tree) for policy, tree in self.values.items()},
            "differences": {f"{a} - {b}": strip(t) for (a, b), t in self.differences.items()},
            "support": {policy: asdict(s) for policy, s in self.support.items()},
        }


def evaluate_off_policy(
    log: OffPolicyLog,
    policies: Mapping[str, np.ndarray],
    baselines: tuple[str, ...] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> OffPolicyTable:
    """Estimate each policy's value by IPS, SNIPS, DM and DR with paired bootstrap intervals.

    Args:
        log: N held-out decisions; one row per independent unit (customer).
        policies: name -> (N, A) float64 probabilities for the log's rows.
        baselines: names of policies from which the others' differences are taken.
        resamples: bootstrap resamples, shared by all policies, outcomes and estimators.
        seed: of the resamples.
    """
    columns: list[np.ndarray] = []
    places: dict[tuple[str, str, str], tuple[int, int | None]] = {}
    supports: dict[str, Support] = {}

    def add(column: np.ndarray) -> int:
        columns.append(column)
        return len(columns) - 1

    for policy, target_NA in policies.items():
        check_log(log.actions, log.propensities, target_NA)
        weights = importance_weights(log.actions, log.propensities, target_NA)
        supports[policy] = support(weights)
        weight_column = add(weights)
        for outcome, rewards in log.outcomes.items():
            model_NA = log.models[outcome]
            weighted = add(weights * rewards)
            places[policy, outcome, "ips"] = (weighted, None)
            places[policy, outcome, "snips"] = (weighted, weight_column)
            direct = add((target_NA * model_NA).sum(axis=1))
            places[policy, outcome, "dm"] = (direct, None)
            terms = dr_terms(rewards, weights, log.actions, target_NA, model_NA)
            places[policy, outcome, "dr"] = (add(terms), None)

    matrix = np.column_stack(columns)
    sums = resample_sums(matrix, resamples, seed)
    total = np.append(matrix.sum(axis=0), len(matrix))[None]

    def both(key: tuple[str, str, str]) -> tuple[float, np.ndarray]:
        top, bottom = places[key]
        bottom = -1 if bottom is None else bottom
        return (
            float(ratio(total[:, top], total[:, bottom])[0]),
            ratio(sums[:, top], sums[:, bottom]),
        )

    def estimates(policy: str, baseline: str | None) -> dict[str, dict[str, Estimate]]:
        tree: dict[str, dict[str, Estimate]] = {}
        for outcome in log.outcomes:
            tree[outcome] = {}
            for name in ESTIMATORS:
                value, draws = both((policy, outcome, name))
                if baseline is not None:
                    other, other_draws = both((baseline, outcome, name))
                    value, draws = value - other, draws - other_draws
                tree[outcome][name] = with_interval(value, draws)
        return tree

    return OffPolicyTable(
        values={policy: estimates(policy, None) for policy in policies},
        differences={
            (policy, baseline): estimates(policy, baseline)
            for baseline in baselines
            for policy in policies
            if policy != baseline
        },
        support=supports,
    )
