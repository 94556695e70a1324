"""What a rewrite keeps of its original, and copy terms that pay for better and faithful ones.

Rules for names and numbers, so that a reader can say of every finding which word caused it; a
sentence encoder for the story.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.encoders import SentenceEncoder, default_cache
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.compliance import spelled_numbers
from copygym.rewards.copy.grounding import check_copy
from copygym.rewards.copy.text_terms import (
    Resources,
    Term,
    blanks,
    gibberish,
    repetition,
    require_input,
)

_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['’][^\W_]+)*")
#: Letters by which words are compared: "teachers" and "teaching" are one.
_STEM = 6
_LEAST_COMMON = 11


@dataclass(frozen=True)
class Names:
    """Finds names in texts whose capitals say nothing, such as Headlines In Title Case.

    A capitalised word is a name unless ordinary prose writes it small.

    Attributes:
        usual: beginnings of the words that prose writes small.
    """

    usual: frozenset[str] = field(repr=False)

    @classmethod
    def from_prose(cls, texts: Sequence[str]) -> Names:
        """Return the finder that knows the small words of ``texts``, such as a log's briefs."""
        found = {word for text in texts for word in _WORD.findall(text) if word[0].islower()}
        return cls(frozenset(map(_stem, found)))

    def names(self, text: str) -> frozenset[str]:
        """Return the beginnings of a text's names, in lower case."""
        capitals = {_stem(word) for word in _WORD.findall(text) if word[0].isupper()}
        return frozenset(word for word in capitals if len(word) > 1) - self.usual

    def facts(self, text: str) -> frozenset[str]:
        """Return a text's names and numbers; numbers in words count from eleven on."""
        return self.names(text) | spelled_numbers(text, smallest=_LEAST_COMMON)

    def lost(self, text: str, original: str) -> frozenset[str]:
        """Return the names and numbers of ``original`` that ``text`` does not have."""
        return self.facts(original) - _told(text)

    def invented(self, text: str, original: str, brief: str) -> frozenset[str]:
        """Return the names and numbers of ``text`` that neither original nor brief has."""
        return self.facts(text) - _told(original) - _told(brief)


def _stem(word: str) -> str:
    return re.sub(r"['’].*", "", word.lower())[:_STEM]


def _told(text: str) -> frozenset[str]:
    """Return what a text tells: beginnings of its words, and its numbers in digits or words."""
    return frozenset(map(_stem, _WORD.findall(text))) | spelled_numbers(text, smallest=0)


def require_originals(rows: CopyRows, what: str) -> Sequence[str]:
    """Return the originals of tasks of rewriting.

    Raises:
        UserError: the tasks are to write.
    """
    if not rows.originals:
        raise UserError(
            f"{what} compares a text with its original, and these tasks have none: use "
            "task=rewrite, or tasks.rewriting(originals)."
        )
    return rows.originals


@dataclass(frozen=True)
class _Gain:
    model: Any

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        originals = require_originals(rows, "copy term 'gain'")
        logit = np.asarray(self.model.score([*texts, *originals]), np.float64)
        gain = np.clip(logit[: len(texts)] - logit[len(texts) :], -_BOUND, _BOUND)
        return np.where(blanks(texts), -_BOUND, gain)


#: Most that a gain in logits can be.
_BOUND = 15.0


def gain(resources: Resources) -> Term:
    """Return the CTR model's click logit of a text less that of its original, in [-15, 15].

    What RLPF (arXiv 2507.21983) pays for. An original that is kept gets 0, an empty text -15.

    Args:
        resources: ``model``.
    """
    return _Gain(require_input(resources.model, "gain", "model", "a trained CTR reward model"))


@dataclass(frozen=True)
class _OffOriginal:
    names: Names
    encoder: SentenceEncoder
    enough: float

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        originals = require_originals(rows, "copy term 'off_original'")
        text_NE, original_NE = (self.encoder.encode(list(t)) for t in (texts, originals))
        cosine = np.einsum("ne,ne->n", text_NE, original_NE, dtype=np.float64)
        away = np.clip(1.0 - cosine / self.enough, 0.0, 1.0)
        faults = np.array(
            [self._facts(*parts) for parts in zip(texts, originals, rows.briefs, strict=True)],
            np.float64,
        )
        return np.where(blanks(texts), 1.0, np.clip(away + faults, 0.0, 1.0))

    def _facts(self, text: str, original: str, brief: str) -> float:
        """Return the share of the original's facts that are lost, and a half for each new one."""
        facts = len(self.names.facts(original))
        lost = len(self.names.lost(text, original)) / facts if facts else 0.0
        return lost + 0.5 * len(self.names.invented(text, original, brief))


