"""Fluency as a term, and the texts that win over nothing."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.base import default_users
from copygym.envs.tasks import copy_rows, score_copy
from copygym.rewards.copy.fluency import MARGIN, below_honest, faulty
from copygym.rewards.copy.shape import CopyRewardShape

HUMAN = [f"copy {i}" for i in range(101)]


def measure(texts):
    """The number in a text, as if it were its fluency."""
    found = [re.search(r"-?\d+(\.\d+)?", text) for text in texts]
    return np.array([float(m.group()) if m else np.nan for m in found])


def rows(n):
    at = np.zeros(n, np.int64)
    return copy_rows(default_users(), at, at, at, at)


def shape(terms, **given):
    return CopyRewardShape(terms, fluency=measure, reference_texts=HUMAN, **given)


def test_fluency_costs_what_lies_below_a_quantile_of_human_copy():
    term = shape({"fluency": -2.0})
    # A twentieth of 0 ... 100 lies below 5.
    texts = ["it is 5", "it is 60", "it is 4", "it is 2.5", "it is -90", "", "word"]
    scores = score_copy(term, texts, rows(7))[1]["fluency"]
    assert scores.tolist() == [0.0, 0.0, -2.0, -5.0, -6.0, -6.0, 0.0]
    strict = shape({"fluency": {"weight": -1.0, "quantile": 0.5, "most": 9.0}})
    assert score_copy(strict, ["it is 48"], rows(1))[0].tolist() == [-2.0]


@pytest.mark.parametrize(
    ("terms", "given", "message"),
    [
        ({"fluency": -1.0}, {"reference_texts": HUMAN}, "copy term 'fluency' needs a language"),
        ({"fluency": -1.0}, {"fluency": measure}, "copy term 'fluency' needs the training log"),
        ({"fluency": {"quantile": 1.0}}, {}, "copy term 'fluency' has quantile=1.0"),
        ({"fluency": {"most": 0.0}}, {}, "copy term 'fluency' has most=0.0"),
    ],
)
def test_what_fluency_cannot_work_with_is_named(terms, given, message):
    given = given or {"fluency": measure, "reference_texts": HUMAN}
    with pytest.raises(UserError, match=re.escape(message)):
        CopyRewardShape(terms, **given)


FAULTS = [
    "Warm coats.<|im_end|> Warm hats.",
    "<|im_start|>Warm coats.",
    "Brief: warm coats",
    " \u200b",
    "Warm coats for you. Warm coats for you.",
    "Warm coats for you! New hats. warm coats for you",
]
HONEST = ["Warm coats for you. New hats for you.", "Meet the kettle", "Hurry. It ends on Sunday!"]


def test_faults_are_told_from_honest_texts():
    assert faulty(FAULTS).all()
    assert not faulty(HONEST).any()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_wins_over_nothing_whatever_the_reward_says(fault):
    class Hacked:
        def score(self, texts, profiles=None):
            return np.array([9.0 if text == fault else float(len(text)) / 20 for text in texts])

    texts = [*HONEST, fault]
    scores, terms = score_copy(CopyRewardShape({"ctr": 1.0}, model=Hacked()), texts, rows(4))
    # What it sees nothing of, `ctr` itself puts lower still.
    assert scores[3] == pytest.approx(min(min(scores[:3]) - MARGIN, terms["ctr"][3]))
    np.testing.assert_allclose(terms["ctr"] + terms["floor"], scores)
    assert (terms["floor"][:3] == 0).all()
    without = CopyRewardShape({"ctr": 1.0}, model=Hacked(), floor=False)
    loose, loose_terms = score_copy(without, texts, rows(4))
    assert "floor" not in loose_terms
    assert fault.strip("\u200b ") == "" or loose[3] > max(loose[:3])


def test_the_bound_leaves_what_is_lower_still_and_batches_of_faults():
    scores = np.array([1.0, 2.0, -7.0, 5.0])
    fault = np.array([False, False, True, True])
    assert below_honest(scores, fault).tolist() == [1.0, 2.0, -7.0, 1.0 - MARGIN]
    assert below_honest(scores, ~np.zeros(4, bool)).tolist() == scores.tolist()
    assert below_honest(scores, np.zeros(4, bool)).tolist() == scores.tolist()
