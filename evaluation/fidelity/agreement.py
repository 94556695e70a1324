"""How well simulators and other judges agree on what policies are worth: pure functions.

A judge is whoever says what a policy is worth: a simulator, the log (off-policy), or the truth. All
draws are resamples of the same people, so that differences between judges are paired. Axes: R
resamples, P policies, J judges, Q = P (P - 1) / 2 pairs of policies.

References: tau-b, Kendall (1945, "The treatment of ties in ranking problems"); why what looks best
in a model disappoints, Smith and Winkler (2006, "The optimizer's curse").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.core.estimates import Estimate, ratio, with_interval

#: Fewer policies have no order worth a correlation.
LEAST_POLICIES = 3


@dataclass(frozen=True)
class Values:
    """What each judge says that each policy is worth.

    Attributes:
        policies: P names.
        judges: J names.
        value_PJ: (P, J) float64.
        draws_RPJ: (R, P, J) float64, resampled by people, the same ones for all.
    """

    policies: tuple[str, ...]
    judges: tuple[str, ...]
    value_PJ: np.ndarray
    draws_RPJ: np.ndarray

    def of_judge(self, judge: str) -> tuple[np.ndarray, np.ndarray]:
        """Return one judge's values (P,) and draws (R, P)."""
        j = self.judges.index(judge)
        return self.value_PJ[:, j], self.draws_RPJ[:, :, j]

    def of_policy(self, policy: str, judge: str) -> tuple[float, np.ndarray]:
        """Return what a judge says of one policy: its value and its draws (R,)."""
        p, j = self.policies.index(policy), self.judges.index(judge)
        return float(self.value_PJ[p, j]), self.draws_RPJ[:, p, j]

    def estimate(self, policy: str, judge: str) -> Estimate:
        """Return one value with its interval."""
        return with_interval(*self.of_policy(policy, judge))

    def select(self, policies: Sequence[str]) -> Values:
        """Return the values of some policies, in that order."""
        rows = [self.policies.index(name) for name in policies]
        return Values(tuple(policies), self.judges, self.value_PJ[rows], self.draws_RPJ[:, rows])


def optimism(values: Values, homes: Mapping[str, str], judge: str) -> Estimate:
    """Return by how much the simulators in which policies learned value them above ``judge``.

    Args:
        values: of the policies.
        homes: policy -> the simulator in which it learned; the mean over these is returned.
        judge: whose values are subtracted.
    """
    value, draws = 0.0, np.zeros(len(values.draws_RPJ))
    for policy, own in homes.items():
        for sign, name in ((1.0, own), (-1.0, judge)):
            one, spread = values.of_policy(policy, name)
            value, draws = value + sign * one, draws + sign * spread
    return with_interval(value / len(homes), draws / len(homes))


def gain(values: Values, homes: Mapping[str, str], baseline: str, judge: str | None) -> Estimate:
    """Return the mean gain of policies over a baseline, as ``judge`` sees it.

    Args:
        values: of the policies and the baseline.
        homes: policy -> the simulator in which it learned.
        baseline: policy.
        judge: who says so; None: each policy's own simulator.
    """
    return with_interval(*_gain(values, homes, baseline, judge))


def _gain(
    values: Values, homes: Mapping[str, str], baseline: str, judge: str | None
) -> tuple[float, np.ndarray]:
    value, draws = 0.0, np.zeros(len(values.draws_RPJ))
    for policy, own in homes.items():
        for sign, name in ((1.0, policy), (-1.0, baseline)):
            one, spread = values.of_policy(name, judge or own)
            value, draws = value + sign * one, draws + sign * spread
    return value / len(homes), draws / len(homes)


def gain_share(
    values: Values, homes: Mapping[str, str], baseline: str, judge: str
) -> Estimate | None:
    """Return the share of the promised gain over a baseline that is there by a judge.

    1: all of it; 0: the gain exists in the simulator only. None where no gain was clearly promised
    (its interval reaches 0): then the share has no meaning.
    """
    promised, promised_draws = _gain(values, homes, baseline, None)
    if not with_interval(promised, promised_draws).low > 0:
        return None
    paid, paid_draws = _gain(values, homes, baseline, judge)
    return with_interval(paid / promised, ratio(paid_draws, promised_draws))


