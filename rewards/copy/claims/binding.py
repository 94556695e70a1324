"""Whether what a sentence claims stands in its brief, and is joined there as it is here."""

from __future__ import annotations

from itertools import pairwise

from copygym.rewards.copy.claims.amounts import Problem, given_another_day, misused, scenic
from copygym.rewards.copy.claims.clause import WEAK, Clause
from copygym.rewards.copy.claims.facts import Brief, Fact, negated_stems
from copygym.rewards.copy.claims.language import Word, clauses, content, stem_of
from copygym.rewards.copy.claims.novelty import new_names, new_things
from copygym.rewards.copy.claims.phrases import claims_beyond
from copygym.rewards.copy.claims.quantities import TIME_STEMS, quantities

#: How a clause begins that speaks of the reader alone.
_ADDRESSES = frozenset(
    ("you already", "you set", "you promised", "you know", "treat yourself", "treat your",
     "picture us", "picture you", "picture yourself", "imagine you", "remember the", "if you",
     "whatever you", "when you")
)  # fmt: skip
#: verbs whose object need not be told of their subject in the brief.
_LOOSE = frozenset(
    map(
        stem_of,
        ("give", "get", "take", "bring", "find", "see", "need", "want", "enjoy", "choose", "use",
         "let", "make", "offer"),
    )
)  # fmt: skip


def unbound(sentence: tuple[Word, ...], brief: Brief) -> list[Problem]:
    """Return (kind, reason) of each claim of a sentence that its brief does not carry.

    The kind is ``false`` or ``misbound``. Clauses that speak of the reader ("you already ...",
    "treat yourself to ...") claim nothing, and questions only by their phrases and by numbers
    beside the brief's words.
    """
    told = quantities(sentence)
    parts = [
        Clause(sentence, start, stop, tuple(q for q in told if start <= q.start < stop))
        for start, stop in _of_the_product(sentence, brief)
    ]
    if not parts:
        return []
    rest = sentence[parts[0].start :]
    text = " ".join(word.text for word in rest)
    found = [("false", f"{words!r}: {name}") for name, words in claims_beyond(text, brief.text)]
    found += _unlimited(rest, brief)
    asks = sentence[-1].text == "?"
    if asks:
        parts = [clause for clause in parts if clause.anchored(brief)]
    else:
        found += filter(None, [given_another_day(told, brief)])
    for clause in parts:
        found += _amounts(clause, brief)
        if not asks and not found:
            found += filter(None, [_denial(clause, brief) or _predicate(clause, brief)])
    for clause in parts:
        found += [("false", f"{n!r} is not in the brief") for n in new_names(clause, brief)]
    if not found and not asks:
        new = new_things(parts, brief)
        found += [("false", f"{new!r} is not in the brief")] if new else []
    return found


def _of_the_product(sentence: tuple[Word, ...], brief: Brief) -> tuple[tuple[int, int], ...]:
    """Return the clauses of a sentence after what it says of the reader alone."""
    spans = clauses(sentence)
    if not spans:
        return ()
    first = sentence[spans[0][0] : spans[0][1]]
    if " ".join(word.text for word in first[:2]) not in _ADDRESSES:
        return spans
    for i, (start, stop) in enumerate(spans[1:], 1):
        parted = sentence[start - 1].kind == "mark" or sentence[start - 1].text in ("so", "but")
        if parted or any(word.stem in brief.product for word in sentence[start:stop]):
            return spans[i:]
    return ()


def _unlimited(words: tuple[Word, ...], brief: Brief) -> list[Problem]:
    """Return that something else is unlimited than in the brief."""
    for word, after in pairwise(words):
        if word.text in ("unlimited", "endless") and after.kind == "word":
            known = brief.following.get(word.text, frozenset())
            if known and "" not in known and after.text not in known:
                return [("misbound", f"{word.text} {after.text}: not so in the brief")]
    return []


