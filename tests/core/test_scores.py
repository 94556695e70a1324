import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copygym.core.scores import (
    auc_counts,
    brier_counts,
    calibration_curve,
    ece_floor,
    equal_mass_bins,
    expected_calibration_error,
    isotonic_steps,
    log_loss_counts,
    log_losses,
)


def array(*values):
    return np.array(values, dtype=np.float64)


def test_log_loss_is_the_mean_over_impressions():
    # One click of two at 0.5 and none of one at 0.25: -(2 log .5 + log .75) / 3.
    loss = log_loss_counts(array(0.5, 0.25), array(2, 1), array(1, 0))
    assert loss == pytest.approx(-(2 * np.log(0.5) + np.log(0.75)) / 3)


def test_a_wrong_certainty_costs_an_infinite_log_loss_and_a_right_one_nothing():
    assert log_loss_counts(array(1.0), array(1), array(0)) == np.inf
    assert log_loss_counts(array(1.0, 0.0), array(3, 2), array(3, 0)) == 0.0


def test_brier_of_counts():
    # (0.8^2 + 3 * 0.2^2) / 4
    assert brier_counts(array(0.2), array(4), array(1)) == pytest.approx((0.64 + 0.12) / 4)


def test_auc_counts_ties_as_half_and_weighs_by_impressions():
    # Clicked: one at 0.9, one at 0.5; not: one at 0.5, two at 0.1.
    p, n, k = array(0.5, 0.9, 0.1), array(2, 1, 2), array(1, 1, 0)
    assert auc_counts(p, n, k) == pytest.approx((3 + 2.5) / 6)


def test_auc_agrees_with_sklearn_on_single_impressions():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    p, k = rng.random(200).round(1), rng.integers(0, 2, 200).astype(float)
    assert auc_counts(p, np.ones(200), k) == pytest.approx(roc_auc_score(k, p))


def test_auc_without_clicks_is_undefined():
    assert np.isnan(auc_counts(array(0.1, 0.2), array(1, 1), array(0, 0)))


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(1, 9), st.integers(0, 9)), min_size=2))
def test_splitting_a_row_into_impressions_changes_no_score(rows):
    p, n, k = (np.array(x, dtype=float) for x in zip(*rows, strict=True))
    k = np.minimum(k, n)
    single_p = np.repeat(p, n.astype(int))
    single_k = np.concatenate([np.arange(int(a)) < b for a, b in zip(n, k, strict=True)]) * 1.0
    ones = np.ones_like(single_p)
    assert log_loss_counts(p, n, k) == pytest.approx(log_loss_counts(single_p, ones, single_k))
    assert brier_counts(p, n, k) == pytest.approx(brier_counts(single_p, ones, single_k))
    assert auc_counts(p, n, k) == pytest.approx(auc_counts(single_p, ones, single_k), nan_ok=True)
    ece = expected_calibration_error(single_p, ones, single_k, bins=4)
    assert expected_calibration_error(p, n, k, bins=4) == pytest.approx(ece)


def test_ece_of_two_known_bins():
    # Bins of ten impressions: predicted .1 and .6, real .3 and .6.
    p, n, k = array(0.1, 0.6), array(10, 10), array(3, 6)
    assert expected_calibration_error(p, n, k, bins=2) == pytest.approx(0.5 * 0.2)


def test_bins_hold_equal_mass_and_keep_ties_together():
    p = np.repeat([0.1, 0.2, 0.3, 0.4], 25)
    assert np.bincount(equal_mass_bins(p, np.ones(100), 4)).tolist() == [25] * 4
    assert len(np.unique(equal_mass_bins(np.full(100, 0.3), np.ones(100), 4))) == 1


def test_the_floor_is_the_ece_of_a_perfect_model():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.4, 20_000)
    ece = expected_calibration_error(p, np.ones_like(p), (rng.random(20_000) < p) * 1.0)
    assert ece == pytest.approx(ece_floor(p, np.ones_like(p)), rel=0.4)
    assert ece_floor(p[:200], np.ones(200)) > 3 * ece


def test_calibration_curve_of_a_known_case():
    p, n, k = array(0.2, 0.01, 0.2, 0.01), np.full(4, 100.0), array(10, 1, 10, 3)
    low, high = calibration_curve(p, n, k, np.arange(4), bins=2)
    assert (low.impressions, high.impressions) == (200, 200)
    assert (low.predicted, low.real.value) == pytest.approx((0.01, 0.02))
    assert (high.predicted, high.real.value) == pytest.approx((0.2, 0.1))
    assert low.real.low < 0.02 < low.real.high
    assert expected_calibration_error(p, n, k, bins=2) == pytest.approx((0.01 + 0.1) / 2)


def test_calibration_does_not_depend_on_the_order_of_the_rows():
    rng = np.random.default_rng(4)
    p, n = rng.uniform(0.1, 0.4, 60).round(2), rng.integers(1, 50, 60) * 1.0
    k, order = rng.binomial(n.astype(int), p) * 1.0, rng.permutation(60)
    rows = (p, n, k)
    shuffled = tuple(x[order] for x in rows)
    one = calibration_curve(*rows, unit=np.arange(60), bins=5)
    other = calibration_curve(*shuffled, unit=order, bins=5)
    assert [b.impressions for b in one] == [b.impressions for b in other]
    for x, y in zip(one, other, strict=True):
        assert x.real == pytest.approx(y.real)
    assert expected_calibration_error(*rows) == pytest.approx(expected_calibration_error(*shuffled))


def test_isotonic_steps_pool_what_falls_and_claim_no_certainty():
    # The middle two fall, so they become their weighted mean (3 * .6 + 1 * .2) / 4.
    x, rates = isotonic_steps(array(1, 2, 3, 4), array(0, 0.6, 0.2, 1), array(1, 3, 1, 1), 0.01)
    assert np.interp(array(1, 2, 3, 4), x, rates) == pytest.approx([0.01, 0.5, 0.5, 0.99])


def test_a_rows_bin_is_that_of_the_middle_of_its_mass():
    # Of 4 impressions the middles are at 0.5, 2 and 3.5, so that the second half begins at 2.
    p, n = array(0.1, 0.2, 0.3), array(1, 2, 1)
    assert equal_mass_bins(p, n, 2).tolist() == [0, 1, 1]
    # A row that holds most of the mass leaves bins empty; the last one is never passed.
    assert equal_mass_bins(p, array(1, 8, 1), 10).tolist() == [0, 5, 9]


def test_log_losses_of_rows_by_hand():
    losses = log_losses(array(0.25, 0.5), array(3, 2), array(1, 0))
    assert losses == pytest.approx([-np.log(0.25) - 2 * np.log(0.75), 2 * np.log(2)])
