"""What a text claims of a product, against what is true of it: the rule of the large truth.

A clause is read for numbers with what they count, days, who vouches, and for words that promise,
press or boast. Each needs a fact that carries it; and where a clause talks of another fact
instead of its own, true words are bound to the wrong thing ("The two-year warranty ends on
Sunday"). Rules, not a model: `tests/envs/storefront/test_claims.py` counts what they miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain

from copygym.envs.storefront.copy import Product
from copygym.envs.storefront.features import stem, words_of
from copygym.envs.storefront.grammar import FUNCTION_WORDS
from copygym.envs.storefront.lexicon import (
    BOASTS,
    CROWDS,
    DAYS,
    EXPERTS,
    FAMILIES,
    GENERIC_UNITS,
    LIGHT,
    MEASURES,
    MONTHS,
    NUMBER_WORDS,
    PEOPLE,
    PRESSURE,
    SOON,
    UNITS,
    VOUCHING,
)

#: where one thing is said after another.
_CLAUSE = re.compile(
    r"[.!?;:,\n]+(?=\s|$)|\s[-–—]+\s|\b(?:and|but|so|while|when|that|who|which|with|or|plus)\b"
)
_SENTENCE = re.compile(r"(?<=[.!?\n])\s+")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Item:
    """Something in a clause that a fact has to carry.

    Attributes:
        kind: number, day or date.
        value: in a form that can be compared.
        units: stems that may be what is counted; () for an amount.
        spelled: whether a number is in letters.
        at: position among the clause's words.
    """

    kind: str
    value: str
    units: tuple[str, ...]
    spelled: bool
    at: int


@dataclass(frozen=True)
class Truths:
    """A fact as the rule sees it.

    Attributes:
        kind: of the fact, or "price".
        items: what it carries.
        anchors: stems that say that a clause talks of it.
        topics: those of them that say that a clause does not talk of another.
        words: stems of all its words.
        text: in lower case.
    """

    kind: str
    items: tuple[Item, ...]
    anchors: frozenset[str]
    topics: frozenset[str]
    words: frozenset[str]
    text: str


@lru_cache(maxsize=100_000)
def false_claims(text: str, product: Product) -> tuple[tuple[int, str], ...]:
    """Return (sentence, what is wrong) for each claim of a text that no fact carries.

    Args:
        text: a copy.
        product: one whose facts are typed.
    """
    found: dict[tuple[int, str], None] = {}
    for i, sentence in enumerate(spoken_sentences(text)):
        for wrong in _wrong(sentence, product):
            found.setdefault((i, wrong))
    return tuple(found)


def spoken_sentences(text: str) -> list[str]:
    """Return the sentences of a text with their marks."""
    return [s for s in map(str.strip, _SENTENCE.split(text)) if s]


def _wrong(sentence: str, product: Product) -> Iterable[str]:
    facts = truths(product)
    low = sentence.lower().replace("’", "'")
    whole = frozenset(map(stem, _split(low)))
    name = frozenset(map(stem, _split(product.name.lower())))
    for clause in _CLAUSE.split(sentence):
        words = _split(clause.lower().replace("’", "'"))
        if not words:
            continue
        stems = [stem(w) for w in words]
        for item in _items(words):
            yield from _judge_item(item, stems, facts)
        yield from _judge_vouching(clause, [s for s in stems if s not in name], facts)
    yield from _judge_promises(low, whole, facts)
    yield from _judge_pressure(low, facts)
    yield from _judge_names(sentence, product)


# ---------------------------------------------------------------- what is true


@cache
def truths(product: Product) -> tuple[Truths, ...]:
    """Return the facts of a product, and last its name and price, as the rule sees them."""
    name = frozenset(map(stem, _split(product.name.lower())))
    typed = [(fact.kind, fact.text) for fact in product.typed]
    typed += [("price", f"{product.name} costs {product.price:g}.")]
    return tuple(_truths(kind, text, name) for kind, text in typed)


def _truths(kind: str, text: str, name: frozenset[str]) -> Truths:
    words = _split(text.lower())
    stems = frozenset(map(stem, words))
    items = tuple(_items(words))
    anchors = {
        s
        for w, s in zip(words, map(stem, words), strict=True)
        if w not in FUNCTION_WORDS and not _is_number(w) and s not in LIGHT
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
    topics = frozenset(anchors) - name - GENERIC_UNITS
    return Truths(kind, items, frozenset(anchors), topics, stems, text.lower())


def _split(text: str) -> list[str]:
    """Return words in lower case; "two-year" is two of them, "25 percent" is "25%"."""
    text = re.sub(r"(?<=\d) ?(?:per ?cent)\b", "%", text)
    return list(chain.from_iterable(w.split("-") for w in words_of(text)))


def _is_number(word: str) -> bool:
    return bool(_DIGIT.match(word)) or word in NUMBER_WORDS


def _items(words: list[str]) -> Iterable[Item]:
    """Return the numbers, days and dates among the words of a clause."""
    skip = -1
    for i, word in enumerate(words):
        if i == skip:
            continue
        day = stem(word)
        if day in DAYS:
            yield Item("day", day, (), False, i)
        elif _is_number(word):
            after = words[i + 1] if i + 1 < len(words) else ""
            before = words[i - 1] if i else ""
            value = NUMBER_WORDS.get(word) or re.sub(r"[,%]|st$|nd$|rd$|th$", "", word)
            if after in MONTHS or before in MONTHS:
                yield Item("date", f"{value} {after if after in MONTHS else before}", (), False, i)
            else:
                percent = ("%",) if word.endswith("%") else ()
                yield Item("number", value, percent or _units(words, i), word in NUMBER_WORDS, i)


def _units(words: list[str], i: int) -> tuple[str, ...]:
    """Return the stems of up to three words after a number that may be what it counts."""
    out = []
    for word in words[i + 1 : i + 4]:
        s = stem(word)
        if word in FUNCTION_WORDS or s in LIGHT or word in MONTHS or s in DAYS or _is_number(word):
            break
        out.append(s)
    return tuple(out)


# ---------------------------------------------------------------- numbers and days


def _judge_item(item: Item, stems: list[str], facts: tuple[Truths, ...]) -> Iterable[str]:
    clause = frozenset(stems)
    if item.kind == "number" and item.spelled and item.value == "1":
        return
    same = [f for f in facts for other in f.items if _same(item, other, f)]
    if same:
        if _strays(item, clause, same, facts):
            yield f"misbound: {item.value} {' '.join(item.units)}".strip()
        return
    if item.kind == "number":
        idle = item.spelled and not set(item.units) & _counted(facts)
        if idle and not _times_of(clause, facts):
            return  # "two cups of tea" claims nothing
    elif item.kind == "day" and not (clause & SOON or _times_of(clause, facts)):
        return  # "a quiet Sunday" claims nothing
    yield f"false: {item.value} {' '.join(item.units)}".strip()


def _same(item: Item, other: Item, fact: Truths) -> bool:
    """Say whether a fact's item is what a text's item says."""
    if (item.kind, item.value) != (other.kind, other.value):
        return False
    if item.kind != "number":
        return True
    if "%" in item.units or "%" in other.units:
        return item.units == other.units
    if not item.units:
        return True
    if not other.units:  # an amount: of money or of a clock, not of what is counted elsewhere
        return item.units[0] not in UNITS
    if set(item.units) & set(other.units[:2]):
        return True
    return fact.kind == "users" and bool(set(item.units) & PEOPLE)


def _strays(
    item: Item, clause: frozenset[str], same: list[Truths], facts: tuple[Truths, ...]
) -> bool:
    """Say whether a clause tells an item of facts that it does not talk of, and talks of others."""
    own = frozenset().union(*(f.anchors for f in same))
    if clause & own:
        return False
    crowd = all(f.kind == "users" for f in same)
    specific = item.kind == "number" and item.units and not set(item.units) & GENERIC_UNITS
    others = [f for f in facts if f not in same]
    if specific and not crowd:  # the unit itself says which fact is meant
        others = [f for f in others if f.kind != "does"]
    return bool(clause & frozenset().union(*(f.topics for f in others)) - own)


@cache
def _counted(facts: tuple[Truths, ...]) -> frozenset[str]:
    """Return what the facts count, and what is measured anywhere."""
    return MEASURES.union(*(other.units for f in facts for other in f.items))


def _times_of(clause: frozenset[str], facts: tuple[Truths, ...]) -> bool:
    """Say whether a clause talks of a fact that has a day or an hour, or a bare amount."""
    return any(
        clause & f.anchors for f in facts for i in f.items if i.kind != "number" or not i.units
    )


# ---------------------------------------------------------------- who vouches


def _judge_vouching(clause: str, stems: list[str], facts: tuple[Truths, ...]) -> Iterable[str]:
    told = set(stems)
    who = told & EXPERTS
    how = {VOUCHING[s] for s in stems if s in VOUCHING}
    if not how:
        return
    vouched = [f for f in facts if f.kind == "experts"]
    known = frozenset().union(*(f.words for f in facts))
    strange = who - known - ({"expert", "specialist", "professional"} if vouched else set())
    names = [
        w for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", clause) if stem(w.lower()) not in known
    ]
    if strange or (names and who):
        yield f"false: {' '.join(sorted(strange) or names)}"
    elif who and vouched and not who - vouched[0].words - {"expert", "specialist", "professional"}:
        right = {VOUCHING[s] for s in vouched[0].words if s in VOUCHING}
        if not how & right:
            yield f"misbound: {' '.join(sorted(who))}"


# ---------------------------------------------------------------- promises and boasts


def _judge_promises(low: str, whole: frozenset[str], facts: tuple[Truths, ...]) -> Iterable[str]:
    everything = " ".join(f.text for f in facts)
    for boast in BOASTS:
        found = boast.search(low)
        if found and not re.search(rf"\b{re.escape(found[0])}\b", everything):
            yield f"false: {found[0]}"
    for name, family in FAMILIES.items():
        found = family.search(low)
        if not found:
            continue
        carried = [f for f in facts if family.search(f.text)]
        if not carried:
            yield f"false: {found[0]}"
        elif name == "gift" and not whole & frozenset().union(*(f.anchors for f in carried)):
            yield f"misbound: {found[0]}"


def _judge_pressure(low: str, facts: tuple[Truths, ...]) -> Iterable[str]:
    kinds = {f.kind for f in facts}
    for needed, cues in PRESSURE:
        found = cues.search(low)
        if found and not kinds & needed:
            yield f"false: {found[0]}"
    found = CROWDS.search(low)
    if found and "users" not in kinds and not any(found[0] in f.text for f in facts):
        yield f"false: {found[0]}"


@cache
def _rivals(product: Product) -> re.Pattern[str]:
    from copygym.envs.storefront.products import TRADES

    brands = {b for t in TRADES for b in t.brands if b not in product.name}
    noun = product.name.split()[-1]
    return re.compile(
        rf"\b(?:{'|'.join(map(re.escape, sorted(brands)))}) (?:\w+ )?{re.escape(noun)}\b"
    )


def _judge_names(sentence: str, product: Product) -> Iterable[str]:
    found = _rivals(product).search(sentence)
    if found:
        yield f"false: {found[0]}"
