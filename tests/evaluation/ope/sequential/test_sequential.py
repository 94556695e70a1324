"""Sequential off-policy evaluation against a Markov decision process whose values are known."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import decisions
from copygym.evaluation.ope.estimators import dr, ips, point, snips
from copygym.evaluation.ope.policies import built_in
from copygym.evaluation.ope.sequential.episodes import Episodes, history, logged_episodes
from copygym.evaluation.ope.sequential.estimators import ESTIMATORS, marginalised, parts
from copygym.evaluation.ope.sequential.fitted_q import fitted_q
from copygym.evaluation.ope.sequential.judge import value_episodes

#: P(next state | state, action), P(reward | state, action), and two policies.
NEXT = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]])
REWARD = np.array([[0.2, 0.5], [0.7, 0.1]])
LOGGING = np.array([[0.6, 0.4], [0.5, 0.5]])
TARGET = np.array([[0.4, 0.6], [0.7, 0.3]])
HORIZON = 6


def truth(policy, horizon=HORIZON, discount=1.0):
    """Return Q (T, S, A) and V (T, S) by backward induction."""
    value, q = np.zeros(2), []
    for _ in range(horizon):
        q.append(REWARD + discount * NEXT @ value)
        value = (policy * q[-1]).sum(axis=1)
    q = np.array(q[::-1])
    return q, (policy * q).sum(axis=2)


def draw(n, seed=0, horizon=HORIZON, policy=TARGET):
    rng = np.random.default_rng(seed)
    state = np.zeros((n, horizon), dtype=np.int64)
    actions, rewards = np.zeros_like(state), np.zeros((n, horizon))
    now = np.zeros(n, dtype=np.int64)
    for t in range(horizon):
        state[:, t] = now
        actions[:, t] = rng.random(n) > LOGGING[now, 0]
        rewards[:, t] = rng.random(n) < REWARD[now, actions[:, t]]
        now = (rng.random(n) > NEXT[now, actions[:, t], 0]).astype(np.int64)
    ratios = policy[state, actions] / LOGGING[state, actions]
    features = np.stack([np.ones_like(state), state], axis=2).astype(float)
    alive = np.ones((n, horizon), dtype=bool)
    return Episodes(rewards, ratios, alive, actions, policy[state], features), state


def test_every_estimator_finds_the_value_of_another_policy():
    episodes, state = draw(20_000)
    value = truth(TARGET)[1][0, 0]
    assert abs(truth(LOGGING)[1][0, 0] - value) > 0.3  # there is something to find
    found = value_episodes(episodes, states_NT=state, resamples=100)
    assert set(found.estimates) == {*ESTIMATORS, "mis"}
    for name, estimate in found.estimates.items():
        assert estimate.value == pytest.approx(value, abs=0.12), name
        assert estimate.low < value + 0.03 and estimate.high > value - 0.03, name
    assert found.verdict == "supported" and found.supported == HORIZON
    width = {name: one.high - one.low for name, one in found.estimates.items()}
    assert width["trajectory_is"] > width["pdis"] > width["dr"]
    assert width["mis"] < width["pdis"]


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_fitted_q_is_that_of_backward_induction(discount):
    episodes, state = draw(20_000, horizon=3)
    q_NT, v_NT = fitted_q(episodes, discount=discount)
    q, v = truth(TARGET, 3, discount)
    step = np.arange(3)
    np.testing.assert_allclose(q_NT, q[step, state, episodes.actions_NT], atol=0.06)
    np.testing.assert_allclose(v_NT, v[step, state], atol=0.06)
    # Boosted trees see the same.
    small, few = draw(3000, horizon=2)
    boosted, _ = fitted_q(small, "boosting")
    exact = truth(TARGET, 2)[0][np.arange(2), few, small.actions_NT]
    assert np.abs(boosted - exact).mean() < 0.06


def test_the_linear_fit_is_the_ridge_regression_that_it_says():
    from copygym.evaluation.ope.sequential.fitted_q import _OWN, _SHARED, _ridge

    rng = np.random.default_rng(0)
    x, a, y = rng.normal(size=(60, 2)), rng.integers(0, 3, 60), rng.normal(size=60)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    z = np.column_stack([np.ones(60), scaled])
    wide = np.column_stack([z, *(z * (a == k)[:, None] for k in range(4))])
    penalty = np.concatenate([[1e-6], np.full(2, _SHARED), np.full(12, _OWN)])
    w = np.linalg.solve(wide.T @ wide + np.diag(penalty), wide.T @ y)
    expected = z @ (w[:3] + w[3:].reshape(4, 3)).T  # the fourth action was never taken
    np.testing.assert_allclose(_ridge(x, a, y, 4)(x), expected, atol=1e-9)


def test_dr_with_the_right_q_and_wrong_ratios_and_the_reverse():
    episodes, state = draw(20_000)
    q, v = truth(TARGET)
    step, value = np.arange(HORIZON), v[0, 0]
    right = q[step, state, episodes.actions_NT], v[step, state]
    wrong = replace(episodes, ratios_NT=episodes.ratios_NT**0)
    assert point(parts("dr", wrong, *right), None) == pytest.approx(value, abs=0.03)
    off = (right[0] + 1, right[1] + 1)
    assert point(parts("dr", episodes, *off), None) == pytest.approx(value, abs=0.15)
    assert abs(point(parts("fqe", episodes, *off), None) - value) > 0.9


def test_of_one_decision_they_are_the_estimators_of_a_bandit():
    episodes, _ = draw(500, horizon=1)
    rewards, ratios = episodes.rewards_NT[:, 0], episodes.ratios_NT[:, 0]
    q, v = (np.random.default_rng(1).random((500, 1)) for _ in range(2))
    for name in ("trajectory_is", "pdis"):
        assert point(parts(name, episodes), None) == pytest.approx(ips(rewards, ratios))
    assert point(parts("sn_pdis", episodes), None) == pytest.approx(snips(rewards, ratios))
    expected = dr(rewards, ratios, q[:, 0], v[:, 0])
    assert point(parts("dr", episodes, q, v), None) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), horizon=st.integers(1, 5), discount=st.floats(0, 1))
def test_the_policy_that_logged_is_worth_what_it_earned(seed, horizon, discount):
    episodes, state = draw(40, seed, horizon, LOGGING)
    rng = np.random.default_rng(seed)
    ends = rng.integers(1, horizon + 1, size=40)
    alive = np.arange(horizon) < ends[:, None]
    episodes = replace(
        episodes, alive_NT=alive, rewards_NT=np.where(alive, episodes.rewards_NT, 0.0)
    )
    earned = (episodes.rewards_NT @ discount ** np.arange(horizon)).mean()
    for name in ("trajectory_is", "pdis", "sn_pdis"):
        assert point(parts(name, episodes, discount=discount), None) == pytest.approx(earned)
    assert marginalised(episodes, state, discount=discount) == pytest.approx(earned)


def test_a_log_that_does_not_reach_so_far_says_so():
    far = np.array([[0.02, 0.98], [0.02, 0.98]])
    episodes, _ = draw(600, horizon=12, policy=far)
    found = value_episodes(episodes, model=None, resamples=50)
    assert found.verdict == "not supported"
    assert 0 < found.supported < 12
    assert f"supports episodes of {found.supported} decisions" in found.warnings[0]
    near = value_episodes(
        draw(600, horizon=found.supported, policy=far)[0], model=None, resamples=50
    )
    assert near.verdict != "not supported"


def click_log(columns=("user_id", "timestamp"), impressions=1):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b", "a", "a", "b", "a"] * 40,
            "timestamp": [datetime(2026, 1, day) for day in (3, 1, 1, 2, 9, 4)] * 40,
            "creative_id": ["x", "hold", "y", "x", "y", "hold"] * 40,
            "clicks": [1, 0, 0, 1, 0, 0] * 40,
            "impressions": [impressions] * 240,
            "propensity": [0.5] * 240,
        }
    ).with_columns(pl.col("user_id") + (pl.int_range(240) // 6).cast(pl.String))
    names = [n for n in frame.columns if n not in ("user_id", "timestamp") or n in columns]
    return ClickLog.from_frame(frame.select(names), name="log")


def test_a_log_s_episodes_are_a_user_s_decisions_in_order_of_time():
    log = decisions(click_log())
    (uniform,) = built_in(log, "uniform")
    episodes = logged_episodes(log, uniform, 3)
    # Users a* have 4 decisions: an episode of 3 and one of 1; users b* have 2.
    assert sorted(episodes.alive_NT.sum(axis=1).tolist()) == [1] * 40 + [2] * 40 + [3] * 40
    whole = episodes.alive_NT.all(axis=1)
    assert (episodes.rewards_NT[whole] == [0, 1, 1]).all()  # y, then x and x
    np.testing.assert_allclose(np.unique(episodes.ratios_NT), [2 / 3, 1.0])
    assert episodes.unit is not None and len(set(episodes.unit.tolist())) == 80
    past = history(episodes.rewards_NT[whole], np.ones((40, 3), bool))
    assert past[0, 2].tolist() == [2, 1, 2, 1, 1]


@pytest.mark.parametrize(
    ("columns", "impressions", "message"),
    [
        (("timestamp",), 1, "no column user_id"),
        (("user_id",), 1, "no column timestamp"),
        (("user_id", "timestamp"), 2, "rows of several impressions"),
    ],
)
def test_a_log_without_order_is_refused(columns, impressions, message):
    log = decisions(click_log(columns, impressions))
    (uniform,) = built_in(log, "uniform")
    with pytest.raises(UserError, match=message):
        logged_episodes(log, uniform, 3)
