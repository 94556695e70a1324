"""Experiment: how much is there to gain in storefront, and does each kind of policy gain it?

A benchmark is useful only where better methods score better. For several worlds (each with its
own people, log and seeds) the delivery experiment is run, and the ladder is checked: uniform <
logging < best fixed < learned < upper reference, with sending always clearly below the best
schedule. Synthetic throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES
from copygym.evaluation.metrics import METRICS, Episodes, policy_metrics
from copygym.experiments.report import aggregates as aggregate_report
from copygym.experiments.report.figures import interval_figure, metric_panels
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.seeds import derived_seed
from copygym.experiments.studies.build import learned_name, policies
from copygym.experiments.studies.delivery.delivery import check, compare
from copygym.experiments.studies.delivery.delivery_report import MAIN, policy_table
from copygym.experiments.studies.people import GOLD
from copygym.experiments.studies.seeds import of_seed, origins
from copygym.experiments.tracking.base import Trackers

_KEY = "clicks_per_user"
_SEEDS = (
    "intervals cover the luck of the held-out users only, not that of the worlds, of the fit and "
    "of the learning, of which there is one seed a world."
)


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the delivery experiment in every world; return the result (JSON types).

    Config keys: those of `delivery.run`, and ``seeds`` (worlds), ``ladder`` (policies from worst
    to best; "learned" stands for the config's agent) and ``below`` (pairs, worse then better).
    """
    if config["data"]["name"] != "storefront":
        raise UserError(f"dataset={config['data']['name']}: headroom is measured in storefront.")
    check(config)
    learned = learned_name(config)
    pairs = _pairs(config, learned)
    worlds = [int(seed) for seed in config["seeds"]]
    runs = []
    for seed in worlds:
        runs.append(compare(of_seed(config, seed), folder.child(f"worlds/{seed}"), trackers))
    names = _table_order(list(runs[0].played), pairs)
    pooled = {name: _pooled([run.played[name] for run in runs]) for name in names}
    resamples = int(config["evaluation"]["resamples"])
    boot = derived_seed(config["seed"], "bootstrap")
    numbers = policy_metrics(pooled, config["evaluation"]["baseline"], "upper", resamples, boot)
    steps = [
        _step(pooled, [run.played for run in runs], worse, better, resamples, boot)
        for worse, better in pairs
    ]
    by_world = {
        str(seed): policy_metrics(
            run.played, config["evaluation"]["baseline"], None, resamples, boot
        )["metrics"]
        for seed, run in zip(worlds, runs, strict=True)
    }
    baseline = str(config["evaluation"]["baseline"])
    users = len(next(iter(pooled.values())).users)
    horizon = int(config["env"]["horizon"])
    return {
        "title": "Headroom of the storefront world",
        "synthetic": True,
        "summary": (
            f"In {len(worlds)} synthetic storefront worlds, {len(names)} policies learned on users "
            f"simulated from each world's log and were judged on {users:,} held-out people by the "
            f"worlds' own truth over {horizon} slots. {_verdict(steps)}"
        ),
        **numbers,
        "policies": names,
        "learned": learned,
        "baseline": baseline,
        "upper": "upper",
        "users": users,
        "horizon": horizon,
        "judge": GOLD,
        "worlds": by_world,
        "aggregates": over_worlds(by_world, names, baseline, resamples),
        "steps": steps,
        **origins(worlds, [run.origin() for run in runs], _SEEDS),
        # The log's only note stands among the assumptions.
        "notes": [],
        "summary_numbers": {
            f"{name}/{_KEY}": numbers["metrics"][name][_KEY]["value"] for name in names
        },
    }


