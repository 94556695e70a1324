"""What off-policy estimators need of a log under one policy: weights, and a model's expectations.

Axes: N logged decisions, A actions, G groups of decisions that a policy treats alike. Nothing is
ever as large as decisions x actions x positions: a policy that knows groups only (position,
segment) is a (G, A) table, and one that knows each decision is asked for a few thousand rows at a
time. The estimators themselves are in `copygym.evaluation.ope.estimators`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from copygym.core.errors import UserError

#: Smaller propensities are no probabilities of something that happened.
LEAST_PROPENSITY = 1e-12
#: Entries of a decisions x actions block that are in memory at once.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Terms:
    """N logged decisions as one target policy sees them; every array is (N,) float64.

    Attributes:
        rewards: r_i; of a row of several impressions, their mean.
        weights: w_i = pi(a_i | x_i) / e_i.
        logged_model: q(x_i, a_i), the model's expectation of what was done; None without a model.
        policy_model: sum_a pi(a | x_i) q(x_i, a), that of what the policy would do.
        trials: impressions of each row; None is one each.
    """

    rewards: np.ndarray
    weights: np.ndarray
    logged_model: np.ndarray | None = None
    policy_model: np.ndarray | None = None
    trials: np.ndarray | None = None

    def model(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(logged_model, policy_model)``, which must be there."""
        if self.logged_model is None or self.policy_model is None:
            raise ValueError("this estimator needs a response model")
        return self.logged_model, self.policy_model


class ActionValues(Protocol):
    """Numbers for each decision and action: a policy's probabilities, or a model's answers."""

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
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

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
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

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64, or (M,) of some rows."""
        if self.group is None:
            return self.values_GA[0, actions]
        return self.values_GA[self.group if rows is None else self.group[rows], actions]

    def block(self, rows: slice) -> np.ndarray:
        """Return (n, A), or (1, A) where all decisions are alike."""
        return self.values_GA[:1] if self.group is None else self.values_GA[self.group[rows]]


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
    check_table(target_NA, lambda row: f"target policy: row {row}")
    if len(actions) != len(target_NA) or actions.min() < 0 or actions.max() >= target_NA.shape[1]:
        raise UserError(
            f"off-policy log: actions must be {len(target_NA)} indices below "
            f"{target_NA.shape[1]}, one per row of the target policy."
        )


def check_table(values_GA: np.ndarray, where: Callable[[int], str]) -> None:
    """Raise `UserError` unless every row of (G, A) is a distribution.

    Args:
        values_GA: probabilities.
        where: names a row in the message, by its number.
    """
    totals = values_GA.sum(axis=1)
    wrong = ~np.isfinite(totals) | (values_GA < 0).any(axis=1)
    for row in np.flatnonzero(wrong | (np.abs(totals - 1) > 1e-6))[:1]:
        problem = (
            "a probability is negative or no number; give numbers in [0, 1]"
            if wrong[row]
            else f"probabilities sum to {totals[row]:.6g}, not 1; normalise them"
        )
        raise UserError(f"{where(int(row))}: {problem}.")


def importance_weights(
    actions: np.ndarray, propensities: np.ndarray, target: ActionValues | np.ndarray
) -> np.ndarray:
    """Return w_i = pi(a_i | x_i) / e_i, (N,) float64; ``target`` may be (N, A) probabilities."""
    return _actions(target).of_actions(actions) / propensities


def model_terms(
    actions: np.ndarray, target: ActionValues | np.ndarray, model: ActionValues | np.ndarray
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
    target: ActionValues | np.ndarray,
    model: ActionValues | np.ndarray | None = None,
    trials: np.ndarray | None = None,
) -> Terms:
    """Return what the estimators need of a log under one policy; arguments as elsewhere here."""
    weights = importance_weights(actions, propensities, target)
    logged, expected = (None, None) if model is None else model_terms(actions, target, model)
    return Terms(rewards, weights, logged, expected, trials)


def _actions(values: ActionValues | np.ndarray) -> ActionValues:
    return PerRow(values) if isinstance(values, np.ndarray) else values
