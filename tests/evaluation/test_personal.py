"""Measures of personal copy: values that can be worked out by hand, and what must be nought."""

from __future__ import annotations

import numpy as np
import pytest

from copygym.evaluation.personal import (
    Pairs,
    choose_each,
    choose_for_all,
    crossed,
    difference_by_audience,
    distances,
    gain_over,
    grouped,
    means_by_audience,
    own_and_others,
    personal_gain,
    telling_words,
    told_by,
)


def test_groups_are_numbered_as_they_come():
    product = ["kettle", "atlas", "kettle", "kettle"]
    assert grouped(product, np.array([1, 1, 1, 0])).tolist() == [0, 1, 0, 2]
    assert grouped([]).tolist() == []


def test_every_text_meets_every_reader_of_its_group():
    pairs = crossed(np.array([5, 2, 5, 5]))
    found = set(zip(pairs.text.tolist(), pairs.reader.tolist(), strict=True))
    assert found == {(1, 1), *((i, j) for i in (0, 2, 3) for j in (0, 2, 3))}
    assert len(pairs.text) == 10


def test_own_copy_and_that_of_others_by_hand():
    group = np.array([0, 0, 0, 1])
    pairs = crossed(group)
    # value[text, reader]
    value = np.array([[3.0, 1, 1, 0], [2, 5, 1, 0], [4, 3, 7, 0], [0, 0, 0, 9]])
    own, others = own_and_others(pairs, value[pairs.text, pairs.reader], 4)
    assert own.tolist() == [3, 5, 7, 9]
    assert others[:3].tolist() == [3.0, 2.0, 1.0]
    assert np.isnan(others[3])  # alone: nobody to compare with
    gain = personal_gain(pairs, value[pairs.text, pairs.reader], group, resamples=50)
    assert gain.value == pytest.approx((3 + 5 + 7) / (3 + 2 + 1) - 1)


def test_one_text_for_everybody_has_no_personal_gain_however_good_it_is():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 4)
    pairs = crossed(group)
    taste = rng.random(120)[pairs.reader] * rng.random(30)[group[pairs.text]]
    assert personal_gain(pairs, taste, group, resamples=200) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_text_that_suits_all_readers_alike_has_none_either():
    """What a text is worth to all of its group cancels in each group, so in each resample."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(30), 4)
    pairs = crossed(group)
    good = 0.05 + rng.random(120)[pairs.text]
    assert personal_gain(pairs, good, group, resamples=200) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_factor_for_own_copy_is_the_gain():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(40), 5)
    pairs = crossed(group)
    reader = rng.random(200)
    gold = reader[pairs.reader] * np.where(pairs.text == pairs.reader, 1.2, 1.0)
    assert personal_gain(pairs, gold, group, resamples=200) == pytest.approx((0.2, 0.2, 0.2))


def test_intervals_cover_a_true_gain_of_nought():
    """Texts and readers at random: 95% intervals hold 0 about as often as they say."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 4)
    pairs = crossed(group)
    hits = 0
    for trial in range(200):
        fit = rng.normal(size=(160, 160))[pairs.text, pairs.reader]
        gold = np.exp(rng.normal(size=160)[pairs.text] + 0.5 * fit)
        found = personal_gain(pairs, gold, group, resamples=300, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_gain_over_is_paired_and_leaves_out_what_has_no_number():
    values = np.random.default_rng(4).random(50) + 0.1
    assert gain_over(1.1 * values, values, resamples=200) == pytest.approx((0.1, 0.1, 0.1))
    unit = np.repeat(np.arange(10), 5)
    assert gain_over(values, 2 * values, unit, resamples=200) == pytest.approx((-0.5, -0.5, -0.5))
    holed = np.append(values, np.nan)
    assert gain_over(holed, np.append(values, 3.0), resamples=200) == pytest.approx((0, 0, 0))
    assert np.isnan(gain_over(np.full(3, np.nan), np.ones(3)).value)


def test_units_that_go_together_widen_the_interval():
    rng = np.random.default_rng(5)
    values = np.repeat(rng.random(40), 10)
    alone = gain_over(values, np.ones(400), resamples=1000)
    together = gain_over(values, np.ones(400), np.repeat(np.arange(40), 10), resamples=1000)
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_choosing_for_each_and_for_all():
    # Readers 0 and 1 of product A (texts 0, 1, 2), reader 2 of product B (text 3).
    value = np.array([[5.0, 0, 3, 99], [0, 5, 3, 99], [9, 9, 9, 1]])
    allowed = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], bool)
    assert choose_each(value, allowed).tolist() == [0, 1, 3]
    assert choose_for_all(value[:2], allowed).tolist() == [2, 2, 3]


