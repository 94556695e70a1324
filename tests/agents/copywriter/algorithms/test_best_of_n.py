import itertools
import math
import re

import numpy as np
import pytest

from copygym.agents.copywriter.algorithms.best_of_n import (
    BestOfN,
    BestOfNWriter,
    best_of_n_kl,
    favourite_weights,
    worth_by_n,
)
from copygym.core.errors import UserError


def count_e(texts, rows):
    return np.array([text.count("e") for text in texts], dtype=float)


def test_kl_of_the_best_of_n_is_the_closed_form():
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_n_kl(16) == pytest.approx(1.8350887)


def test_kl_agrees_with_a_distribution_worked_out_by_hand():
    # Four equally likely texts with different rewards: P(best of 2 is rank i) = (2 i - 1) / 16.
    probability = np.array([1, 3, 5, 7]) / 16
    kl = float((probability * np.log(probability / 0.25)).sum())

    # With few texts draws coincide, and the formula is an upper bound.
    assert 0.5 * best_of_n_kl(2) < kl < best_of_n_kl(2)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 1), (4, 2), (5, 3), (6, 6)])
def test_favourite_weights_are_the_shares_of_all_subsets(n, k):
    shares = np.zeros(n)
    subsets = list(itertools.combinations(range(n), k))
    for subset in subsets:
        shares[max(subset)] += 1 / len(subsets)

    np.testing.assert_allclose(favourite_weights(n, k), shares)


def test_worth_follows_the_reward_and_reports_the_judge_of_the_same_texts():
    scores = np.array([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]])
    lines = worth_by_n(scores, -scores)

    assert [line["n"] for line in lines] == [1.0, 2.0, 4.0]
    # Mean; mean of the larger of two out of four: (1 + 2*2 + 3*3) / 6 ... by ranks 1, 2, 3 of 6.
    np.testing.assert_allclose([line["reward"] for line in lines], [1.5, 14 / 6, 3.0])
    np.testing.assert_allclose([line["judge"] for line in lines], [-1.5, -14 / 6, -3.0])


def test_an_n_that_is_no_power_of_two_is_reported_too():
    assert [line["n"] for line in worth_by_n(np.zeros((1, 6)), None)] == [1.0, 2.0, 4.0, 6.0]


def test_the_writer_keeps_the_favourite_of_the_base_writers_own_draws(copywriter, rows):
    writer = BestOfNWriter(copywriter, count_e, n=4)
    texts = writer.write(rows, seed=3, samples=2)
    draws = copywriter.write(rows, seed=3, samples=8)
    groups = [draws[i : i + 4] for i in range(0, len(draws), 4)]

    assert texts == [max(group, key=lambda text: text.count("e")) for group in groups]
    assert len(texts) == 2 * len(rows)


def test_the_reward_sees_the_row_of_each_draw(copywriter, rows):
    seen = []

    def watch(texts, rows):
        seen.extend(rows.prompts)
        return np.zeros(len(texts))

    BestOfNWriter(copywriter, watch, n=3).write(rows, seed=0)

    assert seen == [prompt for prompt in rows.prompts for _ in range(3)]


def test_other_readers_tasks_have_another_reward(copywriter, rows):
    writer = BestOfNWriter(copywriter, count_e, n=4)
    writer.write(rows, seed=0)
    other = writer.with_reward(lambda texts, rows: -count_e(texts, rows))

    assert other.spent.samples == 0
    draws = copywriter.write(rows, seed=3, samples=4)
    groups = [draws[i : i + 4] for i in range(0, len(draws), 4)]
    assert other.write(rows, seed=3) == [min(g, key=lambda text: text.count("e")) for g in groups]


def test_writing_is_billed(copywriter, rows):
    writer = BestOfNWriter(copywriter, count_e, n=4)
    writer.write(rows, seed=0)
    once = writer.spent
    writer.write(rows, seed=1)

    assert once.samples == 4 * len(rows)
    assert once.generated > 4 * len(rows)
    assert once.trained == 0
    assert once.cpu_seconds > 0
    assert writer.spent.samples == 2 * once.samples


def test_the_judge_picks_the_n(copywriter, rows):
    trained = BestOfN(n=8).train(
        copywriter,
        rows,
        count_e,
        samples=64,
        seed=0,
        judge=lambda texts, rows: -count_e(texts, rows),
        judge_rows=rows,
    )

    assert trained.writer.n == 1
    assert trained.info["n"] == 1.0
    assert trained.stopped == "the judge likes the best of 1 most"


def test_without_a_judge_n_is_given(copywriter, rows):
    trained = BestOfN(n=8).train(copywriter, rows, count_e, samples=64, seed=0)

    assert trained.writer.n == 8
    assert trained.info["kl"] == pytest.approx(best_of_n_kl(8))
    rewards = [line["reward"] for line in trained.history]
    assert rewards == sorted(rewards)
    assert rewards[-1] > rewards[0] + 0.5


def test_a_budget_smaller_than_n_is_refused(copywriter, rows):
    message = "the budget of 7 samples is smaller than n 8; raise samples or lower n."
    with pytest.raises(UserError, match=re.escape(message)):
        BestOfN(n=8).train(copywriter, rows, count_e, samples=7, seed=0)


def test_no_draws_are_refused():
    with pytest.raises(UserError, match=re.escape("n is 0; best-of-n draws at least 1 text.")):
        BestOfN(n=0)


def test_a_best_of_n_writer_cannot_be_trained(copywriter, rows):
    writer = BestOfNWriter(copywriter, count_e, n=2)
    message = "a BestOfNWriter has no weights to train; give the Copywriter behind it."
    with pytest.raises(UserError, match=re.escape(message)):
        BestOfN(n=2).train(writer, rows, count_e, samples=8, seed=0)
