"""What `copygym evaluate` says: groups of runs as one result, and its tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from copygym.evaluation.aggregate import aggregate
from copygym.evaluation.metrics import METRICS
from copygym.experiments.commands.evaluate.play import JUDGE, SIMULATOR
from copygym.experiments.report import aggregates as aggregate_report
from copygym.experiments.report.figures import interval_figure, metric_panels
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.studies.delivery.delivery_report import MAIN, remarks
from copygym.experiments.studies.learning import ONE_SEED

#: Metrics of which more is better and that every run has: aggregates can be of them.
SCORES = ("clicks_per_user", "profit_per_user", "revenue_per_user", "reward_per_user")
_DASH = "A dash: there was no send, or no click, to take a rate of."

Entry = dict[str, float | None]


def combined(
    groups: Sequence[Mapping[str, Any]],
    metric: str,
    resamples: int,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the result of an evaluation from those of its groups (JSON types).

    Args:
        groups: what `play_group` returned, one or more, with one baseline.
        metric: one of `SCORES`, for aggregates and the comparison of judges.
        resamples: of the bootstrap over runs.
        remarks: sentences for the reader.
    """
    learned = list(dict.fromkeys(name for group in groups for name in group["learned"]))
    everything = list(dict.fromkeys(name for group in groups for name in group["policies"]))
    upper = "upper" if all(group["upper"] for group in groups) else None
    names = [name for name in everything if name not in learned and name != "upper"]
    names += [*learned, *(name for name in everything if name == "upper")]
    tasks = list(dict.fromkeys(str(group["task"]) for group in groups))
    several = len(groups) > 1
    unit = _unit(groups)
    logs = ", ".join(dict.fromkeys(str(group["log"]) for group in groups))
    held = sorted({int(group["users"]) for group in groups})
    result: dict[str, Any] = {
        "title": f"Evaluation of {_listed(learned or names)} on {logs}",
        "synthetic": any(group["synthetic"] for group in groups),
        "metric": metric,
        "unit": unit,
        "policies": names,
        "learned": learned,
        "baseline": groups[0]["baseline"],
        "upper": upper,
        "tasks": tasks,
        "table": {
            task: _task_table([g for g in groups if g["task"] == task], names, resamples)
            for task in tasks
        },
        "groups": list(groups),
        "remarks": list(remarks),
        "assumptions": list(
            dict.fromkeys(
                [
                    *(text for group in groups for text in group["assumptions"]),
                    *(() if several else (ONE_SEED,)),
                ]
            )
        ),
        "notes": list(dict.fromkeys(text for group in groups for text in group["notes"])),
    }
    runs = sum(len(group["runs"]) for group in groups)
    result["summary"] = (
        f"Saved agents of {runs} run{'s' if runs > 1 else ''} were played again on "
        f"{' to '.join(f'{n:,}' for n in dict.fromkeys((held[0], held[-1])))} held-out users"
        f"{f' of each of {len(groups)} {unit}' if several else ''}, "
        f"{groups[0]['episodes']} episode{'s' if groups[0]['episodes'] > 1 else ''} of "
        f"{groups[0]['horizon']} slots each; all met the same people with the same luck. "
        f"{groups[0]['judges'][JUDGE]['text']}"
    )
    if several:
        result["aggregates"] = _aggregates(groups, metric, upper, unit, resamples)
    return result


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


def _aggregates(
    groups: Sequence[Mapping[str, Any]],
    metric: str,
    upper: str | None,
    unit: str,
    resamples: int,
) -> dict[str, Any]:
    """Return the aggregates; a world with several seeds is a task of its own."""
    tasks = [str(group["task"]) for group in groups]
    if unit == "seeds" and len({group["world"] for group in groups}) > 1:
        tasks = [
            f"{task} world {g['world']}".strip() for task, g in zip(tasks, groups, strict=True)
        ]
    runs = [
        {name: entry[metric]["value"] for name, entry in group["judges"][JUDGE]["metrics"].items()}
        for group in groups
    ]
    return aggregate_report.over_runs(
        runs,
        tasks,
        str(groups[0]["baseline"]),
        upper,
        what=METRICS[metric].label,
        unit=unit,
        resamples=resamples,
    )


