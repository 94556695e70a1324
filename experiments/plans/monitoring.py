"""A running campaign against what its plan promised, at any moment and as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.estimates import Estimate
from copygym.envs.logs.catalogue import HOLD
from copygym.evaluation.abtest.drift import DriftAlarm, residual_sums
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
    joined: pl.DataFrame,
    now: datetime,
    *,
    control: float,
    most_unsubscribes: float = 0.01,
    earlier: Sequence[pl.DataFrame] = (),
) -> Monitored:
    """Compare what came of a plan so far with what it promised.

    Intervals hold at all looks together (`copygym.evaluation.abtest.sequential`), so that the
    command may run every hour.

    Args:
        joined: a plan with outcomes, of `copygym.experiments.plans.outcomes.join`.
        now: messages with a later time are not due.
        control: share that the control group was to have; 0 for none.
        most_unsubscribes: share of messages after which so many may unsubscribe.
        earlier: plans with outcomes of the rounds before, oldest first, of the same policy.

    Raises:
        UserError: no message is due, or an earlier round is of another policy.
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
        checks.append(_against_control(joined, fraction))
    checks += _by_channel(due)
    if earlier:
        checks.append(_drift([*earlier, due]))
    return Monitored(
        due.height, sent.height, int(clicked.sum()), float(promised.sum()), gap, tuple(checks)
    )


def _by_channel(due: pl.DataFrame) -> list[Check]:
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


def _against_control(joined: pl.DataFrame, fraction: float) -> Check:
    """Return what sending adds: who bought, of those who might be sent something and of the rest.

    Everybody counts in the group that chance put them in, whether or not anything was sent to them.
    """
    groups = [joined.filter(pl.col("control") == one)["bought"].to_numpy() for one in (True, False)]
    if min(len(group) for group in groups) < 2:
        return Check("conversions", "one of the groups is empty, so nothing can be compared", False)
    held, free = (_mean(group.astype(np.float64), fraction) for group in groups)
    # Errors of two groups that share nobody add up in squares.
    half = float(np.hypot(held.high - held.value, free.high - free.value))
    gain = Estimate(
        free.value - held.value, free.value - held.value - half, free.value - held.value + half
    )
    told = f"{free.value:.2%} bought, {held.value:.2%} in the control group"
    early = min(int(group.sum()) for group in groups) < FIRST_LOOK
    if early:
        told += f"; too few to judge before {FIRST_LOOK} in each"
    return Check("conversions", f"{told}; sending adds {_shown(gain)}", not early and gain.high < 0)


def _drift(rounds: Sequence[pl.DataFrame]) -> Check:
    """Return whether clicks beyond what was promised have changed from round to round, by topic."""
    sent = [one.filter(pl.col("creative") != HOLD) for one in rounds]
    policies = pl.concat([one["policy"] for one in sent]).unique().sort().to_list()
    if len(policies) > 1:
        raise UserError(
            f"the rounds are of different policies ({', '.join(policies)}), whose promises cannot "
            "be held against each other; give the earlier rounds of one."
        )
    users = pl.concat([one["user"] for one in sent]).unique().sort()
    topics = pl.concat([one["topic"] for one in sent]).unique().sort()
    alarm = DriftAlarm(ALPHA)
    for one in sent:
        residual = (one["clicks"] - one["click_probability"]).to_numpy()
        alarm.update(
            *residual_sums(
                users.search_sorted(one["user"]).to_numpy().astype(np.int64),
                topics.search_sorted(one["topic"]).to_numpy().astype(np.int64),
                len(topics), np.ones(len(residual)), residual,
            )
        )  # fmt: skip
    evidence = np.exp(min(alarm.log_e, 100.0))
    told = f"evidence of {evidence:.2g} over {len(sent)} rounds, {1 / ALPHA:g} rings"
    if alarm.alarm is not None:
        told += f"; since round {alarm.alarm} clicks are not what they were"
    return Check("drift", told, alarm.alarm is not None)


def _mean(values: np.ndarray, fraction: float) -> Estimate:
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
    half = float(critical_z(fraction, ALPHA)) * error
    return Estimate(mean, mean - half, mean + half)


def _shown(gap: Estimate) -> str:
    return f"{100 * gap.value:+.2f} [{100 * gap.low:.2f}, {100 * gap.high:.2f}] points"
