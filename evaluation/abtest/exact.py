"""Tests for few events: Fisher's, and a permutation test for values that are mostly one value.

An event is a unit whose value is not the usual one: a click, a buyer's revenue among zeros. With a
few of them the mean is far from normal, and a normal test claims what is luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Random divisions of the permutation test, and how many draws of events they may take together.
DIVISIONS = 9_999
_DRAWS = 20_000_000
_SEED = 16
#: Divisions that are listed instead of drawn.
_LISTED_EVENTS = 12
#: Standard deviations beyond which a probability is 0 in double precision.
_FAR = 40.0


@dataclass(frozen=True)
class Events:
    """The units of each arm whose value is not the usual one.

    Attributes:
        usual: value of more than half of all units.
        values: of each arm's events, less ``usual``; (E,) float64 each.
        alike: all events have one value, so that their numbers say everything.
    """

    usual: float
    values: tuple[np.ndarray, ...]
    alike: bool

    @property
    def words(self) -> str:
        """What events are, in the plural."""
        return f"units with another value than {self.usual:g}"

    def rare_A(self, units_A: np.ndarray) -> np.ndarray:
        """Return the events of each arm, (A,); where they are alike, the rarer of both kinds."""
        count = np.array([len(part) for part in self.values], np.int64)
        return np.minimum(count, units_A - count) if self.alike else count


def events_of(arm_N: np.ndarray, value_N: np.ndarray, n_arms: int) -> Events | None:
    """Return the events of values that are mostly one value; None for others.

    Args:
        arm_N: (N,) int index of the arm.
        value_N: (N,) float64, finite.
        n_arms: A.
    """
    if len(value_N) == 0:
        return None
    # A value that more than half have is the median.
    usual = float(np.partition(value_N, len(value_N) // 2)[len(value_N) // 2])
    other = value_N != usual
    if 2 * int(other.sum()) >= len(value_N):
        return None
    arm, gap = arm_N[other], value_N[other] - usual
    alike = len(gap) > 0 and bool((gap == gap[0]).all())
    return Events(usual, tuple(gap[arm == index] for index in range(n_arms)), alike)


def fisher_p(units: tuple[int, int], clicks: tuple[int, int]) -> float:
    """Return Fisher's exact two-sided p-value of two arms (Fisher 1935).

    The sum of all tables of the same margins that are as unlikely as this one or more, as R's and
    scipy's. A table's probability follows from its neighbour's by a ratio of whole numbers, so
    that no large factorials cancel, and the tables more than 40 standard deviations from the
    expected one, whose probability is below any double, are left out: the time does not grow with
    the units.

    Args:
        units: of both arms.
        clicks: of both arms.
    """
    n, m, a, b = int(units[0]), int(units[1]), int(clicks[0]), int(clicks[1])
    total, k = n + m, a + b
    low, high = max(0, k - m), min(k, n)
    # Python's whole numbers, as products of counts pass 2^63.
    mean = k * n / total
    spread = (k * n * m * (total - k) / (total * total * max(total - 1, 1))) ** 0.5
    reach = _FAR * spread + 100.0
    if abs(a - mean) > reach:
        return 0.0
    first, last = max(low, int(mean - reach) - 1), min(high, int(mean + reach) + 1)
    x = np.arange(first, last, dtype=np.float64)
    ratio = (n - x) / (x + 1) * ((k - x) / (m - k + x + 1))
    log_p = np.concatenate([[0.0], np.cumsum(np.log(ratio))])
    chance = np.exp(log_p - log_p.max())
    # Equal tables differ in the last digits.
    as_unlikely = chance <= chance[a - first] * (1 + 1e-7)
    return float(min(1.0, chance[as_unlikely].sum() / chance.sum()))


def events_p(units: tuple[int, int], values: tuple[np.ndarray, np.ndarray]) -> float:
    """Return an exact p-value for two arms of which most units have one value.

    Where all events have one value, it is Fisher's. Else units are divided anew into arms of the
    same sizes, and the share of the divisions counts whose Welch statistic is as large as this
    one's. That is exact for arms that do not differ at all, and, as the statistic is studentised,
    right in large samples for equal means alone (Janssen 1997; Chung and Romano 2013). Up to 12
    events every division is counted; of more, 9,999 random ones with this one added (Phipson and
    Smyth 2010), the same in every call.

    Args:
        units: of both arms.
        values: of each arm's events, less the usual value, as `Events` has them.
    """
    events = np.concatenate(values)
    if len(events) == 0:
        return 1.0
    if (events == events[0]).all():
        return fisher_p(units, (len(values[0]), len(values[1])))
    events = events / np.abs(events).max()
    here = np.arange(len(events)) < len(values[0])
    found = _welch(*_sums(events, here[None, :]), events, units)[0] * (1 - 1e-9)
    if len(events) <= _LISTED_EVENTS:
        return _p_by_listing(events, units, found)
    return _p_by_sampling(events, units, found)


def _p_by_listing(events: np.ndarray, sizes: tuple[int, int], found: float) -> float:
    count = len(events)
    inside = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    t = _welch(*_sums(events, inside), events, sizes)
    # A set of j events in the first arm: j places of its n, the others of the other arm's m.
    taken = inside.sum(axis=1)
    weight = _falling(sizes[0], count)[taken] + _falling(sizes[1], count)[count - taken]
    chance = np.exp(weight - weight.max())
    return float(min(1.0, chance[t >= found].sum() / chance.sum()))


def _falling(size: int, most: int) -> np.ndarray:
    """Return log size (size - 1) ... (size - j + 1) for j = 0 to ``most``; -inf where j > size."""
    factors = np.maximum(size - np.arange(most, dtype=np.float64), 0.0)
    with np.errstate(divide="ignore"):
        return np.concatenate([[0.0], np.cumsum(np.log(factors))])


def _p_by_sampling(events: np.ndarray, sizes: tuple[int, int], found: float) -> float:
    rng = np.random.default_rng(_SEED)
    count = len(events)
    # The arm that is to get fewer events is drawn.
    flip = sizes[1] < sizes[0]
    near, far = (sizes[1], sizes[0]) if flip else sizes
    expected = max(1.0, count * near / (near + far))
    divisions = int(min(DIVISIONS, max(99, _DRAWS / expected)))
    taken = rng.hypergeometric(count, near + far - count, near, size=divisions)
    total, square = np.empty(divisions), np.empty(divisions)
    for index, size in enumerate(taken):
        drawn = events[rng.choice(count, size, replace=False, shuffle=False)]
        total[index], square[index] = drawn.sum(), (drawn**2).sum()
    t = _welch(total, square, events, (near, far))
    return float((1 + (t >= found).sum()) / (1 + divisions))


def _sums(events: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return inside @ events, inside @ events**2


def _welch(
    total: np.ndarray, square: np.ndarray, events: np.ndarray, sizes: tuple[int, int]
) -> np.ndarray:
    """Return |Welch's t| from the sum and the sum of squares of the first arm's events."""
    n, m = sizes
    rest, rest_square = events.sum() - total, (events**2).sum() - square
    first = np.maximum(square - total**2 / n, 0.0) / (n * (n - 1))
    second = np.maximum(rest_square - rest**2 / m, 0.0) / (m * (m - 1))
    error = np.sqrt(first + second)
    gap = np.abs(total / n - rest / m)
    return np.where(error > 0, gap / np.where(error > 0, error, 1.0), np.where(gap > 0, np.inf, 0))
