"""What the environments share: checked seeds and options, episode keys, info and the timeline."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode

from copygym.core.errors import UserError, unknown_name
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import Outcome
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


class Seeded(Protocol):
    """Simulated users whose episodes follow from base keys (`UserBatch`, or campaigns of them)."""

    @property
    def has_keys(self) -> bool:
        """Whether an episode has begun."""
        ...

    def seed(self, base_key: np.ndarray) -> None:
        """Give every row a base key, uint64."""
        ...


class _Rendered:
    """The timeline of the first user, which every environment draws in the same way."""

    def _set_up(self, users: UserModel | None, render_mode: str | None, slots: int) -> None:
        """Take the users, a small storefront where None, and a timeline of ``slots`` to draw."""
        self.users = default_users() if users is None else users
        self.render_mode = render_mode
        self._timeline = Timeline(self.users.catalogue, slots) if render_mode else None

    def _record(self, outcome: Outcome, text: str = "") -> None:
        if self._timeline is not None:
            self._timeline.add(outcome, 0, text)

    def _clear_timeline(self) -> None:
        if self._timeline is not None:
            self._timeline.clear()

    def render(self) -> Any:
        """Return the first user's timeline as text or as an (H, W, 3) uint8 picture."""
        if self._timeline is None or self.render_mode is None:
            return None
        return self._timeline.render(self.render_mode)


class SimulatedEnv(_Rendered, gym.Env[ObsType, ActType], Generic[ObsType, ActType]):
    """A single environment on simulated users."""

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def _seed(self, seed: Any, users: Seeded) -> None:
        """Take a reset's seed; None goes on with the next episode of the key that is there."""
        seed = one_seed(seed)
        gym.Env.reset(self, seed=seed)
        if seed is not None or not users.has_keys:
            users.seed(np.array([draw_key(self.np_random)]))


class SimulatedVectorEnv(
    _Rendered, gym.vector.VectorEnv[ObsType, ActType, np.ndarray], Generic[ObsType, ActType]
):
    """An environment on simulated users, N at a time; an ended row starts in the same step."""

    metadata = SimulatedEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def _seed(self, seed: Any, users: Seeded) -> None:
        """Take a reset's seeds (`draw_keys`); None goes on with each row's next episode."""
        seed = seeds_of(seed, self.num_envs)
        gym.vector.VectorEnv.reset(self, seed=seed if isinstance(seed, int) else None)
        if seed is not None or not users.has_keys:
            users.seed(draw_keys(seed, self.num_envs, self.np_random))
