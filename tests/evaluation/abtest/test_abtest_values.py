"""Ratios of users, CUPED, and sample ratios."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from copygym.core.errors import UserError
from copygym.evaluation.abtest.compare import arms_from_counts, arms_from_values, compare
from copygym.evaluation.abtest.sample_ratio import planned_shares, sample_ratio, sequential_ratio_p
from copygym.evaluation.abtest.values import cuped, linearise


def test_linearised_by_hand():
    # Arm 0: 3 clicks in 6 impressions of 2 users: R = .5, 3 impressions a user.
    arm, clicks, shown = [0, 0, 1, 1], [1, 2, 0, 1], [4, 2, 1, 1]
    found = linearise(arm, clicks, shown, 2)
    np.testing.assert_allclose(found, [0.5 - 1 / 3, 0.5 + 1 / 3, 0.0, 1.0])
    with pytest.raises(UserError, match="an arm has no impression"):
        linearise([0, 1], [0, 0], [3, 0], 2)


def test_the_ratios_error_is_that_of_repeated_tests():
    """Users differ in taste and in how often they look: counting impressions alone is too sure."""
    rng, users, ratios, errors, naive = np.random.default_rng(0), 200, [], [], []
    for _ in range(600):
        shown = rng.geometric(0.2, size=2 * users)
        clicks = rng.binomial(shown, rng.beta(0.5, 2, size=2 * users))
        arm = np.repeat([0, 1], users)
        arms = arms_from_values(("a", "b"), arm, linearise(arm, clicks, shown, 2))
        ratios.append(arms.mean_A[0])
        errors.append(arms.error_A[0])
        counts = [np.bincount(arm, what) for what in (shown, clicks)]
        naive.append(arms_from_counts(("a", "b"), *counts).error_A[0])
        assert arms.mean_A[0] == pytest.approx(clicks[:users].sum() / shown[:users].sum())
    assert np.mean(errors) == pytest.approx(np.var(ratios), rel=0.15)
    assert np.mean(naive) < 0.5 * np.var(ratios)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_cuped_takes_the_square_of_the_correlation(correlation):
    rng, n = np.random.default_rng(1), 100_000
    arm = np.repeat([0, 1], n)
    x, noise = rng.normal(size=(2, 2 * n))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise + 0.1 * arm
    found = cuped(arm, y, 5 + 2 * x)
    before, after = (compare(arms_from_values(("a", "b"), arm, v))[0] for v in (y, found.value_N))
    widths = [np.ptp(entry.difference[1:]) for entry in (before, after)]
    assert (widths[1] / widths[0]) ** 2 == pytest.approx(1 - correlation**2, abs=0.01)
    assert found.correlation == pytest.approx(correlation, abs=0.01)
    assert found.theta == pytest.approx(correlation / 2, abs=0.01)
    assert after.difference.low < 0.1 < after.difference.high
    assert found.value_N.mean() == pytest.approx(y.mean())


def test_cuped_is_regression_with_an_intercept_per_arm():
    rng = np.random.default_rng(2)
    arm, x = np.repeat([0, 1], [50, 70]), rng.normal(size=120)
    y = 0.3 * x + rng.normal(size=120) + arm
    design = np.column_stack([arm == 0, arm == 1, x])
    slope = np.linalg.lstsq(design, y, rcond=None)[0]
    found = cuped(arm, y, x)
    assert found.theta == pytest.approx(slope[2])
    effect = arms_from_values(("a", "b"), arm, found.value_N)
    assert effect.mean_A[1] - effect.mean_A[0] == pytest.approx(slope[1] - slope[0])


def test_cuped_refusals():
    with pytest.raises(UserError, match="the same for all units"):
        cuped([0, 0, 1, 1], [1.0, 2.0, 3.0, 5.0], [7.0, 7.0, 7.0, 7.0])
    with pytest.raises(UserError, match="unit 2: the covariate is nan"):
        cuped([0, 0, 1], [1.0, 2.0, 3.0], [7.0, 8.0, np.nan])
    with pytest.raises(UserError, match="3 arms, 3 values and 2 covariates"):
        cuped([0, 0, 1], [1.0, 2.0, 3.0], [7.0, 8.0])


def test_sample_ratio_by_hand():
    # Chi-square 40^2 / 240 = 6.667 with one degree of freedom.
    found = sample_ratio([100, 140])
    assert found.p == pytest.approx(0.0098232, rel=1e-4)
    assert not found.mismatch
    np.testing.assert_allclose(found.expected_A, [120, 120])
    assert sample_ratio([100, 140], threshold=0.01).mismatch
    assert sample_ratio([900, 100], [9, 1]).p == pytest.approx(1.0)
    assert sample_ratio([5000, 5400]).mismatch


def test_sample_ratio_agrees_with_the_audit_of_upworthy():
    import polars as pl

    from copygym.envs import ClickLog
    from copygym.envs.datasets.upworthy import sample_ratio_report

    units = [310, 260, 275]
    frame = pl.DataFrame(
        {"test_id": ["t"] * 3, "creative_id": list("abc"), "impressions": units, "clicks": 0}
    )
    report = sample_ratio_report(ClickLog.from_frame(frame, name="x"))
    assert report["p_value"][0] == pytest.approx(sample_ratio(units).p)


@pytest.mark.parametrize(
    ("units", "weights", "message"),
    [
        ([5], None, "at least two arms"),
        ([0, 0], None, "no arm has a unit"),
        ([5, -1], None, "numbers of 0 or more"),
        ([5, np.nan], None, "numbers of 0 or more"),
        ([5, 5], [1, 2, 3], "the ratio has 3 numbers and there are 2 arms"),
        ([5, 5], [1, 0], "the ratio is 1:0; every number must be above 0"),
        ([5, 5], [0.5, 0.6], "as shares they add up to 1.1 and not to 1"),
        ([5, 5], [0.5, 0.4], "as shares they add up to 0.9 and not to 1"),
        ([5, 5], [1e308, 1e308], "add up to inf"),
    ],
)
def test_sample_ratios_that_cannot_be(units, weights, message):
    with pytest.raises(UserError, match=re.escape(message)):
        sample_ratio(units, weights)


def test_the_sequential_ratio_test_by_hand():
    # One unit in arm 0 of two even arms with a flat prior: (1/2) / (1/2) = 1; two in arm 0:
    # (1/2)(2/3) / (1/4) = 4/3.
    assert sequential_ratio_p([1, 0], [0.5, 0.5], 2.0) == pytest.approx(1.0)
    assert sequential_ratio_p([2, 0], [0.5, 0.5], 2.0) == pytest.approx(0.75)
    assert sequential_ratio_p([0, 10_000], planned_shares(None, 2)) < 1e-100
    with pytest.raises(UserError, match="concentration is 0"):
        sequential_ratio_p([1, 1], [0.5, 0.5], 0.0)


def test_the_sequential_ratio_test_of_large_counts():
    # By whole numbers: the Dirichlet-multinomial's factors over those of the planned shares.
    counts, total = (5200, 4700), 9900
    log = sum(math.log(50 + k) for n in counts for k in range(n))
    log -= sum(math.log(100 + k) for k in range(total)) + total * math.log(0.5)
    found = sequential_ratio_p(counts, [0.5, 0.5])
    assert found == pytest.approx(math.exp(-log), rel=1e-6)
    # In large samples exp(-z^2 / 2) sqrt(1 + N / 100), where log-gammas of 1e15 would cancel.
    half, gap = 5e14, 1e8
    z = gap / (0.5 * math.sqrt(2 * half))
    large = sequential_ratio_p([half - gap, half + gap], [0.5, 0.5])
    assert large == pytest.approx(math.exp(-(z**2) / 2) * math.sqrt(2 * half / 100), rel=5e-3)
    assert sequential_ratio_p([half, half], [0.5, 0.5]) == 1.0


def test_shares_that_were_rounded_are_taken():
    np.testing.assert_allclose(planned_shares([0.33] * 3, 3), 1 / 3)
    np.testing.assert_allclose(planned_shares([1, 1], 2), 0.5)


def test_the_sequential_ratio_test_keeps_its_level_under_peeking():
    rng = np.random.default_rng(3)
    first = rng.binomial(20, 0.5, size=(300, 200)).cumsum(axis=1)
    total = 20 * np.arange(1, 201)
    flagged = fixed = 0
    for row in first:
        counts = [np.array([a, t - a]) for a, t in zip(row[9::10], total[9::10], strict=True)]
        flagged += any(sequential_ratio_p(c, [0.5, 0.5]) < 0.05 for c in counts)
        fixed += any(stats.chisquare(c).pvalue < 0.05 for c in counts)
    assert flagged / 300 < 0.07
    assert fixed / 300 > 0.17


@pytest.mark.parametrize("other", [0.1, 0.3])
def test_decimals_that_never_vary_have_no_variance_by_rounding(other):
    arm = np.repeat([0, 1], [957, 1043])
    with pytest.raises(UserError, match="the values do not vary within any arm"):
        arms_from_values(("a", "b"), arm, np.where(arm == 0, 0.1, other))
