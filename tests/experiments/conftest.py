"""Fixtures for tests of whole experiments."""

from functools import partial

import pytest

from copygym.evaluation.records import Records, joined
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


@pytest.fixture(scope="session")
def records_of(execute):
    """The runner of a study over seeds, each a job of its own; returns their joined records."""

    def make(study, make_config, folder, seeds=(1, 2)):
        parts = []
        for seed in seeds:
            execute(make_config(f"seed={seed}"), folder / f"seed={seed}")
            parts.append(Records.read(folder / f"seed={seed}"))
        return joined(parts)

    return make


@pytest.fixture(scope="session")
def cells_of():
    """The reader of a report: first cell of a row -> heading -> cell."""

    def make(table):
        _, *columns = table.columns
        return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in table.rows}

    return make
