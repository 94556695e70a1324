"""Study E6: which reward shape?

What an agent is paid for is not what a marketer wants: clicks, profit, people who stay, variety.
Every agent learns with every shape in a storefront world, and the world's own truth says what came
of each aim. No shape is best in all; the question is which are worth choosing.

Records: ``agent``, ``shape`` (null for references and for what is an agent's as a whole) and the
delivery metrics; ``on_front`` and ``contribution`` of each agent with each shape, ``hypervolume``
of each agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.pareto import contributions, hypervolume, is_dominated
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.delivery.cells import Cell, played_cells
from copygym.experiments.studies.delivery.delivery import prepare
from copygym.experiments.studies.delivery.shapes_compared_report import report
from copygym.experiments.studies.learning import ONE_SEED
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

_OVER_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its split, fit, learning and luck; "
    "the weights of a shape are those of its config file, and other weights are other shapes."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: shapes are compared in a synthetic world, such as "
            "storefront, whose truth knows every aim."
        )
    for part in ("agents", "shapes"):
        if not given(config, part):
            raise UserError(f"{part} is empty: name at least one.")
    if "upper" not in given(config, "references"):
        raise UserError("references.upper is null: it is what 1 is on the scale of clicks.")
    for name, agent in {**given(config, "agents"), **given(config, "references")}.items():
        Policy(name, agent).make()
    for name, shape in {**given(config, "shapes"), "reward": config["reward"]}.items():
        instantiated(shape, f"shapes.{name}")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records.

    Config keys: ``agents`` (name -> agent), ``shapes`` (name -> reward), ``references`` (``upper``
    among them), and those of `delivery.prepare`.
    """
    world = prepare(config, folder)
    agents, shapes = given(config, "agents"), given(config, "shapes")
    steps = int(config["learn"]["steps"])
    # References learn for the config's own reward.
    cells = [Cell(name, part, steps, name) for name, part in given(config, "references").items()]
    cells += [
        Cell(_cell(agent, shape), part, steps, agent, reward)
        for agent, part in agents.items()
        for shape, reward in shapes.items()
    ]
    played = played_cells(cells, world, config, folder, trackers)
    rows = Rows(int(config["seed"]))
    for name in given(config, "references"):
        rows.add_all(played[name], agent=name)
    for agent in agents:
        for shape in shapes:
            rows.add_all(played[_cell(agent, shape)], agent=agent, shape=shape)
    _add_front(rows, played, list(agents), list(shapes))
    told = about(
        config,
        world.origin(),
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"on_front": "mean", "contribution": "mean"},
        steps=steps,
        users=len(world.setting.rows),
        horizon=int(config["env"]["horizon"]),
        judge=GOLD,
    )
    return Records(rows.frame, {rows.seed: told})


def _cell(agent: str, shape: str) -> str:
    return f"{agent}, {shape}"


def aims(values: Mapping[str, float], upper: Mapping[str, float]) -> np.ndarray:
    """Return (4,) float64: clicks, profit, people kept and variety of a policy.

    0 is nothing; 1 is what the planner earned (clicks, profit), that nobody leaves, and that no
    two sends to a person are alike.

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


def _add_front(
    rows: Rows,
    played: Mapping[str, Mapping[str, float]],
    agents: list[str],
    shapes: list[str],
) -> None:
    """Add who is on the world's front, what it would lose without, and each agent's volume."""
    pairs = [(agent, shape) for agent in agents for shape in shapes]
    points = np.stack([aims(played[_cell(*pair)], played["upper"]) for pair in pairs])
    off = is_dominated(points)
    for a, agent in enumerate(agents):
        own = slice(a * len(shapes), (a + 1) * len(shapes))
        rows.add("hypervolume", hypervolume(points[own]), agent=agent)
        lost = contributions(points[own])
        for shape, beaten, loss in zip(shapes, off[own], lost, strict=True):
            rows.add("on_front", float(not beaten), agent=agent, shape=shape)
            rows.add("contribution", float(loss), agent=agent, shape=shape)
