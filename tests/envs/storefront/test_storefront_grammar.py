"""Word order: the committed table is what the method gives, and it tells texts from heaps."""

import re

import numpy as np
import polars as pl
import pytest

from copygym.envs.storefront.grammar import CLASSES, _scores, pair_scores, word_class, word_order

GOOD = "we look after every one of our guests and they come back to us in the spring"


def test_pair_scores_by_hand():
    the, other, edge = (CLASSES.index(name) for name in ("the", "other", "edge"))
    table = pair_scores([["the", "cat"]] * 1000, prior=1e-9)
    # Three pairs, each always followed by the same class: three times as often as chance.
    for pair in ((edge, the), (the, other), (other, edge)):
        assert table[pair] == round(2 * np.log2(3))
    assert pair_scores([["the", "cat"]] * 1000, prior=1.0)[the, the] == -8


def test_word_classes():
    names = {w: CLASSES[word_class(w)] for w in ("the", "3.1", "cats", "glass", "don't", "joe's")}
    assert names == {
        "the": "the",
        "3.1": "number",
        "cats": "s",
        "glass": "other",
        "don't": "do",
        "joe's": "apostrophe",
    }


def test_sentences_stand_above_their_shuffled_selves():
    rng = np.random.default_rng(0)
    shuffled = [word_order([list(rng.permutation(GOOD.split()))]) for _ in range(50)]
    assert word_order([GOOD.split()]) == 1.0
    assert np.mean(shuffled) < 0.4
    assert word_order([]) == 0.0


def test_the_committed_table_is_that_of_the_archive(data_folder):
    pytest.importorskip("pyarrow")
    headlines = pl.read_csv(data_folder / "upworthy" / "content_experiments.csv.gz")["headline"]
    ledes = pl.read_parquet(data_folder / "upworthy" / "exploratory.parquet")["lede"]
    texts = [
        *headlines.drop_nulls().unique(),
        *(re.sub(r"<[^>]+>|&#?\w+;", " ", lede) for lede in ledes.drop_nulls().unique()),
    ]
    word = re.compile(r"[^\W_]+(?:['’.,\-][^\W_]+)*%?")
    edge = re.compile(r"[.!?;:\n]+(?=\s|$)")
    sentences = [
        [w.lower().replace("’", "'") for w in word.findall(part)]
        for text in texts
        for part in edge.split(text)
    ]
    np.testing.assert_array_equal(pair_scores(sentences), 2 * _scores())
