"""Experiment E5: which agent delivers best?

Every agent learns on simulated users fitted to a log, with the same decisions to spend, and is
judged on people whom nothing was fitted on: in storefront by the world's own truth, elsewhere
off-policy by the held-out part of a randomised log of one decision per customer. A seed is all of
it anew: in storefront another world, elsewhere another split; then the fit, the learning, the luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import METRICS
from copygym.evaluation.over_seeds import estimates
from copygym.experiments.report import aggregates as aggregate_report
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.delivery import uplift
from copygym.experiments.studies.delivery.agents_compared_report import (
    main_table,
    sections,
    summary,
)
from copygym.experiments.studies.delivery.cells import Cell, played_cells
from copygym.experiments.studies.delivery.delivery import prepare
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.seeds import check_seeds, origins, values_by_seed
from copygym.experiments.tracking.base import Trackers

__all__ = ["main_table", "run", "sections"]

_OFF_POLICY = (
    "Judged off-policy by the held-out customers of the randomised log: no simulator stands "
    "between a policy and the evidence."
)
_SEEDS = (
    "intervals are over {count} {unit}, each with one seed of its split, fit, learning and luck; "
    "they do not cover other settings of an agent than those of its config file."
)
_OUTCOMES = {"clicks_per_user": "clicks", "revenue_per_user": "revenue"}


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``seeds``, ``agents`` (name -> agent), ``references`` (name -> agent; they learn
    once a seed), ``learn.steps``, ``learn.shares`` (of the steps; the last is 1), ``evaluation``
    (``best``: reference from which regret is taken; ``metric``: what agents are ranked by), and
    those of `delivery.compare` (a synthetic world) or `uplift.run` (a randomised log).
    """
    check(config)
    in_world = has_truth(config)
    one = _in_world if in_world else _on_log
    found = values_by_seed(config, folder, trackers, one, unit="seed")
    metric, resamples = str(config["evaluation"]["metric"]), int(config["evaluation"]["resamples"])
    unit = "worlds" if in_world else "seeds"
    boot = derived_seed(config["seed"], "bootstrap")
    runs = [seed["policies"] for seed in found]
    best = str(config["evaluation"]["best"])
    result: dict[str, Any] = {
        "title": f"Which agent delivers best? {len(found)} {unit} of {config['data']['name']}",
        "synthetic": in_world,
        "unit": unit,
        "metric": metric,
        "metrics": [key for key in METRICS if key in next(iter(runs[0].values()))],
        "agents": list(given(config, "agents")),
        "policies": _order(config, list(runs[0])),
        "baseline": config["evaluation"]["baseline"],
        "best": best,
        "steps": int(config["learn"]["steps"]),
        "seeds": {str(seed): run for seed, run in zip(config["seeds"], runs, strict=True)},
        "users": int(np.mean([seed["users"] for seed in found])),
        "horizon": int(config["env"]["horizon"]),
        "judge": GOLD if in_world else _OFF_POLICY,
        "estimates": estimates(runs, resamples, boot),
        "aggregates": aggregate_report.over_runs(
            [{name: values[metric] for name, values in run.items()} for run in runs],
            [""] * len(runs),
            str(config["evaluation"]["baseline"]),
            best if in_world else None,
            what=METRICS[metric].label,
            unit=unit,
            resamples=resamples,
            seed=boot,
        ),
        "curves": _curves(config, found, metric, best, resamples, boot),
        **origins(
            config["seeds"],
            found,
            _SEEDS.format(count=len(found), unit=unit),
            unit=unit[:-1],
            name=config["data"]["name"],
        ),
    }
    if not in_world:
        # Every seed splits the same log.
        result["data"] = found[0]["data"]
    result["summary"] = summary(result)
    result["summary_numbers"] = {
        f"{name}/{metric}": result["estimates"][name][metric]["value"]
        for name in result["policies"]
    }
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    check_seeds(config)
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


