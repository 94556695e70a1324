"""Every config composes, and every name in it exists."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method, get_object
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO

from copygym.agents.copywriter.training.algorithm import ALGORITHMS
from copygym.envs.simulator.fit import fit_users
from copygym.experiments.app import composed
from copygym.experiments.report.page import load_job

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "base", "paper")
)
SB3 = {"a2c": A2C, "dqn": DQN, "ppo": PPO, "maskable_ppo": MaskablePPO}
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def config(*overrides):
    return composed(overrides)


def targets(node):
    """Yield every ``_target_`` with its arguments."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"], {k for k in node if not k.startswith("_")}
        for entry in node.values():
            yield from targets(entry)


def in_its_place(option):
    """Return the overrides that use an option; copywriters' groups stand in experiments only."""
    group, _, name = option.partition("=")
    if group == "algorithm":
        return ["experiment=upworthy_rlpf", f"+algorithm@algorithms.other={name}"]
    if group in ("copywriter", "copy_reward", "reward_model"):
        extra = ["copywriter.model.path=folder"] if option == "copywriter=hf" else []
        extra += ["reward_model.encoder=folder"] if option == "reward_model=hf" else []
        return ["experiment=upworthy_rlpf", option, *extra]
    return [option]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes(option):
    plain = config(*in_its_place(option))
    for target, arguments in targets(plain):
        known = inspect.signature(get_object(target)).parameters
        kinds = {parameter.kind for parameter in known.values()}
        assert arguments <= set(known) or inspect.Parameter.VAR_KEYWORD in kinds, target


#: What experiments or the library give, not the config.
GIVEN = {
    "make_algorithm": {"options", "pairs"},
    "DeliveryVectorEnv": {"users", "reward", "render_mode"},
    "CopyRewardShape": {"model", "users", "reference_texts", "fluency"},
}
#: Of Stable-Baselines3: what `SB3Agent` gives, and classes, which no config names.
OF_SB3 = {
    "policy", "env", "tensorboard_log", "verbose", "seed", "device", "_init_setup_model",
    "policy_kwargs", "stats_window_size", "rollout_buffer_class", "rollout_buffer_kwargs",
    "replay_buffer_class", "replay_buffer_kwargs",
}  # fmt: skip


def signature(part):
    """Return the settings of what a part builds."""
    build = get_object(part["_target_"])
    settings = dict(inspect.signature(build).parameters)
    if build.__name__ == "make_algorithm":
        algorithm = get_object(ALGORITHMS[part["name"]].replace(":", "."))
        settings |= inspect.signature(algorithm).parameters
    return [key for key in settings if key not in GIVEN.get(build.__name__, ())]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_setting_of_a_part_is_a_key(option):
    """A key that is not there cannot be misspelt, seen by --cfg job, or set without a +."""
    group, _, _ = option.partition("=")
    plain = config(*in_its_place(option))
    part = plain["algorithms"]["other"] if group == "algorithm" else plain.get(group)
    if group == "copywriter":
        part = part["model"]
    if group == "dataset":
        load = get_object(f"copygym.envs.datasets.{plain['data']['name']}.load")
        assert set(plain["data"]) == {"name", *inspect.signature(load).parameters}
    if group == "users":
        given = {"log", "holdout", "catalogue", "name", "seed"}
        assert set(part) == set(inspect.signature(fit_users).parameters) - given
    if isinstance(part, dict) and "_target_" in part:
        assert {key for key in part if not key.startswith("_")} == set(signature(part))
    if isinstance(part, dict) and "hyperparameters" in part:
        learner = SB3[part["algorithm"]]
        assert set(part["hyperparameters"]) == set(inspect.signature(learner).parameters) - OF_SB3


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("tiny", ["true", "false"])
def test_every_experiment_composes_and_names_a_job(experiment, tiny):
    plain = config(f"experiment={experiment}", f"tiny={tiny}")
    job = load_job(plain["job"])
    for function in ("check", "seed_records", "report"):
        assert get_method(f"{plain['job']}.{function}") is getattr(job, function)
    assert plain["name"] == experiment
    assert f"outputs/{experiment}/" in plain["out"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_names_its_command_first(experiment):
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# copygym run experiment={experiment}")


def test_an_experiment_beats_the_defaults_and_the_command_line_beats_it():
    assert config("experiment=hillstrom")["data"]["name"] == "hillstrom"
    assert config("experiment=hillstrom")["env"]["horizon"] == 1
    assert config("experiment=hillstrom", "env.horizon=3")["env"]["horizon"] == 3
    assert config("experiment=delivery", "tiny=true", "learn.steps=7")["learn"]["steps"] == 7


def test_tiny_is_smaller():
    small, full = config("tiny=true"), config()
    assert small["learn"]["steps"] < full["learn"]["steps"]
    assert small["evaluation"]["users"] < full["evaluation"]["users"]


def test_every_group_has_a_default_that_exists():
    plain = config()
    for group in ("data", "users", "env", "reward", "agent", "tracker", "references"):
        assert plain[group] is not None, group
