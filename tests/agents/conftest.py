"""Environments on hand-made users, each of whom likes one of three creatives best."""

import numpy as np
import pytest

from copygym.envs import DeliveryVectorEnv, Dynamics


@pytest.fixture
def make_venv(make_user_model):
    """Return a maker of environments; ``allowed`` and ``logging`` switch on masks, propensities."""

    def make(
        num_envs=64, horizon=8, reward=None, budget=None, masked=False, logging=False, **dynamics
    ):
        fields = {}
        if masked:  # even users may only be reached on channel 0
            allowed = np.ones((40, 7), dtype=bool)
            allowed[::2, 2::2] = False
            fields["allowed"] = allowed
        if logging:
            policy = np.full((40, 2, 7), 0.5 / 6, dtype=np.float32)
            policy[:, :, 0] = 0.5
            fields["logging_policy"] = policy
        users = make_user_model(dynamics=Dynamics(**dynamics), **fields)
        return DeliveryVectorEnv(
            num_envs, users=users, horizon=horizon, reward=reward, budget=budget
        )

    return make


def episode_returns(agent, venv, seed=1000, episodes=4):
    """Return the undiscounted return of each row's first episode after each reset, (M,)."""
    rng = np.random.default_rng(seed)
    agent.bind(venv.users)
    returns = []
    for episode in range(episodes):
        obs, info = venv.reset(seed=seed + episode * venv.num_envs)
        alive, total = np.ones(venv.num_envs, dtype=bool), np.zeros(venv.num_envs)
        for _ in range(venv.horizon):
            state = venv.state if agent.privileged else None
            actions = agent.act(obs, info["action_mask"], rng, state)
            obs, reward, terminated, truncated, info = venv.step(actions)
            total += reward * alive
            alive &= ~(terminated | truncated)
        returns.append(total)
    return np.concatenate(returns)


@pytest.fixture
def returns():
    """The function `episode_returns`."""
    return episode_returns
