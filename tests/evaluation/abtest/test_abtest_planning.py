"""Power and sample size: textbook values, inversions, and simulation."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from copygym.core.errors import UserError
from copygym.evaluation.abtest import sequential
from copygym.evaluation.abtest.planning import Plan, least_lift, power, sample_size
from copygym.experiments.studies.statistics.peeking_simulation import ever_rejected, z_paths


def test_sample_size_by_the_textbook_formula():
    # n per arm = (1.95996 + .84162)^2 (p0 q0 + p1 q1) / (p1 - p0)^2; the other tail is negligible.
    z = norm.isf(0.025) + norm.isf(0.2)
    per_arm = z**2 * (0.02 * 0.98 + 0.022 * 0.978) / 0.002**2
    assert sample_size(Plan(0.02, 0.1)) == pytest.approx(2 * per_arm, abs=2)
    assert sample_size(Plan(0.02, 0.1)) / 2 == pytest.approx(80_679, abs=1)
    # statsmodels 0.15, power_proportions_2indep(0.002, 0.02, 80679).
    assert power(Plan(0.02, 0.1), 2 * 80_679) == pytest.approx(0.7999894, abs=5e-5)


def test_uneven_shares_by_the_formula():
    # A tenth of the units in the control: its error counts ten times, the arm's 1 / .9 times.
    z = norm.isf(0.025) + norm.isf(0.2)
    total = z**2 * (0.2 * 0.8 / 0.1 + 0.3 * 0.7 / 0.9) / 0.1**2
    assert sample_size(Plan(0.2, 0.5, share=0.1)) == pytest.approx(total, abs=2)
    assert Plan(0.2, 0.5, share=0.1, comparisons=3).shares == pytest.approx((0.1, 0.3))


def test_sample_size_of_a_mean():
    # Half a standard deviation, the classic 63 per arm (normal approximation: 62.8).
    assert sample_size(Plan(1.0, 0.5, deviation=1.0)) == 126


@pytest.mark.parametrize("comparisons", [1, 3])
def test_without_an_effect_power_is_the_error_level(comparisons):
    """Both tails of a two-sided test, shared out among the comparisons (Bonferroni)."""
    alone = Plan(0.5, 1e-12, comparisons=comparisons)
    assert power(alone, 1000) == pytest.approx(0.05 / comparisons)
    # The always-valid bound at the planned size, tuned for the whole level (Robbins 1970).
    q = sequential.mixture_scale(0.05)
    bound = np.sqrt(2 * (q + 1) / q * np.log(np.sqrt(q + 1) * comparisons / 0.05))
    watched = Plan(0.5, 1e-12, comparisons=comparisons, always_valid=True)
    assert power(watched, 1000) == pytest.approx(2 * norm.sf(bound))


def test_power_is_what_simulated_tests_have():
    plan = Plan(0.05, 0.2)
    units = sample_size(plan, 0.7)
    z = z_paths(np.random.default_rng(0), 6000, 1, units // 2, [0.05, 0.06])
    found = ever_rejected(z, 1, 0.05, None).mean()
    assert power(plan, units) == pytest.approx(0.7, abs=1e-3)
    assert found == pytest.approx(0.7, abs=0.025)


@given(
    st.floats(0.01, 0.5), st.floats(0.02, 0.5), st.integers(1, 4), st.booleans(),
    st.floats(0.5, 0.95),
)  # fmt: skip
def test_size_power_and_lift_invert_each_other(baseline, lift, comparisons, always_valid, wanted):
    plan = Plan(baseline, lift, comparisons=comparisons, always_valid=always_valid)
    units = sample_size(plan, wanted)
    assert power(plan, units) >= wanted - 1e-9
    assert power(plan, units - 1) < wanted + 1e-6
    assert least_lift(plan, units, wanted) == pytest.approx(lift, rel=1e-2)


def test_what_makes_a_test_larger_or_smaller():
    base = sample_size(Plan(0.02, 0.1))
    assert sample_size(Plan(0.02, 0.1, correlation=0.5)) == pytest.approx(0.75 * base, abs=2)
    assert sample_size(Plan(0.02, 0.1, share=0.1)) > 2 * base
    assert sample_size(Plan(0.02, 0.1, comparisons=3)) > 2 * base
    assert sample_size(Plan(0.02, 0.1, always_valid=True)) > base
    assert least_lift(Plan(0.02, -0.1), 10_000) < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": 2.0}, "the baseline is 2; a click rate lies between 0 and 1"),
        ({"baseline": -1.0, "deviation": 1.0}, "it must be above 0"),
        ({"baseline": 0.5, "lift": 1.5}, "gives the rate 1.25"),
        ({"lift": 0.0}, "a lift of 0 cannot be found"),
        ({"deviation": -1.0}, "the standard deviation is -1"),
        ({"level": 1.5}, "the level is 1.5"),
        ({"comparisons": 0}, "at least two arms"),
        ({"share": 1.0}, "the control's share is 1"),
        ({"correlation": 1.0}, "the correlation is 1"),
        ({"lift": 1e300, "deviation": 1.0}, "the lift is 1e+300"),
        ({"deviation": 1e308}, "the standard deviation is 1e+308"),
        ({"baseline": 1e308, "deviation": 1.0}, "the baseline is 1e+308"),
        ({"comparisons": 10**6}, "1000001 arms are too many"),
    ],
)
def test_plans_that_cannot_be(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Plan(**{"baseline": 0.1, "lift": 0.1, **options})


def test_odd_plans_have_a_number_or_a_sentence():
    for plan, message in (
        (Plan(1e-90, 0.1), "do not find a lift of 0.1"),
        (Plan(0.02, 1e-9), "do not find a lift of 1e-09"),
        (Plan(0.02, 0.1, share=1e-300), "do not find a lift"),
    ):
        with pytest.raises(UserError, match=message):
            sample_size(plan)
    # An effect far beyond its error needs the least units that have a variance.
    for sure in (Plan(0.02, 48.0), Plan(12, 0.05, deviation=1e-90), Plan(0.02, 0.1, share=0.001)):
        units = sample_size(sure)
        assert units >= 2 / min(sure.shares) - 1e-9 and power(sure, units) >= 0.8
    assert least_lift(Plan(12, 1.0, deviation=1e-90), 100) < 1e-15
    assert least_lift(Plan(0.02, 1.0), 2**53 - 1) == pytest.approx(
        (norm.isf(0.025) + norm.isf(0.2)) * np.sqrt(4 * 0.98 / 0.02 / 2**53), rel=1e-4
    )


def test_the_least_lift_needs_a_power_above_the_error_level():
    for wanted in (0.05, 0.01, 1.0):
        with pytest.raises(UserError, match=r"above 0.05 \(the error level\) and below 1"):
            least_lift(Plan(0.02, 1.0), 40_000, wanted)


@pytest.mark.parametrize("units", [0, -5, 3, float("nan")])
def test_too_few_units_have_no_power(units):
    with pytest.raises(UserError, match="units are too few for a test of 2 arms"):
        power(Plan(0.02, 0.1), units)


def test_sizes_that_cannot_be():
    with pytest.raises(UserError, match="the power is 1"):
        sample_size(Plan(0.1, 0.1), 1.0)
    with pytest.raises(UserError, match="3 units are too few"):
        least_lift(Plan(0.1, 0.1), 3)
    with pytest.raises(UserError, match="find no lift at all"):
        least_lift(Plan(0.9, 0.1), 20)
