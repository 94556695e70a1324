"""A small reading of English: words with stem and class, sentences, and the clauses in them.

Enough to tie the claims of a short text to the facts of its brief, and no parser: endings, lists of
function words and a few hundred verbs. The list of common words (``english.txt``) was counted in
the headlines and ledes of the Upworthy Research Archive (Matias et al. 2021, doi
10.1038/s41597-021-00934-7, CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from copygym.rewards.copy.claims.lexicon import (
    FUNCTION_WORDS,
    IRREGULAR,
    NOUN_VERBS,
    SAME,
    VERBS,
    word_set,
)


class Word(NamedTuple):
    """A word of a sentence.

    Attributes:
        text: in lower case.
        stem: what its forms have in common; see `stem_of`.
        kind: a key of `FUNCTION_WORDS`, or ``number``, ``verb``, ``word``, ``mark``.
        capital: whether it was written with a capital.
        start: whether it begins a sentence, a line or a quotation.
    """

    text: str
    stem: str
    kind: str
    capital: bool
    start: bool


_NUMBER_WORDS = word_set(
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
    "eighty ninety hundred thousand million billion dozen"
)
_KIND = {word: kind for kind, words in reversed(FUNCTION_WORDS.items()) for word in words}
_KIND.update({"not": "negation", "about": "preposition", "half": "determiner"})
_KIND.update(dict.fromkeys(("yesterday's", "today's", "tomorrow's"), "determiner"))
_KIND.update(dict.fromkeys(_NUMBER_WORDS, "number"))
_BASE = {form: base for forms, base in IRREGULAR.items() for form in forms.split()}


@cache
def _same() -> dict[str, str]:
    groups = (group.split() for group in SAME.replace("\n", " ").split(";"))
    return {_strip(w): _strip(group[0]) for group in groups if group for w in group}


_ENDINGS = (
    ("ations", ""), ("ation", ""), ("ments", ""), ("ment", ""), ("ings", ""), ("ing", ""),
    ("ies", "y"), ("ied", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"),
    ("ed", ""), ("es", "e"), ("s", ""),
)  # fmt: skip
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLED = re.compile(r"([bdfgmnprt])\1$")


def _strip(word: str) -> str:
    word = _BASE.get(word, word)
    if len(word) > 3 and not word.endswith(("ss", "us", "is")):
        for ending, instead in _ENDINGS:
            root = word[: -len(ending)]
            if word.endswith(ending) and len(root) >= 3 and _VOWEL.search(root):
                word = word[: -len(ending)] + instead
                break
        word = _DOUBLED.sub(r"\1", word)
    return word.removesuffix("e") if len(word) > 3 else word


@lru_cache(maxsize=100_000)
def stem_of(word: str) -> str:
    """Return what the forms of a word in lower case have in common: "pays", "paid", "pay".

    Words that copy uses for the same thing (`SAME`: "photo", "picture") share a stem, too.
    """
    bare = word.removesuffix("'s").removesuffix("'")
    stripped = _strip(bare)
    return _same().get(stripped, stripped)


@cache
def _verb_forms() -> frozenset[str]:
    forms: set[str] = set()
    for verb in VERBS:
        y = len(verb) > 2 and verb.endswith("y") and verb[-2] not in "aeiou"
        es = verb.endswith(("s", "sh", "ch", "x", "o"))
        root = verb.removesuffix("e")
        forms |= {verb, verb[:-1] + "ies" if y else verb + ("es" if es else "s")}
        forms |= {verb[:-1] + "ied" if y else root + "ed", root + "ing", verb + verb[-1] + "ing"}
        forms |= {verb + verb[-1] + "ed"}
    return frozenset(forms | {f for f, b in _BASE.items() if b in VERBS})


#: "color", "neighbors", "favorite", and not "floor" or "work".
_OR = re.compile(r"([^o]{3,}|col)or(s|ed|ing|ful|able|ite|ites|hood|ly|)$")


@cache
def common_words() -> frozenset[str]:
    """Return words that are spelled as English is: the list's, function words and verb forms."""
    text = files(__package__).joinpath("english.txt").read_text(encoding="ascii")
    words = frozenset(text.split()) | frozenset(_KIND) | _verb_forms()
    british = {_OR.sub(r"\1our\2", word) for word in words if _OR.search(word)}
    british |= {word.replace("iz", "is") for word in words if "iz" in word[2:]}
    british |= {word[:-2] + "re" for word in words if word.endswith("ter")}
    return words | british


_TOKEN = re.compile(
    r"[^\W\d_]+\d+\b|\d+(?:[.,:]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)*['’]?|[.!?]+(?=[\s\"”’)]|$)|[,;:()\"“”—–…\n]"
)
_SENTENCE_END = frozenset(".!?\n")


