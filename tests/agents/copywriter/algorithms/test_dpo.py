import math
import re

import numpy as np
import pytest

from copygym.agents.copywriter.algorithms.dpo import DPO
from copygym.agents.copywriter.training.feedback import Preferences
from copygym.core.errors import UserError


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


@pytest.fixture
def pairs(rows):
    better = [f"the offer {'the ' * (i % 3)}ends today" for i in range(len(rows))]
    return rows, better, ["every people money"] * len(rows)


@pytest.fixture
def rounds(monkeypatch):
    """What each round hands to the trainer, which then does nothing."""
    seen = []

    def fit(self, run, writer, optimizer, pairs, seed):
        seen.append(pairs)
        return pairs.numbers

    monkeypatch.setattr(DPO, "_fit", fit)
    return seen


def test_pairs_from_a_log_never_ask_the_reward(copywriter, pairs):
    rows, better, worse = pairs
    trained = DPO(tasks=4, batch=4, learning_rate=5e-3).train(
        copywriter, rows, Preferences(better, worse), samples=4 * len(pairs[1]), seed=0
    )

    assert trained.info["pairs"] == "given, from a log"
    assert trained.spent.samples == 0
    assert trained.spent.trained > 0
    assert len(trained.history) == 6
    assert all("reward" not in line for line in trained.history)


def test_the_log_s_better_text_becomes_more_likely_than_its_worse(copywriter, pairs):
    rows, better, worse = pairs
    trained = DPO(tasks=12, batch=6, learning_rate=5e-3).train(
        copywriter, rows, Preferences(better, worse), samples=8 * len(better), seed=0
    )

    def margin(writer):
        return (writer.logprobs(better, rows)[0] - writer.logprobs(worse, rows)[0]).mean()

    assert margin(trained.writer) > margin(copywriter) + 1.0
    assert trained.history[-1]["accuracy"] == 1.0


def test_the_first_loss_is_that_of_a_fair_coin(copywriter, pairs):
    rows, better, worse = pairs
    trained = DPO(tasks=4, batch=4).train(
        copywriter, rows, Preferences(better, worse), samples=8, seed=0
    )

    assert trained.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert trained.history[0]["margin"] == pytest.approx(0.0, abs=1e-5)


def test_the_log_s_texts_are_our_tokens_and_keep_their_rows(rounds, copywriter, pairs):
    rows, better, worse = pairs
    used = []
    DPO(tasks=5).train(
        copywriter, rows, Preferences(better, worse), samples=4 * len(better), seed=0,
        on_progress=lambda texts, line: used.append(texts),
    )  # fmt: skip
    found = [
        (prompt, tuple(good), tuple(bad))
        for part in rounds
        for prompt, good, bad in zip(part.rows.prompts, part.better, part.worse, strict=True)
    ]
    ids = copywriter.style.response_ids
    expected = [
        (prompt, tuple(ids(good, 12)), tuple(ids(bad, 12)))
        for prompt, good, bad in zip(rows.prompts, better, worse, strict=True)
    ]

    assert [len(part.rows) for part in rounds] == [5, 5, 5, 5, 4]
    # Two texts a pair are used up of the budget.
    assert used == [10, 20, 30, 40, 48]
    assert sorted(found) == sorted(expected * 2)
    assert all(row[-1] == copywriter.style.eos_id for part in rounds for row in part.worse)


def test_drawn_pairs_are_the_reward_s_best_and_worst_of_a_task(rounds, copywriter, rows):
    asked, dull = {}, rows.prompts[0]

    def reward(texts, rows):
        for text, prompt in zip(texts, rows.prompts, strict=True):
            asked.setdefault(prompt, []).append(text)
        # The texts of one task score alike, which says nothing of them.
        return count_the(texts, rows) * np.array([prompt != dull for prompt in rows.prompts])

    def score(text):
        return text.split().count("the")

    trained = DPO(tasks=6, group=4).train(
        copywriter, rows.take(range(6)), reward, samples=24, seed=0
    )
    decode = copywriter.style.decode

    assert trained.info["pairs"] == "drawn from the writer"
    told = {
        prompt
        for prompt, texts in asked.items()
        if prompt != dull and len(set(map(score, texts))) > 1
    }
    assert len(asked) == 6
    assert set(rounds[0].rows.prompts) == told != set()
    for prompt, good, bad in zip(
        rounds[0].rows.prompts, rounds[0].better, rounds[0].worse, strict=True
    ):
        assert {decode(good), decode(bad)} <= set(asked[prompt])
        scores = [score(text) for text in asked[prompt]]
        assert (score(decode(good)), score(decode(bad))) == (max(scores), min(scores))


def test_texts_that_score_alike_make_no_pair_and_change_nothing(copywriter, rows):
    trained = DPO(tasks=4, group=4).train(
        copywriter, rows, lambda texts, rows: np.zeros(len(texts)), samples=32, seed=0
    )

    assert [line["n_pairs"] for line in trained.history] == [0.0, 0.0]
    assert trained.spent.trained == 0
    assert trained.writer.write(rows, seed=0) == copywriter.write(rows, seed=0)


def test_a_checkpoint_of_other_pairs_is_refused(copywriter, pairs, tmp_path):
    rows, better, worse = pairs
    settings = {"tasks": 6, "batch": 6}
    options = {"samples": 1, "seed": 0, "folder": tmp_path}
    DPO(**settings).train(copywriter, rows, Preferences(better, worse), **options)

    with pytest.raises(UserError, match="is a checkpoint of other settings: feedback was"):
        DPO(**settings).train(copywriter, rows, Preferences(worse, better), **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": 0}, "tasks is 0; it must be at least 1."),
        ({"group": 1}, "group is 1; a pair needs at least 2 texts."),
        ({"beta": 0.0}, "beta is 0.0; DPO needs a positive one."),
        ({"loss_type": "kto"}, "unknown loss_type 'kto': choose one of hinge, ipo, sigmoid."),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        DPO(**settings)


def test_a_kl_that_nobody_could_see_is_refused(copywriter, pairs):
    rows, better, worse = pairs
    with pytest.raises(UserError, match="max_kl is 1, but DPO writes no texts"):
        DPO(max_kl=1.0).train(copywriter, rows, Preferences(better, worse), samples=8, seed=0)
    assert DPO(max_kl=1.0).max_kl == 1.0
