"""Tests that a bandit allocates: the scores, and the coverage of their intervals."""

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.abtest.bandit import Batches, contrast, decisions
from copygym.experiments.studies.statistics.peeking_simulation import bandit_runs, thompson_batches


def by_hand(arm_N, propensity_N, outcome_N, target):
    """The scores one decision at a time, as in the paper."""
    total, count, scores = np.zeros(2), np.zeros(2), []
    for arm, chance, outcome in zip(arm_N, propensity_N, outcome_N, strict=True):
        guess = np.divide(total, count, out=np.zeros(2), where=count > 0)
        score = guess.copy()
        score[arm] += (outcome - guess[arm]) / chance
        scores.append(score)
        total[arm] += outcome
        count[arm] += 1
    scores = np.array(scores)
    return np.cumsum(scores[:, 1] - scores[:, 0] if target is None else scores[:, target]) / (
        np.arange(len(scores)) + 1
    )


def small():
    rng = np.random.default_rng(0)
    arm = rng.integers(0, 2, 40)
    return arm, np.where(arm == 1, 0.7, 0.3), rng.normal(arm, 1.0)


@pytest.mark.parametrize("target", [None, 0, 1])
def test_the_estimate_by_hand(target):
    arm, chance, outcome = small()
    batches = decisions(arm, chance, outcome, 2)
    pair = (1, 0) if target is None else (target, None)
    found = contrast(batches, *pair, planned=40)
    np.testing.assert_allclose(found.effect_T, by_hand(arm, chance, outcome, target))


def test_before_each_arm_was_shown_twice_nothing_is_claimed():
    found = contrast(decisions([0, 1, 1, 0], [0.5] * 4, [1, 0, 1, 0], 2), 1, 0, planned=4)
    assert np.isinf(found.low_T[:3]).all() and np.isinf(found.high_T[:3]).all()
    assert (found.p_T[:3] == 1).all()
    assert np.isfinite(found.low_T[3])


def test_batches_of_one_and_several_tests_at_once_agree():
    arm, chance, outcome = small()
    one = decisions(arm, chance, outcome, 2)
    stacked = Batches(*(np.stack([getattr(one, f)] * 3) for f in one.__dataclass_fields__))
    single, several = (contrast(b, 1, 0, planned=40) for b in (one, stacked))
    for name in ("effect_T", "low_T", "p_T"):
        np.testing.assert_array_equal(getattr(several, name)[2], getattr(single, name))


def test_an_even_split_gives_about_the_usual_interval():
    rng, n = np.random.default_rng(1), 40_000
    arm = rng.integers(0, 2, n)
    outcome = rng.binomial(1, np.where(arm == 1, 0.12, 0.1)).astype(float)
    found = contrast(decisions(arm, np.full(n, 0.5), outcome, 2), 1, 0, planned=n)
    raw = outcome[arm == 1].mean() - outcome[arm == 0].mean()
    assert found.effect_T[-1] == pytest.approx(raw, abs=3e-4)
    from copygym.evaluation.abtest.compare import arms_from_values, compare

    arms = arms_from_values(("a", "b"), arm, outcome)
    usual = compare(arms, method="always_valid", planned=n)[0].difference
    assert found.low_T[-1] == pytest.approx(usual.low, abs=6e-4)


def test_wrong_propensities_are_refused():
    with pytest.raises(UserError, match="decision 1: the propensity is 0"):
        decisions([0, 1], [0.5, 0.0], [1, 0], 2)
    with pytest.raises(UserError, match=r"decision 0: the propensity is 1\.2"):
        decisions([0, 1], [1.2, 0.5], [1, 0], 2)
    with pytest.raises(UserError, match="2 arms, 1 propensities and 2 outcomes"):
        decisions([0, 1], [0.5], [1, 0], 2)


def test_thompson_batches_are_what_they_say():
    rng = np.random.default_rng(2)
    batches = thompson_batches(rng, 300, 10, 100, [0.05, 0.2], 0.05)
    np.testing.assert_allclose(batches.propensity_TA.sum(axis=-1), 1.0)
    assert (batches.units_TA.sum(axis=-1) == 100).all()
    assert batches.propensity_TA.min() >= 0.05
    share = batches.units_TA / 100
    np.testing.assert_allclose(share.mean(axis=0), batches.propensity_TA.mean(axis=0), atol=0.02)
    # It finds the better arm.
    assert batches.propensity_TA[:, -1, 1].mean() > 0.9


@pytest.mark.parametrize(("lift", "floor"), [(0.0, 0.05), (0.2, 0.01)])
def test_intervals_cover_where_the_usual_ones_do_not(lift, floor):
    rates = [0.05, 0.05 * (1 + lift)]
    batches = thompson_batches(np.random.default_rng(3), 1500, 60, 200, rates, floor)
    runs = bandit_runs(batches, rates[1] - rates[0], 0.05, 60 * 200)
    assert runs.valid_always_R.mean() > 0.95
    assert runs.naive_end_R.mean() < 0.94
    assert runs.naive_always_R.mean() < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("lift", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("floor", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("planned", [2_000, 20_000])
def test_coverage_at_every_look(lift, floor, planned):
    rates = [0.05, 0.05 * (1 + lift)]
    batches = thompson_batches(np.random.default_rng(4), 3000, 100, 200, rates, floor)
    runs = bandit_runs(batches, rates[1] - rates[0], 0.05, planned)
    assert runs.valid_always_R.mean() >= 0.95
