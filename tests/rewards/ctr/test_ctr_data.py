import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.rewards.ctr.data import (
    CopyCounts,
    concat_counts,
    merge_counts,
    overlap,
    split_counts,
    text_components,
    text_folds,
)


def log(**columns):
    return ClickLog.from_frame(pl.DataFrame(columns), name="made-up")


def test_arms_of_one_text_are_added_up():
    counts = CopyCounts.from_log(
        log(
            test_id=["a", "a", "a", "b", "b"],
            text=["one", "two", "one", "three", "four"],
            impressions=[10, 20, 30, 40, 50],
            clicks=[1, 2, 3, 4, 5],
        )
    )
    assert counts.texts == ("one", "two", "three", "four")
    assert counts.impressions.tolist() == [40, 20, 40, 50]
    assert counts.clicks.tolist() == [4, 2, 4, 5]
    assert counts.test.tolist() == [0, 0, 1, 1]


def test_tests_with_one_text_are_left_out():
    counts = CopyCounts.from_log(
        log(
            test_id=["a", "a", "b", "b"],
            text=["one", "one", "three", "four"],
            impressions=[10] * 4,
            clicks=[1] * 4,
        )
    )
    assert counts.texts == ("three", "four")


def test_only_arms_under_one_picture_are_compared():
    counts = CopyCounts.from_log(
        log(
            test_id=["a"] * 4,
            text=["one", "two", "one", "three"],
            context_eyecatcher=["x", "x", "y", "y"],
            impressions=[10] * 4,
            clicks=[1, 2, 3, 4],
        )
    )
    assert counts.test.tolist() == [0, 0, 1, 1]
    assert counts.experiment.tolist() == [0, 0, 0, 0]
    assert counts.clicks.tolist() == [1, 2, 3, 4]


def test_without_tests_the_texts_of_a_product_are_compared_and_holds_are_left_out():
    counts = CopyCounts.from_log(
        log(
            product_id=["p", "p", "q", "q", "p"],
            creative_id=["1", "2", "3", "4", "hold"],
            text=["one", "two", "three", "four", "five"],
            impressions=[1] * 5,
            clicks=[1, 0, 0, 1, 0],
        )
    )
    assert counts.texts == ("one", "two", "three", "four")
    assert counts.test.tolist() == [0, 0, 1, 1]


def test_a_log_without_text_or_choice_says_so():
    with pytest.raises(UserError, match=re.escape("the log has no column text")):
        CopyCounts.from_log(log(test_id=["a"], impressions=[1], clicks=[0]))
    one_arm = log(test_id=["a", "b"], text=["x", "y"], impressions=[9, 9], clicks=[1, 1])
    with pytest.raises(UserError, match=re.escape("no test has two different texts")):
        CopyCounts.from_log(one_arm)


def counts_of(*tests, clicks=1):
    texts = [text for test in tests for text in test]
    test = np.repeat(np.arange(len(tests)), [len(t) for t in tests])
    n = len(texts)
    return CopyCounts(tuple(texts), test, np.full(n, 100.0), np.full(n, float(clicks)))


def test_a_test_that_an_earlier_log_holds_is_counted_once():
    merged = merge_counts([counts_of(["a", "b"], ["c", "d"]), counts_of(["b", "x"], ["e", "f"])])
    assert merged.texts == ("a", "b", "c", "d", "e", "f")
    assert merged.n_tests == 3
    # The same headline with other counts is another observation.
    assert merge_counts([counts_of(["a", "b"]), counts_of(["a", "b"], clicks=2)]).n_tests == 2


def test_components_follow_chains_of_headlines_whatever_their_case():
    counts = counts_of(["A b!", "c"], ["C?", "d"], ["d", "e"], ["x", "y"])
    component = text_components(counts)
    assert len(set(component[:6])) == 1 and component[6] == component[7] != component[0]


def test_split_shares_no_headline_and_loses_no_arm():
    rng = np.random.default_rng(0)
    tests = [[f"text {rng.integers(300)}", f"text {rng.integers(300)} b"] for _ in range(200)]
    counts = counts_of(*tests)
    parts = split_counts(counts, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=3)
    assert sum(len(part) for part in parts.values()) == len(counts)
    for a, b in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert overlap(parts[a], parts[b]) == 0
    again = split_counts(counts, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=3)
    assert again["test"].texts == parts["test"].texts
    assert split_counts(counts, {"a": 0.5, "b": 0.5}, seed=4)["a"].texts != parts["train"].texts


def test_folds_keep_a_text_together_and_spread_a_product_s_texts():
    shown = [[f"{product} {i}" for i in range(11)] for product in ("kettle", "course")]
    # Each product on two channels: two tests with the same texts.
    counts = counts_of(*shown, *shown)
    fold = text_folds(counts, 5, seed=1)
    for text in set(counts.texts):
        assert len({int(f) for f, t in zip(fold, counts.texts, strict=True) if t == text}) == 1
    for test in range(4):
        sizes = np.bincount(fold[counts.test == test], minlength=5)
        assert sizes.sum() == 11 and sizes.min() >= 2 and sizes.max() <= 3
    assert (fold == text_folds(counts, 5, seed=1)).all()
    assert (fold != text_folds(counts, 5, seed=2)).any()
    assert set(text_folds(counts_of(["a", "b"]), 5, seed=0).tolist()) == {0, 1}


def test_a_held_out_text_has_another_of_its_product_beside_it():
    """Alone in its fold it would be compared with nothing, and penalties chosen by luck."""
    sizes = [2, 3, 4, 5] * 12
    counts = counts_of(*[[f"{p} {i}" for i in range(n)] for p, n in enumerate(sizes)])
    fold = text_folds(counts, 5, seed=0)
    for test in range(len(sizes)):
        held = np.bincount(fold[counts.test == test], minlength=5)
        assert set(held[held > 0].tolist()) <= {2, 3}
    assert np.ptp(np.bincount(fold, minlength=5)) <= 8


def test_joined_parts_keep_their_tests_apart():
    joined = concat_counts([counts_of(["a", "b"]), counts_of(["a", "b"])])
    assert joined.test.tolist() == [0, 0, 1, 1]
