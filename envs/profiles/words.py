"""Profile features in plain English: what a writer is told of a reader, and what audiences are.

A feature is named as `copygym.envs.profiles.builder.ProfileBuilder` names it: ``user_x=level`` for
a level of a demographic column, ``user_x`` for a standardised number, and what the past tells
(``interest_travel``, ``slot_morning``, ``price_sensitivity``). A column that nobody foresaw is
named as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from copygym.envs.profiles.demographics import OTHER
from copygym.envs.profiles.history import INTEREST

#: From how many standard deviations on a trait is worth a word.
NOTABLE = 0.5
#: Of a reader: facts of their demographics, and traits in all.
_MOST_FACTS, _MOST_TRAITS = 4, 6

_CHANNEL, _SLOT = "channel_", "slot_"

#: What copy can be fitted to comes first; other columns follow in the profile's order.
_FIRST = ("age", "gender", "sex", "region", "device", "income")

_GENDERS = {"female": "a woman", "male": "a man", "f": "a woman", "m": "a man"}
_PLACES = {
    "north": "the north",
    "south": "the south",
    "east": "the east",
    "west": "the west",
    "urban": "a city",
    "suburban": "a suburb",
    "rural": "the country",
}
_DEVICES = {
    "ios": "an iPhone",
    "iphone": "an iPhone",
    "android": "an Android phone",
    "desktop": "a desktop computer",
    "mobile": "a phone",
    "tablet": "a tablet",
}
_INCOMES = {"low": "low", "middle": "middle", "medium": "middle", "high": "high"}

#: Column: how its level is said, and levels that have better words than their own.
_LEVELS: dict[str, tuple[str, dict[str, str]]] = {
    "gender": ("{}", _GENDERS),
    "sex": ("{}", _GENDERS),
    **dict.fromkeys(("region", "country", "state", "city", "zip_code"), ("lives in {}", _PLACES)),
    **dict.fromkeys(("device", "platform", "os"), ("uses {}", _DEVICES)),
    "marital_status": (
        "{}",
        {"married partner": "married", "unmarried partner": "lives with a partner"}
        | {word: word for word in ("single", "married", "divorced", "widowed")},
    ),
    "history_segment": ("has spent {}", {}),
    "past_channel": (
        "buys by {}",
        {"phone": "phone", "web": "computer", "multichannel": "phone and computer"},
    ),
}

#: A number or a habit: what a high and a low value mean; "" where a low one is not worth a word.
_HIGH_LOW = {
    "price_sensitivity": ("minds the price", "does not mind the price"),
    "propensity": ("clicks often", "clicks seldom"),
    "frequency": ("has clicked many times", "has clicked few times"),
    "recency": ("has not clicked for long", "clicked lately"),
    "monetary": ("spends much", "spends little"),
    "user_age": ("older than most", "younger than most"),
    "user_income": ("has a high income", "has a low income"),
    "user_history_length": ("reads much", "reads little"),
    # Of a shop's customers, as Hillstrom has them.
    "user_recency": ("has not bought for long", "bought lately"),
    "user_history": ("has spent much", "has spent little"),
    "user_mens": ("buys for men", ""),
    "user_womens": ("buys for women", ""),
    "user_newbie": ("a new customer", "an old customer"),
}

#: Traits that say the same thing: one of them is enough.
_SAME = {
    **dict.fromkeys(("propensity", "frequency", "recency"), "activity"),
    **dict.fromkeys(("user_history", "user_history_segment"), "spent"),
}

_CHANNEL_WORDS = {"email": "e-mail", "sms": "text messages", "push": "push messages"}
_TIME_WORDS = {"noon": "at noon", "night": "at night", "day": "by day"}


@dataclass(frozen=True)
class Trait:
    """Something that can be said of a reader.

    Attributes:
        words: in plain English, lower case, without a full stop.
        strength: how far from the population's centre, in standard deviations, at least 0.
        fact: whether it is one of the demographics.
        kind: traits of one kind say much the same.
    """

    words: str
    strength: float
    fact: bool
    kind: str


def describe(names: Sequence[str], values: np.ndarray) -> list[str]:
    """Return what is worth saying of one reader: demographics first, then habits by strength.

    At most four demographic facts and six traits in all, so that a prompt stays short.

    Args:
        names: P feature names.
        values: (P,) features of the reader.
    """
    groups, numbers = columns_of(tuple(names))
    facts: list[tuple[int, Trait]] = []
    habits: list[Trait] = []
    for column, levels in groups.items():
        held = [level for level, place in levels.items() if values[place] >= NOTABLE]
        if held and held[0] != OTHER:
            words = level_words(column, held[0])
            facts.append((_rank(column), Trait(words, 1.0, True, kind_of(column))))
    for name, place in numbers.items():
        trait = number_trait(name, float(values[place]))
        if trait is not None and trait.fact:
            facts.append((_rank(name), trait))
        elif trait is not None:
            habits.append(trait)
    facts.sort(key=lambda ranked: ranked[0])  # stable: then the profile's order
    said = [t.words for t in one_of_a_kind([trait for _, trait in facts])][:_MOST_FACTS]
    habits.sort(key=lambda trait: -trait.strength)
    return said + [t.words for t in one_of_a_kind(habits)][: _MOST_TRAITS - len(said)]


def one_of_a_kind(traits: Sequence[Trait]) -> list[Trait]:
    """Return the first trait of each kind, in order."""
    return list({trait.kind: trait for trait in reversed(traits)}.values())[::-1]


@cache
def columns_of(names: tuple[str, ...]) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Return the places of the levels of each categorical column, and of the other features."""
    groups: dict[str, dict[str, int]] = {}
    numbers: dict[str, int] = {}
    for place, name in enumerate(names):
        column, equals, level = name.partition("=")
        if equals and column.startswith("user_"):
            groups.setdefault(column, {})[level] = place
        else:
            numbers[name] = place
    return groups, numbers


