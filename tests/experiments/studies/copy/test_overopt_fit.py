"""Laws of over-optimisation and best-of-k curves against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.experiments.studies.copy.overoptimisation_fit import best_of_curve, fit_law

D = np.linspace(0.0, 3.0, 13)
POSITIVE = st.floats(0.1, 5.0)


@given(alpha=POSITIVE, beta=POSITIVE)
def test_best_of_n_s_law_is_found_again_with_its_peak(alpha, beta):
    law = fit_law("best_of_n", D, D * (alpha - beta * D))
    assert (law.alpha, law.beta) == pytest.approx((alpha, beta))
    assert law.peak == pytest.approx(alpha / (2 * beta))
    assert law.r2 == pytest.approx(1.0)


@given(alpha=POSITIVE, beta=POSITIVE)
def test_the_law_of_learning_is_found_again_with_its_peak(alpha, beta):
    gain = D * (alpha - beta * np.log(np.maximum(D, 1e-9)))
    law = fit_law("rl", D, gain)
    assert (law.alpha, law.beta) == pytest.approx((alpha, beta), rel=1e-6)
    assert law.at(D) == pytest.approx(gain, abs=1e-7)
    if law.peak is not None:
        # No fitted point nearby is higher.
        near = law.peak * np.array([0.98, 1.0, 1.02])
        assert law.at(near).argmax() == 1


def test_a_gain_that_never_falls_has_no_peak():
    assert fit_law("best_of_n", D, 2.0 * D).peak is None
    assert fit_law("best_of_n", D, 2.0 * D + D**2).peak is None


def test_points_at_the_start_are_left_out():
    with_start = fit_law("rl", D, D * 2.0)
    without = fit_law("rl", D[1:], D[1:] * 2.0)
    assert with_start == without


@pytest.mark.parametrize(
    ("kind", "d", "gain", "message"),
    [
        ("cubic", [1, 2, 3], [1, 2, 3], "unknown law 'cubic'"),
        ("rl", [0, 1, 2], [0, 1, 2], "needs 3 points beyond d = 0, not 2"),
        ("rl", [1, 2, 3], [1, np.nan, 3], "one finite gain per finite distance"),
        ("rl", [1, 2, 3], [1, 2], "one finite gain per finite distance"),
    ],
)
def test_what_cannot_be_fitted_is_said(kind, d, gain, message):
    with pytest.raises(UserError, match=message):
        fit_law(kind, d, gain)


def test_a_perfect_proxy_gains_what_order_statistics_say():
    """The best of k draws of a uniform variable is worth k / (k + 1)."""
    draws = (np.arange(4096) + 0.5)[None] / 4096
    curve = best_of_curve(draws, draws)
    expected = curve.k / (curve.k + 1) - 0.5
    assert curve.gold_TC[0] == pytest.approx(expected, abs=2e-3)
    assert curve.proxy_TC == pytest.approx(curve.gold_TC)
    assert curve.d == pytest.approx([math.sqrt(math.log(k) - (k - 1) / k) for k in curve.k])


def test_a_proxy_that_ignores_gold_gains_nothing():
    gold = np.random.default_rng(0).normal(size=(3, 64))
    curve = best_of_curve(np.zeros((3, 64)), gold)
    assert curve.gold_TC == pytest.approx(0.0, abs=1e-12)
    assert curve.proxy_TC == pytest.approx(0.0)


def test_a_wrong_proxy_loses():
    gold = np.random.default_rng(1).normal(size=(5, 128))
    curve = best_of_curve(-gold, gold)
    assert (np.diff(curve.gold_TC.mean(axis=0)) < 0).all()
    assert (np.diff(curve.proxy_TC.mean(axis=0)) > 0).all()
