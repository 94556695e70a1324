import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from copygym.agents.delivery.base import sample_actions
from copygym.agents.delivery.rules import (
    add_pulls,
    argmax_probabilities,
    epsilon_greedy_probabilities,
    mean_reward,
    ucb1_index,
    ucb1_probabilities,
)

COUNTS = np.array([[10.0, 20.0, 0.0], [5.0, 5.0, 5.0]])
REWARDS = np.array([[1.0, 4.0, 0.0], [2.0, 1.0, 2.0]])
ALL = np.ones((2, 3), dtype=bool)


def test_mean_reward():
    np.testing.assert_allclose(
        mean_reward(COUNTS, REWARDS, untried=-1), [[0.1, 0.2, -1], [0.4, 0.2, 0.4]]
    )


def test_argmax_shares_ties_among_allowed_arms():
    mask = np.array([[True, True, True], [True, True, False]])
    np.testing.assert_allclose(
        argmax_probabilities(np.array([[3.0, 3.0, 1.0], [0.0, 1.0, 9.0]]), mask),
        [[0.5, 0.5, 0], [0, 1, 0]],
    )


def test_epsilon_greedy_by_hand():
    got = epsilon_greedy_probabilities(COUNTS, REWARDS, ALL, 0.3)
    np.testing.assert_allclose(got, [[0.1, 0.1, 0.8], [0.45, 0.1, 0.45]])


def test_ucb1_index_by_hand():
    index = ucb1_index(COUNTS, REWARDS)
    assert index[0, 0] == pytest.approx(0.1 + np.sqrt(2 * np.log(30) / 10))
    assert index[0, 2] == np.inf
    width = np.sqrt(2 * np.log(15) / 5)
    np.testing.assert_allclose(index[1], np.array([0.4, 0.2, 0.4]) + width)


def test_ucb1_tries_each_arm_once_then_prefers_the_uncertain():
    np.testing.assert_array_equal(ucb1_probabilities(COUNTS, REWARDS, ALL)[0], [0, 0, 1])
    equal_means = ucb1_probabilities(
        np.array([[10.0, 100.0]]), np.array([[1.0, 10.0]]), np.ones((1, 2), dtype=bool)
    )
    np.testing.assert_array_equal(equal_means, [[1, 0]])


def test_add_pulls():
    counts, rewards = add_pulls(
        np.array([1.0, 0.0, 2.0]), np.array([0.5, 0.0, 1.0]), np.array([2, 2, 0]), np.ones(3)
    )
    np.testing.assert_array_equal(counts, [2, 0, 4])
    np.testing.assert_array_equal(rewards, [1.5, 0, 3])


@given(
    counts=hnp.arrays(np.int64, (4, 5), elements=st.integers(0, 50)),
    mask=hnp.arrays(np.bool_, (4, 5)),
    seed=st.integers(0, 1000),
)
def test_rules_give_probabilities_on_the_mask(counts, mask, seed):
    mask[:, 0] = True
    clicks = np.random.default_rng(seed).binomial(counts, 0.3)
    for probabilities in (
        epsilon_greedy_probabilities(counts, clicks, mask, 0.1),
        ucb1_probabilities(counts, clicks, mask),
    ):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
        assert (probabilities[~mask] == 0).all()
        assert (probabilities >= 0).all()


def test_one_problem_serves_many_rows():
    """Statistics (A,) broadcast against the masks of N rows."""
    mask = np.array([[True, True, False], [True, False, True]])
    got = epsilon_greedy_probabilities(COUNTS[1], REWARDS[1], mask, 0.0)
    np.testing.assert_allclose(got, [[1, 0, 0], [0.5, 0, 0.5]])


def test_ucb1_finds_the_best_arm_in_many_problems_at_once():
    rng = np.random.default_rng(0)
    rates = np.tile([0.2, 0.5, 0.3], (200, 1))
    counts, clicks, mask = np.zeros((200, 3)), np.zeros((200, 3)), np.ones((200, 3), dtype=bool)
    for _ in range(400):
        choice = sample_actions(ucb1_probabilities(counts, clicks, mask, 0.5), rng)
        rows = np.arange(200)
        counts[rows, choice] += 1
        clicks[rows, choice] += rng.random(200) < rates[rows, choice]
    assert (counts.argmax(axis=1) == 1).mean() > 0.95
