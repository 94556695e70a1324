"""Records: what is written is read again, and numbers over seeds are those of their definition."""

import json
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.core.estimates import Estimate
from copygym.core.seeds import derived_seed
from copygym.evaluation.aggregate import aggregate
from copygym.evaluation.records import FIXED, Records, Rows, cells, filtered, joined, number


def of_seed(seed, value, **about):
    rows = Rows(seed)
    rows.add("clicks", Estimate(value, value - 1, value + 1), policy="ppo")
    rows.add("clicks", 2.0, policy="random")
    rows.add("clicks", value - 2.0, policy="ppo", versus="random")
    rows.add_lines("reward", "step", [10, 20], [value, 2 * value], policy="ppo")
    return Records(rows.frame, {seed: about})


def test_a_record_is_one_number_with_what_it_is_of():
    frame = of_seed(3, 5.0).frame
    assert frame.columns == ["seed", "policy", "versus", "step", "metric", "value", "low", "high"]
    assert frame.row(0) == (3, "ppo", None, None, "clicks", 5.0, 4.0, 6.0)
    assert frame.row(2) == (3, "ppo", "random", None, "clicks", 3.0, None, None)
    assert frame.row(4) == (3, "ppo", None, 20, "reward", 10.0, None, None)
    assert frame.schema["step"] == pl.Int64


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf"), {"value": None}])
def test_what_is_no_number_is_null(nothing):
    rows = Rows(0)
    rows.add("ctr", nothing, policy="hold")
    assert rows.frame.row(0, named=True)["value"] is None


def test_a_column_of_whole_and_other_numbers_is_a_column_of_numbers():
    rows = Rows(0)
    rows.add("x", 1, share=1)
    rows.add("x", 2, share=0.5)
    assert rows.frame["share"].to_list() == [1.0, 0.5]


def test_records_are_the_same_after_they_were_written(tmp_path):
    records = of_seed(1, 4.0, notes=["a"], statistics={"clicks": "mean"})
    records.write(tmp_path)
    again = Records.read(tmp_path)
    assert again.frame.equals(records.frame)
    assert dict(again.about) == {1: {"notes": ["a"], "statistics": {"clicks": "mean"}}}
    assert json.loads((tmp_path / "about.json").read_text())["1"]["notes"] == ["a"]


def test_one_seed_keeps_its_own_intervals():
    assert of_seed(1, 4.0).number("clicks", policy="ppo", step=None) == {
        "value": 4.0, "low": 3.0, "high": 5.0,
    }  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_numbers_over_seeds_are_those_of_aggregate(values):
    about = {"resamples": 50}
    records = joined([of_seed(seed, value, **about) for seed, value in enumerate(values)])
    found = records.number("clicks", policy="ppo", step=None)
    boot = derived_seed(0, "bootstrap")
    scores = np.array(values)[:, None]
    wanted = aggregate(scores, ["iqm"], resamples=50, seed=boot)["iqm"]
    assert found == pytest.approx(wanted.to_dict())


def test_a_metric_has_the_statistic_that_its_study_says():
    values = (0.0, 0.0, 0.0, 100.0)
    statistics = {"clicks": "mean", "default": "median"}
    records = joined(
        [of_seed(s, v, statistics=statistics, resamples=20) for s, v in enumerate(values)]
    )
    assert records.number("clicks", policy="ppo", step=None)["value"] == 25.0
    # The median over tasks of the mean over seeds is, of one task, the mean.
    assert records.number("reward", policy="ppo", step=10)["value"] == 25.0
    assert filtered(records.over_seeds("iqm"), policy="ppo", metric="clicks", versus=None)[
        "value"
    ].to_list() == [0.0]


def test_numbers_of_the_same_seeds_share_their_draws():
    """Paired: the interval of twice a number is twice its interval."""
    records = joined([of_seed(s, v, resamples=200) for s, v in enumerate((1.0, 2.0, 5.0, 9.0))])
    once, twice = (records.number("reward", policy="ppo", step=step) for step in (10, 20))
    assert {key: 2 * value for key, value in once.items()} == pytest.approx(twice)


def test_a_missing_seed_is_named_with_its_cell():
    records = joined([of_seed(1, 4.0), of_seed(2, 5.0)])
    frame = records.frame.filter((pl.col("seed") != 2) | (pl.col("policy") != "random"))
    message = "the records of policy=random, metric=clicks lack seed 2"
    with pytest.raises(UserError, match=re.escape(message)):
        _ = Records(frame, records.about).estimates


def test_a_seed_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match="have a seed twice"):
        _ = joined([of_seed(1, 4.0), of_seed(2, 5.0), of_seed(2, 5.0)]).estimates


def test_rows_within_a_seed_are_not_taken_together():
    rows = Rows(1)
    rows.add("clicks", 1.0, segment="young")
    rows.add("clicks", 2.0)
    other = Rows(2)
    other.add("clicks", 4.0)
    other.add("clicks", 3.0, segment="old")
    about = {"within_seed": ["segment"], "resamples": 10}
    records = joined([Records(rows.frame, {1: about}), Records(other.frame, {2: about})])
    assert records.estimates["value"].to_list() == [3.0]
    assert records.only().values("segment") == ["young"]
    assert records.only(2).frame.height == 2


def test_one_seed_of_several():
    records = joined([of_seed(7, 4.0, notes=["seven"]), of_seed(3, 5.0, notes=["three"])])
    assert records.seeds == (3, 7)
    assert records.only().number("clicks", policy="ppo", step=None)["value"] == 5.0
    assert records.first == {"notes": ["three"]}
    assert records.by_seed("clicks", policy="ppo", versus=None, step=None).tolist() == [5.0, 4.0]


def test_the_whole_has_no_differences_and_no_points_of_curves():
    whole = of_seed(3, 5.0, resamples=9).whole
    assert whole.compared == ["policy"]
    assert whole.frame.select("policy", "value").rows() == [("ppo", 5.0), ("random", 2.0)]
    assert whole.first == {"resamples": 9}


def test_numbers_by_name_leave_out_differences_and_curves():
    assert of_seed(1, 4.0).numbers() == {"ppo/clicks": 4.0, "random/clicks": 2.0}


def test_a_place_without_a_number_is_refused():
    records = of_seed(1, 4.0)
    with pytest.raises(UserError, match=re.escape("there is no number metric=clicks, policy=dqn")):
        records.number("clicks", policy="dqn")
    with pytest.raises(UserError, match=re.escape("there are 2 numbers metric=reward")):
        number(records.frame, "reward", policy="ppo")
    with pytest.raises(UserError, match="no column 'agent'"):
        records.number("clicks", agent="ppo")


def test_tables_that_lack_a_column_or_are_no_tables_are_refused(tmp_path):
    with pytest.raises(UserError, match="no column high"):
        Records(of_seed(1, 4.0).frame.drop("high"))
    with pytest.raises(UserError, match="no study has finished there"):
        Records.read(tmp_path)
    (tmp_path / "about.json").write_text("{}")
    (tmp_path / "records.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(UserError, match="is damaged"):
        Records.read(tmp_path)


def test_cells_come_in_the_order_of_the_rows():
    frame = of_seed(1, 4.0).frame
    assert [cell["policy"] for cell in cells(frame, ["policy"])] == ["ppo", "random"]
    assert set(FIXED) <= set(frame.columns)
