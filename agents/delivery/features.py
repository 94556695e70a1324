"""The feature map of the linear agents: one context per user, one set of weights per action.

An action's features are copies of parts of one context vector u = [1, profile, slot, state, own],
where ``own`` is the log of earlier sends of that action's creative. Each block of copies is
shared by a group of actions, which is how what is learned from one send helps others:

| block | group | columns copied |
|---|---|---|
| action | each send | 1 |
| creative | each creative | 1, profile |
| topic | each topic | profile |
| channel | each channel | 1, profile, slot |
| send | all sends | 1, profile, slot, state, own |
| hold | hold | 1, profile, slot, state |

Every action therefore acts on u through its own small matrix, and nothing of size d (the number
of weights) is ever formed for a row: scores are ``u @ Theta`` with Theta (c, A), and the Gram
matrix of all data is assembled from one c x c matrix per action. That is exact and makes a step
of 1,024 users cost the same for ten weights as for a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from copygym.envs.campaign import CampaignVectorEnv
    from copygym.envs.delivery import DeliveryVectorEnv

_N_STATE = 7


@dataclass(frozen=True)
class FeatureMap:
    """Sizes of the observation and the grouping of actions.

    Axes: N rows, A actions, c entries of the context (``own`` last), d weights.

    Attributes:
        n_profile: P.
        n_slots: S.
        n_channels: H.
        topic_of_creative: (K,) int64.
    """

    n_profile: int
    n_slots: int
    n_channels: int
    topic_of_creative: np.ndarray

    @classmethod
    def of(cls, venv: DeliveryVectorEnv | CampaignVectorEnv) -> FeatureMap:
        """Return the map that fits an environment's observations and actions."""
        catalogue = venv.users.catalogue
        layout = venv.observation_layout
        n_profile = layout["profile"].stop - layout["profile"].start
        topics = np.asarray(catalogue.topic_of_creative, dtype=np.int64)
        return cls(n_profile, catalogue.n_slots, catalogue.n_channels, topics)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> FeatureMap:
        """Return the map that `arrays` described."""
        n_profile, n_slots, n_channels = (int(size) for size in arrays["sizes"])
        return cls(n_profile, n_slots, n_channels, arrays["topic_of_creative"])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the map as arrays, for saving."""
        sizes = np.array([self.n_profile, self.n_slots, self.n_channels])
        return {"sizes": sizes, "topic_of_creative": self.topic_of_creative}

    def same_as(self, other: FeatureMap) -> bool:
        """Return whether weights of one map fit the other."""
        ours, theirs = self.arrays(), other.arrays()
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)

    @property
    def n_creatives(self) -> int:
        """K."""
        return len(self.topic_of_creative)

    @property
    def n_actions(self) -> int:
        """A = 1 + K * H."""
        return 1 + self.n_creatives * self.n_channels

    @property
    def context_size(self) -> int:
        """c = 1 + P + S + 7 + 1."""
        return 2 + self.n_profile + self.n_slots + _N_STATE

    @cached_property
    def creative_of_send(self) -> np.ndarray:
        """(A - 1,) int64."""
        return np.repeat(np.arange(self.n_creatives), self.n_channels)

    @cached_property
    def _blocks(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Blocks of sends: group of each send (A - 1,), columns copied, ridge multiplier."""
        one = np.array([0])
        profile = 1 + np.arange(self.n_profile)
        slot = 1 + self.n_profile + np.arange(self.n_slots)
        everything = np.arange(self.context_size)
        n_sends = self.n_actions - 1
        creative = self.creative_of_send
        channel = np.tile(np.arange(self.n_channels), self.n_creatives)
        # Finer groups see less data and must depart from the coarse ones only on evidence.
        return [
            (np.arange(n_sends), one, 4.0),
            (creative, one, 1.0),
            (creative, profile, 4.0),
            (self.topic_of_creative[creative], profile, 1.0),
            (channel, np.concatenate([one, profile, slot]), 1.0),
            (np.zeros(n_sends, dtype=np.int64), everything, 1.0),
        ]

    @cached_property
    def columns(self) -> np.ndarray:
        """(L,) int64: which context entry each of a send's L features copies."""
        return np.concatenate([columns for _, columns, _ in self._blocks])

    @cached_property
    def index(self) -> np.ndarray:
        """(A - 1, L) int64: which of the d weights each feature of each send multiplies."""
        parts, offset = [], 0
        for group, columns, _ in self._blocks:
            parts.append(offset + group[:, None] * len(columns) + np.arange(len(columns)))
            offset += (int(group.max()) + 1) * len(columns)
        return np.concatenate(parts, axis=1)

    @cached_property
    def hold_index(self) -> np.ndarray:
        """(c - 1,) int64: the weights of hold, which has all of the context but ``own``."""
        return int(self.index.max()) + 1 + np.arange(self.context_size - 1)

    @property
    def size(self) -> int:
        """The number of weights d."""
        return int(self.hold_index[-1]) + 1

    @cached_property
    def ridge_multiplier(self) -> np.ndarray:
        """(d,) float64: how strongly each weight is drawn to zero, relative to the others."""
        multiplier = np.ones(self.size)
        start = 0
        for _, columns, factor in self._blocks:
            multiplier[self.index[:, start : start + len(columns)]] = factor
            start += len(columns)
        return multiplier

    def context(self, obs: np.ndarray) -> np.ndarray:
        """Return the shared part of the context, (N, c - 1) float64, without ``own``."""
        shared = obs[:, : self.context_size - 2].astype(np.float64)
        return np.concatenate([np.ones((len(obs), 1)), shared], axis=1)

    def own(self, obs: np.ndarray) -> np.ndarray:
        """Return log(1 + earlier sends) of each send's creative, (N, A - 1) float64."""
        repetitions = obs[:, self.context_size - 2 :].astype(np.float64)
        return repetitions[:, self.creative_of_send]

    def context_of(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the full context (N, c) float64 of the actions (N,) that were taken."""
        creative = np.where(actions > 0, (actions - 1) // self.n_channels, 0)
        repetitions = obs[np.arange(len(obs)), self.context_size - 2 + creative]
        own = np.where(actions > 0, repetitions, 0.0)
        return np.concatenate([self.context(obs), own[:, None]], axis=1)

    def collapse(self, theta: np.ndarray) -> np.ndarray:
        """Return each action's weights on the context, (..., c, A), for theta (..., d)."""
        weights = np.zeros((*theta.shape[:-1], self.context_size, self.n_actions))
        per_send = theta[..., self.index]  # (..., A - 1, L)
        for j, column in enumerate(self.columns):
            weights[..., column, 1:] += per_send[..., j]
        weights[..., :-1, 0] = theta[..., self.hold_index]
        return weights

    def scores(self, obs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the linear scores (N, A) of collapsed ``weights`` (c, A)."""
        scores = self.context(obs) @ weights[:-1]
        scores[:, 1:] += self.own(obs) * weights[-1, 1:]
        return scores

    def gram(self, grams: np.ndarray) -> np.ndarray:
        """Return the (d, d) Gram matrix of the features from (A, c, c) Grams of the contexts."""
        total = np.zeros((self.size, self.size))
        square = np.ix_(self.columns, self.columns)
        for a, index in enumerate(self.index, start=1):
            if grams[a, 0, 0] != 0.0:  # the corner is the sum of weights: no data, no work
                total[np.ix_(index, index)] += grams[a][square]
        total[np.ix_(self.hold_index, self.hold_index)] += grams[0, :-1, :-1]
        return total

    def moment(self, moments: np.ndarray) -> np.ndarray:
        """Return the (d,) sum of feature x target from (A, c) sums of context x target."""
        total = np.zeros(self.size)
        np.add.at(total, self.index, moments[1:, self.columns])
        total[self.hold_index] += moments[0, :-1]
        return total

    def sandwich(self, covariance: np.ndarray) -> np.ndarray:
        """Return (A, c, c): each action's variance as a quadratic form of the context."""
        forms = np.zeros((self.n_actions, self.context_size, self.context_size))
        copies = (self.columns[:, None] == np.arange(self.context_size)).astype(np.float64)
        for a, index in enumerate(self.index, start=1):
            forms[a] = copies.T @ covariance[np.ix_(index, index)] @ copies
        forms[0, :-1, :-1] = covariance[np.ix_(self.hold_index, self.hold_index)]
        return forms

    def variances(self, obs: np.ndarray, forms: np.ndarray) -> np.ndarray:
        """Return u' F_a u for each row and action, (N, A) float64, for ``forms`` (A, c, c)."""
        context = self.context(obs)
        # One product over the c (c + 1) / 2 distinct pairs instead of A products over c.
        i, j = np.triu_indices(context.shape[1])
        pairs = context[:, i] * context[:, j]
        values = pairs @ (forms[:, i, j] * np.where(i == j, 1.0, 2.0)).T
        own = self.own(obs)
        cross = context @ forms[1:, :-1, -1].T
        values[:, 1:] += own * (2.0 * cross + own * forms[1:, -1, -1])
        return np.maximum(values, 0.0)


def sums_by_action(
    contexts: np.ndarray,
    actions: np.ndarray,
    n_actions: int,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistics of linear regression, action by action.

    Args:
        contexts: (N, c) float64 contexts u of the actions taken.
        actions: (N,) int64.
        n_actions: A.
        targets: (N,) float64 y.
        weights: (N,) float64 w of each row in the Gram matrix; None is 1.

    Returns:
        (A, c, c) sums of w u u' and (A, c) sums of u y.
    """
    c = contexts.shape[1]
    grams, moments = np.zeros((n_actions, c, c)), np.zeros((n_actions, c))
    order = np.argsort(actions, kind="stable")
    ordered = contexts[order]
    weighted = ordered if weights is None else ordered * weights[order, None]
    edges = np.searchsorted(actions[order], np.arange(n_actions + 1))
    for a in np.flatnonzero(np.diff(edges)):
        rows = slice(edges[a], edges[a + 1])
        grams[a] = weighted[rows].T @ ordered[rows]
        moments[a] = targets[order[rows]] @ ordered[rows]
    return grams, moments
