"""The front door to off-policy evaluation: the order of columns, and tables that do not fit."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs import ClickLog
from copygym.evaluation import logged_actions, off_policy

ARMS = ("hold", "a", "b")
N = 900


@pytest.fixture
def log():
    """Arms with their own click rates, taken with known probabilities."""
    rng = np.random.default_rng(0)
    chances = np.array([0.5, 0.2, 0.3])
    arm = rng.choice(3, N, p=chances)
    clicks = rng.random(N) < np.array([0.1, 0.6, 0.3])[arm]
    return ClickLog.from_frame(
        {
            "creative_id": [ARMS[index] for index in arm],
            "propensity": chances[arm],
            "impressions": np.ones(N, dtype=int),
            "clicks": clicks.astype(int),
        },
        name="mine",
    )


def rate(log, arm):
    rows = log.collect()
    return rows.filter(rows["creative_id"] == arm)["clicks"].mean()


def test_hold_is_first_and_creatives_follow_by_name(log):
    assert logged_actions(log) == ARMS


@pytest.mark.parametrize("arm", [0, 1, 2])
def test_columns_are_in_the_order_of_the_actions(log, arm):
    found = off_policy(log, np.eye(3)[arm], response=False, resamples=100)
    assert found.estimator == "snips"
    assert found.value.value == pytest.approx(rate(log, ARMS[arm]))
    assert found.value.low < found.value.value < found.value.high
    assert found.lift.value == pytest.approx(found.value.value - log.collect()["clicks"].mean())


def test_named_columns_may_be_in_any_order_and_leave_actions_out(log):
    found = off_policy(log, np.array([0.25, 0.75]), actions=["b", "a"], resamples=100)
    wanted = off_policy(log, np.array([0.0, 0.75, 0.25]), resamples=100)
    assert found == wanted


def test_one_row_is_a_policy_for_everybody(log):
    chances = np.array([0.2, 0.3, 0.5])
    tables = {"one": chances, "many": np.tile(chances, (N, 1))}
    found = off_policy(log, tables, resamples=100)
    assert found["one"].value == pytest.approx(found["many"].value)
    assert set(found) == {"logging", "one", "many"}
    assert found["logging"].value.value == pytest.approx(log.collect()["clicks"].mean())
    assert found["logging"].lift is None


def test_rows_are_in_the_order_of_the_log(log):
    taken = np.eye(3)[[ARMS.index(arm) for arm in log.collect()["creative_id"]]]
    shifted = np.roll(taken, 1, axis=0)
    found = off_policy(log, {"as_logged": taken, "shifted": shifted}, resamples=100)
    assert found["as_logged"].estimates["ips"].value > found["shifted"].estimates["ips"].value


def test_a_policy_that_the_log_never_followed_has_no_value(log):
    taken = np.eye(3)[[ARMS.index(arm) for arm in log.collect()["creative_id"]]]
    other = np.roll(taken, 1, axis=1)
    found = off_policy(log, other, response=False, resamples=100)
    assert found.verdict == "not supported"
    assert np.isnan(found.value.value)
    assert "not supported" in repr(found)


WRONG = [
    (np.full((N, 4), 0.25), None, "policy has shape (900, 4) and there are 3 actions (hold, a, b)"),
    (np.full((N, 2), 0.5), None, "give one column for each, in this order, or name the columns by"),
    (np.full((5, 3), 1 / 3), None, "policy has 5 rows and the log 900; give one row per row"),
    (np.full((N, 3), 0.3), None, "policy: row 0 sums to 0.9, not 1; normalise it."),
    (np.array([1.5, -0.5, 0.0]), None, "policy: row 0 has a probability that is negative"),
    (np.array([np.nan, 0.5, 0.5]), None, "policy: row 0 has a probability that is negative or no"),
    (
        np.array([0.5, 0.5]),
        ["a", "c"],
        "action 'c' is not in the log, whose actions are hold, a, b",
    ),
    (np.array([0.5, 0.5]), ["a", "a"], "action 'a' names two columns; give each its own name."),
    (np.full((2, N, 3), 1 / 3), None, "policy has shape (2, 900, 3)"),
    (
        {"logging": np.ones(3) / 3},
        None,
        "'logging' is what the log did; call your policy otherwise",
    ),
]


@pytest.mark.parametrize(("table", "actions", "message"), WRONG)
def test_tables_that_do_not_fit_the_log_are_refused(log, table, actions, message):
    with pytest.raises(UserError, match=re.escape(message)):
        off_policy(log, table, actions=actions)


def test_the_row_of_a_bad_distribution_is_named(log):
    table = np.full((N, 3), 1 / 3)
    table[17] *= 2
    with pytest.raises(UserError, match=r"off_policy: policy: row 17 sums to 2, not 1"):
        off_policy(log, table)


def test_a_log_without_propensities_is_refused_unless_they_are_to_be_estimated(log):
    bare = log.with_frame(log.frame.drop("propensity"))
    with pytest.raises(UserError, match="has no column propensity"):
        off_policy(bare, np.array([0.0, 1.0, 0.0]))
    found = off_policy(bare, np.array([0.0, 1.0, 0.0]), estimate_propensities=True, resamples=100)
    assert any("propensities are estimated" in warning for warning in found.warnings)
