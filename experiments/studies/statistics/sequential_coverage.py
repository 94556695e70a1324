"""Study E8, sequential half: do estimates of whole episodes hold where the truth is known?

The storefront's marketer acts on simulated people for 7 and for 28 decisions; each estimator is
asked what other policies would have earned in an episode, again and again. What they do earn is
known from letting them act.

Records: ``horizon``, ``policy`` and ``estimator``, and of each the relative error and bias, how
often both kinds of 95% interval cover the truth, the effective episodes at the end, and how often
the log's verdict was that it does not support the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from copygym.agents.delivery.bandits import LoggingAgent
from copygym.agents.delivery.base import State
from copygym.core.errors import UserError
from copygym.core.estimates import wilson
from copygym.core.seeds import derived_seed
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.people.model import UserModel
from copygym.envs.storefront.world import StorefrontWorld
from copygym.evaluation.ope.sequential.episodes import play_episodes
from copygym.evaluation.ope.sequential.judge import value_episodes
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.statistics.sequential_coverage_report import report
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

#: Replications between two stages, so that a killed run goes on.
_CHUNK = 20


class TableAgent(LoggingAgent):
    """Acts by a table of probabilities; with ``rests`` it sends less to people who are tired.

    Args:
        name: for reports.
        table: (U, S, A) probabilities.
        rests: whether what is sent is scaled by 1 - fatigue.
    """

    privileged: ClassVar[bool] = True

    def __init__(self, name: str, table: np.ndarray, rests: bool = False) -> None:
        super().__init__(name)
        self._policy, self._rests = table, rests

    def bind(self, users: UserModel) -> None:
        """Keep the own table."""

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64."""
        chances = super().propensities(obs, mask, state)
        if self._rests and state is not None:
            chances[:, 1:] *= 1.0 - np.minimum(state["fatigue"], 1.0)[:, None]
            chances[:, 0] = 1.0 - chances[:, 1:].sum(axis=1)
        return chances


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a horizon that is none."""
    for horizon in config["horizons"]:
        if not isinstance(horizon, int) or isinstance(horizon, bool) or horizon < 1:
            raise UserError(f"horizons holds {horizon!r}; give whole numbers from 1.")


def policies(users: UserModel) -> list[TableAgent]:
    """Return the policies to judge.

    ``keener`` leans towards what is clicked, ``rested`` spares people who are tired, and ``other``
    sends anything to anybody, for which no log of a usual size speaks for long.
    """
    assert users.logging_policy is not None
    logging = users.logging_policy.astype(np.float64)
    clicks = 1.0 / (1.0 + np.exp(-np.maximum(users.click_logit[..., 1:], -30.0).astype(np.float64)))
    sends = logging[..., 1:] * np.sqrt(clicks)
    sends *= (1.0 - logging[..., :1]) / sends.sum(axis=-1, keepdims=True)
    keener = np.concatenate([logging[..., :1], sends], axis=-1)
    other = np.full(logging.shape, 1.0 / logging.shape[-1])
    return [
        TableAgent("keener", 0.5 * keener + 0.5 * logging),
        TableAgent("rested", logging, rests=True),
        TableAgent("other", other),
    ]


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Draw episodes, estimate every policy in each, and return the records.

    Config keys: ``storefront`` (``seed``, ``n_users``), ``horizons``, ``replications``, ``truth``
    (episodes of each person from which a policy's value is known), ``evaluation.resamples``.
    """
    users = StorefrontWorld(**config["storefront"]).user_model()
    rows = Rows(int(config["seed"]))
    for horizon in config["horizons"]:
        _add(rows, int(horizon), _truth(config, folder, users, int(horizon)),
             _measure(config, folder, users, int(horizon)))  # fmt: skip
    origin = {
        "data": {"storefront": {"sha256": "generated from its seed", "rows": len(users)}},
        "notes": [],
        "assumptions": ["people are synthetic, and the policy that logs is the world's own."],
    }
    told = about(
        config,
        origin,
        synthetic=True,
        one_seed="episodes are drawn with one seed; a coverage from so many is itself known up to "
        "its interval.",
        over_seeds="intervals are over {count} seeds, with each of which all episodes are drawn "
        "anew.",
        episodes=len(users),
        replications=int(config["replications"]),
    )
    return Records(rows.frame, {rows.seed: told})


