"""What a rewrite keeps: names without the help of capitals, numbers, and the reward of both."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.base import default_users
from copygym.envs.tasks import copy_rows
from copygym.rewards.copy.rewriting import (
    Faithful,
    Names,
    kept_measures,
    require_originals,
)
from copygym.rewards.copy.shape import CopyRewardShape

PROSE = ["and in this new a dad has a message to the boys who want to date his daughter, 3 of them"]
NAMES = Names.from_prose(PROSE)
ORIGINAL = "This Dad Has 3 Messages To Malala"


class WordModel:
    """A CTR model whose logit is minus the words."""

    def score(self, texts, profiles=None):
        return -np.array([len(t.split()) for t in texts], dtype=float)


class Letters:
    """An encoder of letters' counts, unit length."""

    def encode(self, texts):
        counts = np.array(
            [[t.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts]
        )
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def task():
    at = np.zeros(1, np.int64)
    return copy_rows(default_users(), at, at, at, at).rewriting([ORIGINAL])


def tasks(task, n):
    return task.take([0] * n)


def test_a_name_is_a_capitalised_word_that_prose_never_writes_small():
    assert NAMES.names("A Dad Has A Message To Malala") == {"malala"}
    assert NAMES.names("A Daughter's Messages") == set()
    assert NAMES.facts("Malala Is 17, Has Eleven Boys And Two Messages") >= {"malala", "17", "11"}
    assert "2" not in NAMES.facts("Two Messages")


def test_what_is_lost_and_what_is_new_is_told_apart():
    assert NAMES.lost("A Message To Malala", ORIGINAL) == {"3"}
    assert NAMES.lost("Three Messages To Malala's Dad", ORIGINAL) == set()
    assert NAMES.invented("Obama And 3 Boys Want 40", ORIGINAL, "obama said so") == {"40"}


def test_gain_is_the_logit_less_that_of_the_original(task):
    reward = CopyRewardShape({"gain": 1.0}, model=WordModel())
    scores, _ = reward([ORIGINAL, "Two Words", " "], tasks(task, 3))
    assert scores.tolist() == [0.0, 5.0, -15.0]


def test_terms_of_rewriting_refuse_tasks_without_originals(task):
    reward = CopyRewardShape({"gain": 1.0}, model=WordModel())
    with pytest.raises(UserError, match="'gain' compares a text with its original"):
        reward(["x"], replace(task, originals=()))
    assert require_originals(task, "x") == (ORIGINAL,)


def test_the_gate_keeps_to_the_original(task):
    gate = Faithful(NAMES, Letters(), near=0.5)
    texts = [
        ORIGINAL,
        "This Dad Has 3 New Messages To Malala",
        "This Dad Has Messages To Malala",
        "This Dad Has 3 Messages To Malala And Obama",
        "This Dad Has 3 Messages To Malala. This Dad Has 3 Messages To Malala",
        "",
    ]
    assert gate(texts, tasks(task, 6)).tolist() == [True, True, False, False, False, False]


def test_measures_say_what_is_kept(task):
    texts = [ORIGINAL, "A Message To Malala And Obama"]
    found = kept_measures(texts, tasks(task, 2), NAMES)
    # Two facts each, of which the second text loses one.
    assert found == {"unchanged": 0.5, "facts_kept": 0.75, "invented": 0.5}
    nothing = kept_measures(["a dad"], task.take([0]).rewriting(["a dad"]), NAMES)
    assert np.isnan(nothing["facts_kept"])


def test_the_gate_pickles():
    assert pickle.loads(pickle.dumps(NAMES)).names("Malala") == {"malala"}
