"""Click logs, profiles, simulated users and Gymnasium environments.

Names are imported on first use, so that ``import copygym.envs`` stays cheap. The import also
registers the environments, so that an id with the module in front of it works in any process
(``gym.make("copygym.envs:copygym/Delivery-v0")``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from copygym.envs.registration import register_environments

if TYPE_CHECKING:
    from copygym.envs.campaign import CampaignEnv as CampaignEnv
    from copygym.envs.campaign import CampaignVectorEnv as CampaignVectorEnv
    from copygym.envs.catalogue import HOLD as HOLD
    from copygym.envs.catalogue import Catalogue as Catalogue
    from copygym.envs.clicklog import ClickLog as ClickLog
    from copygym.envs.copywriting import CopywritingEnv as CopywritingEnv
    from copygym.envs.copywriting import CopywritingVectorEnv as CopywritingVectorEnv
    from copygym.envs.delivery import DeliveryEnv as DeliveryEnv
    from copygym.envs.delivery import DeliveryVectorEnv as DeliveryVectorEnv
    from copygym.envs.errors import UserError as UserError
    from copygym.envs.outcome import Outcome as Outcome
    from copygym.envs.outcome import RewardShape as RewardShape
    from copygym.envs.profiles import ProfileBuilder as ProfileBuilder
    from copygym.envs.profiles import Profiles as Profiles
    from copygym.envs.users import Dynamics as Dynamics
    from copygym.envs.users import UserModel as UserModel

_HOME = {
    "CampaignEnv": "campaign",
    "CampaignVectorEnv": "campaign",
    "Catalogue": "catalogue",
    "ClickLog": "clicklog",
    "CopywritingEnv": "copywriting",
    "CopywritingVectorEnv": "copywriting",
    "DeliveryEnv": "delivery",
    "DeliveryVectorEnv": "delivery",
    "Dynamics": "users",
    "HOLD": "catalogue",
    "Outcome": "outcome",
    "ProfileBuilder": "profiles",
    "Profiles": "profiles",
    "RewardShape": "outcome",
    "UserError": "errors",
    "UserModel": "users",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"copygym.envs.{_HOME[name]}"), name)
    raise AttributeError(f"module 'copygym.envs' has no attribute {name!r}")


register_environments()
