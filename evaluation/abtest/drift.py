"""A drift alarm with a known rate of false alarms, at whatever length it is watched.

A model that is fixed says of every send how likely a click is. If people stay what they are, what
clicks come beyond that is the same on average in every round, whatever it is: the model need not
be right. Each round is compared with all rounds before it,

    z_r = (m_r - m_<r) / sqrt(v / n_r + v / n_<r),

with m the mean residual, n the sends and v their variance, per group (a topic, say). Such
contrasts are uncorrelated and, in large samples, standard normal where nothing changes, so that

    log e = sum over rounds and groups of  -1/2 log(1 + t^2) + t^2 / (1 + t^2) * z^2 / 2

is the log of a likelihood ratio against z ~ N(0, 1 + t^2), whose expectation is 1 at every time;
the chance that e ever reaches 1 / alpha is at most alpha (Ville 1939; Robbins 1970; Ramdas et al.
2023, "Game-theoretic statistics and safe anytime-valid inference").

ADWIN (Bifet and Gavalda 2007) bounds the chance of a false alarm at one step, not over a campaign,
and Page-Hinkley bounds none, which is why neither is used here.
"""

from __future__ import annotations

import numpy as np

from copygym.core.errors import UserError


class DriftAlarm:
    """Watches the residuals of a fixed model, round by round.

    Args:
        alpha: chance of a false alarm, ever.
        spread: t, the standard deviation of the contrasts that one looks for, in their own
            standard errors; it decides how soon the alarm comes, not how often it is false.

    Attributes:
        log_e: of the rounds so far.
        alarm: the first round (from 1) at which e reached 1 / alpha; None: none yet.
    """

    def __init__(self, alpha: float = 0.05, spread: float = 1.0) -> None:
        if not 0 < alpha < 1:
            raise UserError(f"drift: alpha is {alpha}; it must lie in (0, 1).")
        if not spread > 0:
            raise UserError(f"drift: spread is {spread}; it must be above 0.")
        self.alpha, self.spread = alpha, spread
        self.log_e, self.rounds = 0.0, 0
        self.alarm: int | None = None
        self._sum, self._count, self._squares = np.zeros((3, 0))

    def update(self, sums: np.ndarray, counts: np.ndarray, squares: np.ndarray) -> float:
        """Take in a round; return log e.

        Args:
            sums: (G,) residuals of each group, added up (`residual_sums`).
            counts: (G,) impressions.
            squares: (G,) sums over people of the square of each one's sum.
        """
        if not self.rounds:
            self._sum, self._count, self._squares = np.zeros((3, len(sums)))
        before_n, before_sum = self._count.copy(), self._sum.copy()
        self._sum = self._sum + sums
        self._count = self._count + counts
        self._squares = self._squares + squares
        self.rounds += 1
        told = (counts > 0) & (before_n > 0) & (self._squares > 0)
        n, old = counts[told], before_n[told]
        variance = self._squares[told] / self._count[told]
        z = (sums[told] / n - before_sum[told] / old) / np.sqrt(variance * (1 / n + 1 / old))
        wide = self.spread**2
        self.log_e += float((wide / (1 + wide) * z**2 / 2 - 0.5 * np.log1p(wide)).sum())
        if self.alarm is None and self.log_e >= -np.log(self.alpha):
            self.alarm = self.rounds
        return self.log_e


def residual_sums(
    user: np.ndarray, group: np.ndarray, n_groups: int, trials: np.ndarray, residual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `DriftAlarm.update` takes, (G,) each, of N rows of one round.

    Args:
        user: (N,) int64 who; rows of one person are not independent.
        group: (N,) int64 below ``n_groups``.
        n_groups: G.
        trials: (N,) impressions.
        residual: (N,) clicks less those that the fixed model expected.
    """
    key, place = np.unique(user * n_groups + group, return_inverse=True)
    of_person = np.bincount(place, residual, len(key))
    return (
        np.bincount(group, residual, n_groups),
        np.bincount(group, trials, n_groups),
        np.bincount(key % n_groups, of_person**2, n_groups),
    )
