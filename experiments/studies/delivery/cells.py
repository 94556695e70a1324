"""Cells of a comparison in one world: an agent learns in simulated users and is judged.

A cell is two stages, learning and evaluation. All cells of a world share its log, its simulated
users and the people who judge, and meet them with the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import Episodes, policy_metrics
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy
from copygym.experiments.studies.delivery.delivery import Prepared, learning_env
from copygym.experiments.studies.learning import learn, play
from copygym.experiments.tracking.base import Trackers


@dataclass(frozen=True)
class Cell:
    """What learns, for how long and for what.

    Attributes:
        name: unique in its world, for stages and tables.
        agent: config of the agent.
        steps: decisions that it may spend.
        seed: names the seed of its learning; cells of the same agent share one, so that more
            decisions are more of the same.
        reward: config of its reward; None: the config's.
    """

    name: str
    agent: Mapping[str, Any]
    steps: int
    seed: str
    reward: Mapping[str, Any] | None = None


def played_cells(
    cells: Sequence[Cell],
    world: Prepared,
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
) -> dict[str, dict[str, float]]:
    """Return cell -> metric -> value, for people whom nothing was fitted on.

    Args:
        cells: what to learn and judge; finished ones are read from their stages.
        world: where.
        config: its ``env``, ``reward`` and ``seed``.
        folder: of the world.
        trackers: get the learning curves.
    """
    played: dict[str, Episodes] = {}
    for cell in cells:
        reward = config["reward"] if cell.reward is None else cell.reward
        env = learning_env(world.fitted.users, {**config, "reward": reward})
        seed = derived_seed(config["seed"], "learn", cell.seed)
        learn(Policy(cell.name, cell.agent), env, cell.steps, seed, folder, trackers)
        env.close()
        played[cell.name], _ = play(cell.name, world.setting, folder, "evaluate")
    return point_values(played)


def point_values(played: Mapping[str, Episodes]) -> dict[str, dict[str, float]]:
    """Return policy -> metric -> value; intervals over people are for others to make."""
    # Two resamples are the fewest that there can be, and are not used.
    metrics = policy_metrics(played, next(iter(played)), None, 2)["metrics"]
    return {
        name: {key: entry["value"] for key, entry in entries.items()}
        for name, entries in metrics.items()
    }
