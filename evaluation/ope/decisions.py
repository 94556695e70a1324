"""A click log as off-policy decisions: arms, propensities, outcomes, features and a model of them.

Axes: N rows of the log, A arms, P features, K folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.propensities import (
    PropensityCheck,
    check_propensities,
    known_groups,
)
from copygym.evaluation.ope.terms import Grouped, check_log

#: Columns of a log that can be the outcome.
OUTCOMES = ("clicks", "conversions", "revenue", "unsubscribes")
#: Folds of everything that is fitted on the log that judges.
FOLDS = 3
#: Numbers with so few values (a position) are categories; longer lists of categories are cut.
_FEW, _LEVELS, _FEATURES = 12, 20, 100
_RIDGES = (1.0, 10.0, 100.0, 1e3, 1e4)
#: Impressions at the overall mean that an arm's own level is shrunk by.
_PSEUDO = 20.0


@dataclass(frozen=True)
class Decisions:
    """N logged decisions.

    Attributes:
        log: where they come from.
        frame: the log's rows, in its order.
        arms: names of the actions that the log took: a creative (``creative@channel`` where there
            are several channels), or "hold".
        actions: (N,) int64 into ``arms``.
        propensities: (N,) float64 of the actions taken.
        rewards: (N,) float64 outcome per impression.
        trials: (N,) float64 impressions; None where each row is one.
        unit: (N,) int64 users, who are independent of each other; None where rows are.
        features: (N, P) float64: a column of ones, then what is known before the decision.
        fold: (N,) int64 in [0, `FOLDS`); a unit is in one fold.
        outcome: name of the outcome.
        estimated: True where the propensities are estimates.
    """

    log: ClickLog
    frame: pl.DataFrame
    arms: tuple[str, ...]
    actions: np.ndarray
    propensities: np.ndarray
    rewards: np.ndarray
    trials: np.ndarray | None
    unit: np.ndarray | None
    features: np.ndarray
    fold: np.ndarray
    outcome: str
    estimated: bool

    def __len__(self) -> int:
        """N."""
        return len(self.actions)

    @property
    def sizes(self) -> np.ndarray:
        """(N,) impressions of each row."""
        return np.ones(len(self)) if self.trials is None else self.trials

    @cached_property
    def propensity_check(self) -> PropensityCheck:
        """Whether the propensities are those of the log; estimated ones fit it by construction."""
        if self.estimated:
            return PropensityCheck((), ())
        groups = known_groups(self.log, self.frame)
        return check_propensities(
            self.arms, self.actions, self.propensities, self.sizes, self.unit, groups
        )


def decisions(
    log: ClickLog, outcome: str = "clicks", *, estimate: bool = False, seed: int = 0
) -> Decisions:
    """Read a log as decisions.

    Args:
        log: with ``creative_id`` (or ``text``).
        outcome: one of `OUTCOMES`; per impression.
        estimate: estimate the propensities from the features, whether the log has some or not.
        seed: of the folds.

    Raises:
        UserError: no propensities and ``estimate`` is off, tests with arms of their own, fewer
            than two arms, an outcome that is missing or 0 throughout, or nothing but clicks.
    """
    where = log.source or log.name
    if outcome not in OUTCOMES:
        raise unknown_name("outcome", outcome, list(OUTCOMES))
    log.require(outcome)
    if not estimate and not log.has("propensity"):
        raise UserError(
            f"{where} has no column propensity: record the probability with which each logged "
            "choice was made, or have it estimated (--estimate-propensities), which is right only "
            "if the log holds everything that the choice depended on."
        )
    log.require_arms(2)
    frame = log.collect()
    if log.has("test_id") and frame["test_id"].n_unique() > 1:
        raise UserError(
            f"{where}: the arms belong to {frame['test_id'].n_unique():,} tests; off-policy "
            "estimates need one set of arms, so give the rows of one test_id."
        )
    arms, actions = arms_of(log, frame)
    sizes = frame["impressions"].to_numpy().astype(np.float64)
    rewards = frame[outcome].fill_null(0).to_numpy().astype(np.float64) / sizes
    if not rewards.any():
        raise UserError(
            f"{where}, column {outcome}: all {len(frame):,} rows are 0; there is nothing to "
            "estimate a policy's value from."
        )
    if outcome == "clicks":
        log.require_outcomes()
    unit = (
        frame["user_id"].rank("dense").to_numpy().astype(np.int64) if log.has("user_id") else None
    )
    if unit is not None and len(np.unique(unit)) == len(unit):
        unit = None
    fold = _folds(len(frame) if unit is None else int(unit.max()) + 1, seed)
    found = Decisions(
        log=log,
        frame=frame,
        arms=arms,
        actions=actions,
        propensities=np.ones(len(frame)),
        rewards=rewards,
        trials=None if (sizes == 1).all() else sizes,
        unit=unit,
        features=features(log, frame),
        fold=fold if unit is None else fold[unit],
        outcome=outcome,
        estimated=estimate,
    )
    propensities = (
        estimated_propensities(found)
        if estimate
        else frame["propensity"].fill_null(np.nan).to_numpy().astype(np.float64)
    )
    check_log(actions, propensities, outcomes=rewards)
    return replace(found, propensities=propensities)


def arms_of(log: ClickLog, frame: pl.DataFrame) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the arms that rows of a log took, hold first, and (N,) int64 of each."""
    column = "creative_id" if log.has("creative_id") else "text"
    held = pl.col(column) == HOLD
    name = pl.col(column)
    if log.has("channel") and frame.filter(~held)["channel"].n_unique() > 1:
        name = (
            pl.when(held)
            .then(name)
            .otherwise(pl.concat_str([name, pl.col("channel").fill_null("any")], separator="@"))
        )
    chosen = frame.select(name.alias("arm"))["arm"]
    names = sorted(chosen.unique().to_list(), key=lambda arm: (arm != HOLD, arm))
    codes = chosen.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64)
    return tuple(names), codes.to_numpy()


