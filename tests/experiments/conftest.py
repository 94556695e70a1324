"""Fixtures for tests of whole experiments."""

from functools import partial

import pytest

from copygym.experiments import app as run


@pytest.fixture(scope="session")
def composed():
    """The maker of configs: takes overrides and returns the config as a run resolves it."""

    def make(*overrides):
        return run.composed(overrides)

    return make


@pytest.fixture(scope="session")
def small_worlds(composed):
    """The same for an experiment over worlds, which then takes seconds."""
    return partial(
        composed, "tiny=true", "tracker=disabled", "references.best_fixed=null", "env.num_envs=32",
        "learn.steps=640", "env.horizon=8", "data.n_users=150",
    )  # fmt: skip


@pytest.fixture(scope="session")
def execute():
    """The runner of an experiment in this process: takes a config and a folder."""
    return lambda config, folder: run.execute(
        config, folder, ["run"], {"group": "g", "job_type": "j", "name": "n"}
    )
