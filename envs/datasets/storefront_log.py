"""Writes the storefront's log: what the marketer's logging policy did, and what came of it."""

from __future__ import annotations

import numpy as np
import polars as pl

from copygym.core.progress import progress
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import Outcome
from copygym.envs.storefront.people import generator
from copygym.envs.storefront.world import StorefrontWorld

#: the first slot of the log is a Monday morning; a slot is six hours.
START = np.datetime64("2025-01-06T06:00:00", "us")
SLOT_HOURS = 6


def simulate_log(
    world: StorefrontWorld, n_slots: int = 56, seed: int = 0, *, truth: bool = False
) -> pl.DataFrame:
    """Return the log of every user of a world under the logging policy (synthetic).

    One row a user and slot until the user unsubscribes, in order of time: ``user_id``,
    ``timestamp``, ``product_id``, ``topic``, ``creative_id``, ``text``, ``brief``, ``channel``,
    ``slot``, ``propensity`` (of what was done, hold included), ``impressions`` = 1, ``clicks``,
    ``conversions``, ``revenue``, ``unsubscribes`` and the ``user_*`` demographics. Where nothing
    was sent, ``creative_id`` is "hold" and product, topic, text, brief and channel are null.

    Args:
        world: the truth.
        n_slots: length of the log; 56 slots are two weeks.
        seed: of the policy's draws and the users' luck.
        truth: add the column ``click_probability`` that no log has: the true chance of a click at
            that moment, state and drift included; 0 where nothing was sent. For judges only.
    """
    stream = Stream(world, n_slots, seed, truth=truth)
    rng = generator(seed, "log")
    steps = []
    for _ in progress(range(n_slots), what="storefront log", leave=False):
        actions = stream.marketer(rng)
        steps.append(stream.step(actions, rng.random(len(actions)))[0])
    return stream.with_people(steps)


class Stream:
    """Everybody of a world, slot by slot, under whatever policy: what a log is made of.

    Args:
        world: the truth.
        n_slots: length of the whole stream.
        seed: of the users' luck and the population's trend.
        truth: add the column ``click_probability`` (see `simulate_log`).

    Attributes:
        users: the truth's user model, a row each person.
        t: slots that have passed.
        subscribed: (U,) bool, who is still there.
    """

    def __init__(
        self, world: StorefrontWorld, n_slots: int, seed: int, *, truth: bool = False
    ) -> None:
        self.world, self.users, self.truth = world, world.user_model(), truth
        self.t, self.subscribed = 0, np.ones(len(self.users), dtype=bool)
        self._env = DeliveryVectorEnv(num_envs=len(self.users), users=self.users, horizon=n_slots)
        self._env.reset(seed=seed, options={"user": np.arange(len(self.users))})
        self._trend_TF = _trend(world, n_slots, seed)
        self._moving = bool(np.any(self._trend_TF))
        assert self.users.logging_policy is not None
        self._marketer = self.users.logging_policy.astype(np.float64).cumsum(axis=-1)

    @property
    def slot(self) -> int:
        """The slot that comes next, as the catalogue numbers it."""
        return self.t % self.world.catalogue.n_slots

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The world's own state (`DeliveryVectorEnv.state`): sends are known, drift is not."""
        return self._env.state

    def marketer(self, rng: np.random.Generator) -> np.ndarray:
        """Return what the logging policy does now, (U,) int64 actions."""
        chances = self._marketer[:, self.slot]
        return _count_reached(chances, rng.random(len(self.users)) * chances[:, -1])

    def step(self, actions: np.ndarray, delay: np.ndarray) -> tuple[pl.DataFrame, Outcome]:
        """Let one slot pass; return its rows (of those still there) and everybody's outcome.

        Args:
            actions: (U,) int64.
            delay: (U,) in [0, 1): when within the slot.
        """
        env, t = self._env, self.t
        if self._moving:
            dynamics = self.users.dynamics
            if not (dynamics.drift_step or dynamics.drift_click):
                # Nobody drifts by himself, so the kernel does not fade the drift either.
                env.batch.drift *= dynamics.drift_persistence
            # The drift of a row that starts anew knows no trend; that row is out of the log.
            env.batch.drift += self._trend_TF[t]
        _, _, unsubscribed, _, info = env.step(actions)
        outcome: Outcome = info["outcome"]
        # A user who left is out of the log, though the row simulates somebody new.
        step = _rows(self.users, t, outcome, info["propensity"], delay)
        if self.truth:
            chance = np.where(outcome.sent, info["click_probability"], 0.0)
            step = step.with_columns(click_probability=chance)
        step = step.filter(self.subscribed)
        self.subscribed = self.subscribed & ~unsubscribed
        self.t += 1
        return step, outcome

    def with_people(self, steps: list[pl.DataFrame]) -> pl.DataFrame:
        """Return slots' rows as one log, demographics added, in order of time."""
        people = self.world.people.demographics
        log = pl.concat(steps).join(people, on="user_id", maintain_order="left")
        return log.sort("timestamp", "user_id")


