"""The Lagrangian agent: it meets budgets and floors, and says what they cost."""

import dataclasses
import re

import numpy as np
import pytest

from copygym.agents.delivery.base import load_agent
from copygym.agents.delivery.lagrangian import LagrangianAgent
from copygym.agents.delivery.sb3 import SB3Agent
from copygym.core.errors import UserError
from copygym.envs import Dynamics
from copygym.envs.delivery import DeliveryVectorEnv

HORIZON, STEPS = 6, 9_000
SMALL = {"net_arch": (32,), "hyperparameters": {"batch_size": 384, "learning_rate": 5e-3}}


@pytest.fixture
def uneven(make_user_model):
    """People of whom every second one answers far less."""
    calm = Dynamics(fatigue_click=0.0, repetition_click=0.0, unsubscribe_logit=-8.0)
    users = make_user_model(dynamics=calm)
    logits = users.click_logit.copy()
    logits[1::2, :, 1:] -= 2.0
    features = users.profiles.features.copy()
    features[:, -1] = np.where(np.arange(len(users)) % 2, -1.0, 1.0)
    profiles = dataclasses.replace(users.profiles, features=features)
    return dataclasses.replace(users, click_logit=logits, profiles=profiles)


def learned(users, agent, reward=None):
    # Expected clicks are the same lesson with less luck in it.
    env = DeliveryVectorEnv(64, users, HORIZON, reward=expected if reward is None else reward)
    agent.learn(env, STEPS, seed=0)
    return agent


def expected(outcome):
    return outcome.click_probability


def played(agent, users, caps=None, n=3000):
    """Return sends and expected clicks a user, and sends of each creative a user."""
    env = DeliveryVectorEnv(n, users, HORIZON, caps=caps)
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=99)
    alive, clicks, shown = np.ones(n, bool), 0.0, np.zeros(users.catalogue.n_creatives)
    for _ in range(HORIZON):
        obs, _, terminated, truncated, info = env.step(agent.act(obs, info["action_mask"], rng))
        outcome = info["outcome"]
        clicks += outcome.click_probability[alive].sum()
        np.add.at(shown, outcome.creative[outcome.sent & alive], 1)
        alive &= ~(terminated | truncated)
    return shown.sum() / n, clicks / n, shown / n


def test_it_spends_its_budget_where_it_pays_and_beats_the_clipped_agent(uneven, tmp_path):
    agent = learned(uneven, LagrangianAgent(budget=3, **SMALL))
    sends, clicks, _ = played(agent, uneven)
    assert abs(sends / 3 - 1) < 0.03, "other people than those it learned with, by chance"
    free = learned(uneven, SB3Agent("maskable_ppo", **SMALL))
    clipped_sends, clipped, _ = played(free, uneven, caps=[(HORIZON, 3)])
    assert clipped_sends > 2.9
    assert clicks > 1.3 * clipped, "half of the people answer seven times as often"
    assert agent.prices["budget"] > 0
    agent.save(tmp_path)
    again = load_agent(tmp_path)
    assert again.prices == agent.prices
    assert played(again, uneven)[:2] == (sends, clicks)


def test_a_floor_is_met(uneven):
    agent = learned(uneven, LagrangianAgent(floors={"product-2": 3.0}, **SMALL))
    assert played(agent, uneven)[2][2] > 2.9
    assert set(agent.prices) == {"product-2"}


def test_a_budget_that_binds_nobody_costs_nothing(uneven):
    agent = learned(uneven, LagrangianAgent(budget=50, **SMALL))
    assert agent.prices == {"budget": 0.0}
    assert played(agent, uneven)[0] <= HORIZON


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"budget": 0}, "budget is 0"),
        ({"floors": {"tea": -1}}, "tea is -1"),
        ({"spends": "time"}, "unknown agent.spends 'time'"),
        ({"algorithm": "dqn"}, "no rollouts"),
    ],
)
def test_impossible_settings_are_refused(given, says):
    with pytest.raises(UserError, match=re.escape(says)):
        LagrangianAgent(**given)


def test_a_floor_of_an_unknown_product_is_refused(uneven):
    with pytest.raises(UserError, match=re.escape("unknown product of agent.floors 'cars'")):
        learned(uneven, LagrangianAgent(floors={"cars": 1}))
