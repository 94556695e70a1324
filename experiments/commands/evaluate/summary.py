"""A sweep's summary in W&B: one run with the aggregates, tables and figures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copygym.experiments.commands.evaluate import report as evaluate_report
from copygym.experiments.tracking.wandb import WandbConfig, WandbMirror


def summary_options(configs: Sequence[Mapping[str, Any]], mode: str) -> WandbConfig:
    """Return the summary's options: project, entity and group as the evaluated runs have them.

    Args:
        configs: of the runs.
        mode: of the summary's own run, see `WandbConfig`.

    Raises:
        UserError: an unknown mode.
    """
    trackers = [config["tracker"] for config in configs]
    shared = {
        key: trackers[0][key]
        for key in ("project", "entity", "group")
        if len({tracker[key] for tracker in trackers}) == 1
    }
    return WandbConfig(mode=mode, **shared)


def log_summary(
    result: Mapping[str, Any], options: WandbConfig, folder: Path, group: str
) -> WandbMirror:
    """Send an evaluation to W&B as a run of job type "summary" and return the closed mirror.

    Args:
        result: of `evaluate_report.combined`.
        options: of `summary_options`.
        folder: W&B's own files go to ``wandb/`` in it.
        group: of the run where the options leave it open: the sweep's.
    """
    told = ("title", "metric", "baseline", "unit", "tasks", "policies", "learned")
    names = {"group": group, "job_type": "summary", "name": f"{options.group or group}-summary"}
    mirror = WandbMirror(options, folder, {key: result[key] for key in told}, names)
    mirror.table("main", evaluate_report.main_table(result))
    for section in evaluate_report.sections(result):
        for number, table in enumerate(section.tables, 1):
            suffix = f"_{number}" if len(section.tables) > 1 else ""
            mirror.table(section.heading.lower().replace(" ", "_") + suffix, table)
        for picture in section.pictures:
            mirror.image(picture.name, picture.png)
    mirror.summary(numbers(result))
    mirror.finish()
    return mirror


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return an evaluation's values by name: POLICY/METRIC, and aggregate/POLICY/STATISTIC.

    Several tasks put theirs in front: TASK/POLICY/METRIC.
    """
    several = len(result["tasks"]) > 1
    found = {
        f"{f'{task}/' if several else ''}{policy}/{metric}": estimate["value"]
        for task, by_policy in result["table"].items()
        for policy, entry in by_policy.items()
        for metric, estimate in entry["metrics"].items()
    }
    aggregates = result.get("aggregates") or {}
    for policy, by_statistic in aggregates.get("statistics", {}).items():
        for statistic, estimate in by_statistic.items():
            for end in ("value", "low", "high"):
                name = statistic if end == "value" else f"{statistic}_{end}"
                found[f"aggregate/{policy}/{name}"] = estimate[end]
    for policy, estimate in aggregates.get("beats", {}).items():
        found[f"aggregate/{policy}/probability_of_improvement"] = estimate["value"]
    return {name: value for name, value in found.items() if value is not None}


__all__ = ["log_summary", "numbers", "summary_options"]
