"""Aggregates over seeds and tasks, against rliable's definitions and own figures."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from copygym.core.errors import UserError
from copygym.evaluation import aggregate as ag

# Five and four seeds of three tasks, with ties between the two.
X = np.array(
    [[.96, .4, .06], [.02, 1.22, 1.37], [.91, 1.09, .82], [1.4, 1.22, 0], [1.29, .05, 1.09]]
)  # fmt: skip
Y = np.array([[0.96, 1.29, 0.81], [0.45, 0.63, 0.0], [0.19, 1.01, 0.97], [0.92, 0.58, 1.5]])
#: What rliable 1.2.0's `metrics` gives for X and Y.
RLIABLE = {
    "mean": (0.7933333333333333, 0.7758333333333333),
    "median": (0.7959999999999999, 0.8200000000000001),
    "iqm": (0.8633333333333334, 0.8116666666666666),
    "optimality_gap": (0.31866666666666665, 0.2908333333333335),
}


def matrices(most_tasks=4):
    values = st.floats(-5, 5, allow_nan=False, width=32)
    shapes = st.tuples(st.integers(2, 5), st.integers(1, most_tasks))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


@pytest.mark.parametrize("name", list(ag.STATISTICS))
def test_statistics_are_those_of_rliable(name):
    for scores, known in zip((X, Y), RLIABLE[name], strict=True):
        assert ag.STATISTICS[name](scores) == pytest.approx(known, rel=1e-12)


def test_probability_of_improvement_is_that_of_rliable():
    assert ag.probability_of_improvement(X, Y) == pytest.approx(0.5333333333333333, rel=1e-12)
    assert ag.probability_of_improvement(Y, X) == pytest.approx(0.4666666666666666, rel=1e-12)
    # The case of rliable's own test.
    first = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
    second = np.array([[1, 1], [2, 2], [3, 3]])
    assert ag.probability_of_improvement(first, second) == pytest.approx(1 / 3)


def test_agrees_with_rliable_where_it_is_installed():
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    rng = np.random.default_rng(0)
    for seeds, tasks in ((2, 1), (3, 5), (10, 7)):
        x = np.round(rng.normal(size=(seeds, tasks)), 1)
        y = np.round(rng.normal(size=(seeds + 1, tasks)), 1)
        for name, theirs in (
            ("mean", metrics.aggregate_mean),
            ("median", metrics.aggregate_median),
            ("iqm", metrics.aggregate_iqm),
            ("optimality_gap", metrics.aggregate_optimality_gap),
        ):
            assert ag.STATISTICS[name](x) == pytest.approx(theirs(x))
        theirs = metrics.probability_of_improvement(x, y)
        assert ag.probability_of_improvement(x, y) == pytest.approx(theirs)


def test_iqm_by_hand():
    # Eight runs: the two lowest and the two highest are left out.
    scores = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 100.0]])
    assert ag.iqm(scores) == pytest.approx((2 + 3 + 4 + 5) / 4)
    # Of five runs a quarter is one and a bit: one is left out at each end.
    assert ag.iqm(np.array([[0.0], [1.0], [2.0], [3.0], [50.0]])) == pytest.approx(2.0)


def test_the_optimality_gap_counts_nothing_above_the_threshold():
    scores = np.array([[0.5, 3.0], [1.0, 0.0]])
    assert ag.optimality_gap(scores) == pytest.approx((0.5 + 0 + 0 + 1) / 4)
    assert ag.optimality_gap(scores, threshold=3.0) == pytest.approx((2.5 + 0 + 2 + 3) / 4)


def test_the_profile_is_the_share_of_runs_above_each_threshold():
    scores = np.array([[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_allclose(
        ag.performance_profile(scores, np.array([-1.0, 0.0, 0.5, 0.7, 1.0])),
        [1.0, 0.75, 0.25, 0.25, 0.0],
    )


@given(matrices(), matrices(most_tasks=1))
def test_invariants_of_a_single_matrix(scores, other):
    low, high = scores.min(), scores.max()
    for name in ("mean", "median", "iqm"):
        value = ag.STATISTICS[name](scores)
        assert low - 1e-9 <= value <= high + 1e-9
        # Shifted and scaled scores give shifted and scaled statistics.
        assert ag.STATISTICS[name](2 * scores + 3) == pytest.approx(2 * value + 3, abs=1e-9)
    assert ag.optimality_gap(scores, threshold=high) >= -1e-12
    profile = ag.performance_profile(scores, np.linspace(low - 1, high, 7))
    assert profile[0] == 1 and profile[-1] == 0 and (np.diff(profile) <= 0).all()
    first = scores[:, :1]
    there, back = (
        ag.probability_of_improvement(*pair) for pair in ((first, other), (other, first))
    )
    assert there + back == pytest.approx(1.0)
    assert ag.probability_of_improvement(scores, scores) == pytest.approx(0.5)


@given(matrices())
def test_statistics_of_a_stack_are_those_of_its_layers(scores):
    stack = np.stack([scores, scores + 1, -scores])
    at = np.array([-0.5, 0.0, 0.5])
    for statistic in (*ag.STATISTICS.values(), lambda s: ag.performance_profile(s, at)):
        np.testing.assert_allclose(statistic(stack), [statistic(layer) for layer in stack])


def test_seeds_are_drawn_anew_within_each_task():
    # Each score tells its seed and task.
    scores = np.arange(4)[:, None] + 10.0 * np.arange(3)
    drawn = ag.stratified_bootstrap(scores, 500, np.random.default_rng(0))
    assert drawn.shape == (500, 4, 3)
    np.testing.assert_array_equal(drawn // 10, np.broadcast_to(np.arange(3.0), drawn.shape))
    # Within a resample tasks have seeds of their own; over resamples every seed is drawn.
    assert (drawn[:, :, 0] % 10 != drawn[:, :, 1] % 10).any()
    assert np.unique(drawn % 10).tolist() == [0, 1, 2, 3]


def test_bootstrap_of_the_mean_has_the_known_spread():
    scores = np.random.default_rng(1).normal(size=(12, 5))
    drawn = ag.bootstrap(ag.mean, scores, resamples=20_000, seed=0)
    # Variance of a mean of T independent means of R draws from a finite sample.
    expected = np.sqrt((scores.var(axis=0) / 12).sum()) / 5
    assert drawn.std() == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx(scores.mean(), abs=4 * expected / np.sqrt(20_000))


def test_the_draws_do_not_depend_on_the_size_of_chunks(monkeypatch):
    whole = ag.bootstrap(ag.iqm, X, resamples=50, seed=3)
    monkeypatch.setattr(ag, "_CELLS", 7 * X.size)
    np.testing.assert_array_equal(ag.bootstrap(ag.iqm, X, resamples=50, seed=3), whole)


def test_intervals_hold_the_value_and_follow_the_seed():
    found = ag.aggregate(X, resamples=500, seed=1)
    assert list(found) == list(ag.STATISTICS)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high
    assert ag.aggregate(X, resamples=500, seed=1) == found
    assert ag.aggregate(X, resamples=500, seed=2) != found


def test_the_interval_of_equal_seeds_is_a_point():
    scores = np.tile([0.2, 0.6, 1.0], (4, 1))
    assert ag.aggregate(scores, ["mean"], resamples=50)["mean"] == pytest.approx((0.6, 0.6, 0.6))


def test_improvement_of_the_better_learner():
    better = ag.improvement(X + 2, Y, resamples=200)
    assert tuple(better) == (1.0, 1.0, 1.0)
    unclear = ag.improvement(X, Y, resamples=500)
    assert unclear.low < 0.5 < unclear.high


@pytest.mark.slow
def test_the_interval_of_the_iqm_covers():
    rng = np.random.default_rng(0)
    truth = ag.iqm(rng.normal(size=(200_000, 1)) + np.arange(4.0))
    hits = 0
    for seed in range(300):
        scores = rng.normal(size=(10, 4)) + np.arange(4.0)
        found = ag.aggregate(scores, ["iqm"], resamples=400, seed=seed)["iqm"]
        hits += found.low <= truth <= found.high
    # The percentile interval of ten seeds is a little narrow.
    assert 0.87 <= hits / 300 <= 0.98


def test_scores_by_task_become_a_matrix():
    np.testing.assert_array_equal(
        ag.score_matrix({"a": [1, 2, 3], "b": [4, 5, 6]}), [[1, 4], [2, 5], [3, 6]]
    )


def test_normalised_scores_are_0_and_1_at_the_references():
    low, high = np.array([1.0, -2.0]), np.array([3.0, 2.0])
    np.testing.assert_allclose(ag.normalise(np.stack([low, high]), low, high), [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ag.score_matrix({}, "ppo"), "ppo has no task; give each task's scores"),
        (
            lambda: ag.score_matrix({"a": [1, 2], "b": [1, 2, 3]}, "ppo"),
            "ppo has 2 seeds on task a and 3 on task b; run every task with the same seeds.",
        ),
        (
            lambda: ag.score_matrix({"a": [1, 2], "b": [1, np.nan]}, "ppo"),
            "ppo, seed 1, task b: the score is nan; a run that failed must be repeated",
        ),
        (lambda: ag.aggregate(np.array([[1, np.inf], [0, 0]])), "seed 0, task 1: the score is inf"),
        (lambda: ag.aggregate(np.zeros(3)), "scores has shape (3,); give one row per seed"),
        (lambda: ag.aggregate(np.zeros((0, 3))), "scores has shape (0, 3); give one row per seed"),
        (lambda: ag.aggregate(np.ones((1, 3))), "needs at least 2 seeds and there is 1"),
        (lambda: ag.aggregate(X, ["mode"]), "unknown statistic 'mode': choose one of iqm, mean"),
        (lambda: ag.improvement(X, Y[:, :2]), "the first has 3 tasks and the second 2"),
        (lambda: ag.same_tasks({"x": X, "y": Y[:, :2]}), "x has 3 tasks and y has 2"),
        (lambda: ag.same_tasks({}), "there is no learner to aggregate"),
        (
            lambda: ag.normalise(X, np.zeros(3), np.array([1, 0, 1])),
            "task 1: the scores that count as 0 and 1 are equal",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_sentence(call, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        call()
