import json
import re
from functools import partial

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.experiments.studies.build import Policy
from copygym.experiments.studies.delivery import agents_compared

SLOW = ("epsilon_greedy", "linucb", "linear_ts", "logistic_ts", "a2c", "dqn", "maskable_ppo")


@pytest.fixture(scope="module")
def config(small_worlds):
    """The maker of configs in which two agents learn."""
    return partial(
        small_worlds, "experiment=e5", "references.always=null", "learn.shares=[0.15,1.0]",
        *(f"agents.{name}=null" for name in SLOW),
    )  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory, config, execute):
    """A finished tiny run of two agents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        folder = tmp_path_factory.mktemp("e5") / "run"
        execute(config(), folder)
    return folder


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_every_agent_has_a_value_in_every_world_and_at_every_budget(compared):
    result = read(compared)
    assert result["agents"] == ["ucb1", "ppo"]
    assert result["policies"] == ["random", "logging", "ucb1", "ppo", "upper"]
    assert set(result["seeds"]) == {"1", "2"}
    for run_of_seed in result["seeds"].values():
        assert set(run_of_seed) == set(result["policies"])
    for by_steps in result["curves"].values():
        assert set(by_steps) == {"96", "640"}
        for entry in by_steps.values():
            assert entry["regret"]["low"] <= entry["regret"]["value"] <= entry["regret"]["high"]


def test_regret_is_what_is_missing_to_the_best_reference(compared):
    result = read(compared)
    seeds = result["seeds"].values()
    missing = [s["upper"]["clicks_per_user"] - s["ppo"]["clicks_per_user"] for s in seeds]
    assert result["curves"]["ppo"]["640"]["regret"]["value"] == pytest.approx(np.mean(missing))
    # The whole budget is what the main table shows.
    shown = result["estimates"]["ppo"]["clicks_per_user"]["value"]
    assert result["curves"]["ppo"]["640"]["value"]["value"] == shown


def test_scores_are_0_for_logging_and_1_for_the_planner(compared):
    found = read(compared)["aggregates"]
    assert found["statistics"]["logging"]["iqm"]["value"] == 0
    assert (found["baseline"], found["upper"], found["unit"]) == ("logging", "upper", "worlds")


def test_the_report_can_be_built_from_the_saved_result(compared):
    page = (compared / "report.md").read_text()
    assert "Regret: clicks/user missing to upper" in page
    # Budgets in the order of numbers, not of text.
    assert "| 96 decisions | 640 decisions |" in page
    assert {"regret.svg", "profiles.svg"} <= {p.name for p in (compared / "figures").iterdir()}


def test_a_killed_run_learns_no_finished_cell_again(
    compared, config, execute, tmp_path, monkeypatch
):
    calls = []
    make = Policy.make

    def counted(self):
        calls.append(self.name)
        if calls.count("ppo 640") == 2:
            raise KeyboardInterrupt
        return make(self)

    monkeypatch.setattr(Policy, "make", counted)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute(config(), folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    assert before
    monkeypatch.setattr(Policy, "make", make)
    execute(config(), folder)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert (folder / "result.json").read_bytes() == (compared / "result.json").read_bytes()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[1]", "an interval over seeds needs at least 2"),
        ("evaluation.baseline=ppo", "unknown evaluation.baseline 'ppo'"),
        ("evaluation.best=nobody", "unknown evaluation.best 'nobody'"),
        ("evaluation.metric=joy", "unknown evaluation.metric 'joy'"),
        ("learn.shares=[0.1,0.5]", "the largest must be 1"),
        ("+agents.random=${agents.ppo}", "agents.random is a reference, too"),
    ],
)
def test_mistakes_are_found_before_anything_is_learned(config, override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        agents_compared.check(config(override))


def test_an_experiment_without_agents_is_refused(config):
    with pytest.raises(UserError, match="agents is empty"):
        agents_compared.check(config("agents.ucb1=null", "agents.ppo=null"))
