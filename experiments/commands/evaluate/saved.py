"""``copygym evaluate --saved``: aggregates over many runs from the records that they have saved.

Nothing is played and no log is read, so that a sweep of a thousand runs is summed up in seconds.
Any study will do whose records name policies. Runs that differ in their agent alone are one run of
several agents, as where agents are played again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import understood
from copygym.evaluation.records import Records, Rows, filtered, joined
from copygym.experiments.commands.evaluate.runs import (
    Source,
    finished_state,
    labels_of,
    runs_in,
    setting_of,
    tasks_of,
)
from copygym.experiments.report import aggregates
from copygym.experiments.report.evidence import cautions
from copygym.experiments.studies.build import learned_name

#: Columns that name policies; of several the first that the records have.
POLICIES = ("policy", "agent", "writer")


def saved_records(folders: Sequence[Path], metric: str, resamples: int) -> Records:
    """Return one metric of every policy of finished runs.

    Args:
        folders: of runs or of multiruns.
        metric: that policies are compared by.
        resamples: of the bootstrap over runs.

    Returns:
        Columns ``task`` (what tells runs apart beside agent and seed, and other columns of the
        study), ``policy`` and ``seed``, which counts runs. ``about`` has the folders of
        ``runs``, their ``baselines`` and the ``cautions`` of their logs.

    Raises:
        UserError: no such folder, a run that has not finished, or records without policies or
            without the metric.
    """
    paths = {run.resolve(): run for folder in folders for run in runs_in(folder)}
    read = [_read(path) for path in paths.values()]
    sources = [source for source, _ in read]
    labels, tasks = labels_of(sources), tasks_of(sources)
    merged: dict[tuple[str, str], dict[str, float | None]] = {}
    task_of: dict[tuple[str, str], str] = {}
    path_of: dict[tuple[str, str], str] = {}
    for (source, records), label, task in zip(read, labels, tasks, strict=True):
        own = learned_name(source.config) if label else ""
        setting = setting_of(source.config)
        for seed, part, values in _runs(source, records, metric):
            key = (json.dumps([setting, seed], sort_keys=True), part)
            run = merged.setdefault(key, {})
            task_of[key] = ", ".join(text for text in (task, part) if text)
            path_of[key] = str(source.path)
            for name, value in values.items():
                if name == own:
                    run[label] = value
                else:
                    run.setdefault(name, value)
    frames = []
    for number, (key, run) in enumerate(merged.items()):
        rows = Rows(number, task=task_of[key] or None)
        for name, value in run.items():
            rows.add(metric, value, policy=name)
        frames.append(Records(rows.frame))
    about = {
        "resamples": resamples,
        "runs": list(path_of.values()),
        "baselines": sorted({_baseline(source, records) for source, records in read} - {""}),
        "cautions": list(dict.fromkeys(t for _, r in read for t in cautions(r.first))),
    }
    return Records(joined(frames).frame, {0: about})


def aggregated(
    folders: Sequence[Path], metric: str, resamples: int, baseline: str | None = None
) -> dict[str, Any]:
    """Return the aggregates over finished runs, as `aggregates.over_runs` does, and ``cautions``.

    Args:
        folders: of runs or of multiruns.
        metric: that policies are compared by; more is better.
        resamples: of the bootstrap over runs.
        baseline: that counts as 0; None: the runs' own.

    Raises:
        UserError: as `saved_records`, or no baseline that all runs have.
    """
    records = saved_records(folders, metric, resamples)
    about = records.first
    bases = about["baselines"]
    if baseline is None and len(bases) != 1:
        said = f"have different baselines ({', '.join(bases)})" if bases else "name no baseline"
        raise UserError(f"the runs {said}; name one of their policies by --baseline.")
    base = baseline or bases[0]
    if lacking := _lacking(records, base):
        raise UserError(
            f"{about['runs'][lacking[0]]} has no policy {base!r}: choose a baseline among "
            f"{', '.join(filtered(records.frame, seed=lacking[0])['policy'])}."
        )
    upper = None if _lacking(records, "upper") else "upper"
    found = aggregates.of_records(records, "policy", metric, base, upper, "runs")
    found["cautions"] = about["cautions"]
    return found


def _lacking(records: Records, policy: str) -> list[int]:
    """Return the runs that do not have a policy."""
    return sorted(set(records.seeds) - set(filtered(records.frame, policy=policy)["seed"]))


def _read(folder: Path) -> tuple[Source, Records]:
    """Return a finished run and its records."""
    state = finished_state(folder)
    with understood(folder / "run.json"):
        source = Source(folder.name, folder, state["config"], str(state["code"]), ())
    return source, Records.read(folder)


def _baseline(source: Source, records: Records) -> str:
    evaluation = source.config.get("evaluation") or {}
    return str(evaluation.get("baseline") or records.first.get("baseline") or "")


def _runs(
    source: Source, records: Records, metric: str
) -> Iterator[tuple[int, str, dict[str, float | None]]]:
    """Yield (seed, what else the study compares, policy -> value) of a run's records.

    A policy of which the study has one number, such as a reference, is in all of its parts.
    """
    column = next((name for name in POLICIES if name in records.compared), None)
    if column is None:
        raise UserError(
            f"{source.path}: its records have no column that names policies ({', '.join(POLICIES)})"
            f", but {', '.join(records.compared) or 'none'}; `copygym report` shows the result."
        )
    aside = ("versus", *(records.first.get("within_seed") or ()))
    frame = filtered(records.frame, **dict.fromkeys(aside)).drop(aside, strict=False)
    others = [name for name in frame.columns if name in records.compared and name != column]
    whole = filtered(frame.drop_nulls(column), metric=metric)
    if not whole.height:
        raise unknown_name("metric", metric, sorted(set(frame.drop_nulls(column)["metric"])))
    for (seed,), own in whole.group_by(["seed"], maintain_order=True):
        parts: dict[str, dict[str, float | None]] = {}
        for row in own.iter_rows(named=True):
            part = ", ".join(f"{n}={row[n]}" for n in others if row[n] is not None)
            parts.setdefault(part, {})[row[column]] = row["value"]
        shared = parts.pop("", {}) if len(parts) > 1 else {}
        for part, values in parts.items():
            yield int(str(seed)), part, {**shared, **values}


def section_text(found: dict[str, Any]) -> str:
    """Return what is printed: the tables of `aggregates.section`, without its figure."""
    from copygym.experiments.report.page import terminal

    notes = [f"caution, {text}" for text in found["cautions"]]
    if "missing" in found:
        return "\n" + "\n\n".join([found["missing"], *notes]) + "\n"
    return "\n" + "\n\n".join([terminal([aggregates.section(found)]), *notes]) + "\n"
