import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.agents import PlannerAgent, UniformAgent, sample_actions
from copygym.agents.delivery.base import uniform_over
from copygym.envs import DeliveryVectorEnv, Dynamics, UserError

#: Without repetition effects and drift the plan is exact but for the grid.
PLAIN = {"repetition_click": 0.0, "drift_step": 0.0, "drift_click": 0.0}
HARSH = {**PLAIN, "fatigue_decay": 0.5, "fatigue_click": 0.8, "unsubscribe_logit": -2.0}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def exact(users, u, t, z, horizon):
    """Return the optimal value of (t, z), by recursion without a grid, and the action."""
    if t == horizon:
        return 0.0, 0
    d = users.dynamics
    values = [exact(users, u, t + 1, d.fatigue_decay * z, horizon)[0]]
    after = exact(users, u, t + 1, d.fatigue_decay * z + 1, horizon)[0]
    left = sigmoid(d.unsubscribe_logit + d.unsubscribe_fatigue * z)
    logits = users.click_logit[u, t % 2, 1:] - d.fatigue_click * z
    values.extend(sigmoid(logits.astype(float)) + (1 - left) * after)
    return max(values), int(np.argmax(values))


def start_state(users, n, t=0, fatigue=0.0):
    k = users.catalogue.n_creatives
    return {
        "user": np.arange(n),
        "t": np.full(n, t),
        "slot": np.full(n, t % 2),
        "fatigue": np.full(n, fatigue),
        "repetitions": np.zeros((n, k)),
        "drift": np.zeros((n, k)),
    }


def planner(users, horizon, **settings):
    agent = PlannerAgent(**settings)
    agent.learn(DeliveryVectorEnv(1, users=users, horizon=horizon), 0, seed=0)
    return agent


@pytest.mark.parametrize(("t", "fatigue"), [(0, 0.0), (2, 1.3), (5, 0.4)])
def test_the_plan_is_the_exact_optimum_of_a_small_problem(make_user_model, t, fatigue):
    users = make_user_model(dynamics=Dynamics(**HARSH))
    noise = np.random.default_rng(0).normal(size=users.click_logit.shape)
    users = replace(users, click_logit=users.click_logit + noise.astype(np.float32))
    agent = planner(users, 7, grid=400)
    actions, values = agent.plan(start_state(users, 6, t, fatigue), np.ones((6, 7), dtype=bool))
    wanted = [exact(users, u, t, fatigue, 7) for u in range(6)]
    np.testing.assert_allclose(values, [value for value, _ in wanted], atol=1e-4)
    np.testing.assert_array_equal(actions, [action for _, action in wanted])


def test_the_planned_value_is_what_the_environment_pays(make_user_model, returns):
    users = make_user_model(dynamics=Dynamics(**HARSH))
    venv = DeliveryVectorEnv(400, users=users, horizon=8)
    agent = planner(users, 8)
    got = returns(agent, venv, episodes=10)
    venv.reset(seed=1000)
    values = agent.plan(venv.state, venv.action_masks())[1]
    error = got.std() / np.sqrt(len(got))
    assert got.mean() == pytest.approx(values.mean(), abs=4 * error)


def test_with_one_slot_it_is_the_best_immediate_action(make_user_model):
    users = make_user_model()
    actions, values = planner(users, 1).plan(start_state(users, 40), np.ones((40, 7), dtype=bool))
    logits = users.click_logit[:, 0]
    np.testing.assert_array_equal(actions, logits.argmax(axis=1))
    np.testing.assert_allclose(values, sigmoid(logits.max(axis=1)), rtol=1e-6)


def test_repetitions_and_drift_change_the_choice(make_user_model):
    users = make_user_model(dynamics=Dynamics(repetition_click=3.0))
    agent, state = planner(users, 1), start_state(users, 3)
    state["repetitions"][0, 0] = 50  # user 0 has seen the favourite too often
    state["drift"][1, 2] = 9.0  # user 1 has come to like topic 2
    actions, _ = agent.plan(state, np.ones((3, 7), dtype=bool))
    assert (actions[0] - 1) // 2 != 0
    assert (actions[1] - 1) // 2 == 2
    assert (actions[2] - 1) // 2 == 2


