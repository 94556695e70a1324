"""The front door to off-policy evaluation: a log, a policy's probabilities, values with intervals.

Axes: N rows of the log, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES, Estimate
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import Decisions, arms_of, decisions, response_model
from copygym.evaluation.ope.judge import evaluate
from copygym.evaluation.ope.policies import Target, logging_policy, target
from copygym.evaluation.ope.terms import Grouped, PerRow

#: How far probabilities may miss a sum of 1.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PolicyValue:
    """What a policy would have gained per impression of the log.

    Attributes:
        policy: name.
        value: mean outcome per impression by ``estimator``, with its 95% bootstrap interval over
            users (over rows where there are none).
        lift: ``value`` less that of what was logged, paired.
        estimator: the one that ``value`` is of: ``dr``, or ``snips`` without a response model.
        estimates: every estimator that can be had; `estimators.ESTIMATORS` says what each does.
        verdict: ``supported``, ``weak`` or ``not supported``: what the log can say of the policy.
        warnings: why.
        ess: effective sample size, rows.
    """

    policy: str
    value: Estimate
    lift: Estimate | None
    estimator: str
    estimates: dict[str, Estimate]
    verdict: str
    warnings: tuple[str, ...]
    ess: float

    def __repr__(self) -> str:
        return f"PolicyValue({self.policy!r}, {self.value} by {self.estimator}, {self.verdict})"


def logged_actions(log: ClickLog) -> tuple[str, ...]:
    """Return the names of a log's actions, in the order in which `off_policy` takes columns.

    ``hold`` comes first where the log has it, then the creatives by name; with several channels
    every pair ``creative@channel`` that was sent.
    """
    return arms_of(log, log.collect())[0]


@overload
def off_policy(
    log: ClickLog,
    probabilities: np.ndarray,
    *,
    actions: Sequence[str] | None = ...,
    outcome: str = ...,
    response: bool = ...,
    estimate_propensities: bool = ...,
    resamples: int = ...,
    seed: int = ...,
) -> PolicyValue: ...


@overload
def off_policy(
    log: ClickLog,
    probabilities: Mapping[str, np.ndarray],
    *,
    actions: Sequence[str] | None = ...,
    outcome: str = ...,
    response: bool = ...,
    estimate_propensities: bool = ...,
    resamples: int = ...,
    seed: int = ...,
) -> dict[str, PolicyValue]: ...


def off_policy(
    log: ClickLog,
    probabilities: np.ndarray | Mapping[str, np.ndarray],
    *,
    actions: Sequence[str] | None = None,
    outcome: str = "clicks",
    response: bool = True,
    estimate_propensities: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PolicyValue | dict[str, PolicyValue]:
    """Estimate what policies would have gained in the log's decisions.

    Args:
        log: N rows with ``propensity``, the probability with which each logged action was taken.
        probabilities: (N, A), the probability of each action in each row of the log, in its order;
            (A,) for a policy that treats all rows alike; or name -> either, for several policies.
        actions: names of the A columns; None: `logged_actions` in their order. Actions of the log
            that are not named have probability 0.
        outcome: ``clicks``, ``conversions``, ``revenue`` or ``unsubscribes``.
        response: fit a cross-fitted response model, which the doubly robust estimators need.
        estimate_propensities: estimate them from what the log knows before each decision.
        resamples: of the bootstrap, shared by all policies.
        seed: of the folds and the resamples.

    Returns:
        One `PolicyValue`; of several policies one by name, with ``logging`` (what was done).

    Raises:
        UserError: the number of rows or columns is not the log's, a name is no action of the log,
            a row is no distribution, or the log is none to judge by.
    """
    several = isinstance(probabilities, Mapping)
    tables = (
        dict(probabilities) if isinstance(probabilities, Mapping) else {"policy": probabilities}
    )
    if "logging" in tables:
        raise UserError("off_policy: 'logging' is what the log did; call your policy otherwise.")
    known = decisions(log, outcome, estimate=estimate_propensities, seed=seed)
    targets = [_target(known, name, table, actions) for name, table in tables.items()]
    model = response_model(known) if response else None
    found = evaluate(known, [logging_policy(known), *targets], model, resamples, seed)["policies"]
    values = {name: _value(name, entry) for name, entry in found.items()}
    return values if several else values["policy"]


def _target(
    log: Decisions, name: str, probabilities: np.ndarray, actions: Sequence[str] | None
) -> Target:
    """Return the policy of a table, its columns in the log's order.

    Raises:
        UserError: it does not fit the log.
    """
    columns = log.arms if actions is None else tuple(str(action) for action in actions)
    place = {arm: index for index, arm in enumerate(log.arms)}
    shown = ", ".join(log.arms[:5]) + (", ..." if len(log.arms) > 5 else "")
    if strangers := [column for column in columns if column not in place]:
        raise UserError(
            f"off_policy: action {strangers[0]!r} is not in the log, whose actions are {shown}; "
            "leave the column out, or name it as the log does."
        )
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise UserError(f"off_policy: action {twice!r} names two columns; give each its own name.")
    table = np.asarray(probabilities, dtype=np.float64)
    alike = table.ndim == 1
    table = table[None] if alike else table
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise UserError(
            f"off_policy: {name} has shape {np.shape(probabilities)} and there are {len(columns)} "
            f"actions ({shown}); give one column for each, in this order, or name the columns by "
            "actions=[...]."
        )
    if not alike and len(table) != len(log):
        raise UserError(
            f"off_policy: {name} has {len(table):,} rows and the log {len(log):,}; give one row "
            "per row of the log, in its order."
        )
    _check_rows(name, table)
    wide = np.zeros((len(table), len(log.arms)))
    wide[:, [place[column] for column in columns]] = table
    return target(log, name, Grouped(wide) if alike else PerRow(wide))


def _check_rows(name: str, table: np.ndarray) -> None:
    """Raise `UserError` for the first row that is no distribution."""
    totals = table.sum(axis=1)
    bad = np.isnan(table).any(axis=1) | (table < 0).any(axis=1)
    for row in np.flatnonzero(bad | ~(np.abs(totals - 1) <= _TOLERANCE))[:1]:
        problem = (
            "has a probability that is negative or no number; give numbers in [0, 1]"
            if bad[row]
            else f"sums to {totals[row]:.6g}, not 1; normalise it"
        )
        raise UserError(f"off_policy: {name}: row {row} {problem}.")


def _value(name: str, entry: Mapping[str, Any]) -> PolicyValue:
    estimates = {
        estimator: Estimate(one["value"], **one["bootstrap"])
        for estimator, one in entry["estimates"].items()
    }
    best = entry["headline"]
    if best is None:
        # No estimator has a meaning: the log never did what the policy would do.
        return PolicyValue(
            name, Estimate(np.nan, np.nan, np.nan), None, "none", estimates, entry["verdict"],
            tuple(entry["warnings"]), entry["support"]["ess"],
        )  # fmt: skip
    lift = entry["estimates"][best].get("lift")
    return PolicyValue(
        policy=name,
        value=estimates[best],
        lift=None if lift is None else Estimate(**lift),
        estimator=best,
        estimates=estimates,
        verdict=entry["verdict"],
        warnings=tuple(entry["warnings"]),
        ess=entry["support"]["ess"],
    )
