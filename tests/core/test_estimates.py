import numpy as np
import pytest

from copygym.core.estimates import (
    Estimate,
    clustered_rate,
    design_effect,
    estimate,
    mean_estimate,
    normal_quantile,
    ratio,
    resample_sums,
    resampled_units,
    wilson,
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


def test_values_that_go_together_are_drawn_together():
    values = np.repeat(np.random.default_rng(8).random(50), 9)
    alone = mean_estimate(values, 2000)
    together = mean_estimate(values, 2000, unit=np.repeat(np.arange(50), 9))
    assert together.value == pytest.approx(alone.value)
    widths = (together.high - together.low) / (alone.high - alone.low)
    assert widths == pytest.approx(3.0, rel=0.1)


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


def test_an_estimate_is_written_with_its_interval():
    one = Estimate(0.123456, 0.1, 0.25)
    assert (f"{one:.3f}", str(one)) == ("0.123 [0.100, 0.250]", "0.1235 [0.1, 0.25]")
    assert one.to_dict() == {"value": 0.123456, "low": 0.1, "high": 0.25}


def test_a_generator_goes_on_and_a_seed_begins_anew():
    rng = np.random.default_rng(7)
    first, second = (next(resampled_units(30, 1, rng)) for _ in range(2))
    both = np.concatenate(list(resampled_units(30, 2, 7)))
    np.testing.assert_array_equal(np.concatenate([first, second]), both)
    assert np.concatenate(list(resampled_units(2_000_000, 5, 0))).shape == (5, 2_000_000)


def test_wilson_interval_against_published_values():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((81 / 263, 0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20).high == 1.0


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 50), (41, 41), (977, 2000)])
def test_wilson_interval_is_scipy_s(k, n, level):
    from scipy.stats import binomtest

    theirs = binomtest(k, n).proportion_ci(level, "wilson")
    assert wilson(k, n, level=level) == (k / n, theirs.low, theirs.high)


def test_clusters_widen_the_interval_as_if_there_were_fewer_rows():
    assert wilson(30, 100, design_effect=4.0)[1:] == pytest.approx(wilson(7.5, 25)[1:])
    unit = np.repeat(np.arange(50), 2)
    k = np.repeat(np.arange(50) % 2, 2) * 1.0
    assert clustered_rate(np.ones(100), k, unit)[1:] == pytest.approx(wilson(25, 50)[1:])


def test_normal_quantile():
    from scipy.stats import norm

    for level in (0.5, 0.95, 0.999):
        assert normal_quantile(level) == pytest.approx(norm.isf((1 - level) / 2), rel=1e-12)


def test_a_design_effect_by_hand():
    # Two users of two impressions, one of them all clicks: rate 1/2, (2 - 1)^2 + (0 - 1)^2 = 2
    # over 4 * 1/4 = 1.
    n, k = np.ones(4), np.array([1.0, 1.0, 0.0, 0.0])
    assert design_effect(n, k, np.array([0, 0, 1, 1])) == pytest.approx(2.0)
    # Users who are all alike vary less than independent impressions would; 1 is the least.
    assert design_effect(n, k, np.array([0, 1, 0, 1])) == 1.0
    assert design_effect(n, np.zeros(4), np.array([0, 0, 1, 1])) == 1.0
    # One below 1 does not make an interval narrower.
    assert wilson(81, 263, 0.5) == wilson(81, 263)


def test_design_effect_is_the_cluster_size_where_clusters_are_copies():
    unit = np.repeat(np.arange(500), 4)
    k = np.repeat(np.random.default_rng(2).random(500) < 0.3, 4) * 1.0
    assert design_effect(np.ones(2000), k, unit) == pytest.approx(4.0)
    assert design_effect(np.ones(2000), k, np.arange(2000)) == pytest.approx(1.0)
