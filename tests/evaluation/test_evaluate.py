from dataclasses import replace

import numpy as np
import pytest

from copygym.agents.delivery.bandits import UniformAgent
from copygym.agents.delivery.base import Agent
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.people.dynamics import Dynamics
from copygym.evaluation.metrics import policy_metrics
from copygym.evaluation.rollout import Setting, evaluate, rows_of


class Scripted(Agent):
    """Always sends one action; a second one from step ``then`` on."""

    name = "scripted"

    def __init__(self, action, then=10**9, other=0):
        self.action, self.then, self.other, self.time = action, then, other, 0

    def learn(self, venv, steps, *, seed, on_progress=None):
        raise AssertionError("evaluation must not teach")

    def propensities(self, obs, mask, state=None):
        action = self.action if self.time < self.then else self.other
        self.time += 1
        return np.eye(mask.shape[1])[np.full(len(mask), action)]

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


def quiet(make_user_model, **fields):
    """Users who never leave and never change."""
    dynamics = Dynamics(
        fatigue_click=0.0,
        repetition_click=0.0,
        drift_step=0.0,
        drift_click=0.0,
        unsubscribe_logit=-60.0,
        unsubscribe_fatigue=0.0,
    )
    return make_user_model(dynamics=dynamics, **fields)


def test_totals_match_the_known_click_rate(make_user_model):
    users = quiet(make_user_model)
    setting = Setting(users, np.arange(40), horizon=20, episodes=20, num_envs=256)
    played, _ = evaluate(Scripted(1), setting)
    rate = 1 / (1 + np.exp(-users.click_logit[:, :, 1].mean(axis=1)))
    assert played.total("sends").tolist() == [20.0] * 40
    assert played.total("unsubscribed").sum() == 0
    assert played.total("cost") == pytest.approx(np.full(40, 0.2))
    error = played.total("clicks") / 20 - rate
    assert abs(error.mean()) < 0.01
    # The best action now is known, so regret is its rate minus ours.
    best = 1 / (1 + np.exp(-users.click_logit.max(axis=2).mean(axis=1)))
    assert played.total("step_regret") / 20 == pytest.approx(best - rate, abs=1e-3)


def test_batches_and_padding_do_not_change_the_result(make_user_model):
    users = make_user_model()
    setting = Setting(users, np.arange(30), horizon=10, num_envs=30)
    whole, _ = evaluate(Scripted(1), setting)
    parts, _ = evaluate(Scripted(1), Setting(users, np.arange(30), horizon=10, num_envs=7))
    np.testing.assert_array_equal(whole.totals, parts.totals)
    np.testing.assert_array_equal(whole.creatives, parts.creatives)


def test_agents_who_do_the_same_meet_the_same_luck(make_user_model):
    users = make_user_model()
    setting = Setting(users, np.arange(40), horizon=12, seed=5)
    first, _ = evaluate(Scripted(1), setting)
    # Another agent that differs from step 6 on shares the first six steps' luck.
    early = Setting(users, np.arange(40), horizon=6, seed=5)
    np.testing.assert_array_equal(
        evaluate(Scripted(1), early)[0].totals,
        evaluate(Scripted(1, then=6, other=3), early)[0].totals,
    )
    again, _ = evaluate(Scripted(1), setting)
    np.testing.assert_array_equal(first.totals, again.totals)
    other, _ = evaluate(Scripted(1), Setting(users, np.arange(40), horizon=12, seed=6))
    assert (first.totals != other.totals).any()


def test_nothing_is_counted_after_an_unsubscribe(make_user_model):
    users = make_user_model(dynamics=Dynamics(unsubscribe_logit=60.0))
    played, _ = evaluate(Scripted(1), Setting(users, np.arange(40), horizon=15))
    assert played.total("sends").tolist() == [1.0] * 40
    assert played.total("unsubscribed").tolist() == [1.0] * 40
    assert played.total("steps").tolist() == [1.0] * 40


