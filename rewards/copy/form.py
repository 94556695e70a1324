"""Whether a sentence is one, and says something: what needs no knowledge of the world.

*Broken*: leftovers of a template, misspelled words, a word or a sentence said twice, an end in the
middle of a phrase, words in an order that English has not. *Empty*: a sentence that tells of its
subject only the subject ("A claim is a claim.") or nothing that can be pictured ("A club has it.").
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from copygym.rewards.copy.facts import Brief
from copygym.rewards.copy.language import (
    NOUN_VERBS,
    Word,
    clauses,
    common_words,
    content,
    kind_of,
    stem_of,
    verb_at,
)
from copygym.rewards.copy.quantities import Quantity, number_of

LEFTOVER = re.compile(
    r"<\|?/?\w[^<>\n]{0,30}\|?>|\[/?\w{2,12}\]|\{\{?[\w .]*\}\}?|</?s>|#{2,}|\*\*|```|https?://|\ufffd"
    r"|(?:^|\n)\s*(?:brief|reader|channel|copy|user|assistant|system)\s*:",
    re.IGNORECASE,
)

_DANGLING = frozenset(
    "the a an my your our their and or but because than every into no with from of by for at to "
    "within between during if whose very as".split()
)
#: with one of these before, a sentence may end with its preposition: "what bees are afraid of".
_STRANDS = frozenset("that which who what where whom how why".split())
_PARTICLES = frozenset("in on off up out over down by through along around about".split())
_NOUNS_DUE = frozenset(("article", "possessive"))
_SUBJECTS = frozenset("i we he they she".split())
_NEVER_AFTER_ARTICLE = frozenset(
    ("article", "possessive", "preposition", "conjunction", "be", "have", "modal", "relative", "do")
)
#: prepositions that may follow one another: "from under", "except in".
_AFTER_ANOTHER = frozenset(
    "from up out until in off except than as like of over about down along to near".split()
)


def broken(words: tuple[Word, ...], brief: Brief) -> str:
    """Return why a sentence is none, "" where it is one.

    Args:
        words: of the sentence.
        brief: its words are spelled right, and tell where a phrase was cut off.
    """
    return _said_twice(words) or _misspelled(words, brief) or _cut_off(words, brief) or _order(words)


# ---------------------------------------------------------------- broken


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


def _misspelled(words: tuple[Word, ...], brief: Brief) -> str:
    for word in words:
        if word.kind in ("word",) and len(word.text) > 3 and not word.text.endswith("'s"):
            reason = _odd(word.text, brief)
            if reason:
                return reason
        elif word.kind == "word" and not word.capital and len(word.text) == 3:
            if not _VOWEL.search(word.text) and word.text not in brief.words:
                return f"{word.text!r} is no word"
    return ""


_VOWEL = re.compile(r"[aeiouyà-ÿ]")
_TRIPLE = re.compile(r"(\w)\1\1")


def _odd(word: str, brief: Brief) -> str:
    if word in brief.words or word in common_words() or _known_form(word):
        return ""
    if _TRIPLE.search(word) or not _VOWEL.search(word):
        return f"{word!r} is no word"
    for near in _near_words(brief.words):
        if near[0] == word[0] and abs(len(near) - len(word)) <= 1 and _one_slip(word, near) and not _inflected(word, near):
            return f"{word!r} is {near!r} misspelled"
    if len(word) > 4:
        for near in _common_by_ends().get((word[0], word[-1]), ()):
            if _typing_slip(word, near):
                return f"{word!r} is {near!r} misspelled"
    return ""


@lru_cache(maxsize=100_000)
def _known_form(word: str) -> bool:
    """Tell whether a word is a common one with an ending, or two of them joined."""
    common = common_words()
    for ending, others in (
        ("s", ("",)), ("es", ("",)), ("ies", ("y",)), ("ed", ("", "e")), ("d", ("",)),
        ("ing", ("", "e")), ("er", ("", "e")), ("ers", ("", "e")), ("est", ("", "e")),
        ("ly", ("",)), ("ness", ("",)), ("less", ("",)), ("ful", ("",)), ("y", ("", "e")),
        ("able", ("", "e")), ("ment", ("",)), ("r", ("",)), ("ier", ("y",)), ("ily", ("y",)),
    ):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            root = word[: -len(ending)]
            if any(root + other in common for other in others):
                return True
            if root[-1] == root[-2] and root[:-1] in common:
                return True
    for prefix in ("un", "re", "non", "over", "under", "out", "pre"):
        if word.startswith(prefix) and word[len(prefix) :] in common:
            return True
    return any(word[:i] in common and word[i:] in common for i in range(3, len(word) - 2))


@lru_cache(maxsize=4096)
def _near_words(words: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(w for w in words if len(w) > 3 and w.isalpha()))


@lru_cache(maxsize=1)
def _common_by_ends() -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for word in sorted(common_words()):
        if len(word) > 5:
            found.setdefault((word[0], word[-1]), []).append(word)
    return {ends: tuple(words) for ends, words in found.items()}


def _one_slip(a: str, b: str) -> bool:
    """Tell whether one letter more, less or other, or two that changed places, makes a into b."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) == len(b):
        swapped = a[at + 1 : at + 2] == b[at : at + 1] and a[at : at + 1] == b[at + 1 : at + 2]
        return a[at + 1 :] == b[at + 1 :] or (swapped and a[at + 2 :] == b[at + 2 :])
    return len(b) - len(a) == 1 and a[at:] == b[at + 1 :]


