"""The front door to A/B statistics: two samples."""

import re

import numpy as np
import pytest
from scipy import stats

from copygym.core.errors import UserError
from copygym.evaluation import ab_test, ab_test_of_counts

RNG = np.random.default_rng(0)
CONTROL, TREATMENT = RNG.normal(1.0, 1.0, 300), RNG.normal(1.3, 2.0, 500)


def test_means_are_welch_s_test():
    found = ab_test(CONTROL, TREATMENT)
    wanted = stats.ttest_ind(TREATMENT, CONTROL, equal_var=False)
    low, high = wanted.confidence_interval(0.95)
    assert found.p == pytest.approx(wanted.pvalue)
    assert tuple(found.difference) == pytest.approx((TREATMENT.mean() - CONTROL.mean(), low, high))
    assert found.lift.value == pytest.approx(TREATMENT.mean() / CONTROL.mean() - 1)


def test_the_treatment_is_compared_with_the_control_and_not_the_other_way_round():
    there, back = (
        ab_test([0, 1, 0, 2] * 9, [3, 4, 3, 5] * 9),
        ab_test([3, 4, 3, 5] * 9, [0, 1, 0, 2] * 9),
    )
    assert there.difference.value == 3.0
    assert back.difference.value == -3.0
    assert there.arm == "treatment"


def test_rates_agree_with_counts():
    control, treatment = np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [50, 70])
    one, other = ab_test(control, treatment), ab_test_of_counts((40, 100), (70, 120))
    assert one.p == pytest.approx(other.p)
    assert tuple(one.difference) == pytest.approx(tuple(other.difference))
    assert one.difference.value == pytest.approx(70 / 120 - 0.4)


def test_few_events_are_exact():
    found = ab_test_of_counts((0, 20), (5, 20))
    assert found.exact
    assert found.p == pytest.approx(stats.fisher_exact([[0, 20], [5, 15]]).pvalue)


def test_always_valid_is_wider_and_follows_the_plan():
    once = ab_test(CONTROL, TREATMENT)
    often = ab_test(CONTROL, TREATMENT, method="always_valid", planned=800)
    late = ab_test(CONTROL, TREATMENT, method="always_valid", planned=80_000)
    widths = [found.difference.high - found.difference.low for found in (once, often, late)]
    assert widths == sorted(widths)
    assert once.p < often.p < late.p


def test_the_level_is_that_of_the_interval():
    narrow, wide = (ab_test(CONTROL, TREATMENT, level=level) for level in (0.5, 0.99))
    assert narrow.difference.high < wide.difference.high


@pytest.mark.parametrize(
    ("control", "treatment", "message"),
    [
        (
            [[1, 2]],
            [1, 2],
            "ab_test: control has shape (1, 2); give one number for each unit, (N,).",
        ),
        ([1, 2], ["a", "b"], "ab_test: treatment holds values that are no numbers."),
        ([1, 2], [1, np.nan], "ab_test: treatment[1] is nan; give a finite number"),
        ([1], [1, 2], "arm 'control' has 1 unit(s)"),
        ([], [1, 2], "arm 'control' has 0 unit(s)"),
        ([1, 1], [2, 2], "the values do not vary within any arm"),
    ],
)
def test_samples_that_are_none_are_refused(control, treatment, message):
    with pytest.raises(UserError, match=re.escape(message)):
        ab_test(control, treatment)


def test_counts_that_are_none_are_refused():
    with pytest.raises(UserError, match=re.escape("treatment is (1, 2, 3); give (clicks, units).")):
        ab_test_of_counts((1, 2), (1, 2, 3))
    with pytest.raises(UserError, match="arm 'control' has 20 clicks in 10 impressions"):
        ab_test_of_counts((20, 10), (1, 10))
    with pytest.raises(UserError, match="unknown method 'peek'"):
        ab_test(CONTROL, TREATMENT, method="peek")