def test_masked_actions_are_never_planned(make_user_model):
    users = make_user_model()
    mask = np.ones((40, 7), dtype=bool)
    mask[:, 1:] = np.random.default_rng(0).random((40, 6)) < 0.5
    actions, _ = planner(users, 4).plan(start_state(users, 40), mask)
    assert mask[np.arange(40), actions].all()
    nothing = np.zeros((40, 7), dtype=bool)
    nothing[:, 0] = True
    actions, values = planner(users, 4).plan(start_state(users, 40), nothing)
    assert (actions == 0).all()
    assert (values == 0).all()


def test_organic_clicks_count_for_hold(make_user_model):
    users = make_user_model()
    logit = users.click_logit.copy()
    logit[:, :, 0] = 5.0
    users = replace(users, click_logit=logit)
    actions, values = planner(users, 3).plan(start_state(users, 40), np.ones((40, 7), dtype=bool))
    assert (actions == 0).all()
    np.testing.assert_allclose(values, 3 * sigmoid(5.0), rtol=1e-6)


def test_profit_counts_conversions_revenue_and_cost(make_user_model):
    users = make_user_model()
    agent, mask = planner(users, 1, objective="profit"), np.ones((40, 7), dtype=bool)
    _, values = agent.plan(start_state(users, 40), mask)
    # Channel 0 costs 0.01; revenue 20 with conversion logit -2.
    click = sigmoid(users.click_logit[:, 0].max(axis=1).astype(float))
    np.testing.assert_allclose(values, click * sigmoid(-2.0) * 20 - 0.01, rtol=1e-5)
    dear = replace(users, expected_revenue=np.full((40, 7), 1e-4))
    actions, _ = planner(dear, 1, objective="profit").plan(start_state(users, 40), mask)
    assert (actions == 0).all()


def test_a_price_on_unsubscribes_makes_it_hold(make_user_model):
    users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-2.0))
    mask = np.ones((40, 7), dtype=bool)
    assert (planner(users, 1).plan(start_state(users, 40), mask)[0] > 0).all()
    agent = planner(users, 1, unsubscribe_penalty=20.0)
    assert (agent.plan(start_state(users, 40), mask)[0] == 0).all()


def test_it_beats_uniform_and_always_sending_the_favourite(make_user_model, returns):
    users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-3.0, fatigue_click=0.8))
    venv = DeliveryVectorEnv(256, users=users, horizon=12)

    class AlwaysFavourite(UniformAgent):
        privileged = True

        def propensities(self, obs, mask, state=None):
            return np.eye(7)[users.click_logit[state["user"], 0].argmax(axis=1)]

    best = returns(planner(users, 12), venv).mean()
    assert best > returns(AlwaysFavourite(), venv).mean() + 0.2
    assert best > returns(UniformAgent(), venv).mean() + 0.5


def test_keep_model_goes_on_with_the_learned_users(make_user_model):
    users, mask = make_user_model(), np.ones((40, 7), dtype=bool)
    other = replace(users, click_logit=np.full_like(users.click_logit, -9.0))
    for keep in (False, True):
        agent = planner(users, 2, keep_model=keep)
        before = agent.plan(start_state(users, 40), mask)[1]
        agent.bind(other)
        after = agent.plan(start_state(users, 40), mask)[1]
        assert np.array_equal(before, after) == keep


def test_it_plans_from_the_middle_of_an_episode(make_user_model):
    venv = DeliveryVectorEnv(32, users=make_user_model(), horizon=6)
    agent = planner(venv.users, 6)
    _, info = venv.reset(seed=0)
    rng = np.random.default_rng(0)
    last = np.inf
    for _ in range(6):
        mask = info["action_mask"]
        value = agent.plan(venv.state, mask)[1].mean()
        assert 0 < value < last  # less time is left
        last = value
        *_, info = venv.step(sample_actions(uniform_over(mask), rng))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "fame"}, "unknown planner objective 'fame': choose one of click, profit."),
        ({"grid": 1}, "agent.grid is 1; it must be at least 2."),
        ({"gamma": -0.1}, "agent.gamma is -0.1; it must lie in [0, 1]."),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        PlannerAgent(**settings)


def test_a_loaded_planner_asks_for_users(make_user_model, tmp_path):
    users = make_user_model()
    planner(users, 3).save(tmp_path)
    agent = PlannerAgent.load(tmp_path)
    with pytest.raises(UserError, match="has no users to plan for; call bind first"):
        agent.plan(start_state(users, 4), np.ones((4, 7), dtype=bool))
