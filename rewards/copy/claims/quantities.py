"""Numbers, shares, dates and times of a sentence, with what they count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from copygym.rewards.copy.claims.language import Word
from copygym.rewards.copy.claims.lexicon import NOUN_VERBS, word_set

_NUMBERS: dict[str, float] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
    "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90, "dozen": 12,
}  # fmt: skip
_POWERS = {"hundred": 100.0, "thousand": 1e3, "million": 1e6, "billion": 1e9}
_ORDINALS: dict[str, float] = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12,
}  # fmt: skip
#: Months by name, from 1.
MONTHS: dict[str, float] = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7,
    "august": 8, "september": 9, "october": 10, "november": 11, "december": 12,
}  # fmt: skip
_WEEKDAYS = word_set("monday tuesday wednesday thursday friday saturday sunday weekday weekend")
#: Units that are measured in each other: dimension and how many of its smallest.
_UNITS = {
    "second": ("minute", 1 / 60), "minut": ("minute", 1.0), "hour": ("minute", 60.0),
    "day": ("day", 1.0), "week": ("day", 7.0), "fortnight": ("day", 14.0),
    "month": ("month", 1.0), "year": ("month", 12.0), "decad": ("month", 120.0),
    "gram": ("gram", 1.0), "kilogram": ("gram", 1000.0),
    "metre": ("metre", 1.0), "metr": ("metre", 1.0), "kilometr": ("metre", 1000.0),
}  # fmt: skip
#: Stems of the times that a rate is by, or that something recurs.
TIME_STEMS = (
    word_set(
        "second minut hour day week month year night morning evening afternoon noon summer "
        "winter spring autumn term season"
    )
    | _WEEKDAYS
)
_A_UNIT = frozenset(_UNITS) | {"litr", "dozen"}
_MEASURES = frozenset(_UNITS) | {"litr"}
CURRENCIES = word_set("euro dollar pound franc cent penny penc crown krone")
_STOPPERS = word_set(
    "article possessive preposition time conjunction relative be have do modal pronoun "
    "negation mark"
)


class Quantity(NamedTuple):
    """A number and what it counts.

    Attributes:
        kind: ``count``, ``percent``, ``date`` (value month * 100 + day, or the month alone),
            ``weekday``, ``clock`` (hours), ``ordinal``, ``recurring`` ("every morning") or
            ``free`` (costs nothing).
        value: the number; 0 where ``name`` says it.
        name: of a weekday or a recurring time.
        dimension: of a unit that is measured in others, else "".
        heads: stems of what is counted; empty for a bare number.
        rate: stem of the time that it is by, "" if none.
        start: the first word's place in the sentence.
        stop: the place after the last word, heads included.
    """

    kind: str
    value: float
    name: str
    dimension: str
    heads: frozenset[str]
    rate: str
    start: int
    stop: int


_PLAIN = re.compile(r"\d+(?:[.,]\d+)*")


def number_of(word: str) -> float | None:
    """Return the value of a word that is a number, else None."""
    if word in _NUMBERS:
        return _NUMBERS[word]
    if word[0].isdigit() and ":" not in word:
        found = _PLAIN.match(word)
        assert found
        text = found.group()
        if "," in text and not re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
            return None
        try:
            return float(text.replace(",", ""))
        except ValueError:
            return None
    return None


def quantities(words: Sequence[Word]) -> list[Quantity]:
    """Return the quantities of a sentence, from left to right."""
    found: list[Quantity] = []
    at = 0
    while at < len(words):
        begins = words[at].kind == "number" or words[at].text in _STARTS
        quantity = _read(words, at) if begins else None
        if quantity is not None:
            found.append(quantity)
            # What is counted may begin another quantity ("two evenings", "ten a month") no more.
            at = max(_number_end(words, at)[1], at + 1)
            if words[quantity.start].text == "every":
                at = max(at, quantity.start + 2)
            elif quantity.kind not in ("count", "ordinal") and not quantity.heads:
                at = quantity.stop
        else:
            at += 1
    return found


def _read(words: Sequence[Word], at: int) -> Quantity | None:
    word = words[at]
    special = _free(words, at) or _date(words, at) or _clock(words, at) or _recurring(words, at)
    if special is not None:
        return special
    turn = _turn(words, at)
    if turn is not None:
        return turn
    share = _share(words, at)
    if share is not None:
        return share
    if word.text in _ORDINALS:
        heads, stop = _heads(words, at + 1)
        if not heads or (word.text == "first" and not heads & TIME_STEMS):
            return None
        return Quantity("ordinal", _ORDINALS[word.text], "", "", heads, "", at, stop)
    value, end = _number_end(words, at)
    if value is None:
        return None
    lone = word.text == "one" and end == at + 1
    if lone and not (end < len(words) and words[end].stem in _A_UNIT):
        return None
    percent = word.text.endswith("%") or (end < len(words) and words[end].text in ("percent",))
    if percent:
        heads, stop = _heads(words, end)
        return Quantity("percent", value, "", "", frozenset(), _rate(words, stop), at, end)
    heads, stop = _heads(words, end)
    if at > 1 and words[at - 1].text == "of" and words[at - 2].kind in ("word", "verb") and heads:
        heads |= {words[at - 2].stem} if not heads & _MEASURES else frozenset()
    unit = words[end].stem if end < len(words) else ""
    dimension, factor = _UNITS.get(unit, ("", 1.0))
    if "old" in heads and dimension == "month":
        dimension, factor = "", 1.0  # an age
    return Quantity("count", value * factor, "", dimension, heads, _rate(words, stop), at, stop)


def _number_end(words: Sequence[Word], at: int) -> tuple[float | None, int]:
    """Return the number that begins at a word, and the place after it."""
    word = words[at]
    value = number_of(word.text)
    end = at + 1
    if value is None and word.text in ("a", "an") and end < len(words):
        after = words[end]
        if after.text in _POWERS or after.text == "dozen":
            return (_POWERS | _NUMBERS)[after.text], end + 1
        before = words[at - 1] if at else None
        lone = (
            before is None
            or (before.kind in ("preposition", "time", "adverb") and before.text != "once")
            or (before.text in ("half", "lasts", "last", "takes", "take"))
        )
        then = words[end + 1].text if end + 1 < len(words) else ""
        lone = lone or then in ("later", "ago", "earlier")
        if after.stem in _A_UNIT and lone and not (before and before.text == "as"):
            return (0.5 if before and before.text == "half" else 1.0), end
        return None, end
    if value is None:
        return None, end
    if end < len(words) and 20 <= value <= 90 and not word.text[0].isdigit():
        unit = _NUMBERS.get(words[end].text, 0.0)
        if 0 < unit < 10:
            value, end = value + unit, end + 1
    while end < len(words) and words[end].text in _POWERS:
        value, end = value * _POWERS[words[end].text], end + 1
    return value, end


def _heads(words: Sequence[Word], at: int) -> tuple[frozenset[str], int]:
    """Return the stems of what is counted: the nouns that follow, with what stands before them."""
    heads: list[str] = []
    end = at
    while end < len(words) and end - at < 4:
        word = words[end]
        if word.text in ("different", "more", "new", "whole", "full", "of") and not heads:
            if word.text == "of" and end + 1 < len(words) and words[end + 1].text in ("the", "our"):
                end += 1
            end += 1
            continue
        if word.kind in _STOPPERS or word.kind in ("number", "adverb", "determiner"):
            break
        plural = word.text.endswith("s") and word.text[:-1] in NOUN_VERBS
        after = words[end + 1] if end + 1 < len(words) else None
        adds = word.text in NOUN_VERBS and after is not None and after.kind == "word"
        if word.kind == "verb" and (heads or not plural) and not adds and word.stem not in _UNITS:
            break
        heads.append(word.stem)
        end += 1
    return frozenset(heads), end


def _rate(words: Sequence[Word], at: int) -> str:
    """Return the time that a quantity is by, where "a month" or its kind follows."""
    for place in (at, at + 1):
        if place + 1 < len(words) and (
            words[place].text in ("a", "an", "per", "each", "every")
            and words[place + 1].stem in TIME_STEMS
        ):
            return words[place + 1].stem
    if at < len(words) and words[at].text in ("monthly", "yearly", "weekly", "daily", "annually"):
        return words[at].stem
    return ""


def _share(words: Sequence[Word], at: int) -> Quantity | None:
    word = words[at]
    if word.text == "half":
        after = words[at + 1].text if at + 1 < len(words) else ""
        if after in ("a", "an", "past") or (at and words[at - 1].text == "a"):
            return None
        heads, stop = _heads(words, at + 1)
        return Quantity("percent", 50.0, "", "", heads, "", at, stop)
    if word.text == "every" and at + 2 < len(words) and words[at + 1].text == "second":
        heads, stop = _heads(words, at + 2)
        if heads and not heads & TIME_STEMS:
            return Quantity("percent", 50.0, "", "", heads, "", at, stop)
    top = number_of(word.text)
    if top is None or at + 2 >= len(words):
        return None
    middle = 2 if words[at + 1].text == "out" and words[at + 2].text == "of" else 1
    if middle == 1 and words[at + 1].text not in ("in", "of"):
        return None
    place = at + middle + 1
    bottom = number_of(words[place].text) if place < len(words) else None
    if bottom is None or not 1 <= top < bottom <= 100:
        return None
    if top == 1 and words[at + 1].text == "of":
        return None  # "one of 1,300 cars"
    return Quantity("percent", round(100 * top / bottom, 1), "", "", frozenset(), "", at, place + 1)


def _date(words: Sequence[Word], at: int) -> Quantity | None:
    word = words[at]
    if word.stem in _WEEKDAYS:
        return Quantity("weekday", 0.0, word.stem, "", frozenset(), "", at, at + 1)
    for month_at, day_at in ((at + 1, at), (at, at + 1)):
        if max(month_at, day_at) < len(words):
            month = _month(words, month_at)
            day = re.match(r"(\d{1,2})(?:st|nd|rd|th)?$", words[day_at].text)
            if month and day and 1 <= int(day.group(1)) <= 31:
                stop = at + 2
                if stop < len(words) and words[stop].text in ("st", "nd", "rd", "th"):
                    stop += 1
                value = 100 * month + int(day.group(1))
                return Quantity("date", value, "", "", frozenset(), "", at, stop)
    month = _month(words, at)
    if month and (word.text not in ("may", "march") or (at and _dates(words[at - 1]))):
        return Quantity("date", 100 * month, "", "", frozenset(), "", at, at + 1)
    return None


def _month(words: Sequence[Word], at: int) -> float:
    return MONTHS.get(words[at].text, 0.0) if words[at].capital else 0.0


def _dates(word: Word) -> bool:
    return word.kind in ("preposition", "time", "determiner")


def _clock(words: Sequence[Word], at: int) -> Quantity | None:
    text = words[at].text
    if text in ("noon", "midday", "midnight"):
        hour = 0.0 if text == "midnight" else 12.0
        return Quantity("clock", hour, "", "", frozenset(), "", at, at + 1)
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", text)
    value: float | None = number_of(text)
    if found:
        value = int(found.group(1)) + int(found.group(2)) / 60
    if value is None or not 0 <= value <= 24:
        return None
    after = " ".join(word.text for word in words[at + 1 : at + 4])
    stop = at + 1
    if after.startswith(("pm", "p.m", "am", "a.m")):
        value, stop = value + (12 if after[0] == "p" and value < 12 else 0), stop + 1
    elif after.startswith("in the evening") or after.startswith("in the afternoon"):
        value, stop = value + (12 if value < 12 else 0), stop + 3
    elif after.startswith("o'clock"):
        stop += 1
    elif not found:
        return None
    return Quantity("clock", value, "", "", frozenset(), "", at, stop)


def _turn(words: Sequence[Word], at: int) -> Quantity | None:
    """Return "every second year" as the two years that it is."""
    if words[at].text != "every" or at + 2 >= len(words):
        return None
    nth = {"other": 2.0}.get(words[at + 1].text, _ORDINALS.get(words[at + 1].text))
    unit = words[at + 2].stem
    if nth is None or unit not in _UNITS:
        return None
    dimension, factor = _UNITS[unit]
    return Quantity("count", nth * factor, "", dimension, frozenset({unit}), "", at, at + 3)


def _recurring(words: Sequence[Word], at: int) -> Quantity | None:
    word = words[at]
    if word.text in ("every", "each") and at + 1 < len(words):
        after = words[at + 1]
        before = words[at - 1] if at else None
        if after.stem in TIME_STEMS - _WEEKDAYS - {"second"} and not (
            before and before.kind == "number"
        ):
            return Quantity("recurring", 0.0, after.stem, "", frozenset(), "", at, at + 2)
    if word.text in ("daily", "weekly", "monthly", "yearly", "annually", "hourly"):
        before = words[at - 1] if at else None
        if not (before and before.kind == "number"):
            return Quantity("recurring", 0.0, word.stem, "", frozenset(), "", at, at + 1)
    return None


_FREE = tuple(
    re.compile(rf"{pattern}$|{pattern} ")
    for pattern in (
        r"free of charge", r"free of cost", r"on us", r"on the house", r"for nothing", r"for free",
        r"(?:at|with) no (?:extra )?(?:cost|charge)", r"without (?:any |extra )?(?:charge|cost)",
        r"costs? (?:you )?nothing", r"pay (?:you )?nothing", r"pays? nothing", r"no charge",
        r"(?:our|a|your) gift(?: to you)?", r"complimentary", r"no cost",
    )
)  # fmt: skip
_NOT_FREE = ("of", "from", "time", "day", "evening", "kick", "choice", "hand", "to")


def _free(words: Sequence[Word], at: int) -> Quantity | None:
    """Return that something costs nothing, in whichever words."""
    first = words[at].text
    if first == "free":
        after = words[at + 1].text if at + 1 < len(words) else ""
        before = words[at - 1] if at else None
        joined = before is not None and before.kind == "word" and before.text in (
            "ad", "ads", "sugar", "gluten", "interest", "risk", "pain", "stress", "feel", "carbon",
        )  # fmt: skip
        if joined or (before is not None and before.text == "feel"):
            return None
        if after == "of" and words[at + 2 : at + 3] and words[at + 2].text in ("charge", "cost"):
            return Quantity("free", 1.0, "", "", frozenset(), "", at, at + 3)
        if after in _NOT_FREE:
            return None
        return Quantity("free", 1.0, "", "", frozenset(), "", at, at + 1)
    if first not in _FREE_STARTS:
        return None
    text = " ".join(word.text for word in words[at : at + 4])
    for pattern in _FREE:
        match = pattern.match(text)
        if match:
            length = len(match.group().split())
            if words[at + length : at + length + 1] and words[at + length].text in _NOT_YET:
                return None  # "you pay nothing until you move in"
            return Quantity("free", 1.0, "", "", frozenset(), "", at, at + length)
    return None


_NOT_YET = frozenset(("until", "till", "before", "unless"))
_FREE_STARTS = word_set(
    "free on for at with without cost costs pay pays no our a your complimentary"
)
#: words with which a quantity may begin, besides numbers.
_STARTS = (
    frozenset(_ORDINALS)
    | frozenset(MONTHS)
    | _WEEKDAYS
    | frozenset(day + "s" for day in _WEEKDAYS)
    | _FREE_STARTS
    | word_set(
        "a an one half every each noon midday midnight daily weekly monthly yearly annually hourly"
    )
)
