import numpy as np
import pytest

from copygym.evaluation.metrics import (
    METRICS,
    TOTALS,
    Episodes,
    policy_metrics,
    segment_metrics,
)


def episodes(creatives, **totals):
    creatives = np.asarray(creatives, dtype=float)
    table = np.zeros((len(creatives), len(TOTALS)))
    for name, values in totals.items():
        table[:, TOTALS.index(name)] = values
    return Episodes(np.arange(len(creatives)), table, creatives)


def value(result, policy, metric):
    return result["metrics"][policy][metric]["value"]


def test_known_answers():
    played = episodes(
        [[2, 0, 0, 0], [0, 2, 0, 0]],
        clicks=[2, 0],
        sends=[2, 2],
        conversions=[1, 0],
        revenue=[10, 0],
        cost=[1, 1],
        reward=[3, -1],
        unsubscribed=[0, 1],
        steps=[4, 2],
        step_regret=[0.2, 0.4],
        novelty=[4, 2],
        pairs=[1, 1],
        differing_pairs=[1, 0],
        organic=[1, 0],
    )
    result = policy_metrics({"a": played}, "a", resamples=50)
    expected = {
        "ctr": 0.25,
        "clicks_per_user": 1.0,
        "organic_per_user": 0.5,
        "sends_per_user": 2.0,
        "cvr": 0.5,
        "revenue_per_user": 5.0,
        "cost_per_user": 1.0,
        "profit_per_user": 4.0,
        "reward_per_user": 1.0,
        "unsubscribe_rate": 0.5,
        "coverage": 0.5,
        "effective_creatives": 2.0,
        "intra_list_diversity": 0.5,
        "novelty": 1.5,
        "step_regret": 0.1,
    }
    for name, number in expected.items():
        assert value(result, "a", name) == pytest.approx(number), name
    assert set(expected) | {"gini"} == set(METRICS)


def test_clicks_while_nothing_was_sent_are_no_part_of_the_ctr():
    played = episodes(np.ones((4, 1)), clicks=[5, 7, 4, 6], sends=np.ones(4), organic=[5, 6, 4, 6])
    found = policy_metrics({"a": played}, "a", resamples=50)["metrics"]["a"]
    assert found["ctr"]["value"] == 0.25
    assert found["ctr"]["high"] <= 1.0
    assert found["clicks_per_user"]["value"] == 5.5
    assert found["organic_per_user"]["value"] == 5.25


def test_a_sample_without_events_has_the_interval_of_a_count_of_0():
    quiet = episodes(np.ones((40, 1)), sends=np.full(40, 5))
    result = policy_metrics({"a": quiet, "b": quiet}, "a", resamples=50)
    found = result["metrics"]["a"]
    # Clopper and Pearson's upper end, and the Poisson count's: 3.69 events.
    assert found["unsubscribe_rate"] == pytest.approx(
        {"value": 0, "low": 0, "high": 0.0881}, abs=1e-4
    )
    assert found["ctr"]["high"] == pytest.approx(1 - 0.025 ** (1 / 200))
    assert found["clicks_per_user"]["high"] == pytest.approx(3.689 / 40, abs=1e-4)
    gain = result["differences"]["b"]["clicks_per_user"]
    assert (gain["low"], gain["high"]) == pytest.approx((-3.689 / 40, 3.689 / 40), abs=1e-4)
    segment = segment_metrics({"a": quiet}, np.full(40, "x"), ("clicks_per_user",), 20)["x"]
    assert segment["metrics"]["a"]["clicks_per_user"] == found["clicks_per_user"]


def test_a_share_of_all_is_as_uncertain_as_one_of_none():
    all_left = episodes(np.ones((40, 1)), unsubscribed=np.ones(40))
    found = policy_metrics({"a": all_left}, "a", resamples=50)["metrics"]["a"]["unsubscribe_rate"]
    assert found == pytest.approx({"value": 1, "low": 0.9119, "high": 1}, abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "gini", "effective"),
    [([5, 5, 5, 5], 0.0, 4.0), ([20, 0, 0, 0], 1.0, 1.0), ([10, 10, 0, 0], 2 / 3, 2.0)],
)
def test_concentration_extremes(counts, gini, effective):
    result = policy_metrics({"a": episodes([counts], sends=[20])}, "a", resamples=10)
    assert value(result, "a", "gini") == pytest.approx(gini)
    assert value(result, "a", "effective_creatives") == pytest.approx(effective)


def test_a_policy_that_never_sends_has_no_ctr():
    result = policy_metrics({"a": episodes(np.zeros((5, 3)))}, "a", resamples=10)
    assert np.isnan(value(result, "a", "ctr"))
    assert value(result, "a", "coverage") == 0


def test_differences_are_paired_and_regret_has_the_other_sign():
    rng = np.random.default_rng(0)
    luck = rng.poisson(3.0, size=500)
    base = episodes(np.ones((500, 2)), clicks=luck, sends=np.full(500, 10))
    better = episodes(np.ones((500, 2)), clicks=luck + 1, sends=np.full(500, 10))
    result = policy_metrics({"base": base, "better": better}, "base", "better", resamples=300)
    gain = result["differences"]["better"]["clicks_per_user"]
    # The luck cancels: the difference is exactly one in every resample.
    assert (gain["value"], gain["low"], gain["high"]) == pytest.approx((1, 1, 1))
    assert result["regret"]["base"]["clicks_per_user"]["value"] == pytest.approx(1)
    own = result["metrics"]["base"]["clicks_per_user"]
    assert own["high"] - own["low"] > 0.1


def test_policies_must_meet_the_same_users():
    first = episodes(np.ones((3, 2)))
    other = Episodes(first.users + 1, first.totals, first.creatives)
    with pytest.raises(ValueError, match="other users"):
        policy_metrics({"a": first, "b": other}, "a", resamples=10)


def test_segments_are_those_with_most_users():
    played = episodes(np.ones((6, 2)), clicks=[1, 1, 1, 0, 0, 4], sends=np.ones(6))
    segments = np.array(["x", "x", "x", "y", "y", "z"])
    result = segment_metrics({"a": played}, segments, ("clicks_per_user",), 20, largest=2)
    assert list(result) == ["x", "y"]
    assert result["x"]["users"] == 3
    assert result["y"]["metrics"]["a"]["clicks_per_user"]["value"] == 0
