"""Logged episodes: what a policy did to a user decision after decision, and what came of it.

Axes: N episodes, T decisions of the longest, A actions, P features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from copygym.agents.delivery.base import Agent, sample_actions
from copygym.core.errors import UserError
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.catalogue import HOLD
from copygym.evaluation.ope.decisions import Decisions
from copygym.evaluation.ope.policies import Target


@dataclass(frozen=True)
class Episodes:
    """N logged episodes as one target policy sees them.

    After the end of an episode rewards are 0, ratios 1 and ``alive`` False.

    Attributes:
        rewards_NT: float64 outcomes.
        ratios_NT: float64 pi(a | s) / e(a | s) of each decision.
        alive_NT: bool, whether the decision was made.
        actions_NT: int64 actions taken.
        target_NTA: float64 probabilities of the target policy; None where they are known for the
            logged actions alone.
        features_NTP: float64, what was known before each decision, the first column ones.
        unit: (N,) int64 users, who are independent of each other; None where episodes are.
    """

    rewards_NT: np.ndarray
    ratios_NT: np.ndarray
    alive_NT: np.ndarray
    actions_NT: np.ndarray
    target_NTA: np.ndarray | None = None
    features_NTP: np.ndarray | None = None
    unit: np.ndarray | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.rewards_NT)

    @property
    def horizon(self) -> int:
        """T."""
        return self.rewards_NT.shape[1]

    @property
    def weights_NT(self) -> np.ndarray:
        """(N, T) the products of the ratios up to and with each decision."""
        return np.cumprod(self.ratios_NT, axis=1)


def logged_episodes(log: Decisions, target: Target, horizon: int) -> Episodes:
    """Return the episodes of a log: a user's decisions in order of time, ``horizon`` at a time.

    What a user's earlier decisions in the episode led to is added to the features: how many were
    made and sent, how much they gained, and the last of each.

    Args:
        log: decisions of one impression each, on users.
        target: the policy to judge.
        horizon: T; a user's last decisions may be fewer.

    Raises:
        UserError: the log has no users, no times, or rows of several impressions.
    """
    where = log.log.source or log.log.name
    if horizon < 1:
        raise UserError(f"the horizon is {horizon}; an episode has at least 1 decision.")
    if log.unit is None or not log.log.has("timestamp"):
        missing = "user_id" if log.unit is None else "timestamp"
        raise UserError(
            f"{where} has no column {missing}: which decisions follow each other is not known, so "
            "leave --horizon out."
        )
    if log.trials is not None and (log.trials != 1).any():
        raise UserError(
            f"{where} has rows of several impressions, which are no decisions one after the "
            "other; leave --horizon out."
        )
    time = log.frame["timestamp"].cast(int).to_numpy()
    order = np.lexsort((np.arange(len(log)), time, log.unit))
    unit = log.unit[order]
    first = np.flatnonzero(np.append(True, unit[1:] != unit[:-1]))
    place = np.arange(len(unit)) - np.repeat(first, np.diff(np.append(first, len(unit))))
    step = place % horizon
    episode = np.cumsum(step == 0) - 1
    n = int(episode[-1]) + 1

    def grid(values: np.ndarray, empty: float) -> np.ndarray:
        out = np.full((n, horizon, *values.shape[1:]), empty, dtype=values.dtype)
        out[episode, step] = values[order]
        return out

    table = None
    if target.actions is not None:
        table = np.stack(
            [
                target.actions.of_actions(np.full(len(log), action))
                for action in range(len(log.arms))
            ],
            axis=1,
        )
    actions, rewards = grid(log.actions, 0), grid(log.rewards, 0.0)
    alive = grid(np.ones(len(log), dtype=bool), False)
    sent = alive & (actions != log.arms.index(HOLD) if HOLD in log.arms else True)
    past = history(rewards, sent)
    return Episodes(
        rewards,
        grid(target.weights, 1.0),
        alive,
        actions,
        None if table is None else grid(table, 0.0),
        np.concatenate([grid(log.features, 0.0), past], axis=2),
        unit[step == 0],
    )


def history(rewards_NT: np.ndarray, sent_NT: np.ndarray) -> np.ndarray:
    """Return (N, T, 5): decisions, sends and rewards before each, and the last of the latter."""

    def before(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)

    rewards, sent = rewards_NT.astype(np.float64), sent_NT.astype(np.float64)
    made = np.broadcast_to(np.arange(rewards.shape[1], dtype=np.float64), rewards.shape)
    past = [before(rewards.cumsum(axis=1)), before(sent.cumsum(axis=1))]
    return np.stack([made, *past, before(rewards), before(sent)], axis=2)


class Played(NamedTuple):
    """What came of letting a policy act.

    Attributes:
        earned: mean reward of an episode.
        episodes: as each target policy sees them.
    """

    earned: float
    episodes: list[Episodes]


def play_episodes(
    logging: Agent,
    targets: Sequence[Agent],
    env: DeliveryVectorEnv,
    users: np.ndarray,
    seed: int,
) -> Played:
    """Let a policy act on simulated users, one episode each, and return it as others see it.

    Args:
        logging: acts.
        targets: policies to judge.
        env: of as many rows as there are ``users``; its reward is what episodes earn.
        users: (N,) int64 rows of the environment's users.
        seed: of the users' luck and of the policy's draws.

    Returns:
        What was earned, and episodes for each target with the observations as features.
    """
    observation, info = env.reset(seed=seed, options={"user": users})
    rng = np.random.default_rng(seed)
    n, horizon, size = len(users), env.horizon, int(env.users.catalogue.n_actions)
    rewards, actions = np.zeros((n, horizon)), np.zeros((n, horizon), dtype=np.int64)
    ratios = np.ones((len(targets), n, horizon))
    chances = np.zeros((len(targets), n, horizon, size))
    seen = np.zeros((n, horizon, observation.shape[1] + 1))
    alive = np.zeros((n, horizon), dtype=bool)
    going, rows = np.ones(n, dtype=bool), np.arange(n)
    for t in range(horizon):
        mask = info["action_mask"]
        state = env.state
        own = logging.propensities(observation, mask, state if logging.privileged else None)
        drawn = sample_actions(own, rng)
        alive[:, t], actions[:, t] = going, np.where(going, drawn, 0)
        seen[going, t] = np.column_stack([np.ones(n), observation])[going]
        for i, target in enumerate(targets):
            other = target.propensities(observation, mask, state if target.privileged else None)
            chances[i, going, t] = other[going]
            ratio = other[rows, drawn] / own[rows, drawn]
            ratios[i, :, t] = np.where(going, ratio, 1.0)
        observation, reward, terminated, truncated, info = env.step(drawn)
        rewards[:, t] = np.where(going, reward, 0.0)
        # A row that ended starts a stranger's episode.
        going = going & ~(terminated | truncated)
        if not going.any():
            break
    episodes = [
        Episodes(rewards, ratios[i], alive, actions, chances[i], seen) for i in range(len(targets))
    ]
    return Played(float(rewards.sum(axis=1).mean()), episodes)


__all__ = ["Episodes", "Played", "history", "logged_episodes", "play_episodes"]
