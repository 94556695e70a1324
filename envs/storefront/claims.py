"""What a text claims of a product, against what is true of it: the rule of the large truth.

A clause is read for numbers with what they count, days, who vouches, and for words that promise,
press or boast. Each needs a fact that carries it; and where a clause talks of another fact
instead of its own, true words are bound to the wrong thing ("The two-year warranty ends on
Sunday"). Rules, not a model: `tests/envs/storefront/test_storefront_claims.py` counts what they
miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from copygym.envs.storefront.copy import Product
from copygym.envs.storefront.features import stem
from copygym.envs.storefront.grammar import FUNCTION_WORDS
from copygym.envs.storefront.lexicon import (
    ANYBODY,
    BOASTS,
    CROWDS,
    DAYS,
    ENDING,
    EXPERTS,
    FAMILIES,
    GENERIC_UNITS,
    LIGHT,
    MEASURES,
    PEOPLE,
    PRESSURE,
    SOON,
    UNITS,
    VOUCHING,
)
from copygym.envs.storefront.products import TRADES
from copygym.envs.storefront.truths import (
    Item,
    Truth,
    items_of,
    split,
    stems_of,
    subject_and_rest,
    truths,
    ways_of,
)

#: where one thing is said after another.
_CLAUSE = re.compile(
    r"[.!?;:,\n]+(?=\s|$)|\s[-–—]+\s|\b(?:and|but|so|while|when|that|who|which|with|or|plus)\b"
)
#: where one subject may follow another.
_SAYING = re.compile(r"[.!?;:,\n]+(?=\s|$)|\s[-–—]+\s|\b(?:and|but|so|while|when|or)\b")
_SENTENCE = re.compile(r"(?<=[.!?\n])\s+")

#: a clause that begins so has its subject elsewhere.
_ADVERBIAL = frozenset(("in", "on", "at", "for", "during", "from", "before", "after", "until"))


_IT = frozenset(("it",))


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
    facts, name = truths(product), stems_of(product.name)
    for clause in _CLAUSE.split(sentence):
        words = split(clause)
        if not words:
            continue
        told = frozenset(map(stem, words))
        for item in items_of(words):
            yield from _judge_item(item, told, facts, name)
        yield from _judge_vouching(clause, told - name, facts)
    for saying in _SAYING.split(sentence):
        yield from _judge_subject(split(saying), facts, name)
    low = sentence.lower().replace("’", "'")
    yield from _judge_promises(low, stems_of(low), facts)
    yield from _judge_pressure(low, facts)
    rival = _rivals(product).search(sentence)
    if rival:
        yield f"false: {rival[0]}"


# ---------------------------------------------------------------- numbers and days


def _judge_item(
    item: Item, clause: frozenset[str], facts: tuple[Truth, ...], name: frozenset[str]
) -> Iterable[str]:
    if item.kind == "number" and item.spelled and item.value == "1":
        return
    said = " ".join((item.value, *item.units))
    same = [f for f in facts for other in f.items if _same(item, other, f, clause, facts)]
    if same:
        if _strays(item, clause, same, facts, name):
            yield f"misbound: {said}"
        return
    if item.kind == "number":
        idle = item.spelled and not set(item.units) & _counted(facts)
        if idle and not _times_of(clause, facts):
            return  # "two cups of tea" claims nothing
    elif item.kind == "day" and not (clause & SOON or _times_of(clause, facts)):
        return  # "a quiet Sunday" claims nothing
    yield f"false: {said}"


def _same(
    item: Item, other: Item, fact: Truth, clause: frozenset[str], facts: tuple[Truth, ...]
) -> bool:
    """Say whether a fact's item is what a text's item says."""
    if (item.kind, item.value) != (other.kind, other.value):
        return False
    if item.kind != "number":
        return True
    if "%" in item.units or "%" in other.units:
        return item.units == other.units
    if not item.units:  # "in just 3", where the clause talks of what takes 3 minutes
        return not other.units or bool(clause & fact.anchors)
    if not other.units:  # an amount: of money or of a clock, not of what is counted elsewhere
        return item.units[0] not in UNITS | PEOPLE | _counted(facts)
    if set(item.units) & set(other.units[:2]):
        return True
    return fact.kind == "users" and bool(set(item.units) & PEOPLE)


def _strays(
    item: Item,
    clause: frozenset[str],
    same: list[Truth],
    facts: tuple[Truth, ...],
    name: frozenset[str],
) -> bool:
    """Say whether a clause tells an item of facts that it does not talk of, and talks of others."""
    others = [f for f in facts if f not in same]
    if any(f.kind == "price" for f in same):
        return False
    # What is counted, or talked of, in several facts doesn't say which is meant.
    shared = frozenset(item.units) & _counted(tuple(others)) - MEASURES
    elsewhere = frozenset().union(*(f.topics for f in others))
    own = frozenset().union(*(f.anchors for f in same))
    if clause & own - shared - elsewhere:
        return False
    clause -= shared | own | frozenset(item.units)
    if item.kind != "number":
        if not all(f.kind == "deadline" for f in same):
            return bool(clause & ENDING) or _talks(clause, [f for f in others if f.kind == "does"])
        # A deadline is of an offer: not of the product, and not of no end at all.
        of_product = clause & name and clause & ENDING if clause & SOON else clause & (name | _IT)
        return bool(of_product) or _talks(clause, others)
    crowd = all(f.kind == "users" for f in same)
    specific = item.units and not set(item.units) & GENERIC_UNITS
    if specific and not crowd and not shared:  # the unit itself says which fact is meant
        others = [f for f in others if f.kind != "does"]
    return _talks(clause, others)


def _talks(clause: frozenset[str], facts: list[Truth]) -> bool:
    return any(clause & f.topics for f in facts)


def _counted(facts: tuple[Truth, ...]) -> frozenset[str]:
    """Return what the facts count, and what is measured anywhere."""
    return MEASURES.union(*(other.units for f in facts for other in f.items))


def _times_of(clause: frozenset[str], facts: tuple[Truth, ...]) -> bool:
    """Say whether a clause talks of a fact that has a day or an hour, or a bare amount."""
    return any(
        clause & f.anchors for f in facts for i in f.items if i.kind != "number" or not i.units
    )


# ---------------------------------------------------------------- who does what


def _judge_subject(
    words: list[str], facts: tuple[Truth, ...], name: frozenset[str]
) -> Iterable[str]:
    """Find what is said of an offer, a gift or a person that is true of something else."""
    subject, rest = subject_and_rest(words)
    if not subject or subject & name or words[0] in _ADVERBIAL:
        return
    about = [f for f in facts if subject & f.heads]
    if not about:
        return
    for fact in facts:
        content = fact.words - LIGHT - DAYS - _FUNCTION_STEMS
        deadline = fact.kind == "deadline" and rest & ENDING and rest & fact.words - ENDING
        does = fact.kind == "does" and 2 * len(rest & content) >= len(content) > 0
        if fact not in about and (deadline or does):
            yield f"misbound: {' '.join(sorted(subject & about[0].heads))}"
            return


_FUNCTION_STEMS = frozenset(map(stem, FUNCTION_WORDS))


def _judge_vouching(clause: str, told: frozenset[str], facts: tuple[Truth, ...]) -> Iterable[str]:
    how = ways_of(clause) & frozenset(VOUCHING[s] for s in told if s in VOUCHING)
    if not how:
        return
    vouched = [f for f in facts if f.kind == "experts"]
    known = frozenset().union(*(f.words for f in facts))
    who = told & EXPERTS
    strange = who - known - (ANYBODY if vouched else frozenset())
    names = [
        w for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", clause) if stem(w.lower()) not in known
    ]
    if strange or (names and who):
        yield f"false: {' '.join(sorted(strange) or names)}"
    elif who and vouched and not who - vouched[0].words - ANYBODY and not how & vouched[0].ways:
        yield f"misbound: {' '.join(sorted(who))}"


# ---------------------------------------------------------------- promises and boasts


def _judge_promises(low: str, told: frozenset[str], facts: tuple[Truth, ...]) -> Iterable[str]:
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
        elif name == "gift" and not _gives(low, found, told, carried):
            yield f"misbound: {found[0]}"


def _gives(low: str, found: re.Match[str], told: frozenset[str], carried: list[Truth]) -> bool:
    """Say whether a sentence says what is on the house; a mere week or month, near the word."""
    if any(told & f.topics for f in carried):
        return True
    near = stems_of(" ".join((*low[: found.start()].split()[-4:], *low[found.end() :].split()[:5])))
    return any(near & f.anchors for f in carried)


def _judge_pressure(low: str, facts: tuple[Truth, ...]) -> Iterable[str]:
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
    """Return what finds the name of another brand's product of this kind."""
    brands = sorted({b for t in TRADES for b in t.brands if b not in product.name})
    noun = re.escape(product.name.split()[-1])
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, brands))}) (?:\w+ )?{noun}\b")
