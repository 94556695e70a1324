import numpy as np
import pytest

from copygym.core.estimates import (
    estimate,
    mean_estimate,
    ratio,
    resample_sums,
    with_interval,
)


def test_sums_are_those_of_poisson_resamples():
    columns = np.array([[1.0, 10.0], [2.0, 20.0]])
    sums = resample_sums(columns, 50, seed=3)
    assert sums.shape == (50, 3)
    # The second column is ten times the first in every resample: columns share the draws.
    np.testing.assert_allclose(sums[:, 1], 10 * sums[:, 0])
    assert (sums[:, 2] == sums[:, 2].round()).all()


def test_draws_do_not_depend_on_the_columns():
    first = resample_sums(np.ones((40, 1)), 20, seed=1)
    second = resample_sums(np.arange(80.0).reshape(40, 2), 20, seed=1)
    np.testing.assert_array_equal(first[:, -1], second[:, -1])


def test_interval_has_the_width_of_the_normal_theory():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=2500)
    result = mean_estimate(values, resamples=4000, seed=1)
    half = 1.96 * values.std() / 50
    assert result.value == pytest.approx(values.mean())
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=0.06)


@pytest.mark.slow
def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        low, high = mean_estimate(rng.exponential(1.0, size=300), 500, seed=trial)[1:]
        hits += low <= 1.0 <= high
    assert 0.91 <= hits / 400 <= 0.98


def test_ratio_of_sums_is_not_the_mean_of_ratios():
    columns = np.array([[1.0, 1.0], [1.0, 3.0]])
    sums = resample_sums(columns, 200, seed=0)
    result = estimate(columns, lambda s: ratio(s[..., 0], s[..., 1]), sums)
    assert result.value == pytest.approx(0.5)
    assert 1 / 3 <= result.low <= result.high <= 1


def test_undefined_values_give_no_interval():
    result = with_interval(np.nan, np.full(10, np.nan))
    assert np.isnan(result.low)
    assert np.isnan(result.high)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        resample_sums(np.ones((3, 1)), 1, seed=0)
    with pytest.raises(ValueError, match="U > 0"):
        resample_sums(np.ones((0, 1)), 10, seed=0)
