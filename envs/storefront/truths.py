"""A product's facts as the rule of `claims` sees them: what they count, when, and what of.

Texts are read in the same way, so that the two can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain

from copygym.envs.storefront.copy import Fact, Product
from copygym.envs.storefront.features import stem, words_of
from copygym.envs.storefront.grammar import FUNCTION_WORDS
from copygym.envs.storefront.lexicon import (
    DAYS,
    EXPERTS,
    GENERIC_UNITS,
    LIGHT,
    MONTHS,
    NUMBER_WORDS,
    VOUCHING,
)
from copygym.envs.storefront.products import TRADES

_DIGIT = re.compile(r"\d")
#: verbs that any product or offer may have, beside those of the trades.
_VERBS = frozenset(
    ("is", "are", "was", "were", "has", "have", "can", "will", "does", "do", "ends", "end",
     "closes", "close", "costs", "comes", "gives", "means", "makes", "use", "tested", "designed",
     "recommend", "recommends", "approved")
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """Something in a clause that a fact has to carry.

    Attributes:
        kind: number, day or date.
        value: in a form that can be compared.
        units: stems that may be what is counted; () for an amount.
        spelled: whether a number is in letters.
    """

    kind: str
    value: str
    units: tuple[str, ...]
    spelled: bool


@dataclass(frozen=True)
class Truth:
    """A fact as the rule sees it.

    Attributes:
        kind: of the fact, or "price".
        items: what it carries.
        anchors: stems that say that a clause talks of it.
        topics: those of them that say that a clause does not talk of another.
        heads: stems of what it is about, where that is not the product: an offer, a warranty.
        words: stems of all its words.
        ways: how somebody vouches in it; see `VOUCHING`.
        text: in lower case.
    """

    kind: str
    items: tuple[Item, ...]
    anchors: frozenset[str]
    topics: frozenset[str]
    heads: frozenset[str]
    words: frozenset[str]
    ways: frozenset[str]
    text: str


def split(text: str) -> list[str]:
    """Return words in lower case; "two-year" is two of them, "25 percent" is "25%"."""
    text = re.sub(r"(?<=\d) ?(?:per ?cent)\b", "%", text.lower().replace("’", "'"))
    return list(chain.from_iterable(w.split("-") for w in words_of(text)))


def stems_of(text: str) -> frozenset[str]:
    """Return the stems of a text's words."""
    return frozenset(map(stem, split(text)))


@cache
def truths(product: Product) -> tuple[Truth, ...]:
    """Return the facts of a product, and last its name and price, as the rule sees them."""
    name = stems_of(product.name)
    price = Fact("price", f"{product.name} costs {product.price:g}.")
    return tuple(_truth(fact, name) for fact in (*product.typed, price))


def _truth(fact: Fact, name: frozenset[str]) -> Truth:
    kind, words = fact.kind, split(fact.text)
    anchors = {
        stem(w)
        for w in words
        if w not in FUNCTION_WORDS and not is_number(w) and stem(w) not in LIGHT
    }
    anchors -= DAYS | MONTHS
    if kind != "gift":
        anchors -= name | GENERIC_UNITS
    if kind == "price":
        anchors = {"cost", "price", "pay"}
    elif kind == "users":
        anchors |= {"join", "already"}
    elif kind == "extra" and anchors & {"cost", "price"}:
        anchors |= {"cost", "price"}
    return Truth(
        kind,
        items=tuple(items_of(words)),
        anchors=frozenset(anchors),
        topics=frozenset(anchors) - name - GENERIC_UNITS,
        heads=_heads(fact) - name,
        words=frozenset(map(stem, words)),
        ways=ways_of(fact.text),
        text=fact.text.lower(),
    )


def _heads(fact: Fact) -> frozenset[str]:
    """Return what a fact is about, where that is not the product."""
    what = " ".join(fact.parts.get(part, "") for part in ("what", "who"))
    heads = frozenset(stem(w) for w in split(what) if w not in FUNCTION_WORDS and not is_number(w))
    if fact.kind == "experts":
        return heads & EXPERTS
    if fact.kind in ("promise", "extra"):
        return stems_of(fact.text) & stems_of("warranty delivery price deposit")
    return heads - LIGHT


def ways_of(text: str) -> frozenset[str]:
    """Return how somebody vouches in a text; a Test Lab's name says nothing of it."""
    words = re.findall(r"[A-Za-z']+", text)
    stems = (stem(w.lower()) for i, w in enumerate(words) if i == 0 or w[0].islower())
    return frozenset(VOUCHING[s] for s in stems if s in VOUCHING)


def is_number(word: str) -> bool:
    """Say whether a word is a number, in figures or in letters."""
    return bool(_DIGIT.match(word)) or word in NUMBER_WORDS


def items_of(words: list[str]) -> Iterable[Item]:
    """Return the numbers, days and dates among the words of a clause."""
    for i, word in enumerate(words):
        day = stem(word)
        if day in DAYS:
            yield Item("day", day, (), False)
        elif is_number(word):
            after = words[i + 1] if i + 1 < len(words) else ""
            before = words[i - 1] if i else ""
            value = NUMBER_WORDS.get(word) or re.sub(r"[,%]|st$|nd$|rd$|th$", "", word)
            month = after if after in MONTHS else before if before in MONTHS else ""
            if month:
                yield Item("date", f"{value} {month}", (), False)
            else:
                percent = ("%",) if word.endswith("%") else ()
                units = percent or _units(words[i + 1 : i + 4])
                yield Item("number", value, units, word in NUMBER_WORDS)


def _units(after: list[str]) -> tuple[str, ...]:
    """Return the stems of the words after a number that may be what it counts."""
    out = []
    for word in after:
        s = stem(word)
        if word in FUNCTION_WORDS or s in LIGHT or word in MONTHS or s in DAYS or is_number(word):
            break
        out.append(s)
    return tuple(out)


@cache
def _all_verbs() -> frozenset[str]:
    first = {fact.split()[0] for trade in TRADES for kind in trade.kinds for fact in kind.facts}
    return _VERBS | {w for w in first if w not in FUNCTION_WORDS}


def subject_and_rest(words: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the stems before a clause's first verb, and those from it on; all are rest if none."""
    verbs = _all_verbs()
    at = next((i for i, word in enumerate(words) if i and word in verbs), 0)
    return frozenset(map(stem, words[:at])), frozenset(map(stem, words[at:]))