def _folds(units: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(units) % FOLDS).astype(np.int64)


def features(log: ClickLog, frame: pl.DataFrame) -> np.ndarray:
    """Return (N, P) float64: ones, then standardised numbers and indicators of categories.

    Features are the log's ``user_*`` and ``context_*`` columns and its slot: what was known before
    the choice. Missing numbers are means. Of long lists of categories the most frequent count.
    """
    columns = [np.ones(len(frame))]
    names = [*log.user_features(), *log.context_features()]
    for name in [*names, *(["slot"] if log.has("slot") else [])]:
        series = frame[name]
        if series.dtype.is_numeric() and series.n_unique() > _FEW:
            values = series.cast(pl.Float64).to_numpy()
            middle, spread = np.nanmean(values), np.nanstd(values)
            if spread > 0:
                columns.append(np.nan_to_num((values - middle) / spread))
            continue
        text = series.cast(pl.String).fill_null("")
        counts = text.value_counts(sort=True)
        # One level is told by all the others being absent.
        for level in counts[name].to_list()[1 : _LEVELS + 1]:
            columns.append((text == level).to_numpy().astype(np.float64))
    return np.column_stack(columns[: _FEATURES + 1])


def estimated_propensities(log: Decisions) -> np.ndarray:
    """Return the cross-fitted probability of each action taken, (N,) float64.

    A multinomial logistic regression on the features, or the arms' shares where there are none.
    It stands for the logging policy only if that policy looked at nothing else.
    """
    arms = len(log.arms)
    estimates = np.empty(len(log))
    for k in range(FOLDS):
        rest, held = log.fold != k, log.fold == k
        seen = np.bincount(log.actions[rest], log.sizes[rest], arms)
        # A pseudo-count, so that an arm that the other folds never took is not impossible.
        shares = (seen + 1 / arms) / (seen.sum() + 1)
        table = np.broadcast_to(shares, (int(held.sum()), arms)).copy()
        present = np.flatnonzero(seen)
        if log.features.shape[1] > 1 and len(present) > 1:
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(max_iter=500)
            model.fit(log.features[rest, 1:], log.actions[rest], sample_weight=log.sizes[rest])
            left = 1.0 - shares[np.setdiff1d(np.arange(arms), model.classes_)].sum()
            table[:, model.classes_] = left * model.predict_proba(log.features[held, 1:])
        estimates[held] = table[np.arange(len(table)), log.actions[held]]
    return estimates


