import re
from functools import partial

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records
from copygym.experiments.report.tables import interval
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
def compared(tmp_path_factory, config, records_of):
    """The records of a tiny study of two agents in two worlds, and where its jobs lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        folder = tmp_path_factory.mktemp("e5")
        return records_of(agents_compared, config, folder), folder


def test_every_policy_has_a_value_in_every_world_and_each_agent_at_every_budget(compared):
    records, _ = compared
    assert records.seeds == (1, 2)
    whole = records.where(budget=None, metric="clicks_per_user")
    assert whole.values("policy") == ["random", "logging", "ucb1", "ppo", "upper"]
    assert whole.frame.height == 10
    found = records.where(policy=["ucb1", "ppo"], metric="regret")
    assert sorted(found.values("budget")) == [96, 640]
    assert found.frame.height == 8
    for row in found.estimates.iter_rows(named=True):
        assert row["low"] <= row["value"] <= row["high"]


def test_regret_is_what_is_missing_to_the_best_reference(compared):
    records, _ = compared
    clicks = {
        name: records.by_seed("clicks_per_user", policy=name, budget=None)
        for name in ("upper", "ppo")
    }
    regret = records.by_seed("regret", policy="ppo", budget=640)
    np.testing.assert_allclose(regret, clicks["upper"] - clicks["ppo"])
    # The whole budget is what the main table shows.
    whole = records.by_seed("clicks_per_user", policy="ppo", budget=640)
    np.testing.assert_array_equal(whole, clicks["ppo"])


def test_scores_are_0_for_logging_and_1_for_the_planner(compared):
    records, _ = compared
    assert records.by_seed("score", policy="logging").tolist() == [0.0, 0.0]
    value = {
        name: records.by_seed("clicks_per_user", policy=name, budget=None)
        for name in ("logging", "ppo", "upper")
    }
    share = (value["ppo"] - value["logging"]) / (value["upper"] - value["logging"])
    np.testing.assert_allclose(records.by_seed("score", policy="ppo"), share)
    assert "upper" not in records.where(metric="score").values("policy")


def test_the_report_shows_the_records(compared, cells_of):
    records, _ = compared
    report = agents_compared.report(records)
    table = cells_of(report.table)
    assert list(table)[-1] == "upper"
    for name in ("ppo", "logging"):
        entry = records.number("clicks_per_user", policy=name, budget=None)
        assert table[name]["clicks/user"] == interval(entry)
    by_heading = {section.heading: section for section in report.sections}
    (regret,) = by_heading["Against decisions spent"].tables
    # Budgets in the order of numbers, not of text.
    assert regret.columns == ("agent", "96 decisions", "640 decisions")
    entry = records.number("regret", policy="ucb1", budget=96)
    assert cells_of(regret)["ucb1"]["96 decisions"] == interval(entry)
    (worlds,) = by_heading["By world"].tables
    ppo = records.by_seed("clicks_per_user", policy="ppo", budget=None)
    assert [row[list(worlds.columns).index("ppo")] for row in worlds.rows] == [
        f"{value:.3f}" for value in ppo
    ]
    # Best last; the winner is stressed.
    best = max(
        ("ucb1", "ppo"),
        key=lambda n: records.number("clicks_per_user", policy=n, budget=None)["value"],
    )
    assert report.table.rows[report.table.strong][0] == best
    assert f"is {best}'s" in report.summary


def test_one_world_is_reported_as_it_is(compared, cells_of):
    records, _ = compared
    report = agents_compared.report(records.only(2))
    value = records.by_seed("clicks_per_user", policy="ppo", budget=None)[1]
    assert cells_of(report.table)["ppo"]["clicks/user"] == interval({"value": value})
    assert "one world" in report.title
    assert not [s for s in report.sections if s.heading.startswith(("By world", "Aggregates"))]


def test_a_killed_run_learns_no_finished_cell_again(
    compared, config, execute, tmp_path, monkeypatch
):
    calls = []
    make = Policy.make

    def counted(self):
        calls.append(self.name)
        # The check makes every agent once, and so does the learning.
        if calls.count("ppo") == 1 and calls.count("ppo 640") == 1:
            raise KeyboardInterrupt
        return make(self)

    monkeypatch.setattr(Policy, "make", counted)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        execute(config("seed=1"), folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    assert before
    monkeypatch.setattr(Policy, "make", make)
    execute(config("seed=1"), folder)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    records, _ = compared
    assert Records.read(folder).frame.equals(records.only(1).frame, null_equal=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
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
