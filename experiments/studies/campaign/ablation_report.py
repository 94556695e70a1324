"""What E12 says: tables, figure and words from its records."""

from __future__ import annotations

import polars as pl

from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import (
    Shown,
    by_seed,
    estimates_table,
    forest,
    shown,
    texts_table,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

_METRICS = ("clicks_per_user", "ctr", "profit_per_user", "unsubscribe_rate", "sends_per_user")
_PANELS = ("clicks_per_user", "profit_per_user", "unsubscribe_rate")
#: Copies of each catalogue that the report shows.
_COPIES = 3


def report(records: Records) -> Report:
    """Return what a copywriter, an agent, both and neither bought in the same worlds."""
    count = len(records.seeds)
    worlds = f"{count} worlds" if count > 1 else "one world"
    return Report(
        f"Copy, delivery or both? {worlds} of {records.first['log']}",
        _summary(records, worlds),
        _main_table(records, worlds),
        [
            _effects(records.estimates),
            by_seed(records, "policy", ("clicks_per_user",), unit="world"),
            Section("Copies", (), (_copies(records),), folded=True),
        ],
    )


def _main_table(records: Records, worlds: str) -> Table:
    about, frame = records.first, records.estimates
    several = f"Interquartile means over {worlds} with 95% bootstrap intervals over worlds"
    caption = (
        f"{several if len(records.seeds) > 1 else 'One world, without intervals'}; "
        f"{about['users']:,} held-out people each, {about['horizon']} slots. A scored "
        f"sample of the copywriter counts for {about['sample_cost']:,.0f} decisions; copy, "
        f"delivery and both have {about['budget']:,} to spend. Without the copywriter the log's "
        "best copy is sent, without the agent as the log sent. Gain: clicks per user over neither "
        f"in the same world. {about['judge']}"
    )
    # One column for what is a difference: over neither, and not of two others.
    gains = filtered(frame, metric="clicks_per_user", versus="neither")
    rows = pl.concat([filtered(frame, versus=None), gains.with_columns(metric=pl.lit("gain"))])
    spent = {"samples": Shown("samples", alone=True), "steps": Shown("decisions", alone=True)}
    metrics = {**spent, **shown(_METRICS), "gain": Shown("gain")}
    return estimates_table(rows, "policy", metrics, caption, heading="who learns")


def _summary(records: Records, worlds: str) -> str:
    about, frame = records.first, records.estimates

    def gain(policy: str) -> str:
        return interval(number(frame, "clicks_per_user", policy=policy, versus="neither"))

    return (
        f"In {worlds} of {about['log']} a copywriter and a delivery agent "
        f"({about['agent']}) learned alone and together with a budget of {about['budget']:,} "
        f"decisions. {about['judge']} Clicks per user over what the log did: copy alone "
        f"{gain('copy')}, delivery alone {gain('delivery')}, both {gain('both')}; with twice the "
        f"budget {gain('both, twice')}, of which {interval(number(frame, 'interaction'))} is more "
        "than the sum of each alone."
    )


def _effects(frame: pl.DataFrame) -> Section:
    name = pl.concat_str("policy", "versus", separator=" - ").fill_null("interaction")
    differences = frame.filter(
        pl.col("versus").is_not_null() | (pl.col("metric") == "interaction")
    ).with_columns(difference=name, metric=pl.lit("clicks_per_user"))
    table = estimates_table(
        differences,
        "difference",
        {"clicks_per_user": METRICS["clicks_per_user"]},
        "Differences in the same world, intervals as above. Interaction: both with twice the "
        "budget, less copy alone, less delivery alone; above 0 the two are worth more together.",
    )
    picture = forest(
        filtered(frame, versus=None),
        "policy",
        _PANELS,
        "ablation",
        "Copy, delivery, both or neither in synthetic worlds, with 95% intervals over "
        "worlds; both under the same budget in orange.",
        strong="both",
    )
    return Section("What each adds", (), (table,), (picture,))


def _copies(records: Records) -> Table:
    rows = [
        {"copy": text, "world": str(seed), "samples": samples}
        for seed, about in sorted(records.about.items())
        for samples, texts in sorted(about["texts"].items(), key=lambda item: int(item[0]))
        for text in texts[:_COPIES]
    ]
    caption = (
        "Three of the copies that were sent, by the samples that the copywriter could spend; 0 is "
        "the log's."
    )
    return texts_table(rows, {"copy": "copy", "world": "world", "samples": "samples"}, caption)