def level_words(column: str, level: str) -> str:
    """Return what a level of a demographic column says of a reader."""
    name, low = column.removeprefix("user_"), level.strip().lower()
    if (band := band_of(level)) is not None and _is_age(name):
        return band_words(*band)
    if name == "income":
        return f"has a {_INCOMES[low]} income" if low in _INCOMES else f"income: {low}"
    if name in _LEVELS:
        frame, known = _LEVELS[name]
        return frame.format(known.get(low, level.strip()))
    return f"{_spaced(name)} is {level.strip()}"


def number_trait(name: str, value: float) -> Trait | None:
    """Return what a standardised feature says of a reader; None where it is not worth a word."""
    if abs(value) < NOTABLE:
        return None
    fact = name.startswith("user_")
    high, low = _high_low(name)
    words = high if value > 0 else low
    return Trait(words, abs(value), fact, kind_of(name)) if words else None


def band_of(level: str) -> tuple[float, float] | None:
    """Return the least and the greatest whole number of a level such as ``18-24`` or ``65+``.

    Infinite where the level is open; None where it is no band.
    """
    text = level.strip().lower().replace("–", "-")
    number = r"(\d{1,3})"
    if match := re.fullmatch(rf"{number}\s*(?:-|to)\s*{number}", text):
        return float(match[1]), float(match[2])
    if match := re.fullmatch(rf"{number}\s*(?:\+|plus|and over|or over)", text):
        return float(match[1]), np.inf
    if match := re.fullmatch(rf"(?:over|above|>)\s*{number}", text):
        return float(match[1]) + 1, np.inf
    if match := re.fullmatch(rf"(?:below|under|<)\s*{number}", text):
        return -np.inf, float(match[1]) - 1
    if match := re.fullmatch(number, text):
        return float(match[1]), float(match[1])
    return None


def band_words(low: float, high: float) -> str:
    """Return an age band in words."""
    if np.isinf(low):
        return f"under {high + 1:g}"
    if np.isinf(high):
        return f"aged {low:g} or over"
    return f"aged {low:g} to {high:g}" if high > low else f"aged {low:g}"


def is_age_column(column: str) -> bool:
    """Tell whether a demographic column holds ages."""
    return _is_age(column.removeprefix("user_"))


def _is_age(name: str) -> bool:
    return "age" in name.split("_")


def _rank(column: str) -> int:
    parts = column.removeprefix("user_").split("_")
    return next((i for i, first in enumerate(_FIRST) if first in parts), len(_FIRST))


def kind_of(name: str) -> str:
    """Return what a feature is about: a reader has one favourite channel and one time of day."""
    kind = next((prefix for prefix in (_CHANNEL, _SLOT) if name.startswith(prefix)), name)
    return _SAME.get(kind, kind)


def _high_low(name: str) -> tuple[str, str]:
    """Return what a high and a low value of a feature say; "" where nothing."""
    if name in _HIGH_LOW:
        return _HIGH_LOW[name]
    if name.startswith(INTEREST):
        return f"likes {_spaced(name.removeprefix(INTEREST))}", ""
    if name.startswith(_CHANNEL):
        channel = name.removeprefix(_CHANNEL)
        return f"prefers {_CHANNEL_WORDS.get(channel, _spaced(channel))}", ""
    if name.startswith(_SLOT):
        return f"reads {_time(name.removeprefix(_SLOT))}", ""
    plain = _spaced(name.removeprefix("user_"))
    for verb, no in (("has ", "has no "), ("is ", "is not ")):
        if plain.startswith(verb):
            return plain, no + plain.removeprefix(verb)
    return f"high {plain}", f"low {plain}"


def _time(slot: str) -> str:
    if slot in _TIME_WORDS:
        return _TIME_WORDS[slot]
    plain = _spaced(slot)
    return f"at {plain}" if plain[:1].isdigit() else f"in the {plain}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


__all__ = [
    "NOTABLE",
    "Trait",
    "band_of",
    "band_words",
    "columns_of",
    "describe",
    "is_age_column",
    "kind_of",
    "level_words",
    "number_trait",
    "one_of_a_kind",
]
