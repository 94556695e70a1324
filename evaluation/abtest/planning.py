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

from copygym.core.errors import UserError
from copygym.evaluation.abtest.sequential import critical_z

#: Units beyond which no test is planned.
_MOST = 1e13
#: Numbers beyond them cannot be squared.
_SMALL, _LARGE = 1e-100, 1e100


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
        if not 0 < self.baseline < _LARGE:
            raise UserError(
                f"the baseline is {self.baseline:g}; it must be above 0 and below 1e100."
            )
        if self.deviation is not None and not 0 < self.deviation < _LARGE:
            raise UserError(
                f"the standard deviation is {self.deviation:g}; it must be above 0 and below 1e100."
            )
        if self.lift == 0:
            raise UserError("a lift of 0 cannot be found by any test; give the least that matters.")
        if not abs(self.lift) < _LARGE:
            raise UserError(f"the lift is {self.lift:g}; give one such as 0.1 or 10%.")
        if self.deviation is None and not 0 < self.treated < 1:
            raise UserError(
                f"a lift of {self.lift:.4g} on {self.baseline:g} gives the rate "
                f"{self.treated:.4g}, which is not between 0 and 1."
            )
        if not 0 < self.level < 1:
            raise UserError(f"the level is {self.level:g}; it must lie between 0 and 1.")
        if self.comparisons < 1:
            raise UserError("a test needs at least two arms.")
        if self.comparisons > 999:
            raise UserError(f"{self.comparisons + 1} arms are too many; plan for 1000 at most.")
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
        units: of all arms together; every arm needs at least 2.

    Raises:
        UserError: too few units for an arm's variance.
    """
    _check_units(plan, units)
    control, other = plan.shares
    reduce = 1.0 - plan.correlation**2
    if plan.deviation is None:
        variances = [rate * (1 - rate) for rate in (plan.baseline, plan.treated)]
    else:
        variances = [plan.deviation**2] * 2
    total = reduce * (variances[0] / control + variances[1] / other) / units
    # An error that is 0 in double precision leaves a power of 1.
    error = np.sqrt(total) + 1e-300
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
    _check_power(plan, wanted)
    least = 2.0 / min(plan.shares)
    if power(plan, least) >= wanted:
        return int(np.ceil(least))
    if least >= _MOST or power(plan, _MOST) < wanted:
        raise UserError(
            f"even {_MOST:.0e} units do not find a lift of {plan.lift:.3g} on {plan.baseline:.3g} "
            f"with a power of {wanted:g}; plan for a larger lift or rate."
        )
    ends = float(np.log(least)), float(np.log(_MOST))
    units = brentq(lambda n: power(plan, np.exp(n)) - wanted, *ends, xtol=1e-12)
    return max(int(np.ceil(least)), int(np.ceil(np.exp(units) * (1 - 1e-9))))


def _check_power(plan: Plan, wanted: float) -> None:
    if not 1.0 - plan.level < wanted < 1:
        raise UserError(
            f"the power is {wanted:g}; it must lie above {1 - plan.level:.4g} (the error level) "
            "and below 1."
        )


def _check_units(plan: Plan, units: float) -> None:
    if not units * min(plan.shares) >= 2 * (1 - 1e-9):
        raise UserError(
            f"{units:g} units are too few for a test of {1 + plan.comparisons} arms; every arm "
            f"needs at least 2, so plan for {np.ceil(2 / min(plan.shares)):,.0f} or more."
        )


def least_lift(plan: Plan, units: float, wanted: float = 0.8) -> float:
    """Return the smallest relative lift of the plan's sign that so many units find.

    Args:
        plan: of the test; of its ``lift`` only the sign counts.
        units: of all arms together.
        wanted: power.

    Raises:
        UserError: a power out of range, or no lift that leaves a rate between 0 and 1 can be found
            with so few units.
    """
    _check_power(plan, wanted)
    _check_units(plan, units)
    up = plan.lift > 0
    # A rate stays between 0 and 1; for another mean any lift is thinkable.
    room = 1.0 / plan.baseline - 1.0 if up else 1.0
    most = room if plan.deviation is None else 1e6

    def short(size: float) -> float:
        return power(replace(plan, lift=size if up else -size), units) - wanted

    low, high = most * (1e-15 if plan.deviation is None else 1e-150), most * (1 - 1e-9)
    if short(high) < 0:
        raise UserError(
            f"{units:g} units find no lift at all with a power of {wanted:g}; plan for more."
        )
    ends = float(np.log(low)), float(np.log(high))
    size = float(np.exp(brentq(lambda log_size: short(np.exp(log_size)), *ends, xtol=1e-12)))
    return size if up else -size
