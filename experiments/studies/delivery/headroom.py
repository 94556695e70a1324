"""Study: how much is there to gain in storefront, and does each kind of policy gain it?

A benchmark is useful only where better methods score better. In several worlds (each with its own
people, log and luck) the delivery study is run, and a ladder is checked: uniform < logging < best
fixed < learned < upper reference, with sending always clearly below the best schedule. Synthetic
throughout.

Records: those of the delivery study without segments, and ``gain`` in clicks per user of each step
of the ladder, ``policy`` less ``versus``, paired by user.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import policy_metrics
from copygym.evaluation.records import Records, Rows, number
from copygym.experiments.report.blocks import by_seed, forest
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import learned_name, policies
from copygym.experiments.studies.delivery import delivery
from copygym.experiments.studies.delivery.delivery_report import (
    MAIN,
    intervals,
    over_seeds,
    plain,
    policy_table,
)
from copygym.experiments.studies.people import has_truth
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

_KEY = "clicks_per_user"
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, split, fit, "
    "learning and luck."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: headroom is measured in a synthetic world, such as "
            "storefront, whose truth is known."
        )
    delivery.check(config)
    _pairs(config)


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records.

    Config keys: those of `delivery.seed_records`, ``ladder`` (policies from worst to best;
    "learned" stands for the config's agent) and ``below`` (pairs, worse then better).
    """
    done = delivery.compare(config, folder, trackers)
    rows = Rows(int(config["seed"]))
    delivery.add_policies(rows, config, done.played)
    boot = derived_seed(config["seed"], "bootstrap")
    resamples = int(config["evaluation"]["resamples"])
    pairs = _pairs(config)
    for worse, better in pairs:
        pair = {name: done.played[name] for name in (worse, better)}
        differences = policy_metrics(pair, worse, None, resamples, boot)["differences"]
        rows.add("gain", differences[better][_KEY], policy=better, versus=worse)
    told = delivery.told(
        config,
        done,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        ladder=[list(pair) for pair in pairs],
    )
    return Records(rows.frame, {rows.seed: told})


def _pairs(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    learned = learned_name(config)
    ladder = [learned if name == "learned" else name for name in config["ladder"]]
    below = [tuple(learned if n == "learned" else n for n in pair) for pair in config["below"]]
    known = policies(config)
    for name in (*ladder, *(n for pair in below for n in pair)):
        if name not in known:
            raise UserError(
                f"ladder: {name!r} is no policy of this run; choose among {', '.join(known)}."
            )
    return [*pairwise(ladder), *((a, b) for a, b in below)]


def report(records: Records) -> Report:
    """Return the ladder, and whether each step of it is clear of the other's interval."""
    about = records.first
    count = len(records.seeds)
    worlds = f"{count} synthetic storefront worlds" if count > 1 else "a synthetic storefront world"
    ordered = _ordered(records)
    clear = {pair: _clear(records, *pair) for pair in map(tuple, about["ladder"])}
    unclear = [f"{worse} < {better}" for (worse, better), holds in clear.items() if not holds]
    verdict = (
        f"Not every step is clear of the other's interval: {', '.join(unclear)}."
        if unclear
        else "Every step of the ladder lies outside the other's interval."
    )
    summary = (
        f"In {worlds}, {len(ordered.values('policy'))} policies learned on users simulated from "
        f"each world's log and were judged on {about['users']:,} held-out people of it by the "
        f"worlds' own truth over {about['horizon']} slots. {verdict}"
    )
    caption = f"{intervals(records)}, {about['horizon']} slots. {about['judge']}"
    picture = forest(
        plain(ordered).estimates,
        "policy",
        (_KEY, "profit_per_user", "unsubscribe_rate"),
        "headroom",
        "Value of each policy in storefront (synthetic) with 95% intervals.",
        strong=about["learned"],
    )
    sections = [Section("The ladder", (), (_steps(records, clear),), (picture,))]
    if count > 1:
        sections.append(by_seed(plain(ordered), "policy", (_KEY,), unit="world"))
        sections.append(over_seeds(records, _KEY, "worlds"))
    table = policy_table(ordered, (*MAIN, "sends_per_user"), caption)
    return Report("Headroom of the storefront world", summary, table, sections)


def _ordered(records: Records) -> Records:
    """Return the records with policies from worst to best; those in no step come first."""
    order: list[str] = []
    for worse, better in records.first["ladder"]:
        if better not in order:
            order.append(better)
        if worse not in order:
            order.insert(order.index(better), worse)
    names = [*(n for n in records.values("policy") if n not in order), *order]
    place = pl.col("policy").replace_strict(names, list(range(len(names))), default=len(names))
    return Records(records.frame.sort(place, maintain_order=True), records.about)


def _clear(records: Records, worse: str, better: str) -> bool:
    """Return whether neither value lies in the other's interval."""
    frame = plain(records).estimates
    low, high = (number(frame, _KEY, policy=name) for name in (worse, better))
    edges = [high["value"], low["high"], high["low"], low["value"]]
    if None in edges:
        return False
    value, above, below, under = map(float, edges)  # type: ignore[arg-type]
    return value > above and under < below


def _steps(records: Records, clear: Mapping[tuple[str, ...], bool]) -> Table:
    rows = []
    for (worse, better), holds in clear.items():
        gains = records.by_seed("gain", policy=better, versus=worse)
        rows.append(
            (
                f"{worse} < {better}",
                interval(records.number("gain", policy=better, versus=worse)),
                "yes" if holds else "no",
                f"{(gains > 0).sum()} of {len(gains)}",
            )
        )
    return Table(
        ("step", "gain in clicks per user", "clear", "worlds in which it holds"),
        tuple(rows),
        "Gains are paired by user; a step is clear where neither value lies in the other's 95% "
        "interval.",
    )
