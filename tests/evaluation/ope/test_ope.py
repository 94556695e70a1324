import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.evaluation.ope import estimators
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.intervals import Bootstrap, difference, value_terms
from copygym.evaluation.ope.stream import OnDisk, ips_point, points
from copygym.evaluation.ope.support import effective_events, support
from copygym.evaluation.ope.terms import (
    Grouped,
    PerRow,
    Terms,
    check_log,
    importance_weights,
    terms_of,
)


def tiny_log():
    """Two actions logged with propensities 0.5 and 0.25; worked out by hand below."""
    actions = np.array([0, 1, 1, 0])
    propensities = np.array([0.5, 0.25, 0.25, 0.5])
    rewards = np.array([1.0, 0.0, 2.0, 3.0])
    target = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.25, 0.75]])
    return actions, propensities, rewards, target


def tiny_terms():
    actions, propensities, rewards, target = tiny_log()
    return terms_of(actions, propensities, rewards, target, np.array([[1.0, 2.0]] * 4))


def test_known_answers():
    terms = tiny_terms()
    rewards, weights, model = terms.rewards, terms.weights, terms.model()
    np.testing.assert_allclose(weights, [2.0, 2.0, 4.0, 0.5])
    np.testing.assert_allclose(model[0], [1, 2, 2, 1])
    np.testing.assert_allclose(model[1], [1, 1.5, 2, 1.75])
    direct = (1 + 1.5 + 2 + 1.75) / 4
    residuals = np.array([2 * (1 - 1), 2 * (0 - 2), 4 * (2 - 2), 0.5 * (3 - 1)])
    assert estimators.ips(rewards, weights) == pytest.approx((2 + 0 + 8 + 1.5) / 4)
    assert estimators.clipped_ips(rewards, weights, 3.0) == pytest.approx((2 + 0 + 6 + 1.5) / 4)
    assert estimators.snips(rewards, weights) == pytest.approx(11.5 / 8.5)
    assert estimators.dm(model[1]) == pytest.approx(direct)
    assert estimators.dr(rewards, weights, *model) == pytest.approx(direct + residuals.sum() / 4)
    assert estimators.sndr(rewards, weights, *model) == pytest.approx(
        direct + residuals.sum() / 8.5
    )
    # Weights above 1 fall away, of which the fourth row's is none.
    assert estimators.switch_dr(rewards, weights, *model, 1.0) == pytest.approx(direct + 1.0 / 4)
    bent = 2 * weights / (weights**2 + 2)
    assert estimators.dr_os(rewards, weights, *model, 2.0) == pytest.approx(
        direct + (bent * (rewards - model[0])).sum() / 4
    )
    assert effective_events(terms) == pytest.approx(11.5**2 / (4 + 64 + 2.25))


def test_support_by_hand():
    found = support(tiny_terms().weights)
    assert found.ess == pytest.approx(8.5**2 / (4 + 4 + 16 + 0.25))
    assert (found.max_weight, found.mean_weight, found.n) == (4.0, 8.5 / 4, 4)
    assert found.used == 1.0
    assert found.top_share == pytest.approx(4 / 8.5)
    nothing = support(np.zeros(5))
    assert (nothing.ess, nothing.used, nothing.top_share) == (0.0, 0.0, 0.0)


def test_dr_with_a_zero_model_is_ips_and_with_a_perfect_one_is_dm():
    actions, propensities, rewards, target = tiny_log()
    zero = terms_of(actions, propensities, rewards, target, np.zeros((4, 2)))
    assert estimators.dr(rewards, zero.weights, *zero.model()) == estimators.ips(
        rewards, zero.weights
    )
    model = np.zeros((4, 2))
    model[np.arange(4), actions] = rewards
    perfect = terms_of(actions, propensities, rewards, target, model)
    for name in ("dr", "sndr"):
        value = getattr(estimators, name)(rewards, perfect.weights, *perfect.model())
        assert value == pytest.approx(estimators.dm(perfect.model()[1]))


