"""Stable-Baselines3's vector interface over the native vector environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from copygym.core.errors import UserError

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv


class SB3VecEnv(VecEnv):
    """Presents a `DeliveryVectorEnv` as an SB3 `VecEnv`.

    One call steps all rows; there is no loop over environments but the one over rows whose
    episode ended. Those get an info of their own with ``terminal_observation``,
    ``TimeLimit.truncated`` and ``episode`` (return ``r``, length ``l``); all others share one
    empty dict, which nobody may write to. `sb3_contrib` finds ``action_masks``.

    torch works on one thread while the environment is open, and on as many as before after
    `close`: policies and batches of this size are so small that threads wait for each other more
    than they help (on two busy cores, learning took ten times the CPU time), and results depend on
    the number of threads.

    Args:
        venv: the environment; resets itself in the same step (SAME_STEP).
        bootstrap_at_horizon: report the horizon as a time limit, so that SB3 adds the value of the
            state beyond it. False, as for `SB3Agent`, reports the horizon as the end that it is:
            the observation holds the time left, so the value beyond is 0 by definition and never
            trained (Pardo et al. 2018, "Time limits in reinforcement learning").
        threads: how many threads torch uses in this process until `close`; 0 leaves the number as
            it is. None is 1, unless the variable ``OMP_NUM_THREADS`` already says how many.

    Raises:
        UserError: a negative number of threads.
    """

    def __init__(
        self,
        venv: DeliveryVectorEnv,
        bootstrap_at_horizon: bool = False,
        threads: int | None = None,
    ) -> None:
        self.venv, self.bootstrap_at_horizon = venv, bool(bootstrap_at_horizon)
        self._threads = _TorchThreads(_sensible() if threads is None else threads)
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
                    "TimeLimit.truncated": self.bootstrap_at_horizon and bool(truncated[i]),
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                }
            self._returns[rows] = 0.0
            self._lengths[rows] = 0
        return obs, reward.astype(np.float32), done, infos

    def action_masks(self) -> np.ndarray:
        """Return which actions each row may take now, (N, A) bool."""
        return self.venv.action_masks()

    def close(self) -> None:
        """Give torch its threads back; the environment stays open for whoever made it."""
        self._threads.restore()

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


def _sensible() -> int:
    """Return how many threads torch is to use where nobody says; 0 leaves them as they are."""
    return 0 if os.environ.get("OMP_NUM_THREADS") else 1


class _TorchThreads:
    """Sets torch's threads, and gives back what it changed, once and in any order of several."""

    def __init__(self, number: int) -> None:
        if number < 0:
            raise UserError(f"threads is {number}; give 1 or more, or 0 to leave torch's as it is.")
        self._before: int | None = None
        if number and number != torch.get_num_threads():
            self._before = torch.get_num_threads()
            torch.set_num_threads(number)

    def restore(self) -> None:
        """Set the earlier number, if this changed it and did not give it back yet."""
        if self._before is not None:
            torch.set_num_threads(self._before)
            self._before = None
