"""Clicks that come days later: what has not been clicked yet is no refusal.

A click comes a time D after its send, D exponential as in Chapelle (2014, "Modeling delayed
feedback in display advertising"). Of the sends that have waited w, a share F(w) = 1 - exp(-w /
mean) of the clicks to come is there. Each click that is there counts 1 / F(w), which makes the
expected sums of clicks, and so the gradient of the likelihood, those of a log that had waited for
ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from copygym.core.errors import UserError

#: Sends of which less than this share of the clicks is there yet say too little, too loudly.
_LEAST_SHARE = 0.05
_HOUR_US = 3.6e9


@dataclass(frozen=True)
class Delay:
    """How long clicks take, and when the log was read.

    Attributes:
        mean_hours: from a send to its click, > 0.
        now: microseconds; no later click is in the log.
    """

    mean_hours: float
    now: int

    def __post_init__(self) -> None:
        if not 0 < self.mean_hours < np.inf:
            raise UserError(f"delay: the mean is {self.mean_hours} hours; it must be above 0.")

    def weights(self, time: np.ndarray) -> np.ndarray:
        """Return (N,) float64 what a click of each send counts; 0: the send is too young to say.

        Args:
            time: (N,) int64 microseconds of the sends.
        """
        waited = np.maximum(self.now - time, 0) / _HOUR_US
        there = -np.expm1(-waited / self.mean_hours)
        return np.where(there >= _LEAST_SHARE, 1.0 / np.maximum(there, _LEAST_SHARE), 0.0)


def mean_delay(delay: np.ndarray, waited: np.ndarray) -> float:
    """Return the mean delay in hours, by maximum likelihood from the clicks that are there.

    A click is seen only if its delay is below what its send has waited: the density of what is
    seen is that of an exponential cut off there, or the mean would be too short.

    Args:
        delay: (K,) hours from send to click.
        waited: (K,) hours from the send until the log was read, at least ``delay``.

    Raises:
        UserError: there are no clicks, or a click is later than the log.
    """
    if not len(delay):
        raise UserError("delay: no click has a time, so that its delay is unknown; name a mean.")
    late = np.flatnonzero((delay < 0) | (delay > waited))
    if len(late):
        raise UserError(
            f"delay: a click came {delay[late[0]]:g} hours after its send, of which "
            f"{waited[late[0]]:g} have passed; check the two columns of times."
        )

    def slope(log_rate: float) -> float:
        rate = np.exp(log_rate)
        cut = rate * waited
        lost = np.where(cut > 1e-8, cut / np.expm1(np.minimum(cut, 500.0)), 1.0)
        return float((1.0 - rate * delay - lost).sum())

    # Delays that fill their windows evenly are cut off from any mean: the longest is as good.
    low, high = -np.log(1e3 * waited.max()), np.log(1e3 / max(float(delay.mean()), 1e-9))
    if slope(low) <= 0:
        return float(np.exp(-low))
    return float(np.exp(-brentq(slope, low, high)))
