"""What happened in one step, as arrays: the only thing that a reward shape may look at."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Outcome(NamedTuple):
    """One decision per row and what came of it; every field has shape (N,).

    Probabilities are those of the simulator that answered, given everything it knew at the time
    of the decision. Where nothing was sent, creative and channel are -1 and cost is 0.
    """

    action: np.ndarray  #: int64
    creative: np.ndarray  #: int64, -1 for hold
    channel: np.ndarray  #: int64, -1 for hold
    slot: np.ndarray  #: int64
    sent: np.ndarray  #: bool
    click_probability: np.ndarray  #: float64
    best_click_probability: np.ndarray  #: float64, of the best allowed action now (nan: unknown)
    click: np.ndarray  #: bool
    conversion_probability: np.ndarray  #: float64, given a click
    conversion: np.ndarray  #: bool
    expected_revenue: np.ndarray  #: float64, currency, given a conversion
    revenue: np.ndarray  #: float64, currency
    cost: np.ndarray  #: float64, currency
    unsubscribe_probability: np.ndarray  #: float64
    unsubscribe: np.ndarray  #: bool
    fatigue: np.ndarray  #: float64, before the decision
    next_fatigue: np.ndarray  #: float64, after it
    repetitions: np.ndarray  #: float64, earlier sends of this creative to this user
    distinct: np.ndarray  #: float64, distinct creatives sent to this user before
    sends: np.ndarray  #: float64, sends to this user before
    popularity: np.ndarray  #: float64, logged share of this creative (1 for hold)
    length: np.ndarray  #: float64, words in the copy (0 for hold)
    last: np.ndarray | None = None  #: bool, the episode ends here, by unsubscribe or horizon


class RewardShape(Protocol):
    """Maps an outcome to the scalar reward and its named terms."""

    def __call__(self, outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the reward (N,) float64 and the weighted terms (N,) that sum to it."""
        ...


def click_reward(outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return one per click: the environments' reward where none is given."""
    reward = outcome.click.astype(np.float64)
    return reward, {"click": reward}
