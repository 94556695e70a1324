"""Configs as the command line, tests and sweeps compose them, and what is said of a wrong key."""

import re

import pytest

from copygym.core.errors import UserError
from copygym.experiments.app import composed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learn.stepz=3"], "there is no config key or group 'learn.stepz': choose one of steps;"),
        (
            ["experiment=quickstart", "algorithms.ppo.kl_coeff=0"],
            "there is no config key or group 'algorithms.ppo.kl_coeff': choose one of kl_coef, ",
        ),
        (["agent=ppo", "agent.hyperparameters.gama=1"], "choose one of gamma, "),
        (["agent=ppo", "+agent.name=x"], "there is a config key 'agent.name' already: leave out"),
        (["experiment=e5", "agent=ppo"], "this experiment has no agent that could be chosen"),
        (["experiment=e9", "learn.steps=3"], "there is no config key or group 'learn'"),
        (["base=copy"], "job has no value: choose an experiment=NAME, or name a job=MODULE."),
        (["tiny=maybe"], "unknown tiny 'maybe': choose one of false, true."),
        (["experiment=e7", "parts.train=1"], "'parts' any more: it is called split."),
        (["evaluation.customers=5"], "any more: it is called evaluation.users."),
    ],
)
def test_a_wrong_key_is_one_sentence_with_the_way_out(overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        composed(overrides)


def test_tiny_is_put_over_the_files_and_under_the_command_line():
    full, tiny = composed(["experiment=e6", "out=x"]), composed(["experiment=e6", "tiny=true"])
    assert (full["tiny"], full["learn"]["steps"]) == (False, 360_000)
    assert (tiny["tiny"], tiny["learn"]["steps"]) == (True, 1500)
    own = composed(["learn.steps=7", "experiment=e6", "tiny=true"])
    assert own["learn"]["steps"] == 7
    assert own["evaluation"] == tiny["evaluation"]


def test_an_experiment_on_top_of_another_has_the_small_values_of_both():
    small = composed(["experiment=e3_upworthy", "tiny=true"])
    # Its own, those of upworthy_rlpf, of the base and of the copywriter.
    assert small["samples"] == 16
    assert small["tasks"] == {"train": 8, "validation": 4, "test": 6, "readers": 4}
    assert small["evaluation"]["resamples"] == 100
    assert small["copywriter"]["sft"]["steps"] == 2
    chosen = composed(["experiment=e3_upworthy", "tiny=true", "copywriter=tiny"])
    assert chosen["copywriter"]["sft"]["batch_size"] == 4


def test_a_base_brings_what_its_experiments_need_and_no_more():
    assert set(composed(["experiment=quickstart"])["references"]) == {"logging"}
    assert "references" not in composed(["experiment=hillstrom"])
    assert "agent" not in composed(["experiment=e10"])
    assert set(composed([])["references"]) == {"random", "logging", "best_fixed", "upper"}
