"""Evaluation of agents on simulated users with common random numbers.

Every agent meets the same users with the same reset seeds. The kernel draws a user's luck from
the episode and the time only, so that two agents who do the same get the same, and differences
between agents have far less noise than the values themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from copygym.agents.delivery.base import Agent
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import Outcome, RewardFunction
from copygym.envs.render import Event, Timeline
from copygym.evaluation.metrics import TOTALS, Episodes

#: Popularity of a creative that was never logged, which would otherwise be infinitely novel.
POPULARITY_FLOOR = 1e-4


@dataclass(frozen=True)
class Setting:
    """What an evaluation holds fixed across agents.

    Attributes:
        users: simulated users who judge.
        rows: (U,) int64 rows of ``users`` to evaluate on.
        horizon: slots per episode.
        reward: reward shape, or None for one per click.
        budget: currency per user's episode, or None.
        episodes: episodes per user, averaged.
        seed: of the users' luck.
        num_envs: users simulated at once.
        environment: makes the vector environment.
    """

    users: UserModel
    rows: np.ndarray
    horizon: int
    reward: RewardFunction | None = None
    budget: float | None = None
    episodes: int = 1
    seed: int = 0
    num_envs: int = 1024
    environment: Callable[..., DeliveryVectorEnv] = DeliveryVectorEnv


@dataclass
class _Tally:
    """Running totals of one batch of N episodes."""

    totals: np.ndarray
    creatives: np.ndarray
    alive: np.ndarray
    self_information: np.ndarray
    timelines: list[Timeline] = field(default_factory=list)

    def add(self, outcome: Outcome, reward: np.ndarray) -> None:
        """Add one step of the rows that are still in their first episode."""
        alive = self.alive
        sent = outcome.sent & alive
        rows = np.flatnonzero(sent)
        earlier = self.creatives[rows, outcome.creative[rows]]
        sends = self.totals[rows, TOTALS.index("sends")]
        regret = outcome.best_click_probability - outcome.click_probability
        step = {
            "clicks": outcome.click,
            "sends": outcome.sent,
            "conversions": outcome.conversion,
            "revenue": outcome.revenue,
            "cost": outcome.cost,
            "reward": reward,
            "unsubscribed": outcome.unsubscribe,
            "steps": np.ones(len(alive)),
            "step_regret": np.where(np.isfinite(regret), regret, 0.0),
            "organic": outcome.click & ~outcome.sent,
        }
        for name, values in step.items():
            self.totals[:, TOTALS.index(name)] += np.where(alive, values, 0.0)
        bits = self.self_information[outcome.creative[rows]]
        self.totals[rows, TOTALS.index("novelty")] += bits
        # A new send forms a pair with each earlier one; it differs from all but its own kind.
        self.totals[rows, TOTALS.index("pairs")] += sends
        self.totals[rows, TOTALS.index("differing_pairs")] += sends - earlier
        self.creatives[rows, outcome.creative[rows]] += 1
        for row, timeline in enumerate(self.timelines):
            if alive[row]:
                timeline.add(outcome, row)


def evaluate(
    agent: Agent,
    setting: Setting,
    *,
    timelines: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Episodes, list[list[Event]]]:
    """Let ``agent`` act on the setting's users and return what happened.

    Args:
        agent: acts on observations; privileged agents also get the simulator's state.
        setting: users, seeds and environment options.
        timelines: of how many users (the first ones) to record the events.
        on_batch: called with the number of episodes that just ended.

    Returns:
        Episodes of the U users, and the events of the first ``timelines`` of them.
    """
    users = setting.users
    agent.bind(users)
    plays = np.tile(setting.rows, setting.episodes)
    size = min(setting.num_envs, len(plays))
    env = setting.environment(
        size, users=users, horizon=setting.horizon, reward=setting.reward, budget=setting.budget
    )
    k = users.catalogue.n_creatives
    totals, creatives = np.empty((len(plays), len(TOTALS))), np.empty((len(plays), k))
    events: list[list[Event]] = []
    for start in range(0, len(plays), size):
        batch = plays[start : start + size]
        wanted = timelines if start == 0 else 0
        tally = _play(agent, env, batch, _reset_seed(setting.seed, start), wanted)
        stop = start + len(batch)
        totals[start:stop] = tally.totals[: len(batch)]
        creatives[start:stop] = tally.creatives[: len(batch)]
        events += [timeline.events for timeline in tally.timelines]
        if on_batch is not None:
            on_batch(len(batch))
    env.close()
    shape = (setting.episodes, len(setting.rows), -1)
    return (
        Episodes(
            setting.rows, totals.reshape(shape).mean(axis=0), creatives.reshape(shape).mean(axis=0)
        ),
        events,
    )


def _play(
    agent: Agent, env: DeliveryVectorEnv, batch: np.ndarray, seed: int, timelines: int
) -> _Tally:
    """Play one episode for each user of ``batch``; rows beyond it repeat the first user."""
    size = env.num_envs
    catalogue = env.users.catalogue
    rows = np.concatenate([batch, np.full(size - len(batch), batch[0])])
    observation, info = env.reset(seed=seed, options={"user": rows})
    alive = np.arange(size) < len(batch)
    tally = _Tally(
        np.zeros((size, len(TOTALS))),
        np.zeros((size, catalogue.n_creatives)),
        alive,
        -np.log2(np.maximum(catalogue.popularity, POPULARITY_FLOOR)),
        [Timeline(catalogue, env.horizon) for _ in range(min(timelines, len(batch)))],
    )
    rng = np.random.default_rng(seed)
    for _ in range(env.horizon):
        state = env.state if agent.privileged else None
        actions = agent.act(observation, info["action_mask"], rng, state)
        observation, reward, terminated, truncated, info = env.step(actions)
        tally.add(info["outcome"], np.asarray(reward))
        # A row that ended starts a stranger's episode, which is not ours to count.
        tally.alive = tally.alive & ~(terminated | truncated)
        if not tally.alive.any():
            break
    return tally


def _reset_seed(seed: int, start: int) -> int:
    """Return the reset seed of a batch; row i of the batch is seeded with this plus i."""
    base = int(np.random.SeedSequence([seed, 7919]).generate_state(1)[0])
    return base + start


def rows_of(users: Iterable[int] | int, limit: int | None, seed: int) -> np.ndarray:
    """Return sorted rows of up to ``limit`` users, drawn without replacement.

    Args:
        users: number of users, or the rows to draw from.
        limit: how many; None takes all.
        seed: of the draw.
    """
    rows = np.arange(users) if isinstance(users, int) else np.asarray(list(users), dtype=np.int64)
    if limit is None or limit >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size=limit, replace=False))