def off_original(resources: Resources, encoder: str = "minilm", enough: float = 0.6) -> Term:
    """Return in [0, 1] how far a text is from its original's story.

    The sum, at most 1, of what is lost of the original's names and numbers (a share), a half for
    every name or number that neither original nor brief has, and 1 minus the cosine of the two
    sentence vectors over ``enough``: coming closer than that is worth nothing.

    Args:
        resources: ``users``, whose catalogue's briefs tell names from other words.
        encoder: ``minilm``, a folder, or a Hugging Face id.
        enough: cosine that costs nothing, in (0, 1].
    """
    if isinstance(enough, bool) or not isinstance(enough, int | float) or not 0.0 < enough <= 1.0:
        raise UserError(f"copy term 'off_original' has enough={enough!r}; it must lie in (0, 1].")
    users = require_input(resources.users, "off_original", "users", "users with a catalogue")
    catalogue = users.catalogue
    briefs = [catalogue.brief_of(creative) for creative in range(catalogue.n_creatives)]
    found = Names.from_prose(briefs)
    return _OffOriginal(found, SentenceEncoder(encoder, cache=default_cache()), float(enough))


@dataclass(frozen=True)
class Faithful:
    """Tells which rewrites may stand for their original.

    Those that keep its names and numbers, add none, are near it in meaning, say nothing twice, are
    one line of writing, and claim nothing that neither it nor the brief supports.

    Attributes:
        names: finds names.
        encoder: of sentences.
        near: least cosine of text and original.
    """

    names: Names
    encoder: SentenceEncoder
    near: float = 0.5

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        """Return (N,) bool of N texts for N tasks with originals."""
        nothing = Resources()
        whole = _OffOriginal(self.names, self.encoder, self.near)(texts, rows) == 0.0
        for fault in (repetition(nothing), gibberish(nothing)):
            # A phrase that the original repeats may be said again.
            whole &= fault(texts, rows) <= fault(rows.originals, rows)
        for row in np.flatnonzero(whole).tolist():
            brief, original = rows.briefs[row], rows.originals[row]
            found = (
                {finding.reason for finding in check_copy(text, brief, original)}
                for text in (texts[row], original)
            )
            # What the checker has against the human's own words it may have again.
            whole[row] = next(found) <= next(found)
        return whole


def faithful(resources: Resources, encoder: str = "minilm", near: float = 0.5) -> Faithful:
    """Return the gate of rewriting; its arguments are those of `off_original`, ``near`` first."""
    term = off_original(resources, encoder, near)
    assert isinstance(term, _OffOriginal)
    return Faithful(term.names, term.encoder, near)


def kept_measures(texts: Sequence[str], rows: CopyRows, names: Names) -> dict[str, float]:
    """Return what rewriting reports beside clicks of N texts.

    Returns:
        ``unchanged``: share of texts that are their original; ``facts_kept``: share of the
        originals' names and numbers that their texts have (nan where they have none);
        ``invented``: share of texts with a name or number that neither original nor brief has.
    """
    originals = require_originals(rows, "kept_measures")
    pairs = list(zip(texts, originals, strict=True))
    facts = sum(len(names.facts(original)) for original in originals)
    lost = sum(len(names.lost(*pair)) for pair in pairs)
    new = [
        bool(names.invented(*pair, brief)) for pair, brief in zip(pairs, rows.briefs, strict=True)
    ]
    same = [" ".join(text.split()) == " ".join(original.split()) for text, original in pairs]
    return {
        "unchanged": float(np.mean(same)),
        "facts_kept": 1.0 - lost / facts if facts else float("nan"),
        "invented": float(np.mean(new)),
    }


__all__ = [
    "Faithful",
    "Names",
    "faithful",
    "gain",
    "kept_measures",
    "off_original",
    "require_originals",
]