def test_what_features_tell_is_the_conditional_mean():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(40_000, 3))
    weight = np.array([[0.5, -0.5], [0.2, 0.0], [0.0, 0.3]])
    gold = np.exp(-3 + features @ weight + 0.6 * rng.normal(size=(40_000, 2)))
    of = np.array([[1.0, 0, 0], [0, 0, -1.0]])
    expected = np.exp(-3 + of @ weight + 0.18)
    assert told_by(features, gold, of) == pytest.approx(expected, rel=0.03)


def test_words_that_are_shared():
    texts = ["Book now today", "today book now", "Sleep well", "", ""]
    pairs = Pairs(np.array([0, 0, 3, 0]), np.array([1, 2, 4, 3]))
    assert distances(texts, pairs).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_copy_that_follows_the_audience_differs_between_audiences_alone():
    audience = np.tile([0, 0, 1, 1], 12)
    group = np.repeat(np.arange(12), 4)
    texts = [f"offer {'ends soon' if a else 'is safe'}" for a in audience]
    found = difference_by_audience(texts, group, audience, resamples=100)
    assert found["other_within"] == found["distance_within"] == (0, 0, 0)
    assert found["other_between"] == (1, 1, 1)
    assert found["distance_between"] == pytest.approx((0.8, 0.8, 0.8))
    alone = difference_by_audience(texts, group, np.zeros(48, int), resamples=100)
    assert np.isnan(alone["other_between"].value)
    assert alone["other_within"].value == pytest.approx(4 / 6)


def test_means_are_free_of_what_the_products_are():
    # Product 1 has long texts, and audience 1 hears of it more often.
    product = np.array([0, 0, 0, 1, 1, 1])
    audience = np.array([0, 0, 1, 0, 1, 1])
    length = np.array([10.0, 10, 10, 20, 20, 20])[:, None]
    found = means_by_audience(length, audience, product, 3)
    assert found[:2, 0] == pytest.approx([15.0, 15.0])
    assert np.isnan(found[2, 0])
    longer = means_by_audience(length + audience[:, None], audience, product, 2)
    assert longer[:, 0] == pytest.approx([15.0, 16.0])


def test_telling_words_are_those_of_the_audience_and_not_of_its_products():
    rng = np.random.default_rng(7)
    product = rng.integers(0, 2, 400)
    # Audience 1 is told of product 1 four times as often.
    audience = (rng.random(400) < np.where(product, 0.8, 0.2)).astype(int)
    texts = [
        f"{'kettle' if p else 'atlas'} {'hurry' if a and rng.random() < 0.7 else 'calmly'}"
        for p, a in zip(product, audience, strict=True)
    ]
    found = telling_words(texts, audience, product)
    assert next(w.word for w in found[1]) == "hurry"
    assert found[1][0].z > 8
    assert found[1][0].elsewhere == 0.0
    assert next(w.word for w in found[0]) == "calmly"
    assert not {"kettle", "atlas"} & {w.word for w in found[1] if w.z > 2}


def test_without_a_difference_no_word_tells():
    found = telling_words(["same words here"] * 20, np.arange(20) % 2, np.zeros(20, int))
    assert found == {0: [], 1: []}
