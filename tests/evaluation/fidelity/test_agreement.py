"""Ranks of policies by two judges, and what simulators promise of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from copygym.evaluation.fidelity.agreement import (
    AGREEMENT,
    Values,
    agreement,
    gain,
    gain_share,
    optimism,
    spearman,
    tau_b,
)


@given(
    hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 4)),
    hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 4)),
)
@settings(max_examples=60, deadline=None)
def test_correlations_are_scipys_row_by_row(x, y):
    for ours, theirs in ((tau_b, stats.kendalltau), (spearman, stats.spearmanr)):
        found = ours(x.astype(float), y.astype(float))
        for row in range(len(x)):
            if np.ptp(x[row]) == 0 or np.ptp(y[row]) == 0:
                assert np.isnan(found[row])
            else:
                assert found[row] == pytest.approx(theirs(x[row], y[row]).statistic, abs=1e-12)


def table(value_PJ, judges, noise=0.0, resamples=200, seed=0):
    value_PJ = np.asarray(value_PJ, dtype=float)
    rng = np.random.default_rng(seed)
    draws = value_PJ + noise * rng.normal(size=(resamples, *value_PJ.shape))
    return Values(tuple(f"p{i}" for i in range(len(value_PJ))), judges, value_PJ, draws)


def test_agreement_of_the_same_and_of_the_reversed_order():
    values = table([[1, 10, 40], [2, 20, 30], [3, 30, 20], [4, 40, 10]], ("a", "b", "c"), 0.01)
    same, reverse = agreement(values, "a", "b"), agreement(values, "a", "c")
    assert same["kendall_tau"]["value"] == same["spearman_rho"]["value"] == 1.0
    assert (same["clear_pairs"], same["agreed_pairs"], same["pairs"]) == (6, 6, 6)
    assert reverse["kendall_tau"]["value"] == reverse["spearman_rho"]["value"] == -1.0
    assert (reverse["clear_pairs"], reverse["agreed_pairs"]) == (6, 0)
    # Gaps are a hundred times the noise: a right simulator would have had the right order.
    assert same["tau_if_right"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_noise_leaves_no_pair_clear_and_lowers_what_a_right_simulator_gets():
    values = table([[1, 1], [2, 2], [3, 3], [4, 4]], ("a", "b"), noise=20.0)
    found = agreement(values, "a", "b")
    assert found["clear_pairs"] == 0
    assert found["tau_if_right"]["value"] < 0.5


def test_what_a_right_simulator_gets_is_what_right_simulators_get():
    rng = np.random.default_rng(1)
    truth, noise = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 1.5
    got = tau_b(np.tile(truth, (4000, 1)), truth + noise * rng.normal(size=(4000, 5))).mean()
    draws = np.stack(
        [np.tile(truth, (4000, 1)), truth + noise * rng.normal(size=(4000, 5))], axis=-1
    )
    values = Values(tuple("vwxyz"), ("a", "b"), np.stack([truth, truth], axis=-1), draws)
    assert agreement(values, "a", "b")["tau_if_right"]["value"] == pytest.approx(got, abs=0.03)


def test_two_policies_have_no_order_and_equal_values_no_correlation():
    few = agreement(table([[1, 2], [2, 1]], ("a", "b")), "a", "b")
    assert few == {**dict.fromkeys(AGREEMENT), "policies": 2}
    found = agreement(table([[1, 1], [1, 2], [1, 3]], ("a", "b")), "a", "b")
    assert found["kendall_tau"] is None
    assert found["spearman_rho"] is None
    assert found["tau_if_right"] is None


def test_optimism_and_kept_gain_by_hand():
    # Policy p0 learned in A, p1 in B; p2 is the baseline.
    values = table([[3.0, 9.0, 2.0], [8.0, 4.0, 2.5], [1.0, 2.0, 1.0]], ("A", "B", "truth"))
    learned = {"p0": "A", "p1": "B"}
    assert optimism(values, {"p0": "A"}, "truth").value == 1.0
    assert optimism(values, learned, "truth").value == pytest.approx((1.0 + 1.5) / 2)
    # Promised gains 2 and 2; paid 1 and 1.5.
    assert gain(values, learned, "p2", None).value == 2.0
    assert gain(values, learned, "p2", "truth").value == 1.25
    assert gain_share(values, learned, "p2", "truth").value == pytest.approx(0.625)


def test_optimism_is_paired():
    """Judges see the same people, so that what they share of the luck cancels."""
    luck = np.random.default_rng(0).normal(size=(500, 1, 1))
    value = np.array([[3.0, 2.0]])
    values = Values(("p",), ("A", "truth"), value, value + luck)
    assert optimism(values, {"p": "A"}, "truth") == (1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert values.estimate("p", "A").high - values.estimate("p", "A").low > 3


def test_no_share_of_a_gain_that_was_not_promised():
    learned = {"p0": "A"}
    assert gain_share(table([[1.0, 1.0], [2.0, 0.0]], ("A", "B")), learned, "p1", "B") is None
    vague = table([[2.0, 1.0], [1.0, 0.0]], ("A", "B"), noise=5.0)
    assert gain_share(vague, learned, "p1", "B") is None
