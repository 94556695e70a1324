"""What `copygym evaluate` says of saved agents that were played again: all groups as one report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, cells, filtered, joined
from copygym.experiments.commands.evaluate.play import GAP, JUDGE, LOG, SIMULATOR
from copygym.experiments.report import aggregates
from copygym.experiments.report.blocks import Shown, estimates_table, forest, pivot_table
from copygym.experiments.report.figures import Picture
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table
from copygym.experiments.studies.delivery.delivery_report import MAIN, remarks
from copygym.experiments.studies.learning import ONE_SEED

#: Metrics of which more is better and that every run has: aggregates can be of them.
SCORES = ("clicks_per_user", "profit_per_user", "revenue_per_user", "reward_per_user")


def combined(
    groups: Sequence[Records], metric: str, resamples: int, notes: Sequence[str] = ()
) -> Records:
    """Return the records of an evaluation from those of its groups.

    Args:
        groups: what `play_group` returned, one or more, with one baseline.
        metric: one of `SCORES`, for aggregates and the comparison of judges.
        resamples: of the bootstrap over runs.
        notes: sentences for the reader.

    Returns:
        The records of all, by task and then in the order of tables; ``about`` of each seed has the
        ``groups`` of the seed, and what holds for all.
    """
    told = [group for records in groups for group in groups_of(records)]
    learned = _once(name for group in told for name in group["learned"])
    frame = joined(groups).frame
    everything = _once(frame["policy"])
    names = [name for name in everything if name not in learned and name != "upper"]
    names += [*learned, *(name for name in everything if name == "upper")]
    tasks = _once(group["task"] for group in told)
    place = [
        pl.col(column).fill_null("").replace_strict(order, range(len(order)), return_dtype=pl.Int64)
        for column, order in (("task", tasks), ("policy", names))
    ]
    # A run of the baseline alone has no differences.
    frame = frame if "versus" in frame.columns else frame.with_columns(versus=None)
    text = pl.col("task", "world", "versus").cast(pl.String)
    frame = frame.with_columns(text).sort(place, maintain_order=True)
    upper = filtered(frame, policy="upper").select("task", "world", "seed").n_unique()
    assumptions = _once(text for group in told for text in group["assumptions"])
    shared = {
        "metric": metric,
        "unit": _unit(told),
        "policies": names,
        "learned": learned,
        "baseline": told[0]["baseline"],
        "upper": "upper" if upper == len(told) else None,
        "tasks": tasks,
        "synthetic": any(group["synthetic"] for group in told),
        "remarks": list(notes),
        "assumptions": [*assumptions, *(() if len(told) > 1 else (ONE_SEED,))],
        "notes": _once(text for group in told for text in group["notes"]),
        "statistics": {"default": "mean"},
        "resamples": resamples,
        "boot": 0,
    }
    seeds = sorted({int(group["seed"]) for group in told})
    about = {s: shared | {"groups": [g for g in told if g["seed"] == s]} for s in seeds}
    return Records(frame, about)


def groups_of(records: Records) -> list[dict[str, Any]]:
    """Return what is said of each group of runs that was played."""
    return [group for about in records.about.values() for group in about["groups"]]


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _unit(groups: Sequence[Mapping[str, Any]]) -> str:
    """Return what tells the groups of a task apart."""
    if max(Counter(group["task"] for group in groups).values()) == 1:
        return "runs"
    if len({group["world"] for group in groups}) == 1:
        return "seeds"
    by_task = Counter((group["task"], group["world"]) for group in groups)
    if min(by_task.values()) >= 2:
        return "seeds"
    return "worlds" if max(by_task.values()) == 1 else "runs"


def by_run(records: Records) -> Records:
    """Return records whose ``seed`` counts runs: a seed in another world is a run of its own."""
    runs = records.frame.select("seed", "world").unique(maintain_order=True).with_row_index("run")
    frame = records.frame.join(
        runs, on=["seed", "world"], nulls_equal=True, maintain_order="left"
    ).with_columns(seed=pl.col("run").cast(pl.Int64))
    return Records(frame.drop("run", "world"), {0: records.first})


def over_runs(records: Records) -> Records:
    """Return all runs taken together as one: the mean over runs, and of a single run its own.

    A column ``runs`` says how many there are of a task and policy; what the log says is left out.
    """
    own = by_run(records.where(judge=[JUDGE, SIMULATOR, GAP]))
    parts = []
    for cell in cells(own.frame, ["task", "policy"]):
        part = own.where(**cell)
        parts.append(part.estimates.with_columns(seed=0, runs=len(part.seeds)))
    return Records(pl.concat(parts), own.about)


def aggregated(records: Records) -> dict[str, Any] | None:
    """Return the aggregates over runs before the judge, as `aggregates.of_records`; None of one.

    A world with several seeds is a task of its own.
    """
    about, groups = records.first, groups_of(records)
    if len(groups) < 2:
        return None
    frame = filtered(records.frame, judge=JUDGE, versus=None)
    if about["unit"] == "seeds" and len({group["world"] for group in groups}) > 1:
        world = pl.format("{} world {}", pl.col("task").fill_null(""), "world")
        frame = frame.with_columns(task=world.str.strip_chars())
    runs = by_run(Records(frame, records.about))
    options = (about["metric"], about["baseline"], about["upper"], about["unit"])
    return aggregates.of_records(runs, "policy", *options)


# ------------------------------------------------------------------ the report


def report(records: Records) -> Report:
    """Return what the agents earned, beside the references, before the judge and the simulator."""
    about, groups = records.first, groups_of(records)
    over = over_runs(records)
    judged = over.where(judge=JUDGE, versus=None)
    strong = about["learned"][0] if len(about["learned"]) == 1 else None
    layout: dict[str, Any] = {
        "strong": strong if len(about["tasks"]) == 1 else None,
        "beside": [
            *(("task",) if len(about["tasks"]) > 1 else ()),
            *(("runs",) if len(groups) > 1 else ()),
        ],
    }
    caption = f"{_intervals(about, groups)} {_judge(judged, groups)}"
    table = estimates_table(judged.frame, "policy", MAIN, caption, **layout)
    differences = estimates_table(
        over.where(judge=JUDGE, versus=about["baseline"]).frame,
        "policy",
        MAIN,
        f"Difference from {about['baseline']}, paired: both met the same users with the same luck. "
        "Percentages are percentage points.",
        **layout,
    )
    pictures: tuple[Picture, ...] = ()
    if len(about["tasks"]) == 1:
        shown = _intervals(about, groups)
        pictures = (forest(judged.frame, "policy", MAIN, "policies", shown, strong=strong),)
    tables = (differences,) if differences.rows else ()
    sections = [Section("Policies compared", (), tables, pictures)]
    found = aggregated(records)
    if found is not None:
        sections.append(aggregates.section(found))
        sections.append(Section("Run by run", (), (_runs_table(records),), folded=True))
    transfer = _transfer_table(over, about["metric"], layout)
    sections.append(Section("From the simulator to the judge", (), (transfer,)))
    sections.append(_support_section(records))
    if about["remarks"]:
        sections.append(Section("Remarks", points=tuple(about["remarks"])))
    logs = ", ".join(_once(str(group["log"]) for group in groups))
    learned = about["learned"] or about["policies"]
    listed = ", ".join(learned) if len(learned) < 4 else f"{len(learned)} agents"
    title = f"Evaluation of {listed} on {logs}"
    return Report(title, _summary(about, groups), table, sections)


def _summary(about: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> str:
    runs, held = sum(len(group["runs"]) for group in groups), sorted(g["users"] for g in groups)
    first, unit = groups[0], about["unit"]
    return (
        f"Saved agents of {runs} run{'s' if runs > 1 else ''} were played again on "
        f"{' to '.join(f'{n:,}' for n in _once((held[0], held[-1])))} held-out users"
        f"{f' of each of {len(groups)} {unit}' if len(groups) > 1 else ''}, "
        f"{first['episodes']} episode{'s' if first['episodes'] > 1 else ''} of "
        f"{first['horizon']} slots each; all met the same people with the same luck. "
        f"{first['judge']}"
    )


def _intervals(about: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> str:
    if len(groups) == 1:
        return f"95% intervals over {groups[0]['users']:,} held-out users (bootstrap)."
    most = max(Counter(group["task"] for group in groups).values())
    if most == 1:
        return "95% intervals over each run's held-out users (bootstrap)."
    few = ""
    if most < aggregates.FEW_RUNS:
        few = f" (with {most} of them, shorter than they should be)"
    return (
        f"Means over runs with 95% bootstrap intervals over {about['unit']}{few}; where there is "
        "one run, over its held-out users."
    )


def _judge(judged: Records, groups: Sequence[Mapping[str, Any]]) -> str:
    nothing = filtered(judged.frame, metric=list(MAIN))["value"].has_nulls()
    dash = " A dash: there was no send, or no click, to take a rate of." if nothing else ""
    few = _once(text for group in groups for text in group["cautions"])
    warned = "".join(f" Caution, {text}" for text in few)
    return f"{groups[0]['judge']}{dash}{remarks(judged)}{warned}"


def _transfer_table(over: Records, metric: str, layout: Mapping[str, Any]) -> Table:
    """Return what policies are worth in the simulator and before the judge."""
    frame = filtered(over.frame, metric=metric, versus=None)
    frame = frame.with_columns(metric=pl.col("judge"))
    label = METRICS[metric].label
    columns = {SIMULATOR: f"{label}, simulator", JUDGE: f"{label}, judge", GAP: "simulator - judge"}
    caption = (
        "The same people with the same luck in the simulator where the agents learned and before "
        "the judge. What an agent has in the simulator alone, it only believes; the upper "
        "reference plans anew for either, so that its values tell how much there is to gain there."
    )
    known = {judge: Shown(heading) for judge, heading in columns.items()}
    return estimates_table(frame, "policy", known, caption, **layout)


def _support_section(records: Records) -> Section:
    """Return how much of the held-out logs speaks for each policy."""
    heading, groups = "What the log could tell of them", groups_of(records)
    log = filtered(records.frame, judge=LOG)
    if not log.height:
        reasons = _once(str(group["support_missing"]) for group in groups)
        return Section(heading, tuple(f"Not known: {reason}." for reason in reasons))
    wide = log.pivot("metric", index=["policy", "task", "world", "seed"], values="value")
    rows = []
    for (name,), part in wide.group_by(["policy"], maintain_order=True):
        if part["ess"].has_nulls():
            rows.append((str(name), "-", "-", "-"))
            continue
        least = part.sort("ess").row(0, named=True)
        used = f"{100 * least['used']:.1f}"
        rows.append((str(name), f"{least['ess']:,.0f}", f"{least['rows']:,.0f}", used))
    lowest = "; of several runs the one with the fewest" if len(groups) > 1 else ""
    caption = (
        "Effective sample size: how many of the held-out log's decisions speak for a policy by "
        f"importance weights{lowest}. A dash: it looks at the simulator, so no log tells what it "
        "would do. For values from the log see `copygym ope --agent`."
    )
    columns = ("policy", "effective decisions", "decisions", "it could have made %")
    return Section(heading, (), (Table(columns, tuple(rows), caption),))


def _runs_table(records: Records) -> Table:
    """Return the metric of every policy, run by run."""
    metric = records.first["metric"]
    named = pl.concat_str(
        [pl.col("task"), pl.format("world {}", "world"), pl.format("seed {}", "seed")],
        separator=", ",
        ignore_nulls=True,
    )
    frame = filtered(records.frame, judge=JUDGE, versus=None).with_columns(run=named)
    caption = (
        f"{METRICS[metric].label} with 95% intervals over each run's held-out users; a dash: the "
        "run did not have the policy."
    )
    return pivot_table(frame, "run", "policy", metric, caption)


def numbers(records: Records) -> dict[str, float]:
    """Return values by name for dashboards: POLICY/METRIC, and aggregate/POLICY/STATISTIC.

    Several tasks put theirs in front: TASK/POLICY/METRIC.
    """
    judged = over_runs(records).where(judge=JUDGE)
    found = Records(judged.frame.drop("judge", "runs"), judged.about).numbers()
    over = aggregated(records) or {}
    for policy, by_statistic in over.get("statistics", {}).items():
        for statistic, estimate in by_statistic.items():
            for end in ("value", "low", "high"):
                name = statistic if end == "value" else f"{statistic}_{end}"
                found[f"aggregate/{policy}/{name}"] = estimate[end]
    for policy, estimate in over.get("beats", {}).items():
        found[f"aggregate/{policy}/probability_of_improvement"] = estimate["value"]
    return {name: value for name, value in found.items() if value is not None}
