import re

import numpy as np
import pytest

from copygym.agents import (
    BestFixedAgent,
    EpsilonGreedyAgent,
    LoggingAgent,
    UCB1Agent,
    UniformAgent,
)
from copygym.agents.delivery.bandits import fixed_return
from copygym.envs import DeliveryVectorEnv, UserError
from copygym.rewards import RewardShape


@pytest.fixture
def skewed(make_user_model):
    """An environment where action 3 (creative 1 on channel 0) is best for everybody."""
    users = make_user_model()
    logit = users.click_logit.copy()
    logit[:, :, 1:] = -3.0
    logit[:, :, 3] = -0.5
    from dataclasses import replace

    return DeliveryVectorEnv(128, users=replace(users, click_logit=logit), horizon=8)


def test_uniform_holds_with_the_wanted_probability(make_venv):
    venv = make_venv(masked=True)
    obs, info = venv.reset(seed=0)
    mask = info["action_mask"]
    got = UniformAgent(hold=0.4).propensities(obs, mask)
    np.testing.assert_allclose(got[:, 0], 0.4)
    np.testing.assert_allclose(got[mask[:, 2], 1], 0.1)
    np.testing.assert_allclose(got[~mask[:, 2], 1], 0.2)
    nothing = np.eye(7, dtype=bool)[[0]]
    np.testing.assert_array_equal(UniformAgent(hold=0.0).propensities(obs[:1], nothing), nothing)


def test_logging_agent_reads_the_current_users_propensities(make_venv):
    venv = make_venv(logging=True)
    policy = venv.users.logging_policy
    policy[:] = np.random.default_rng(0).dirichlet(np.ones(7), size=(40, 2)).astype(np.float32)
    agent = LoggingAgent()
    agent.bind(venv.users)
    obs, info = venv.reset(seed=0)
    obs, *_, info = venv.step(np.zeros(64, dtype=int))
    state = venv.state
    assert (state["slot"] == 1).all()
    got = agent.propensities(obs, info["action_mask"], state)
    np.testing.assert_allclose(got, policy[state["user"], 1], atol=1e-6)


def test_logging_agent_gives_forbidden_mass_to_hold(make_venv):
    venv = make_venv(logging=True)
    agent = LoggingAgent()
    agent.learn(venv, 0, seed=0)
    obs, info = venv.reset(seed=0)
    mask = info["action_mask"].copy()
    mask[:, 4:] = False
    got = agent.propensities(obs, mask, venv.state)
    np.testing.assert_allclose(got[0], [0.75, 1 / 12, 1 / 12, 1 / 12, 0, 0, 0], atol=1e-6)


def test_logging_agent_needs_a_logging_policy(make_venv):
    message = "agent 'logging' needs the logging policy, which 'hand-made users' does not have"
    with pytest.raises(UserError, match=re.escape(message)):
        LoggingAgent().learn(make_venv(), 0, seed=0)


@pytest.mark.parametrize("agent", [EpsilonGreedyAgent(), UCB1Agent(), BestFixedAgent(episodes=128)])
def test_context_free_agents_find_the_arm_that_is_best_for_all(skewed, agent):
    agent.learn(skewed, 20_000, seed=0)
    obs, info = skewed.reset(seed=1)
    got = agent.propensities(obs, info["action_mask"])
    np.testing.assert_array_equal(got, np.tile(np.eye(7)[3], (128, 1)))


def test_ucb1_spends_most_pulls_on_the_best_arm_and_some_on_all(skewed):
    agent = UCB1Agent()
    agent.learn(skewed, 20_000, seed=0)
    assert agent.counts.argmax() == 3
    assert agent.counts[3] > 0.5 * agent.counts.sum()
    assert agent.counts.min() > 20


def test_ucb1_splits_its_first_batch_over_all_arms(skewed):
    agent = UCB1Agent(chunk=1)
    agent.learn(skewed, 128, seed=0)
    assert agent.counts.sum() == 128
    assert agent.counts.min() >= 10


def test_hold_is_the_best_fixed_action_where_sending_costs_more_than_it_earns(make_venv):
    venv = make_venv(reward=RewardShape({"click": 1.0, "send": -0.9}))
    agent = BestFixedAgent(episodes=64)
    agent.learn(venv, 0, seed=0)
    assert agent.returns.argmax() == 0
    assert agent.returns[0] == 0.0


def test_fixed_return_is_the_mean_return_of_whole_episodes(make_venv):
    """With one currency unit a send, no clicks and no unsubscribes, it is minus the horizon."""
    venv = make_venv(horizon=5, reward=RewardShape({"send": -1.0}), unsubscribe_logit=-np.inf)
    assert fixed_return(venv, 2, seed=0) == -5.0
    # A user who leaves at once has one send, whoever takes over the row.
    venv = make_venv(horizon=5, reward=RewardShape({"send": -1.0}), unsubscribe_logit=50.0)
    assert fixed_return(venv, 2, seed=0) == -1.0


def test_rewards_go_to_the_action_that_was_executed(make_venv):
    """Even users are not allowed on channel 1: what the mask turns into hold counts as hold."""
    venv = make_venv(masked=True)
    agent = EpsilonGreedyAgent(epsilon=1.0)
    agent.learn(venv, 6400, seed=0)
    assert agent.rewards[0] == 0.0
    assert agent.counts.sum() == 6400


def test_learning_goes_on_from_earlier_counts(skewed):
    agent = EpsilonGreedyAgent()
    agent.learn(skewed, 1024, seed=0)
    agent.learn(skewed, 1024, seed=1)
    assert agent.counts.sum() == 2048


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EpsilonGreedyAgent(epsilon=1.2), "agent.epsilon is 1.2; it must lie in [0, 1]."),
        (lambda: UniformAgent(hold=-1), "agent.hold is -1; it must lie in [0, 1]."),
        (lambda: UCB1Agent(scale=-1), "agent.scale is -1; it must be 0 or more, or null."),
        (lambda: UCB1Agent(chunk=0), "agent.chunk is 0; it must be at least 1."),
        (lambda: BestFixedAgent(episodes=0), "agent.episodes is 0; it must be at least 1."),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make()


def test_every_bandit_beats_uniform_where_one_arm_is_best(skewed, returns):
    floor = returns(UniformAgent(), skewed).mean()
    for agent in (EpsilonGreedyAgent(), UCB1Agent(), BestFixedAgent(episodes=128)):
        agent.learn(skewed, 20_000, seed=0)
        assert returns(agent, skewed).mean() > floor + 0.5, agent.name
