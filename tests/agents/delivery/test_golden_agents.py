"""What agents learn in a few seconds, as tests/golden holds it."""

import numpy as np
import pytest

from copygym.agents import LinUCBAgent, LogisticTSAgent, SB3Agent

AGENTS = {
    "linucb": (LinUCBAgent, {}, 1536),
    "logistic_ts": (LogisticTSAgent, {"draws": 4}, 1536),
    "maskable_ppo": (
        SB3Agent,
        {
            "algorithm": "maskable_ppo",
            "hyperparameters": {"learning_rate": 5e-3},
            "net_arch": [16],
            "deterministic": False,
        },
        2048,
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_golden_agent(golden, make_venv, name):
    kind, options, steps = AGENTS[name]
    venv = make_venv(num_envs=32, horizon=8, masked=True, unsubscribe_logit=-3.0)
    agent, curve = kind(**options), []
    agent.learn(venv, steps, seed=3, on_progress=lambda done, m: curve.append([done, m["reward"]]))
    agent.bind(venv.users)
    observation, info = venv.reset(seed=11)
    before = agent.propensities(observation, info["action_mask"])
    actions, clicks, rewards = [], [], 0.0
    rng = np.random.default_rng(5)
    for _ in range(venv.horizon):
        chosen = agent.act(observation, info["action_mask"], rng)
        observation, reward, _, _, info = venv.step(chosen)
        actions.append(np.bincount(chosen, minlength=7).tolist())
        clicks.append(int(info["outcome"].click.sum()))
        rewards += float(reward.sum())
    golden(
        name,
        {
            "learning_curve": curve[:: max(1, len(curve) // 8)],
            "greedy_actions": before.argmax(axis=1).tolist(),
            "propensities": before[:4].tolist(),
            "actions_by_slot": actions,
            "clicks_by_slot": clicks,
            "reward": rewards,
            **weights(agent),
        },
    )


def weights(agent):
    """Return the learned weights, bandits' and networks', as a few numbers."""
    if isinstance(agent, SB3Agent):
        state = agent.policy.state_dict()
        return {"norms": {name: float(value.norm()) for name, value in state.items()}}
    return {"theta": agent.theta[:12].tolist(), "theta_norm": float(np.linalg.norm(agent.theta))}
