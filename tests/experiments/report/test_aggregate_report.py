"""Aggregates over runs: scores by hand, what cannot be aggregated, and the report's section."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.evaluation.aggregate import iqm
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.report.aggregates import (
    FEW_RUNS,
    of_records,
    over_runs,
    profile_figure,
    section,
)
from copygym.experiments.report.figures import Picture
from copygym.experiments.runs.outputs import plain

#: Four runs on scales of their own: (logging, agent, upper).
RUNS = [
    {"logging": 1.0, "agent": 1.5, "upper": 2.0},  # half of what there is
    {"logging": 10.0, "agent": 14.0, "upper": 20.0},  # 0.4
    {"logging": 0.0, "agent": 3.0, "upper": 2.0},  # 1.5: above the reference
    {"logging": 5.0, "agent": 4.0, "upper": 6.0},  # -1: below the baseline
]


def found(runs=RUNS, tasks=None, upper="upper", **options):
    tasks = [""] * len(runs) if tasks is None else tasks
    options = {"what": "clicks/user", "resamples": 200, **options}
    return over_runs(runs, tasks, "logging", upper, **options)


def test_scores_are_shares_of_what_there_was_to_win_in_each_run():
    result = found()
    assert np.ravel(result["scores"]["agent"]) == pytest.approx([0.5, 0.4, 1.5, -1.0])
    assert np.ravel(result["scores"]["logging"]).tolist() == [0, 0, 0, 0]
    # It is 1 by definition.
    assert "upper" not in result["scores"]
    agent = result["statistics"]["agent"]
    assert list(agent) == ["iqm", "mean", "optimality_gap"]
    assert agent["iqm"]["value"] == pytest.approx(0.45)
    assert agent["mean"]["value"] == pytest.approx(0.35)
    # 1.5 counts as 1.
    assert agent["optimality_gap"]["value"] == pytest.approx((0.5 + 0.6 + 0.0 + 2.0) / 4)
    # Three of four runs are above their own baseline.
    assert result["beats"]["agent"]["value"] == pytest.approx(0.75)
    for entry in (*agent.values(), result["beats"]["agent"]):
        assert entry["low"] <= entry["value"] <= entry["high"]


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(-5, 5)), min_size=4, max_size=4),
)
def test_a_runs_own_scale_does_not_matter(scales):
    moved = [
        {name: factor * value + shift for name, value in run.items()}
        for run, (factor, shift) in zip(RUNS, scales, strict=True)
    ]
    there = np.ravel(found(moved, resamples=2)["scores"]["agent"])
    np.testing.assert_allclose(there, [0.5, 0.4, 1.5, -1.0], atol=1e-9)


def test_neighbours_by_iqm_are_compared():
    runs = [{**run, "best": run["upper"] - 0.01} for run in RUNS]
    order = found(runs)["order"]
    assert [(entry["better"], entry["worse"]) for entry in order] == [
        ("best", "agent"),
        ("agent", "logging"),
    ]
    # best: about 1 in each run; agent is above it in one run of four.
    assert order[0]["probability"]["value"] == pytest.approx(0.75)


def test_tasks_are_columns_and_get_a_median():
    result = found(tasks=["a", "b", "a", "b"])
    np.testing.assert_allclose(result["scores"]["agent"], [[0.5, 0.4], [1.5, -1.0]])
    assert result["tasks"] == ["a", "b"]
    # Means of the tasks are 1.0 and -0.3.
    assert result["statistics"]["agent"]["median"]["value"] == pytest.approx(0.35)
    assert "2 tasks" in section(result).tables[0].caption


def test_without_an_upper_reference_values_stay_as_they_are():
    runs = [{k: v for k, v in run.items() if k != "upper"} for run in RUNS]
    result = found(runs, upper=None)
    assert np.ravel(result["scores"]["agent"]).tolist() == [1.5, 14.0, 3.0, 4.0]
    assert list(result["statistics"]["agent"]) == ["iqm", "mean"]
    assert "there is no upper reference" in section(result).text[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runs": RUNS[:1], "unit": "seeds"}, "Aggregates need at least 2 seeds"),
        ({"tasks": ["a", "a", "a", "b"]}, "found: 3 of a, 1 of b."),
        ({"tasks": ["a", "a", "b", "b"], "upper": None}, "need an upper reference"),
        (
            {"runs": [*RUNS, {"logging": 2.0, "agent": 1.0, "upper": 2.0}], "unit": "worlds"},
            "In one of the worlds (number 5) upper earned no more clicks/user than logging",
        ),
    ],
)
def test_what_cannot_be_aggregated_is_told_in_a_sentence(options, sentence):
    result = found(**options)
    assert list(result) == ["missing"]
    assert sentence in result["missing"]
    told = section(result)
    assert told.text == (result["missing"],)
    assert not told.tables


def test_a_policy_of_one_run_is_left_out_and_named():
    result = found([{**RUNS[0], "rare": 1.0}, *RUNS[1:]])
    assert "rare" not in result["scores"]
    assert any("rare was not run at least twice" in text for text in section(result).text)


def test_the_section_shows_tables_and_profiles():
    told = section(json.loads(json.dumps(plain(found(unit="worlds")))))
    assert told.heading == "Aggregates over worlds"
    assert "in the same world" in told.text[0]
    assert "4 worlds are shorter than they should be" in told.text[1]
    statistics, improvement = told.tables
    assert statistics.columns == ("policy", "worlds", "IQM", "mean", "optimality gap")
    # Best first.
    assert [row[:2] for row in statistics.rows] == [("agent", "4"), ("logging", "4")]
    assert improvement.rows[0][0] == "agent > logging"
    assert improvement.rows[0][1].startswith("75 [")
    (picture,) = told.pictures
    assert "share of worlds above it" in picture.svg
    many = section(found(RUNS * (FEW_RUNS // len(RUNS) + 1)))
    assert not any("shorter" in text for text in many.text)


def test_the_figure_begins_above_all_runs_and_ends_below_none(monkeypatch):
    drawn = {}

    def catch(name, caption, lines, *labels):
        drawn.update(lines)
        return Picture(name, caption, "<svg>", b"")

    monkeypatch.setattr("copygym.experiments.report.aggregates.lines_figure", catch)
    profile_figure({"a": np.array([[0.0], [1.0]]), "b": np.array([[2.0], [3.0]])}, resamples=20)
    assert drawn["a"]["y"][0] == drawn["b"]["y"][0] == 1.0
    assert drawn["a"]["y"][-1] == drawn["b"]["y"][-1] == 0.0
    # b lies above a throughout.
    assert (np.array(drawn["b"]["y"]) >= drawn["a"]["y"]).all()


def test_the_seeds_of_records_are_runs():
    rows = [Rows(seed) for seed in range(len(RUNS))]
    for own, run in zip(rows, RUNS, strict=True):
        own.add_all({"clicks_per_user": 0.0}, policy="other")
        for name, value in run.items():
            own.add("clicks_per_user", value, policy=name)
    records = joined([Records(own.frame, {own.seed: {"resamples": 100}}) for own in rows])
    records = records.where(policy=["logging", "agent", "upper"])
    result = of_records(records, "policy", "clicks_per_user", "logging", "upper", "worlds")
    assert (result["unit"], result["what"]) == ("worlds", "clicks/user")
    assert result["statistics"]["agent"]["iqm"]["value"] == pytest.approx(
        iqm(np.array([[0.5], [0.4], [1.5], [-1.0]]))
    )


def test_records_of_several_tasks_are_their_runs():
    rows = []
    for task, scale in (("short", 1.0), ("long", 10.0)):
        for seed, gain in enumerate((0.5, 0.25)):
            own = Rows(seed, task=task)
            for name, value in (("logging", 1.0), ("agent", 1.0 + gain), ("upper", 2.0)):
                own.add("clicks_per_user", scale * value, policy=name)
            rows.append(Records(own.frame))
    records = Records(joined(rows).frame, {0: {"resamples": 50}})
    result = of_records(records, "policy", "clicks_per_user", "logging", "upper", "runs")
    assert result["tasks"] == ["short", "long"]
    # (R, T): a row is a seed, a column a task.
    assert result["scores"]["agent"] == [[0.5, 0.5], [0.25, 0.25]]
    options = ("policy", "clicks_per_user", "logging", "upper")
    # A policy that lacks a seed is left out, a second number is refused.
    lacks = (pl.col("policy") == "agent") & (pl.col("seed") == 1)
    lacking = of_records(Records(records.frame.filter(~lacks)), *options)
    assert "agent was not run at least twice" in lacking["left_out"]["agent"]
    twice = Records(pl.concat([records.frame, records.frame[:1]]))
    with pytest.raises(UserError, match="is not one number a policy and seed"):
        of_records(twice, *options)
