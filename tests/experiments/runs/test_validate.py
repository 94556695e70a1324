"""Wrong values of config keys are told in one sentence, whatever the job."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from copygym.core.errors import UserError
from copygym.experiments.app import composed
from copygym.experiments.runs.schema import Config
from copygym.experiments.runs.validate import validate

EXPERIMENTS = sorted(p.stem for p in (Path(__file__).parents[3] / "conf/experiment").glob("*.yaml"))
WHOLE = "a whole number of {} or more"


def config(*overrides):
    return composed(overrides)


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("tiny", ["true", "false"])
def test_every_experiment_is_valid(experiment, tiny):
    validate(config(f"experiment={experiment}", f"tiny={tiny}"))


def test_every_section_is_one_that_an_experiment_has():
    configs = [config(f"experiment={experiment}") for experiment in EXPERIMENTS]
    for key in get_type_hints(Config):
        assert key == "free" or any(key in one for one in configs), key


def test_a_misspelt_key_in_a_section_is_refused_with_the_likeliest_first():
    message = "there is no config key 'evaluation.resample': choose one of resamples, "
    wrong = {"job": "copygym.experiments.studies.x", "evaluation": {"resample": 5}}
    with pytest.raises(UserError, match=re.escape(message)):
        validate(wrong)
    validate({**wrong, "job": "mine.job"})


@pytest.mark.parametrize("value", [3, None, "abc", [1]])
def test_a_section_is_no_value(value):
    with pytest.raises(UserError, match="give no value of its own, but keys below it"):
        validate({"learn": value})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("overopt.sizes", [0.5, 2], "a list of numbers above 0, 1 at most"),
        ("overopt.sizes", [], "a list of numbers above 0, 1 at most"),
        ("overopt.n", 4, "a whole number of 8 or more"),
        ("overopt.ppo.window", 0, "a whole number of 1 or more"),
        ("overopt.ppo.kl_coefs", [-1], "a list of numbers of 0 or more"),
        ("overopt.temperature", 0, "a number above 0"),
        ("overopt.heads", [], "a list of names"),
        ("power.lifts", [-1], "a list of numbers above -1"),
        ("learners.ppo.steps", 0, "null or a whole number of 1 or more"),
    ],
)
def test_lists_and_keys_inside_of_named_groups(key, value, words):
    with pytest.raises(UserError, match=re.escape(f"{key}={value}: give {words}.")):
        validate(nested(key, value))


@pytest.mark.parametrize(
    ("key", "least", "null"),
    [
        ("seed", 0, False), ("learn.steps", 1, False), ("env.horizon", 1, False),
        ("env.num_envs", 1, False), ("evaluation.users", 1, True),
        ("evaluation.episodes", 1, False),
        ("evaluation.num_envs", 1, False), ("evaluation.resamples", 2, False),
        ("evaluation.timelines", 0, False), ("users.n_users", 1, False),
        ("users.ensemble", 1, False), ("tests", 3, True),
        ("data.n_users", 1, False), ("data.n_slots", 1, False), ("data.seed", 0, False),
    ],
)  # fmt: skip
def test_whole_numbers(key, least, null):
    validate(nested(key, least))
    words = f"{'null or ' if null else ''}{WHOLE.format(least)}"
    for value in (least - 1, -5, "abc", 1.5, True, [3]):
        with pytest.raises(UserError, match=re.escape(f"{key}={value}: give {words}.")):
            validate(nested(key, value))
    if null:
        validate(nested(key, None))
    else:
        with pytest.raises(UserError, match=re.escape(f"{key}=null: give {words}.")):
            validate(nested(key, None))


@pytest.mark.parametrize(
    ("key", "good", "bad", "words"),
    [
        ("env.budget", [None, 0, 0.5], [-1, "abc", float("nan"), True], "null or a number of 0"),
        ("split.train", [0.5, 3], [0, -1, "abc", None, float("inf")], "a number above 0."),
        ("split.test", [0.5], [0, -0.1], "a number above 0."),
        ("split.judge", [0, 0.2], [-1, "abc"], "a number of 0 or more."),
        ("users.dynamics.anything", [0, -7.5, float("-inf")], ["abc", None, True], "a number."),
        ("tiny", [True, False], ["maybe", 1, None], "true or false."),
        ("replay.horizons", [[1, 5]], [[], [0], ["abc"], 5, None], "a list of whole numbers of 1"),
        ("replay.policies", [["ucb"]], [[], [1], "ucb"], "a list of names."),
        ("replay.z", [0, 0.08], [-0.1, float("inf"), "abc", None], "a number of 0 or more."),
        ("replay.tuning", [[0, 1000]], [[], [-1], [0.5], 5], "a list of whole numbers of 0"),
        ("replay.epsilon", [0, 1], [1.1, -0.1, "abc"], "a number from 0 to 1."),
        ("replay.explore", [0.2], [0, 1], "a number between 0 and 1, neither"),
    ],
)
def test_other_values(key, good, bad, words):
    for value in good:
        validate(nested(key, value))
    for value in bad:
        shown = "null" if value is None else value
        with pytest.raises(UserError, match=re.escape(f"{key}={shown}: give {words}")):
            validate(nested(key, value))
