"""A policy's value per episode by every estimator, and for how many decisions the log supports it.

Axes: N episodes, T decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES, Estimate, normal_quantile, ratio, with_interval
from copygym.evaluation.ope.estimators import influence, point, standard_error
from copygym.evaluation.ope.intervals import Bootstrap
from copygym.evaluation.ope.judge import LEAST_ESS, verdict_of
from copygym.evaluation.ope.sequential.episodes import Episodes
from copygym.evaluation.ope.sequential.estimators import (
    ESTIMATORS,
    MODEL_BASED,
    marginalised,
    parts,
)
from copygym.evaluation.ope.sequential.fitted_q import fitted_q

_WEAK_SHARE = 0.05


@dataclass(frozen=True)
class EpisodeValue:
    """What a policy would have earned in an episode.

    Attributes:
        estimates: estimator -> value with its 95% bootstrap interval over users.
        normal: likewise with the normal interval of the influence function.
        ess_T: (T,) effective episodes that speak for the policy after each decision.
        supported: decisions that the log supports, T at most.
        verdict: ``supported``, ``weak`` or ``not supported``, of the whole episode.
        warnings: why.
    """

    estimates: dict[str, Estimate]
    normal: dict[str, Estimate]
    ess_T: np.ndarray
    supported: int
    verdict: str
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "estimates": {name: one.to_dict() for name, one in self.estimates.items()},
            "normal": {name: one.to_dict() for name, one in self.normal.items()},
            "ess": [float(n) for n in self.ess_T],
            "supported": self.supported,
            "verdict": self.verdict,
            "warnings": list(self.warnings),
        }

    @property
    def headline(self) -> str:
        """The estimator that short tables show."""
        return next(name for name in ("wdr", "sn_pdis") if name in self.estimates)


def value_episodes(
    episodes: Episodes,
    *,
    model: str | None = "linear",
    states_NT: np.ndarray | None = None,
    discount: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EpisodeValue:
    """Return what a policy would have earned in an episode, and whether the log can tell.

    Args:
        episodes: of the log, as the policy sees them.
        model: kind of the Q function (`fitted_q`), or None for estimators that need none; also
            where the policy's probabilities are known for logged actions alone.
        states_NT: int64 states before each decision where they are few: adds ``mis``.
        discount: gamma in [0, 1].
        resamples: of the bootstrap.
        seed: of folds and resamples.

    Raises:
        UserError: no episodes, or a discount out of range.
    """
    if not len(episodes):
        raise UserError("there are no episodes to judge by.")
    if not 0 <= discount <= 1:
        raise UserError(f"the discount is {discount}; it must lie in [0, 1].")
    q_NT = v_NT = None
    if model is not None and episodes.target_NTA is not None:
        q_NT, v_NT = fitted_q(episodes, model, discount=discount, seed=seed)
    names = [name for name in ESTIMATORS if q_NT is not None or name not in MODEL_BASED]
    bootstrap = Bootstrap(episodes.unit, resamples, seed)
    estimates, normal = {}, {}
    pieces = {name: parts(name, episodes, q_NT, v_NT, discount) for name in names}
    ones = np.ones(len(episodes))
    columns = [
        column
        for name in names
        for part in pieces[name]
        for column in (part.top, ones if part.bottom is None else part.bottom)
    ]
    sums, at = bootstrap.sums(columns), 0
    for name in names:
        own = sums[:, at : at + 2 * len(pieces[name])]
        at += own.shape[1]
        value = point(pieces[name], None)
        draws = ratio(own[:, ::2], own[:, 1::2]).sum(axis=1)
        estimates[name] = with_interval(value, draws, 0.95)
        error = standard_error(bootstrap.by_unit(influence(pieces[name], None)))
        half = normal_quantile(0.95) * error
        normal[name] = Estimate(value, value - half, value + half)
    if states_NT is not None:
        estimates["mis"] = _marginalised(episodes, states_NT, discount, resamples, seed)
    return EpisodeValue(estimates, normal, *judge(episodes))


def judge(episodes: Episodes) -> tuple[np.ndarray, int, str, tuple[str, ...]]:
    """Return (T,) effective episodes, the decisions that are supported, the verdict and why."""
    weights = episodes.weights_NT
    with np.errstate(invalid="ignore", divide="ignore"):
        ess = np.nan_to_num(weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0))
    enough = ess >= LEAST_ESS
    supported = episodes.horizon if enough.all() else int(np.argmin(enough))
    bad, weak = [], []
    if not enough.all():
        bad.append(
            f"after {supported + 1} of {episodes.horizon} decisions only {ess[supported]:,.0f} "
            f"effective episodes of {len(episodes):,} speak for it: the log supports episodes of "
            f"{supported} decisions."
            if supported
            else f"only {ess[0]:,.0f} effective episodes of {len(episodes):,} speak for its first "
            "decision: the log cannot support it."
        )
    elif ess[-1] < _WEAK_SHARE * len(episodes):
        weak.append(
            f"{ess[-1]:,.0f} effective episodes of {len(episodes):,} speak for it at the end: "
            "expect wide intervals."
        )
    return ess, supported, verdict_of(bad, weak), (*bad, *weak)


def _marginalised(
    episodes: Episodes, states_NT: np.ndarray, discount: float, resamples: int, seed: int
) -> Estimate:
    value = marginalised(episodes, states_NT, discount=discount)
    unit = np.arange(len(episodes)) if episodes.unit is None else episodes.unit
    unit = np.unique(unit, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    n = int(unit.max()) + 1
    draws = [
        marginalised(
            episodes, states_NT, np.bincount(rng.integers(n, size=n), minlength=n)[unit], discount
        )
        for _ in range(resamples)
    ]
    return with_interval(value, np.array(draws), 0.95)


__all__ = ["EpisodeValue", "judge", "value_episodes"]