#: What `agreement` says of two judges.
AGREEMENT = (
    "policies",
    "kendall_tau",
    "spearman_rho",
    "tau_if_right",
    "pairs",
    "clear_pairs",
    "agreed_pairs",
)


def agreement(values: Values, judge: str, reference: str) -> dict[str, Any]:
    """Return how far two judges rank the policies alike.

    Args:
        values: of P policies.
        judge: the one in question, a simulator.
        reference: the judge that it is compared with.

    Returns:
        Name in `AGREEMENT` -> number, estimate or None. ``policies`` is P; ``kendall_tau`` (tau-b)
        and ``spearman_rho`` have intervals over resampled people. ``tau_if_right`` is the tau that
        a simulator whose values were right would get: its mean and the middle 95% over the
        reference's noise. Of all ``pairs`` of policies the reference tells ``clear_pairs`` apart
        (their difference is not 0), and on ``agreed_pairs`` of these the judge has its sign.
        Resampling adds noise a second time, so an interval lies low. A correlation of constant
        values is None; of fewer than three policies everything is, but for their number.
    """
    if len(values.policies) < LEAST_POLICIES:
        return {**dict.fromkeys(AGREEMENT), "policies": len(values.policies)}
    x_P, x_RP = values.of_judge(judge)
    y_P, y_RP = values.of_judge(reference)
    noise_RP = (y_RP - y_P) - (x_RP - x_P)
    right_R = tau_b(np.broadcast_to(x_P, noise_RP.shape), x_P + noise_RP)
    right = with_interval(float(np.nanmean(right_R)), right_R) if _any(right_R) else None
    low, high = np.quantile(_pairs(y_RP), [0.025, 0.975], axis=0)
    clear = (low > 0) | (high < 0)
    same = np.sign(_pairs(x_P[None])[0]) == np.sign(_pairs(y_P[None])[0])
    return {
        "policies": len(values.policies),
        "kendall_tau": _entry(float(tau_b(x_P[None], y_P[None])[0]), tau_b(x_RP, y_RP)),
        "spearman_rho": _entry(float(spearman(x_P[None], y_P[None])[0]), spearman(x_RP, y_RP)),
        "tau_if_right": None if right is None else right.to_dict(),
        "pairs": len(clear),
        "clear_pairs": int(clear.sum()),
        "agreed_pairs": int((clear & same).sum()),
    }


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _entry(value: float, draws: np.ndarray) -> dict[str, float] | None:
    return with_interval(value, draws).to_dict() if np.isfinite(value) and _any(draws) else None


def _pairs(values_RP: np.ndarray) -> np.ndarray:
    """Return (R, Q) differences of all pairs of policies."""
    first, second = np.triu_indices(values_RP.shape[1], k=1)
    return values_RP[:, first] - values_RP[:, second]


def tau_b(x_RP: np.ndarray, y_RP: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each row, (R,); NaN where a row is constant.

    The same as `scipy.stats.kendalltau` row by row, without its loop.
    """
    x_RQ, y_RQ = np.sign(_pairs(x_RP)), np.sign(_pairs(y_RP))
    untied = np.abs(x_RQ).sum(axis=1) * np.abs(y_RQ).sum(axis=1)
    return ratio((x_RQ * y_RQ).sum(axis=1), np.sqrt(untied))


def spearman(x_RP: np.ndarray, y_RP: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of each row, (R,); NaN where a row is constant."""
    from scipy.stats import rankdata

    x_RP, y_RP = rankdata(x_RP, axis=1), rankdata(y_RP, axis=1)
    x_RP, y_RP = (z - z.mean(axis=1, keepdims=True) for z in (x_RP, y_RP))
    size = np.sqrt((x_RP**2).sum(axis=1) * (y_RP**2).sum(axis=1))
    return ratio((x_RP * y_RP).sum(axis=1), size)
