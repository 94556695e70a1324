import re

import numpy as np
import pytest

from copygym.envs.errors import UserError
from copygym.experiments import headline_replay as replay

MASK = np.array([[True, True, True], [True, True, False]])
TRUTH = np.array([[0.1, 0.2, 0.3], [0.6, 0.2, 0.0]])
PRIOR = replay.Prior(mean=0.2, strength=10.0)


def run(name, horizons=(5, 50), seed=0, truth=TRUTH, mask=MASK):
    rng = np.random.default_rng(seed)
    return replay.replay(name, truth, mask, horizons, PRIOR, {}, rng)


def test_padding_groups_arms_and_drops_tests_without_a_choice():
    names = np.array(["b", "a", "b", "c", "d", "d"])
    tests = replay.pad_tests(names, np.array([10, 20, 30, 40, 5, 5]), np.array([1, 2, 3, 4, 0, 0]))
    # a and c have one arm, d has no click.
    assert len(tests) == 1
    np.testing.assert_array_equal(tests.impressions_BA, [[10, 30]])
    np.testing.assert_array_equal(replay.observed_rates(tests), [[0.1, 0.1]])


def test_no_usable_test_is_a_user_error():
    with pytest.raises(UserError, match=re.escape("no test with two arms and a click")):
        replay.pad_tests(np.array(["a"]), np.array([10]), np.array([1]))


def test_uniform_and_best_fixed_have_closed_forms():
    np.testing.assert_allclose(run("uniform"), [[0.2, 0.2], [0.4, 0.4]])
    np.testing.assert_allclose(run("best_fixed"), [[0.3, 0.3], [0.6, 0.6]])


@pytest.mark.parametrize("name", list(replay.POLICIES))
def test_every_policy_stays_between_the_worst_and_the_best_arm(name):
    values = run(name)
    assert values.shape == (2, 2)
    assert (values >= np.array([[0.1], [0.2]]) - 1e-12).all()
    assert (values <= np.array([[0.3], [0.6]]) + 1e-12).all()


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "thompson", "explore_then_commit"])
def test_learning_policies_beat_uniform_and_gain_with_traffic(name):
    truth, mask = np.repeat(TRUTH, 200, axis=0), np.repeat(MASK, 200, axis=0)
    values = run(name, (10, 300), truth=truth, mask=mask).mean(axis=0)
    assert values[1] > 0.3 + 0.04
    assert values[1] > values[0]


def test_explore_then_commit_by_hand():
    # Rates of 0 and 1 leave nothing to luck: 1 of 5 pulls each, then all on the good arm.
    truth, mask = np.array([[0.0, 1.0]]), np.array([[True, True]])
    clicks = replay.replay_explore_then_commit(truth, mask, [5], 0.2, np.random.default_rng(0))
    assert clicks[0, 0] == 1 + 8


def test_padding_never_gets_an_impression():
    truth = np.where(MASK, TRUTH, 1.0)
    values = run("thompson", truth=truth)
    assert values[1].max() <= 0.6 + 1e-12


def test_same_seed_same_numbers():
    np.testing.assert_array_equal(run("thompson", seed=4), run("thompson", seed=4))
    assert (run("thompson", seed=4) != run("thompson", seed=5)).any()


def simulated_tests(spread, n=4000, impressions=2000):
    rng = np.random.default_rng(0)
    strength = 1 / spread - 1
    p = rng.uniform(0.05, 0.1, size=(n, 1))
    rates = rng.beta(strength * p, strength * (1 - p), size=(n, 4))
    shown = np.full((n, 4), float(impressions))
    clicks = rng.binomial(impressions, rates).astype(float)
    return replay.Tests(shown, clicks, np.ones((n, 4), bool)), rates, strength


def test_strength_is_recovered_and_shrinkage_is_nearer_the_truth():
    tests, rates, strength = simulated_tests(1 / 501)
    assert replay.within_test_strength(tests) == pytest.approx(strength, rel=0.1)
    error = ((replay.observed_rates(tests) - rates) ** 2).mean()
    assert ((replay.shrunken_rates(tests) - rates) ** 2).mean() < 0.9 * error


def test_arms_that_do_not_differ_are_shrunk_to_one_rate():
    shown = np.full((50, 2), 100.0)
    tests = replay.Tests(shown, np.full((50, 2), 7.0), np.ones((50, 2), bool))
    assert np.isinf(replay.within_test_strength(tests))
    np.testing.assert_allclose(replay.shrunken_rates(tests), 0.07)


def test_unknown_policy_lists_the_choices():
    with pytest.raises(UserError, match=re.escape("unknown policy 'ucb2': choose one of")):
        run("ucb2")
