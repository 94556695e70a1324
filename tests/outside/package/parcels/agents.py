"""An agent: sends the action that earned most while it tried all, and holds now and then."""

import numpy as np

from copygym.agents.delivery.base import (
    ArrayAgent,
    apply_mask,
    greedy_over,
    mix_uniform,
    same_shapes,
)


class Patient(ArrayAgent):
    """Epsilon-greedy on the mean reward of each action."""

    def __init__(self, name="patient", epsilon=0.1):
        self.name, self.epsilon = name, epsilon
        self._mean = np.zeros(1)

    def settings(self):
        return {"name": self.name, "epsilon": self.epsilon}

    def arrays(self):
        return {"mean": self._mean}

    def set_arrays(self, arrays):
        same_shapes(arrays, (len(arrays["mean"]),), "mean")
        self._mean = arrays["mean"]

    def learn(self, venv, steps, *, seed, on_progress=None):
        rng = np.random.default_rng(seed)
        n_actions = venv.single_action_space.n
        pulls, earned = np.zeros(n_actions), np.zeros(n_actions)
        _, info = venv.reset(seed=seed)
        for _ in range(-(-steps // venv.num_envs)):
            mask = info["action_mask"]
            actions = apply_mask(rng.integers(n_actions, size=venv.num_envs), mask)
            _, reward, _, _, info = venv.step(actions)
            pulls += np.bincount(actions, minlength=n_actions)
            earned += np.bincount(actions, weights=reward, minlength=n_actions)
            if on_progress is not None:
                on_progress(int(pulls.sum()), {"reward": float(earned.sum() / pulls.sum())})
        self._mean = earned / np.maximum(pulls, 1)

    def propensities(self, obs, mask, state=None):
        scores = np.broadcast_to(self._mean, mask.shape)
        return mix_uniform(greedy_over(scores, mask), mask, self.epsilon)
