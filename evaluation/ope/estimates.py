"""Off-policy estimates with intervals, and how much of a log speaks for a policy.

The estimators themselves are in `copygym.evaluation.ope.estimators`. Axes: N logged decisions, A
actions, G groups of decisions that a policy treats alike. Nothing is ever as large as decisions x
actions x positions: a policy that knows groups only (position, segment) is a (G, A) table, and one
that knows each decision is asked for a few thousand rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.ope.estimators import (
    ESTIMATORS,
    Terms,
    clipped_ips,
    dm,
    dr,
    dr_os,
    dr_terms,
    ips,
    sndr,
    snips,
    switch_dr,
)
from copygym.evaluation.ope.intervals import Bootstrap, Valued, difference, value_terms

__all__ = [
    "ESTIMATORS", "Actions", "Bootstrap", "Grouped", "PerRow",
    "Support", "Terms", "Valued", "check_log", "check_table", "clipped_ips", "difference", "dm",
    "dr", "dr_os", "dr_terms", "effective_events", "importance_weights",
    "ips", "model_terms", "sndr", "snips", "support", "switch_dr", "terms_of", "value_terms",
]  # fmt: skip

#: Smaller propensities are no probabilities of something that happened.
LEAST_PROPENSITY = 1e-12
#: Entries of a decisions x actions block that are in memory at once.
_BLOCK = 1 << 18


class Actions(Protocol):
    """Numbers for each decision and action: a policy's probabilities, or a model's answers."""

    def chosen(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the numbers of the actions taken, (N,) float64.

        Args:
            actions: (N,) int64, or (M,) of some decisions.
            rows: (M,) int64 increasing places of these decisions; None: all of them.
        """
        ...

    def block(self, rows: slice) -> np.ndarray:
        """Return the numbers of some consecutive decisions, (n, A)."""
        ...


