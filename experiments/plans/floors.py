"""Sends that a floor asks for beyond what the policy wishes: whom they cost least.

Axes: N people, T decisions, H channels.
"""

from __future__ import annotations

import numpy as np

from copygym.core.errors import unknown_name
from copygym.envs.profiles.builder import Profiles
from copygym.envs.rules.rules import Rules
from copygym.experiments.plans.choosing import CHUNK, Choices, click_probability
from copygym.experiments.plans.saved import SavedPolicy


def check_floors(policy: SavedPolicy, rules: Rules) -> None:
    """Refuse a floor for a product that the policy cannot send.

    Raises:
        UserError: there is one.
    """
    for product in rules.min_exposure:
        if product not in policy.catalogue.product_ids:
            known = sorted(set(policy.catalogue.product_ids))
            raise unknown_name("product of min_exposure that the policy can send", product, known)


def best_sends(
    policy: SavedPolicy,
    profiles: Profiles,
    product: str,
    slots: np.ndarray,
    open_NTH: np.ndarray,
) -> Choices:
    """Return, for everybody, the send of a product that is clicked most among those that are open.

    The chance of such a send is not known (nan), because no policy drew it.

    Args:
        policy: whose copy and click model are used.
        profiles: N people.
        product: to send.
        slots: (T,) int64 slot of each decision.
        open_NTH: bool, what may be sent to whom.
    """
    catalogue = policy.catalogue
    is_product = np.array([one == product for one in catalogue.product_ids])
    actions = np.flatnonzero(
        (catalogue.creative_of_action >= 0)
        & is_product[np.maximum(catalogue.creative_of_action, 0)]
    )
    n = len(profiles)
    best = Choices(np.full(n, -1, np.int64), np.zeros(n, np.int64), np.full(n, np.nan),
                   np.full(n, np.nan))  # fmt: skip
    for start in range(0, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n))
        for t, slot in enumerate(slots.tolist()):
            for action in actions.tolist():
                some = rows[open_NTH[rows, t, catalogue.channel_of_action[action]]]
                found = click_probability(
                    policy, profiles, some, np.full(len(some), action), np.full(len(some), slot)
                )
                more = some[~(best.probability[some] >= found)]
                best.probability[more] = found[np.isin(some, more, assume_unique=True)]
                best.action[more], best.decision[more] = action, t
    return best


__all__ = ["best_sends", "check_floors"]