def _amounts(clause: Clause, brief: Brief) -> list[Problem]:
    found = []
    for quantity in clause.told:
        if clause.asks and quantity.kind not in ("percent", "free", "count"):
            continue
        problem = misused(quantity, clause, brief)
        if problem and (clause.anchored(brief) or not scenic(quantity, clause.sentence)):
            found.append(problem)
    return found


# ---------------------------------------------------------------- who does what


def _denial(clause: Clause, brief: Brief) -> Problem | None:
    """Return that a clause denies what the brief affirms, or the other way round."""
    words = clause.words
    denied = negated_stems(words)
    for stem in sorted(denied) if _denies(clause) else ():
        if stem not in brief.affirmed or stem in brief.negated | WEAK | brief.product:
            continue
        if not any(stem in fact.stems and fact.negated & denied for fact in brief.facts):
            return "false", f"denies {stem!r}, which the brief affirms"
    if any(word.text in ("nothing", "without", "no") for word in words):
        return None
    for word in content(words):
        told = word.stem in brief.negated and word.stem not in brief.affirmed | WEAK
        if told and word.stem not in denied:
            return "false", f"affirms {word.text!r}, which the brief denies"
    return None


def _denies(clause: Clause) -> bool:
    """Tell whether a clause with a negation says that something is not: "there is no fee"."""
    if any(word.text in ("more", "less", "fewer", "longer") for word in clause.words):
        return False
    if clause.words[0].text in ("no", "without"):
        return not any(word.kind == "mark" for word in clause.sentence)  # "no rain, no worries"
    verb = clause.words[clause.verb] if clause.verb >= 0 else None
    return verb is not None and (
        verb.kind in ("be", "have", "do", "modal", "negation") or verb.stem in ("pay", "contain")
    )


def _predicate(clause: Clause, brief: Brief) -> Problem | None:
    """Return that a clause tells of one fact's subject what the brief tells of another's."""
    words, at = clause.words, clause.verb
    if at <= 0 or (words[at].kind == "verb" and words[at].stem in _LOOSE):
        return None
    if words[at].kind == "verb" and words[at].stem not in brief.facts_of:
        return None  # of a new verb the brief cannot say whose it is
    usual = brief.product | WEAK | TIME_STEMS
    said = content(words[at + 1 :])
    told = [*([words[at]] if words[at].kind == "verb" else []), *said]
    word = next((w for w in told if w.stem in brief.facts_of and w.stem not in usual), None)
    if word is None:
        return None
    facts = [brief.facts[i] for i in brief.facts_of[word.stem]]
    subject = [w for w in content(words[clause.front : at]) if w.stem not in usual]
    known = [w for w in subject if w.stem in brief.facts_of]
    if known:
        extended = any(w.kind == "preposition" for w in words[:at])
        heads = {w.stem for w in (known if extended else known[-1:])}
        if not any(heads & fact.stems for fact in facts):
            return "misbound", f"{known[-1].text!r} with {word.text!r}: not so in the brief"
        if len(facts) == 1 and word is words[at] and _turned(known[-1], clause, facts[0]):
            return "misbound", f"{known[-1].text!r} and {word.text!r} have changed places"
        return None
    named = not subject and bool(content(words[:at]))
    pronoun = any(w.kind == "pronoun" for w in words[:at])
    if named and not pronoun and word.kind == "verb" and word is words[at]:
        stems = {w.stem for w in words} | brief.product
        if all(fact.subject and not fact.subject & stems for fact in facts):
            return "misbound", f"{word.text!r} is told of something else in the brief"
    return None


def _turned(head: Word, clause: Clause, fact: Fact) -> bool:
    """Tell whether subject and object of a fact's verb have changed places."""
    if not fact.subject or any(word.kind == "be" for word in clause.words):
        return False
    after = {word.stem for word in content(clause.words[clause.verb + 1 :])}
    return head.stem not in fact.subject and bool(after & fact.subject)
