"""Tables, figures and sections of E5, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.metrics import METRICS
from copygym.experiments.report import aggregates as aggregate_report
from copygym.experiments.report.figures import lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

#: Columns of the main table, as far as a result has them.
_MAIN = (
    "clicks_per_user",
    "revenue_per_user",
    "profit_per_user",
    "unsubscribe_rate",
    "sends_per_user",
    "effective_creatives",
)


def main_table(result: Mapping[str, Any]) -> Table:
    """Return every policy's outcomes, best last but for the upper reference."""
    metric = result["metric"]
    keys = [key for key in _MAIN if key in result["metrics"]]
    if result["unit"] == "worlds":
        keys.remove("revenue_per_user")
    ranked = sorted(
        (name for name in result["policies"] if name != "upper"),
        key=lambda name: float(result["estimates"][name][metric]["value"]),
    )
    rows = tuple(
        (
            name,
            *(interval(result["estimates"][name][key], METRICS[key].unit) for key in keys),
        )
        for name in [*ranked, *(n for n in result["policies"] if n == "upper")]
    )
    caption = (
        f"Interquartile means over {len(result['seeds'])} {result['unit']} with 95% bootstrap "
        f"intervals over {result['unit']}; agents learned for {result['steps']:,} decisions and "
        f"met {result['users']:,} held-out people, {result['horizon']} slots each. "
        f"{result['judge']}"
    )
    strong = next(i for i, row in enumerate(rows) if row[0] == _winner(result))
    return Table(("policy", *(METRICS[key].label for key in keys)), rows, caption, strong)


def _winner(result: Mapping[str, Any]) -> str:
    """Return the agent with the highest interquartile mean."""
    metric = result["metric"]
    values = {a: float(result["estimates"][a][metric]["value"]) for a in result["agents"]}
    return max(values, key=lambda name: values[name])


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    metric, label = result["metric"], METRICS[result["metric"]].label
    winner = _winner(result)
    entry = result["estimates"][winner][metric]
    base = result["estimates"][result["baseline"]][metric]
    references = [n for n in result["policies"] if n not in result["agents"] and n != "upper"]
    best = max(references, key=lambda name: float(result["estimates"][name][metric]["value"]))
    return (
        f"{len(result['agents'])} agents learned on simulated users for {result['steps']:,} "
        f"decisions in each of {len(result['seeds'])} {result['unit']} and were judged on people "
        f"whom nothing was fitted on. {result['judge']} The highest {label} is {winner}'s, "
        f"{interval(entry)}; {result['baseline']} had {interval(base)} and the best reference that "
        f"knows no more than the agents, {best}, {interval(result['estimates'][best][metric])}."
    )


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [aggregate_report.section(result["aggregates"]), _regret(result)]
    if set(result["metrics"]) - set(_MAIN):
        found.append(_variety(result))
    return [*found, _by_seed(result)]


def _regret(result: Mapping[str, Any]) -> Section:
    """Return value and regret by the decisions that agents could spend."""
    curves, metric = result["curves"], result["metric"]
    label = METRICS[metric].label
    # A stored result has its keys sorted as text.
    budgets = sorted(next(iter(curves.values())), key=int)
    columns = ("agent", *(f"{int(steps):,} decisions" for steps in budgets))
    regret = Table(
        columns,
        tuple(
            (agent, *(interval(by_steps[steps]["regret"]) for steps in budgets))
            for agent, by_steps in curves.items()
        ),
        f"Regret: {label} missing to {result['best']}, by the simulated decisions that an agent "
        "could spend. Each cell is an agent that learned from the beginning.",
    )
    x = [float(steps) for steps in budgets]
    lines: dict[str, Any] = {
        agent: _line(x, [by_steps[steps]["value"] for steps in budgets])
        for agent, by_steps in curves.items()
    }
    for name in result["policies"]:
        if name not in curves and name != "upper":
            lines[name] = _line(x, [result["estimates"][name][metric]] * len(x))
    picture = lines_figure(
        "regret",
        f"{label} on held-out people by the decisions that an agent could learn from, interquartile"
        f" means over {result['unit']}; flat lines are references. The table has the intervals.",
        lines,
        "decisions on simulated users",
        label,
        log_x=True,
    )
    return Section("Against decisions spent", (), (regret,), (picture,))


def _line(x: list[float], entries: list[Mapping[str, float]]) -> dict[str, list[float]]:
    # Without bands: with a dozen lines they would cover each other.
    return {"x": x, "y": [entry["value"] for entry in entries]}


def _variety(result: Mapping[str, Any]) -> Section:
    shown = [key for key in result["metrics"] if key not in _MAIN]
    rows = tuple(
        (name, *(interval(result["estimates"][name][key], METRICS[key].unit) for key in shown))
        for name in result["policies"]
    )
    table = Table(("policy", *(METRICS[key].label for key in shown)), rows)
    return Section("More outcomes, and variety", (), (table,), folded=True)


def _by_seed(result: Mapping[str, Any]) -> Section:
    metric = result["metric"]
    rows = tuple(
        (seed, *(f"{run[name][metric]:.3f}" for name in result["policies"]))
        for seed, run in sorted(result["seeds"].items(), key=lambda item: int(item[0]))
    )
    table = Table((result["unit"][:-1], *result["policies"]), rows, METRICS[metric].label)
    return Section(f"By {result['unit'][:-1]}", (), (table,), folded=True)
