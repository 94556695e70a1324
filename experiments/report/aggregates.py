"""Aggregates over runs for reports: IQM, optimality gap, who beats whom, performance profiles.

The statistics are those of `aggregate`. Scores are made comparable run by run: 0 is what the
baseline earned in the same run and 1 what the upper reference did, so that a world in which
everybody clicks more counts no more than another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES
from copygym.core.seeds import derived_seed
from copygym.evaluation.aggregate import (
    aggregate,
    bootstrap,
    check_scores,
    improvement,
    normalise,
    performance_profile,
    same_tasks,
    score_matrix,
)
from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, filtered
from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

#: With fewer runs a task, a report says that intervals are too short.
FEW_RUNS = 10

_WHERE = {
    "runs": "in the same run",
    "seeds": "with the same seed",
    "worlds": "in the same world",
}
_HEADINGS = {
    "iqm": "IQM",
    "mean": "mean",
    "median": "median of tasks",
    "optimality_gap": "optimality gap",
}


def of_records(
    records: Records,
    column: str,
    metric: str,
    baseline: str,
    upper: str | None,
    unit: str = "seeds",
) -> dict[str, Any]:
    """Return `over_runs` of the seeds of records.

    Args:
        records: one number a seed for each value of ``column``; with a column ``task``, a seed
            of each task. A policy that lacks seeds is left out, and the result says so.
        column: that names policies.
        metric: what is compared; more is better.
        baseline: that counts as 0 in its own seed.
        upper: that counts as 1; None: values are taken as they are.
        unit: what a seed is.

    Raises:
        UserError: a policy has several numbers in a seed.
    """
    frame = filtered(records.frame, metric=metric).sort("seed", maintain_order=True)
    keys = [name for name in ("task", "seed") if name in frame.columns]
    runs, tasks = [], []
    for key, part in frame.group_by(keys, maintain_order=True):
        names = part[column].to_list()
        if len(set(names)) < len(names):
            raise UserError(f"metric={metric} is not one number a {column} and seed.")
        values = part["value"].fill_null(float("nan")).to_list()
        runs.append(dict(zip(names, values, strict=True)))
        tasks.append(str(key[0] or "") if len(keys) > 1 else "")
    about = records.first
    label = METRICS[metric].label if metric in METRICS else metric
    return over_runs(
        runs,
        tasks,
        baseline,
        upper,
        what=label,
        unit=unit,
        resamples=int(about.get("resamples") or RESAMPLES),
        seed=int(about.get("boot", derived_seed(0, "bootstrap"))),
    )


def over_runs(
    runs: Sequence[Mapping[str, float]],
    tasks: Sequence[str],
    baseline: str,
    upper: str | None,
    *,
    what: str,
    unit: str = "runs",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the aggregates of policies over runs, as JSON types.

    Args:
        runs: policy -> value, one mapping per run; more is better.
        tasks: the task of each run; runs of one task are its seeds.
        baseline: policy whose value counts as 0 in its own run.
        upper: policy whose value counts as 1; None: values are taken as they are, which needs a
            single task.
        what: name of the value, for texts.
        unit: what a run is: "runs", "seeds" or "worlds".
        resamples: of the bootstrap.
        seed: of the draws.

    Returns:
        ``scores`` (policy -> (R, T)), ``statistics``, ``beats`` (the baseline), ``order`` (who
        beats the next one by IQM) and ``left_out`` (policy -> why); or only ``missing``, a
        sentence that says why there are none.
    """
    reason = _unfit(runs, tasks, baseline, upper, unit, what)
    if reason is not None:
        return {"missing": reason}
    names = list(dict.fromkeys(name for run in runs for name in run))
    scores: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for name in names:
        if name == upper:
            continue
        try:
            scores[name] = _matrix(name, runs, tasks, baseline, upper)
        except UserError as error:
            left_out[name] = str(error)
    shapes = {matrix.shape[1] for matrix in scores.values()}
    statistics = ["iqm", "mean"]
    if shapes != {1}:
        statistics.append("median")
    if upper is not None:
        statistics.append("optimality_gap")
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    found = {name: aggregate(m, statistics, **options) for name, m in scores.items()}
    ranked = sorted(scores, key=lambda name: -found[name]["iqm"].value)
    return {
        "baseline": baseline,
        "upper": upper,
        "what": what,
        "unit": unit,
        "tasks": list(dict.fromkeys(tasks)),
        "resamples": resamples,
        "seed": seed,
        "scores": {name: matrix.tolist() for name, matrix in scores.items()},
        "statistics": {
            name: {key: value.to_dict() for key, value in by_key.items()}
            for name, by_key in found.items()
        },
        "beats": {
            name: improvement(scores[name], scores[baseline], **options).to_dict()
            for name in ranked
            if name != baseline
        },
        "order": [
            {
                "better": better,
                "worse": worse,
                "probability": improvement(scores[better], scores[worse], **options).to_dict(),
            }
            for better, worse in pairwise(ranked)
        ],
        "left_out": left_out,
    }