@lru_cache(maxsize=100_000)
def read_sentences(text: str) -> tuple[tuple[Word, ...], ...]:
    """Return the sentences of a text; each has at least one word, and marks between its words."""
    sentences: list[tuple[Word, ...]] = []
    words: list[Word] = []
    start = True
    for token in _TOKEN.findall(text):
        first = token[0]
        if first.isalnum():
            words.append(_word(token, start))
            start = False
        elif first in _SENTENCE_END:
            if any(word.kind != "mark" for word in words):
                asks = [Word("?", "?", "mark", False, False)] if "?" in token else []
                sentences.append((*words, *asks))
            words, start = [], True
        else:
            words.append(Word(token, token, "mark", False, False))
            start = start or token in ':"“('
    if any(word.kind != "mark" for word in words):
        sentences.append(tuple(words))
    return tuple(sentences)


@lru_cache(maxsize=100_000)
def _word(token: str, start: bool) -> Word:
    low = token.lower().replace("’", "'").rstrip("'")
    kind = "word" if token == "May" and not start else kind_of(low)  # not the modal
    return Word(low, stem_of(low), kind, token[0].isupper(), start)


@lru_cache(maxsize=100_000)
def kind_of(word: str) -> str:
    """Return the class of a word in lower case; of most nouns and adjectives it is ``word``."""
    known = _KIND.get(word)
    if known is not None:
        return known
    if word[0].isdigit():
        return "number"
    return "verb" if word in _verb_forms() else "word"


#: Words that part clauses; "with" and its kind part what they add.
_PARTING = word_set(
    "and or but so because if while when whenever although though unless whether yet who "
    "which that then where with plus including"
)


@lru_cache(maxsize=100_000)
def clauses(sentence: tuple[Word, ...]) -> tuple[tuple[int, int], ...]:
    """Return where the clauses of a sentence begin and end: what stands between conjunctions.

    An "and" between two nouns parts them too: each is then looked at by itself.
    """
    found: list[tuple[int, int]] = []
    start = 0
    for at, word in enumerate(sentence):
        if word.kind == "mark" or word.text in _PARTING:
            if at > start:
                found.append((start, at))
            start = at + 1
    return (*found, (start, len(sentence))) if start < len(sentence) else tuple(found)


_CONTENT = frozenset(("word", "verb"))


def content(words: Sequence[Word]) -> list[Word]:
    """Return the words that carry meaning: neither function words, nor numbers, nor marks."""
    return [word for word in words if word.kind in _CONTENT]


_FINITE = frozenset(("be", "have", "do", "modal"))
_BASE_FORMS = frozenset(VERBS)
_AFTER_PAST = frozenset(("article", "possessive", "pronoun", "preposition", "number"))
#: Past forms that are no base form.
_PAST = frozenset(form for form, base in _BASE.items() if form != base and base in VERBS)
_NO_VERB_AFTER = frozenset(("article", "possessive", "determiner", "preposition", "be", "have"))


@lru_cache(maxsize=100_000)
def verb_at(words: tuple[Word, ...]) -> int:
    """Return the place of a clause's first finite verb, -1 where none was found."""
    for at, word in enumerate(words):
        after = words[at + 1] if at + 1 < len(words) else None
        if word.kind in _FINITE and not word.text.endswith("ing"):
            return at
        if word.kind == "negation" and word.text.endswith(("n't", "cannot")):
            return at
        if word.kind == "word" and at and word.text.endswith("ed") and len(word.text) > 4:
            told = after is None or after.kind in _AFTER_PAST
            if told and words[at - 1].kind in ("word", "pronoun"):
                return at  # "the company fired the driver"
        if word.kind != "verb" or word.text.endswith("ing"):
            continue
        if at == 0:
            if word.text in _BASE_FORMS and word.text not in NOUN_VERBS:
                return at  # "get lost"
            if after is not None and (after.kind in _FINITE or _is_finite(words, 1)):
                continue  # "claims are paid", "support answers"
            return at
        if _is_finite(words, at):
            return at
    return -1


def _is_finite(words: tuple[Word, ...], at: int) -> bool:
    word, before = words[at], words[at - 1]
    if word.kind != "verb" or before.kind in _NO_VERB_AFTER or word.text.endswith("ing"):
        return False
    if word.text.endswith("ed") or word.text in _PAST:
        return True
    if word.text.endswith("s") and not word.text.endswith("ss"):
        if before.kind == "number" and word.text[:-1] in NOUN_VERBS:  # of 49 ends; two visits
            return at > 1 and words[at - 2].kind == "preposition"
        return True
    plural = before.text.endswith("s") or before.text in ("people", "children", "men", "women")
    return plural or before.kind in ("pronoun", "number", "modal", "adverb")
