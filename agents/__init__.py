"""Delivery agents: bandits, contextual bandits, Stable-Baselines3 and upper references.

Names are imported on first use, so that an agent without neural networks never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copygym.agents.delivery.bandits import BestFixedAgent as BestFixedAgent
    from copygym.agents.delivery.bandits import EpsilonGreedyAgent as EpsilonGreedyAgent
    from copygym.agents.delivery.bandits import LoggingAgent as LoggingAgent
    from copygym.agents.delivery.bandits import UCB1Agent as UCB1Agent
    from copygym.agents.delivery.bandits import UniformAgent as UniformAgent
    from copygym.agents.delivery.base import Agent as Agent
    from copygym.agents.delivery.base import load_agent as load_agent
    from copygym.agents.delivery.base import sample_actions as sample_actions
    from copygym.agents.delivery.linear import LinearTSAgent as LinearTSAgent
    from copygym.agents.delivery.linear import LinUCBAgent as LinUCBAgent
    from copygym.agents.delivery.logistic import LogisticTSAgent as LogisticTSAgent
    from copygym.agents.delivery.planner import PlannerAgent as PlannerAgent
    from copygym.agents.delivery.sb3 import SB3Agent as SB3Agent
    from copygym.agents.delivery.sb3_env import SB3VecEnv as SB3VecEnv
    from copygym.agents.delivery.schedule import ScheduleAgent as ScheduleAgent

_HOME = {
    "Agent": "copygym.agents.delivery.base",
    "BestFixedAgent": "copygym.agents.delivery.bandits",
    "EpsilonGreedyAgent": "copygym.agents.delivery.bandits",
    "LinUCBAgent": "copygym.agents.delivery.linear",
    "LinearTSAgent": "copygym.agents.delivery.linear",
    "LoggingAgent": "copygym.agents.delivery.bandits",
    "LogisticTSAgent": "copygym.agents.delivery.logistic",
    "PlannerAgent": "copygym.agents.delivery.planner",
    "SB3Agent": "copygym.agents.delivery.sb3",
    "SB3VecEnv": "copygym.agents.delivery.sb3_env",
    "ScheduleAgent": "copygym.agents.delivery.schedule",
    "UCB1Agent": "copygym.agents.delivery.bandits",
    "UniformAgent": "copygym.agents.delivery.bandits",
    "load_agent": "copygym.agents.delivery.base",
    "sample_actions": "copygym.agents.delivery.base",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'copygym.agents' has no attribute {name!r}")