def _unfit(
    runs: Sequence[Mapping[str, float]],
    tasks: Sequence[str],
    baseline: str,
    upper: str | None,
    unit: str,
    what: str,
) -> str | None:
    """Return why runs cannot be aggregated, or None."""
    counts = {task: list(tasks).count(task) for task in tasks}
    if len(set(counts.values())) != 1 or min(counts.values()) < 2:
        shown = ", ".join(f"{count} of {task or 'the task'}" for task, count in counts.items())
        return f"Aggregates need at least 2 {unit} and equally many of each task; found: {shown}."
    if upper is None:
        if len(counts) == 1:
            return None
        return (
            "Aggregates over several tasks need an upper reference (references.upper), which these "
            "runs do not have: values of different tasks are not comparable."
        )
    for number, run in enumerate(runs, 1):
        if not run[upper] > run[baseline]:
            return (
                f"In one of the {unit} (number {number}) {upper} earned no more {what} than "
                f"{baseline}, so that nothing can be measured between the two."
            )
    return None


def _matrix(
    name: str,
    runs: Sequence[Mapping[str, float]],
    tasks: Sequence[str],
    baseline: str,
    upper: str | None,
) -> np.ndarray:
    """Return a policy's scores (R, T).

    Raises:
        UserError: it was not run on all tasks, or not equally often.
    """
    by_task: dict[str, list[float]] = {task: [] for task in tasks}
    for run, task in zip(runs, tasks, strict=True):
        if name not in run:
            continue
        value = np.array([[run[name]]])
        if upper is not None:
            value = normalise(value, np.array([run[baseline]]), np.array([run[upper]]))
        by_task[task].append(float(value[0, 0]))
    if min(len(scores) for scores in by_task.values()) < 2:
        raise UserError(f"{name} was not run at least twice on every task.")
    return score_matrix(by_task, name)


def section(found: Mapping[str, Any]) -> Section:
    """Return the report's section on the aggregates of `over_runs`."""
    heading = f"Aggregates over {found.get('unit', 'runs')}"
    if "missing" in found:
        return Section(heading, (found["missing"],))
    notes = [_scale(found)]
    rows = min(len(matrix) for matrix in found["scores"].values())
    if rows < FEW_RUNS:
        notes.append(
            f"Intervals that rest on {rows} {found['unit']} are shorter than they should be."
        )
    notes += [f"Left out: {reason}" for reason in found["left_out"].values()]
    tables = (statistics_table(found), improvement_table(found))
    scores = {name: np.array(matrix) for name, matrix in found["scores"].items()}
    drawn = {name: matrix for name, matrix in scores.items() if name != found["baseline"]}
    pictures: tuple[Picture, ...] = ()
    if drawn:
        pictures = (
            profile_figure(drawn, unit=found["unit"], seed=found["seed"], scale=_axis(found)),
        )
    return Section(heading, tuple(notes), tables, pictures)


def _scale(found: Mapping[str, Any]) -> str:
    if found["upper"] is None:
        return f"A score is {found['what']} as it is; there is no upper reference to relate it to."
    return (
        f"A score of 0 is what {found['baseline']} earned {_WHERE[found['unit']]} and 1 what "
        f"{found['upper']} earned there, in {found['what']}: the share that was won of what there "
        "was to win."
    )


