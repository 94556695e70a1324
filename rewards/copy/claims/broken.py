"""Whether a sentence is one.

It is none with leftovers of a template, a misspelled word, a word said twice, an end in the middle
of a phrase, or words in an order that English has not.
"""

from __future__ import annotations

import re
from itertools import pairwise

from copygym.rewards.copy.claims.facts import Brief
from copygym.rewards.copy.claims.language import Word, common_words, kind_of
from copygym.rewards.copy.claims.lexicon import word_set
from copygym.rewards.copy.claims.quantities import Quantity, number_of
from copygym.rewards.copy.claims.spelling import misspelled

LEFTOVER = re.compile(
    r"<\|?/?\w[^<>\n]{0,30}\|?>|\[/?\w{2,12}\]|\{\{?[\w .]*\}\}?|</?s>|#{2,}|\*\*|```|https?://|\ufffd"
    r"|(?:^|\n)\s*(?:brief|reader|channel|copy|user|assistant|system)\s*:",
    re.IGNORECASE,
)

_DANGLING = word_set(
    "the a an my your our their and or but because than every into no with from of by for "
    "at to within between during if whose very as"
)
#: with one of these before, a sentence may end with its preposition: "what bees are afraid of".
_STRANDS = word_set("that which who what where whom how why")
_NOUNS_DUE = frozenset(("article", "possessive"))
_SUBJECTS = word_set("i we he they she")
_NEVER_AFTER_ARTICLE = frozenset(
    ("article", "possessive", "preposition", "conjunction", "be", "have", "modal", "relative", "do")
)
#: prepositions that may follow one another: "from under", "except in".
_AFTER_ANOTHER = word_set(
    "from up out until in off except than as like of over about down along to near"
)


def broken(words: tuple[Word, ...], brief: Brief) -> str:
    """Return why a sentence is none, "" where it is one.

    Args:
        words: of the sentence.
        brief: its words are spelled right, and tell where a phrase was cut off.
    """
    return _said_twice(words) or misspelled(words, brief) or _cut_off(words, brief) or _order(words)


def _said_twice(words: tuple[Word, ...]) -> str:
    for before, word in pairwise(words):
        if before.text == word.text and word.kind != "mark" and word.text not in _MAY_REPEAT:
            return f"says {word.text!r} twice"
    texts = [word.text for word in words if word.kind != "mark"]
    pairs = list(pairwise(texts))
    if any(a == b for a, b in zip(pairs, pairs[2:], strict=False)):
        return f"says {' '.join(pairs[0])!r} twice"
    return ""


_MAY_REPEAT = frozenset(("that", "very", "so", "no", "bye", "now", "ha", "oh", "more"))


def _cut_off(words: tuple[Word, ...], brief: Brief) -> str:
    """Return where a sentence ends in the middle of a phrase, "" if it does not."""
    plain = tuple(word for word in words if word.kind != "mark")
    last = plain[-1]
    if len(plain) < 2:
        return f"ends with {last.text!r}" if last.text in _DANGLING else ""
    if _dangles(plain) or _is_bare(plain, brief):
        return f"ends with {last.text!r}"
    after = brief.following.get(last.text)
    if after is None:
        return _truncated(last, brief)
    if last.kind == "number" and plain[-2].text not in _TELLS and len(plain) > 2:
        value = number_of(last.text)
        same = [q for fact in brief.facts for q in fact.quantities if _reads(q, value)]
        if same and all(q.heads for q in same):
            return f"ends with {last.text!r}, and does not say of what"
    if "" in after or len(plain) < 3:
        return ""
    told = last.kind in ("word", "verb") or last.text in ("first", "least", "next", "same")
    joined = last.text in brief.following.get(plain[-2].text, frozenset())
    noun = plain[-2].kind in _NOUNS_DUE
    if told and joined and all(_goes_on(word, last, noun) for word in after):
        return f"breaks off after {last.text!r}"
    return ""


def _dangles(plain: tuple[Word, ...]) -> bool:
    """Tell whether a sentence ends with a word that none ends with."""
    last = plain[-1]
    if last.text in ("only", "least", "until", "till", "very"):
        return True
    if last.kind in ("article", "possessive") and last.text not in ("his", "her"):
        return True
    return last.text in _DANGLING and not (_strands(plain) and last.text in _ENDS_RELATIVE)


def _is_bare(plain: tuple[Word, ...], brief: Brief) -> bool:
    """Tell whether a sentence ends with "is", "has" or a preposition that something follows."""
    before, last = plain[-2:]
    if last.kind == "have":
        asked = any(w.kind == "relative" or w.text in ("as", "how", "all") for w in plain)
        return before.kind == "word" and not asked
    if last.kind == "be":
        joins = any(w.kind in _JOINS and w.text not in _PLAIN_JOINS for w in plain)
        return before.kind in ("word", "verb") and len(plain) > 4 and not joins
    if last.kind != "preposition":
        return False
    if before.kind in ("preposition", "time", "article"):
        return True
    if before.kind == "adverb":
        return before.text not in ("back", "right", "straight", "here")
    after = brief.following.get(last.text)
    if not after or "" in after or last.text not in _PLACES or _strands(plain):
        return False
    done = before.kind in ("be", "do") or before.text.endswith("ed")
    known = before.kind in ("word", "pronoun") and before.text in brief.words
    return (done or known) and not any(word.text == "with" for word in plain)


