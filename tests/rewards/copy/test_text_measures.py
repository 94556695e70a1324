"""Text measures: closed forms, and an independent BLEU."""

import math
import re

import numpy as np
import pytest

from copygym.envs.base import default_users
from copygym.envs.copywriting import draw_tasks
from copygym.rewards.copy.measures import (
    bleu,
    distinct_n,
    duplication,
    measure_copy,
    on_brief,
    self_bleu,
)

LONG = "the kettle boils a litre of water in three minutes"


def test_distinct_n_by_hand():
    assert distinct_n(["a b a b"], 1) == 2 / 4
    assert distinct_n(["a b a b"], 2) == 2 / 3
    assert distinct_n(["a b", "A b!"], 2) == 1 / 2
    assert distinct_n(["one two three"], 3) == 1
    assert math.isnan(distinct_n(["one"], 2))
    with pytest.raises(ValueError, match=re.escape("n is 0")):
        distinct_n(["a"], 0)


def test_bleu_of_a_copy_is_one_and_of_other_words_zero():
    assert bleu(LONG, ["other words", LONG]) == pytest.approx(1.0)
    assert bleu(LONG, ["nothing alike here"]) == 0.0
    assert bleu("", [LONG]) == 0.0


def test_bleu_by_hand():
    # Papineni's example: seven times "the" matches at most the two of one reference. Pairs and
    # longer match nothing: 0.1 of 6, 5, 4. The closest reference has 7 words or fewer: no penalty.
    p = (2 / 7) * (0.1 / 6) * (0.1 / 5) * (0.1 / 4)
    references = ["the cat is on the mat", "there is a cat on the mat"]
    assert bleu("the the the the the the the", references) == pytest.approx(p**0.25)


def test_short_texts_pay_for_brevity():
    # All n-grams of four of the ten words match: only the penalty exp(1 - 10 / 4) is left.
    assert bleu("the kettle boils a", [LONG]) == pytest.approx(math.exp(1 - 10 / 4))
    # Lengths 3 and 5 are as close to 4: the shorter counts, and nothing is to be paid.
    short, long = "boils a litre", "the kettle boils a litre"
    assert bleu("kettle boils a litre", [short, long]) == pytest.approx(1.0)


def test_self_bleu_is_the_mean_of_bleu_against_the_others():
    rng = np.random.default_rng(0)
    words = ["the", "a", "kettle", "warm", "boils", "water", "and", "in", "minutes", "litre"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(25)] + ["", "!"]
    one_by_one = [bleu(t, texts[:i] + texts[i + 1 :]) for i, t in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(np.mean(one_by_one), abs=1e-12)


def test_self_bleu_at_its_ends():
    assert self_bleu([LONG] * 3) == pytest.approx(1.0)
    assert self_bleu(["one two three four", "five six seven eight"]) == 0.0
    assert math.isnan(self_bleu([LONG]))


def test_duplication_by_hand():
    training = ["The kettle boils a litre of water.", "Three nights in Lisbon."]
    texts = [
        "the kettle boils a litre of water",  # exact but for case and the full stop
        "The kettle boils a litre of water!!",
        "The kettle boils one litre of water now.",  # related, not near
        "The kettle boils a litre of waters.",
    ]
    got = duplication(texts, training)
    assert got == {"exact_duplicates": 0.5, "near_duplicates": 0.75}
    assert duplication(texts, [])["near_duplicates"] == 0.0


def test_measures_of_the_catalogue_s_copy():
    users = default_users()
    rows = draw_tasks(users, 60, 0)
    own = [users.catalogue.texts[k] for k in rows.creative]
    overclaims = np.isin(rows.creative, [2, 11, 17, 23])
    got = measure_copy(own, rows, users.catalogue.texts)
    assert got["exact_duplicates"] == got["near_duplicates"] == 1.0
    assert got["compliance_rate"] == pytest.approx(1 - overclaims.mean())
    assert got["title_case"] == 0
    assert got["unique"] == len(set(own)) / 60
    assert got["gibberish"] == got["repetition"] == 0.0
    assert got["words_mean"] == pytest.approx(np.mean([len(t.split()) for t in own]))
    collapsed = measure_copy(["Buy it now or regret it."] * 60, rows, users.catalogue.texts)
    assert collapsed["self_bleu"] == pytest.approx(1.0)
    assert collapsed["distinct_2"] < 0.03 < got["distinct_2"]
    assert collapsed["near_duplicates"] == 0.0
    assert all(isinstance(v, float) for v in got.values())


def test_measures_refuse_other_lengths():
    rows = draw_tasks(default_users(), 2, 0)
    with pytest.raises(ValueError, match=re.escape("got 1 texts for 2 tasks")):
        measure_copy(["a"], rows)
    with pytest.raises(ValueError, match="at least one text"):
        measure_copy([], rows.take([]))


BRIEFS = [
    "A teacher tells her class why the river behind the school is poisoned.",
    "Two brothers build a rocket out of old washing machines.",
    "What the minimum wage buys in ten American cities.",
]


def test_texts_that_keep_to_their_briefs_are_found_by_them():
    own = [
        "The River Behind This School Is Poisoned",
        "They Built A Rocket From Washing Machines",
        "See What A Minimum Wage Buys You",
    ]
    assert on_brief(own, BRIEFS) == 1.0
    assert on_brief(own[1:] + own[:1], BRIEFS) == 0.0
    # Equal briefs are one: a task is not lost because another has the same.
    assert on_brief(own + own, BRIEFS + BRIEFS) == 1.0


def test_texts_without_a_known_word_find_their_brief_by_chance_alone():
    assert on_brief(["You Will Never Believe This"] * 3, BRIEFS) == pytest.approx(1 / 3)
    assert on_brief([""] * 3, BRIEFS) == pytest.approx(1 / 3)


def test_a_single_brief_cannot_be_told_from_others():
    assert math.isnan(on_brief(["a", "b"], ["the same brief"] * 2))
    assert math.isnan(on_brief(["a", "b"], ["...", "!!!"]))