@dataclass(frozen=True)
class PerRow:
    """Numbers that differ from decision to decision: (N, A)."""

    values_NA: np.ndarray

    def chosen(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64, or (M,) of some rows."""
        n, a = self.values_NA.shape
        if not self.values_NA.flags.c_contiguous:
            index = np.arange(n) if rows is None else rows
            return self.values_NA[index, actions].astype(np.float64, copy=False)
        places = np.arange(0, n * a, a) if rows is None else rows * a
        places += actions
        return self.values_NA.reshape(-1).take(places).astype(np.float64, copy=False)

    def block(self, rows: slice) -> np.ndarray:
        """Return (n, A)."""
        return self.values_NA[rows]


@dataclass(frozen=True)
class Grouped:
    """Numbers that are the same within a group of decisions.

    Attributes:
        values_GA: (G, A) float64.
        group: (N,) int64 group of each decision; None: all decisions are of group 0.
    """

    values_GA: np.ndarray
    group: np.ndarray | None = None

    def chosen(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64, or (M,) of some rows."""
        if self.group is None:
            return self.values_GA[0, actions]
        return self.values_GA[self.group if rows is None else self.group[rows], actions]

    def block(self, rows: slice) -> np.ndarray:
        """Return (n, A), or (1, A) where all decisions are alike."""
        return self.values_GA[:1] if self.group is None else self.values_GA[self.group[rows]]


@dataclass(frozen=True)
class Support:
    """How much of the log speaks for a target policy.

    Attributes:
        ess: effective sample size, (sum w)^2 / sum w^2; at most N.
        max_weight: the largest importance weight.
        mean_weight: near 1 where the logging policy covers the target policy.
        n: logged decisions.
        mean_weight_error: standard error of ``mean_weight``.
        used: share of the decisions with a weight above 0.
        top_share: share of the weights that the heaviest 1% of the decisions carry.
    """

    ess: float
    max_weight: float
    mean_weight: float
    n: int
    mean_weight_error: float
    used: float
    top_share: float


def check_log(
    actions: np.ndarray,
    propensities: np.ndarray,
    target_NA: np.ndarray | None = None,
    outcomes: np.ndarray | None = None,
) -> None:
    """Raise `UserError` where an importance weight would be undefined or silently wrong.

    Args:
        actions: (N,) int64 in [0, A).
        propensities: (N,) float64 in (0, 1], none below `LEAST_PROPENSITY`.
        target_NA: (N, A) float64 rows that sum to 1, or None.
        outcomes: (N,) float64, finite, or None.
    """
    for name, array in (("propensities", propensities), ("outcomes", outcomes)):
        if array is not None and len(array) != len(actions):
            raise UserError(
                f"off-policy log: {len(actions)} actions but {len(array)} {name}; give one of each "
                "per row."
            )
    if not len(actions):
        raise UserError("off-policy log: there is no row; give a log with decisions.")
    bad = np.flatnonzero(~((propensities > 0) & (propensities <= 1)))
    if len(bad):
        raise UserError(
            f"off-policy log: row {bad[0]}: propensity is {propensities[bad[0]]}; it must lie in "
            "(0, 1], so drop such rows or give the logging policy's probabilities."
        )
    if propensities.min() < LEAST_PROPENSITY:
        row = int(np.argmin(propensities))
        raise UserError(
            f"off-policy log: row {row}: propensity is {propensities[row]:.3g}, and no log is long "
            "enough to hold a choice as unlikely; give the logging policy's probabilities."
        )
    if outcomes is not None and not np.isfinite(outcomes).all():
        row = int(np.flatnonzero(~np.isfinite(outcomes))[0])
        raise UserError(
            f"off-policy log: row {row}: the outcome is {outcomes[row]}; give a number or drop it."
        )
    if target_NA is None:
        return
    check_table(target_NA, "target policy: row")
    if len(actions) != len(target_NA) or actions.min() < 0 or actions.max() >= target_NA.shape[1]:
        raise UserError(
            f"off-policy log: actions must be {len(target_NA)} indices below "
            f"{target_NA.shape[1]}, one per row of the target policy."
        )


def check_table(values_GA: np.ndarray, where: str = "target policy: group") -> None:
    """Raise `UserError` unless every row of (G, A) is a distribution.

    Args:
        values_GA: probabilities.
        where: names a row in the message, to be followed by its number.
    """
    totals = values_GA.sum(axis=1)
    wrong = ~np.isfinite(totals) | (values_GA < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{where} {row}: a probability is negative or no number; give numbers in [0, 1]."
        )
    off = np.flatnonzero(np.abs(totals - 1) > 1e-6)
    if len(off):
        raise UserError(
            f"{where} {off[0]}: probabilities sum to {totals[off[0]]:.6g}, not 1; normalise them."
        )


def importance_weights(
    actions: np.ndarray, propensities: np.ndarray, target: Actions | np.ndarray
) -> np.ndarray:
    """Return w_i = pi(a_i | x_i) / e_i, (N,) float64; ``target`` may be (N, A) probabilities."""
    return _actions(target).chosen(actions) / propensities


def model_terms(
    actions: np.ndarray, target: Actions | np.ndarray, model: Actions | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return q(x_i, a_i) and sum_a pi(a | x_i) q(x_i, a), each (N,) float64.

    Args:
        actions: (N,) int64.
        target: the policy's probabilities; (N, A) or anything that gives blocks of it.
        model: the response model's expectations, likewise.
    """
    target, model = _actions(target), _actions(model)
    n = len(actions)
    logged, expected = np.empty(n), np.empty(n)
    width = max(1, model.block(slice(0, 1)).shape[1])
    step = max(1, _BLOCK // width)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        answers = model.block(rows)
        answers = np.broadcast_to(answers, (rows.stop - start, width))
        chances = np.broadcast_to(target.block(rows), answers.shape)
        logged[rows] = answers[np.arange(len(answers)), actions[rows]]
        np.einsum("na,na->n", chances, answers, out=expected[rows])
    return logged, expected


def terms_of(
    actions: np.ndarray,
    propensities: np.ndarray,
    rewards: np.ndarray,
    target: Actions | np.ndarray,
    model: Actions | np.ndarray | None = None,
    trials: np.ndarray | None = None,
) -> Terms:
    """Return what the estimators need of a log under one policy; arguments as elsewhere here."""
    weights = importance_weights(actions, propensities, target)
    logged, expected = (None, None) if model is None else model_terms(actions, target, model)
    return Terms(rewards, weights, logged, expected, trials)


def _actions(values: Actions | np.ndarray) -> Actions:
    return PerRow(values) if isinstance(values, np.ndarray) else values


def support(weights: np.ndarray) -> Support:
    """Return effective sample size, overlap and extremes of importance weights (N,)."""
    n, total = len(weights), float(weights.sum())
    heaviest = max(1, n // 100)
    top = float(np.partition(weights, n - heaviest)[n - heaviest :].sum())
    return Support(
        ess=_effective(weights),
        max_weight=float(weights.max()),
        mean_weight=total / n,
        n=n,
        mean_weight_error=float(weights.std(ddof=1)) / np.sqrt(n) if n > 1 else 0.0,
        used=float(np.count_nonzero(weights)) / n,
        top_share=top / total if total > 0 else 0.0,
    )


def effective_events(terms: Terms) -> float:
    """Return (sum w r)^2 / sum (w r)^2: how many equally heavy clicks speak for a value.

    With rare clicks it tells what the effective sample size hides: how skewed an estimate is, and
    so how far an interval can be trusted. 0 where no row with a weight has an outcome above 0.
    """
    gained = terms.weights * terms.rewards
    if terms.trials is not None:
        gained = gained * terms.trials
    return _effective(gained)


def _effective(values: np.ndarray) -> float:
    """Return (sum x)^2 / sum x^2, 0 where all are 0; of any size, as squares may not exist."""
    largest = float(np.abs(values).max(initial=0.0))
    if not largest:
        return 0.0
    scaled = values / largest
    return float(scaled.sum()) ** 2 / float((scaled**2).sum())
