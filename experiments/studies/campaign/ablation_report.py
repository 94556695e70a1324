"""Tables, figures and sections of E12, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.metrics import METRICS
from copygym.experiments.report.figures import interval_figure, metric_panels
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

_SHOWN = ("clicks_per_user", "ctr", "profit_per_user", "unsubscribe_rate", "sends_per_user")


def main_table(result: Mapping[str, Any]) -> Table:
    """Return what each cell may spend and what came of it."""
    rows = tuple(
        (
            name,
            f"{result['arms'][name]['samples']:,}",
            f"{result['arms'][name]['steps']:,}",
            *(interval(result["estimates"][name][key], METRICS[key].unit) for key in _SHOWN),
            interval(result["effects"][name]) if name in result["effects"] else "-",
        )
        for name in result["policies"]
    )
    caption = (
        f"Interquartile means over {len(result['seeds'])} worlds with 95% bootstrap intervals over "
        f"worlds; {result['users']:,} held-out people each, {result['horizon']} slots. A scored "
        f"sample of the copywriter counts for {result['sample_cost']:,.0f} decisions; copy, "
        f"delivery and both have {result['budget']:,} to spend. Without the copywriter the log's "
        "best copy is sent, without the agent as the log sent. Gain: clicks per user over neither "
        f"in the same world. {result['judge']}"
    )
    columns = ("who learns", "samples", "decisions", *(METRICS[k].label for k in _SHOWN), "gain")
    return Table(columns, rows, caption)


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    effects = result["effects"]
    return (
        f"In {len(result['seeds'])} storefront worlds a copywriter and a delivery agent "
        f"({result['agent']}) learned alone and together with a budget of {result['budget']:,} "
        f"decisions. {result['judge']} Clicks per user over what the log did: copy alone "
        f"{interval(effects['copy'])}, delivery alone {interval(effects['delivery'])}, both "
        f"{interval(effects['both'])}; with twice the budget {interval(effects['both, twice'])}, "
        f"of which {interval(effects['interaction'])} is more than the sum of each alone."
    )


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    effects = Table(
        ("clicks per user", "difference"),
        tuple((name, interval(entry)) for name, entry in result["effects"].items()),
        "Differences in the same world, interquartile means with 95% intervals over worlds. A name "
        "alone: over neither. Interaction: both with twice the budget, less copy alone, less "
        "delivery alone; above 0 the two are worth more together.",
    )
    panels = metric_panels(
        {name: result["estimates"][name] for name in result["policies"]},
        ("clicks_per_user", "profit_per_user", "unsubscribe_rate"),
    )
    picture = interval_figure(
        "ablation",
        "Copy, delivery, both or neither in storefront (synthetic), with 95% intervals over "
        "worlds; both under the same budget in orange.",
        panels,
        "both",
    )
    worlds = Table(
        ("world", *result["policies"]),
        tuple(
            (seed, *(f"{run[name]['clicks_per_user']:.3f}" for name in result["policies"]))
            for seed, run in sorted(result["seeds"].items(), key=lambda item: int(item[0]))
        ),
        "Clicks per user.",
    )
    texts = Table(
        ("copy", "world", "samples"),
        tuple(
            (text, seed, samples)
            for seed, by_samples in sorted(result["texts"].items(), key=lambda item: int(item[0]))
            for samples, found in sorted(by_samples.items(), key=lambda item: int(item[0]))
            for text in found[:3]
        ),
        "Three of the copies that were sent, by the samples that the copywriter could spend; 0 is "
        "the log's.",
    )
    return [
        Section("What each adds", (), (effects,), (picture,)),
        Section("By world", (), (worlds,), folded=True),
        Section("Copies", (), (texts,), folded=True),
    ]
