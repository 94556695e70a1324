"""Policies of Stable-Baselines3: which there are, what they answer, and whether one is plain."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from copygym.core.errors import UserError

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO,
    "maskable_ppo": MaskablePPO,
    "a2c": A2C,
    "dqn": DQN,
}
#: Activations by the names that files hold; a file's name is looked up here and nowhere else.
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}


def n_actions(policy: BasePolicy) -> int:
    """Return how many actions a policy chooses from."""
    space = policy.action_space
    assert isinstance(space, gym.spaces.Discrete)
    return int(space.n)


def scores(algorithm: str, policy: Any, obs: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a policy's probabilities, or DQN's values, of every action, (N, A) float32."""
    with torch.no_grad():
        inputs = torch.as_tensor(obs, device=policy.device)
        if algorithm == "dqn":
            return np.asarray(policy.q_net(inputs).cpu().numpy())
        if algorithm == "maskable_ppo":
            # A copy: torch warns of arrays that it must not write to.
            distribution = policy.get_distribution(inputs, action_masks=np.array(mask))
        else:
            distribution = policy.get_distribution(inputs)
        return np.asarray(distribution.distribution.probs.cpu().numpy())


def algorithm_of(model: BaseAlgorithm) -> str:
    """Return the name of a model's algorithm, if its policy can be an agent's.

    Raises:
        UserError: it cannot.
    """
    kind = type(model).__name__
    name = next((name for name, own in ALGORITHMS.items() if isinstance(model, own)), None)
    if name is None:
        known = ", ".join(own.__name__ for own in ALGORITHMS.values())
        raise UserError(
            f"a {kind} cannot be wrapped: give a model of {known}, or write an Agent whose "
            "propensities ask your model."
        )
    box, actions = model.observation_space, model.action_space
    if not (isinstance(box, gym.spaces.Box) and len(box.shape) == 1):
        raise UserError(
            f"the {kind} observes {box}: train it on an SB3VecEnv, which gives vectors."
        )
    if not isinstance(actions, gym.spaces.Discrete):
        raise UserError(f"the {kind} chooses from {actions}: train it on an SB3VecEnv.")
    normalised = model.get_vec_normalize_env()
    if normalised is not None and normalised.norm_obs:
        raise UserError(
            f"the {kind} was trained on normalised observations, and an agent is shown them as "
            "they are: train it with VecNormalize(env, norm_obs=False)."
        )
    return name


def activation_of(policy: Any, algorithm: str) -> str | None:
    """Return a policy's activation by name; None: the algorithm's own, or one without a name."""
    usual = torch.nn.ReLU if algorithm == "dqn" else torch.nn.Tanh
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    return None if policy.activation_fn is usual else names.get(policy.activation_fn)


def same_network(algorithm: str, policy: Any, plain: BasePolicy) -> bool:
    """Give ``plain`` the weights of ``policy`` and return whether it then answers alike."""
    weights = {key: value.cpu() for key, value in policy.state_dict().items()}
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    if {key: value.shape for key, value in weights.items()} != shapes:
        return False
    plain.load_state_dict(weights)
    size, number = policy.observation_space.shape[0], n_actions(policy)
    obs = np.random.default_rng(0).normal(size=(16, size)).astype(np.float32)
    mask = np.ones((16, number), dtype=bool)
    ours, theirs = (scores(algorithm, one, obs, mask) for one in (plain, policy))
    return bool(np.allclose(ours, theirs, rtol=1e-4, atol=1e-5))