def _strands(plain: tuple[Word, ...]) -> bool:
    """Tell whether a preposition may end a sentence: "what elephants are afraid of"."""
    asked = any(word.text in _STRANDS for word in plain[:-2])
    return asked or (len(plain) > 2 and plain[-3].text == "to")


_JOINS = frozenset(("relative", "time", "conjunction", "preposition"))
_PLAIN_JOINS = frozenset(("and", "with", "for", "in", "of"))
_PLACES = frozenset(("in", "on", "under", "through", "within", "among"))
_ENDS_RELATIVE = word_set("of for with from by at to as")
_TELLS = word_set("is are was were all of the for to costs cost")


def _reads(quantity: Quantity, value: float | None) -> bool:
    """Tell whether a brief's quantity is written with this number, in its own unit."""
    if value is None or quantity.kind != "count":
        return False
    sizes = _SIZES.get(quantity.dimension, (1.0,))
    return any(abs(quantity.value - value * size) < 1e-6 for size in sizes)


#: how many of a dimension's smallest unit its units are.
_SIZES = {
    "minute": (1.0, 60.0), "day": (1.0, 7.0), "month": (1.0, 12.0), "gram": (1.0, 1000.0),
    "metre": (1.0, 1000.0),
}  # fmt: skip


def _goes_on(after: str, last: Word, noun: bool) -> bool:
    """Tell whether a phrase cannot end before the word ``after``: a noun is due."""
    kind = kind_of(after)
    if kind == "word" and after.endswith("s") and noun:
        return False  # "the state refunds"
    if kind in ("word", "number"):
        return True
    return kind in ("article", "possessive", "determiner") and last.kind == "verb"


def _truncated(last: Word, brief: Brief) -> str:
    if last.kind != "word" or last.text in common_words() or last.stem in brief.facts_of:
        return ""
    longer = [w for w in brief.words if w.startswith(last.text) and len(w) > len(last.text) + 1]
    return f"breaks off within {longer[0]!r}" if longer and 2 <= len(last.text) < 5 else ""


def _order(words: tuple[Word, ...]) -> str:
    for at, (before, word) in enumerate(pairwise(words)):
        earlier = words[at - 1] if at else None
        if _clash(before, word) or _bare_be(earlier, before, word):
            return f"has {word.text!r} after {before.text!r}"
    return ""


def _bare_be(earlier: Word | None, before: Word, word: Word) -> bool:
    """Tell whether "be" stands where only a form of it may: "a battery be added"."""
    if word.text != "be" or before.kind != "word":
        return False
    return earlier is not None and earlier.kind in ("article", "possessive")


def _clash(before: Word, word: Word) -> bool:
    a, b = before.kind, word.kind
    if before.text in _SUBJECTS and b == "preposition":
        return word.text not in ("like", "of", "as", "in", "on")
    if before.text == "every" and b in ("preposition", "be", "have", "modal", "article"):
        return True
    if a in _NOUNS_DUE and b in _NEVER_AFTER_ARTICLE:
        return not (before.text in ("his", "her", "the") and word.text in ("off", "like", "inside"))
    if before.text in ("the", "a", "an") and word.text in ("it", "we", "they", "he", "she", "us"):
        return True
    if (
        a in _NOUNS_DUE
        and b == "verb"
        and word.text.endswith("s")
        and word.text[:-1] in _ONLY_VERBS
    ):
        return True
    if before.text == "by" and word.text in ("on", "at"):
        return False  # "come by on Tuesday"
    if before.text in _PURE and b in ("preposition", "conjunction", "be", "have", "modal"):
        return not (before.text in _AFTER_ANOTHER and b == "preposition") and word.text not in (
            "about",
            "over",
            "under",
            "up",
            "near",
            "between",
            "within",
            "as",
        )
    if a == "modal" and b == "verb" and word.text.endswith("s") and not word.text.endswith("ss"):
        return word.text[:-1] in _ONLY_VERBS or word.text in ("leaves",)
    if word.text == "of" and a == "preposition" and before.text not in _OF_AFTER:
        return True
    if before.text in _PURE and word.text == "without":
        return True
    return a == "be" and b == "be" and word.text not in ("being", "been") and before.text != "being"


_OF_AFTER = word_set("out off inside outside up like as near above below behind")
_PURE = word_set("of for with from at by into onto during among between than towards upon")
_ONLY_VERBS = word_set(
    "accept add apply arrive ask bring build buy carry connect contain deliver enjoy "
    "explain feel find follow get give have help import include keep know learn let make "
    "meet open pay protect provide receive recommend remove replace say see sell send serve "
    "speak take teach tell understand want wear weigh close begin cost end cover"
)
