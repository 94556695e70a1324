"""Click logs, profiles, simulated users and Gymnasium environments.

Names are imported on first use, so that ``import copygym.envs`` stays cheap. The import also
registers the environments, so that an id with the module in front of it works in any process
(``gym.make("copygym.envs:copygym/Delivery-v0")``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names
from copygym.envs.registration import register_environments

if TYPE_CHECKING:
    from copygym.core.errors import UserError as UserError
    from copygym.envs import datasets as datasets
    from copygym.envs.base import default_users as default_users
    from copygym.envs.campaign import CampaignEnv as CampaignEnv
    from copygym.envs.campaign import CampaignVectorEnv as CampaignVectorEnv
    from copygym.envs.copywriting import CopywritingEnv as CopywritingEnv
    from copygym.envs.copywriting import CopywritingVectorEnv as CopywritingVectorEnv
    from copygym.envs.copywriting import draw_tasks as draw_tasks
    from copygym.envs.delivery import DeliveryEnv as DeliveryEnv
    from copygym.envs.delivery import DeliveryVectorEnv as DeliveryVectorEnv
    from copygym.envs.logs.catalogue import HOLD as HOLD
    from copygym.envs.logs.catalogue import Catalogue as Catalogue
    from copygym.envs.logs.clicklog import ClickLog as ClickLog
    from copygym.envs.logs.from_log import catalogue_from_log as catalogue_from_log
    from copygym.envs.people.dynamics import Dynamics as Dynamics
    from copygym.envs.people.model import CopyResponse as CopyResponse
    from copygym.envs.people.model import Response as Response
    from copygym.envs.people.model import UserModel as UserModel
    from copygym.envs.people.outcome import Outcome as Outcome
    from copygym.envs.people.outcome import RewardFunction as RewardFunction
    from copygym.envs.profiles.builder import ProfileBuilder as ProfileBuilder
    from copygym.envs.profiles.builder import Profiles as Profiles
    from copygym.envs.simulator.fidelity import FidelityCard as FidelityCard
    from copygym.envs.simulator.fit import fit_users as fit_users
    from copygym.envs.simulator.fitted import FittedUsers as FittedUsers
    from copygym.envs.simulator.fitted import load_users as load_users
    from copygym.envs.simulator.fitted import save_users as save_users
    from copygym.envs.simulator.population import held_out_users as held_out_users
    from copygym.envs.simulator.population import simulate as simulate
    from copygym.envs.tasks import CopyReward as CopyReward
    from copygym.envs.tasks import CopyRows as CopyRows
    from copygym.envs.tasks import copy_rows as copy_rows
    from copygym.envs.tasks import score_copy as score_copy
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.core.errors": ("UserError",),
            "copygym.envs.base": ("default_users",),
            "copygym.envs.campaign": ("CampaignEnv", "CampaignVectorEnv"),
            "copygym.envs.copywriting": ("CopywritingEnv", "CopywritingVectorEnv", "draw_tasks"),
            "copygym.envs.delivery": ("DeliveryEnv", "DeliveryVectorEnv"),
            "copygym.envs.logs.catalogue": ("HOLD", "Catalogue"),
            "copygym.envs.logs.clicklog": ("ClickLog",),
            "copygym.envs.logs.from_log": ("catalogue_from_log",),
            "copygym.envs.people.dynamics": ("Dynamics",),
            "copygym.envs.people.model": ("CopyResponse", "Response", "UserModel"),
            "copygym.envs.people.outcome": ("Outcome", "RewardFunction"),
            "copygym.envs.profiles.builder": ("ProfileBuilder", "Profiles"),
            "copygym.envs.simulator.fidelity": ("FidelityCard",),
            "copygym.envs.simulator.fit": ("fit_users",),
            "copygym.envs.simulator.fitted": ("FittedUsers", "load_users", "save_users"),
            "copygym.envs.simulator.population": ("held_out_users", "simulate"),
            "copygym.envs.tasks": ("CopyReward", "CopyRows", "copy_rows", "score_copy"),
        },
        packages=("datasets",),
    )

register_environments()