def _truth(
    config: Mapping[str, Any], folder: RunFolder, users: UserModel, horizon: int
) -> dict[str, float]:
    """Return policy -> clicks per episode, from letting it act."""

    def compute() -> Record:
        env = DeliveryVectorEnv(len(users), users=users, horizon=horizon)
        found = {}
        for agent in policies(users):
            earned = [
                play_episodes(
                    agent, [], env, np.arange(len(users)), derived_seed(config["seed"], "truth", i)
                ).earned
                for i in range(int(config["truth"]))
            ]
            found[agent.name] = float(np.mean(earned))
        return Record(found)

    return dict(folder.stage(f"truth/{horizon}", compute).values)


def _measure(
    config: Mapping[str, Any], folder: RunFolder, users: UserModel, horizon: int
) -> dict[str, np.ndarray]:
    """Return ``policy/estimator`` -> (R, 7): value, both intervals, effective episodes, verdict."""
    from copygym.core.progress import progress

    total = int(config["replications"])
    collected: dict[str, list[np.ndarray]] = {}
    with progress(total=total, what=f"episodes of {horizon}", unit="log") as bar:
        for start in range(0, total, _CHUNK):
            indices = range(start, min(start + _CHUNK, total))

            def compute(indices: range = indices) -> Record:
                lists: dict[str, list[list[float]]] = {}
                for index in indices:
                    for key, kept in _replicate(config, users, horizon, index).items():
                        lists.setdefault(key, []).append(kept)
                    bar.update()
                return Record({}, {key: np.array(values) for key, values in lists.items()})

            there = folder.has_stage(f"episodes/{horizon}/{start}")
            record = folder.stage(f"episodes/{horizon}/{start}", compute)
            bar.update(len(indices) if there else 0)
            for key, values in record.arrays.items():
                collected.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in collected.items()}


def _replicate(
    config: Mapping[str, Any], users: UserModel, horizon: int, index: int
) -> dict[str, list[float]]:
    logging, targets = LoggingAgent(), policies(users)
    logging.bind(users)
    env = DeliveryVectorEnv(len(users), users=users, horizon=horizon)
    seed = derived_seed(config["seed"], "log", horizon, index)
    played = play_episodes(logging, targets, env, np.arange(len(users)), seed)
    found: dict[str, list[float]] = {}
    for agent, episodes in zip(targets, played.episodes, strict=True):
        valued = value_episodes(
            episodes, resamples=int(config["evaluation"]["resamples"]), seed=index
        )
        refused = float(valued.verdict == "not supported")
        for name, one in valued.estimates.items():
            normal = valued.normal[name]
            found[f"{agent.name}/{name}"] = [
                one.value, one.low, one.high, normal.low, normal.high,
                float(valued.ess_T[-1]), refused,
            ]  # fmt: skip
    return found


def _add(
    rows: Rows, horizon: int, truth: Mapping[str, float], found: Mapping[str, np.ndarray]
) -> None:
    for key, values in found.items():
        policy, estimator = key.split("/")
        value, low, high, normal_low, normal_high, ess, refused = values.T
        right = truth[policy]
        cell = {"horizon": horizon, "policy": policy, "estimator": estimator}
        rows.add("truth", right, **cell)
        rows.add("relative_error", float(np.sqrt(np.mean((value - right) ** 2)) / right), **cell)
        rows.add("relative_bias", float((value.mean() - right) / right), **cell)
        rows.add("relative_width", float(np.mean(high - low) / right), **cell)
        rows.add("bootstrap_coverage", _share((low <= right) & (right <= high)), **cell)
        normal = (normal_low <= right) & (right <= normal_high)
        rows.add("normal_coverage", _share(normal), **cell)
        rows.add("effective_episodes", float(ess.mean()), **cell)
        rows.add("refused", _share(refused > 0), **cell)
    # Whether the policies are put in their true order, by each estimator.
    names = sorted(truth, key=truth.__getitem__)
    for estimator in dict.fromkeys(key.split("/")[1] for key in found):
        values = np.stack([found[f"{name}/{estimator}"][:, 0] for name in names])
        ranked = _share((np.diff(values, axis=0) > 0).all(axis=0))
        rows.add("ranked", ranked, horizon=horizon, policy="all", estimator=estimator)


def _share(found: Any) -> dict[str, float]:
    hits = np.asarray(found, dtype=bool)
    return wilson(int(hits.sum()), len(hits)).to_dict()
