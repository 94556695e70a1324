"""Whether a copy keeps to its brief: every claim tied to a fact, every sentence a sentence.

Rules, not a model, so that a reader can say of every finding which words caused it. What they find
and what they miss was measured on sentences written for it (``docs/grounding.md``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from copygym.core.text.visible import is_blank
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.claims.binding import unbound
from copygym.rewards.copy.claims.broken import LEFTOVER, broken
from copygym.rewards.copy.claims.empty import empty
from copygym.rewards.copy.claims.facts import Brief, contradictions, read_brief
from copygym.rewards.copy.claims.language import Word, read_sentences
from copygym.rewards.copy.claims.phrases import presses_idly

_LETTER = re.compile(r"[a-zA-Z]")
#: What a finding may be; see `Finding`.
KINDS = ("false", "misbound", "empty", "broken")


class Finding(NamedTuple):
    """What is wrong with a sentence.

    Attributes:
        kind: ``false``, the brief does not say so; ``misbound``, its facts are wrongly joined;
            ``empty``, nothing is said; ``broken``, it is no sentence.
        sentence: its words, in lower case.
        reason: which words, and why.
    """

    kind: str
    sentence: str
    reason: str


@lru_cache(maxsize=200_000)
def check_copy(text: str, brief: str, original: str | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a copy, by sentences; nothing where it may be sent.

    A brief that is a form ("Product: ... Price: ... Facts: ...") is read by its labels, any other
    text as sentences. Where it has no facts only the form can be checked, and claims that no brief
    is needed for: numbers, dates, names, superlatives, guarantees. What two facts that contradict
    each other say may both be said.

    Args:
        text: the copy.
        brief: what may be claimed.
        original: a human text that was to be rewritten; what it claims may be claimed, too, and
            the original itself always passes.
    """
    if not _LETTER.search(text) and is_blank(text):
        return (Finding("empty", "", "nothing is seen"),)
    if original is not None and text.strip() == original.strip():
        return ()  # a person wrote it, and keeping it is always allowed
    left = LEFTOVER.search(text)
    if left:
        return (Finding("broken", text.strip().lower(), f"holds {left.group().strip()!r}"),)
    facts = read_brief(brief, original or "")
    sentences = read_sentences(text)
    if not sentences:
        return (Finding("broken", text.strip(), "has no word"),)
    found: list[Finding] = []
    whole = ". ".join(_said(sentence) for sentence in sentences)
    seen: set[tuple[str, ...]] = set()
    for sentence in sentences:
        texts = tuple(word.text for word in sentence)
        if texts in seen and len(texts) > 2:
            found.append(Finding("broken", " ".join(texts), "is said twice"))
            continue
        seen.add(texts)
        found += _judge(sentence, facts, whole)
    return tuple(found)


def _said(sentence: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in sentence)


def _judge(sentence: tuple[Word, ...], brief: Brief, whole: str) -> list[Finding]:
    said = _said(sentence)
    reason = broken(sentence, brief)
    if reason:
        return [Finding("broken", said, reason)]
    reason = empty(sentence)
    if reason:
        return [Finding("empty", said, reason)]
    if presses_idly(said, whole):
        return [Finding("misbound", said, "presses, and nothing ends or runs out")]
    return [Finding(kind, said, reason) for kind, reason in unbound(sentence, brief)]


def deliverable(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
    """Return (N,) bool: which of N texts may be sent, because `check_copy` finds nothing.

    Where a task has an original (``rows.originals``), what that claims may be claimed, too.
    """
    return faults(texts, rows) == 0


def grounded(texts: Sequence[str], briefs: Sequence[str]) -> np.ndarray:
    """Return (N,) bool: in which of N texts for N briefs `check_copy` finds nothing."""
    pairs = zip(texts, briefs, strict=True)
    return np.array([not check_copy(text, brief) for text, brief in pairs], dtype=bool)


def finding_shares(texts: Sequence[str], rows: CopyRows) -> dict[str, float]:
    """Return ``deliverable`` and, of each kind, the share of N >= 1 texts that have such a finding.

    ``grounded`` is the share without a ``false`` or ``misbound`` claim.
    """
    kinds = [{finding.kind for finding in findings} for findings in _checked(texts, rows)]
    n = len(kinds)
    return {
        "deliverable": sum(not k for k in kinds) / n,
        "grounded": sum(not k & {"false", "misbound"} for k in kinds) / n,
        **{kind: sum(kind in k for k in kinds) / n for kind in KINDS},
    }


def faults(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
    """Return (N,) int64: how many findings each of N texts has."""
    return np.array([len(findings) for findings in _checked(texts, rows)], dtype=np.int64)


def _checked(texts: Sequence[str], rows: CopyRows) -> list[tuple[Finding, ...]]:
    originals = rows.originals or ("",) * len(texts)
    return [
        check_copy(text, brief, original or None)
        for text, brief, original in zip(texts, rows.briefs, originals, strict=True)
    ]


def has_facts(brief: str) -> bool:
    """Tell whether a brief states anything to check a copy by, besides a name and a field."""
    return read_brief(brief).stated


_warned: set[str] = set()


def warn_of_briefs(briefs: Sequence[str]) -> None:
    """Warn once of briefs without facts, where only form can be checked, and of contradictions."""
    bare = sorted({brief for brief in briefs if not has_facts(brief)} - _warned)
    if bare:
        _warned.update(bare)
        warnings.warn(
            f"{len(bare)} of {len(set(briefs))} briefs state no facts, such as {bare[0][:60]!r}: "
            "of their copy only the form is checked, and claims that need a fact fail.",
            stacklevel=2,
        )
    odd = {b: told for b in set(briefs) - _warned if (told := contradictions(read_brief(b)))}
    for brief, told in sorted(odd.items()):
        _warned.add(brief)
        warnings.warn(
            f"The brief {brief[:60]!r} says two things of {told[0]!r}, and copy that says "
            "either passes: correct the brief.",
            stacklevel=2,
        )
