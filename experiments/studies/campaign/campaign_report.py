"""What a campaign says: copy and policy together, then each alone, from its records."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from copygym.evaluation.records import Records, filtered
from copygym.experiments.report.blocks import estimates_table, texts_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.studies.copy import copywriting_report as of_copy
from copygym.experiments.studies.delivery import delivery_report as of_delivery
from copygym.experiments.studies.delivery import verdict_report as deployment

#: Products whose copy the report shows.
_PRODUCTS = 8


def report(records: Records) -> Report:
    """Return what copy and policy gained over the log's, and what the copywriter did alone."""
    about = records.first
    # Both parts have learning curves and segments of their own.
    delivered, written = records.where(writer=None), records.where(policy=None)
    copywriter = Section(
        "The copywriter alone", (of_copy.summary(written),), (of_copy.main_table(written),)
    )
    return Report(
        f"New copy and its delivery on {about['log']}: does it pay?",
        _summary(records, written),
        of_delivery.main_table(delivered),
        [
            _gains(delivered),
            of_delivery.comparison(delivered),
            _creatives(records),
            copywriter,
            *of_copy.sections(written),
            of_delivery.more_metrics(delivered),
            *of_delivery.one_seed(delivered),
        ],
        (verdict(delivered), deployment.verdict(delivered)),
    )


def _summary(records: Records, written: Records) -> str:
    about = records.first
    one = records.only()
    won, places, passed, sendable = (
        one.number(name)["value"] for name in ("places_won", "places", "passed", "sendable")
    )
    count = len(records.where(writer=None, versus=None, segment=None).values("policy"))
    return (
        f"{of_copy.summary(written)} {passed:.0%} of what was written passed the check of "
        "its claims; what did not pass was left out. New copy then competed with the log's for the "
        f"{about['per_product']} places of each product and audience in the campaign and "
        f"won {won:,.0f} of {places:,.0f}, by the training reward; of what is sent {sendable:.0%} "
        f"passes the check. {about['algorithm']} trained the writer; {about['agent']} learned to "
        "deliver the log's best and this catalogue, "
        f"for {about['steps']:,} decisions each on simulated users. "
        f"{count} combinations of copy and policy met the same held-out people with the "
        "same luck."
    )


def verdict(records: Records) -> str:
    """Return whether new copy wins with the agent that learned, in one sentence."""
    learned = records.first["learned"]
    before = _without_new_copy(records, learned)
    gains = {
        name: records.number(key, policy=learned, versus=before, segment=None)
        for name, key in (
            ("clicks", "clicks_per_user"),
            ("profit", "profit_per_user"),
            ("unsubscribes", "unsubscribe_rate"),
        )
    }
    told = ", ".join(
        f"{100 * (g['value'] or 0.0):+.1f} points of unsubscribes"
        if name == "unsubscribes"
        else f"{g['value']:+.3g}{_edges(g)} {name}"
        for name, g in gains.items()
    )
    lowest = {name: gain["low"] or 0.0 for name, gain in gains.items()}
    wins = min(lowest["clicks"], lowest["profit"]) > 0 and lowest["unsubscribes"] <= 0
    words = "New copy wins" if wins else "It is not shown that new copy wins"
    return f"{words}: beside the log's, it gave {records.first['agent']} {told} per user."


def _edges(gain: Mapping[str, float | None]) -> str:
    return "" if gain["low"] is None else f" [{gain['low']:+.3g}, {gain['high']:+.3g}]"


def _without_new_copy(records: Records, policy: str) -> str:
    """Return the policy that delivers the log's copy as ``policy`` delivers the new."""
    logged = records.first["baseline"].split(", ", 1)[0]
    return f"{logged}, {policy.split(', ', 1)[1]}"


def _gains(records: Records) -> Section:
    """Return what each policy gains by new copy, paired by user."""
    frame = records.estimates
    named = records.where(versus=None, segment=None, step=None).values("policy")
    policies = [name for name in named if name and name != _without_new_copy(records, name)]
    pairs = [(name, _without_new_copy(records, name)) for name in policies]
    kept = pl.concat([filtered(frame, policy=a, versus=b, segment=None) for a, b in pairs])
    caption = (
        "Difference by new copy: the same policy with the log's copy alone, same users, same luck. "
        "Of a text that was never sent, "
        f"{records.first['caution']:g} standard deviations of what the reward model's committee "
        "says of it were taken off, when it was chosen and where agents learned. "
        "Percentages are percentage points."
    )
    table = estimates_table(kept, "policy", of_delivery.MAIN, caption)
    return Section("What new copy is worth", (verdict(records),), (table,))


def _creatives(records: Records) -> Section:
    """Return the log's best copy and the new copy of some products, audience by audience."""
    entries = records.first["creatives"]
    products = list(dict.fromkeys(entry["product"] for entry in entries))
    # Evenly spaced, so that nobody chose them.
    step = max(1, len(products) // _PRODUCTS)
    tables = tuple(
        texts_table(
            [entry for entry in entries if entry["product"] == product],
            {"audience": product, "before": "logged copy", "after": "sent now", "new": "new"},
        )
        for product in products[::step][:_PRODUCTS]
    )
    words = f"{len(tables)} of {len(products)} products, evenly spaced; each audience has its own."
    return Section("What is sent: before and after, by audience", (words,), tables, folded=True)