def _axis(found: Mapping[str, Any]) -> str:
    if found["upper"] is None:
        return str(found["what"])
    return f"score: 0 is {found['baseline']}, 1 is {found['upper']}"


def statistics_table(found: Mapping[str, Any]) -> Table:
    """Return a row per policy with its statistics, ``value [low, high]``, best IQM first.

    Args:
        found: what `over_runs` returned.
    """
    ranked = sorted(
        found["statistics"], key=lambda name: -float(found["statistics"][name]["iqm"]["value"])
    )
    keys = list(found["statistics"][ranked[0]])
    rows = tuple(
        (
            name,
            str(len(found["scores"][name])),
            *(interval(found["statistics"][name][key]) for key in keys),
        )
        for name in ranked
    )
    gap = ""
    if "optimality_gap" in keys:
        gap = "; the optimality gap is what is missing to a score of 1 on average, lower is better"
    caption = (
        f"Scores over {found['unit']} of {_counted(found)}, with 95% stratified bootstrap "
        f"intervals over {found['unit']}. IQM is the mean of the middle half of the scores{gap}."
    )
    return Table(("policy", found["unit"], *(_HEADINGS[key] for key in keys)), rows, caption)


def improvement_table(found: Mapping[str, Any]) -> Table:
    """Return how likely each policy beats the baseline, and the next one below it by IQM.

    Args:
        found: what `over_runs` returned.
    """
    baseline = found["baseline"]
    rows = [
        (f"{name} > {baseline}", interval(entry, "%")) for name, entry in found["beats"].items()
    ]
    rows += [
        (f"{entry['better']} > {entry['worse']}", interval(entry["probability"], "%"))
        for entry in found["order"]
        if entry["worse"] != baseline
    ]
    caption = (
        "Probability of improvement: how likely the first scores higher than the second in a "
        f"run of each on the same task, mean over {_counted(found)}, with 95% stratified "
        f"bootstrap intervals over {found['unit']}; 50% is no difference. Below the comparisons "
        "with the baseline, neighbours by IQM."
    )
    return Table(("comparison", "probability %"), tuple(rows), caption)


def profile_figure(
    scores: Mapping[str, np.ndarray],
    name: str = "profiles",
    *,
    unit: str = "runs",
    scale: str = "score",
    thresholds_K: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Picture:
    """Draw the share of runs above each score, with pointwise 95% bands over runs.

    Args:
        scores: policy -> (R, T).
        name: of the file.
        unit: what a run is.
        scale: label of the axis of scores.
        thresholds_K: scores to draw at; None spreads 101 over what is there.
        resamples: of the bootstrap.
        seed: of the draws.

    Raises:
        UserError: there is no policy, two differ in their number of tasks, or there is one run.
    """
    same_tasks(scores)
    matrices = {policy: check_scores(matrix, policy) for policy, matrix in scores.items()}
    if thresholds_K is None:
        low = min(float(matrix.min()) for matrix in matrices.values())
        high = max(float(matrix.max()) for matrix in matrices.values())
        # A little beyond both ends, where all runs lie above and none does.
        margin = 0.05 * (high - low or 1.0)
        thresholds_K = np.linspace(low - margin, high + margin, 101)
    at = np.asarray(thresholds_K, dtype=np.float64)
    lines = {}
    for policy, matrix in matrices.items():
        drawn = bootstrap(
            lambda samples: performance_profile(samples, at), matrix, resamples=resamples, seed=seed
        )
        low_K, high_K = np.quantile(drawn, [0.025, 0.975], axis=0)
        lines[policy] = {
            "x": at.tolist(),
            "y": performance_profile(matrix, at).tolist(),
            "low": low_K.tolist(),
            "high": high_K.tolist(),
        }
    caption = (
        f"Performance profiles: share of {unit} above a score, with pointwise 95% stratified "
        f"bootstrap bands over {unit}; a curve above another is the better one."
    )
    return lines_figure(name, caption, lines, scale, f"share of {unit} above it")


def _counted(found: Mapping[str, Any]) -> str:
    tasks = len(found["tasks"])
    return "1 task" if tasks == 1 else f"{tasks:,} tasks"
