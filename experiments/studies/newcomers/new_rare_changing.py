"""Experiment E11: new users, rare products, changing tastes.

A simulator is easy to fit to people, creatives and times of which the log knows much. Here it is
asked for the others: people after their first few sends (`cold_start`), creatives by how rare they
are (`long_tail`), and tastes that move on, with and without updates (`drift`). Storefront worlds,
whose truth judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.storefront.world import ASSUMPTION
from copygym.evaluation.over_seeds import estimates
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.newcomers import cold_start, drift, long_tail
from copygym.experiments.studies.newcomers.new_rare_changing_report import (
    main_table,
    sections,
    summary,
)
from copygym.experiments.studies.seeds import check_seeds, values_by_seed
from copygym.experiments.tracking.base import Trackers

__all__ = ["main_table", "run", "sections"]

#: The metric that stands for a part; values by n, group or period are in ``estimates`` alone.
HEADLINE = "excess"
#: Part of the config and of the result -> its module and the key of its values.
PARTS: dict[str, tuple[ModuleType, str]] = {
    "cold_start": (cold_start, "profiles"),
    "long_tail": (long_tail, "models"),
    "drift": (drift, "updates"),
}


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``seeds``, ``cold_start``, ``long_tail``, ``drift`` (null leaves a part out),
    ``users`` (options of the fits), ``reward_model`` (of the texts, in the long tail) and
    ``evaluation.resamples``.
    """
    check(config)
    found = values_by_seed(config, folder, trackers, _in_world)
    boot = derived_seed(config["seed"], "bootstrap")
    resamples = int(config["evaluation"]["resamples"])
    result: dict[str, Any] = {
        "title": f"New users, rare products, changing tastes: {len(found)} worlds of storefront",
        "synthetic": True,
        "worlds": [int(seed) for seed in config["seeds"]],
    }
    for part in _given(config):
        key = PARTS[part][1]
        runs = [world[part][key] for world in found]
        compared = [{**run, **differences(run, pairs(part, run, config))} for run in runs]
        result[part] = {
            "settings": config[part],
            "estimates": estimates(compared, resamples, boot, "mean"),
            "seeds": {str(s): run for s, run in zip(config["seeds"], runs, strict=True)},
        }
    if "long_tail" in result:
        groups = [world["long_tail"]["groups"] for world in found]
        result["long_tail"]["groups"] = estimates(groups, resamples, boot, "mean")
        result["long_tail"]["creatives"] = found[0]["long_tail"]["creatives"]
    if "cold_start" in result:
        for key in ("people", "sends"):
            counts = [world["cold_start"][key] for world in found]
            result["cold_start"][key] = round(sum(counts) / len(counts))
    result["data"] = {
        f"storefront, seed {seed}: {name}": entry
        for seed, world in zip(config["seeds"], found, strict=True)
        for part in _given(config)
        for name, entry in world[part]["data"].items()
    }
    result["rows_seen"] = {
        f"{part}, {name}": entry
        for part in _given(config)
        for name, entry in found[0][part]["rows_seen"].items()
    }
    result["notes"] = []
    result["assumptions"] = [
        ASSUMPTION,
        f"intervals are over {len(found)} worlds, each with one seed of its people, log, split and "
        "fits; rows seen are those of the first.",
        "sizes, skew and speed of change are chosen, not measured: they decide how much there is "
        "to win.",
    ]
    result["summary"] = summary(result)
    result["summary_numbers"] = {
        f"{part}/{name}/{metric}": entry["value"]
        for part in _given(config)
        for name, metrics in result[part]["estimates"].items()
        for metric, entry in metrics.items()
        if metric == HEADLINE and not name.rpartition(", ")[2].isdigit()
    }
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    check_seeds(config)
    if config["data"]["name"] != "storefront":
        raise UserError(
            f"dataset={config['data']['name']}: new, rare and changing are measured in storefront, "
            "whose truth is known; real drift is experiment=e11_upworthy."
        )
    if not _given(config):
        raise UserError(f"all of {', '.join(PARTS)} are null: leave at least one.")
    for part in _given(config):
        PARTS[part][0].check(config)


def _given(config: Mapping[str, Any]) -> list[str]:
    return [part for part in PARTS if config.get(part) is not None]


def _in_world(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Return one world's values, each part from a stage of its own."""

    def compute(part: str) -> Record:
        return Record(PARTS[part][0].measure(config, folder))

    return {part: folder.stage(part, partial(compute, part)).values for part in _given(config)}


def pairs(
    part: str, run: Mapping[str, Any], config: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Return the comparisons of a part: name, one, other (the value is one less other)."""
    found = []
    if part == "cold_start":
        for name in run:
            for other in (cold_start.POPULATION, "demographics"):
                if name not in (other, cold_start.UPPER) and other in run:
                    found.append((f"{name} - {other}", name, other))
            if name.startswith("shrunk, "):
                raw = name.replace("shrunk, ", "raw means, ")
                if raw in run:
                    found.append((f"{name} - raw means", name, raw))
    elif part == "long_tail":
        for name in run:
            model, _, group = name.rpartition(", ")
            first = f"number, {group}"
            if model != "number" and first in run:
                found.append((f"{model} - number, {group}", name, first))
    else:
        for name in run:
            tastes, how, period = name.split(", ")
            first = f"{tastes}, {drift.ONCE}, {period}"
            if how != drift.ONCE and first in run:
                found.append((f"{tastes}, {how} - once, {period}", name, first))
    return found


def differences(
    run: Mapping[str, Mapping[str, float]], wanted: list[tuple[str, str, str]]
) -> dict[str, dict[str, float]]:
    """Return the differences of one world's values, so that those over worlds are paired."""
    return {
        name: {key: run[one][key] - run[other][key] for key in run[one] if key in run[other]}
        for name, one, other in wanted
    }
