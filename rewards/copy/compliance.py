"""Claims that a copy makes and its brief does not support: numbers, superlatives, promises, names.

Rules, not a model, so that a reader can say of every finding which word caused it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from copygym.rewards.copy.ngrams import words

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS)} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
}

#: words and phrases that promise more than copy may without the brief's word for it, by kind.
CLAIMS: dict[str, tuple[str, ...]] = {
    "superlative": (
        "best", "greatest", "cheapest", "fastest", "lowest", "finest", "number one", "no 1",
        "most popular", "unbeatable", "unrivalled", "perfect", "ultimate", "world-class",
        "in the world", "revolutionary",
    ),
    "guarantee": (
        "guaranteed", "guarantee", "guarantees", "risk-free", "no risk", "promise you", "never",
        "forever", "for life", "unlimited", "instant", "instantly", "nobody ever", "free",
        "for nothing", "money back", "100%",
    ),
    "medical": (
        "cure", "cures", "cured", "heal", "heals", "miracle", "clinically", "medically", "proven",
        "lose weight", "pain-free", "painless", "detox", "anti-aging", "doctors", "treats",
    ),
}  # fmt: skip

_PATTERNS = {
    phrase: re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])")
    for phrases in CLAIMS.values()
    for phrase in phrases
}
_TOKEN = re.compile(r"[^\W_]+(?:['’.,\-][^\W_]+)*%?|[.!?:;\n\"“”(]")
_PERCENT = re.compile(r"(\d[\d.,]*)\s*(?:%|per ?cent\b)", re.IGNORECASE)
#: Words that title case leaves small, which therefore do not speak against it.
_SMALL = frozenset(
    (
        *("a", "an", "and", "as", "at", "but", "by", "for", "from", "if", "in", "into", "nor"),
        *("of", "off", "on", "onto", "or", "over", "so", "than", "that", "the", "to", "up"),
        *("via", "vs", "with"),
    )
)
_TITLE_SHARE = 0.65


@lru_cache(maxsize=100_000)
def unsupported_claims(text: str, brief: str) -> tuple[str, ...]:
    """Return what ``text`` claims and ``brief`` does not say, sorted, each once.

    - **Numbers** (prices, counts, years, durations; in digits or spelled out from eleven on): the
      brief must hold the same number. Small numbers in words are left alone ("one of us").
    - **Percentages**: the brief must hold the same number as a percentage.
    - **Superlatives, guarantees, medical claims** (`CLAIMS`): the brief must use the same words.
    - **Names**: a capitalised word inside a sentence must occur in the brief in any case. Texts in
      title case (see `title_case`) and single letters are exempt, as their capitals say nothing:
      of such texts an invented name is not found.
    """
    low_brief = brief.lower()
    shares = _percentages(text) - _percentages(brief)
    found = spelled_numbers(text) - spelled_numbers(brief, smallest=0) - shares
    found |= {f"{number}%" for number in shares}
    low = text.lower().replace("’", "'")
    found |= {
        phrase
        for phrase, pattern in _PATTERNS.items()
        if pattern.search(low) and not pattern.search(low_brief)
    }
    return tuple(sorted(found | _names(text, low_brief)))


def _plain_number(word: str) -> str:
    number = word.replace(",", "").rstrip("%.")
    return number.rstrip("0").rstrip(".") if "." in number else number


def spelled_numbers(text: str, smallest: int = 11) -> set[str]:
    """Return the numbers in digits, and those in words from ``smallest`` on."""
    found = {_plain_number(re.sub(r"[^\d.,]", "", w)) for w in words(text) if w[0].isdigit()}
    spelled = {_NUMBER_WORDS[w] for w in words(text) if w in _NUMBER_WORDS}
    return found | {number for number in spelled if int(number) >= smallest}


def _percentages(text: str) -> set[str]:
    return {_plain_number(match) for match in _PERCENT.findall(text)}


def title_case(text: str) -> bool:
    """Tell whether most words inside a text's sentences are capitalised, as in a headline.

    Small words (articles, short prepositions) are not counted; a lone capitalised word is a name.
    """
    counted = [w for w in _inside(text) if w[0].isalpha() and w.lower() not in _SMALL]
    return len(counted) > 1 and sum(w[0].isupper() for w in counted) > _TITLE_SHARE * len(counted)


def _inside(text: str) -> list[str]:
    """Return the words that do not begin a sentence."""
    inside: list[str] = []
    at_start = True
    for token in _TOKEN.findall(text):
        if not token[0].isalnum():
            at_start = True
            continue
        if not at_start:
            inside.append(token)
        at_start = False
    return inside


def _names(text: str, low_brief: str) -> set[str]:
    if title_case(text):
        return set()
    capitals = [
        w for w in _inside(text) if w[0].isupper() and len(w) > 1 and not w.startswith(("I'", "I’"))
    ]
    known = {_singular(w) for w in words(low_brief)}
    return {w for w in capitals if _singular(w.lower().replace("’", "'")) not in known}


def _singular(word: str) -> str:
    return word.removesuffix("'s").rstrip("s")
