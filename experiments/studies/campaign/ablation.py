"""Experiment E12: copy, delivery or both?

A copywriter (F) writes new creatives, a delivery agent (G) decides who gets which, where and when.
Each alone, both, and neither meet the same held-out people of several storefront worlds. One, the
other and both have the same budget; both with twice of it says whether the two add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy, given, learned_name
from copygym.experiments.studies.campaign.ablation_report import report
from copygym.experiments.studies.campaign.creatives import (
    cautious,
    logged_places,
    written_places,
)
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.setting import make_setting
from copygym.experiments.studies.delivery.cells import point_values
from copygym.experiments.studies.delivery.delivery import (
    check_agents,
    evaluation_setting,
    learning_env,
)
from copygym.experiments.studies.learning import ONE_SEED, learn, play
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.people.model import UserModel
    from copygym.evaluation.metrics import Episodes
    from copygym.experiments.studies.copy.setting import CopySetting

__all__ = ["check", "report", "seed_records"]

#: The cells, in the order of tables.
NEITHER, COPY, DELIVERY, BOTH, TWICE = "neither", "copy", "delivery", "both", "both, twice"
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its split, fits, learning and luck."
)
_BUDGET = (
    "the budget counts what the copywriter scores and what the agent decides in simulated users; "
    "imitating the log's copy and fitting users and click models are not counted."
)


@dataclass(frozen=True)
class Arm:
    """What a cell of the ablation may spend.

    Attributes:
        samples: scored samples of the copywriter; 0 keeps the log's best copy.
        steps: decisions of the agent; 0 delivers as the log did.
    """

    samples: int
    steps: int


def arms(config: Mapping[str, Any]) -> dict[str, Arm]:
    """Return the cells: alone with the whole budget, both with half each, both with all of it."""
    steps = int(config["learn"]["steps"])
    samples = int(steps / float(config["sample_cost"]))
    return {
        NEITHER: Arm(0, 0),
        COPY: Arm(samples, 0),
        DELIVERY: Arm(0, steps),
        BOTH: Arm(samples // 2, steps // 2),
        TWICE: Arm(samples, steps),
    }


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: new copy must be judged by people, "
            "which only the truth of a synthetic world can, such as storefront's."
        )
    copywriting.check_writers(config)
    if len(copywriting.algorithms(config)) != 1:
        raise UserError(
            f"algorithms names {', '.join(copywriting.algorithms(config))}: leave one, and set the "
            "others to null."
        )
    check_agents(config)
    if not (config.get("references") or {}).get("logging"):
        raise UserError("references.logging is null: it delivers where no agent has learned.")
    if arms(config)[BOTH].samples < 1:
        raise UserError(
            f"learn.steps={config['learn']['steps']} is less than two samples of sample_cost="
            f"{config['sample_cost']}: raise it."
        )


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records; every fit, every writer and every cell is a stage.

    Config keys: ``learn.steps`` (the budget in decisions), ``sample_cost`` (decisions for one
    scored sample), and those of the campaign study, with the agent that learns as ``agent`` and
    what delivers otherwise as ``references.logging``.
    """
    setting = make_setting(config, folder)
    assert setting.fitted is not None and setting.gold_users is not None
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        sides, texts = _sides(config, folder, trackers, cautious(config, setting))
    played: dict[str, Episodes] = {}
    users = 0
    for name, arm in arms(config).items():
        proxy, gold = sides[arm.samples]
        where = evaluation_setting(gold, config)
        users = len(where.rows)
        agent = config["agent"] if arm.steps else config["references"]["logging"]
        env = learning_env(proxy, config)
        # One seed for the agent whatever it delivers.
        seed = derived_seed(config["seed"], "learn", "agent")
        learn(Policy(name, agent), env, arm.steps, seed, folder, trackers)
        env.close()
        played[name], _ = play(name, where, folder, "evaluate")
    # Catalogues differ in their creatives, so that each cell is counted by itself.
    values = {name: point_values({name: e})[name] for name, e in played.items()}
    origin = {
        "data": setting.data,
        "rows_seen": setting.rows_seen,
        "notes": setting.log.notes,
        "assumptions": [*setting.gold_users.assumptions, _BUDGET],
    }
    told = about(
        config,
        origin,
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        log=str(config["data"]["name"]),
        agent=learned_name(config).removesuffix(" (learned)"),
        budget=int(config["learn"]["steps"]),
        sample_cost=float(config["sample_cost"]),
        users=users,
        horizon=int(config["env"]["horizon"]),
        judge=GOLD,
        texts=texts,
    )
    rows = rows_of_world(int(config["seed"]), arms(config), values)
    return Records(rows.frame, {rows.seed: told})


def _sides(
    config: dict[str, Any], folder: RunFolder, trackers: Trackers, setting: CopySetting
) -> tuple[dict[int, tuple[UserModel, UserModel]], dict[str, list[str]]]:
    """Return (where the agent learns, who judges) by the samples spent on copy, and the copies."""
    assert setting.gold_users is not None
    based = copywriting.with_base(config, folder, setting)
    ((name, spec),) = given(config, "algorithms").items()
    catalogue = setting.readers.catalogue
    choices = {0: logged_places(config, setting)}
    for samples in sorted({arm.samples for arm in arms(config).values()} - {0}):
        own = f"{name} {samples}"
        part = {**based, "algorithms": {own: spec}, "samples": samples}
        stage = f"creatives/{samples}"
        choices[samples] = written_places(part, folder, trackers, setting, own, stage)
    sides = {samples: places.sides(setting) for samples, places in choices.items()}
    texts = {
        str(samples): list(dict.fromkeys(t for row in places.texts(catalogue) for t in row))
        for samples, places in choices.items()
    }
    return sides, texts


def rows_of_world(
    seed: int, cells: Mapping[str, Arm], values: Mapping[str, Mapping[str, float]]
) -> Rows:
    """Return what each cell may spend, what came of it, and what it gains in clicks per user.

    Args:
        seed: of the world.
        cells: what each may spend.
        values: cell -> metric -> value.
    """
    rows = Rows(seed)
    for name, arm in cells.items():
        rows.add_all({**asdict(arm), **values[name]}, policy=name)
    clicks = {name: values[name]["clicks_per_user"] for name in cells}
    gains = {name: clicks[name] - clicks[NEITHER] for name in cells if name != NEITHER}
    for name, gain in gains.items():
        rows.add("clicks_per_user", gain, policy=name, versus=NEITHER)
    for other in (DELIVERY, COPY):
        rows.add("clicks_per_user", clicks[BOTH] - clicks[other], policy=BOTH, versus=other)
    # Above 0: together they are worth more than the sum of each alone.
    rows.add("interaction", gains[TWICE] - gains[COPY] - gains[DELIVERY])
    return rows
