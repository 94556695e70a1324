"""What would be sent of drafts: pools of a group, choices for each reader, and the log's copy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from copygym.agents.copywriter import drafts as module
from copygym.agents.copywriter.drafts import Drafts, best_of, draw_drafts, pooled, sent_of

#: What two readers make of a text.
LIKES = {"plain": (1.0, 1.0), "for a": (3.0, 0.0), "for b": (0.0, 3.0), "logged": (2.0, 2.0)}
OPTIONS = {"draws": 2, "temperature": 1.0, "top_p": 1.0}


class Tasks(tuple):
    """Tasks that are numbers of their readers."""

    def take(self, index):
        return Tasks(self[i] for i in np.asarray(index).tolist())


def worth(texts, rows):
    return np.array([LIKES[text][reader] for text, reader in zip(texts, rows, strict=True)])


def test_a_reader_may_be_sent_what_was_written_for_another_of_the_group():
    # Reader 0 was written what reader 1 likes, and the other way round.
    drafts = Drafts(["for b", "plain", "for a", "for a"], np.ones(4, bool))
    pools = pooled(drafts, np.array([0, 0]))
    assert pools == [["for b", "plain", "for a"]] * 2
    assert best_of(pools, Tasks([0, 1]), worth) == ["for a", "for b"]
    # In groups of their own they are not.
    assert best_of(pooled(drafts, np.array([0, 1])), Tasks([0, 1]), worth) == ["plain", "for a"]


def test_what_fails_the_check_is_never_sent_and_the_log_stands_in():
    drafts = Drafts(["for a", "plain", "for b", "plain"], np.array([False, True, False, False]))
    pools = pooled(drafts, np.array([0, 1]))
    sent = sent_of(pools, [["logged"]] * 2, Tasks([0, 1]), worth, with_log=False)
    assert sent.texts == ["plain", "logged"]
    assert sent.shares == {"own": 0.5}
    assert drafts.shares(2) == {"passed_first": 0.25, "passed": 0.5}
    assert drafts.first(2) == ["for a", "for b"]
    both = sent_of(pools, [["logged"]] * 2, Tasks([0, 1]), worth, with_log=True)
    assert both.texts == ["logged", "logged"]
    assert both.shares == {"own": 0.0}


@given(st.lists(st.sampled_from(sorted(LIKES)), min_size=1, max_size=6))
def test_the_best_of_more_is_never_worth_less(pool):
    tasks = Tasks([0])
    fewer, more = (worth(best_of([part], tasks, worth), tasks) for part in (pool[:1], pool))
    assert more >= fewer


def test_drafts_are_checked_by_their_own_task(monkeypatch):
    asked = {}

    class Writer:
        def write(self, rows, *, seed, temperature, top_p, samples):
            asked.update(samples=samples, rows=rows)
            return [f"{task} {i}" for task in rows for i in range(samples)]

    monkeypatch.setattr(
        module,
        "deliverable",
        lambda texts, rows: np.array(
            [text[0] == str(row) for text, row in zip(texts, rows, strict=True)]
        ),
    )
    drafts = draw_drafts(Writer(), Tasks([3, 5]), OPTIONS, seed=0)
    assert drafts.texts == ["3 0", "3 1", "5 0", "5 1"]
    assert drafts.passed.all()
    assert asked == {"samples": 2, "rows": (3, 5)}