def _typing_slip(word: str, near: str) -> bool:
    """Tell whether a word is another with two letters exchanged, or one doubled or not doubled."""
    if len(word) == len(near):
        return sorted(word) == sorted(near) and _one_slip(word, near)
    short, long = sorted((word, near), key=len)
    if len(long) - len(short) != 1:
        return False
    return any(long[:i] + long[i + 1 :] == short and long[i] == long[i - 1] for i in range(1, len(long)))


def _inflected(a: str, b: str) -> bool:
    """Tell whether two words differ in an ending alone."""
    if stem_of(a) == stem_of(b):
        return True
    short, long = sorted((a, b), key=len)
    return len(long) != len(short) and long.startswith(short) and long[-1] in "sdryn"


def _cut_off(words: tuple[Word, ...], brief: Brief) -> str:
    plain = [word for word in words if word.kind != "mark"]
    last = plain[-1]
    before = plain[-2] if len(plain) > 1 else None
    if last.text in ("only", "least", "until", "till", "very"):
        return f"ends with {last.text!r}"
    related = any(word.kind == "relative" or word.text in ("as", "how", "all") for word in plain)
    if last.kind == "have" and not related and before is not None and before.kind == "word":
        return f"ends with {last.text!r}"
    if last.kind == "be" and len(plain) > 4 and not any(w.kind in ("relative", "time", "conjunction", "preposition")
                                     and w.text not in ("and", "with", "for", "in", "of")
                                     for w in plain):
        if before is not None and before.kind in ("word", "verb"):
            return f"ends with {last.text!r}"
    strands = any(word.text in _STRANDS for word in plain[:-2]) or (
        len(plain) > 2 and plain[-3].text == "to"
    )
    if last.text in _DANGLING and not (strands and last.text in _ENDS_RELATIVE):
        return f"ends with {last.text!r}"
    if last.kind in ("article", "possessive") and last.text not in ("his", "her"):
        return f"ends with {last.text!r}"
    after = brief.following.get(last.text)
    if last.kind == "preposition" and before is not None:
        if before.kind in ("preposition", "time", "article") or (
            before.kind == "adverb" and before.text not in ("back", "right", "straight", "here")
        ):
            return f"ends with {last.text!r}"
    if last.kind == "preposition" and before is not None and after and "" not in after:
        if (
            not strands and not any(w.text == "with" for w in plain) and last.text in ("in", "on", "under", "through", "within", "among")
            and (before.kind in ("be", "do") or before.text.endswith("ed")
                 or (before.kind in ("word", "pronoun") and before.text in brief.words))
        ):
            return f"ends with {last.text!r}"
    if after is None:
        return _truncated(last, brief)
    if last.kind == "number" and before is not None and before.text not in _TELLS:
        value = number_of(last.text)
        same = [q for f in brief.facts for q in f.quantities if _reads(q, value)]
        if same and all(q.heads for q in same) and len(plain) > 2:
            return f"ends with {last.text!r}, and does not say of what"
    if "" in after or before is None:
        return ""
    if last.kind in ("word", "verb") or last.text in ("first", "least", "next", "same"):
        joined = last.text in brief.following.get(before.text, frozenset())
        if joined and all(_goes_on(w, last, before.kind in _NOUNS_DUE) for w in after) and len(plain) > 2:
            return f"breaks off after {last.text!r}"
    return ""


_ENDS_RELATIVE = frozenset("of for with from by at to as".split())
_TELLS = frozenset("is are was were all of the for to costs cost".split())


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
    if a in _NOUNS_DUE and b == "verb" and word.text.endswith("s") and word.text[:-1] in _ONLY_VERBS:
        return True
    if before.text in _PURE and b in ("preposition", "conjunction", "be", "have", "modal"):
        return not (before.text in _AFTER_ANOTHER and b == "preposition") and not (
            word.text in ("about", "over", "under", "up", "near", "between", "within", "as")
        )
    if a == "modal" and b == "verb" and word.text.endswith("s") and not word.text.endswith("ss"):
        return word.text[:-1] in _ONLY_VERBS or word.text in ("leaves",)
    if word.text == "of" and a == "preposition" and before.text not in _OF_AFTER:
        return True
    if before.text in _PURE and word.text == "without":
        return True
    return a == "be" and b == "be" and word.text not in ("being", "been") and before.text != "being"


