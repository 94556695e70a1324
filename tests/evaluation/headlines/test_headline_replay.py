import math
import re

import numpy as np
import pytest
from scipy.stats import binom

from copygym.core.errors import UserError
from copygym.envs.people.kernel import _uniform
from copygym.evaluation.headlines import replay
from copygym.evaluation.headlines.kernel import _EXPLORE, _TIE

MASK = np.array([[True, True, True], [True, True, False]])
TRUTH = np.array([[0.1, 0.2, 0.3], [0.6, 0.2, 0.0]])
PREDICTION = np.array([[0.1, 0.3, 0.2], [0.5, 0.3, 0.0]])
PRIOR = replay.Prior(mean=0.2, strength=10.0)
ADAPTIVE = [n for n in replay.POLICIES if n not in ("uniform", "prediction", "best_fixed")]


def padded(mask=MASK, prediction=PREDICTION):
    return replay.Tests(100.0 * mask, 10.0 * mask, mask, prediction)


def run(name, horizons=(5, 50), seed=0, truth=TRUTH, mask=MASK, prediction=PREDICTION, **options):
    """Return clicks per impression of each headline, by test and horizon."""
    tests = padded(mask, prediction)
    settings = replay.Settings(**options)
    return replay.replay(name, tests, truth, list(horizons), PRIOR, settings, seed)


def many(array, n=200):
    return np.repeat(array, n, axis=0)


def reference(truth, prediction, key, horizon, z, n_aux, two_bounds, epsilon):
    """Return the value of one test by LOLA's formulas as they are printed, step by step."""
    arms = len(truth)
    n, c = np.ones(arms), np.zeros(arms)
    value = 0.0
    for t in range(horizon * arms):
        log = math.log(t + 2)
        first = c / n + z * np.sqrt(log / n)
        second = (c + n_aux * prediction) / (n + n_aux) + z * np.sqrt(log / (n + n_aux))
        index = np.round(np.minimum(first, second) if two_bounds else second, 12)
        shown = 0
        for ties, a in enumerate(np.flatnonzero(index == index.max()), 1):
            if ties == 1 or _uniform(key, t, _TIE + int(a)) * ties < 1:
                shown = a
        if _uniform(key, t, _EXPLORE) < epsilon:
            shown = int(_uniform(key, t, _EXPLORE + 1) * arms)
        value += truth[shown]
        c[shown] += _uniform(key, int(n[shown]), int(shown)) < truth[shown]
        n[shown] += 1
    return value / horizon


@pytest.mark.parametrize(
    ("name", "n_aux", "two_bounds", "epsilon"),
    [
        ("ucb", 0, True, 0.0),
        ("lola", 40, True, 0.0),
        ("prior_ucb", 40, False, 0.0),
        ("epsilon_greedy", 0, True, 0.3),
    ],
)
def test_index_policies_follow_the_printed_formulas(name, n_aux, two_bounds, epsilon):
    # Close rates and wide bounds, so that a slip in either changes what is shown.
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.4, size=(6, 4))
    prediction = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0.01, 0.9)
    mask = np.ones_like(truth, bool)
    values = run(name, (100,), 3, truth, mask, prediction, z=0.3, n_aux=40, epsilon=0.3)
    keys = np.random.default_rng(3).integers(0, 2**64, size=6, dtype=np.uint64)
    z = 0.0 if name == "epsilon_greedy" else 0.3
    for b in range(6):
        expected = reference(truth[b], prediction[b], keys[b], 100, z, n_aux, two_bounds, epsilon)
        assert values[b, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["thompson", "prior_thompson"])
