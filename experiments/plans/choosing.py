"""What a policy sends to people in the next decisions, with the chance that it would.

A person gets at most one message of a plan: the policy is asked decision by decision as at the
beginning of an episode, until it sends. So the chance of a choice is that of holding in the
decisions before it times that of the action, exactly, which is what the next round's off-policy
estimates need.

Axes: N people, T decisions, A actions, K places, H channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copygym.agents.delivery.base import mix_uniform, sample_actions
from copygym.core.errors import UserError
from copygym.envs.people.kernel import STATE_NAMES
from copygym.envs.profiles.builder import Profiles
from copygym.experiments.plans.saved import SavedPolicy

#: People who are asked about at once.
CHUNK = 32_768


@dataclass(frozen=True)
class Choices:
    """What is sent to N people, if anything.

    Attributes:
        decision: (N,) int64 decision in which something is sent; -1 for nobody's.
        action: (N,) int64 action; 0 where nothing is sent.
        propensity: (N,) float64 chance of what was chosen, or of sending nothing.
        probability: (N,) float64 predicted click probability; nan where nothing is sent.
    """

    decision: np.ndarray
    action: np.ndarray
    propensity: np.ndarray
    probability: np.ndarray


def choose(
    policy: SavedPolicy,
    profiles: Profiles,
    slots: np.ndarray,
    *,
    allowed_NTH: np.ndarray | None = None,
    kept_back: np.ndarray | None = None,
    explore: float = 0.0,
    seed: int = 0,
    on_people: Callable[[int], None] | None = None,
) -> Choices:
    """Return what a policy sends to people.

    Args:
        policy: to ask.
        profiles: N people, made by the policy's profile builder.
        slots: (T,) int64 slot of each decision, T at most the policy's horizon.
        allowed_NTH: bool, whether a channel is open to a person in a decision; None: all are.
        kept_back: (N,) bool, to whom nothing is sent whatever the policy would; their propensity is
            the policy's own of sending nothing.
        explore: share of decisions that are drawn at random among what is allowed, hold included.
        seed: of the draws.
        on_people: called with how many people were asked about.

    Raises:
        UserError: the policy looks at the simulator's state, which real people do not have.
    """
    if policy.agent.privileged:
        raise UserError(
            f"the policy {policy.name} looks at the simulated state of people, which real people "
            "do not show; deliver an agent that has learned."
        )
    n = len(profiles)
    found = Choices(np.full(n, -1, np.int64), np.zeros(n, np.int64), np.ones(n), np.full(n, np.nan))
    channel = policy.catalogue.channel_of_action
    for start in range(0, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n))
        rng = np.random.default_rng([seed, start])
        waiting = rows
        for t, slot in enumerate(slots.tolist()):
            if not len(waiting):
                break
            seen = _first_observation(policy, profiles.features[waiting], slot, t)
            mask = np.ones((len(waiting), policy.catalogue.n_actions), dtype=bool)
            if allowed_NTH is not None:
                mask[:, 1:] = allowed_NTH[waiting, t][:, channel[1:]]
            chances = mix_uniform(policy.agent.propensities(seen, mask), mask, explore)
            drawn = sample_actions(chances, rng)
            if kept_back is not None:
                drawn[kept_back[waiting]] = 0
            found.propensity[waiting] *= chances[np.arange(len(waiting)), drawn]
            sent = drawn > 0
            found.action[waiting[sent]], found.decision[waiting[sent]] = drawn[sent], t
            waiting = waiting[~sent]
        sends = rows[found.decision[rows] >= 0]
        found.probability[sends] = click_probability(
            policy, profiles, sends, found.action[sends], slots[found.decision[sends]]
        )
        if on_people is not None:
            on_people(len(rows))
    return found


def _first_observation(
    policy: SavedPolicy, features: np.ndarray, slot: int, made: int
) -> np.ndarray:
    """Return (n, D) float32 in the layout of `DeliveryEnv`, of people to whom nothing was sent."""
    catalogue = policy.catalogue
    state = dict.fromkeys(STATE_NAMES, 0.0) | {
        "time_left": 1.0 - made / policy.horizon,
        "budget_left": 1.0,
        "since_last_send": 1.0,
    }
    rest = np.concatenate(
        [
            np.eye(catalogue.n_slots)[slot],
            [state[name] for name in STATE_NAMES],
            np.zeros(catalogue.n_creatives),
        ]
    ).astype(np.float32)
    return np.concatenate([features, np.broadcast_to(rest, (len(features), len(rest)))], axis=1)


def click_probability(
    policy: SavedPolicy,
    profiles: Profiles,
    rows: np.ndarray,
    action: np.ndarray,
    slot: np.ndarray,
) -> np.ndarray:
    """Return (M,) what the fitted users click of the evidence that speaks for each choice.

    For copy that was never sent that is what its product's logged copy is clicked.
    """
    if not len(rows):
        return np.empty(0)
    fitted, catalogue = policy.fitted, policy.catalogue
    old = fitted.users.catalogue
    place = catalogue.creative_of_action[action]
    source = policy.creatives.source_AK[_audience(policy, profiles, rows), place]
    logged = 1 + source * old.n_channels + catalogue.channel_of_action[action]
    cells = fitted.response.encoder.cells().take(slot * old.n_actions + logged)
    logit = fitted.response.layer.apply(
        fitted.click_model.logit(profiles.features[rows], cells)
    ).astype(np.float64)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def _audience(policy: SavedPolicy, profiles: Profiles, rows: np.ndarray) -> np.ndarray:
    if len(policy.creatives.audiences) == 1:
        return np.zeros(len(rows), dtype=np.int64)
    return profiles.audience_of(rows)


__all__ = ["CHUNK", "Choices", "choose", "click_probability"]
