import re

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from copygym.agents import (
    BestFixedAgent,
    LinearTSAgent,
    LinUCBAgent,
    LogisticTSAgent,
    UniformAgent,
)
from copygym.agents.delivery.features import FeatureMap, sums_by_action
from copygym.agents.delivery.logistic import laplace_update
from copygym.envs import UserError
from copygym.rewards import RewardShape


@pytest.fixture
def features():
    """P = 2, S = 2, H = 2, K = 3 in 2 topics: A = 7 and c = 13."""
    return FeatureMap(2, 2, 2, np.array([0, 1, 1]))


def observations(n=30, seed=0):
    rng = np.random.default_rng(seed)
    profile, state = rng.normal(size=(n, 2)), rng.random((n, 7))
    slot = np.eye(2)[rng.integers(0, 2, n)]
    seen = np.log1p(rng.integers(0, 4, (n, 3)))
    return np.hstack([profile, slot, state, seen]).astype(np.float32)


def explicit(features, obs, action):
    """Return phi(x, a), (N, d), written out from the blocks' definition."""
    phi = np.zeros((len(obs), features.size))
    one = np.ones((len(obs), 1))
    if action == 0:
        phi[:, features.hold_index] = np.hstack([one, obs[:, :11]])
        return phi
    own = obs[:, 11 + (action - 1) // 2, None]
    full = np.hstack([one, obs[:, :11], own])
    phi[:, features.index[action - 1]] = full[:, features.columns]
    return phi


def test_sizes_of_the_blocks(features):
    """6 + 3 + 3x2 + 2x2 + 2x(1+2+2) + 13 + 12 weights."""
    assert features.n_actions == 7
    assert features.context_size == 13
    assert features.size == 6 + 3 + 6 + 4 + 10 + 13 + 12
    assert len(np.unique(np.append(features.index, features.hold_index))) == features.size


def test_actions_share_exactly_the_weights_of_their_groups(features):
    def shared(a, b):
        return len(np.intersect1d(features.index[a - 1], features.index[b - 1]))

    everything, channel, topic, creative = 13, 5, 2, 1 + 2
    assert shared(1, 4) == everything  # another topic, creative and channel
    assert shared(1, 3) == everything + channel
    assert shared(3, 6) == everything + topic  # creatives 1 and 2 are of one topic
    assert shared(3, 4) == everything + topic + creative


def test_collapsed_scores_equal_the_explicit_features(features):
    obs, theta = observations(), np.random.default_rng(1).normal(size=features.size)
    scores = features.scores(obs, features.collapse(theta))
    for a in range(7):
        np.testing.assert_allclose(scores[:, a], explicit(features, obs, a) @ theta, atol=1e-10)


def test_collapse_takes_many_weights_at_once(features):
    thetas = np.random.default_rng(1).normal(size=(4, features.size))
    together = features.collapse(thetas)
    assert together.shape == (4, 13, 7)
    np.testing.assert_allclose(together[2], features.collapse(thetas[2]))


def test_gram_and_moment_equal_the_explicit_ones(features):
    obs, rng = observations(), np.random.default_rng(2)
    actions, targets, weights = rng.integers(0, 7, 30), rng.normal(size=30), rng.random(30)
    phi = np.stack([explicit(features, obs[[n]], a)[0] for n, a in enumerate(actions)])
    contexts = features.context_of(obs, actions)
    grams, moments = sums_by_action(contexts, actions, 7, targets, weights)
    np.testing.assert_allclose(features.gram(grams), phi.T @ (phi * weights[:, None]), atol=1e-9)
    np.testing.assert_allclose(features.moment(moments), phi.T @ targets, atol=1e-9)


def test_variances_equal_the_explicit_quadratic_form(features):
    obs, rng = observations(), np.random.default_rng(3)
    root = rng.normal(size=(features.size, features.size))
    covariance = root @ root.T
    got = features.variances(obs, features.sandwich(covariance))
    for a in range(7):
        phi = explicit(features, obs, a)
        np.testing.assert_allclose(got[:, a], ((phi @ covariance) * phi).sum(axis=1), rtol=1e-8)


def batch(features, n=400, seed=4):
    rng = np.random.default_rng(seed)
    obs, actions = observations(n, seed), rng.integers(0, 7, n)
    phi = np.stack([explicit(features, obs[[i]], a)[0] for i, a in enumerate(actions)])
    return phi, features.context_of(obs, actions), actions, rng


def test_ridge_posterior_is_the_closed_form(features):
    phi, contexts, actions, rng = batch(features)
    targets = phi @ rng.normal(size=features.size) + 0.1 * rng.normal(size=400)
    agent = LinUCBAgent(ridge=2.0)
    agent.features = features
    agent._start()
    for part in (slice(0, 150), slice(150, 400)):  # batches add up
        agent._fit(contexts[part], actions[part], targets[part])
    precision = phi.T @ phi + 2.0 * np.diag(features.ridge_multiplier)
    np.testing.assert_allclose(agent.theta, np.linalg.solve(precision, phi.T @ targets), atol=1e-8)
    agent._seen = 400.0
    # The residual of the penalised fit plus its penalty, per row.
    rest = targets - phi @ agent.theta
    penalty = 2.0 * agent.theta @ (features.ridge_multiplier * agent.theta)
    assert agent.noise == pytest.approx(np.sqrt((rest @ rest + penalty) / 400))


def test_forgetting_weighs_old_batches_down(features):
    phi, contexts, actions, rng = batch(features)
    targets = rng.normal(size=400)
    agent = LinUCBAgent(ridge=1.0, forget=0.5)
    agent.features = features
    agent._start()
    agent._fit(contexts[:200], actions[:200], targets[:200])
    agent._fit(contexts[200:], actions[200:], targets[200:])
    weights = np.repeat([0.5, 1.0], 200)
    precision = (phi.T * weights) @ phi + np.diag(features.ridge_multiplier)
    np.testing.assert_allclose(
        agent.theta, np.linalg.solve(precision, phi.T @ (weights * targets)), atol=1e-8
    )


def test_laplace_update_finds_the_mode_and_its_curvature(features):
    phi, contexts, actions, rng = batch(features)
    truth = rng.normal(size=features.size)
    targets = (rng.random(400) < 1 / (1 + np.exp(-phi @ truth))).astype(float)
    centre, prior = 0.1 * rng.normal(size=features.size), np.diag(features.ridge_multiplier)
    theta, precision = laplace_update(features, centre, prior, contexts, actions, targets, 12)

    def loss(x):
        score, shift = phi @ x, x - centre
        return np.logaddexp(0, score).sum() - targets @ score + 0.5 * shift @ prior @ shift

    reference = minimize(loss, np.zeros_like(theta), method="BFGS").x
    np.testing.assert_allclose(theta, reference, atol=2e-3)
    p = 1 / (1 + np.exp(-phi @ theta))
    np.testing.assert_allclose(precision, (phi.T * (p * (1 - p))) @ phi + prior, atol=1e-5)


def test_laplace_update_survives_a_start_far_from_the_mode(features):
    """Full Newton steps diverge from here; halving keeps every step an improvement."""
    phi, contexts, actions, _ = batch(features)
    centre = np.full(features.size, 3.0)
    prior = 1e-3 * np.diag(features.ridge_multiplier)
    theta, _ = laplace_update(features, centre, prior, contexts, actions, np.zeros(400), 10)
    assert np.isfinite(theta).all()
    assert expit(phi @ theta).mean() < 0.02


def test_posterior_draws_have_the_posterior_covariance(features):
    _, contexts, actions, rng = batch(features)
    agent = LinearTSAgent(draws=20_000, scale=0.7, ridge=3.0)
    agent.features = features
    agent._start()
    agent._fit(contexts, actions, rng.normal(size=400))
    agent._seen = 400.0
    factor = agent._factor()[0]
    agent._sample(factor, agent.scale * agent.noise, rng)
    lower = np.tril(factor)
    wanted = (0.7 * agent.noise) ** 2 * np.linalg.inv(lower @ lower.T)
    np.testing.assert_allclose(agent._sampled.mean(axis=0), agent.theta, atol=0.02)
    got = np.cov(agent._sampled.T)
    np.testing.assert_allclose(got, wanted, atol=0.05 * np.diag(wanted).max())


AGENTS = [LinUCBAgent, LinearTSAgent, LogisticTSAgent]


@pytest.mark.parametrize("kind", AGENTS)
def test_personalisation_beats_the_best_fixed_arm_with_a_margin(make_venv, returns, kind):
    """Each third of the users likes another creative: 8 slots pay about 1.9 clicks, not 0.9."""
    venv = make_venv(num_envs=256)
    fixed, agent = BestFixedAgent(episodes=256), kind()
    fixed.learn(venv, 0, seed=0)
    agent.learn(venv, 20_000, seed=0)
    floor = max(returns(UniformAgent(), venv).mean(), returns(fixed, venv).mean())
    assert returns(agent, venv).mean() > floor + 0.4


@pytest.mark.parametrize("kind", AGENTS)
def test_users_who_were_never_seen_get_their_favourite(make_venv, kind):
    venv = make_venv(num_envs=128)
    agent = kind()
    agent.learn(venv, 20_000, seed=0)
    obs = np.zeros((3, venv.single_observation_space.shape[0]), dtype=np.float32)
    obs[:, :3] = np.eye(3)  # interests; age and recency are average
    obs[:, 5] = 1.0  # slot 0
    obs[:, [7, 8, 10]] = 1.0  # all time left, all budget left, nothing sent yet
    chosen = agent.propensities(obs, np.ones((3, 7), dtype=bool)).argmax(axis=1)
    np.testing.assert_array_equal((chosen - 1) // 2, [0, 1, 2])
    np.testing.assert_array_equal((chosen - 1) % 2, 0)  # channel 0 clicks more


def test_with_gamma_hold_can_win(make_venv, returns):
    """Where fatigue loses clicks and users, a bandit on clicks sends always and earns less."""
    venv = make_venv(num_envs=256, horizon=28, unsubscribe_logit=-4.0, fatigue_click=0.4)
    myopic, patient = LinearTSAgent(), LinearTSAgent(gamma=0.95, forget=0.9)
    for agent in (myopic, patient):
        agent.learn(venv, 60_000, seed=0)
    assert returns(patient, venv).mean() > returns(myopic, venv).mean() + 0.08


def test_returns_to_go_are_discounted_and_stop_at_the_end():
    from copygym.agents.delivery.linear import _Step

    class Recorder(LinUCBAgent):
        def _fit(self, contexts, actions, targets):
            self.got = targets

    agent = Recorder(gamma=0.5)
    none = np.zeros((2, 1))
    actions = np.zeros(2, dtype=int)
    steps = [
        _Step(none, actions, np.array([1.0, 1.0]), np.array([False, True])),
        _Step(none, actions, np.array([2.0, 2.0]), np.array([False, False])),
        _Step(none, actions, np.array([4.0, 4.0]), np.array([True, False])),
    ]
    agent._absorb(steps, np.zeros((2, 1)), np.ones((2, 1), dtype=bool))
    np.testing.assert_allclose(agent.got.reshape(3, 2), [[1 + 1 + 1, 1], [2 + 2, 2 + 2], [4, 4]])


def test_logistic_rewards_must_be_probabilities(make_venv):
    venv = make_venv(reward=RewardShape({"click": 1.0, "send": -0.1}))
    message = "agent 'logistic_ts' needs rewards in [0, 1] and got -0.1 to 0.9: use reward=click"
    with pytest.raises(UserError, match=re.escape(message)):
        LogisticTSAgent().learn(venv, 640, seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinUCBAgent(ridge=0), "agent.ridge is 0; it must be above 0"),
        (lambda: LinUCBAgent(alpha=-1), "agent.alpha is -1; it must be 0 or more."),
        (lambda: LinearTSAgent(draws=0), "agent.draws is 0; it must be at least 1."),
        (lambda: LinearTSAgent(scale=-1), "agent.scale is -1; it must be 0 or more."),
        (lambda: LinearTSAgent(gamma=2), "agent.gamma is 2; it must lie in [0, 1]."),
        (lambda: LogisticTSAgent(newton_steps=0), "agent.newton_steps is 0; it must be at least"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make()
