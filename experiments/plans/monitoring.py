"""A running campaign against what its plan promised, at any moment and as often as one likes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.estimates import Estimate
from copygym.envs.logs.catalogue import HOLD
from copygym.evaluation.abtest.sample_ratio import sample_ratio
from copygym.evaluation.abtest.sequential import FIRST_LOOK, critical_z

#: Error over all looks together, split over what is looked at.
ALPHA = 0.05


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: what.
        found: in words, with numbers.
        alarm: whether somebody should look.
    """

    name: str
    found: str
    alarm: bool


@dataclass(frozen=True)
class Monitored:
    """How a campaign does.

    Attributes:
        due: messages whose time has come.
        planned: messages of the plan.
        clicks: of those that are due.
        promised: clicks that the plan predicted of them.
        gap: clicks per message above what was promised, with an always-valid 95% interval.
        checks: what was looked at.
    """

    due: int
    planned: int
    clicks: int
    promised: float
    gap: Estimate
    checks: tuple[Check, ...]

    @property
    def alarm(self) -> bool:
        """Whether any check asks for somebody."""
        return any(check.alarm for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "gap": self.gap.to_dict(), "alarm": self.alarm}


def monitor(
    joined: pl.DataFrame, now: datetime, *, control: float, most_unsubscribes: float = 0.01
) -> Monitored:
    """Compare what came of a plan so far with what it promised.

    Intervals hold at all looks together (`copygym.evaluation.abtest.sequential`), so that the
    command may run every hour.

    Args:
        joined: a plan with outcomes, of `copygym.experiments.plans.outcomes.join`.
        now: messages with a later time are not due.
        control: share that the control group was to have; 0 for none.
        most_unsubscribes: share of messages after which so many may unsubscribe.

    Raises:
        UserError: no message is due.
    """
    sent = joined.filter(pl.col("creative") != HOLD)
    due = sent.filter(pl.col("send_at") <= now)
    if due.is_empty():
        raise UserError(
            f"none of the {sent.height:,} messages was due at {now:%Y-%m-%d %H:%M} UTC; look later."
        )
    fraction = due.height / sent.height
    clicked = due["clicks"].to_numpy().astype(np.float64)
    promised = due["click_probability"].to_numpy()
    gap = _mean(clicked - promised, fraction)
    early = min(clicked.sum(), len(clicked) - clicked.sum()) < FIRST_LOOK
    told = (
        f"{clicked.mean():.2%} of {due.height:,} messages clicked, {promised.mean():.2%} promised"
    )
    if early:
        told += f"; too few to judge before {FIRST_LOOK} clicks"
    checks = [Check("clicks", f"{told}; difference {_shown(gap)}", not early and gap.high < 0)]
    lost = _mean(due["unsubscribes"].to_numpy().astype(np.float64), fraction)
    checks.append(
        Check(
            "unsubscribes",
            f"{lost.value:.2%} [{max(lost.low, 0):.2%}, {lost.high:.2%}] of messages; at most "
            f"{most_unsubscribes:.2%} was agreed",
            lost.low > most_unsubscribes,
        )
    )
    if control > 0:
        in_control = int(joined["control"].sum())
        units = [in_control, joined.height - in_control]
        ratio = sample_ratio(units, [control, 1 - control])
        checks.append(
            Check(
                "sample ratio",
                f"{in_control:,} of {joined.height:,} in the control group, {control:.0%} meant "
                f"(p = {ratio.p:.2g})",
                ratio.mismatch,
            )
        )
    checks += _by_channel(due, fraction)
    return Monitored(
        due.height, sent.height, int(clicked.sum()), float(promised.sum()), gap, tuple(checks)
    )


def _by_channel(due: pl.DataFrame, fraction: float) -> list[Check]:
    """Return, for each channel, whether it is silent where clicks were promised."""
    checks = []
    for channel, rows in due.group_by("channel", maintain_order=True):
        promised, clicks = float(rows["click_probability"].sum()), int(rows["clicks"].sum())
        # No click where so many are promised has a chance below a thousandth.
        silent = clicks == 0 and promised > -np.log(0.001)
        checks.append(
            Check(f"channel {channel[0]}", f"{clicks:,} clicks, {promised:,.0f} promised", silent)
        )
    return checks


def _mean(values: np.ndarray, fraction: float) -> Estimate:
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
    half = float(critical_z(fraction, ALPHA)) * error
    return Estimate(mean, mean - half, mean + half)


def _shown(gap: Estimate) -> str:
    return f"{100 * gap.value:+.2f} [{100 * gap.low:.2f}, {100 * gap.high:.2f}] points"
