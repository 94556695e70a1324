"""The upper reference: plans for each simulated user with that user's own model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from copygym.agents.delivery.base import (
    ArrayAgent,
    OnProgress,
    State,
    check_fraction,
    require_learned,
)
from copygym.core.errors import UserError, unknown_name
from copygym.envs.people.model import UserModel

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv

_OBJECTIVES = ("click", "profit")


class PlannerAgent(ArrayAgent):
    """Finite-horizon dynamic programming on the simulator's own tables, replanned at every step.

    For each row it computes V[t, z], the value of going on at time t with fatigue z, by backward
    induction over the remaining slots (Puterman 1994, section 4.5), on a grid of z with linear
    interpolation. A send is worth its expected objective, raises z and may end the episode by
    an unsubscribe; hold lets z decay. The user's present repetitions and interest drift hold for
    the rest of the plan, and the next step plans again from what they have become; that, the
    grid and an unplanned budget (only the mask knows it) are its approximations. On the world
    that judges it is the upper reference; on fitted users it is the planner on the response
    model.

    Args:
        objective: what a decision is worth: ``click`` (expected clicks) or ``profit`` (expected
            revenue minus cost, in currency).
        unsubscribe_penalty: subtracted for an unsubscribe, in units of the objective, on top of
            what the lost future costs; 0 adds none.
        gamma: discount per slot; 1 is the plain sum over the horizon.
        grid: number of fatigue values, >= 2.
        keep_model: go on planning with the users given to `learn` (a fitted model, say) when
            `bind` brings others; rows must then be the same people.
        name: for reports.
    """

    privileged: ClassVar[bool] = True

    def __init__(
        self,
        objective: str = "click",
        unsubscribe_penalty: float = 0.0,
        gamma: float = 1.0,
        grid: int = 16,
        keep_model: bool = False,
        name: str = "planner",
    ) -> None:
        if objective not in _OBJECTIVES:
            raise unknown_name("planner objective", objective, list(_OBJECTIVES))
        if grid < 2:
            raise UserError(f"agent.grid is {grid}; it must be at least 2.")
        self.objective, self.name, self.grid = objective, name, int(grid)
        self.unsubscribe_penalty = float(unsubscribe_penalty)
        self.gamma = check_fraction("agent.gamma", gamma)
        self.keep_model = bool(keep_model)
        self.horizon: int | None = None
        self._users: UserModel | None = None

    def bind(self, users: UserModel) -> None:
        """Plan for ``users`` from now on."""
        if self._users is None or not self.keep_model:
            self._set_users(users)

    def _set_users(self, users: UserModel) -> None:
        self._users = users
        if self.objective == "profit":
            with np.errstate(over="ignore"):  # exp overflows to inf where the rate is 0
                rate = 1.0 / (1.0 + np.exp(-users.conversion_logit))
            self._worth = rate * users.expected_revenue
            self._cost = users.catalogue.cost_of_action.astype(np.float64)
        else:
            self._worth = np.ones_like(users.conversion_logit)
            self._cost = np.zeros(users.catalogue.n_actions)

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Take the users and the horizon of ``venv``; planning itself happens when acting."""
        self.horizon = venv.horizon
        self._set_users(venv.users)

    def plan(self, state: State, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's best action (N,) int64 and the value of its plan (N,) float64.

        Args:
            state: the simulator's state (`DeliveryVectorEnv.state`).
            mask: (N, A) bool, allowed actions now; they count as allowed later too.
        """
        require_learned(self, self.horizon)
        if self._users is None:
            raise UserError(f"agent {self.name!r} has no users to plan for; call bind first.")
        assert self.horizon is not None
        users, catalogue, d = self._users, self._users.catalogue, self._users.dynamics
        actions = np.zeros(len(mask), dtype=np.int64)
        values = np.zeros(len(mask))
        _plan(
            state["user"], state["t"], state["fatigue"].astype(np.float64),
            np.log1p(state["repetitions"]), state["drift"], np.ascontiguousarray(mask),
            users.click_logit, self._worth, self._cost, users.unsubscribe_offset,
            catalogue.creative_of_action.astype(np.int64),
            catalogue.topic_of_action.astype(np.int64),
            self.horizon, self.gamma, self.unsubscribe_penalty, _grid(d.fatigue_decay, self),
            (d.fatigue_decay, d.fatigue_click, d.repetition_click, d.unsubscribe_logit,
             d.unsubscribe_fatigue),
            actions, values,
        )  # fmt: skip
        return actions, values

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: 1 for the planned action."""
        if state is None:
            raise UserError(f"agent {self.name!r} is privileged: pass the environment's state.")
        actions, _ = self.plan(state, mask)
        return (np.arange(mask.shape[1]) == actions[:, None]).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the horizon; the users are bound anew after loading."""
        require_learned(self, self.horizon)
        return {"horizon": np.array(self.horizon)}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        self.horizon = int(arrays["horizon"])


def _grid(decay: float, agent: PlannerAgent) -> np.ndarray:
    """Return fatigue values from 0 to what sending at every slot of the horizon builds up."""
    assert agent.horizon is not None
    ceiling = float(np.sum(decay ** np.arange(agent.horizon)))
    return np.linspace(0.0, ceiling, agent.grid)


@njit(cache=True)
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + np.exp(-x))


@njit(cache=True)
def _at(values, grid, z):  # type: ignore[no-untyped-def]
    # Linear interpolation; the grid is even and covers every reachable fatigue.
    place = min(max(z / grid[1], 0.0), grid.size - 1.0)
    low = min(int(place), grid.size - 2)
    share = place - low
    return values[low] * (1.0 - share) + values[low + 1] * share


@njit(cache=True)
def _plan(  # type: ignore[no-untyped-def]
    user, time, fatigue, seen, drift, mask, click_logit, worth, cost, offset, creative_of,
    topic_of, horizon, gamma, penalty, grid, dynamics, actions, values,
):  # fmt: skip
    decay, tired, bored, leave, leave_tired = dynamics
    n_slots, n_actions = click_logit.shape[1], click_logit.shape[2]
    n_grid = grid.size
    gain = np.empty((n_slots, n_grid, n_actions))  # expected objective of one decision
    stay = np.empty((n_grid, n_actions))
    shift = np.empty(n_actions)
    ahead, now = np.empty(n_grid), np.empty(n_grid)
    for i in range(user.size):
        u = user[i]
        allowed = np.flatnonzero(mask[i, 1:]) + 1
        for a in allowed:
            shift[a] = drift[i, topic_of[a]] - bored * seen[i, creative_of[a]]
            for g in range(n_grid):
                left = _sigmoid(leave + leave_tired * grid[g] + offset[u, a])
                stay[g, a] = 1.0 - left
        for s in range(min(n_slots, horizon - time[i])):
            slot = (time[i] + s) % n_slots
            for g in range(n_grid):
                for a in allowed:
                    p = _sigmoid(click_logit[u, slot, a] + shift[a] - tired * grid[g])
                    gain[slot, g, a] = p * worth[u, a] - cost[a] - penalty * (1.0 - stay[g, a])
        ahead[:] = 0.0
        for t in range(horizon - 1, time[i], -1):
            slot = t % n_slots
            hold = _sigmoid(click_logit[u, slot, 0]) * worth[u, 0]
            for g in range(n_grid):
                best = hold + gamma * _at(ahead, grid, decay * grid[g])
                after = gamma * _at(ahead, grid, decay * grid[g] + 1.0)
                for a in allowed:
                    best = max(best, gain[slot, g, a] + stay[g, a] * after)
                now[g] = best
            ahead, now = now, ahead
        # The decision itself, at the exact fatigue.
        z, slot = fatigue[i], time[i] % n_slots
        best = _sigmoid(click_logit[u, slot, 0]) * worth[u, 0]
        best += gamma * _at(ahead, grid, decay * z)
        after = gamma * _at(ahead, grid, decay * z + 1.0)
        chosen = 0
        for a in allowed:
            p = _sigmoid(click_logit[u, slot, a] + shift[a] - tired * z)
            left = _sigmoid(leave + leave_tired * z + offset[u, a])
            value = p * worth[u, a] - cost[a] - penalty * left + (1.0 - left) * after
            if value > best:
                best, chosen = value, a
        actions[i], values[i] = chosen, best