weights_and_rewards = st.lists(
    st.tuples(st.floats(0.01, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    min_size=3,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(weights_and_rewards)
def test_bent_estimators_lie_between_their_ends(rows):
    weights, rewards, logged, policy = np.array(rows).T
    whole = estimators.dr(rewards, weights, logged, policy)
    # The ends of the path: all weights, and none.
    assert estimators.switch_dr(rewards, weights, logged, policy, np.inf) == pytest.approx(whole)
    assert estimators.switch_dr(rewards, weights, logged, policy, 0.0) == pytest.approx(
        estimators.dm(policy)
    )
    assert estimators.dr_os(rewards, weights, logged, policy, np.inf) == pytest.approx(whole)
    assert estimators.dr_os(rewards, weights, logged, policy, 0.0) == pytest.approx(
        estimators.dm(policy)
    )
    assert estimators.clipped_ips(rewards, weights, np.inf) == estimators.ips(rewards, weights)
    cap = float(np.median(weights))
    assert estimators.clipped_ips(rewards, weights, cap) <= estimators.ips(rewards, weights) + 1e-12
    assert rewards.min() - 1e-12 <= estimators.snips(rewards, weights) <= rewards.max() + 1e-12
    assert (estimators.shrink_weights(weights, 7.0) <= weights).all()


@settings(max_examples=40, deadline=None)
@given(weights_and_rewards, st.integers(0, 3))
def test_parts_give_the_estimators_and_influences_sum_to_zero(rows, extra):
    weights, rewards, logged, policy = np.array(rows).T
    terms = Terms(rewards, weights, logged, policy)
    constant = 1.0 + extra
    by_hand = {
        "ips": estimators.ips(rewards, weights),
        "clipped_ips": estimators.clipped_ips(rewards, weights, constant),
        "snips": estimators.snips(rewards, weights),
        "dm": estimators.dm(policy),
        "dr": estimators.dr(rewards, weights, logged, policy),
        "sndr": estimators.sndr(rewards, weights, logged, policy),
        "switch_dr": estimators.switch_dr(rewards, weights, logged, policy, constant),
        "dr_os": estimators.dr_os(rewards, weights, logged, policy, constant),
    }
    assert tuple(by_hand) == tuple(ESTIMATORS)
    for name, value in by_hand.items():
        pieces = estimators.parts(name, terms, constant)
        assert estimators.point(pieces, None) == pytest.approx(value)
        effects = estimators.influence(pieces, None)
        assert abs(effects.sum()) < 1e-9 * max(1.0, np.abs(effects).sum())


def test_rows_of_several_impressions_count_as_so_many_rows():
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 5, 40)
    weights, logged, policy = rng.random((3, 40)) + 0.1
    clicks = rng.binomial(trials, 0.4)
    together = Terms(clicks / trials, weights, logged, policy, trials.astype(float))
    apart_rewards = np.concatenate(
        [np.r_[np.ones(k), np.zeros(n - k)] for k, n in zip(clicks, trials, strict=True)]
    )
    apart = Terms(apart_rewards, *(np.repeat(x, trials) for x in (weights, logged, policy)))
    unit = np.repeat(np.arange(40), trials)
    one = value_terms({"p": together}, Bootstrap(None, 50, 0))["p"]
    two = value_terms({"p": apart}, Bootstrap(unit, 50, 0))["p"]
    for name in ESTIMATORS:
        if one[name].constant == two[name].constant:
            np.testing.assert_allclose(one[name].bootstrap, two[name].bootstrap, rtol=1e-9)
            np.testing.assert_allclose(one[name].normal, two[name].normal, rtol=1e-9)


def test_slope_stops_where_the_bias_shows():
    values = np.array([1.0, 1.1, 0.9, 0.2, 0.1])
    errors = np.array([0.3, 0.2, 0.1, 0.05, 0.02])
    # [0.4, 1.6], [0.7, 1.5], [0.7, 1.1], [0.1, 0.3]: the fourth meets none of the others.
    assert estimators.slope(values, errors) == 2
    assert estimators.slope(np.ones(4), np.full(4, 0.1)) == 3
    assert estimators.slope(np.array([0.0, 1.0]), np.array([0.1, 0.1])) == 0
    # Intervals reach two standard errors to each side: up to 0.2 and from 0.15, or from 0.25.
    assert estimators.slope(np.array([0.0, 0.35]), np.array([0.1, 0.1])) == 1
    assert estimators.slope(np.array([0.0, 0.45]), np.array([0.1, 0.1])) == 0
    assert estimators.slope(np.array([0.0, -0.35]), np.array([0.1, 0.1])) == 1
    assert estimators.slope(np.array([0.0, -0.45]), np.array([0.1, 0.1])) == 0


def test_the_standard_error_of_a_mean_is_the_textbooks():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    effects = estimators.influence([estimators.Part(values, None)], None)
    np.testing.assert_allclose(effects, (values - 4) / 4)
    # sqrt(s^2 / n) with s^2 = (9 + 4 + 0 + 25) / 3.
    assert estimators.standard_error(effects) == pytest.approx(np.sqrt(38 / 3 / 4))
    assert np.isnan(estimators.standard_error(effects[:1]))


def test_weights_of_a_usual_size_are_not_bent():
    weights = np.where(np.arange(300) % 3 == 0, 3.0, 0.0)
    assert estimators.candidates("switch_dr", weights).tolist() == [3.0]
    assert estimators.candidates("dr_os", weights).tolist() == [np.inf]
    heavy = np.r_[np.full(990, 0.9), np.full(10, 500.0)]
    grid = estimators.candidates("clipped_ips", heavy)
    assert grid[0] == 500.0
    assert (np.diff(grid) < 0).all()


@pytest.mark.parametrize(
    ("weights", "least"),
    [
        # sum w^2 / sum w = 11,000 / 1,100 = 10 is the usual size; three times that is let be.
        (np.r_[np.ones(1000), 100.0], 30.0),
        # 1,400 / 1,020 is small, and weights up to 10 are let be whatever is usual.
        (np.r_[np.ones(1000), 20.0], 10.0),
    ],
)
def test_constants_are_tried_from_the_largest_weight_down_to_usual_ones(weights, least):
    for name in ("clipped_ips", "switch_dr"):
        grid = estimators.candidates(name, weights)
        assert (len(grid), grid[0], grid[-1]) == (12, weights.max(), pytest.approx(least))
        np.testing.assert_allclose(grid[1:] / grid[:-1], (least / weights.max()) ** (1 / 11))
    shrinkage = estimators.candidates("dr_os", weights)
    assert shrinkage[0] == np.inf
    # lambda = 10 c^2 takes a weight of c down by one part in eleven.
    for constant, weight in zip(shrinkage[1:], grid, strict=True):
        shrunk = estimators.shrink_weights(np.array([weight]), constant)
        assert shrunk == pytest.approx(weight * 10 / 11)


def synthetic(rng, n):
    """A log with known truth: reward mean depends on context and action."""
    x = rng.random(n)
    logging = np.column_stack([0.2 + 0.6 * x, 0.8 - 0.6 * x])
    actions = (rng.random(n) > logging[:, 0]).astype(int)
    mean = np.column_stack([0.2 + 0.3 * x, 0.6 - 0.2 * x])
    rewards = (rng.random(n) < mean[np.arange(n), actions]).astype(float)
    target = np.column_stack([x, 1 - x])
    truth = 1 / 3 * 0.3 + 0.5 * 0.2 + (0.6 - 0.2 * 0.5) - (0.6 * 0.5 - 0.2 / 3)
    return x, actions, logging[np.arange(n), actions], rewards, target, mean, truth


def test_ips_and_dr_are_unbiased_and_a_wrong_model_biases_dm_alone():
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(300):
        _, actions, e, rewards, target, _, truth = synthetic(rng, 400)
        terms = terms_of(actions, e, rewards, target, np.full((400, 2), 0.9))
        w, model = terms.weights, terms.model()
        estimates.append(
            [
                estimators.ips(rewards, w),
                estimators.dr(rewards, w, *model),
                estimators.snips(rewards, w),
                estimators.sndr(rewards, w, *model),
                estimators.dm(model[1]),
            ]
        )
    means, errors = np.mean(estimates, axis=0), np.std(estimates, axis=0) / np.sqrt(300)
    assert (np.abs(means - truth)[:2] < 3.5 * errors[:2]).all()
    assert (np.abs(means - truth)[2:4] < 0.01).all()
    assert abs(means[4] - truth) > 0.3


def test_wrong_propensities_bias_ips_but_not_dr_with_the_true_model():
    rng = np.random.default_rng(1)
    _, actions, _, rewards, target, mean, truth = synthetic(rng, 200_000)
    terms = terms_of(actions, np.full(len(actions), 0.5), rewards, target, mean)
    assert abs(estimators.ips(rewards, terms.weights) - truth) > 0.01
    assert estimators.dr(rewards, terms.weights, *terms.model()) == pytest.approx(truth, abs=0.006)


def test_differences_are_paired_and_values_cover_the_truth():
    rng = np.random.default_rng(2)
    _, actions, e, rewards, target, mean, truth = synthetic(rng, 4000)
    shifted = 0.9 * target + 0.1 * np.array([0.0, 1.0])
    policies = {"a": target, "b": shifted, "same": target}
    terms = {name: terms_of(actions, e, rewards, p, mean) for name, p in policies.items()}
    valued = value_terms(terms, Bootstrap(None, 500, 0))
    for name in ESTIMATORS:
        value, low, high = valued["a"][name].bootstrap
        assert low < value < high
        assert low - 0.02 < truth < high + 0.02
        # A policy minus itself is exactly zero in every resample: the draws are shared.
        assert difference(valued["same"][name], valued["a"][name]) == (0.0, 0.0, 0.0)
        gap = difference(valued["b"][name], valued["a"][name])
        assert gap.high - gap.low < high - low
    assert valued["a"]["ips"].bootstrap.value == pytest.approx(
        estimators.ips(rewards, importance_weights(actions, e, target))
    )


def intervals(terms, **options):
    return value_terms({"p": terms}, Bootstrap(resamples=2000, **options), ("ips",))["p"]


def test_equal_rows_drawn_together_have_the_intervals_of_rows_drawn_apart():
    rng = np.random.default_rng(3)
    n = 6000
    rewards = (rng.random(n) < 0.02).astype(float)
    weights = rng.choice([0.5, 2.0], n)
    few = intervals(Terms(rewards, weights))["ips"]
    # A breath of noise makes every row another one, so that nothing can be put together.
    apart = intervals(Terms(rewards + 1e-12 * rng.random(n), weights))["ips"]
    np.testing.assert_allclose(few.normal, apart.normal, rtol=1e-6)
    width = few.normal.high - few.normal.low
    for found in (few, apart):
        assert found.bootstrap.low == pytest.approx(few.normal.low, abs=0.08 * width)
        assert found.bootstrap.high == pytest.approx(few.normal.high, abs=0.08 * width)


def test_many_rows_are_drawn_in_blocks_with_the_same_spread():
    rng = np.random.default_rng(4)
    terms = Terms(rng.random(120_000), 2 * rng.random(120_000))
    found = value_terms({"p": terms}, Bootstrap(None, 200, 0), ("ips",))["p"]["ips"]
    error = (found.normal.high - found.normal.low) / (2 * 1.96)
    assert found.draws.std() == pytest.approx(error, rel=0.2)


def test_users_are_the_unit_where_their_rows_are_alike():
    rng = np.random.default_rng(5)
    rewards = np.repeat(rng.random(200), 25)
    unit = np.repeat(np.arange(200), 25)
    rows = intervals(Terms(rewards, np.ones(5000)), seed=1)["ips"]
    users = intervals(Terms(rewards, np.ones(5000)), unit=unit, seed=1)["ips"]
    for kind in ("normal", "bootstrap"):
        wide, narrow = getattr(users, kind), getattr(rows, kind)
        assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(5, rel=0.1)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(6)
    hits = np.zeros((2, len(ESTIMATORS)))
    replications = 150
    for i in range(replications):
        _, actions, e, rewards, target, mean, truth = synthetic(rng, 500)
        terms = terms_of(actions, e, rewards, target, mean)
        found = value_terms({"p": terms}, Bootstrap(None, 200, i))["p"]
        for j, name in enumerate(ESTIMATORS):
            for row, ends in enumerate((found[name].bootstrap, found[name].normal)):
                hits[row, j] += ends.low <= truth <= ends.high
    # 150 logs: a true 95% lies below 0.89 once in a thousand.
    assert (hits / replications > 0.89).all()


def test_grouped_per_row_and_stored_numbers_agree(tmp_path):
    rng = np.random.default_rng(7)
    group, actions = rng.integers(0, 3, 5000), rng.integers(0, 4, 5000)
    policy_GA = rng.dirichlet(np.ones(4), 3)
    model_NA = rng.random((5000, 4))
    propensities, rewards = rng.uniform(0.1, 1, 5000), (rng.random(5000) < 0.1).astype(float)
    np.save(tmp_path / "policy.npy", policy_GA[group])
    np.save(tmp_path / "model.npy", model_NA)
    forms = [
        Grouped(policy_GA, group), PerRow(policy_GA[group]),
        OnDisk.open(tmp_path / "policy.npy"),
    ]  # fmt: skip
    models = [PerRow(model_NA), OnDisk.open(tmp_path / "model.npy")]
    expected = (policy_GA[group] * model_NA).sum(axis=1)
    some = np.array([3, 17, 4999])
    for form in forms:
        for model in models:
            terms = terms_of(actions, propensities, rewards, form, model)
            np.testing.assert_allclose(terms.model()[1], expected)
            quick = points(actions, propensities, rewards, form, model)
            for name, value in quick.items():
                assert value == pytest.approx(
                    estimators.point(estimators.parts(name, terms), None), rel=1e-10
                )
        assert ips_point(actions, propensities, rewards, form) == pytest.approx(quick["ips"])
        np.testing.assert_allclose(
            form.of_actions(actions[some], some), policy_GA[group[some], actions[some]]
        )


def test_a_file_that_is_no_table_of_floats_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "b.npy").write_text("no")
    with pytest.raises(UserError, match=r"a\.npy: save a C-ordered"):
        OnDisk.open(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"b\.npy cannot be read"):
        OnDisk.open(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("propensities", np.array([0.5, 0.0, 0.25, 0.5]), "row 1: propensity is 0.0"),
        ("propensities", np.array([0.5, 0.5, np.nan, 0.5]), "row 2: propensity is nan"),
        ("propensities", np.array([0.5, 0.5]), "4 actions but 2 propensities"),
        ("actions", np.array([0, 1, 2, 0]), "actions must be 4 indices below 2"),
        ("target", np.array([[1.0, 0.5]] * 4), "row 0: probabilities sum to 1.5, not 1"),
        ("target", np.array([[1.5, -0.5]] * 4), "row 0: a probability is negative"),
        ("outcomes", np.array([1.0, 0.0, np.nan, 1.0]), "row 2: the outcome is nan"),
        ("outcomes", np.ones(3), "4 actions but 3 outcomes"),
    ],
)
def test_logs_that_would_silently_mislead_are_refused(field, value, message):
    actions, propensities, outcomes, target = tiny_log()
    given = {"actions": actions, "propensities": propensities, "target": target}
    given = given | {"outcomes": outcomes} | {field: value}
    with pytest.raises(UserError, match=re.escape(message)):
        check_log(
            given["actions"], given["propensities"], given["target"], outcomes=given["outcomes"]
        )


def test_an_empty_log_is_refused():
    with pytest.raises(UserError, match="there is no row"):
        check_log(np.array([], int), np.array([]), np.empty((0, 2)))
