"""Dynamics: the rules of fatigue, repetition, interest drift and unsubscribes (the state's moves).

`UserBatch` applies them step by step; `envs/logs/replay.py` gives the fatigue that they make of the
sends of a log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copygym.core.errors import UserError


@dataclass(frozen=True)
class Dynamics:
    """How a user's state moves and acts on the response; one time step is one slot.

    With fatigue z, r earlier sends of the same creative and drift x of the user's interest in
    the creative's topic, the click logit is ``table - fatigue_click * z - repetition_click *
    log(1 + r) + x``. After the step ``z <- fatigue_decay * z + sent``; the drift of each topic is
    an AR(1) walk, ``x <- drift_persistence * x + drift_step * normal``, and a click adds
    ``drift_click`` to its topic. A send ends in an unsubscribe with logit ``unsubscribe_logit +
    unsubscribe_fatigue * z + (action's own offset)``.

    Attributes:
        fatigue_decay: share of fatigue left after one slot, in [0, 1).
        fatigue_click: loss of click logit per unit of fatigue, >= 0.
        repetition_click: loss of click logit per log(1 + repetitions), >= 0.
        drift_persistence: AR(1) coefficient of interest drift, in [0, 1].
        drift_step: standard deviation of one step of drift, logit, >= 0.
        drift_click: rise of interest in a topic after a click on it, logit.
        unsubscribe_logit: base logit of an unsubscribe after a send; -inf switches it off.
        unsubscribe_fatigue: rise of that logit per unit of fatigue.
        assumed: names of the fields above that no data supports; the report lists them.
    """

    fatigue_decay: float = 0.8
    fatigue_click: float = 0.25
    repetition_click: float = 0.3
    drift_persistence: float = 0.95
    drift_step: float = 0.05
    drift_click: float = 0.05
    unsubscribe_logit: float = -7.0
    unsubscribe_fatigue: float = 0.5
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bounds = {
            "fatigue_decay": (0.0, 0.999),
            "fatigue_click": (0.0, np.inf),
            "repetition_click": (0.0, np.inf),
            "drift_persistence": (0.0, 1.0),
            "drift_step": (0.0, np.inf),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"dynamics.{name} is {value}; it must lie in [{low}, {high}].")


@dataclass(frozen=True)
class Tastes:
    """How everybody's interest in a topic moves together, on top of each person's own drift.

    Attributes:
        season: standard deviation over topics of a wave's amplitude, logit; 0: none.
        season_slots: length of the wave.
        shift: standard deviation over topics of one sudden change, logit; 0: none.
        shift_at: slot from which it holds.
    """

    season: float = 0.0
    season_slots: int = 112
    shift: float = 0.0
    shift_at: int = 0

    def __post_init__(self) -> None:
        for name in ("season", "shift", "shift_at"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UserError(f"tastes.{name} is {getattr(self, name)}; it must be at least 0.")
        if not self.season_slots >= 2:
            raise UserError(f"tastes.season_slots is {self.season_slots}; give at least 2 slots.")

    def levels(self, n_slots: int, n_topics: int, rng: np.random.Generator) -> np.ndarray:
        """Return (T, F) float64 what is added to everybody's logit in each slot."""
        phase, height, jump = rng.random(n_topics), *rng.standard_normal((2, n_topics))
        time = np.arange(n_slots)[:, None]
        wave = np.sin(2 * np.pi * (time / self.season_slots + phase))
        return self.season * height * wave + self.shift * jump * (time >= self.shift_at)
