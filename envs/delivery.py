"""Delivery: which creative on which channel now, or hold; one episode is one user's horizon."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from copygym.core.errors import UserError, unknown_name
from copygym.envs.people.kernel import BUDGET, FATIGUE, STATE_NAMES, UserBatch
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import Outcome, RewardShape, reward_shape, rewarded
from copygym.envs.render import Timeline

_KEY_BOUND = 2**63


def draw_key(rng: np.random.Generator) -> np.uint64:
    """Return the base key of one row's episodes, drawn from its environment's generator."""
    return np.uint64(rng.integers(0, _KEY_BOUND))


def one_seed(seed: Any) -> int | None:
    """Return a reset's seed as a Python integer, which Gymnasium asks for; None stays None.

    Raises:
        UserError: it is no whole number of 0 or more.
    """
    if seed is None:
        return None
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise UserError(f"reset got seed={seed!r}; give a whole number of 0 or more.")
    return number


def seeds_of(seed: Any, n: int) -> int | list[int | None] | None:
    """Return a vector reset's seed: one integer, or one or None for each of the ``n`` rows.

    Raises:
        UserError: another number of seeds, or one that is no whole number of 0 or more.
    """
    if isinstance(seed, list | tuple) or (isinstance(seed, np.ndarray) and seed.ndim):
        if len(seed) != n:
            raise UserError(f"reset got {len(seed)} seeds for {n} environments.")
        return [one_seed(one) for one in seed]
    return one_seed(seed)


def reset_options(options: Any, known: Sequence[str] = ("user",)) -> dict[str, Any]:
    """Return a reset's options, checked.

    Raises:
        UserError: they are no dict, or one is not among the ``known``.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise UserError(f"reset got options={options!r}; give a dict of {', '.join(known)}.")
    for name in options:
        if name not in known:
            raise unknown_name("reset option", str(name), list(known))
    return dict(options)


def draw_keys(seed: int | list[int | None] | None, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) uint64 base keys; row i gets what a single environment seeded ``seed + i`` gets.

    Args:
        seed: one integer, a list of n integers or Nones, or None (keys from ``rng``).
        n: number of rows.
        rng: source of the keys of rows without a seed.
    """
    seed = seeds_of(seed, n)
    seeds = [seed + i for i in range(n)] if isinstance(seed, int) else seed
    if seeds is None:
        return rng.integers(0, _KEY_BOUND, size=n).astype(np.uint64)
    return np.array(
        [draw_key(rng if one is None else seeding.np_random(one)[0]) for one in seeds], np.uint64
    )


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


def step_info(outcome: Outcome, propensity: np.ndarray | None = None) -> dict[str, Any]:
    """Return what every environment reports of a step, as arrays (N,)."""
    info = {
        "click_probability": outcome.click_probability,
        "best_click_probability": outcome.best_click_probability,
        "regret": outcome.best_click_probability - outcome.click_probability,
        "outcome": outcome,
    }
    if propensity is not None:
        info["propensity"] = propensity
    return info


def first_row(info: dict[str, Any]) -> dict[str, Any]:
    """Return a batch's info as that of a single environment: floats for arrays of one."""
    single: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, dict):
            single[key] = first_row(value)
        else:
            single[key] = value if key == "outcome" else float(value[0])
    return single


def default_users() -> UserModel:
    """Return the small storefront population that environments use when given none."""
    from copygym.envs.storefront.world import default_users as storefront_users

    return storefront_users()


class DeliveryVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
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
    """

    metadata = {  # noqa: RUF012 - Gymnasium's own annotation is a plain dict
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        users: UserModel | None = None,
        horizon: int = 28,
        reward: RewardShape | None = None,
        budget: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.users = default_users() if users is None else users
        self.num_envs, self.horizon, self.render_mode = num_envs, horizon, render_mode
        self.reward = reward_shape(reward)
        self.batch = UserBatch(self.users, num_envs, horizon, budget)
        self.single_observation_space = observation_space(self.batch)
        self.single_action_space = gym.spaces.Discrete(self.users.catalogue.n_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_layout = self.batch.layout()
        self._timeline = Timeline(self.users.catalogue, horizon) if render_mode else None

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
        seed, options = seeds_of(seed, self.num_envs), reset_options(options)
        super().reset(seed=seed if isinstance(seed, int) else None)
        if seed is not None or self.batch.episode[0] < 0:
            self.batch.seed(draw_keys(seed, self.num_envs, self.np_random))
        self.batch.reset(user=options.get("user"))
        if self._timeline is not None:
            self._timeline.clear()
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
        reward, terms = rewarded(self.reward, outcome)
        terminated = outcome.unsubscribe.copy()
        truncated = outcome.last & ~terminated
        info = step_info(outcome, propensity)
        info["reward_terms"] = terms
        observation = batch.observe()
        if self._timeline is not None:
            self._timeline.add(outcome, 0)
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

    def render(self) -> Any:
        """Return the timeline of row 0 as text or as an (H, W, 3) uint8 picture."""
        if self._timeline is None or self.render_mode is None:
            return None
        return self._timeline.render(self.render_mode)


class DeliveryEnv(gym.Env[np.ndarray, np.int64]):
    """Deliver creatives to one simulated user over a horizon of slots.

    ## Description
    An episode is one user. At every slot the agent sends one creative on one channel, or holds.
    Sends tire the user, repeated creatives bore, interests drift, and every send risks an
    unsubscribe, so sending always is not the best schedule.

    ## Action space
    ``Discrete(1 + K * H)``: 0 holds; ``1 + k * H + h`` sends creative k on channel h. Actions
    that ``info["action_mask"]`` forbids (channel not allowed, budget spent) are executed as hold.

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

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        users: UserModel | None = None,
        horizon: int = 28,
        reward: RewardShape | None = None,
        budget: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.users = default_users() if users is None else users
        self.horizon, self.render_mode = horizon, render_mode
        self.reward = reward_shape(reward)
        self.batch = UserBatch(self.users, 1, horizon, budget)
        self.observation_space = observation_space(self.batch)
        self.action_space = gym.spaces.Discrete(self.users.catalogue.n_actions)
        self.observation_layout = self.batch.layout()
        self._n_actions = self.users.catalogue.n_actions
        self._timeline = Timeline(self.users.catalogue, horizon) if render_mode else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode; ``options={"user": i}`` fixes who is simulated."""
        seed, options = one_seed(seed), reset_options(options)
        super().reset(seed=seed)
        if seed is not None or self.batch.episode[0] < 0:
            self.batch.seed(np.array([draw_key(self.np_random)]))
        self.batch.reset(user=options.get("user"))
        if self._timeline is not None:
            self._timeline.clear()
        return self.batch.observe()[0], {"action_mask": self.action_masks()}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Deliver ``action`` and advance by one slot."""
        index = int(action)
        if not 0 <= index < self._n_actions:
            raise ValueError(f"action {action} is outside 0..{self._n_actions - 1}")
        batch = self.batch
        outcome, propensity = batch.step(np.array([index]))
        reward, terms = rewarded(self.reward, outcome)
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
        if self._timeline is not None:
            self._timeline.add(outcome, 0)
        return batch.observe()[0], float(reward[0]), terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Return which actions are allowed now, (A,) bool (the name that sb3-contrib looks for)."""
        return self.batch.masks()[0].copy()

    def render(self) -> Any:
        """Return the user's timeline as text or as an (H, W, 3) uint8 picture."""
        if self._timeline is None or self.render_mode is None:
            return None
        return self._timeline.render(self.render_mode)


__all__ = ["STATE_NAMES", "DeliveryEnv", "DeliveryVectorEnv"]
