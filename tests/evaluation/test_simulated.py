"""The front door to evaluation in simulated users."""

import re

import numpy as np
import pytest

from copygym.agents import SB3Agent, UniformAgent
from copygym.core.errors import UserError
from copygym.envs import DeliveryVectorEnv
from copygym.evaluation import METRICS, evaluate
from copygym.evaluation.metrics import policy_metrics
from copygym.evaluation.rollout import Setting
from copygym.evaluation.rollout import evaluate as play


def test_it_is_the_long_way_in_one_call(users):
    agent, other = UniformAgent(), UniformAgent(hold=0.5)
    found = evaluate(agent, users, baseline=other, horizon=6, seed=3, resamples=100)
    setting = Setting(users, np.arange(40), horizon=6, seed=3)
    played = {"a": play(agent, setting)[0], "b": play(other, setting)[0]}
    wanted = policy_metrics(played, "b", resamples=100, seed=3)
    for name in METRICS:
        np.testing.assert_equal(found.metrics[name].to_dict(), wanted["metrics"]["a"][name])
        np.testing.assert_equal(found.differences[name].to_dict(), wanted["differences"]["a"][name])
    np.testing.assert_array_equal(found.episodes.totals, played["a"].totals)
    assert (found.agent, found.baseline, found.users) == ("uniform", "uniform", 40)


def test_an_agent_against_itself_differs_by_nothing(users):
    found = evaluate(UniformAgent(), users, baseline=UniformAgent(), horizon=4, resamples=50)
    assert tuple(found.differences["sends_per_user"]) == (0.0, 0.0, 0.0)


def test_some_people_and_several_episodes(users):
    found = evaluate(UniformAgent(), users, horizon=4, n_users=10, episodes=3, resamples=50)
    assert found.users == len(found.episodes.users) == 10
    assert found.differences is None
    low, high = found.metrics["sends_per_user"].low, found.metrics["sends_per_user"].high
    assert 0 < low <= found.metrics["sends_per_user"].value <= high <= 4


def test_who_sends_more_is_clicked_more(users):
    often, seldom = UniformAgent(hold=0.0), UniformAgent(hold=0.9)
    found = evaluate(often, users, baseline=seldom, horizon=8, episodes=10, resamples=200)
    assert found.differences["clicks_per_user"].low > 0
    assert found.differences["sends_per_user"].value > 5


def test_mistakes_are_one_sentence(users, make_user_model):
    with pytest.raises(UserError, match=re.escape("n_users is 0; give 1 or more.")):
        evaluate(UniformAgent(), users, n_users=0)
    agent = SB3Agent("ppo", net_arch=[4])
    agent.learn(DeliveryVectorEnv(16, users=users, horizon=4), 64, seed=0)
    others = make_user_model(n_creatives=5)
    with pytest.raises(UserError, match=r"knows observations of \d+ numbers and 7 actions and was"):
        evaluate(agent, others, horizon=4)
