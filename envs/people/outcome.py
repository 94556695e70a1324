"""What happened in one step, as arrays: the only thing that a reward shape may look at."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from copygym.core.errors import UserError


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


class RewardFunction(Protocol):
    """Maps an outcome to the scalar reward and its named terms."""

    def __call__(self, outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the reward (N,) float64 and the weighted terms (N,) that sum to it."""
        ...


def reward_shape(reward: RewardFunction | None) -> RewardFunction:
    """Return the reward that an environment was given, or one per click where it was given none.

    Raises:
        UserError: it cannot be called.
    """
    if reward is None:
        return click_reward
    if not callable(reward):
        raise UserError(
            f"reward={reward!r} cannot be called; give a function of an Outcome, such as "
            "copygym.rewards.RewardShape."
        )
    return reward


def apply_reward(
    reward: RewardFunction, outcome: Outcome
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the reward (N,) float64 of a step and its terms, (N,) each, checked.

    A number that is none would be learned from without a word: bandits hold for ever after.

    Args:
        reward: returns the reward and its named terms, or the reward alone.
        outcome: N decisions.

    Raises:
        UserError: the answer has another shape than (N,), or is not finite.
    """
    answer = reward(outcome)
    values, terms = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, {})
    n = len(outcome.action)
    checked = _numbers(reward, values, n, "")
    if not isinstance(terms, dict):
        raise UserError(
            f"the reward {_name(reward)} returned {type(terms).__name__} as its terms; it must "
            "return a dict of arrays by name."
        )
    return checked, {
        name: _numbers(reward, term, n, f" as its term {name!r}") for name, term in terms.items()
    }


def _numbers(reward: RewardFunction, values: Any, n: int, which: str) -> np.ndarray:
    try:
        if np.iscomplexobj(values):
            raise TypeError
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        # A copy: a function may give the same array at every step.
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"the reward {_name(reward)} returned {type(values).__name__}{which}; it must return "
            f"{n} numbers, one for each decision."
        ) from None
    if numbers.shape != (n,):
        raise UserError(
            f"the reward {_name(reward)} returned shape {numbers.shape}{which} for {n} decisions; "
            "it must return one number for each."
        )
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise UserError(
            f"the reward {_name(reward)} returned {numbers[row]}{which} for decision {row}; it "
            "must return finite numbers."
        )
    return numbers


def _name(reward: Any) -> str:
    inner = getattr(reward, "func", reward)  # of a functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def click_reward(outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return one per click: the environments' reward where none is given."""
    reward = outcome.click.astype(np.float64)
    return reward, {"click": reward}