_OF_AFTER = frozenset("out off inside outside up like as near above below behind".split())
_PURE = frozenset("of for with from at by into onto during among between than towards upon".split())
_ONLY_VERBS = frozenset(
    "accept add apply arrive ask bring build buy carry connect contain deliver enjoy explain "
    "feel find follow get give have help import include keep know learn let make meet open pay protect "
    "provide receive recommend remove replace say see sell send serve speak take teach tell "
    "understand want wear weigh close begin cost end cover".split()
)


# ---------------------------------------------------------------- empty

_HOLLOW = frozenset(("be", "have", "do", "modal"))
_VAGUE = frozenset(
    "thing something someone somebody everyone everything anything nothing one ones kind sort way "
    "case stuff".split()
)
_IDIOM = re.compile(
    r"\b(?:for you|with you|here for|on us|you can do it|that's it|this is it|is yours|are yours|"
    r"is here\b(?! about)|are here\b(?! about)|is ready|is back|up to you|you are here|there for you|"
    r"as you are|the way you|what you|who you|where you|all you|all yours|is on\b|thank you|we are on|"
    r"about you\b(?!.)|our gift|your gift|a gift|is done|are done|we have it|you have it|have it all|has it all)"
)
_GIVEN = re.compile(r"\b(?:our|your|a) gift\b|\bon us\b|\b(?:is|are) done\b")
_TAIL = re.compile(
    r"\b(?:of|'s|to be|about|on|with|for) it$|\b(?:that|which|who|what|it|those|this|they|as \w+ \w+) "
    r"(?:is|are|was|were|be|has|have)$|\bis it$|\bare it$|\bhave to be it$|\bhas to be it$"
)


def empty(words: tuple[Word, ...]) -> str:
    """Return why a sentence says nothing, "" where it says something."""
    plain = tuple(word for word in words if word.kind != "mark")
    text = " ".join(word.text for word in plain)
    if any(w.kind in ("number", "negation") for w in plain):
        return ""
    at = verb_at(plain)
    if at < 0 or at == 0:
        return ""
    asks = words[-1].text == "?"
    if asks or plain[0].kind in ("relative", "conjunction", "time", "preposition"):
        return ""
    subject = {w.stem for w in content(plain[:at])} - _VAGUE
    verbs = [w for w in content(plain) if w.kind == "verb" and w.stem not in subject]
    rest = [w for w in content(plain[at + 1 :]) if w.stem not in _VAGUE]
    stems = {w.stem for w in rest}
    if _GIVEN.search(text):
        return ""
    hollow = plain[at].kind in _HOLLOW and (
        plain[at].kind != "modal" or (at + 1 < len(plain) and plain[at + 1].kind in _HOLLOW)
    )
    if hollow and subject and rest and stems <= subject:
        return "tells of its subject only the subject"
    if _tautology(plain, at):
        return "tells of its subject only the subject"
    if not hollow:
        return ""
    if not rest and not _IDIOM.search(text) and not _points(plain, at):
        return "says nothing of its subject"
    heads = content(plain[:at])
    if heads and rest and rest[-1].stem == heads[-1].stem and len(stems) <= 2 and not verbs:
        return "tells of its subject only the subject"
    if _TAIL.search(text) and not verbs and len(stems) <= 2 and not _IDIOM.search(text):
        return "says nothing of its subject"
    if len(stems) == 1 and not verbs and not subject and sum(w.kind == "pronoun" for w in plain) > 2:
        return "says nothing of its subject"
    return _empty_part(words)


def _tautology(plain: tuple[Word, ...], at: int) -> bool:
    """Tell whether a subject is said to be itself: "the sun is the sun of the roof"."""
    if plain[at].kind != "be" or at + 2 >= len(plain) or not content(plain[:at]):
        return False
    after = plain[at + 1 :]
    article = after[0].kind in ("article", "possessive", "determiner")
    return article and after[1].stem == content(plain[:at])[-1].stem


def _empty_part(words: tuple[Word, ...]) -> str:
    """Return why one clause of several says nothing: "they are it"."""
    for start, stop in clauses(words):
        part = words[start:stop]
        at = verb_at(part)
        if 0 < at == len(part) - 2 and part[at].kind == "be" and part[-1].text in ("it", "us", "them"):
            return "says nothing of its subject"
    return ""


def _points(words: tuple[Word, ...], at: int) -> bool:
    """Tell whether a sentence without content still points somewhere: at a time, at the reader."""
    tail = words[at + 1 :]
    if [word.text for word in tail] == ["there"] and content(words[:at]):
        return True
    return any(
        word.kind == "adverb" and word.text not in ("also", "there", "still", "only", "even")
        or word.text in ("you", "yours")
        for word in tail
    ) or any(w.text in ("you", "we") for w in words[:at])


__all__ = ["LEFTOVER", "broken", "empty"]