def test_pairs_and_creatives(make_user_model):
    users = quiet(make_user_model)
    # Three sends of creative 0, then one of creative 1: 6 pairs, 3 of them differ.
    agent = Scripted(1, then=3, other=3)
    played, _ = evaluate(agent, Setting(users, np.arange(5), horizon=4))
    assert played.creatives[0].tolist() == [3.0, 1.0, 0.0]
    assert played.total("pairs").tolist() == [6.0] * 5
    assert played.total("differing_pairs").tolist() == [3.0] * 5
    assert played.total("novelty") == pytest.approx(np.full(5, 4 * np.log2(3)))


def test_timelines_are_those_of_the_first_users(make_user_model):
    users = quiet(make_user_model)
    played, events = evaluate(Scripted(1), Setting(users, np.array([4, 9]), horizon=6), timelines=3)
    assert len(events) == 2
    assert [len(row) for row in events] == [6, 6]
    assert sum(event.click for event in events[1]) == played.total("clicks")[1]


def test_reward_is_the_shapes_sum(make_user_model):
    users = quiet(make_user_model)

    def sends(outcome):
        reward = outcome.sent.astype(float)
        return reward, {"send": reward}

    played, _ = evaluate(Scripted(2), Setting(users, np.arange(4), horizon=5, reward=sends))
    assert played.total("reward").tolist() == [5.0] * 4


def test_uniform_agent_matches_the_environment_itself(make_user_model):
    users = quiet(make_user_model)
    played, _ = evaluate(UniformAgent(), Setting(users, np.arange(40), horizon=28, episodes=5))
    env = DeliveryVectorEnv(400, users=users, horizon=28)
    rng, clicks = np.random.default_rng(0), 0
    env.reset(seed=9, options={"user": np.tile(np.arange(40), 10)})
    for _ in range(28):
        _, reward, *_ = env.step(rng.integers(0, users.catalogue.n_actions, 400))
        clicks += reward.sum()
    assert played.total("clicks").mean() == pytest.approx(clicks / 400, rel=0.1)


def test_rows():
    assert rows_of(5, None, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = rows_of(100, 10, 0)
    assert len(set(drawn.tolist())) == 10
    np.testing.assert_array_equal(drawn, rows_of(100, 10, 0))
    assert rows_of([3, 5], 5, 0).tolist() == [3, 5]


class SendOnce(Scripted):
    """Sends an action at the first step and holds from then on."""

    def __init__(self):
        super().__init__(1, then=1, other=0)


def test_organic_clicks_count_for_the_user_and_not_for_the_ctr(make_user_model):
    plain = quiet(make_user_model)
    clicking = plain.click_logit.copy()
    clicking[:, :, 0] = 3.0  # people click nearly always where nothing is sent
    users = replace(plain, click_logit=clicking)
    played, _ = evaluate(SendOnce(), Setting(users, np.arange(40), horizon=20))
    found = policy_metrics({"once": played}, "once", resamples=50)["metrics"]["once"]
    assert played.total("sends").tolist() == [1.0] * 40
    assert found["clicks_per_user"]["value"] > 15
    assert found["organic_per_user"]["value"] > 15
    assert found["ctr"]["value"] == pytest.approx(
        found["clicks_per_user"]["value"] - found["organic_per_user"]["value"]
    )
    assert found["ctr"]["high"] <= 1.0


def test_a_caption_says_what_the_log_does_not_record():
    from copygym.evaluation.records import Records, Rows
    from copygym.experiments.studies.delivery.delivery_report import remarks

    def records(revenue, assumptions):
        rows = Rows(0, policy="a")
        rows.add("revenue_per_user", revenue)
        rows.add("cost_per_user", 0.0)
        rows.add("organic_per_user", 0.0)
        return Records(rows.frame, {0: {"assumptions": assumptions}})

    unknown = [
        "the judge: dynamics.unsubscribe_logit = -7 is declared: the log records no unsubscribes.",
        "the log records no revenue: it is 0.",
    ]
    assert remarks(records(0.0, unknown)) == (
        " Profit is 0 as the log records no revenue and a send costs nothing. Unsubscribes are "
        "declared and not measured, as the log records none."
    )
    assert remarks(records(2.0, [])) == ""