def over_worlds(
    by_world: Mapping[str, Any], names: Sequence[str], baseline: str, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the aggregates of policies over worlds, of which each has its own scale.

    Args:
        by_world: world -> policy -> metric -> ``{value, low, high}``.
        names: policies, "upper" among them.
        baseline: policy that counts as 0 in each world.
        resamples: of the bootstrap over worlds.
    """
    runs = [
        {name: float(metrics[name][_KEY]["value"]) for name in names}
        for metrics in by_world.values()
    ]
    label = METRICS[_KEY].label
    return aggregate_report.over_runs(
        runs, [""] * len(runs), baseline, "upper", what=label, unit="worlds", resamples=resamples
    )


def _pooled(parts: list[Episodes]) -> Episodes:
    """Return the users of several worlds as one population."""
    totals = np.concatenate([part.totals for part in parts])
    creatives = np.concatenate([part.creatives for part in parts])
    return Episodes(np.arange(len(totals)), totals, creatives)


def _pairs(config: Mapping[str, Any], learned: str) -> list[tuple[str, str]]:
    ladder = [learned if name == "learned" else name for name in config["ladder"]]
    below = [tuple(learned if n == "learned" else n for n in pair) for pair in config["below"]]
    known = policies(config)
    for name in (*ladder, *(n for pair in below for n in pair)):
        if name not in known:
            raise UserError(
                f"ladder: {name!r} is no policy of this run; choose among {', '.join(known)}."
            )
    return [*pairwise(ladder), *((a, b) for a, b in below)]


def _step(
    pooled: Mapping[str, Episodes],
    runs: list[dict[str, Episodes]],
    worse: str,
    better: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return one step of the ladder: the paired gain, and whether it is clear."""
    pair = {name: pooled[name] for name in (worse, better)}
    numbers = policy_metrics(pair, worse, None, resamples, seed)
    low, high = (numbers["metrics"][name][_KEY] for name in (worse, better))
    gains = [run[better].total("clicks").mean() - run[worse].total("clicks").mean() for run in runs]
    return {
        "worse": worse,
        "better": better,
        "gain": numbers["differences"][better][_KEY],
        # Clear: neither value lies in the other's interval.
        "clear": bool(high["value"] > low["high"] and low["value"] < high["low"]),
        "worlds_better": int(sum(gain > 0 for gain in gains)),
        "worlds": len(gains),
    }


def _table_order(names: list[str], pairs: list[tuple[str, str]]) -> list[str]:
    """Return the policies from worst to best; those in no pair (worse, better) come first."""
    order: list[str] = []
    for worse, better in pairs:
        if better not in order:
            order.append(better)
        if worse not in order:
            order.insert(order.index(better), worse)
    return [*(name for name in names if name not in order), *order]


def _verdict(steps: list[dict[str, Any]]) -> str:
    unclear = [f"{s['worse']} < {s['better']}" for s in steps if not s["clear"]]
    if not unclear:
        return "Every step of the ladder lies outside the other's interval."
    return f"Not every step is clear of the other's interval: {', '.join(unclear)}."


def main_table(result: Mapping[str, Any]) -> Table:
    """Return the ladder with its outcomes."""
    caption = (
        f"{len(result['worlds'])} synthetic worlds, {result['users']:,} held-out users pooled, "
        f"{result['horizon']} slots; 95% intervals by bootstrap over users. {result['judge']}"
    )
    return policy_table(result, (*MAIN, "sends_per_user"), "metrics", caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    steps = Table(
        ("step", "gain in clicks per user", "clear", "worlds in which it holds"),
        tuple(
            (
                f"{step['worse']} < {step['better']}",
                interval(step["gain"]),
                "yes" if step["clear"] else "no",
                f"{step['worlds_better']} of {step['worlds']}",
            )
            for step in result["steps"]
        ),
        "Gains are paired by user; a step is clear where neither value lies in the other's 95% "
        "interval.",
    )
    panels = metric_panels(
        {name: result["metrics"][name] for name in result["policies"]},
        (_KEY, "profit_per_user", "unsubscribe_rate"),
    )
    picture = interval_figure(
        "headroom",
        "Value of each policy in storefront (synthetic) with 95% intervals.",
        panels,
        result["learned"],
    )
    worlds = Table(
        ("world", *result["policies"]),
        tuple(
            (seed, *(interval(metrics[name][_KEY]) for name in result["policies"]))
            for seed, metrics in result["worlds"].items()
        ),
        "Clicks per user in each world.",
    )
    # Results of earlier versions hold the worlds' values, from which aggregates follow.
    found = result.get("aggregates") or over_worlds(
        result["worlds"], result["policies"], result["baseline"]
    )
    return [
        Section("The ladder", (), (steps,), (picture,)),
        Section("World by world", (), (worlds,)),
        aggregate_report.section(found),
    ]
