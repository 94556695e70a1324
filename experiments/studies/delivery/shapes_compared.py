"""Experiment E6: which reward shape?

What an agent is paid for is not what a marketer wants: clicks, profit, people who stay, variety.
Every agent learns with every shape in each of several storefront worlds, and the worlds' own truth
says what came of each aim. No shape is best in all; the question is which are worth choosing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.over_seeds import estimates
from copygym.evaluation.pareto import contributions, dominated, hypervolume
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.seeds import derived_seed
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.delivery.cells import Cell, played_cells
from copygym.experiments.studies.delivery.delivery import prepare
from copygym.experiments.studies.delivery.shapes_compared_report import (
    main_table,
    sections,
    summary,
)
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.seeds import check_seeds, origins, values_by_seed
from copygym.experiments.tracking.base import Trackers

__all__ = ["main_table", "run", "sections"]

#: Aims, and what 1 is on the scale of each: what the planner earned, or all of a share.
AIMS = {
    "clicks_per_user": "upper",
    "profit_per_user": "upper",
    "unsubscribe_rate": "nobody leaves",
    "intra_list_diversity": "no two sends to a person are alike",
}
_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its split, fit, learning and luck; "
    "the weights of a shape are those of its config file, and other weights are other shapes."
)


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``seeds``, ``agents`` (name -> agent), ``shapes`` (name -> reward), ``references``
    (``upper`` among them), and those of `delivery.prepare`.
    """
    check(config)
    found = values_by_seed(config, folder, trackers, _in_world)
    resamples = int(config["evaluation"]["resamples"])
    boot = derived_seed(config["seed"], "bootstrap")
    runs = [world["policies"] for world in found]
    agents, shapes = list(given(config, "agents")), list(given(config, "shapes"))
    fronts = [_front(run, agents, shapes) for run in runs]
    policies = [*_references(config), *(_cell(a, s) for a in agents for s in shapes), "upper"]
    result: dict[str, Any] = {
        "title": f"Which reward shape? {len(found)} worlds of {config['data']['name']}",
        "synthetic": True,
        "agents": estimates([front["agents"] for front in fronts], resamples, boot),
        "shapes": shapes,
        "references": _references(config),
        "policies": policies,
        "estimates": estimates(runs, resamples, boot),
        "front": estimates([front["policies"] for front in fronts], resamples, boot, "mean"),
        "seeds": {str(seed): run for seed, run in zip(config["seeds"], runs, strict=True)},
        "steps": int(config["learn"]["steps"]),
        "users": int(np.mean([world["users"] for world in found])),
        "horizon": int(config["env"]["horizon"]),
        "judge": GOLD,
        **origins(
            config["seeds"], found, _SEEDS.format(count=len(found)), name=config["data"]["name"]
        ),
    }
    result["summary"] = summary(result)
    result["summary_numbers"] = {
        f"{name}/{aim}": result["estimates"][name][aim]["value"]
        for name in policies
        for aim in AIMS
    }
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: shapes are compared in a synthetic world, such as "
            "storefront, whose truth knows every aim."
        )
    check_seeds(config)
    for part in ("agents", "shapes"):
        if not given(config, part):
            raise UserError(f"{part} is empty: name at least one.")
    if "upper" not in given(config, "references"):
        raise UserError("references.upper is null: it is what 1 is on the scale of clicks.")
    for name, agent in {**given(config, "agents"), **given(config, "references")}.items():
        Policy(name, agent).make()
    for name, shape in {**given(config, "shapes"), "reward": config["reward"]}.items():
        instantiated(shape, f"shapes.{name}")


def _references(config: Mapping[str, Any]) -> list[str]:
    return [name for name in given(config, "references") if name != "upper"]


def _cell(agent: str, shape: str) -> str:
    return f"{agent}, {shape}"


def _in_world(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Return one world's values; a cell is an agent with a shape."""
    world = prepare(config, folder)
    steps = int(config["learn"]["steps"])
    # References learn for the config's own reward.
    cells = [Cell(name, part, steps, name) for name, part in given(config, "references").items()]
    cells += [
        Cell(_cell(agent, shape), part, steps, agent, reward)
        for agent, part in given(config, "agents").items()
        for shape, reward in given(config, "shapes").items()
    ]
    return {
        "policies": played_cells(cells, world, config, folder, trackers),
        "users": len(world.setting.rows),
        **world.origin(),
    }


def aims(values: Mapping[str, float], upper: Mapping[str, float]) -> np.ndarray:
    """Return (D,) float64: a policy's aims where 0 is nothing and 1 what `AIMS` says.

    Args:
        values: the policy's metrics.
        upper: the planner's, which plans for clicks.
    """
    # Someone who got fewer than two sends has no variety to speak of.
    variety = values["intra_list_diversity"]
    return np.array(
        [
            values["clicks_per_user"] / upper["clicks_per_user"],
            values["profit_per_user"] / upper["profit_per_user"],
            1.0 - values["unsubscribe_rate"],
            0.0 if variety is None or not np.isfinite(variety) else variety,
        ]
    )


def _front(
    run: Mapping[str, Mapping[str, float]], agents: list[str], shapes: list[str]
) -> dict[str, Any]:
    """Return one world's front: by policy whether it is on it, by agent the volume it covers."""
    names = [_cell(agent, shape) for agent in agents for shape in shapes]
    points = np.stack([aims(run[name], run["upper"]) for name in names])
    off = dominated(points)
    policies = {name: {"on_front": float(not off[i])} for i, name in enumerate(names)}
    volumes = {}
    for a, agent in enumerate(agents):
        rows = slice(a * len(shapes), (a + 1) * len(shapes))
        volumes[agent] = {"hypervolume": hypervolume(points[rows])}
        for shape, lost in zip(shapes, contributions(points[rows]), strict=True):
            policies[_cell(agent, shape)]["contribution"] = float(lost)
    return {"policies": policies, "agents": volumes}
