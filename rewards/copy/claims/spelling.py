"""Whether a word is spelled as English is: what is no word, and what is one with a slip."""

from __future__ import annotations

import re
from functools import lru_cache

from copygym.rewards.copy.claims.facts import Brief
from copygym.rewards.copy.claims.language import Word, common_words, stem_of


def misspelled(words: tuple[Word, ...], brief: Brief) -> str:
    """Return which word of a sentence is none, "" where all are; a brief's words always are.

    A word that nobody knows may be a name or a rare one. It is a slip where one letter makes it a
    word of the brief, or two exchanged or doubled letters make it a common word.
    """
    for word in words:
        if word.kind == "word" and len(word.text) > 3 and not word.text.endswith("'s"):
            reason = _odd(word.text, brief)
            if reason:
                return reason
        short = word.kind == "word" and not word.capital and len(word.text) == 3
        if short and not _VOWEL.search(word.text) and word.text not in brief.words:
            return f"{word.text!r} is no word"
    return ""


_VOWEL = re.compile(r"[aeiouyà-ÿ]")
_TRIPLE = re.compile(r"(\w)\1\1")


def _odd(word: str, brief: Brief) -> str:
    if word in brief.words or word in common_words() or known_form(word):
        return ""
    if _TRIPLE.search(word) or not _VOWEL.search(word):
        return f"{word!r} is no word"
    for near in _near_words(brief.words):
        if (
            near[0] == word[0]
            and abs(len(near) - len(word)) <= 1
            and _one_slip(word, near)
            and not _inflected(word, near)
        ):
            return f"{word!r} is {near!r} misspelled"
    if len(word) > 4:
        for near in _common_by_ends().get((word[0], word[-1]), ()):
            if _typing_slip(word, near):
                return f"{word!r} is {near!r} misspelled"
    return ""


@lru_cache(maxsize=100_000)
def known_form(word: str) -> bool:
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
    return any(
        long[:i] + long[i + 1 :] == short and long[i] == long[i - 1] for i in range(1, len(long))
    )


def _inflected(a: str, b: str) -> bool:
    """Tell whether two words differ in an ending alone."""
    if stem_of(a) == stem_of(b):
        return True
    short, long = sorted((a, b), key=len)
    return len(long) != len(short) and long.startswith(short) and long[-1] in "sdryn"
