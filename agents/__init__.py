"""Delivery agents: bandits, contextual bandits, Stable-Baselines3 and upper references.

Names are imported on first use, so that an agent without neural networks never imports torch. The
writers of copy are in `copygym.agents.copywriter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names

if TYPE_CHECKING:
    from copygym.agents import copywriter as copywriter
    from copygym.agents.delivery.bandits import BestFixedAgent as BestFixedAgent
    from copygym.agents.delivery.bandits import EpsilonGreedyAgent as EpsilonGreedyAgent
    from copygym.agents.delivery.bandits import LoggingAgent as LoggingAgent
    from copygym.agents.delivery.bandits import UCB1Agent as UCB1Agent
    from copygym.agents.delivery.bandits import UniformAgent as UniformAgent
    from copygym.agents.delivery.base import Agent as Agent
    from copygym.agents.delivery.base import ArrayAgent as ArrayAgent
    from copygym.agents.delivery.base import load_agent as load_agent
    from copygym.agents.delivery.base import sample_actions as sample_actions
    from copygym.agents.delivery.linear import LinearTSAgent as LinearTSAgent
    from copygym.agents.delivery.linear import LinUCBAgent as LinUCBAgent
    from copygym.agents.delivery.logistic import LogisticTSAgent as LogisticTSAgent
    from copygym.agents.delivery.moving import DiscountedLinUCBAgent as DiscountedLinUCBAgent
    from copygym.agents.delivery.moving import SlidingWindowLinUCBAgent as SlidingWindowLinUCBAgent
    from copygym.agents.delivery.planner import PlannerAgent as PlannerAgent
    from copygym.agents.delivery.sb3 import SB3Agent as SB3Agent
    from copygym.agents.delivery.sb3_env import SB3VecEnv as SB3VecEnv
    from copygym.agents.delivery.schedule import ScheduleAgent as ScheduleAgent
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.agents.delivery.bandits": (
                "BestFixedAgent",
                "EpsilonGreedyAgent",
                "LoggingAgent",
                "UCB1Agent",
                "UniformAgent",
            ),
            "copygym.agents.delivery.base": ("Agent", "ArrayAgent", "load_agent", "sample_actions"),
            "copygym.agents.delivery.linear": ("LinUCBAgent", "LinearTSAgent"),
            "copygym.agents.delivery.logistic": ("LogisticTSAgent",),
            "copygym.agents.delivery.moving": (
                "DiscountedLinUCBAgent",
                "SlidingWindowLinUCBAgent",
            ),
            "copygym.agents.delivery.planner": ("PlannerAgent",),
            "copygym.agents.delivery.sb3": ("SB3Agent",),
            "copygym.agents.delivery.sb3_env": ("SB3VecEnv",),
            "copygym.agents.delivery.schedule": ("ScheduleAgent",),
        },
        packages=("copywriter",),
    )