def test_thompson_sampling_has_the_mean_of_a_plain_one(name):
    n, horizon, n_aux = 4000, 40, 10.0 if name == "prior_thompson" else 0.0
    truth, prediction = np.array([0.1, 0.3]), np.array([0.3, 0.2])
    rng = np.random.default_rng(9)
    alpha = np.tile(PRIOR.strength * PRIOR.mean + n_aux * prediction, (n, 1))
    beta = np.tile(PRIOR.strength * (1 - PRIOR.mean) + n_aux * (1 - prediction), (n, 1))
    rows, value = np.arange(n), np.zeros(n)
    for _ in range(2 * horizon):
        shown = rng.beta(alpha, beta).argmax(axis=1)
        value += truth[shown]
        click = rng.random(n) < truth[shown]
        alpha[rows, shown] += click
        beta[rows, shown] += ~click
    value /= horizon
    tables = [np.tile(row, (n, 1)) for row in (truth, prediction)]
    mask = np.ones((n, 2), bool)
    found = run(name, (horizon,), 1, tables[0], mask, tables[1], n_aux_thompson=10)[:, 0]
    error = np.sqrt((value.var() + found.var()) / n)
    assert found.mean() == pytest.approx(value.mean(), abs=4 * error)


def test_padding_groups_arms_and_drops_tests_without_a_choice():
    names = np.array(["b", "a", "b", "c", "d", "d"])
    tests = replay.pad_tests(
        names,
        np.array([10, 20, 30, 40, 5, 5]),
        np.array([1, 2, 3, 4, 0, 0]),
        np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    )
    # a and c have one arm, d has no click.
    assert len(tests) == 1
    np.testing.assert_array_equal(tests.impressions_BA, [[10, 30]])
    np.testing.assert_array_equal(tests.prediction_BA, [[0.1, 0.3]])
    np.testing.assert_array_equal(replay.observed_rates(tests), [[0.1, 0.1]])


@pytest.mark.parametrize(
    "rows",
    [
        ([], [], []),
        (["a"], [10], [1]),
        (["a", "b"], [10, 10], [1, 1]),
        (["a", "a"], [10, 10], [0, 0]),
    ],
    ids=["no test", "one arm", "one-arm tests", "no click"],
)
def test_no_usable_test_is_a_user_error(rows):
    with pytest.raises(UserError, match=re.escape("no test with two arms and a click")):
        replay.pad_tests(*(np.array(column) for column in rows))


def test_padding_before_an_arm_is_a_bug():
    with pytest.raises(ValueError, match="padding before an arm"):
        padded(MASK[:, ::-1])


def test_policies_that_never_change_have_closed_forms():
    # Three and two headlines: an impression of each is 3 or 2 impressions.
    np.testing.assert_allclose(run("uniform"), [[0.6, 0.6], [0.8, 0.8]])
    np.testing.assert_allclose(run("best_fixed"), [[0.9, 0.9], [1.2, 1.2]])
    np.testing.assert_allclose(run("prediction"), [[0.6, 0.6], [1.2, 1.2]])
    tied = run("prediction", prediction=0.2 * MASK)
    np.testing.assert_allclose(tied, run("uniform"))


@pytest.mark.parametrize("name", list(replay.POLICIES))
def test_every_policy_stays_between_the_worst_and_the_best_arm(name):
    values = run(name, n_aux=20)
    assert values.shape == (2, 2)
    assert (values >= np.array([[3 * 0.1], [2 * 0.2]]) - 1e-12).all()
    assert (values <= np.array([[3 * 0.3], [2 * 0.6]]) + 1e-12).all()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_learning_policies_beat_uniform_and_gain_with_traffic(name):
    prediction = np.zeros_like(PREDICTION)
    values = run(
        name, (10, 300), truth=many(TRUTH), mask=many(MASK), prediction=many(prediction),
        n_aux=0, n_aux_thompson=0, z=0.3,
    ).mean(axis=0)  # fmt: skip
    assert values[1] > 0.7 + 0.1
    assert values[1] > values[0]


