"""copygym: reinforcement learning for personalised marketing copy.

The way of the work, with the names that a notebook needs (``docs/python.md`` has runnable pages):

    log = copygym.ClickLog.read("clicks.csv", columns={"user_id": "customer"})
    fitted = copygym.fit_users(log)                                   # simulated users
    agent = copygym.SB3Agent("ppo")                                   # or one of your own
    agent.learn(copygym.DeliveryVectorEnv(256, users=fitted.users), 100_000, seed=0)
    copygym.evaluate(agent, fitted.users).metrics["ctr"]              # with an interval

More names are in `copygym.envs` (logs, people, environments), `copygym.rewards`, `copygym.agents`,
`copygym.agents.copywriter` and `copygym.evaluation`. All are imported on first use: ``import
copygym`` itself loads none of numpy, polars, gymnasium, torch or hydra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names

if TYPE_CHECKING:
    from copygym import agents as agents
    from copygym import envs as envs
    from copygym import evaluation as evaluation
    from copygym import rewards as rewards
    from copygym.agents.copywriter.models import load_copywriter as load_copywriter
    from copygym.agents.copywriter.training.algorithm import make_algorithm as make_algorithm
    from copygym.agents.copywriter.writer import Copywriter as Copywriter
    from copygym.agents.delivery.base import Agent as Agent
    from copygym.agents.delivery.base import load_agent as load_agent
    from copygym.agents.delivery.sb3 import SB3Agent as SB3Agent
    from copygym.agents.delivery.sb3_env import SB3VecEnv as SB3VecEnv
    from copygym.core.errors import UserError as UserError
    from copygym.core.estimates import Estimate as Estimate
    from copygym.core.version import __version__ as __version__
    from copygym.envs.campaign import CampaignEnv as CampaignEnv
    from copygym.envs.campaign import CampaignVectorEnv as CampaignVectorEnv
    from copygym.envs.copywriting import CopywritingEnv as CopywritingEnv
    from copygym.envs.copywriting import CopywritingVectorEnv as CopywritingVectorEnv
    from copygym.envs.delivery import DeliveryEnv as DeliveryEnv
    from copygym.envs.delivery import DeliveryVectorEnv as DeliveryVectorEnv
    from copygym.envs.logs.catalogue import Catalogue as Catalogue
    from copygym.envs.logs.clicklog import ClickLog as ClickLog
    from copygym.envs.people.model import UserModel as UserModel
    from copygym.envs.profiles.builder import Profiles as Profiles
    from copygym.envs.simulator.fit import fit_users as fit_users
    from copygym.envs.simulator.fitted import FittedUsers as FittedUsers
    from copygym.envs.simulator.population import held_out_users as held_out_users
    from copygym.evaluation.abtest.two_samples import ab_test as ab_test
    from copygym.evaluation.ope.probabilities import off_policy as off_policy
    from copygym.evaluation.simulated import evaluate as evaluate
    from copygym.rewards.copy.shape import CopyRewardShape as CopyRewardShape
    from copygym.rewards.ctr.model import CtrModel as CtrModel
    from copygym.rewards.shapes import RewardShape as RewardShape
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.agents.copywriter.models": ("load_copywriter",),
            "copygym.agents.copywriter.training.algorithm": ("make_algorithm",),
            "copygym.agents.copywriter.writer": ("Copywriter",),
            "copygym.agents.delivery.base": ("Agent", "load_agent"),
            "copygym.agents.delivery.sb3": ("SB3Agent",),
            "copygym.agents.delivery.sb3_env": ("SB3VecEnv",),
            "copygym.core.errors": ("UserError",),
            "copygym.core.estimates": ("Estimate",),
            "copygym.core.version": ("__version__",),
            "copygym.envs.campaign": ("CampaignEnv", "CampaignVectorEnv"),
            "copygym.envs.copywriting": ("CopywritingEnv", "CopywritingVectorEnv"),
            "copygym.envs.delivery": ("DeliveryEnv", "DeliveryVectorEnv"),
            "copygym.envs.logs.catalogue": ("Catalogue",),
            "copygym.envs.logs.clicklog": ("ClickLog",),
            "copygym.envs.people.model": ("UserModel",),
            "copygym.envs.profiles.builder": ("Profiles",),
            "copygym.envs.simulator.fit": ("fit_users",),
            "copygym.envs.simulator.fitted": ("FittedUsers",),
            "copygym.envs.simulator.population": ("held_out_users",),
            "copygym.evaluation.abtest.two_samples": ("ab_test",),
            "copygym.evaluation.ope.probabilities": ("off_policy",),
            "copygym.evaluation.simulated": ("evaluate",),
            "copygym.rewards.copy.shape": ("CopyRewardShape",),
            "copygym.rewards.ctr.model": ("CtrModel",),
            "copygym.rewards.shapes": ("RewardShape",),
        },
        packages=("agents", "envs", "evaluation", "rewards"),
    )