def _budgets(config: Mapping[str, Any]) -> list[int]:
    """Return the decisions that agents learn with, fewest first."""
    steps = int(config["learn"]["steps"])
    return sorted({max(1, round(float(share) * steps)) for share in config["learn"]["shares"]})


def _cells(config: Mapping[str, Any]) -> list[Cell]:
    """Return what is learned in one seed: every agent with every number of decisions."""
    return [
        Cell(f"{name} {steps}", agent, steps, name)
        for name, agent in given(config, "agents").items()
        for steps in _budgets(config)
    ]


def _in_world(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Return one storefront world's values."""
    world = prepare(config, folder)
    references = given(config, "references")
    steps = int(config["learn"]["steps"])
    cells = [Cell(name, agent, steps, name) for name, agent in references.items()]
    by_cell = played_cells([*cells, *_cells(config)], world, config, folder, trackers)
    values = _values(config, by_cell, list(references))
    return {**values, "users": len(world.setting.rows), **world.origin()}


def _on_log(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Return what the held-out customers of one split say; a cell's learning is a stage."""
    references = given(config, "references")
    learners = {name: {"agent": part, "steps": None} for name, part in references.items()}
    for cell in _cells(config):
        learners[cell.name] = {"agent": cell.agent, "steps": cell.steps}
    own = {
        **config,
        "learners": {
            name: {**parts, "reward": config["reward"]} for name, parts in learners.items()
        },
        "outcomes": _OUTCOMES,
        # Intervals are over seeds; those over customers are not used.
        "evaluation": {**config["evaluation"], "resamples": 2},
    }
    done = uplift.run(own, folder, trackers)
    by_cell = {
        cell: {key: entry[done["estimator"]]["value"] for key, entry in entries.items()}
        for cell, entries in done["values"].items()
    }
    values = _values(config, by_cell, [*done["arms"], *references])
    values.update(
        users=done["customers"],
        data=done["data"],
        rows_seen=done["rows_seen"],
        notes=done["notes"],
        # The last is `ONE_SEED`: here the intervals are over seeds.
        assumptions=done["assumptions"][:-1],
    )
    return values


def _values(
    config: Mapping[str, Any], by_cell: Mapping[str, Any], references: list[str]
) -> dict[str, Any]:
    """Return the values by policy, and by agent and decisions."""
    budgets: dict[str, dict[str, Any]] = {}
    for cell in _cells(config):
        budgets.setdefault(cell.seed, {})[str(cell.steps)] = by_cell[cell.name]
    last = str(_budgets(config)[-1])
    policies = {name: by_cell[name] for name in references if name != "upper"}
    policies |= {name: found[last] for name, found in budgets.items()}
    policies |= {name: by_cell[name] for name in references if name == "upper"}
    return {"policies": policies, "budgets": budgets}


def _order(config: Mapping[str, Any], names: list[str]) -> list[str]:
    """Return the policies as tables show them: fixed arms, references, agents, the upper one."""
    own = [*given(config, "references"), *given(config, "agents")]
    order = [*(name for name in names if name not in own), *own]
    return sorted(order, key=lambda name: name == "upper")


def _curves(
    config: Mapping[str, Any],
    found: list[dict[str, Any]],
    metric: str,
    best: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return agent -> decisions -> value and regret (what is missing to the best reference)."""
    flat: list[dict[str, dict[str, float]]] = []
    for one in found:
        top = one["policies"].get(best)
        if top is None:
            raise unknown_name("evaluation.best", best, list(one["policies"]))
        flat.append(
            {
                f"{agent} {steps}": {"value": own[metric], "regret": top[metric] - own[metric]}
                for agent, by_steps in one["budgets"].items()
                for steps, own in by_steps.items()
            }
        )
    table = estimates(flat, resamples, seed)
    return {
        agent: {str(steps): table[f"{agent} {steps}"] for steps in _budgets(config)}
        for agent in given(config, "agents")
    }
