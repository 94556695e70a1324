"""What can be delivered: creatives, channels and slots, and the numbering of actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from copygym.core.errors import UserError

#: ``creative_id`` of a log row in which nothing was sent; action 0 everywhere.
HOLD = "hold"


@dataclass(frozen=True)
class Catalogue:
    """The creatives, channels and slots of a campaign.

    Action 0 is *hold* (send nothing). Action ``1 + k * H + h`` sends creative ``k`` on channel
    ``h``, so there are ``A = 1 + K * H`` actions.

    Axes used in array names across copygym: N batch rows, U users, K creatives, H channels,
    S slots, A actions, F topics, P profile features, E embedding dimensions.

    Attributes:
        creative_ids: K names.
        texts: K copies, one per creative.
        briefs: K briefs, what the copywriter is told of the product ("" where unknown).
        product_ids: K names of the advertised products.
        topics: F topic names (the field a product belongs to).
        topic_of_creative: (K,) int64 index into ``topics``.
        channels: H names.
        slots: S names in the order in which time passes through them.
        cost_per_send: (H,) float64 cost of one send, in currency.
        popularity: (K,) float64 share of the log's sends that each creative had, sums to 1.
    """

    creative_ids: tuple[str, ...]
    texts: tuple[str, ...]
    product_ids: tuple[str, ...]
    topics: tuple[str, ...]
    topic_of_creative: np.ndarray
    channels: tuple[str, ...]
    slots: tuple[str, ...]
    cost_per_send: np.ndarray
    popularity: np.ndarray
    briefs: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        k, h = len(self.creative_ids), len(self.channels)
        if k == 0 or h == 0 or not self.slots:
            raise UserError(
                "a catalogue needs at least one creative, one channel and one slot; "
                f"it got {k}, {h} and {len(self.slots)}."
            )
        if not self.briefs:
            object.__setattr__(self, "briefs", ("",) * k)
        lengths = {
            "texts": len(self.texts),
            "briefs": len(self.briefs),
            "product_ids": len(self.product_ids),
            "topic_of_creative": len(self.topic_of_creative),
            "popularity": len(self.popularity),
        }
        for name, length in lengths.items():
            if length != k:
                raise UserError(f"catalogue: {name} has {length} entries for {k} creatives.")
        if len(self.cost_per_send) != h:
            raise UserError(
                f"catalogue: cost_per_send has {len(self.cost_per_send)} entries for {h} channels."
            )

    def __repr__(self) -> str:
        return (
            f"Catalogue({self.n_creatives} creatives x {self.n_channels} channels, "
            f"{self.n_slots} slots, {len(set(self.product_ids))} products)"
        )

    @property
    def n_creatives(self) -> int:
        """K."""
        return len(self.creative_ids)

    @property
    def n_channels(self) -> int:
        """H."""
        return len(self.channels)

    @property
    def n_slots(self) -> int:
        """S."""
        return len(self.slots)

    @property
    def n_actions(self) -> int:
        """A = 1 + K * H, hold included."""
        return 1 + self.n_creatives * self.n_channels

    @cached_property
    def creative_of_action(self) -> np.ndarray:
        """(A,) int64 creative index; -1 for hold."""
        return np.concatenate([[-1], np.repeat(np.arange(self.n_creatives), self.n_channels)])

    @cached_property
    def channel_of_action(self) -> np.ndarray:
        """(A,) int64 channel index; -1 for hold."""
        return np.concatenate([[-1], np.tile(np.arange(self.n_channels), self.n_creatives)])

    @cached_property
    def topic_of_action(self) -> np.ndarray:
        """(A,) int64 topic index; -1 for hold."""
        return np.concatenate([[-1], np.repeat(self.topic_of_creative, self.n_channels)])

    @cached_property
    def cost_of_action(self) -> np.ndarray:
        """(A,) float64 cost of one send; 0 for hold."""
        return np.concatenate([[0.0], np.tile(self.cost_per_send, self.n_creatives)])

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """A readable names: ``hold`` or ``creative@channel``."""
        return (
            HOLD,
            *(f"{c}@{h}" for c in self.creative_ids for h in self.channels),
        )

    def brief_of(self, creative: int) -> str:
        """Return the brief of a creative, or its product's name where there is none."""
        return self.briefs[creative] or self.product_ids[creative]

    def action(self, creative: int, channel: int) -> int:
        """Return the action that sends ``creative`` on ``channel`` (indices)."""
        return 1 + creative * self.n_channels + channel
