"""Delivery: which creative on which channel now, or hold; one episode is one user's horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from copygym.envs.base import (
    SimulatedEnv,
    SimulatedVectorEnv,
    reset_options,
    step_info,
)
from copygym.envs.people.kernel import BUDGET, FATIGUE, UserBatch
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import RewardFunction, apply_reward, reward_shape


def observation_space(batch: UserBatch) -> gym.spaces.Box:
    """Return the Box of one observation; see `DeliveryEnv` for the layout and bounds."""
    layout = batch.layout()
    low = np.zeros(batch.observation_size, np.float32)
    high = np.ones(batch.observation_size, np.float32)
    features = batch.users.profiles.features
    bound = max(5.0, float(np.abs(features).max(initial=0.0)))
    low[layout["profile"]], high[layout["profile"]] = -bound, bound
    high[layout["repetitions"]] = np.log1p(batch.horizon)
    return gym.spaces.Box(low, high, dtype=np.float32)


class DeliveryVectorEnv(SimulatedVectorEnv[np.ndarray, np.ndarray]):
    """`DeliveryEnv` for N users at once, in array operations.

    Row i behaves exactly like a `DeliveryEnv` with seed ``seed + i``. A finished row starts its
    next episode in the same step (`AutoresetMode.SAME_STEP`): the returned observation is the new
    episode's first, and ``info["final_obs"]`` (N, D) holds the last of the old one where the
    mask ``info["_final_obs"]`` (N,) is true.

    Args:
        num_envs: N.
        users: simulated users; None is a small storefront population (synthetic).
        horizon: slots per episode.
        reward: maps an `Outcome` to the reward and its named terms; None is one per click.
        budget: currency that one user's episode may cost; None is unlimited.
        render_mode: "ansi" or "rgb_array" draws the timeline of row 0.
        caps: (slots, sends) pairs: no more sends to a user in any window of so many slots, counted
            from the first; None is none. Whoever is at a cap may only be held.
    """

    def __init__(
        self,
        num_envs: int = 1,
        users: UserModel | None = None,
        horizon: int = 28,
        reward: RewardFunction | None = None,
        budget: float | None = None,
        render_mode: str | None = None,
        caps: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._set_up(users, render_mode, horizon)
        self.num_envs, self.horizon = num_envs, horizon
        self.reward = reward_shape(reward)
        self.batch = UserBatch(self.users, num_envs, horizon, budget, caps or ())
        self.single_observation_space = observation_space(self.batch)
        self.single_action_space = gym.spaces.Discrete(self.users.catalogue.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_layout = self.batch.layout()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every row.

        Args:
            seed: row i is seeded ``seed + i``; or one seed a row. None goes on with the next
                episode of each row.
            options: ``{"user": (N,) rows of the population}`` fixes who is simulated.

        Raises:
            UserError: a seed that is no whole number, or an unknown option.
        """
        options = reset_options(options)
        self._seed(seed, self.batch)
        self.batch.reset(user=options.get("user"))
        self._clear_timeline()
        return self.batch.observe(), {"action_mask": self.action_masks()}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Deliver ``actions`` (N,) and advance every user by one slot."""
        actions = np.asarray(actions, dtype=np.int64)
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {actions.shape}, expected ({self.num_envs},)")
        if actions.min() < 0 or actions.max() >= self.users.catalogue.n_actions:
            raise ValueError(f"actions must lie in 0..{self.users.catalogue.n_actions - 1}")
        batch = self.batch
        outcome, propensity = batch.step(actions)
        reward, terms = apply_reward(self.reward, outcome)
        terminated = outcome.unsubscribe.copy()
        truncated = outcome.last & ~terminated
        info = step_info(outcome, propensity)
        info["reward_terms"] = terms
        observation = batch.observe()
        self._record(outcome)
        done = terminated | truncated
        rows = np.flatnonzero(done)
        if rows.size:
            info["final_obs"], info["_final_obs"] = observation, done
            batch.reset(rows)
            observation = batch.observe()
        info["action_mask"] = self.action_masks()
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Return which actions each row may take now, (N, A) bool."""
        return self.batch.masks()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The simulator's own state, for privileged agents (upper references) only.

        Keys: ``user``, ``t``, ``slot`` (N,) int64; ``fatigue``, ``budget`` (N,); ``repetitions``
        (N, K) sends of each creative; ``drift`` (N, F) logit; ``mask`` (N, A) bool.
        """
        batch = self.batch
        return {
            "user": batch.user.copy(),
            "t": batch.time.copy(),
            "slot": batch.time % self.users.catalogue.n_slots,
            "fatigue": batch.state[:, FATIGUE].copy(),
            "budget": batch.state[:, BUDGET].copy(),
            "repetitions": batch.count.astype(np.float64),
            "drift": batch.drift.copy(),
            "mask": self.action_masks(),
        }


class DeliveryEnv(SimulatedEnv[np.ndarray, np.int64]):
    """Deliver creatives to one simulated user over a horizon of slots.

    ## Description
    An episode is one user. At every slot the agent sends one creative on one channel, or holds.
    Sends tire the user, repeated creatives bore, interests drift, and every send risks an
    unsubscribe, so sending always is not the best schedule.

    ## Action space
    ``Discrete(1 + K * H)``: 0 holds; ``1 + k * H + h`` sends creative k on channel h. Actions
    that ``info["action_mask"]`` forbids (consent, quiet hours, a cap, the budget) are executed as
    hold.

    ## Observation space
    ``Box`` float32 of size P + S + 7 + K:

    | part | size | meaning | bounds |
    |---|---|---|---|
    | profile | P | the user's features | [-5, 5] |
    | slot | S | one-hot of the current slot | [0, 1] |
    | state | 7 | time left, budget left, fatigue (scaled to its ceiling), slots since the last \
