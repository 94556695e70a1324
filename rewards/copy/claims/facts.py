"""A brief as facts: what is told of whom, and which numbers, dates and words belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from copygym.rewards.copy.claims.language import (
    Word,
    clauses,
    content,
    read_sentences,
    verb_at,
)
from copygym.rewards.copy.claims.quantities import TIME_STEMS, Quantity, quantities

_LABEL = re.compile(r"(?:^|(?<=[.;\n])\s*|(?<=[.;] ))([A-Z][\w-]*(?: [\w-]+){0,2}):\s")
_NAMES = frozenset(("product", "name", "title", "brand", "service"))
_ASIDE = frozenset(("field", "topic", "category", "sector", "industry", "channel"))


@dataclass(frozen=True)
class Fact:
    """A clause of a brief.

    Attributes:
        stems: of its words, its subject's included, also where a pronoun or nothing stands for it.
        subject: stems of whom it tells; empty where that is the product or the reader.
        quantities: numbers and dates in it.
        negated: stems that it denies.
    """

    stems: frozenset[str]
    subject: frozenset[str]
    quantities: tuple[Quantity, ...]
    negated: frozenset[str]


@dataclass(frozen=True)
class Brief:
    """What may be claimed.

    Attributes:
        text: the brief in lower case.
        product: stems of the name of what is advertised, or of the story's first subject.
        facts: clauses; the price is one.
        facts_of: stem -> the facts that have it.
        topic: stems of the first subject.
        words: all words, in lower case.
        following: word -> the words that follow it, "" for a mark or an end.
        affirmed: stems that some fact says without denying them.
        stated: whether there is a fact at all, besides a name.
    """

    text: str
    product: frozenset[str]
    facts: tuple[Fact, ...]
    facts_of: dict[str, frozenset[int]]
    topic: frozenset[str]
    words: frozenset[str]
    following: dict[str, frozenset[str]]
    affirmed: frozenset[str]
    negated: frozenset[str]
    stated: bool


@lru_cache(maxsize=4096)
def read_brief(brief: str, original: str = "") -> Brief:
    """Return the facts of a brief and, where a text is rewritten, of its original.

    A form ("Product: ... Price: ... Facts: ...") is read by its labels, any other text sentence by
    sentence. The field of a form is no fact.
    """
    parts = _parts(brief)
    product: frozenset[str] = frozenset()
    facts: list[Fact] = []
    for label, text in parts:
        if label in _NAMES and not product:
            named = [w for s in read_sentences(text) for w in s]
            product = frozenset(w.stem for w in content(named))
            facts.append(Fact(product, product, tuple(quantities(named)), frozenset()))
        elif label == "price":
            facts += [_price(s) for s in read_sentences(text)]
        elif label not in _ASIDE:
            facts += _facts(text, facts)
    n_facts = len(facts) - bool(product)
    if original:
        facts += _facts(original, facts)
    whole = " ".join(filter(None, (brief, original)))
    if not product and facts:
        product = _main_subject(whole)
    return _indexed(whole, product, facts, n_facts > 0)


def _parts(brief: str) -> list[tuple[str, str]]:
    """Return (label, text) of each part; a text without labels is one part with the label ""."""
    found = list(_LABEL.finditer(brief))
    labels = {match.group(1).lower() for match in found}
    if len(found) < 2 and not labels & (_NAMES | {"facts"}):
        return [("", brief)]
    bounds = [*(match.start() for match in found), len(brief)]
    head = brief[: bounds[0]].strip()
    parts = [("", head)] if head else []
    for match, end in zip(found, bounds[1:], strict=True):
        parts.append((match.group(1).lower(), brief[match.end() : end].strip()))
    return parts


def _main_subject(brief: str) -> frozenset[str]:
    """Return the stems of what a text without labels is about: the first name, if it has one."""
    first = read_sentences(brief)[0]
    at = verb_at(first)
    subject = content(first[:at]) if at > 0 else []
    named = [w.stem for w in subject if w.capital]
    return frozenset(named if named and first[0].kind != "article" else ())


def _price(words: tuple[Word, ...]) -> Fact:
    found = tuple(quantities(words))
    return Fact(frozenset(w.stem for w in content(words)), frozenset(), found, frozenset())


def _facts(text: str, before: list[Fact]) -> list[Fact]:
    facts: list[Fact] = []
    earlier = [fact.subject for fact in before if fact.subject]
    for sentence in read_sentences(text):
        inside: frozenset[str] | None = None
        for words in _told(sentence):
            at = verb_at(words)
            head = words[: max(at, 0)]
            subject = frozenset(w.stem for w in content(head))
            pronoun = any(w.kind == "pronoun" and w.text not in ("you", "there") for w in head)
            known = subject
            if at == 0 and inside is not None:
                known = inside
            elif (pronoun or at < 0) and earlier:
                known = subject | earlier[-1] | earlier[0]
            inside = known if at >= 0 else inside
            if subject:
                earlier.append(subject)
            stems = frozenset(w.stem for w in content(words)) | known
            stems |= {w.stem for w in words if w.kind == "adverb"}
            found = tuple(quantities(words))
            facts.append(Fact(stems, known, found, negated_stems(words)))
    return facts


def _told(sentence: tuple[Word, ...]) -> list[tuple[Word, ...]]:
    """Return the clauses of a fact; those without a verb belong to the one before them."""
    found: list[tuple[int, int]] = []
    for start, stop in clauses(sentence):
        bare = sentence[start].kind == "verb" and not sentence[start].text.endswith(
            ("s", "ed", "ing")
        )
        if found and bare and verb_at(sentence[found[0][0] : found[0][1]]) > 0:
            found[-1] = (found[-1][0], stop)  # "brings nurses and care homes together"
        elif found and (
            verb_at(sentence[start:stop]) < 0 or verb_at(sentence[found[-1][0] : found[-1][1]]) < 0
        ):
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return [sentence[start:stop] for start, stop in found]


_SCOPE = 4  # words
_ENDS_DENIAL = frozenset(("but", "until", "unless", "and"))


@lru_cache(maxsize=100_000)
def negated_stems(words: tuple[Word, ...]) -> frozenset[str]:
    """Return the stems that a clause denies: the content words soon after a "no" or "without"."""
    denied: set[str] = set()
    left = 0
    for at, word in enumerate(words):
        if word.kind == "negation" or word.text in ("without", "zero") or _is_free_of(words, at):
            left = _SCOPE
        elif word.kind in ("mark", "preposition") or word.text in _ENDS_DENIAL:
            left = 0
        elif left:
            left -= 1
            if word.kind in ("word", "verb"):
                denied.add(word.stem)
    return frozenset(denied)


def contradictions(brief: Brief) -> tuple[str, ...]:
    """Return the stems of what two facts say differently: one number or day, or yes and no."""
    found: dict[str, None] = {}
    for i, one in enumerate(brief.facts):
        for other in brief.facts[i + 1 :]:
            if one.subject and _topic(one) == _topic(other) and _differ(one, other):
                found[" ".join(sorted(_topic(one)))] = None
    return tuple(found)


def _topic(fact: Fact) -> frozenset[str]:
    return fact.stems - TIME_STEMS


def _differ(one: Fact, other: Fact) -> bool:
    if bool(one.negated) != bool(other.negated) or len(one.quantities) != len(other.quantities):
        return bool(one.negated) != bool(other.negated)
    pairs = zip(one.quantities, other.quantities, strict=True)
    unlike = [(a, b) for a, b in pairs if a[:6] != b[:6]]
    # Of two numbers that differ, one may be the other's condition: "at 8 on Monday, 9 on Sunday".
    return len(unlike) == 1 and _same_measure(*unlike[0])


def _same_measure(one: Quantity, other: Quantity) -> bool:
    return (one.kind, one.dimension, one.rate) == (other.kind, other.dimension, other.rate)


def _is_free_of(words: tuple[Word, ...], at: int) -> bool:
    """Tell whether "free of" ends here: what follows is not there."""
    after = words[at + 1].text if at + 1 < len(words) else ""
    said = words[at].text in ("of", "from") and at and words[at - 1].text == "free"
    return bool(said) and after not in ("charge", "cost")


def _indexed(whole: str, product: frozenset[str], facts: list[Fact], stated: bool) -> Brief:
    facts_of: dict[str, set[int]] = {}
    for i, fact in enumerate(facts):
        for stem in fact.stems:
            facts_of.setdefault(stem, set()).add(i)
    following: dict[str, set[str]] = {}
    words: set[str] = set()
    for sentence in read_sentences(whole):
        for here, after in zip(sentence, (*sentence[1:], None), strict=True):
            words.add(here.text)
            text = "" if after is None or after.kind == "mark" else after.text
            following.setdefault(here.text, set()).add(text)
    negated = frozenset(s for fact in facts for s in fact.negated)
    affirmed = frozenset(s for fact in facts for s in fact.stems - fact.negated)
    return Brief(
        text=whole.lower().replace("’", "'"),
        product=product,
        facts=tuple(facts),
        facts_of={stem: frozenset(where) for stem, where in facts_of.items()},
        topic=next((fact.subject for fact in facts if fact.subject), frozenset()),
        words=frozenset(words),
        following={word: frozenset(after) for word, after in following.items()},
        affirmed=affirmed - TIME_STEMS,
        negated=negated - TIME_STEMS,
        stated=stated,
    )