def _task_table(
    groups: Sequence[Mapping[str, Any]], names: Sequence[str], resamples: int
) -> dict[str, Any]:
    """Return by policy its runs and metrics: those of its only run, or means over runs."""
    table: dict[str, Any] = {}
    for name in names:
        own = [group for group in groups if name in group["policies"]]
        if not own:
            continue
        parts = {
            "metrics": [group["judges"][JUDGE]["metrics"][name] for group in own],
            "simulator": [group["judges"][SIMULATOR]["metrics"][name] for group in own],
            "gap": [group["gap"][name] for group in own],
        }
        if name != own[0]["baseline"]:
            parts["differences"] = [group["judges"][JUDGE]["differences"][name] for group in own]
        table[name] = {
            "runs": len(own),
            **{
                part: {key: _over([e[key] for e in entries], resamples) for key in METRICS}
                for part, entries in parts.items()
            },
        }
    return table


def _over(entries: Sequence[Entry], resamples: int) -> Entry:
    """Return one run's estimate as it is, of several the mean with an interval over runs."""
    if len(entries) == 1:
        return dict(entries[0])
    values = [entry["value"] for entry in entries]
    if any(value is None for value in values):
        return {"value": None, "low": None, "high": None}
    scores = np.array(values, dtype=np.float64)[:, None]
    return dict(aggregate(scores, ["mean"], resamples=resamples)["mean"].to_dict())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{len(names)} agents"


# ------------------------------------------------------------------ tables


def main_table(result: Mapping[str, Any]) -> Table:
    """Return CTR, clicks, profit and unsubscribes of every policy before the judge."""
    return _policy_table(result, "metrics", f"{_intervals(result)} {_judged(result)}")


def difference_table(result: Mapping[str, Any]) -> Table:
    """Return the paired differences from the baseline."""
    return _policy_table(
        result,
        "differences",
        f"Difference from {result['baseline']}, paired: both met the same users with the same "
        "luck. Percentages are percentage points.",
    )


def _judged(result: Mapping[str, Any]) -> str:
    judge = str(result["groups"][0]["judges"][JUDGE]["text"])
    dash = any(
        entry["metrics"][key]["value"] is None
        for by_policy in result["table"].values()
        for entry in by_policy.values()
        for key in MAIN
    )
    metrics = {
        f"{task}/{policy}": entry["metrics"]
        for task, by_policy in result["table"].items()
        for policy, entry in by_policy.items()
    }
    few = dict.fromkeys(text for group in result["groups"] for text in group.get("cautions", ()))
    warned = "".join(f" Caution, {text}" for text in few)
    said = remarks(metrics, result["assumptions"])
    return f"{judge}{f' {_DASH}' if dash else ''}{said}{warned}"


def _intervals(result: Mapping[str, Any]) -> str:
    groups = result["groups"]
    if len(groups) == 1:
        return f"95% intervals over {groups[0]['users']:,} held-out users (bootstrap)."
    most = max(Counter(group["task"] for group in groups).values())
    if most == 1:
        return "95% intervals over each run's held-out users (bootstrap)."
    few = ""
    if most < aggregate_report.FEW_RUNS:
        few = f" (with {most} of them, shorter than they should be)"
    return (
        f"Means over runs with 95% bootstrap intervals over {result['unit']}{few}; where there is "
        "one run, over its held-out users."
    )


def _policy_table(result: Mapping[str, Any], part: str, caption: str) -> Table:
    rows = [
        (*lead, *(interval(entry[part][key], METRICS[key].unit) for key in MAIN))
        for lead, entry in _rows(result)
        if part in entry
    ]
    names = [name for name in result["policies"] if part in _first(result, name)]
    strong = None
    if len(result["learned"]) == 1 and len(result["tasks"]) == 1:
        strong = names.index(result["learned"][0])
    labels = tuple(METRICS[key].label for key in MAIN)
    return Table((*_lead(result), *labels), tuple(rows), caption, strong)


