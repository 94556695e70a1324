"""Simulated against real click rates by segment."""

import re

import numpy as np
import polars as pl
import pytest
from scipy import stats

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.fidelity.segments import chance_of_worst, group_rates, user_segments


def rates_by_hand():
    predicted = np.concatenate([np.full(100, 0.2), np.full(400, 0.5)])
    clicks = np.concatenate([np.arange(100) < 30, np.arange(400) < 200]).astype(float)
    names = np.repeat(["small", "large"], [100, 400])
    return group_rates(predicted, np.ones(500), clicks, np.arange(500), {"band": names})


def test_group_rates_by_hand():
    large, small = rates_by_hand()
    assert [large["segment"], small["segment"]] == ["large", "small"]
    assert (small["impressions"], small["simulated_rate"]) == (100, pytest.approx(0.2))
    assert small["real_rate"]["value"] == pytest.approx(0.3)
    low, high = stats.binomtest(30, 100).proportion_ci(method="wilson")
    assert (small["real_rate"]["low"], small["real_rate"]["high"]) == pytest.approx((low, high))
    assert small["rate_ratio"]["value"] == pytest.approx(1.5)
    assert small["z"] == pytest.approx(0.1 / np.sqrt(0.2 * 0.8 / 100))
    assert not small["inside"]
    assert large["inside"]
    assert large["z"] == pytest.approx(0.0)


def test_rows_of_one_user_widen_the_interval():
    predicted, clicks = np.full(200, 0.3), (np.arange(200) < 80).astype(float)
    alone, clustered = (
        group_rates(predicted, np.ones(200), clicks, unit, {"all": np.full(200, "x")})[0]
        for unit in (np.arange(200), np.arange(200) // 20)
    )
    assert alone["real_rate"]["low"] > clustered["real_rate"]["low"]
    assert abs(alone["z"]) > abs(clustered["z"])


def test_chance_of_a_worst_gap():
    one = 1.959964
    assert chance_of_worst([one]) == chance_of_worst([-one]) == pytest.approx(0.05, abs=1e-6)
    many = [0.1] * 10 + [-one] + [0.1] * 9
    assert chance_of_worst(many) == pytest.approx(1 - 0.95**20, abs=1e-6)
    assert chance_of_worst([0.0]) == pytest.approx(1.0)


def test_segments_of_a_log():
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(20)],
            "creative_id": ["a", "b"] * 10,
            "impressions": [1] * 20,
            "clicks": [0, 1] * 10,
            "user_age": ["old", None] * 10,
            "user_score": list(range(20)),
        }
    )
    log = ClickLog.from_frame(frame, name="made", synthetic=True)
    found = user_segments(log, log.collect(), None)
    # A score with twenty levels makes no segments, unless it is asked for.
    assert {name: sorted(set(levels)) for name, levels in found.items()} == {
        "age": ["old", "unknown"]
    }
    assert list(user_segments(log, log.collect(), ["score"])) == ["score"]
    with pytest.raises(UserError, match=re.escape("'user_region'")):
        user_segments(log, log.collect(), ["region"])