def _count_reached(cumulative_NA: np.ndarray, draw_N: np.ndarray) -> np.ndarray:
    """Return (N,) int64 how many entries of each row, which never falls, its draw has reached."""
    rows = np.arange(len(draw_N))
    low = np.zeros(len(draw_N), dtype=np.int64)
    high = np.full(len(draw_N), cumulative_NA.shape[1])
    while (undecided := low < high).any():
        middle = np.where(undecided, (low + high) // 2, 0)
        reached = draw_N >= cumulative_NA[rows, middle]
        low = np.where(undecided & reached, middle + 1, low)
        high = np.where(undecided & ~reached, middle, high)
    return low


def _rows(
    users: UserModel,
    t: int,
    outcome: Outcome,
    propensity: np.ndarray,
    delay: np.ndarray,
) -> pl.DataFrame:
    """Return the log rows of slot ``t``, one of each user."""
    catalogue, sent = users.catalogue, outcome.sent
    microseconds = ((t + delay) * SLOT_HOURS * 3_600_000_000).astype("timedelta64[us]")

    def of_creative(names: tuple[str, ...]) -> np.ndarray:
        # A hold's creative is -1, which picks the last entry.
        return np.array([*names, None], dtype=object)[outcome.creative]

    topics = tuple(catalogue.topics[f] for f in catalogue.topic_of_creative)
    creative = np.where(sent, of_creative(catalogue.creative_ids), HOLD)
    text = {
        "product_id": of_creative(catalogue.product_ids),
        "topic": of_creative(topics),
        "creative_id": creative,
        "text": of_creative(catalogue.texts),
        "brief": of_creative(catalogue.briefs),
        "channel": np.array([*catalogue.channels, None], dtype=object)[outcome.channel],
        "slot": np.array(catalogue.slots, dtype=object)[outcome.slot],
    }
    frame = pl.DataFrame(
        {
            "user_id": users.profiles.user_ids,
            "timestamp": START + microseconds,
            **{name: pl.Series(values.tolist(), dtype=pl.String) for name, values in text.items()},
            "propensity": propensity.astype(np.float64),
            "impressions": np.ones(len(sent), dtype=np.int64),
            "clicks": (outcome.click & sent).astype(np.int64),
            "conversions": outcome.conversion.astype(np.int64),
            "revenue": outcome.revenue.astype(np.float64),
            "unsubscribes": outcome.unsubscribe.astype(np.int64),
        }
    )
    return frame.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))


def _trend(world: StorefrontWorld, n_slots: int, seed: int) -> np.ndarray:
    """Return (T, F) float32 what is added to everybody's drift in each field at each slot.

    The population's walk fades like each person's own: it is added to their drift. What seasons
    and sudden changes add is what the faded level lacks of the new one.
    """
    shape = (n_slots, len(world.catalogue.topics))
    steps = generator(seed, "trend").standard_normal(shape)
    levels = world.tastes.levels(*shape, generator(seed, "tastes"))
    faded = world.dynamics.drift_persistence * np.concatenate(
        [np.zeros((1, shape[1])), levels[:-1]]
    )
    return (world.trend * steps + levels - faded).astype(np.float32)
