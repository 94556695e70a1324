"""What is printed of a plan."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from copygym.envs.logs.catalogue import HOLD
from copygym.experiments.report.tables import Table


def plan_summary(
    plan: pl.DataFrame, synthetic: bool, costs: Mapping[str, float] | None = None
) -> str:
    """Return counts of a plan: who gets something, who does not and why, and what is expected.

    Args:
        plan: the table of a plan.
        synthetic: whether the policy learned from a synthetic log.
        costs: channel -> currency of one send, where rules say so.
    """
    sent = plan.filter(pl.col("creative") != HOLD)
    held = plan.filter(pl.col("creative") == HOLD)
    rows = [("people", f"{plan.height:,}"), ("messages", f"{sent.height:,}")]
    rows += [
        (reason, f"{count:,}")
        for reason, count in held.group_by("reason", maintain_order=True).len().iter_rows()
    ]
    if sent.height:
        expected = float(sent["click_probability"].sum())
        rows.append(
            ("clicks expected", f"{expected:,.0f} ({expected / sent.height:.2%} a message)")
        )
        if costs:
            each = sent["channel"].replace_strict(dict(costs), default=0.0, return_dtype=pl.Float64)
            rows.append(("cost", f"{float(each.sum()):,.2f}"))
    counts = [
        (f"{name}: {value}", f"{count:,}")
        for name in ("channel", "slot", "product")
        for value, count in sent[name].value_counts(sort=True).head(5).iter_rows()
    ]
    kind = " (a policy that learned from a synthetic log)" if synthetic else ""
    first = Table((f"plan{kind}", ""), tuple(rows))
    second = Table(("of the messages", ""), tuple(counts))
    return "\n" + first.to_text() + ("\n\n" + second.to_text() if counts else "") + "\n"
