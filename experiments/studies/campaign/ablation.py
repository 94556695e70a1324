"""Experiment E12: copy, delivery or both?

A copywriter (F) writes new creatives, a delivery agent (G) decides who gets which, where and when.
Each alone, both, and neither meet the same held-out people of several storefront worlds. One, the
other and both have the same budget; both with twice of it says whether the two add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.people.creatives import keep_creatives, with_copy
from copygym.evaluation.over_seeds import estimates
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import Policy, given, learned_name
from copygym.experiments.studies.campaign.ablation_report import main_table, sections, summary
from copygym.experiments.studies.campaign.campaign import best_creatives, logged_creatives
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.setting import make_setting
from copygym.experiments.studies.delivery.cells import point_values
from copygym.experiments.studies.delivery.delivery import (
    check_agents,
    evaluation_setting,
    learning_env,
)
from copygym.experiments.studies.learning import learn, play
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.seeds import check_seeds, origins, values_by_seed
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.people.model import UserModel
    from copygym.evaluation.metrics import Episodes
    from copygym.experiments.studies.copy.setting import CopySetting

__all__ = ["main_table", "run", "sections"]

#: The cells, in the order of tables.
NEITHER, COPY, DELIVERY, BOTH, TWICE = "neither", "copy", "delivery", "both", "both, twice"
_SEEDS = (
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


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``seeds`` (worlds), ``learn.steps`` (the budget in decisions), ``sample_cost``
    (decisions for one scored sample), and those of `campaign.run`, with the agent that learns as
    ``agent`` and what delivers otherwise as ``references.logging``.
    """
    check(config)
    found = values_by_seed(config, folder, trackers, _in_world)
    resamples = int(config["evaluation"]["resamples"])
    boot = derived_seed(config["seed"], "bootstrap")
    runs = [world["policies"] for world in found]
    effects = estimates([{"effects": _effects(run)} for run in runs], resamples, boot)["effects"]
    result: dict[str, Any] = {
        "title": f"Copy, delivery or both? {len(found)} worlds of {config['data']['name']}",
        "synthetic": True,
        "arms": {name: vars(arm) for name, arm in arms(config).items()},
        "policies": list(arms(config)),
        "agent": learned_name(config).removesuffix(" (learned)"),
        "budget": int(config["learn"]["steps"]),
        "sample_cost": float(config["sample_cost"]),
        "estimates": estimates(runs, resamples, boot),
        "effects": effects,
        "seeds": {str(seed): run for seed, run in zip(config["seeds"], runs, strict=True)},
        "texts": {str(s): w["texts"] for s, w in zip(config["seeds"], found, strict=True)},
        "users": int(found[0]["users"]),
        "horizon": int(config["env"]["horizon"]),
        "judge": GOLD,
        **origins(
            config["seeds"],
            found,
            _BUDGET,
            _SEEDS.format(count=len(found)),
            name=config["data"]["name"],
        ),
    }
    result["summary"] = summary(result)
    result["summary_numbers"] = {
        f"{name}/clicks_per_user": entry["clicks_per_user"]["value"]
        for name, entry in result["estimates"].items()
    }
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: new copy must be judged by people, "
            "which only the truth of a synthetic world can, such as storefront's."
        )
    check_seeds(config)
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


def _in_world(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Return one world's values; every fit, every writer and every cell is a stage."""
    setting = make_setting(config, folder)
    assert setting.fitted is not None and setting.gold_users is not None
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        sides, texts = _sides(config, folder, trackers, setting)
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
    return {
        # Catalogues differ in their creatives, so that each cell is counted by itself.
        "policies": {name: point_values({name: e})[name] for name, e in played.items()},
        "texts": texts,
        "users": users,
        "data": setting.data,
        "rows_seen": setting.rows_seen,
        "notes": list(setting.log.notes),
        "assumptions": list(setting.gold_users.assumptions),
    }


def _sides(
    config: dict[str, Any], folder: RunFolder, trackers: Trackers, setting: CopySetting
) -> tuple[dict[int, tuple[UserModel, UserModel]], dict[str, list[str]]]:
    """Return (where the agent learns, who judges) by the samples spent on copy, and the copies."""
    assert setting.gold_users is not None
    based = copywriting.with_base(config, folder, setting)
    ((name, spec),) = given(config, "algorithms").items()
    kept = logged_creatives(config, setting)
    catalogue = setting.readers.catalogue
    sides = {0: (keep_creatives(setting.readers, kept), keep_creatives(setting.gold_users, kept))}
    texts = {"0": [catalogue.texts[k] for k in kept]}
    for samples in sorted({arm.samples for arm in arms(config).values()} - {0}):
        own = f"{name} {samples}"
        part = {**based, "algorithms": {own: spec}, "samples": samples}
        stage = f"creatives/{samples}"
        stay, new = best_creatives(part, folder, trackers, setting, own, stage)
        sides[samples] = (
            with_copy(setting.readers, new, stay),
            with_copy(setting.gold_users, new, stay),
        )
        texts[str(samples)] = [catalogue.texts[k] for k in stay] + list(new.texts)
    return sides, texts


def _effects(run: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return what each cell gains over neither in clicks per user, and how two compare."""
    clicks = {name: values["clicks_per_user"] for name, values in run.items()}
    gains = {name: clicks[name] - clicks[NEITHER] for name in clicks if name != NEITHER}
    return {
        **gains,
        "both - delivery": clicks[BOTH] - clicks[DELIVERY],
        "both - copy": clicks[BOTH] - clicks[COPY],
        # Above 0: together they are worth more than the sum of each alone.
        "interaction": gains[TWICE] - gains[COPY] - gains[DELIVERY],
    }
