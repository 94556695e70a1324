"""What E5 says: tables, figures and words from its records."""

from __future__ import annotations

from typing import Any

import polars as pl

from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report import aggregates
from copygym.experiments.report.blocks import by_seed, estimates_table
from copygym.experiments.report.figures import lines_figure
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

#: Columns of the main table, as far as the records have them.
_MAIN = (
    "clicks_per_user",
    "revenue_per_user",
    "profit_per_user",
    "unsubscribe_rate",
    "sends_per_user",
    "effective_creatives",
)


def report(records: Records) -> Report:
    """Return which agent gains most, by how much to spend it needs, and how surely."""
    about = records.first
    count, unit = len(records.seeds), about["unit"]
    units = f"{count} {unit}s" if count > 1 else f"one {unit}"
    sections = [_against_budget(records, units)]
    if count > 1:
        upper = about["best"] if about["synthetic"] else None
        found = aggregates.of_records(
            _whole(records), "policy", about["metric"], about["baseline"], upper, f"{unit}s"
        )
        sections.insert(0, aggregates.section(found))
    others = [key for key in METRICS if key in _metrics(records) and key not in _MAIN]
    if others:
        table = estimates_table(_whole(records).estimates, "policy", others)
        sections.append(Section("More outcomes, and variety", (), (table,), folded=True))
    if count > 1:
        sections.append(by_seed(_whole(records), "policy", (about["metric"],), unit=unit))
    title = f"Which agent delivers best? {units} of {about['dataset']}"
    return Report(title, _summary(records, units), _main_table(records, units), sections)


def _whole(records: Records) -> Records:
    """Return the records of policies that learned with all there was to spend."""
    return records.where(budget=None)


def _metrics(records: Records) -> list[str]:
    return _whole(records).frame["metric"].unique(maintain_order=True).to_list()


def _value(records: Records, policy: str, metric: str) -> dict[str, Any]:
    return number(_whole(records).estimates, metric, policy=policy)


def _ranked(records: Records, names: list[str]) -> list[str]:
    metric = records.first["metric"]
    return sorted(names, key=lambda name: float(_value(records, name, metric)["value"]))


def _main_table(records: Records, units: str) -> Table:
    """Return every policy's outcomes, best last but for the upper reference."""
    about = records.first
    keys = [key for key in _MAIN if key in _metrics(records)]
    if about["synthetic"]:
        keys.remove("revenue_per_user")
    names = [name for name in _whole(records).values("policy") if name != "upper"]
    order = [*_ranked(records, names), "upper"]
    frame = _whole(records).estimates
    place = pl.col("policy").replace_strict(order, list(range(len(order))))
    caption = (
        f"Interquartile means over {units} with 95% bootstrap "
        f"intervals over {about['unit']}s; agents learned for {about['steps']:,} decisions and "
        f"met {about['users']:,} held-out people, {about['horizon']} slots each. "
        f"{about['judge']}"
    )
    winner = _ranked(records, about["agents"])[-1]
    ordered = frame.sort(place, maintain_order=True)
    return estimates_table(ordered, "policy", keys, caption, strong=winner)


def _summary(records: Records, units: str) -> str:
    about = records.first
    metric, label = about["metric"], METRICS[about["metric"]].label
    winner = _ranked(records, about["agents"])[-1]
    names = _whole(records).values("policy")
    references = [n for n in names if n not in about["agents"] and n != "upper"]
    best = _ranked(records, references)[-1]
    shown = {
        name: interval(_value(records, name, metric)) for name in (winner, about["baseline"], best)
    }
    return (
        f"{len(about['agents'])} agents learned on simulated users for {about['steps']:,} "
        f"decisions in each of {units} and were judged on people "
        f"whom nothing was fitted on. {about['judge']} The highest {label} is {winner}'s, "
        f"{shown[winner]}; {about['baseline']} had {shown[about['baseline']]} and the best "
        f"reference that knows no more than the agents, {best}, {shown[best]}."
    )


def _against_budget(records: Records, units: str) -> Section:
    """Return value and regret by the decisions that agents could spend."""
    about, frame = records.first, records.estimates
    metric = about["metric"]
    label = METRICS[metric].label
    budgets = sorted(records.values("budget"))
    regret = Table(
        ("agent", *(f"{budget:,} decisions" for budget in budgets)),
        tuple(
            (agent, *(interval(number(frame, "regret", policy=agent, budget=b)) for b in budgets))
            for agent in about["agents"]
        ),
        f"Regret: {label} missing to {about['best']}, by the simulated decisions that an agent "
        "could spend. Each cell is an agent that learned from the beginning.",
    )
    x = [float(budget) for budget in budgets]
    # Without bands: with a dozen lines they would cover each other.
    lines: dict[str, Any] = {}
    for agent in about["agents"]:
        own = filtered(frame, metric=metric, policy=agent).drop_nulls("budget").sort("budget")
        lines[agent] = {"x": x, "y": own["value"].to_list()}
    for name in _whole(records).values("policy"):
        if name not in lines and name != "upper":
            lines[name] = {"x": x, "y": [_value(records, name, metric)["value"]] * len(x)}
    picture = lines_figure(
        "regret",
        f"{label} on held-out people by the decisions that an agent could learn from, interquartile"
        f" means over {units}; flat lines are references. The table has the intervals.",
        lines,
        "decisions on simulated users",
        label,
        log_x=True,
    )
    return Section("Against decisions spent", (), (regret,), (picture,))
