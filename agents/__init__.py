"""Delivery agents: bandits, contextual bandits, Stable-Baselines3 and upper references.

Names are imported on first use, so that an agent without neural networks never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copygym.agents.bandits import BestFixedAgent as BestFixedAgent
    from copygym.agents.bandits import EpsilonGreedyAgent as EpsilonGreedyAgent
    from copygym.agents.bandits import LoggingAgent as LoggingAgent
    from copygym.agents.bandits import UCB1Agent as UCB1Agent
    from copygym.agents.bandits import UniformAgent as UniformAgent
    from copygym.agents.base import Agent as Agent
    from copygym.agents.base import load_agent as load_agent
    from copygym.agents.base import sample_actions as sample_actions
    from copygym.agents.linear import LinearTSAgent as LinearTSAgent
    from copygym.agents.linear import LinUCBAgent as LinUCBAgent
    from copygym.agents.logistic import LogisticTSAgent as LogisticTSAgent
    from copygym.agents.planner import PlannerAgent as PlannerAgent
    from copygym.agents.sb3 import SB3Agent as SB3Agent
    from copygym.agents.sb3_env import SB3VecEnv as SB3VecEnv
    from copygym.agents.schedule import ScheduleAgent as ScheduleAgent

_HOME = {
    "Agent": "base",
    "BestFixedAgent": "bandits",
    "EpsilonGreedyAgent": "bandits",
    "LinUCBAgent": "linear",
    "LinearTSAgent": "linear",
    "LoggingAgent": "bandits",
    "LogisticTSAgent": "logistic",
    "PlannerAgent": "planner",
    "SB3Agent": "sb3",
    "SB3VecEnv": "sb3_env",
    "ScheduleAgent": "schedule",
    "UCB1Agent": "bandits",
    "UniformAgent": "bandits",
    "load_agent": "base",
    "sample_actions": "base",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"copygym.agents.{_HOME[name]}"), name)
    raise AttributeError(f"module 'copygym.agents' has no attribute {name!r}")
