"""Exact tests for few events: known values, agreement with scipy, level, and bounded time."""

import itertools
import time

import numpy as np
import pytest
from scipy import stats

from copygym.evaluation.abtest import compare as abtest
from copygym.evaluation.abtest.exact import events_of, events_p, fisher_p


def test_fishers_lady_tasting_tea():
    # Fisher 1935: 3 of 4 cups right on either side, p = (16 + 1 + 16 + 1) / 70.
    assert fisher_p((4, 4), (3, 1)) == pytest.approx(34 / 70)
    assert fisher_p((4, 4), (4, 0)) == pytest.approx(2 / 70)


def test_fishers_test_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, m = rng.integers(1, 3000, size=2)
        a, b = rng.integers(0, min(n, 12) + 1), rng.integers(0, min(m, rng.choice([9, 900])) + 1)
        if rng.random() < 0.3:
            a = n - a
        peer = stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
        assert fisher_p((n, m), (a, b)) == pytest.approx(peer, rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("units", [10**10, 10**12, 2**52])
def test_fishers_test_of_a_million_million_impressions_takes_no_time(units):
    start = time.perf_counter()
    # So many units are drawn without end: each of the 17 clicks falls into either arm.
    assert fisher_p((units, units), (5, 12)) == pytest.approx(
        stats.binomtest(5, 17).pvalue, rel=1e-6
    )
    # A hundredth of the units in one arm, and the other way round for those without a click.
    assert fisher_p((units, 99 * units), (3, 40)) == pytest.approx(
        _two_sided(3, 43, 0.01), rel=1e-6
    )
    assert fisher_p((units, units), (units - 5, units - 12)) == pytest.approx(
        stats.binomtest(5, 17).pvalue, rel=1e-6
    )
    assert fisher_p((units, units), (5, units // 1000)) == 0.0
    assert time.perf_counter() - start < 1.0


def _two_sided(k, n, p):
    chance = stats.binom.pmf(np.arange(n + 1), n, p)
    return chance[chance <= chance[k] * (1 + 1e-7)].sum()


def test_a_small_arm_beside_a_huge_one():
    # The huge arm says what the rate is: the small one is binomial.
    found = fisher_p((10_000, 10**12), (5, 6 * 10**8))
    assert found == pytest.approx(_two_sided(5, 10_000, 6e-4), rel=1e-4)


def test_counts_of_many_impressions_are_judged_at_once():
    arms = abtest.arms_from_counts(("a", "b"), [10**12, 10**12], [3, 19])
    start = time.perf_counter()
    (found,) = abtest.compare(arms)
    assert found.exact and found.p == pytest.approx(stats.binomtest(3, 22).pvalue, rel=1e-6)
    assert time.perf_counter() - start < 1.0


def revenue(sizes, buyers, amounts):
    """Return values of two arms: a few amounts among zeros."""
    arms = [np.zeros(size) for size in sizes]
    for arm, count, amount in zip(arms, buyers, amounts, strict=True):
        arm[:count] = amount
    return np.repeat([0, 1], sizes), np.concatenate(arms)


def test_buyers_are_judged_as_their_clicks_would_be():
    arm, value = revenue((1000, 1000), (0, 5), (0, 30.0))
    (found,) = abtest.compare(abtest.arms_from_values(("a", "b"), arm, value))
    (clicks,) = abtest.compare(abtest.arms_from_values(("a", "b"), arm, value / 30))
    assert found.p == clicks.p == pytest.approx(0.062188, abs=1e-6)
    assert found.exact and "another value than 0" in found.note
    # Another usual value is no other test.
    (moved,) = abtest.compare(abtest.arms_from_values(("a", "b"), arm, value - 1.5))
    assert moved.p == found.p and "another value than -1.5" in moved.note


def test_five_amounts_by_hand():
    # All five in one arm: 2 C(1000, 5) / C(2000, 5), whatever the amounts, as no other division
    # has a larger studentised gap.
    arm, value = revenue((1000, 1000), (0, 5), (0, [30.0, 31.0, 29.0, 30.5, 29.5]))
    (found,) = abtest.compare(abtest.arms_from_values(("a", "b"), arm, value))
    assert found.p == pytest.approx(0.062188, abs=1e-6)
    assert "a permutation test's" in found.note


def test_the_permutation_test_is_the_share_of_all_divisions():
    one, other = np.array([0, 0, 0, 0, -1.0]), np.array([0, 0, 0, 5.0, 2.0, 4.0])
    pooled = np.concatenate([one, other])

    def t(first):
        second = np.setdiff1d(np.arange(11), first)
        return abs(stats.ttest_ind(pooled[list(first)], pooled[second], equal_var=False).statistic)

    found = t(range(5))
    divisions = [t(first) for first in itertools.combinations(range(11), 5)]
    share = np.mean([gap >= found * (1 - 1e-9) for gap in divisions])
    assert 0.1 < share < 0.9
    assert events_p((5, 6), (one[one != 0], other[other != 0])) == pytest.approx(share)


def test_listed_and_drawn_divisions_agree(monkeypatch):
    rng = np.random.default_rng(1)
    units = (400, 700)
    values = (rng.exponential(size=2), rng.exponential(size=9) + 1)
    listed = events_p(units, values)
    monkeypatch.setattr("copygym.evaluation.abtest.exact._LISTED_EVENTS", 0)
    drawn = events_p(units, values)
    assert drawn == events_p(units, values), "the same in every call"
    assert drawn == pytest.approx(listed, abs=4 * np.sqrt(listed / 9999))
    # The arms the other way round.
    assert events_p(units[::-1], values[::-1]) == pytest.approx(listed, abs=0.02)


def test_the_permutation_test_keeps_its_level(monkeypatch):
    """Rare amounts with a heavy tail, and arms of different sizes."""
    monkeypatch.setattr("copygym.evaluation.abtest.exact.DIVISIONS", 99)
    rng, claims = np.random.default_rng(2), 0
    for seed in range(500):
        # So few divisions must differ from test to test.
        monkeypatch.setattr("copygym.evaluation.abtest.exact._SEED", seed)
        parts = [np.where(rng.random(n) < 0.02, rng.lognormal(3, 1.5, n), 0.0) for n in (300, 900)]
        claims += events_p((300, 900), (parts[0][parts[0] > 0], parts[1][parts[1] > 0])) <= 0.05
    assert 0.02 < claims / 500 < 0.08


def test_what_counts_as_an_event():
    arm = np.repeat([0, 1], [4, 3])
    found = events_of(arm, np.array([0, 0, 0, 7.0, 0, 0, 7.0]), 2)
    assert found.usual == 0 and found.alike
    np.testing.assert_array_equal(found.rare_A(np.array([4, 3])), [1, 1])
    # Values that are not mostly one value have no events, so that no rule of few holds.
    assert events_of(arm, np.array([1.0, 2, 3, 4, 5, 6, 7]), 2) is None
    assert abtest.arms_from_values(("a", "b"), arm, np.arange(7.0)).rare_A is None


def test_several_arms_of_few_buyers_share_the_level():
    sizes = (1000, 1000, 1000)
    arm = np.repeat([0, 1, 2], sizes)
    value = np.concatenate([np.zeros(1000), *([30.0] * 6 + [0.0] * 994,) * 2])
    arms = abtest.arms_from_values(("c", "x", "y"), arm, value)
    raw = abtest.compare(arms, adjust="none")[0].p
    assert raw == pytest.approx(0.0310, abs=1e-3)
    for adjust in ("holm", "dunnett"):
        for found in abtest.compare(arms, adjust=adjust):
            # Fisher's .031 is no claim among two; the normal z would have made one.
            assert 0.05 < found.p_adjusted <= 2 * raw + 1e-9


def test_an_always_valid_test_of_few_buyers_claims_nothing():
    arm, value = revenue((9000, 9000), (0, 40), (0, 30.0))
    arms = abtest.arms_from_values(("a", "b"), arm, value)
    (found,) = abtest.compare(arms, method="always_valid")
    assert found.few and not found.exact and "do not rely on it" in found.note