def _first(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(
        (by_policy[name] for by_policy in result["table"].values() if name in by_policy), {}
    )


def _lead(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the headings of the first columns."""
    task = ("task",) if len(result["tasks"]) > 1 else ()
    return (*task, "policy", *(("runs",) if len(result["groups"]) > 1 else ()))


def _rows(result: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Return (first cells, entry) of each policy of each task."""
    many = len(result["groups"]) > 1
    return [
        (
            (
                *((task,) if len(result["tasks"]) > 1 else ()),
                name,
                *((str(entry["runs"]),) if many else ()),
            ),
            entry,
        )
        for task, by_policy in result["table"].items()
        for name, entry in by_policy.items()
    ]


def transfer_table(result: Mapping[str, Any]) -> Table:
    """Return what policies are worth in the simulator and before the judge."""
    metric = result["metric"]
    rows = tuple(
        (
            *lead,
            interval(entry["simulator"][metric]),
            interval(entry["metrics"][metric]),
            interval(entry["gap"][metric]),
        )
        for lead, entry in _rows(result)
    )
    label = METRICS[metric].label
    columns = (f"{label}, simulator", f"{label}, judge", "simulator - judge")
    caption = (
        "The same people with the same luck in the simulator where the agents learned and before "
        "the judge. What an agent has in the simulator alone, it only believes; the upper "
        "reference plans anew for either, so that its values tell how much there is to gain there."
    )
    return Table((*_lead(result), *columns), rows, caption)


def support_table(result: Mapping[str, Any]) -> Table | None:
    """Return how much of the held-out logs speaks for each policy; None without propensities."""
    rows = []
    for name in result["policies"]:
        held = [g["support"][name] for g in result["groups"] if name in g["support"]]
        if not held:
            continue
        if any(entry is None for entry in held):
            rows.append((name, "-", "-", "-"))
            continue
        least = min(held, key=lambda entry: float(entry["ess"]))
        rows.append(
            (
                name,
                f"{least['ess']:,.0f}",
                f"{least['rows']:,.0f}",
                f"{100 * least['used']:.1f}",
            )
        )
    if not rows:
        return None
    lowest = "; of several runs the one with the fewest" if len(result["groups"]) > 1 else ""
    caption = (
        "Effective sample size: how many of the held-out log's decisions speak for a policy by "
        f"importance weights{lowest}. A dash: it looks at the simulator, so no log tells what it "
        "would do. For values from the log see `copygym ope --agent`."
    )
    columns = ("policy", "effective decisions", "decisions", "it could have made %")
    return Table(columns, tuple(rows), caption)


def runs_table(result: Mapping[str, Any]) -> Table:
    """Return the metric of every policy, run by run."""
    metric, names = result["metric"], result["policies"]
    rows = tuple(
        (
            _named(group, result),
            *(
                interval(group["judges"][JUDGE]["metrics"][name][metric])
                if name in group["policies"]
                else "not run"
                for name in names
            ),
        )
        for group in result["groups"]
    )
    caption = f"{METRICS[metric].label} with 95% intervals over each run's held-out users."
    return Table(("run", *names), rows, caption)


def _named(group: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    task = f"{group['task']}, " if len(result["tasks"]) > 1 else ""
    world = f"world {group['world']}, " if group["world"] else ""
    return f"{task}{world}seed {group['seed']}"


# ------------------------------------------------------------------ sections


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [Section("Policies compared", (), (difference_table(result),), _pictures(result))]
    if result.get("aggregates"):
        found.append(aggregate_report.section(result["aggregates"]))
    if len(result["groups"]) > 1:
        found.append(Section("Run by run", (), (runs_table(result),)))
    found.append(Section("From the simulator to the judge", (), (transfer_table(result),)))
    table = support_table(result)
    heading = "What the log could tell of them"
    if table is not None:
        found.append(Section(heading, (), (table,)))
    else:
        reasons = dict.fromkeys(str(group["support_missing"]) for group in result["groups"])
        found.append(Section(heading, tuple(f"Not known: {reason}." for reason in reasons)))
    if result["remarks"]:
        found.append(Section("Remarks", points=tuple(result["remarks"])))
    return found


def _pictures(result: Mapping[str, Any]) -> tuple[Any, ...]:
    if len(result["tasks"]) > 1:
        return ()
    (table,) = result["table"].values()
    panels = metric_panels({name: entry["metrics"] for name, entry in table.items()}, MAIN)
    strong = result["learned"][0] if len(result["learned"]) == 1 else None
    return (interval_figure("policies", _intervals(result), panels, strong),)
