"""Profiles in plain words, those of logs with odd columns too."""

import numpy as np
import pytest

from copygym.envs.profiles.audiences import AudienceModel, with_audiences
from copygym.envs.profiles.builder import Profiles
from copygym.envs.profiles.words import describe, level_words, number_trait
from copygym.envs.prompts import describe_reader


@pytest.mark.parametrize(
    ("column", "level", "words"),
    [
        ("user_age_band", "18-24", "aged 18 to 24"),
        ("user_age_band", "65+", "aged 65 or over"),
        ("user_age", "50plus", "aged 50 or over"),
        ("user_age", "below21", "under 21"),
        ("user_age", "26", "aged 26"),
        ("user_region", "north", "lives in the north"),
        ("user_city", "London", "lives in London"),
        ("user_zip_code", "Rural", "lives in the country"),
        ("user_device", "ios", "uses an iPhone"),
        ("user_device", "Nokia 3310", "uses Nokia 3310"),
        ("user_income", "high", "has a high income"),
        ("user_income", "$100000 or More", "income: $100000 or more"),
        ("user_gender", "Female", "a woman"),
        ("user_marital_status", "Unmarried partner", "lives with a partner"),
        ("user_coffee_house", "less1", "coffee house is less1"),
        ("user_percentage", "5-10", "percentage is 5-10"),
    ],
)
def test_levels_in_words(column, level, words):
    assert level_words(column, level) == words


@pytest.mark.parametrize(
    ("name", "high", "low"),
    [
        ("price_sensitivity", "minds the price", "does not mind the price"),
        ("slot_morning", "reads in the morning", None),
        ("slot_night", "reads at night", None),
        ("slot_10AM", "reads at 10AM", None),
        ("channel_email", "prefers e-mail", None),
        ("interest_travel", "likes travel", None),
        ("propensity", "clicks often", "clicks seldom"),
        ("user_has_children", "has children", "has no children"),
        ("user_loyalty_points", "high loyalty points", "low loyalty points"),
    ],
)
def test_numbers_in_words(name, high, low):
    assert number_trait(name, 1.0).words == high
    found = number_trait(name, -1.0)
    assert (found and found.words) == low
    assert number_trait(name, 0.4) is None


NAMES = (
    "user_age_band=18-24", "user_age_band=50-64", "user_region=north", "user_device=ios",
    "user_income=low", "user_pets=cat", "interest_travel", "slot_morning", "slot_noon",
    "price_sensitivity", "propensity", "frequency",
)  # fmt: skip


def reader(**values):
    return np.array([float(values.get(name, 0.0)) for name in NAMES])


def test_a_reader_is_facts_first_then_habits_by_strength():
    values = reader(
        **{"user_age_band=50-64": 1, "user_region=north": 1, "user_device=ios": 1},
        price_sensitivity=0.8,
        slot_morning=2.0,
    )
    assert describe(NAMES, values) == [
        "aged 50 to 64", "lives in the north", "uses an iPhone", "reads in the morning",
        "minds the price",
    ]  # fmt: skip


def test_a_reader_is_short_and_says_nothing_twice():
    facts = {name: 1 for name in NAMES if "=" in name and "18" not in name}
    habits = {"slot_morning": 2, "slot_noon": 1.9, "propensity": 1.8, "frequency": 1.7}
    said = describe(NAMES, reader(**facts, **habits))
    assert said == [
        "aged 50 to 64", "lives in the north", "uses an iPhone", "has a low income",
        "reads in the morning", "clicks often",
    ]  # fmt: skip


def population():
    rng = np.random.default_rng(0)
    kind = np.arange(200) % 2
    features = 0.1 * rng.normal(size=(200, len(NAMES)))
    features[:, :6] = 0.0
    features[:, 0], features[:, 1] = kind == 0, kind == 1
    features[:, NAMES.index("price_sensitivity")] += np.where(kind == 1, 1.0, -1.0)
    return Profiles(np.arange(200).astype(str), features, NAMES, np.full(200, "all"))


def test_the_audience_stands_last_and_its_words_stand_once():
    profiles = population()
    assert describe_reader(profiles, 1) == "aged 50 to 64, minds the price"
    known = with_audiences(profiles, AudienceModel.fit(profiles, counts=(2,), seed=0))
    assert describe_reader(known, 1) == "aged 50 to 64; audience: over 50, minds the price"


def test_one_audience_is_not_worth_a_word_and_a_stranger_is_anybody():
    profiles = population()
    known = with_audiences(profiles, AudienceModel.fit(profiles, counts=(1,), seed=0))
    assert describe_reader(known, 1) == "aged 50 to 64, minds the price"
    nobody = Profiles(np.array(["x"]), np.zeros((1, 0)), (), np.array(["all"]))
    assert describe_reader(nobody, 0) == "anybody"


def test_rare_levels_that_were_merged_are_not_named():
    names = ("user_region=other", "user_region=north")
    assert describe(names, np.array([1.0, 0.0])) == []
