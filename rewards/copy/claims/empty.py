"""Whether a sentence says something of its subject, as "a claim is a claim" does not."""

from __future__ import annotations

import re

from copygym.rewards.copy.claims.language import Word, clauses, content, verb_at
from copygym.rewards.copy.claims.lexicon import word_set

_HOLLOW = frozenset(("be", "have", "do", "modal"))
_VAGUE = word_set(
    "thing something someone somebody everyone everything anything nothing one ones kind "
    "sort way case stuff"
)
_IDIOM = re.compile(
    r"\b(?:for you|with you|here for|on us|you can do it|that's it|this is it|is yours|are yours|"
    r"is here\b(?! about)|are here\b(?! about)|is ready|is back|up to you|you are here|"
    r"there for you|as you are|the way you|what you|who you|where you|all you|all yours|is on\b|"
    r"thank you|we are on|about you$|here it is|we have it|you have it|have it all|has it all)"
)
_GIVEN = re.compile(r"\b(?:our|your|a) gift\b|\bon us\b|\b(?:is|are) done\b")
_TAIL = re.compile(
    r"\b(?:of|'s|to be|about|on|with|for) it$|\b(?:is|are|(?:have|has) to be) it$"
    r"|\b(?:that|which|who|what|it|those|this|they|as \w+ \w+) (?:is|are|was|were|be|has|have)$"
)


def empty(words: tuple[Word, ...]) -> str:
    """Return why a sentence says nothing, "" where it says something."""
    plain = tuple(word for word in words if word.kind != "mark")
    text = " ".join(word.text for word in plain)
    at = verb_at(plain)
    if at < 0 and len(plain) > 1 and not _speaks(plain):
        return "says nothing"  # "nothing of it"
    if any(w.kind in ("number", "negation") for w in plain) or at <= 0:
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
    hollow = (
        plain[at].text != "done"
        and plain[at].kind in _HOLLOW
        and (plain[at].kind != "modal" or (at + 1 < len(plain) and plain[at + 1].kind in _HOLLOW))
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
    if (
        len(stems) == 1
        and not verbs
        and not subject
        and sum(w.kind == "pronoun" for w in plain) > 2
    ):
        return "says nothing of its subject"
    return _empty_part(words)


def _speaks(plain: tuple[Word, ...]) -> bool:
    """Tell whether a fragment has a word with a meaning, or speaks to the reader."""
    return any(
        word.kind in ("word", "verb", "number", "adverb") or word.text in ("you", "yours", "us")
        for word in plain
    )


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
        if (
            0 < at == len(part) - 2
            and part[at].kind == "be"
            and part[-1].text in ("it", "us", "them")
        ):
            return "says nothing of its subject"
    return ""


def _points(words: tuple[Word, ...], at: int) -> bool:
    """Tell whether a sentence without content still points somewhere: at a time, at the reader."""
    tail = words[at + 1 :]
    if [word.text for word in tail] == ["there"] and content(words[:at]):
        return True
    return any(
        (word.kind == "adverb" and word.text not in ("also", "there", "still", "only", "even"))
        or word.text in ("you", "yours")
        for word in tail
    ) or any(w.text in ("you", "we") for w in words[:at])
