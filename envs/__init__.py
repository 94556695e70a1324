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
    from copygym.core.errors import UserError as UserError
    from copygym.envs.campaign import CampaignEnv as CampaignEnv
    from copygym.envs.campaign import CampaignVectorEnv as CampaignVectorEnv
    from copygym.envs.copywriting import CopywritingEnv as CopywritingEnv
    from copygym.envs.copywriting import CopywritingVectorEnv as CopywritingVectorEnv
    from copygym.envs.delivery import DeliveryEnv as DeliveryEnv
    from copygym.envs.delivery import DeliveryVectorEnv as DeliveryVectorEnv
    from copygym.envs.logs.catalogue import HOLD as HOLD
    from copygym.envs.logs.catalogue import Catalogue as Catalogue
    from copygym.envs.logs.clicklog import ClickLog as ClickLog
    from copygym.envs.people.model import Dynamics as Dynamics
    from copygym.envs.people.model import UserModel as UserModel
    from copygym.envs.people.outcome import Outcome as Outcome
    from copygym.envs.people.outcome import RewardShape as RewardShape
    from copygym.envs.profiles.builder import ProfileBuilder as ProfileBuilder
    from copygym.envs.profiles.builder import Profiles as Profiles

_HOME = {
    "CampaignEnv": "copygym.envs.campaign",
    "CampaignVectorEnv": "copygym.envs.campaign",
    "Catalogue": "copygym.envs.logs.catalogue",
    "ClickLog": "copygym.envs.logs.clicklog",
    "CopywritingEnv": "copygym.envs.copywriting",
    "CopywritingVectorEnv": "copygym.envs.copywriting",
    "DeliveryEnv": "copygym.envs.delivery",
    "DeliveryVectorEnv": "copygym.envs.delivery",
    "Dynamics": "copygym.envs.people.model",
    "HOLD": "copygym.envs.logs.catalogue",
    "Outcome": "copygym.envs.people.outcome",
    "ProfileBuilder": "copygym.envs.profiles.builder",
    "Profiles": "copygym.envs.profiles.builder",
    "RewardShape": "copygym.envs.people.outcome",
    "UserError": "copygym.core.errors",
    "UserModel": "copygym.envs.people.model",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'copygym.envs' has no attribute {name!r}")


register_environments()
