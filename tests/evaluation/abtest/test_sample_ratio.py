"""The always-valid test of a sample ratio: closed forms for few counts."""

import math

import pytest

from copygym.evaluation.abtest.sample_ratio import sequential_ratio_p


@pytest.mark.parametrize("counts", [(10, 0), (20, 3), (400, 250)])
def test_with_a_flat_prior_it_is_a_ratio_of_factorials(counts):
    """Lindon and Malek (2022): two even arms at concentration 2 have the Beta(1, 1) prior.

    The counts' likelihood is then a! b! / (a + b + 1)! against 1 / 2^(a + b); p is the inverse.
    """
    a, b = counts
    whole = math.factorial(a + b + 1) / (math.factorial(a) * math.factorial(b) * 2 ** (a + b))
    assert sequential_ratio_p(counts, [0.5, 0.5], 2.0) == pytest.approx(min(1.0, whole))


def test_three_arms_by_hand():
    # Dirichlet(1, 1, 1): 6! 0! 0! 2! / 8! = 1 / 28 against 1 / 3^6.
    assert sequential_ratio_p([6, 0, 0], [1 / 3] * 3, 3.0) == pytest.approx(28 / 3**6)


def test_counts_as_planned_are_no_evidence():
    assert sequential_ratio_p([500, 500], [0.5, 0.5]) == 1.0
