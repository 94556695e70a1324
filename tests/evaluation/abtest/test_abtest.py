"""Effects of an A/B test: known values, agreement with scipy, and refusals."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from copygym.core.errors import UserError
from copygym.evaluation.abtest import compare as abtest
from copygym.evaluation.abtest.multiple import adjusted_p, dunnett_critical, dunnett_p
from copygym.evaluation.abtest.sequential import critical_z, mixture_scale

COUNTS = abtest.arms_from_counts(("control", "new"), [1000, 1000], [50, 70])


def values(seed=0, sizes=(40, 60, 50), shift=(0.0, 0.3, 0.0), scale=(1.0, 2.0, 1.0)):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(m, s, n) for n, m, s in zip(sizes, shift, scale, strict=True)]
    return parts, np.repeat(np.arange(len(sizes)), sizes), np.concatenate(parts)


def test_counts_by_hand():
    # Rates .05 and .07; variances .05 * .95 / 999 and .07 * .93 / 999.
    (found,) = abtest.compare(COUNTS)
    error = np.sqrt((0.05 * 0.95 + 0.07 * 0.93) / 999)
    assert found.difference.value == pytest.approx(0.02)
    assert found.z == pytest.approx(0.02 / error)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.02 / error), rel=5e-3)
    assert found.difference.low == pytest.approx(0.02 - 1.961 * error, abs=1e-5)
    assert found.lift.value == pytest.approx(0.4)


def test_counts_equal_one_value_per_unit():
    arm = np.repeat([0, 1], [30, 50])
    clicked = np.concatenate([np.arange(30) < 11, np.arange(50) < 30]).astype(float)
    by_unit = abtest.arms_from_values(("a", "b"), arm, clicked)
    by_count = abtest.arms_from_counts(("a", "b"), [30, 50], [11, 30])
    one, other = abtest.compare(by_unit)[0], abtest.compare(by_count)[0]
    assert one.difference == pytest.approx(other.difference)
    assert (one.z, one.p) == pytest.approx((other.z, other.p))
    np.testing.assert_array_equal(by_unit.rare_A, by_count.rare_A)


def test_fixed_horizon_is_welchs_test():
    (a, b, _), arm, value = values()
    first = abtest.compare(abtest.arms_from_values(("a", "b", "c"), arm, value), adjust="none")[0]
    peer = stats.ttest_ind(b, a, equal_var=False)
    interval = peer.confidence_interval(0.95)
    assert first.z == pytest.approx(peer.statistic)
    assert first.p == pytest.approx(peer.pvalue)
    assert first.difference[1:] == pytest.approx((interval.low, interval.high))


@given(
    st.integers(20, 500), st.integers(20, 500), st.floats(0.05, 0.95), st.floats(0.05, 0.95),
    st.sampled_from(["fixed", "always_valid"]),
)  # fmt: skip
def test_the_interval_the_lift_and_p_agree(n, m, p, q, method):
    counts = [round(n * p), round(m * q)]
    if not (0 < counts[0] < n and 0 < counts[1] < m):
        return
    arms = abtest.arms_from_counts(("a", "b"), [n, m], counts)
    if arms.rare_A.min() < 10:
        return  # p is then Fisher's, the interval is not
    (found,) = abtest.compare(arms, method=method, planned=300)
    excluded = not found.difference.low <= 0 <= found.difference.high
    assert excluded == (found.p < 0.05)
    if found.lift is not None:
        assert found.lift.low <= found.lift.value <= found.lift.high
        assert excluded == (not found.lift.low <= 0 <= found.lift.high)
    # The other way round the difference changes its sign and nothing else.
    (mirror,) = abtest.compare(arms, control=1, method=method, planned=300)
    assert mirror.difference.low == pytest.approx(-found.difference.high)
    assert mirror.p == pytest.approx(found.p)


def test_fiellers_interval_by_its_definition():
    (found,) = abtest.compare(COUNTS)
    critical = stats.t.isf(0.025, abtest.welch_freedom(COUNTS, 0)[1])
    for end in (found.lift.low, found.lift.high):
        ratio = 1 + end
        gap = COUNTS.mean_A[1] - ratio * COUNTS.mean_A[0]
        error = np.sqrt(COUNTS.error_A[1] + ratio**2 * COUNTS.error_A[0])
        assert abs(gap) / error == pytest.approx(critical)


def test_no_lift_where_the_control_is_close_to_nothing():
    arms = abtest.arms_from_counts(("a", "b"), [1000, 1000], [1, 20])
    (found,) = abtest.compare(arms)
    assert found.lift is None
    assert "cannot be told from 0" in found.note and "fewer than 10 clicks" in found.note
    assert found.few
    losses = abtest.arms_from_values(("a", "b"), [0, 0, 1, 1], [-3.0, -1.0, 1.0, 2.0])
    assert "not above 0" in abtest.compare(losses)[0].note


def test_always_valid_is_wider_and_narrowest_where_planned():
    (fixed,) = abtest.compare(COUNTS)
    widths = {}
    for planned in (200, 2000, 20000):
        (found,) = abtest.compare(COUNTS, method="always_valid", planned=planned)
        widths[planned] = np.ptp(found.difference[1:])
    assert widths[2000] < min(widths[200], widths[20000])
    assert widths[2000] / np.ptp(fixed.difference[1:]) == pytest.approx(
        critical_z(1.0, 0.05) / 1.9612, rel=1e-3
    )
    assert mixture_scale(0.05) == pytest.approx(8.212, abs=1e-3)


def test_few_clicks_are_judged_by_fishers_test():
    arms = abtest.arms_from_counts(("a", "b"), [1000, 1000], [0, 8])
    (found,) = abtest.compare(arms)
    assert found.few and "p is Fisher's" in found.note
    assert found.p == pytest.approx(stats.fisher_exact([[0, 1000], [8, 992]]).pvalue, rel=1e-9)
    (dunnett,) = abtest.compare(arms, adjust="dunnett")
    assert dunnett.p_adjusted == found.p
    (valid,) = abtest.compare(arms, method="always_valid")
    assert valid.few and "do not rely on it" in valid.note


def test_several_arms_are_adjusted():
    arms = abtest.arms_from_counts(("c", "x", "y"), [5000] * 3, [250, 310, 290])
    raw = [entry.p for entry in abtest.compare(arms, adjust="none")]
    holm = [entry.p_adjusted for entry in abtest.compare(arms)]
    assert holm == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])])
    widths = [
        np.ptp(abtest.compare(arms, adjust=name)[0].difference[1:])
        for name in ("none", "bh", "dunnett", "holm")
    ]
    assert widths[0] == widths[1] < widths[2] < widths[3]


def test_adjusted_p_values_by_hand():
    p = [0.01, 0.04, 0.03, 0.005]
    assert adjusted_p(p, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted_p(p, "bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjusted_p(p, "none") == pytest.approx(p)
    with pytest.raises(UserError, match="must lie in"):
        adjusted_p([0.2, np.nan], "holm")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_adjusting_keeps_the_order_and_never_helps(p):
    for name in ("holm", "bh"):
        out = adjusted_p(p, name)
        assert (out >= np.array(p) - 1e-12).all() and (out <= 1).all()
        assert (np.diff(out[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_dunnett_agrees_with_scipy_where_variances_are_equal():
    parts, arm, _ = values(1, (900,) * 4, (0.0,) * 4, (1.0,) * 4)
    # The same variance to the last digit, as scipy's test takes a common one.
    shifts = (0.0, 0.12, -0.09, 0.04)
    parts = [(x - x.mean()) / x.std() + m for x, m in zip(parts, shifts, strict=True)]
    arms = abtest.arms_from_values(tuple("abcd"), arm, np.concatenate(parts))
    ours = np.array([entry.p_adjusted for entry in abtest.compare(arms, adjust="dunnett")])
    peer = stats.dunnett(*parts[1:], control=parts[0], rng=np.random.default_rng(0)).pvalue
    np.testing.assert_allclose(ours, peer, atol=2e-3)


def test_dunnett_with_one_arm_or_without_a_shared_control():
    assert dunnett_p([1.96], [0.7]) == pytest.approx([0.05], abs=1e-4)
    # A control known exactly leaves independent comparisons: Sidak.
    independent = stats.norm.isf((1 - 0.95 ** (1 / 3)) / 2)
    assert dunnett_critical(np.full(3, 1e-6), 0.05) == pytest.approx(independent, abs=1e-4)
    # Dunnett's table: three arms and control, equal sizes, infinite degrees of freedom.
    assert dunnett_critical(np.full(3, np.sqrt(0.5)), 0.05) == pytest.approx(2.35, abs=0.005)


@pytest.mark.parametrize(
    ("units", "clicks", "message"),
    [
        ([10], [1], "at least two arms; there is 1"),
        ([10, 10], [0, 0], "no arm has a click"),
        ([10, 10], [10, 10], "every unit of every arm clicked"),
        ([10, 10], [11, 1], "arm 'a' has 11 clicks in 10 impressions"),
        ([10, 10], [1, 2, 3], "2 arms, 2 numbers of units and 3 of clicks"),
        ([10, -1], [1, 0], "arm 'b': units is -1"),
        ([10, np.nan], [1, 0], "arm 'b': units is nan"),
        ([10, 10], [0.5, 1], "arm 'a': clicks is 0.5"),
        ([10, 1], [1, 0], "arm 'b' has 1 unit(s)"),
    ],
)
def test_counts_that_cannot_be(units, clicks, message):
    with pytest.raises(UserError, match=re.escape(message)):
        abtest.arms_from_counts(("a", "b")[: len(units)], units, clicks)


def test_other_refusals():
    with pytest.raises(UserError, match="unit 1: the value is nan"):
        abtest.arms_from_values(("a", "b"), [0, 1], [1.0, np.nan])
    with pytest.raises(UserError, match="3 arms and 2 values"):
        abtest.arms_from_values(("a", "b"), [0, 1, 1], [1.0, 2.0])
    with pytest.raises(UserError, match="do not vary"):
        abtest.arms_from_values(("a", "b"), [0, 0, 1, 1], [1.0, 1.0, 2.0, 2.0])
    with pytest.raises(UserError, match="names must differ"):
        abtest.arms_from_counts(("a", "a"), [9, 9], [1, 1])
    with pytest.raises(UserError, match=r"unknown method 'bayes'"):
        abtest.compare(COUNTS, method="bayes")
    with pytest.raises(UserError, match=r"unknown adjustment 'tukey'"):
        abtest.compare(COUNTS, adjust="tukey")
    with pytest.raises(UserError, match="the level is 95"):
        abtest.compare(COUNTS, level=95)
    with pytest.raises(UserError, match=r"it must be at most 0\.999999999"):
        abtest.compare(COUNTS, level=1 - 1e-12)
    with pytest.raises(UserError, match="for a fixed horizon; take holm"):
        abtest.compare(COUNTS, method="always_valid", adjust="dunnett")
    with pytest.raises(UserError, match="the planned number of units is 0"):
        abtest.compare(COUNTS, method="always_valid", planned=0)
    silent = abtest.arms_from_counts(("a", "b", "c"), [9, 9, 9], [0, 0, 3])
    with pytest.raises(UserError, match="neither arm 'b' nor the control varies"):
        abtest.compare(silent)
