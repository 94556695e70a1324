"""What a sentence claims in words that its brief does not have: names, and things promised."""

from __future__ import annotations

from collections.abc import Sequence

from copygym.rewards.copy.claims.clause import Clause, commands
from copygym.rewards.copy.claims.facts import Brief
from copygym.rewards.copy.claims.language import (
    Word,
    common_words,
    content,
    kind_of,
    stem_of,
)
from copygym.rewards.copy.claims.phrases import claimless, things
from copygym.rewards.copy.claims.quantities import CURRENCIES, MONTHS, TIME_STEMS
from copygym.rewards.copy.claims.spelling import known_form

_TITLE_SHARE = 0.65
#: verbs by which the reader is promised their object.
_PROMISING = frozenset(
    map(
        stem_of,
        ("get", "receive", "earn", "save", "win", "enjoy", "have", "swim", "own", "pay", "lose"),
    )
)
_SUBJECTS = frozenset(
    ("it", "we", "they", "he", "she", "there", "it's", "she's", "all", "everything")
)
_OBJECTS = ("word", "article", "possessive", "number", "pronoun", "determiner")
_IDLE = ("have a look", "have a try", "have a go", "have a seat", "take a look")


def new_names(clause: Clause, brief: Brief) -> list[str]:
    """Return the names of a clause that the brief does not have, capitalised.

    A capital inside a sentence makes a name. Where capitals say nothing (at the start, in a
    headline's title case) a word is one if English does not know it.
    """
    titled = _in_title_case(clause.sentence)
    names = []
    for word in clause.words:
        if not word.capital or word.kind not in ("word", "verb") or len(word.text) < 2:
            continue
        usual = word.text in common_words() or word.stem in claimless()
        if (titled or word.start) and (usual or known_form(word.text)):
            continue
        if not _is_known(word, brief):
            names.append(word.text.capitalize())
    return names


def _is_known(word: Word, brief: Brief) -> bool:
    if word.text in brief.words or word.stem in brief.facts_of or word.stem in brief.product:
        return True
    if word.stem in TIME_STEMS or word.text in MONTHS or word.text.startswith("i'"):
        return True
    if kind_of(word.text.removesuffix("'s")) not in ("word", "verb"):
        return True  # yesterday's
    return len(word.text) > 4 and any(w.startswith(word.text[:4]) for w in brief.words)


def _in_title_case(sentence: tuple[Word, ...]) -> bool:
    counted = [
        word
        for word in sentence
        if word.kind in ("word", "verb", "pronoun", "be", "adverb")
        and not word.start
        and word.text != "i"
    ]
    return len(counted) > 1 and sum(w.capital for w in counted) > _TITLE_SHARE * len(counted)


def new_things(clauses: Sequence[Clause], brief: Brief) -> str:
    """Return a word for what a sentence claims and the brief does not know, "" if there is none.

    A clause claims where it speaks of what the brief speaks of and has a subject and a verb ("the
    sofa turns into a bed"), where it leaves the subject out ("works with your fingerprint"), where
    it promises the reader something ("get a free bag"), and where "our" or "its" presents a thing.
    """
    if not clauses or clauses[0].sentence[0].kind == "relative" or not brief.stated:
        return ""
    asserted = False
    for clause in clauses:
        words = clause.words
        tells = clause.verb == 0 and words[0].kind == "verb" and not clause.commands
        anchored = clause.anchored(brief)
        added = asserted and clause.start > 0 and _adds(clause.sentence[clause.start - 1])
        aside = clause.commands or any(word.text == "you" for word in words)
        asserted = tells or (not aside and (clause.verb >= 0 or not clause.start) and anchored)
        new = _new_words(clause, brief)
        if not new:
            continue
        if added and clause.verb < 0:
            return new[0].text
        if not tells and not anchored:
            continue
        owned = _owned(words, new)
        if owned or tells or _claims(clause):
            return owned or new[0].text
    return ""


def is_new(word: Word, brief: Brief, offered: bool) -> bool:
    """Tell whether a word would be a claim that the brief does not carry.

    Args:
        word: of a text.
        brief: of the text.
        offered: whether the word's clause says that something is had, included or free.
    """
    stem = word.stem
    if offered and stem in things() and stem not in brief.facts_of:
        return True
    if stem in brief.facts_of or stem in brief.product or word.text in brief.words:
        return False
    if stem in claimless() or stem in TIME_STEMS or stem in CURRENCIES:
        return False
    return word.text != "covered" and stem != "includ" and not _derived(stem, brief)


def _new_words(clause: Clause, brief: Brief) -> list[Word]:
    offered = any(w.stem == "includ" or w.text in ("free", "has", "have") for w in clause.words)
    kinds = ("word",) if clause.verb == 0 and clause.commands else ("word", "verb")  # "get lost"
    return [w for w in content(clause.words) if w.kind in kinds and is_new(w, brief, offered)]


def _derived(stem: str, brief: Brief) -> bool:
    """Tell whether the brief has a word of the same root: Sweden, Swedish."""
    return len(stem) > 4 and any(
        known[:4] == stem[:4] and abs(len(known) - len(stem)) < 4
        for known in brief.facts_of
        if len(known) > 4
    )


def _adds(word: Word) -> bool:
    return word.text in ("with", "plus", "including")


def _claims(clause: Clause) -> bool:
    """Tell whether a clause that speaks of the brief's matter claims something of it."""
    words = clause.words
    at = clause.verb if clause.verb >= 0 else _unknown_verb(words)
    if at < 0:
        return False
    if at == 0:
        idle = " ".join(word.text for word in words[:3]) in _IDLE
        return commands(words[0]) and words[0].stem in _PROMISING and not idle
    subject = words[:at]
    if any(word.text == "you" for word in subject):
        return any(word.stem in _PROMISING for word in words)
    return bool(content(subject)) or any(word.text in _SUBJECTS for word in subject)


def _unknown_verb(words: tuple[Word, ...]) -> int:
    """Return the place of what must be the verb after a subject ("the fabric repels stains")."""
    spoken = len(words) > 2 and words[0].text in ("we", "they") and words[1].kind == "word"
    if spoken and words[2].kind in ("possessive", "article"):
        return 1
    for at in range(1, len(words) - 1):
        before, word, after = words[at - 1 : at + 2]
        ends = word.text.endswith("s") and not word.text.endswith(("ss", "us", "is", "'s"))
        named = before.kind in ("word", "pronoun", "adverb") and not before.text.endswith("s")
        if word.kind == "word" and ends and named and after.kind in _OBJECTS:
            return at
    return -1


def _owned(words: tuple[Word, ...], new: Sequence[Word]) -> str:
    """Return what "our" or "its" presents as ours although the brief has no such thing."""
    fresh = {word.text for word in new}
    for at, word in enumerate(words[:-1]):
        if word.text in ("our", "its"):
            for after in words[at + 1 : at + 3]:
                if after.text in fresh:
                    return after.text
    return ""
