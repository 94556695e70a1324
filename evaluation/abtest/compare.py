"""A/B tests: effects with intervals, fixed-horizon or always-valid, for two arms or more.

Pure functions on arrays. Axes: A arms, N units. A unit is what was randomised (a user, or an
impression where every impression is drawn anew); it has one value, such as clicked or not, or its
revenue. Everything after `Arms` needs a mean, a variance and a number of units per arm only.

References: Welch (1947) for the fixed horizon; `abtest_sequential` for the always-valid test;
Fieller (1954) for the relative lift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import Estimate
from copygym.evaluation.abtest.exact import Events, events_of, events_p, fisher_p
from copygym.evaluation.abtest.multiple import (
    ADJUSTMENTS,
    adjusted_p,
    dunnett_critical,
    dunnett_p,
)
from copygym.evaluation.abtest.sequential import FIRST_LOOK, always_valid_p, critical_z

#: How a test may be looked at.
METHODS = {
    "fixed": "fixed horizon: valid for one look, at the number of units that was planned",
    "always_valid": "always valid: look as often as you like and stop when you like",
}
#: Whole numbers beyond it are not exact in double precision.
MOST_COUNT = 2**53 - 1
_MOST_LEVEL = 1 - 1e-9
#: Units of all arms at which an always-valid interval is narrowest, where nobody says.
PLANNED = 20_000


@dataclass(frozen=True)
class Arms:
    """What an A/B test needs to know of A arms.

    Attributes:
        names: of the arms.
        units_A: (A,) int64 units.
        mean_A: (A,) float64 mean value of a unit.
        variance_A: (A,) float64 sample variance of a unit's value (divided by n - 1).
        rare_A: (A,) int64 the rarer of clicks and units without, or units whose value is not the
            usual one; None where values are not mostly one value.
        binary: every unit clicked once or not at all, so that the counts say everything.
        events: what is not usual, where values are mostly one value and no clicks.
        rare_what: what ``rare_A`` counts, in words.
    """

    names: tuple[str, ...]
    units_A: np.ndarray
    mean_A: np.ndarray
    variance_A: np.ndarray
    rare_A: np.ndarray | None = None
    binary: bool = False
    events: Events | None = None
    rare_what: str = "clicks (or units without)"

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise UserError(f"an A/B test needs at least two arms; there is {len(self.names)}.")
        if len(set(self.names)) != len(self.names):
            raise UserError(f"arm names must differ: {', '.join(self.names)}.")
        for field in (self.units_A, self.mean_A, self.variance_A):
            if np.shape(field) != (len(self.names),):
                raise UserError(
                    f"{len(self.names)} arms need as many numbers, not {np.shape(field)}."
                )
        few = np.flatnonzero(self.units_A < 2)
        if len(few):
            raise UserError(
                f"arm {self.names[few[0]]!r} has {int(self.units_A[few[0]])} unit(s), which says "
                "nothing of the variance; it needs at least 2."
            )

    @property
    def error_A(self) -> np.ndarray:
        """(A,) squared standard error of each mean."""
        return np.asarray(self.variance_A / self.units_A)


def arms_from_counts(names: Sequence[str], units_A: Any, clicks_A: Any) -> Arms:
    """Return arms of independent units that clicked or not.

    Args:
        names: (A,) of the arms.
        units_A: (A,) impressions, or users, each with at most one click.
        clicks_A: (A,) clicks.

    Raises:
        UserError: unequal lengths, negative or NaN counts, more clicks than units, or no click
            in any arm.
    """
    units, clicks = np.asarray(units_A, np.float64), np.asarray(clicks_A, np.float64)
    if units.shape != (len(names),) or clicks.shape != (len(names),):
        raise UserError(
            f"{len(names)} arms, {units.size} numbers of units and {clicks.size} of clicks: give "
            "one of each per arm."
        )
    for what, values in (("units", units), ("clicks", clicks)):
        large = np.flatnonzero(values > MOST_COUNT)
        if len(large):
            raise UserError(
                f"arm {names[large[0]]!r}: {what} add up to {values[large[0]]:.3g}, which is more "
                "than can be counted exactly (2^53); are these counts?"
            )
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values == np.floor(values))))
        if len(bad):
            raise UserError(
                f"arm {names[bad[0]]!r}: {what} is {values[bad[0]]:g}; give a whole number of 0 "
                "or more."
            )
    over = np.flatnonzero(clicks > units)
    if len(over):
        raise UserError(
            f"arm {names[over[0]]!r} has {clicks[over[0]]:g} clicks in {units[over[0]]:g} "
            "impressions; a click needs an impression of its own."
        )
    if clicks.sum() == 0:
        raise UserError("no arm has a click, so there is no rate to compare; wait for more data.")
    if (clicks == units).all():
        raise UserError(
            "every unit of every arm clicked, so there is nothing to compare; are those that were "
            "shown the creative and did not click missing?"
        )
    rate = clicks / np.maximum(units, 1)
    variance = rate * (1 - rate) * units / np.maximum(units - 1, 1)
    rare = np.minimum(clicks, units - clicks).astype(np.int64)
    return Arms(tuple(names), units.astype(np.int64), rate, variance, rare, True)


def arms_from_values(names: Sequence[str], arm_N: Any, value_N: Any) -> Arms:
    """Return arms from one value per unit.

    Args:
        names: (A,) of the arms.
        arm_N: (N,) int index of each unit's arm.
        value_N: (N,) float64 its value: clicked, revenue, or what `abtest_values` makes of it.

    Raises:
        UserError: unequal lengths, a value that is not finite, or values that never vary.
    """
    arm, value = np.asarray(arm_N, np.int64), np.asarray(value_N, np.float64)
    if arm.shape != value.shape or arm.ndim != 1:
        raise UserError(f"{arm.size} arms and {value.size} values: give one of each per unit.")
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        raise UserError(f"unit {bad[0]}: the value is {value[bad[0]]}; give a finite number.")
    units = np.bincount(arm, minlength=len(names))
    safe = np.maximum(units, 1)
    last = np.zeros(len(names))
    last[arm] = value
    varies = np.bincount(arm, value != last[arm], len(names)) > 0
    with np.errstate(over="ignore", invalid="ignore"):
        # The mean of 0.1, 0.1, ... is not 0.1 to the last digit, and that is no variance.
        mean = np.where(varies, np.bincount(arm, value, len(names)) / safe, last)
        square = np.bincount(arm, (value - mean[arm]) ** 2, len(names))
    if not np.isfinite(square).all():
        raise UserError(
            f"values as large as {np.abs(value).max():.3g} cannot be squared; give them in a "
            "larger unit."
        )
    if not (square > 0).any():
        raise UserError(
            "the values do not vary within any arm, so there is no error to judge by; wait for "
            "more data, or see whether units without a click or a value are missing."
        )
    variance = square / np.maximum(units - 1, 1)
    if ((value == 0) | (value == 1)).all():
        ones = np.bincount(arm, value, len(names)).astype(np.int64)
        return Arms(tuple(names), units, mean, variance, np.minimum(ones, units - ones), True)
    events = events_of(arm, value, len(names))
    if events is None:
        return Arms(tuple(names), units, mean, variance)
    rare = events.rare_A(units)
    return Arms(tuple(names), units, mean, variance, rare, False, events, events.words)


@dataclass(frozen=True)
class Comparison:
    """An arm against the control.

    Attributes:
        arm: its name.
        difference: of the means, with its interval.
        lift: difference / control's mean, with its interval; None where it has none.
        z: difference / standard error.
        p: of no difference.
        p_adjusted: among all comparisons of the test.
        few: too few clicks (or units with another value than the usual one) for the normal
            approximation that the interval rests on.
        exact: ``p`` is exact for few of them.
        look: name of the earlier look whose ``p`` it is; empty where it is the last one's.
        difference_then: of the means at that look.
        note: why the lift is missing, or what to beware of; empty where all is well.
    """

    arm: str
    difference: Estimate
    lift: Estimate | None
    z: float
    p: float
    p_adjusted: float
    few: bool = False
    note: str = ""
    exact: bool = False
    look: str = ""
    difference_then: float = 0.0


def compare(
    arms: Arms,
    control: int = 0,
    *,
    level: float = 0.95,
    method: str = "fixed",
    adjust: str = "holm",
    planned: int = PLANNED,
) -> list[Comparison]:
    """Compare every arm with the control.

    Intervals hold together for all arms under "holm" (as Bonferroni's) and "dunnett", and each
    by itself under "bh" and "none".

    Args:
        arms: A >= 2 arms.
        control: index of the control.
        level: 1 - alpha, in (0, 1).
        method: one of `METHODS`.
        adjust: one of `ADJUSTMENTS`; "dunnett" for the fixed horizon only.
        planned: for "always_valid": units of all arms together at which intervals are to be
            narrowest. Fixed before the test; any value is valid, and far off costs width only.

    Raises:
        UserError: an unknown name, a number out of range, or arms that do not vary.
    """
    _check(arms, control, level, method, adjust, planned)
    alpha = 1.0 - level
    others = [index for index in range(len(arms.names)) if index != control]
    difference = arms.mean_A[others] - arms.mean_A[control]
    variance = arms.error_A[others] + arms.error_A[control]
    still = np.flatnonzero(variance <= 0)
    if len(still):
        raise UserError(
            f"neither arm {arms.names[others[still[0]]]!r} nor the control varies (no click, or "
            "nothing but clicks), so they cannot be compared; wait for more data or leave it out."
        )
    z = difference / np.sqrt(variance)
    share = alpha / len(others) if adjust == "holm" else alpha
    if method == "always_valid":
        fraction = float(arms.units_A.sum()) / planned
        critical = np.full(len(others), critical_z(fraction, share, tuned_for=alpha))
        p = always_valid_p(z, fraction, alpha)
    else:
        freedom = welch_freedom(arms, control)[others]
        critical = student.isf(share / 2, freedom)
        p = 2 * student.sf(np.abs(z), freedom)
    few = np.zeros(len(others), bool)
    if arms.rare_A is not None:
        few = np.minimum(arms.rare_A[others], arms.rare_A[control]) < FIRST_LOOK
    exact = method == "fixed" and (arms.binary or arms.events is not None)
    if exact:
        for rare in np.flatnonzero(few):
            p[rare] = _exact_p(arms, others[rare], control)
    if adjust == "dunnett":
        weights = np.sqrt(arms.error_A[control] / variance)
        critical = np.full(len(others), dunnett_critical(weights, alpha))
        # An exact p-value goes in as the z that would have it.
        same_z = np.where(few, norm.isf(p / 2), z) if exact else z
        adjusted = np.maximum(dunnett_p(same_z, weights), p)
    else:
        adjusted = adjusted_p(p, adjust)
    found = []
    for place, index in enumerate(others):
        half = critical[place] * np.sqrt(variance[place])
        effect = Estimate(
            float(difference[place]),
            float(difference[place] - half),
            float(difference[place] + half),
        )
        lift, note = _lift(arms, index, control, float(critical[place]))
        if few[place]:
            says = few_words(arms, exact)
            note = f"{note}; {says}" if note else says
        found.append(
            Comparison(
                arms.names[index],
                effect,
                lift,
                float(z[place]),
                float(p[place]),
                float(adjusted[place]),
                bool(few[place]),
                note,
                bool(few[place]) and exact,
            )
        )
    return found


def _check(arms: Arms, control: int, level: float, method: str, adjust: str, planned: int) -> None:
    if method not in METHODS:
        raise unknown_name("method", method, list(METHODS))
    if adjust not in ADJUSTMENTS:
        raise unknown_name("adjustment", adjust, list(ADJUSTMENTS))
    check_level(level)
    if not 0 <= control < len(arms.names):
        raise UserError(f"the control is arm {control} of {len(arms.names)}.")
    if method == "always_valid" and adjust == "dunnett":
        raise UserError("Dunnett's adjustment is for a fixed horizon; take holm or bh.")
    if method == "always_valid" and planned < 1:
        raise UserError(f"the planned number of units is {planned}; it must be 1 or more.")


def check_level(level: float) -> None:
    """Raise for a level that is none, or so near to 1 that no quantile is exact.

    Raises:
        UserError: says so.
    """
    if not 0 < level < 1:
        raise UserError(f"the level is {level:g}; it must lie between 0 and 1, as 0.95 does.")
    if level > _MOST_LEVEL:
        raise UserError(f"the level is {level!r}; it must be at most {_MOST_LEVEL!r}.")


def welch_freedom(arms: Arms, control: int) -> np.ndarray:
    """Return Welch and Satterthwaite's degrees of freedom of each arm against the control, (A,)."""
    error, own = arms.error_A, arms.units_A - 1
    bottom = error**2 / own + error[control] ** 2 / own[control]
    total = (error + error[control]) ** 2
    return np.asarray(np.where(bottom > 0, total / np.where(bottom > 0, bottom, 1.0), np.inf))


def _exact_p(arms: Arms, index: int, control: int) -> float:
    """Return the exact p-value of two arms with few clicks, or few units of an unusual value."""
    units = int(arms.units_A[index]), int(arms.units_A[control])
    if arms.events is not None:
        return events_p(units, (arms.events.values[index], arms.events.values[control]))
    clicks = np.rint(arms.mean_A * arms.units_A).astype(np.int64)
    return fisher_p(units, (int(clicks[index]), int(clicks[control])))


def few_words(arms: Arms, exact: bool) -> str:
    """Return what a comparison's note says of few events."""
    test = "Fisher's"
    if arms.events is not None and not arms.events.alike:
        test = "a permutation test's"
    return f"fewer than {FIRST_LOOK} {arms.rare_what} in an arm: " + (
        f"p is {test} and decides, the interval is a rough one" if exact else "do not rely on it"
    )


def _lift(arms: Arms, index: int, control: int, critical: float) -> tuple[Estimate | None, str]:
    """Return difference / control's mean with Fieller's interval, or why there is none.

    The r for which mean - r * control is within ``critical`` standard errors of 0: it contains
    r = 1 (no lift) exactly where the interval of the difference contains 0.
    """
    base, mean = float(arms.mean_A[control]), float(arms.mean_A[index])
    if base <= 0:
        return None, "no lift: the control's mean is not above 0"
    square = critical**2
    a = base**2 - square * float(arms.error_A[control])
    if a <= 0:
        return None, "no lift: the control's mean cannot be told from 0"
    c = mean**2 - square * float(arms.error_A[index])
    root = np.sqrt(max(0.0, (base * mean) ** 2 - a * c))
    low, high = (base * mean - root) / a - 1.0, (base * mean + root) / a - 1.0
    return Estimate(mean / base - 1.0, float(low), float(high)), ""
