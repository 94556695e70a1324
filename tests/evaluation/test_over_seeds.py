import pytest

from copygym.core.errors import UserError
from copygym.evaluation.over_seeds import estimates


def test_the_middle_half_of_the_seeds_counts():
    runs = [{"a": {"x": value}} for value in (0.0, 1.0, 2.0, 100.0)]
    entry = estimates(runs, 500)["a"]["x"]
    assert entry["value"] == 1.5
    assert 0.0 <= entry["low"] < 1.5 < entry["high"] <= 100.0


def test_equal_seeds_have_an_interval_of_no_width():
    entry = estimates([{"a": {"x": 2.0}}] * 3, 100)["a"]["x"]
    assert entry == {"value": 2.0, "low": 2.0, "high": 2.0}


def test_what_is_no_number_in_one_seed_is_none():
    runs = [{"a": {"x": 1.0}}, {"a": {"x": None}}, {"a": {"x": float("nan")}}]
    assert estimates(runs, 100)["a"]["x"]["value"] is None


def test_one_seed_is_no_interval():
    with pytest.raises(UserError, match="at least 2 seeds"):
        estimates([{"a": {"x": 1.0}}], 100)
