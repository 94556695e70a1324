import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.rewards.history.slates import Slates, shuffled_readers

ARTICLES = pl.DataFrame({"news_id": list("abcde"), "text": ["A", "B", "C", "D", "E"]})


def log(**columns):
    whole = {
        "user_id": ["u2", "u2", "u1", "u1", "u1", "u3", "u3"],
        "creative_id": ["a", "b", "c", "a", "d", "a", "b"],
        "user_history": ["e", "e", "a gone b c", "a gone b c", "a gone b c", None, None],
        "context_impression": ["2", "2", "1", "1", "1", "3", "3"],
        "impressions": [1] * 7,
        "clicks": [0, 1, 1, 0, 1, 0, 0],
    }
    return ClickLog.from_frame(whole | columns, name="news")


def test_slates_of_a_log():
    slates = Slates.from_log(log(), ARTICLES)
    # The third impression has no click: it says nothing of a choice.
    assert (
        len(slates) == 2 and repr(slates) == "Slates(2 slates of 2 readers, 3 of 5 titles clicked)"
    )
    assert [slates.titles[i] for i in slates.shown] == ["C", "A", "D", "A", "B"]
    assert slates.slate.tolist() == [0, 0, 0, 1, 1]
    assert slates.clicks.tolist() == [1, 0, 1, 0, 1]
    assert slates.reader.tolist() == [0, 1]
    assert [slates.titles[i] for i in slates.read] == ["A", "B", "C", "E"]
    assert slates.lengths.tolist() == [3, 1]


def test_the_latest_titles_of_a_long_history_count():
    slates = Slates.from_log(log(), ARTICLES, longest=2)
    assert [slates.titles[i] for i in slates.read] == ["B", "C", "E"]
    assert slates.ends.tolist() == [2, 3]


def test_histories_of_others():
    slates = Slates.from_log(log(), ARTICLES)
    other = shuffled_readers(slates, 0)
    assert other.tolist() == [1, 0]
    swapped = slates.with_histories_of(other)
    assert [swapped.titles[i] for i in swapped.read] == ["E", "A", "B", "C"]
    assert swapped.ends.tolist() == [1, 4] and swapped.shown is slates.shown


def test_nobody_keeps_a_history_among_others():
    rng = np.random.default_rng(0)
    reader = rng.integers(40, size=200)
    empty = np.zeros(0, np.int64)
    slates = Slates((), empty, empty, empty, reader, empty, np.zeros(200, np.int64))
    given = reader[shuffled_readers(slates, 1)]
    assert (given != reader).all()
    # A reader's slates get one other reader's history.
    assert all(len(set(given[reader == r])) == 1 for r in np.unique(reader))


@pytest.mark.parametrize("lost", ["user_history", "context_impression"])
def test_a_log_without_histories_is_refused_with_the_way_out(lost):
    whole = log().collect().drop(lost)
    message = f"news has no column {lost}: a model of histories learns from slates"
    with pytest.raises(UserError, match=re.escape(message)):
        Slates.from_log(ClickLog.from_frame(whole, name="news"), ARTICLES)


def test_a_log_without_a_choice_is_refused():
    with pytest.raises(UserError, match="news: no impression has a click and a miss"):
        Slates.from_log(log(clicks=[1, 1, 1, 1, 1, 0, 0]), ARTICLES)