def test_a_prediction_that_counts_for_nothing_changes_nothing():
    plain = run("ucb")
    np.testing.assert_array_equal(run("lola", n_aux=0), plain)
    np.testing.assert_array_equal(run("prior_ucb", n_aux=0), plain)
    np.testing.assert_array_equal(run("prior_thompson", n_aux_thompson=0), run("thompson"))


def test_a_prediction_that_counts_for_all_is_followed():
    np.testing.assert_allclose(run("prior_ucb", n_aux=1e12), run("prediction"))
    np.testing.assert_allclose(run("prior_thompson", n_aux_thompson=1e9), run("prediction"))


@pytest.mark.parametrize("name", ["lola", "prior_ucb", "prior_thompson"])
def test_a_right_prediction_helps_early(name):
    rng = np.random.default_rng(0)
    truth = rng.beta(20, 1500, size=(400, 4))
    mask = np.ones_like(truth, bool)
    plain = "thompson" if name == "prior_thompson" else "ucb"
    right, without = (
        run(n, (50, 400), truth=truth, mask=mask, prediction=truth) for n in (name, plain)
    )
    assert (right.mean(axis=0) > 1.03 * without.mean(axis=0)).all()
    wrong = run(name, (50, 400), truth=truth, mask=mask, prediction=truth[:, ::-1].copy())
    assert (wrong.mean(axis=0) < right.mean(axis=0)).all()


def test_lola_distrusts_a_prediction_that_is_far_too_high():
    # One headline is predicted at 100%, and is never clicked: one bound keeps on showing it.
    truth, prediction = many(np.array([[0.0, 0.1]])), many(np.array([[1.0, 0.1]]))
    mask = np.ones_like(truth, bool)
    lola, one_bound = (
        run(n, (300,), truth=truth, mask=mask, prediction=prediction) for n in ("lola", "prior_ucb")
    )
    assert one_bound.mean() < 0.02
    assert lola.mean() > 0.15


def test_explore_then_commit_by_hand():
    # Rates of 0 and 1 leave nothing to luck: 1 of 5 pulls each, then all on the good arm.
    truth, mask = np.array([[0.0, 1.0]]), np.array([[True, True]])
    value = run("explore_then_commit", (5,), truth=truth, mask=mask, prediction=truth)
    assert value[0, 0] == pytest.approx((1 + 8) / 5)
    # Tied arms share the rest.
    truth = np.array([[1.0, 1.0, 0.0]])
    mask = np.ones_like(truth, bool)
    value = run("explore_then_commit", (10,), truth=truth, mask=mask, prediction=truth, explore=0.5)
    assert value[0, 0] == pytest.approx((2 * 5 + 15) / 10)


def test_explore_then_commit_has_its_expected_value():
    p, q, horizon, pulls = 0.1, 0.2, 50, 10
    first, second = np.meshgrid(np.arange(pulls + 1), np.arange(pulls + 1), indexing="ij")
    weight = binom.pmf(first, pulls, p) * binom.pmf(second, pulls, q)
    rate = np.where(first > second, p, np.where(first < second, q, (p + q) / 2))
    expected = (pulls * (p + q) + 2 * (horizon - pulls) * (weight * rate).sum()) / horizon
    truth = np.tile([p, q], (20_000, 1))
    values = run("explore_then_commit", (horizon,), truth=truth, mask=truth > 0, prediction=truth)[
        :, 0
    ]
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(20_000))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_padding_never_gets_an_impression(name):
    wide = np.hstack([np.where(MASK, TRUTH, 1.0), np.ones((2, 2))])
    mask = np.hstack([MASK, np.zeros((2, 2), bool)])
    prediction = np.hstack([np.where(MASK, PREDICTION, 1.0), np.ones((2, 2))])
    np.testing.assert_array_equal(
        run(name, truth=wide, mask=mask, prediction=prediction), run(name)
    )