send, sends, clicks (shares of the horizon), last click | [0, 1] |
    | repetitions | K | log(1 + earlier sends of each creative) | [0, log(1 + horizon)] |

    ## Rewards
    The injected reward shape of the step's `Outcome`; one per click by default. Every named term
    is in ``info["reward_terms"]``.

    ## Starting state
    A user drawn from the population (``options={"user": i}`` fixes one), rested, at slot 0.

    ## Episode end
    Terminated by an unsubscribe; truncated after ``horizon`` slots.

    ## Info
    ``click_probability`` of what was done, ``best_click_probability`` of the best allowed action
    at that moment, their difference ``regret``, ``propensity`` of the action under the logging
    policy (absent if unknown), ``outcome``, ``reward_terms``, ``action_mask`` for the next step.

    ## Arguments
    As `DeliveryVectorEnv`, without ``num_envs``.

    ## Version history
    - v0: first version.
    """

    def __init__(
        self,
        users: UserModel | None = None,
        horizon: int = 28,
        reward: RewardFunction | None = None,
        budget: float | None = None,
        render_mode: str | None = None,
        caps: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._set_up(users, render_mode, horizon)
        self.horizon = horizon
        self.reward = reward_shape(reward)
        self.batch = UserBatch(self.users, 1, horizon, budget, caps or ())
        self.observation_space = observation_space(self.batch)
        self.action_space = gym.spaces.Discrete(self.users.catalogue.n_actions)
        self.observation_layout = self.batch.layout()
        self._n_actions = self.users.catalogue.n_actions

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode; ``options={"user": i}`` fixes who is simulated."""
        options = reset_options(options)
        self._seed(seed, self.batch)
        self.batch.reset(user=options.get("user"))
        self._clear_timeline()
        return self.batch.observe()[0], {"action_mask": self.action_masks()}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Deliver ``action`` and advance by one slot."""
        index = int(action)
        if not 0 <= index < self._n_actions:
            raise ValueError(f"action {action} is outside 0..{self._n_actions - 1}")
        batch = self.batch
        outcome, propensity = batch.step(np.array([index]))
        reward, terms = apply_reward(self.reward, outcome)
        terminated = bool(outcome.unsubscribe[0])
        truncated = not terminated and bool(batch.time[0] >= self.horizon)
        p, best = float(outcome.click_probability[0]), float(outcome.best_click_probability[0])
        info = {
            "click_probability": p,
            "best_click_probability": best,
            "regret": best - p,
            "outcome": outcome,
            "reward_terms": {name: float(term[0]) for name, term in terms.items()},
            "action_mask": self.action_masks(),
        }
        if propensity is not None:
            info["propensity"] = float(propensity[0])
        self._record(outcome)
        return batch.observe()[0], float(reward[0]), terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Return which actions are allowed now, (A,) bool (the name that sb3-contrib looks for)."""
        return self.batch.masks()[0].copy()
