"""What would be sent: the best draft that passes and gains enough, else the human original."""

from __future__ import annotations

import re

import numpy as np
import pytest

from copygym.agents.copywriter.rewriting import Rewriter
from copygym.core.errors import UserError


def by_length(texts, rows):
    """Pay a point for each letter."""
    return np.array([float(len(text)) for text in texts])


def any_text(texts, rows):
    return np.ones(len(texts), bool)


def no_z(texts, rows):
    return np.array(["z" not in text for text in texts])


class Drafts:
    """Writes the same drafts for every task."""

    def __init__(self, *texts):
        self.texts = texts

    def write(self, rows, *, seed, temperature, top_p, samples):
        assert samples == len(self.texts)
        return [text for _ in range(len(rows)) for text in self.texts]


def rewriter(*texts, passes=any_text, margin=0.0):
    return Rewriter(Drafts(*texts), by_length, passes, drafts=len(texts), margin=margin)


def test_the_favourite_is_sent_where_it_beats_its_own_original(rows):
    pair = rows.take([0, 1]).rewriting(["bb", "dddddd"])
    assert rewriter("aaa", "cccc").write(pair, seed=0) == ["cccc", "dddddd"]


def test_what_does_not_pass_is_never_sent(rows):
    one = rows.take([0]).rewriting(["bb"])
    assert rewriter("zzzz", "aaa", passes=no_z).write(one, seed=0) == ["aaa"]
    assert rewriter("zzzz", passes=no_z).write(one, seed=0) == ["bb"]
    # The original itself is sent whatever the gate says of it.
    assert rewriter("a", passes=no_z).write(rows.take([0]).rewriting(["zz"]), seed=0) == ["zz"]


def test_a_draft_must_be_better_by_more_than_the_margin(rows):
    one = rows.take([0]).rewriting(["bb"])
    assert rewriter("aaa", margin=1.0).write(one, seed=0) == ["bb"]
    assert rewriter("aaa", margin=0.9).write(one, seed=0) == ["aaa"]


def test_drafts_stay_with_their_tasks_beyond_one_batch_of_the_reward(rows):
    many = rows.take(np.arange(150) % len(rows)).rewriting([f"o{i}" for i in range(150)])
    own = Rewriter(Drafts(""), by_length, any_text, drafts=1)
    texts = [f"text {i:04d}" for i in range(150)]
    assert own.choose(texts, many) == texts


def test_tasks_to_write_and_odd_options_are_refused(rows):
    with pytest.raises(UserError, match="these tasks have none: use task=rewrite"):
        rewriter("a").write(rows, seed=0)
    with pytest.raises(UserError, match=re.escape("drafts is 0 and margin 0.1")):
        Rewriter(Drafts(), by_length, any_text, drafts=0)
    with pytest.raises(UserError, match="margin -1"):
        Rewriter(Drafts("a"), by_length, any_text, margin=-1.0)


def test_a_language_model_rewrites(copywriter, rows):
    shown = rows.rewriting(["warm coat"] * len(rows))
    sent = Rewriter(copywriter, by_length, any_text, drafts=2).write(shown, seed=0)
    assert len(sent) == len(rows) and any(text != "warm coat" for text in sent)