@pytest.mark.parametrize("name", ["ucb", "lola", "prior_thompson", "explore_then_commit"])
def test_a_horizon_does_not_depend_on_the_others(name):
    together = run(name, (5, 20, 50))
    # Thompson sampling's draws for the first test are the same up to each horizon.
    for g, horizon in enumerate((5, 20, 50)):
        assert together[0, g] == pytest.approx(run(name, (horizon,))[0, 0])


def test_same_seed_same_numbers():
    for name in ADAPTIVE:
        options = {"n_aux": 5, "n_aux_thompson": 5}
        first = run(name, seed=4, **options)
        np.testing.assert_array_equal(run(name, seed=4, **options), first)
        assert (run(name, seed=5, **options) != first).any()


def test_policies_meet_the_same_luck():
    # Twins share each test's luck, so that their difference varies less than without.
    truth, mask = many(TRUTH[:1], 400), many(MASK[:1], 400)
    prediction = many(PREDICTION[:1], 400)
    first = run("ucb", (100,), 1, truth, mask, prediction)
    same = run("lola", (100,), 1, truth, mask, prediction, n_aux=5)
    other = run("lola", (100,), 2, truth, mask, prediction, n_aux=5)
    assert (same - first).std() < 0.8 * (other - first).std()


def simulated_tests(spread, n=4000, impressions=2000):
    rng = np.random.default_rng(0)
    strength = 1 / spread - 1
    p = rng.uniform(0.05, 0.1, size=(n, 1))
    rates = rng.beta(strength * p, strength * (1 - p), size=(n, 4))
    shown = np.full((n, 4), float(impressions))
    clicks = rng.binomial(impressions, rates).astype(float)
    return replay.Tests(shown, clicks, np.ones((n, 4), bool), rates), rates, strength


def test_strength_is_recovered_and_shrinkage_is_nearer_the_truth():
    tests, rates, strength = simulated_tests(1 / 501)
    assert replay.within_test_strength(tests) == pytest.approx(strength, rel=0.1)
    error = ((replay.observed_rates(tests) - rates) ** 2).mean()
    assert ((replay.shrunken_rates(tests) - rates) ** 2).mean() < 0.9 * error


def test_arms_that_do_not_differ_are_shrunk_to_one_rate():
    shown = np.full((50, 2), 100.0)
    mask = np.ones((50, 2), bool)
    tests = replay.Tests(shown, np.full((50, 2), 7.0), mask, np.zeros((50, 2)))
    assert np.isinf(replay.within_test_strength(tests))
    np.testing.assert_allclose(replay.shrunken_rates(tests), 0.07)


def test_the_prior_is_that_of_the_arms():
    rng = np.random.default_rng(0)
    rates = rng.beta(1.4, 96, size=(5000, 4))
    shown = np.full(rates.shape, 3000.0)
    clicks = rng.binomial(3000, rates).astype(float)
    prior = replay.fit_prior(replay.Tests(shown, clicks, rates > 0, rates))
    assert prior.mean == pytest.approx(1.4 / 97.4, rel=0.03)
    assert prior.strength == pytest.approx(97.4, rel=0.05)


def test_unknown_policy_lists_the_choices():
    with pytest.raises(
        UserError, match=re.escape("unknown policy 'ucb2' (did you mean 'ucb'?): choose one of")
    ):
        run("ucb2")


@pytest.mark.parametrize("horizons", [(), (0, 5), (5, 2)])
def test_horizons_out_of_order_are_a_bug(horizons):
    with pytest.raises(ValueError, match="horizons must be ascending and at least 1"):
        run("ucb", horizons)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("z", -0.1, "replay.z is -0.1; it must be a number of at least 0."),
        ("n_aux", float("nan"), "replay.n_aux is nan; it must be a number of at least 0."),
        ("explore", 1.0, "replay.explore is 1.0; it must lie in (0, 1)."),
        ("epsilon", 2.0, "replay.epsilon is 2.0; it must lie in [0, 1]."),
    ],
)
def test_settings_out_of_range_are_refused(option, value, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        replay.Settings(**{option: value})
