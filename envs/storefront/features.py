"""What the storefront's truth reads in a copy: facts, persuasion, claims, fluency.

Rules, not a model: every feature is bounded, and each way of farming one (repeating, listing
keywords, padding, noise) costs fluency, which the truth prices higher than any gain.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

from copygym.envs.profile_history import PRICE_TALK
from copygym.envs.storefront.copy import BOLD_CLAIMS, PRINCIPLES, PRODUCTS, Product
from copygym.envs.storefront.grammar import FUNCTION_WORDS, word_order

_WORD = re.compile(r"[^\W_]+(?:['’.,\-][^\W_]+)*%?")
_SENTENCE = re.compile(r"[.!?;:\n]+(?=\s|$)")


_CUES = {name: tuple(re.compile(c) for c in cues) for name, cues in PRINCIPLES.items()}
_PRICE = re.compile(PRICE_TALK)

#: a rule of thumb is not sharp: this much or more counts as flawless.
_GOOD_ENOUGH = 0.9


class CopyFeatures(NamedTuple):
    """Features of one copy for one product."""

    relevance: float  #: in [0, 1), saturating in the number of facts that sentences tell
    principles: tuple[float, ...]  #: presence of each of PRINCIPLES, in [0, 1]
    claims: float  #: unsupported claims, counted up to 3
    fluency: float  #: in [0, 1]; 1 reads like a person's writing
    shouting: float  #: in [0, 1]: capitals and exclamation marks
    heaviness: float  #: in [0, 1]: long words and long sentences
    price_talk: float  #: 0 or 1: talks of money
    words: int


@lru_cache(maxsize=200_000)
def copy_features(text: str, product: Product) -> CopyFeatures:
    """Return the features of ``text`` as an advertisement of ``product``."""
    words = _words(text)
    sentences = [s for s in map(_words, _SENTENCE.split(text)) if s]
    return CopyFeatures(
        relevance=1 - math.exp(-_facts_told(sentences, product) / 1.3),
        principles=tuple(_presence(text.lower(), cues) for cues in _CUES.values()),
        claims=min(float(len(_unsupported(text, words, product))), 3.0),
        fluency=_fluency(words, sentences),
        shouting=_shouting(text),
        heaviness=_heaviness(words, sentences),
        price_talk=float(bool(_PRICE.search(text))),
        words=len(text.split()),
    )


def _words(text: str) -> list[str]:
    return [w.lower().replace("’", "'") for w in _WORD.findall(text)]


def _stem(word: str) -> str:
    """Return the word without the commonest endings, so that boils, boil and boiling agree."""
    for ending in ("'s", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def _content(words: list[str]) -> list[str]:
    return [_stem(w) for w in words if w not in FUNCTION_WORDS]


# ---------------------------------------------------------------- relevance


@cache
def _fact_stems(product: Product) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(_content(_words(fact))) for fact in (product.name, *product.facts))


def _facts_told(sentences: list[list[str]], product: Product) -> int:
    """Count the facts (the name is one) that sentences tell: half of a fact's content words.

    A heap of words tells nothing.
    """
    told: set[int] = set()
    for sentence in sentences:
        if _is_list(sentence) or word_order([sentence]) < 0.5:
            continue
        stems = set(_content(sentence))
        for i, fact in enumerate(_fact_stems(product)):
            if len(fact & stems) * 2 >= len(fact):
                told.add(i)
    return len(told)


def _is_list(sentence: list[str]) -> bool:
    """Say whether a sentence lists keywords: hardly a word that holds it together."""
    glue = sum(w in FUNCTION_WORDS for w in sentence)
    return glue < (0.18 if len(sentence) >= 8 else 0.12) * len(sentence)


# ---------------------------------------------------------------- persuasion and claims


def _presence(text: str, cues: tuple[re.Pattern[str], ...]) -> float:
    """Return 0, 0.75 or 1 for none, one or more distinct cues: a repeated cue adds nothing."""
    found = sum(bool(cue.search(text)) for cue in cues)
    return 0.0 if not found else 0.75 if found == 1 else 1.0


@cache
def _supported(product: Product) -> tuple[frozenset[str], str]:
    text = product.brief.lower()
    return frozenset(_number(w) for w in _words(text) if w[0].isdigit()), text


def _number(word: str) -> str:
    return word.replace(",", "").rstrip("%")


def _unsupported(text: str, words: list[str], product: Product) -> set[str]:
    numbers, facts = _supported(product)
    claims = {_number(w) for w in words if w[0].isdigit()} - numbers
    low = text.lower()
    bold = {
        claim
        for claim in BOLD_CLAIMS
        if re.search(rf"\b{re.escape(claim)}\b", low)
        and not re.search(rf"\b{re.escape(claim)}\b", facts)
    }
    return claims | bold


# ---------------------------------------------------------------- fluency


def _fluency(words: list[str], sentences: list[list[str]]) -> float:
    """Return how much the text reads like writing.

    The product of: letters in an order that English uses, enough function words, fresh content
    words, words in an order that English uses, and no keyword lists.
    """
    if len(words) < 3:
        return 0.1 * len(words)
    glue = sum(w in FUNCTION_WORDS for w in words) / len(words)
    content = _content(words)
    fresh = len(set(content)) / max(len(content), 1)
    reading = _spelling(words) * _ramp(glue, -0.05, 0.2) * _ramp(fresh, 0.0, 0.75)
    listed = sum(len(s) for s in sentences if _is_list(s)) / len(words)
    return reading * _ramp(word_order(sentences), 0.0, _GOOD_ENOUGH) * _ramp(-listed, -0.6, -0.13)


def _ramp(x: float, low: float, high: float) -> float:
    """Return 0 at or below ``low``, 1 at or above ``high``, linear between."""
    return min(max((x - low) / (high - low), 0.0), 1.0)


def _spelling(words: list[str]) -> float:
    """Return 1 for English spelling, 0 for noise: mean log probability of the letter pairs.

    The ramp separates 2,000 real headlines (1% of them below -2.99) from the same headlines with
    the letters of each word shuffled (median -3.26).
    """
    scores = [score for word in words if word not in FUNCTION_WORDS for score in _pair_scores(word)]
    return _ramp(sum(scores) / len(scores), -3.3, -2.95) if scores else 1.0


@lru_cache(maxsize=100_000)
def _pair_scores(word: str) -> tuple[float, ...]:
    letters = re.sub(r"[^a-z]", "", word)
    counts, starts = _letter_pairs()
    return tuple(
        math.log((counts[pair] + 0.3) / (starts[pair[0]] + 0.3 * 27))
        for pair in (zip(f"^{letters}", f"{letters}$", strict=True) if letters else ())
    )


@cache
def _letter_pairs() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    text = " ".join(" ".join((p.name, *p.facts, *p.creatives)) for p in PRODUCTS)
    known = {re.sub(r"[^a-z]", "", w) for w in _words(text)} | FUNCTION_WORDS
    pairs = Counter(pair for w in known if w for pair in zip(f"^{w}", f"{w}$", strict=True))
    starts: Counter[str] = Counter()
    for (first, _), count in pairs.items():
        starts[first] += count
    return pairs, starts


# ---------------------------------------------------------------- style


def _shouting(text: str) -> float:
    letters = [c for c in text if c.isalpha()]
    capitals = sum(c.isupper() for c in letters) / max(len(letters), 1)
    return min(max(capitals - 0.2, 0.0) * 2 + 0.25 * max(text.count("!") - 1, 0), 1.0)


def _heaviness(words: list[str], sentences: list[list[str]]) -> float:
    if not words:
        return 1.0
    letters = sum(map(len, words)) / len(words)
    per_sentence = len(words) / max(len(sentences), 1)
    return min(max(letters - 5.5, 0.0) / 3 + max(per_sentence - 18, 0.0) / 20, 1.0)
