import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.ranking import (
    headline_metrics,
    ranking_metrics,
    sign_ceiling,
    within_test_pairs,
)


def two_tests():
    """Click rates 1, 2, 4 % of 1000 in one test, and 3, 3 % in another; a third has one arm."""
    return CopyCounts(
        tuple("abcdef"),
        np.array([0, 0, 0, 1, 1, 2]),
        np.full(6, 1000.0),
        np.array([10.0, 20.0, 40.0, 30.0, 30.0, 99.0]),
    )


def test_pairs_are_ordered_by_click_rate_and_ties_left_out():
    pairs = within_test_pairs(two_tests())
    assert sorted(zip(pairs.better, pairs.worse, strict=True)) == [(1, 0), (2, 0), (2, 1)]
    # z of 10 against 40 clicks of 1000: .03 / sqrt(.025 * .975 * 2 / 1000)
    assert pairs.z[list(zip(pairs.better, pairs.worse, strict=True)).index((2, 0))] == (
        pytest.approx(0.03 / np.sqrt(0.025 * 0.975 * 0.002))
    )


def test_metrics_of_a_known_case():
    # Right on (2, 0) and (1, 0), wrong on (2, 1); picks arm 1 (2 %) of test 0, arm 3 of test 1.
    metrics = headline_metrics(np.array([0.0, 2.0, 1.0, 5.0, 4.0, 0.0]), two_tests())
    assert metrics["pairwise"] == pytest.approx(2 / 3)
    # z of (1, 0) is 1.84: not significant; (2, 1) 2.62 and (2, 0) 4.30 are.
    assert metrics["pairwise_significant"] == pytest.approx(1 / 2)
    assert metrics["best_of_k"] == pytest.approx(0.5)
    assert metrics["best_of_k_random"] == pytest.approx((1 / 3 + 1) / 2)
    random = (0.07 / 3) + 0.03
    assert metrics["lift"] == pytest.approx((0.02 + 0.03) / random - 1)
    assert metrics["lift_oracle"] == pytest.approx((0.04 + 0.03) / random - 1)
    assert (metrics["tests"], metrics["pairs"], metrics["significant_pairs"]) == (2, 3, 2)


def test_the_favourite_of_three():
    # Test 0 is one three, whose favourite, arm 1, is not its best; test 1 has two arms.
    metrics = headline_metrics(np.array([0.0, 2.0, 1.0, 5.0, 4.0, 0.0]), two_tests())
    assert metrics["best_of_3"] == 0 and metrics["best_of_3_random"] == pytest.approx(1 / 3)
    tied = headline_metrics(np.array([0.0, 2.0, 2.0, 5.0, 4.0, 0.0]), two_tests())
    assert tied["best_of_3"] == pytest.approx(1 / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=7))
def test_threes_are_counted_as_if_each_were_a_test(arms):
    """Ties of scores and of click rates included."""
    clicks, scores = (np.array(column, dtype=float) for column in zip(*arms, strict=True))
    counts = CopyCounts(
        ("",) * len(arms), np.zeros(len(arms), int), np.full(len(arms), 9.0), clicks
    )
    assume(clicks.any())
    right = []
    for three in itertools.combinations(range(len(arms)), 3):
        rows = list(three)
        top = scores[rows] == scores[rows].max()
        right.append((top & (clicks[rows] == clicks[rows].max())).sum() / top.sum())
    assert headline_metrics(scores, counts)["best_of_3"] == pytest.approx(np.mean(right))


def test_equal_scores_are_chance():
    metrics = headline_metrics(np.zeros(6), two_tests())
    assert metrics["pairwise"] == 0.5
    assert metrics["best_of_k"] == pytest.approx(metrics["best_of_k_random"])
    assert metrics["best_of_3"] == pytest.approx(metrics["best_of_3_random"])
    assert metrics["lift"] == pytest.approx(0.0)


def test_a_perfect_and_a_reversed_score():
    counts = two_tests()
    rate = counts.clicks / counts.impressions
    best, worst = headline_metrics(rate, counts), headline_metrics(-rate, counts)
    assert best["pairwise"] == 1 and worst["pairwise"] == 0
    assert best["best_of_k"] == 1 and best["lift"] == pytest.approx(best["lift_oracle"])
    assert worst["lift"] < 0


def test_intervals_cover_the_value_and_shrink_with_more_tests(made_up):
    rng = np.random.default_rng(0)
    widths = []
    for tests in (50, 800):
        counts = made_up(tests=tests)
        entry = ranking_metrics(rng.normal(size=len(counts)), counts, resamples=300)["pairwise"]
        assert entry["low"] < entry["value"] < entry["high"]
        widths.append(entry["high"] - entry["low"])
    # Sixteen times the tests: a quarter of the width.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_the_ceiling_is_what_knowing_the_truth_earns():
    """Simulated: true log rates are normal; the score is the truth itself."""
    rng = np.random.default_rng(1)
    tests, arms, shown = 3000, 4, 3000
    # Spread of the truth below that of the noise, so that taking one for the other shows.
    truth = -4.2 + 0.12 * rng.normal(size=tests * arms)
    counts = CopyCounts(
        ("",) * (tests * arms),
        np.repeat(np.arange(tests), arms),
        np.full(tests * arms, float(shown)),
        rng.binomial(shown, np.exp(truth)).astype(float),
    )
    metrics = headline_metrics(truth, counts)
    assert metrics["noise_ceiling"] == pytest.approx(metrics["pairwise"], abs=0.015)
    # A pair of huge arms that differ widely is certain; noise alone is a coin.
    assert sign_ceiling(counts, within_test_pairs(counts)).min() >= 0.5


def test_scores_must_be_finite_and_as_many_as_arms():
    with pytest.raises(ValueError, match="6 finite numbers"):
        headline_metrics(np.array([np.nan] * 6), two_tests())
    with pytest.raises(ValueError, match="6 finite numbers"):
        headline_metrics(np.zeros(5), two_tests())
