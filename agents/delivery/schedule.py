"""The best schedule: one message for everybody, sent in a fixed rhythm."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from copygym.agents.delivery.base import ArrayAgent, OnProgress, Progress, State, require_learned
from copygym.core.errors import UserError

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv


class Schedule(NamedTuple):
    """Send ``action`` at times t with ``t % period == offset``, hold otherwise."""

    action: int
    period: int
    offset: int


class ScheduleAgent(ArrayAgent):
    """The best fixed action on its best rhythm: what is won by timing without personalisation.

    `BestFixedAgent` sends at every slot; this agent also chooses how often and in which phase,
    which matters where sends tire users. It is found in two races on the same users with the
    same luck: first all actions at a middling rhythm in every phase, then the best few in all
    rhythms and phases.

    Args:
        periods: rhythms to try, in slots; 1 sends at every slot.
        finalists: actions that go on to the second race, >= 1.
        episodes: episodes per try in the second race, rounded up to whole batches of rows; the
            first spends a quarter of it.
        name: for reports.

    Attributes:
        best: the schedule found; None before learning.
        horizon: of the environment it was learned in; tells the time from an observation.
    """

    def __init__(
        self,
        periods: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 28),
        finalists: int = 4,
        episodes: int = 2048,
        name: str = "best_schedule",
    ) -> None:
        self.periods = tuple(sorted({int(period) for period in periods}))
        if not self.periods or self.periods[0] < 1:
            raise UserError(f"agent.periods is {list(periods)}; give slots between sends, >= 1.")
        for key, value in (("finalists", finalists), ("episodes", episodes)):
            if value < 1:
                raise UserError(f"agent.{key} is {value}; it must be at least 1.")
        self.finalists, self.episodes, self.name = int(finalists), int(episodes), name
        self.best: Schedule | None = None
        self.horizon = 0
        self._time_left = 0

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Race schedules; the races have their own length, whatever ``steps`` says."""
        self.horizon = venv.horizon
        self._time_left = venv.observation_layout["state"].start
        actions = range(1, venv.users.catalogue.n_actions)
        periods = [period for period in self.periods if period <= venv.horizon] or [1]
        middling = periods[len(periods) // 2]
        first = [Schedule(a, middling, o) for a in actions for o in range(middling)]
        n_second = self.finalists * sum(periods)
        rows = venv.num_envs
        short, long = (-(-n // rows) for n in (max(1, self.episodes // 4), self.episodes))
        total = rows * venv.horizon * (len(first) * short + n_second * long)
        with Progress(self.name, total, on_progress) as progress:
            returns = self._race(venv, first, short, seed, progress)
            by_action = np.full(venv.users.catalogue.n_actions, -np.inf)
            np.maximum.at(by_action, [s.action for s in first], returns)
            kept = np.argsort(-by_action, kind="stable")[: self.finalists]
            second = [
                Schedule(int(a), p, o)
                for a in kept if by_action[a] > -np.inf
                for p in periods
                for o in range(p)
            ]  # fmt: skip
            returns = self._race(venv, second, long, seed, progress)
        self.best = second[int(np.argmax(returns))]

    def _race(
        self,
        venv: DeliveryVectorEnv,
        schedules: list[Schedule],
        repeats: int,
        seed: int,
        progress: Progress,
    ) -> np.ndarray:
        """Return the mean return of each schedule, (M,) float64, on the same users and luck."""
        per_try = venv.num_envs * venv.horizon
        returns = np.zeros(len(schedules))
        for i, schedule in enumerate(schedules):
            for r in range(repeats):
                returns[i] += schedule_return(venv, schedule, seed + r * venv.num_envs) / repeats
                due = progress.due
                progress.update(per_try, {"return": float(returns[i])} if due else None)
        return returns

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: 1 for what the schedule says now, or for hold if masked."""
        require_learned(self, self.best)
        assert self.best is not None
        time = np.rint((1.0 - obs[:, self._time_left]) * self.horizon).astype(np.int64)
        due = (time % self.best.period == self.best.offset) & mask[:, self.best.action]
        actions = np.where(due, self.best.action, 0)
        return (np.arange(mask.shape[1]) == actions[:, None]).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the schedule found, and where an observation tells the time."""
        require_learned(self, self.best)
        assert self.best is not None
        return {"best": np.array(self.best), "clock": np.array([self.horizon, self._time_left])}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        self.best = Schedule(*(int(value) for value in arrays["best"]))
        self.horizon, self._time_left = (int(value) for value in arrays["clock"])


def schedule_return(venv: DeliveryVectorEnv, schedule: Schedule, seed: int) -> float:
    """Return the mean undiscounted return of one episode a row under ``schedule``.

    Args:
        venv: N simulated users; reset with ``seed``, so equal seeds meet equal users and luck.
        schedule: what to send when.
        seed: of the reset.
    """
    venv.reset(seed=seed)
    sends = np.full(venv.num_envs, schedule.action, dtype=np.int64)
    holds = np.zeros(venv.num_envs, dtype=np.int64)
    alive = np.ones(venv.num_envs, dtype=bool)
    total = 0.0
    for t in range(venv.horizon):
        due = t % schedule.period == schedule.offset
        _, reward, terminated, truncated, _ = venv.step(sends if due else holds)
        total += float(reward[alive].sum())
        alive &= ~(terminated | truncated)
    return total / venv.num_envs
