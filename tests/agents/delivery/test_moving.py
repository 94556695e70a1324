"""Bandits for rewards that change: what faded or left the window counts no more."""

import re

import numpy as np
import pytest

from copygym.agents import DiscountedLinUCBAgent, LinUCBAgent, SlidingWindowLinUCBAgent
from copygym.agents.delivery.features import FeatureMap
from copygym.core.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def features():
    return FeatureMap(2, 2, 2, np.array([0, 1, 1]))


def batch(seed, n=300):
    rng = np.random.default_rng(seed)
    slot = np.eye(2)[rng.integers(0, 2, n)]
    obs = np.hstack([rng.normal(size=(n, 2)), slot, rng.random((n, 7)), np.zeros((n, 3))])
    return obs.astype(np.float32), rng.integers(0, 7, n), rng.random(n)


def told(agent, features, seeds):
    agent.begin(features, RNG)
    for seed in seeds:
        agent.update(*batch(seed), RNG)
    return agent


def test_a_window_holds_the_last_decisions_alone(features):
    windowed = told(SlidingWindowLinUCBAgent(window=600), features, (1, 2, 3, 4))
    recent = told(LinUCBAgent(), features, (3, 4))
    assert windowed.theta == pytest.approx(recent.theta)
    assert windowed.noise == pytest.approx(recent.noise)


def test_a_discount_weighs_each_decision_by_its_age(features):
    faded = told(DiscountedLinUCBAgent(half_life=300.0), features, (1, 2, 3))
    weights = (0.25, 0.5, 1.0)
    grams = [told(LinUCBAgent(), features, (seed,)) for seed in (1, 2, 3)]
    gram = sum(w * agent._gram for w, agent in zip(weights, grams, strict=True))
    twice = sum(w**2 * agent._gram for w, agent in zip(weights, grams, strict=True))
    assert faded._gram == pytest.approx(gram)
    assert faded._twice == pytest.approx(twice)
    # x' V^-1 W V^-1 x is below the bound of undiscounted counting, and above 0.
    obs = batch(9)[0]
    assert (faded.features.variances(obs, faded._forms) > 0).all()


def test_an_endless_half_life_is_linucb(features):
    one = told(DiscountedLinUCBAgent(half_life=1e15), features, (1, 2))
    other = told(LinUCBAgent(), features, (1, 2))
    assert one.theta == pytest.approx(other.theta)
    assert one._forms == pytest.approx(other._forms)


@pytest.mark.parametrize("kind", [DiscountedLinUCBAgent, SlidingWindowLinUCBAgent])
def test_they_follow_a_world_that_turns_round(features, kind):
    size = {"half_life": 300.0} if kind is DiscountedLinUCBAgent else {"window": 600}
    moving, still = kind(**size), LinUCBAgent()
    for agent in (moving, still):
        agent.begin(features, RNG)
        for step in range(12):
            obs, actions, _ = batch(step)
            good = 1 if step < 8 else 6
            agent.update(obs, actions, (actions == good).astype(float), RNG)
    obs, _, _ = batch(20)
    best = moving.predict(obs).argmax(axis=1)
    assert (best == 6).mean() > 0.95
    assert (still.predict(obs).argmax(axis=1) == 6).mean() < 0.5


@pytest.mark.parametrize("kind", [DiscountedLinUCBAgent, SlidingWindowLinUCBAgent])
def test_they_learn_in_an_environment_and_come_back_the_same(make_venv, kind, tmp_path):
    from copygym.agents import load_agent

    venv = make_venv()
    agent = kind()
    agent.learn(venv, 1024, seed=0)
    agent.save(tmp_path)
    copy = load_agent(tmp_path)
    for one in (agent, copy):
        one.learn(venv, 512, seed=9)
    obs, info = venv.reset(seed=1)
    assert copy.propensities(obs, info["action_mask"]) == pytest.approx(
        agent.propensities(obs, info["action_mask"])
    )


@pytest.mark.parametrize(("make", "said"), [
    (lambda: DiscountedLinUCBAgent(half_life=0.0), "half_life is 0.0; it must be above 0"),
    (lambda: SlidingWindowLinUCBAgent(window=0), "window is 0; it must be at least 1"),
])  # fmt: skip
def test_settings_that_remember_nothing_are_refused(make, said):
    with pytest.raises(UserError, match=re.escape(said)):
        make()
