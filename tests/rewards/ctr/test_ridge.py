"""The numbers that the linear scorer rests on, worked out by hand."""

import numpy as np
import pytest

from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.ridge import centre, evidence, log_odds


def counts(clicks, impressions):
    n = len(clicks)
    return CopyCounts(
        tuple("abcdefgh"[:n]),
        np.zeros(n, np.int64),
        np.array(impressions, float),
        np.array(clicks, float),
    )


def test_log_odds_have_half_a_click_more_on_each_side():
    """Haldane (1956): log((k + 1/2) / (n - k + 1/2)), 0 for half of any number."""
    found = log_odds(counts([0, 5, 10, 1], [1, 10, 10, 5]))
    assert found == pytest.approx([-np.log(3), 0.0, np.log(21), -np.log(3)])


def test_evidence_is_the_inverse_of_both_variances():
    # 1 / (1 / (k + 1/2) + 1 / cap): a quarter and three eighths, over their mean.
    assert evidence(counts([0, 1], [9, 9]), cap=0.5) == pytest.approx([0.8, 1.2])
    # Clicks far beyond the cap weigh alike.
    many = evidence(counts([10**7, 10**9], [10**10] * 2))
    assert many == pytest.approx([1.0, 1.0], abs=1e-4)
    few = evidence(counts([0, 10**9], [10**10] * 2))
    assert few[1] / few[0] == pytest.approx(100 * (2 + 0.01))


def test_a_tests_weighted_mean_is_taken_off():
    found = centre(np.array([1.0, 3.0, 5.0]), np.array([1.0, 3.0, 2.0]), np.array([7, 7, 9]))
    assert found.tolist() == [-1.5, 0.5, 0.0]
