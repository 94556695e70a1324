"""``copygym evaluate --saved``: aggregates over many runs from the records that they have saved.

Nothing is played and no log is read, so that a sweep of a thousand runs is summed up in seconds.
Any study will do whose records name policies. Runs that differ in their agent alone are one run of
several agents, as where agents are played again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import understood
from copygym.evaluation.records import ABOUT, NUMBER, TABLE, Records, filtered
from copygym.experiments.commands.evaluate.runs import (
    Source,
    finished_state,
    labels_of,
    meeting,
    runs_in,
    tasks_of,
)
from copygym.experiments.report import aggregates
from copygym.experiments.report.evidence import cautions
from copygym.experiments.studies.build import learned_name

if TYPE_CHECKING:
    import polars as pl

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
        study), ``policy``, ``folder`` (of the run) and ``seed``, which counts runs. ``about`` has
        the runs' ``baselines`` and the ``cautions`` of their logs.

    Raises:
        UserError: no such folder, a run that has not finished, or records without policies or
            without the metric.
    """
    import polars as pl

    paths = {run.resolve(): run for folder in folders for run in runs_in(folder)}
    read = [_read(path) for path in paths.values()]
    sources = [source for source, _ in read]
    met = {key: number for number, key in enumerate(dict.fromkeys(map(meeting, sources)))}
    parts = []
    for (source, records), label, task in zip(
        read, labels_of(sources), tasks_of(sources), strict=True
    ):
        own = {learned_name(source.config): label} if label else {}
        names = pl.concat_str(
            pl.lit(task or None, pl.String), "part", separator=", ", ignore_nulls=True
        )
        with understood(source.path / TABLE):
            part = _policies(source, records, metric).with_columns(
                policy=pl.col("policy").replace(own),
                task=names.replace({"": None}),
                met=met[meeting(source)],
                folder=pl.lit(str(source.path)),
            )
        parts.append(part)
    run = ["met", "seed", "part"]
    # References of runs that met the same people and luck are the same: they count once.
    frame = pl.concat(parts).unique([*run, "policy"], keep="first", maintain_order=True)
    runs = frame.select(run).unique(maintain_order=True).with_row_index("run")
    frame = frame.join(runs, on=run, nulls_equal=True, maintain_order="left")
    number = pl.col("run").cast(pl.Int64).alias("seed")
    about = {
        "resamples": resamples,
        "baselines": sorted({_baseline(source, records) for source, records in read} - {""}),
        "cautions": list(dict.fromkeys(t for s, r in read for t in _cautions(s, r))),
    }
    return Records(frame.select(number, "task", "policy", "folder", "metric", *NUMBER), {0: about})


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
        run = filtered(records.frame, seed=lacking[0])
        raise UserError(
            f"{run['folder'][0]} has no policy {base!r}: choose a baseline among "
            f"{', '.join(run['policy'])}."
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


def _cautions(source: Source, records: Records) -> list[str]:
    with understood(source.path / ABOUT):
        return cautions(records.first)


def _baseline(source: Source, records: Records) -> str:
    evaluation = source.config.get("evaluation") or {}
    return str(evaluation.get("baseline") or records.first.get("baseline") or "")


def _policies(source: Source, records: Records, metric: str) -> pl.DataFrame:
    """Return ``seed``, ``part`` (what else the study compares), ``policy`` and the numbers.

    A policy of which the study has one number, such as a reference, is in all of its parts.
    """
    import polars as pl

    column = next((name for name in POLICIES if name in records.compared), None)
    if column is None:
        raise UserError(
            f"{source.path}: its records have no column that names policies ({', '.join(POLICIES)})"
            f", but {', '.join(records.compared) or 'none'}; `copygym report` shows the result."
        )
    one = records.where(metric=metric).whole
    with understood(source.path / ABOUT):
        within = [name for name in records.first.get("within_seed") or () if name in one.compared]
    frame = filtered(one.frame, **dict.fromkeys(within)).drop_nulls(column)
    if not frame.height:
        known = records.whole.frame.drop_nulls(column)["metric"]
        raise unknown_name("metric", metric, sorted(set(known)))
    others = [name for name in one.compared if name not in (column, *within)]
    named = [pl.lit(f"{name}=") + pl.col(name) for name in others]
    part = pl.concat_str(*named, separator=", ", ignore_nulls=True) if named else pl.lit("")
    whole = frame.select(
        "seed", "metric", *NUMBER, policy=pl.col(column), part=part.replace({"": None})
    )
    if not others or whole["part"].null_count() in (0, whole.height):
        return whole
    parts = whole.drop_nulls("part").select("seed", "part").unique(maintain_order=True)
    shared = whole.filter(pl.col("part").is_null()).drop("part").join(parts, on="seed")
    return pl.concat([whole.drop_nulls("part"), shared], how="diagonal")


def section_text(found: dict[str, Any]) -> str:
    """Return what is printed: the tables of `aggregates.section`, without its figure."""
    from copygym.experiments.report.page import terminal

    notes = [f"caution, {text}" for text in found["cautions"]]
    if "missing" in found:
        return "\n" + "\n\n".join([found["missing"], *notes]) + "\n"
    return "\n" + "\n\n".join([terminal([aggregates.section(found)]), *notes]) + "\n"
