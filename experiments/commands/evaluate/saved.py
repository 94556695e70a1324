"""``copygym evaluate --saved``: aggregates over many runs from the results that they have saved.

Nothing is played and no log is read, so that a sweep of a thousand runs is summed up in seconds.
Runs that differ in their agent alone are one run of several agents, as in `evaluate_runs`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import METRICS
from copygym.experiments.commands.evaluate.runs import (
    Source,
    finished_state,
    labels_of,
    setting_of,
    tasks_of,
)
from copygym.experiments.report import aggregates as aggregate_report
from copygym.experiments.report.evidence import cautions
from copygym.experiments.studies.build import learned_name


def aggregated(
    folders: Sequence[Path], metric: str, resamples: int, baseline: str | None = None
) -> dict[str, Any]:
    """Return the aggregates over finished runs, as `aggregate_report.over_runs` does.

    Args:
        folders: of runs or of multiruns.
        metric: that policies are compared by.
        resamples: of the bootstrap over runs.
        baseline: that counts as 0; None: the runs' own.

    Raises:
        UserError: no such folder, a run that has not finished, or one without policies.
    """
    read = [_read(path, metric) for path in _runs(folders)]
    found = [(source, values) for source, values, _ in read]
    sources = [source for source, _ in found]
    labels, tasks = labels_of(sources), tasks_of(sources)
    merged: dict[str, dict[str, float]] = {}
    task_of: dict[str, str] = {}
    path_of: dict[str, Path] = {}
    for (source, values), label, task in zip(found, labels, tasks, strict=True):
        key = json.dumps([setting_of(source.config), source.seed], sort_keys=True)
        own = learned_name(source.config)
        run = merged.setdefault(key, {k: v for k, v in values.items() if k != own})
        run[label] = values[own]
        task_of[key], path_of[key] = task, source.path
    bases = {str(source.config["evaluation"]["baseline"]) for source in sources}
    if baseline is None and len(bases) > 1:
        raise UserError(
            f"the runs have different baselines ({', '.join(sorted(bases))}); name one of them by "
            "--baseline."
        )
    base = baseline or bases.pop()
    for key, run in merged.items():
        if base not in run:
            raise UserError(
                f"{path_of[key]} has no policy {base!r}: choose a baseline among {', '.join(run)}."
            )
    result = aggregate_report.over_runs(
        list(merged.values()),
        [task_of[key] for key in merged],
        base,
        "upper" if all("upper" in run for run in merged.values()) else None,
        what=METRICS[metric].label,
        resamples=resamples,
        seed=derived_seed(0, "bootstrap"),
    )
    result["cautions"] = list(dict.fromkeys(text for _, _, texts in read for text in texts))
    return result


def _runs(folders: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for folder in folders:
        own = [folder] if (folder / "run.json").exists() else []
        runs = own or sorted(path.parent for path in folder.glob("*/run.json"))
        if not runs:
            raise UserError(f"{folder} holds no copygym run; give the folder that it printed.")
        found.update({run.resolve(): run for run in runs})
    return list(found.values())


def _read(folder: Path, metric: str) -> tuple[Source, dict[str, float], list[str]]:
    """Return a finished run, the value of each of its policies, and what its log cannot support."""
    state = finished_state(folder)
    config, result = state["config"], read_json(folder / "result.json")
    if str(config["job"]).rpartition(".")[2] != "delivery":
        raise UserError(
            f"{folder} is a run of {config['name']}; --saved sums up runs of the job delivery."
        )
    values = {name: entry[metric]["value"] for name, entry in result["metrics"].items()}
    order = tuple(result["policies"])
    source = Source(folder.name, folder, config, str(state["code"]), order)
    return source, values, cautions(result)


def text(found: dict[str, Any]) -> str:
    """Return what is printed: the tables of `aggregate_report`, without its figure."""
    notes = "".join(f"\ncaution, {text}\n" for text in found.get("cautions", ()))
    if "missing" in found:
        return f"\n{found['missing']}\n{notes}"
    section = aggregate_report.section(found)
    parts = [section.heading, *section.text]
    for table in section.tables:
        parts += [table.to_text(), table.caption]
    return "\n" + "\n\n".join(parts) + f"\n{notes}"
