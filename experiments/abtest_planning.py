"""How large must a test be? Power, sample size and the least effect that a test can find.

Axes: none; numbers in, numbers out. The test planned for is the one that `abtest.compare` makes:
two-sided, the difference over its unpooled standard error (Fleiss, Levin and Paik 2003, section
4.2, without continuity correction).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from copygym.envs.errors import UserError
from copygym.experiments.abtest_sequential import critical_z

_MOST = 1e13


@dataclass(frozen=True)
class Plan:
    """What a test is planned for.

    Attributes:
        baseline: the control's mean: a rate, or with ``deviation`` any mean.
        lift: relative; 0.1 is 10% more than the baseline, -0.1 10% less.
        deviation: standard deviation of a unit's value; None means clicked or not.
        level: 1 - alpha.
        comparisons: arms besides the control; alpha is shared out evenly among them (Bonferroni).
        share: of the units that go to the control, where the other arms share the rest evenly;
            None means even.
        correlation: with the covariate that CUPED will use; the variance falls by its square.
        always_valid: planned for an always-valid test, decided at the planned size at the latest.
    """

    baseline: float
    lift: float
    deviation: float | None = None
    level: float = 0.95
    comparisons: int = 1
    share: float | None = None
    correlation: float = 0.0
    always_valid: bool = False

    def __post_init__(self) -> None:
        if self.deviation is None and not 0 < self.baseline < 1:
            raise UserError(
                f"the baseline is {self.baseline:g}; a click rate lies between 0 and 1 (2% is "
                "0.02); for another mean give its standard deviation as well."
            )
        if not np.isfinite(self.baseline) or self.baseline <= 0:
            raise UserError(f"the baseline is {self.baseline:g}; it must be above 0.")
        if self.deviation is not None and not 0 < self.deviation < np.inf:
            raise UserError(f"the standard deviation is {self.deviation:g}; it must be above 0.")
        if not np.isfinite(self.lift) or self.lift == 0:
            raise UserError("a lift of 0 cannot be found by any test; give the least that matters.")
        if self.deviation is None and not 0 < self.treated < 1:
            raise UserError(
                f"a lift of {self.lift:.4g} on {self.baseline:g} gives the rate "
                f"{self.treated:.4g}, which is not between 0 and 1."
            )
        if not 0 < self.level < 1:
            raise UserError(f"the level is {self.level:g}; it must lie between 0 and 1.")
        if self.comparisons < 1:
            raise UserError("a test needs at least two arms.")
        if self.share is not None and not 0 < self.share < 1:
            raise UserError(f"the control's share is {self.share:g}; it must lie between 0 and 1.")
        if not -1 < self.correlation < 1:
            raise UserError(
                f"the correlation is {self.correlation:g}; it must lie between -1 and 1."
            )

    @property
    def treated(self) -> float:
        """The mean of an arm with the lift."""
        return self.baseline * (1.0 + self.lift)

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of all units of the control and of one other arm."""
        control = 1.0 / (1 + self.comparisons) if self.share is None else self.share
        return control, (1.0 - control) / self.comparisons


def power(plan: Plan, units: float) -> float:
    """Return the probability that the test finds the lift.

    For an always-valid test: that it does at its planned size. One that is watched on the way
    has a little more, as it may have found the lift before.

    Args:
        plan: of the test.
        units: of all arms together, > 0.
    """
    control, other = plan.shares
    reduce = 1.0 - plan.correlation**2
    if plan.deviation is None:
        variances = [rate * (1 - rate) for rate in (plan.baseline, plan.treated)]
    else:
        variances = [plan.deviation**2] * 2
    error = np.sqrt(reduce * (variances[0] / control + variances[1] / other) / units)
    effect = abs(plan.treated - plan.baseline) / error
    alpha = 1.0 - plan.level
    if plan.always_valid:
        bound = float(critical_z(1.0, alpha / plan.comparisons, tuned_for=alpha))
    else:
        bound = float(norm.isf(alpha / plan.comparisons / 2))
    return float(norm.sf(bound - effect) + norm.cdf(-bound - effect))


def sample_size(plan: Plan, wanted: float = 0.8) -> int:
    """Return the least number of units, of all arms together, with the wanted power.

    Args:
        plan: of the test.
        wanted: power, above 1 - level and below 1.

    Raises:
        UserError: a power out of range.
    """
    if not 1.0 - plan.level < wanted < 1:
        raise UserError(
            f"the power is {wanted:g}; it must lie above {1 - plan.level:.4g} (the error level) "
            "and below 1."
        )
    units = brentq(lambda n: power(plan, np.exp(n)) - wanted, 0.0, np.log(_MOST), xtol=1e-12)
    return int(np.ceil(np.exp(units) * (1 - 1e-9)))


def least_lift(plan: Plan, units: float, wanted: float = 0.8) -> float:
    """Return the smallest relative lift of the plan's sign that so many units find.

    Args:
        plan: of the test; of its ``lift`` only the sign counts.
        units: of all arms together.
        wanted: power.

    Raises:
        UserError: no lift that leaves a rate between 0 and 1 can be found with so few units.
    """
    if units < 2 * (1 + plan.comparisons):
        raise UserError(f"{units:g} units are too few for a test of {1 + plan.comparisons} arms.")
    up = plan.lift > 0
    # A rate stays between 0 and 1; for another mean any lift is thinkable.
    room = 1.0 / plan.baseline - 1.0 if up else 1.0
    most = room if plan.deviation is None else 1e6

    def short(size: float) -> float:
        return power(replace(plan, lift=size if up else -size), units) - wanted

    low, high = most * 1e-9, most * (1 - 1e-9)
    if short(high) < 0:
        raise UserError(
            f"{units:g} units find no lift at all with a power of {wanted:g}; plan for more."
        )
    size = float(brentq(short, low, high, xtol=1e-12))
    return size if up else -size
