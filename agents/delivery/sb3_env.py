"""Stable-Baselines3's vector interface over the native vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv


class SB3VecEnv(VecEnv):
    """Presents a `DeliveryVectorEnv` as an SB3 `VecEnv`.

    One call steps all rows; there is no loop over environments but the one over rows whose
    episode ended. Those get an info of their own with ``terminal_observation``,
    ``TimeLimit.truncated`` and ``episode`` (return ``r``, length ``l``); all others share one
    empty dict, which nobody may write to. `sb3_contrib` finds ``action_masks``.

    Args:
        venv: the environment; resets itself in the same step (SAME_STEP).
        bootstrap: report the horizon as a time limit, so that SB3 adds the value of the state
            beyond it. False reports the horizon as the end that it is: the observation holds the
            time left, so the value beyond is 0 by definition and never trained (Pardo et al.
            2018, "Time limits in reinforcement learning").
    """

    def __init__(self, venv: DeliveryVectorEnv, bootstrap: bool = True) -> None:
        self.venv, self.bootstrap = venv, bootstrap
        observation_space = venv.single_observation_space
        super().__init__(venv.num_envs, observation_space, venv.single_action_space)
        self._actions = np.zeros(venv.num_envs, dtype=np.int64)
        self._empty: dict[str, Any] = {}
        self._returns = np.zeros(venv.num_envs)
        self._lengths = np.zeros(venv.num_envs, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Start an episode in every row, with the seeds and options that were set before."""
        seeds = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        users = [options.get("user") for options in self._options]
        fixed = {"user": np.array(users)} if all(user is not None for user in users) else None
        obs, _ = self.venv.reset(seed=seeds, options=fixed)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all rows."""
        obs, reward, terminated, truncated, info = self.venv.step(self._actions)
        self._returns += reward
        self._lengths += 1
        done = terminated | truncated
        infos = [self._empty] * self.num_envs
        rows = np.flatnonzero(done)
        if rows.size:
            final = info["final_obs"]
            for i in rows.tolist():
                infos[i] = {
                    "terminal_observation": final[i],
                    "TimeLimit.truncated": self.bootstrap and bool(truncated[i]),
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                }
            self._returns[rows] = 0.0
            self._lengths[rows] = 0
        return obs, reward.astype(np.float32), done, infos

    def action_masks(self) -> np.ndarray:
        """Return which actions each row may take now, (N, A) bool."""
        return self.venv.action_masks()

    def close(self) -> None:
        """Leave the environment open: whoever made it closes it."""

    def _rows(self, indices: int | Sequence[int] | np.ndarray | None) -> list[int]:
        return list(self._get_indices(indices))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the environment's attribute once a row."""
        owner = self if attr_name == "action_masks" else self.venv
        return [getattr(owner, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, which all rows share."""
        if len(self._rows(indices)) != self.num_envs:
            raise ValueError(f"{attr_name!r} is shared by all rows and cannot be set for a few")
        setattr(self.venv, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment that returns one value a row."""
        values = getattr(self.venv, method_name)(*method_args, **method_kwargs)
        return [values[i] for i in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """Return False for every row: there are no single environments to wrap.

        SB3 asks whether a Monitor is there; the infos above already carry what a Monitor adds.
        """
        return [False] * len(self._rows(indices))
