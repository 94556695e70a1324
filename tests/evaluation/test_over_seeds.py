import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.over_seeds import over_seeds


def taken_together(*values, statistic="iqm", seeds=None):
    """Return one cell's ``value``, ``low`` and ``high`` over seeds."""
    seeds = range(len(values)) if seeds is None else seeds
    frame = pl.DataFrame(
        {"seed": list(seeds), "metric": ["x"] * len(values), "value": list(values)},
        schema={"seed": pl.Int64, "metric": pl.String, "value": pl.Float64},
    )
    row = over_seeds(frame, ["metric"], statistic, {}, 500, 0).row(0, named=True)
    assert row.pop("metric") == "x"
    return row


def test_the_middle_half_of_the_seeds_counts():
    entry = taken_together(0.0, 1.0, 2.0, 100.0)
    assert entry["value"] == 1.5
    assert 0.0 <= entry["low"] < 1.5 < entry["high"] <= 100.0
    assert taken_together(0.0, 1.0, 2.0, 100.0, statistic="mean")["value"] == 25.75


def test_equal_seeds_have_an_interval_of_no_width():
    assert taken_together(2.0, 2.0, 2.0) == {"value": 2.0, "low": 2.0, "high": 2.0}


@pytest.mark.parametrize("none", [None, float("nan")])
def test_what_is_no_number_in_one_seed_is_none(none):
    assert taken_together(1.0, none, 2.0) == {"value": None, "low": None, "high": None}


def test_a_seed_that_came_twice_is_refused():
    with pytest.raises(UserError, match="have a seed twice"):
        taken_together(1.0, 2.0, 3.0, seeds=[0, 1, 1])
