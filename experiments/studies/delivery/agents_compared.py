"""Study E5: which agent delivers best?

Every agent learns on simulated users fitted to a log, with the same decisions to spend, and is
judged on people whom nothing was fitted on: where a world's truth is known by it, elsewhere
off-policy by the held-out part of a randomised log of one decision per customer. A seed is all of
it anew: in storefront another world, elsewhere another split; then the fit, the learning, the luck.

Records: ``policy`` and its metrics; ``score``, the share that was won of what there was to win in
the same seed (0 is the baseline, 1 the best reference where the truth is known); ``budget`` on the
metrics and the ``regret`` of agents by the decisions that they could spend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.core.errors import UserError, unknown_name
from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.delivery import uplift
from copygym.experiments.studies.delivery.agents_compared_report import report
from copygym.experiments.studies.delivery.cells import Cell, played_cells
from copygym.experiments.studies.delivery.delivery import prepare
from copygym.experiments.studies.learning import ONE_SEED
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

_OFF_POLICY = (
    "Judged off-policy by the held-out customers of the randomised log: no simulator stands "
    "between a policy and the evidence."
)
_OVER_SEEDS = (
    "intervals are over {{count}} {unit}, each with one seed of its split, fit, learning and luck; "
    "they do not cover other settings of an agent than those of its config file."
)
_OUTCOMES = {"clicks_per_user": "clicks", "revenue_per_user": "revenue"}

#: Policy, or agent with what it could spend -> metric -> value.
Values = Mapping[str, Mapping[str, float]]


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    agents, references = given(config, "agents"), given(config, "references")
    if not agents:
        raise UserError("agents is empty: name at least one, such as linucb.")
    for name, agent in {**agents, **references}.items():
        Policy(name, agent).make()
    for name in agents:
        if name in references:
            raise UserError(f"agents.{name} is a reference, too: give it another name.")
    instantiated(config["reward"], "reward")
    options = config["evaluation"]
    if options["baseline"] not in references:
        raise unknown_name("evaluation.baseline", str(options["baseline"]), list(references))
    known = list(references)
    keys = list(METRICS)
    if not has_truth(config):
        keys = list(_OUTCOMES)
    elif options["best"] not in known:
        raise unknown_name("evaluation.best", str(options["best"]), known)
    if options["metric"] not in keys:
        raise unknown_name("evaluation.metric", str(options["metric"]), keys)
    if sorted(config["learn"]["shares"])[-1] != 1:
        raise UserError(
            f"learn.shares={config['learn']['shares']}: the largest must be 1, all of learn.steps."
        )


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one world, or of one split of a log.

    Config keys: ``agents`` (name -> agent), ``references`` (name -> agent), ``learn.steps``,
    ``learn.shares`` (of the steps; the last is 1), ``evaluation`` (``best``: reference from which
    regret is taken; ``metric``: what agents are ranked by), and those of `delivery.prepare` (where
    the truth is known) or `uplift.judged` (a randomised log).
    """
    known = has_truth(config)
    by_cell, arms, told = (_in_world if known else _on_log)(config, folder, trackers)
    options, agents = config["evaluation"], list(given(config, "agents"))
    metric, best = str(options["metric"]), str(options["best"])
    budgets = _budgets(config)
    references = [name for name in given(config, "references") if name != "upper"]
    values = {name: by_cell[name] for name in (*arms, *references)}
    values |= {name: by_cell[_cell(name, budgets[-1])] for name in agents}
    values |= {"upper": by_cell["upper"]} if "upper" in by_cell else {}
    if best not in values:
        raise unknown_name("evaluation.best", best, list(values))
    rows = Rows(int(config["seed"]))
    base, top = values[str(options["baseline"])][metric], values[best][metric]
    for name, metrics in values.items():
        rows.add_all(metrics, policy=name)
        if known and name != best and top != base:
            rows.add("score", (metrics[metric] - base) / (top - base), policy=name)
    for name in agents:
        for budget in budgets:
            metrics = by_cell[_cell(name, budget)]
            rows.add_all(metrics, policy=name, budget=budget)
            rows.add("regret", top - metrics[metric], policy=name, budget=budget)
    told.update(
        metric=metric,
        agents=agents,
        baseline=options["baseline"],
        best=best,
        steps=int(config["learn"]["steps"]),
        horizon=int(config["env"]["horizon"]),
        dataset=str(config["data"]["name"]),
    )
    return Records(rows.frame, {rows.seed: told})


def _budgets(config: Mapping[str, Any]) -> list[int]:
    """Return the decisions that agents learn with, fewest first."""
    steps = int(config["learn"]["steps"])
    return sorted({max(1, round(float(share) * steps)) for share in config["learn"]["shares"]})


def _cell(agent: str, budget: int) -> str:
    return f"{agent} {budget}"


def _cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return what is learned in one seed: every agent with every number of decisions."""
    return [
        Cell(_cell(name, budget), agent, budget, name)
        for name, agent in given(config, "agents").items()
        for budget in _budgets(config)
    ]


def _in_world(
    config: dict[str, Any], folder: RunFolder, trackers: Trackers
) -> tuple[Values, list[str], dict[str, Any]]:
    """Return one world's values by cell, no arms, and what they rest on."""
    world = prepare(config, folder)
    steps = int(config["learn"]["steps"])
    cells = [Cell(name, part, steps, name) for name, part in given(config, "references").items()]
    by_cell = played_cells([*cells, *_cells(config)], world, config, folder, trackers)
    told = about(
        config,
        world.origin(),
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS.format(unit="worlds"),
        unit="world",
        users=len(world.setting.rows),
        judge=GOLD,
    )
    return by_cell, [], told


def _on_log(
    config: dict[str, Any], folder: RunFolder, trackers: Trackers
) -> tuple[Values, list[str], dict[str, Any]]:
    """Return what the held-out customers of one split say, the fixed arms, and what it rests on."""
    learners = {
        name: {"agent": part, "steps": None} for name, part in given(config, "references").items()
    } | {cell.name: {"agent": cell.agent, "steps": cell.steps} for cell in _cells(config)}
    own = {
        **config,
        "learners": {
            name: {**parts, "reward": config["reward"]} for name, parts in learners.items()
        },
        "outcomes": _OUTCOMES,
        # Intervals are over seeds; those over customers are not used.
        "evaluation": {**config["evaluation"], "resamples": 2},
    }
    uplift.check(own)
    done = uplift.judged(own, folder, trackers)
    estimator = str(config["evaluation"]["estimator"])
    by_cell = {
        cell: {key: entry[estimator]["value"] for key, entry in entries.items()}
        for cell, entries in done.found["values"].items()
    }
    told = about(
        config,
        done.origin,
        synthetic=done.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS.format(unit="seeds"),
        unit="seed",
        users=done.found["customers"],
        judge=_OFF_POLICY,
    )
    return by_cell, done.found["arms"], told