@dataclass(frozen=True)
class ArmModel:
    """A response model that is linear in the features, with coefficients for each arm and fold.

    Attributes:
        features: (N, P) float64.
        fold: (N,) int64.
        coefficients_KAP: (K, A, P) float64, fitted without the rows of fold k.
        highest: expectations are cut to [0, highest].
    """

    features: np.ndarray
    fold: np.ndarray
    coefficients_KAP: np.ndarray
    highest: float

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the expectation of what was done, (N,) float64, or (M,) of some rows."""
        fold, features = self.fold, self.features
        if rows is not None:
            fold, features = fold[rows], features[rows]
        coefficients = self.coefficients_KAP[fold, actions]
        return np.clip(np.einsum("np,np->n", features, coefficients), 0.0, self.highest)

    def block(self, rows: slice) -> np.ndarray:
        """Return the expectation of every arm, (n, A) float64."""
        features, fold = self.features[rows], self.fold[rows]
        out = np.empty((len(features), self.coefficients_KAP.shape[1]))
        for k, coefficients_AP in enumerate(self.coefficients_KAP):
            out[fold == k] = features[fold == k] @ coefficients_AP.T
        return np.clip(out, 0.0, self.highest, out=out)


def response_model(log: Decisions) -> ArmModel:
    """Return the cross-fitted response model of a log; see `fit_arms`."""
    return fit_arms(
        log.features, log.fold, log.actions, log.rewards, log.sizes, n_arms=len(log.arms)
    )


def fit_arms(
    features: np.ndarray,
    fold: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    sizes: np.ndarray,
    n_arms: int,
) -> ArmModel:
    """Return a cross-fitted response model: what all arms have in common, and each arm's own.

    Both parts are ridge regressions with the penalty chosen by generalised cross-validation. An
    arm's own part (level, then slopes) is fitted to what the common one leaves over, so that a
    rare arm falls back on it. No row is predicted by a model that has seen its fold.

    Args:
        features: (N, P) float64, the first column ones.
        fold: (N,) int64 in [0, `FOLDS`).
        actions: (N,) int64.
        rewards: (N,) float64.
        sizes: (N,) float64 impressions.
        n_arms: A.
    """
    from sklearn.linear_model import RidgeCV

    def ridge(x: np.ndarray, r: np.ndarray, n: np.ndarray) -> np.ndarray:
        model = RidgeCV(alphas=_RIDGES, fit_intercept=False).fit(x, r, sample_weight=n)
        return np.asarray(model.coef_, dtype=np.float64)

    p = features.shape[1]
    coefficients_KAP = np.zeros((FOLDS, n_arms, p))
    for k in range(FOLDS):
        rest = fold != k
        x, r, n, a = features[rest], rewards[rest], sizes[rest], actions[rest]
        middle = float(np.average(r, weights=n))
        common = ridge(x, r - middle, n)
        common[0] += middle
        left_over = r - x @ common
        heads, sums = np.bincount(a, n, n_arms), np.bincount(a, n * left_over, n_arms)
        # An arm is like the other arms, not like the other rows, of which most may be hold.
        voice = np.minimum(heads, 10 * _PSEUDO)
        usual = voice @ np.divide(sums, heads, out=np.zeros(n_arms), where=heads > 0) / voice.sum()
        for arm in range(n_arms):
            rows = a == arm
            # The level first, with a pseudo-count: one penalty for level and slopes would follow
            # the slopes, which are noise for most arms.
            own = np.zeros(p)
            own[0] = (sums[arm] + _PSEUDO * usual) / (heads[arm] + _PSEUDO)
            if p > 1 and rows.sum() > 2 * p:
                own += ridge(x[rows], left_over[rows] - own[0], n[rows])
            coefficients_KAP[k, arm] = common + own
    return ArmModel(features, fold, coefficients_KAP, float(rewards.max()))


def best_fixed(log: Decisions) -> Grouped:
    """Return the best arm as a policy: in each fold the one that did best in the other folds.

    Chosen and judged on different rows, it does not gain by chance alone.
    """
    arms = len(log.arms)
    table = np.zeros((FOLDS, arms))
    for k in range(FOLDS):
        rest = log.fold != k
        weight = log.sizes[rest] / log.propensities[rest]
        total = np.bincount(log.actions[rest], weight, arms)
        gained = np.bincount(log.actions[rest], weight * log.rewards[rest], arms)
        mean = float(np.average(log.rewards[rest], weights=log.sizes[rest]))
        # Each arm's weighted mean, shrunk by twenty impressions at the overall mean.
        heads = np.bincount(log.actions[rest], log.sizes[rest], arms)
        own = np.divide(gained, total, out=np.full(arms, mean), where=total > 0)
        table[k, np.argmax((heads * own + _PSEUDO * mean) / (heads + _PSEUDO))] = 1.0
    return Grouped(table, log.fold)
