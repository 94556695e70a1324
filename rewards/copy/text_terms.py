"""Copy terms of the text itself: length, repetition, likeness to others, claims, gibberish."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.text.encoders import SentenceEncoder, default_cache
from copygym.core.text.visible import is_blank
from copygym.envs.people.model import UserModel
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.compliance import unsupported_claims
from copygym.rewards.copy.grounding import faults
from copygym.rewards.copy.ngrams import NearestText, ngrams, pairwise_jaccard, words

#: Maps N texts and the N tasks they answer to (N,) float64. Of a text in which nothing is seen a
#: fault is the worst there is, and what is good is the least: nothing is no faultless copy.
Term = Callable[[Sequence[str], CopyRows], np.ndarray]

#: Words that a channel carries at no loss, lowest and highest; ``default`` is for all others.
LENGTHS: dict[str, tuple[float, float]] = {
    "email": (14, 40),
    "email_subject": (4, 12),
    "push": (5, 18),
    "sms": (7, 24),
    "banner": (3, 12),
    "default": (6, 24),
}


@dataclass(frozen=True)
class Resources:
    """What terms may need and an experiment hands in.

    Attributes:
        model: a CTR model or ensemble (``score``, and ``std`` for `uncertainty`).
        users: simulated users that answer free text.
        reference_texts: texts that copy should not repeat, such as the training log's.
        fluency: maps N texts to their mean log probability per token under a language model that
            was not trained on the reward, nats, (N,) float64.
    """

    model: Any = None
    users: UserModel | None = None
    reference_texts: Sequence[str] | None = None
    fluency: Callable[[Sequence[str]], np.ndarray] | None = None


def blanks(texts: Sequence[str]) -> np.ndarray:
    """Return (N,) bool: where nothing of a text is seen."""
    return np.array([is_blank(text) for text in texts], dtype=bool)


def require_input(value: Any, term: str, argument: str, what: str) -> Any:
    """Return ``value``, or say that copy term ``term`` needs it."""
    if value is None:
        raise UserError(
            f"copy term {term!r} needs {what}: give {argument}= to the copy reward, or drop the "
            "term."
        )
    return value


@dataclass(frozen=True)
class _PerText:
    """A term that looks at one text at a time."""

    of_text: Callable[[str], float] = field(repr=False)

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        return np.array([self.of_text(text) for text in texts], dtype=np.float64)


@dataclass(frozen=True)
class _Length:
    bands: Mapping[str, tuple[float, float]]
    characters: bool

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        size = [len(t.strip()) if self.characters else len(t.split()) for t in texts]
        n = np.maximum(np.array(size, np.float64), 1.0)
        default = self.bands["default"]
        bands = [self.bands.get(channel, default) for channel in rows.channels]
        low, high = np.array(bands, np.float64).reshape(-1, 2).T
        misfit = np.clip(np.maximum(np.log(n / high), np.log(low / n)), 0.0, 2.0)
        return np.where(blanks(texts), 2.0, misfit)


def length(
    resources: Resources, unit: str = "words", bands: Mapping[str, Any] | None = None
) -> Term:
    """Return how far a text's length lies outside its channel's band, in [0, 2].

    The absolute log-ratio to the nearest edge, 0 inside: twice too long or half too short costs
    log 2 = 0.69 on every channel.

    Args:
        resources: nothing of them.
        unit: ``words`` or ``characters``.
        bands: channel -> [lowest, highest], replacing or adding to `LENGTHS`; ``default`` is the
            band of channels that are not named. Bands in characters must name ``default``.
    """
    if unit not in ("words", "characters"):
        raise unknown_name("unit of copy term 'length'", unit, ["words", "characters"])
    given = {} if bands is None else dict(bands)
    if unit == "characters" and "default" not in given:
        raise UserError(
            "copy term 'length' in characters needs bands with a default, such as "
            "bands: {default: [30, 120]}."
        )
    for channel, band in given.items():
        if not _is_band(band):
            raise UserError(
                f"copy term 'length' has the band {band!r} for {channel!r}; give two numbers, "
                "0 < lowest <= highest."
            )
    known = LENGTHS if unit == "words" else {}
    return _Length(
        known | {c: (float(b[0]), float(b[1])) for c, b in given.items()}, unit != "words"
    )


def _is_band(band: Any) -> bool:
    if not isinstance(band, Sequence) or isinstance(band, str) or len(band) != 2:
        return False
    if any(isinstance(edge, bool) or not isinstance(edge, int | float) for edge in band):
        return False
    return bool(0 < band[0] <= band[1] < np.inf)


def repetition(resources: Resources) -> Term:
    """Return in [0, 1] how much a text repeats itself; 1 for an empty one.

    The larger of two shares: word pairs that occurred before in the text, and words of four
    letters or more that occurred at least twice before. Copy that names its product twice is 0.
    """
    return _PerText(_repetition)


@lru_cache(maxsize=100_000)
def _repetition(text: str) -> float:
    if is_blank(text):
        return 1.0
    tokens = words(text)
    pairs = list(ngrams(tokens, 2))
    again = len(pairs) - len(set(pairs))
    long = [w for w in tokens if len(w) >= 4]
    over = sum(max(long.count(w) - 2, 0) for w in set(long))
    return max(again / max(len(pairs), 1), over / max(len(long), 1))


@dataclass(frozen=True)
class _NearDuplicate:
    index: NearestText
    floor: float

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        similarity = self.index.similarity(texts)
        near = np.maximum(similarity - self.floor, 0.0) / (1.0 - self.floor)
        return np.where(blanks(texts), 1.0, near)


def near_duplicate(resources: Resources, measure: str = "jaccard", floor: float = 0.5) -> Term:
    """Return in [0, 1] how nearly a text repeats one of the reference texts; 1 is a copy or empty.

    The largest overlap of character 4-grams (`NearestText`), 0 up to ``floor`` and linear above.

    Args:
        resources: ``reference_texts``.
        measure: ``jaccard``, or ``containment`` of the text in a reference.
        floor: overlap that costs nothing, in [0, 1); two unrelated headlines share less than 0.12.
    """
    texts = require_input(
        resources.reference_texts, "near_duplicate", "reference_texts", "the training log's copies"
    )
    if measure not in ("jaccard", "containment"):
        raise unknown_name(
            "measure of copy term 'near_duplicate'", measure, ["jaccard", "containment"]
        )
    if not 0.0 <= floor < 1.0:
        raise UserError(f"copy term 'near_duplicate' has floor={floor!r}; it must lie in [0, 1).")
    return _NearDuplicate(NearestText(texts, measure), floor)


@dataclass(frozen=True)
class _Compliance:
    worst: int

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        claims = [
            len(unsupported_claims(text, brief))
            for text, brief in zip(texts, rows.briefs, strict=True)
        ]
        share = np.minimum(np.array(claims, np.float64), self.worst) / self.worst
        return np.where(blanks(texts), 1.0, share)


def compliance(resources: Resources, worst: int = 3) -> Term:
    """Return in [0, 1] how much a text claims that its brief does not support.

    The number of findings of `unsupported_claims` (numbers, percentages, superlatives,
    guarantees, medical claims, names), over ``worst``; 1 for an empty text.

    Args:
        resources: nothing of them.
        worst: findings that count as 1; more change nothing.
    """
    if isinstance(worst, bool) or not isinstance(worst, int) or worst < 1:
        raise UserError(f"copy term 'compliance' has worst={worst!r}; give a whole number from 1.")
    return _Compliance(worst)


@dataclass(frozen=True)
class _Grounding:
    worst: int

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        found = np.minimum(faults(texts, rows).astype(np.float64), self.worst) / self.worst
        return np.where(blanks(texts), 1.0, found)


def grounding(resources: Resources, worst: int = 2) -> Term:
    """Return in [0, 1] how much of a text may not be sent.

    The number of findings of `check_copy` (claims that the brief does not carry or that join its
    facts wrongly, empty and broken sentences), over ``worst``; 1 for an empty text.

    Args:
        resources: nothing of them.
        worst: findings that count as 1; more change nothing.
    """
    if isinstance(worst, bool) or not isinstance(worst, int) or worst < 1:
        raise UserError(f"copy term 'grounding' has worst={worst!r}; give a whole number from 1.")
    return _Grounding(worst)


@dataclass(frozen=True)
class _OffBrief:
    encoder: SentenceEncoder
    enough: float

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        text_NE, brief_NE = (self.encoder.encode(list(t)) for t in (texts, rows.briefs))
        cosine = np.einsum("ne,ne->n", text_NE, brief_NE, dtype=np.float64)
        return np.where(blanks(texts), 1.0, np.clip(1.0 - cosine / self.enough, 0.0, 1.0))


def off_brief(resources: Resources, encoder: str = "minilm", enough: float = 0.35) -> Term:
    """Return in [0, 1] how little of its brief's meaning a text has.

    1 minus the cosine of their sentence vectors over ``enough``; from there on nothing is gained by
    coming closer, so that reciting the brief is worth no more than keeping to it. Half of
    Upworthy's headlines reach the default; with another story's brief 1 in 100 does.

    Args:
        resources: nothing of them.
        encoder: ``minilm``, a folder, or a Hugging Face id.
        enough: cosine that costs nothing, in (0, 1].
    """
    if isinstance(enough, bool) or not isinstance(enough, int | float) or not 0.0 < enough <= 1.0:
        raise UserError(f"copy term 'off_brief' has enough={enough!r}; it must lie in (0, 1].")
    return _OffBrief(SentenceEncoder(encoder, cache=default_cache()), float(enough))


def diversity(resources: Resources) -> Term:
    """Return in [0, 1] how unlike a text is to the batch's other texts for the same product.

    1 minus its mean Jaccard similarity (character 4-grams) with them; 1 where it is the only one,
    0 for an empty text. It depends on the batch: a text scored alone gets 1.
    """
    return _diversity


def _diversity(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
    value = np.ones(len(texts))
    _, group = np.unique(np.array(rows.products, dtype=np.str_), return_inverse=True)
    for g in range(group.max(initial=-1) + 1):
        members = np.flatnonzero(group == g)
        if len(members) > 1:
            similarity = pairwise_jaccard([texts[i] for i in members.tolist()])
            others = similarity.sum(axis=1) - similarity.diagonal()
            value[members] = 1.0 - others / (len(members) - 1)
    return np.where(blanks(texts), 0.0, value)


@dataclass(frozen=True)
class _Formula:
    usual: Mapping[tuple[str, ...], float]

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        pairs_N = _word_pairs(texts)
        _, group = np.unique(np.array(rows.products, dtype=np.str_), return_inverse=True)
        size = np.bincount(group)
        holders = Counter(pair for pairs in pairs_N for pair in pairs)
        own = Counter((g, pair) for g, pairs in zip(group, pairs_N, strict=True) for pair in pairs)
        value = np.zeros(len(texts))
        for i, (g, pairs) in enumerate(zip(group, pairs_N, strict=True)):
            others = max(len(texts) - size[g], 1)
            value[i] = max(
                ((holders[p] - own[g, p]) / others - self.usual.get(p, 0.0) for p in pairs),
                default=0.0,
            )
        return np.where(blanks(texts), 1.0, np.maximum(value, 0.0))


def _word_pairs(texts: Sequence[str]) -> list[set[tuple[str, ...]]]:
    return [set(ngrams(words(text), 2)) for text in texts]


def formula(resources: Resources) -> Term:
    """Return in [0, 1] how worn a text's most worn phrase is.

    Of each of its word pairs: the share of the batch's texts for other products that have it too,
    less the share of the reference texts that do; the largest of these, at least 0. A writer that
    begins every text with "Here's what" pays for it, one that does so as often as the log does not.
    It depends on the batch: a text scored alone gets 0, but an empty one 1.

    Args:
        resources: ``reference_texts``.
    """
    texts = require_input(
        resources.reference_texts, "formula", "reference_texts", "the training log's copies"
    )
    counts = Counter(pair for pairs in _word_pairs(texts) for pair in pairs)
    return _Formula({pair: count / len(texts) for pair, count in counts.items()})


_LEFTOVER = re.compile(
    r"<\|?/?\w[^<>\n]{0,30}\|?>|\[/?\w{2,12}\]|\{\{?[\w .]*\}\}?|</?s>|#{2,}|\*\*|```|https?://"
    r"|(?:^|\n)\s*(?:brief|reader|channel|copy|user|assistant|system)\s*:",
    re.IGNORECASE,
)
_PUNCTUATION = " .,;:!?'\"’“”‘()%&$€£–—-/…\n"
_ODD_WORD = re.compile(
    r"(.)\1{2,}|[bcdfghjklmnpqrstvwxz]{6,}|^[bcdfghjklmnpqrstvwxz]{4,}$|^[^\W\d_]{25,}$",
    re.IGNORECASE,
)


def gibberish(resources: Resources) -> Term:
    """Return in [0, 1] how far a text is from one line of writing.

    1 for an empty text, one without letters, leftovers of a template (``<|im_end|>``,
    ``{name}``, ``Brief:``, Markdown, links), and the labels of a brief that is a form
    (``Price: 49. Facts: ...``). Otherwise the largest of: 0.5 for more than one
    line; the share of characters that are neither letters, digits, blanks nor ordinary
    punctuation, times 4; the share of odd words (no vowel among four letters or more, six
    consonants in a row, a letter three times, over 24 letters), times 2.
    """
    return _gibberish_of


def _gibberish_of(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
    return np.array(
        [
            1.0 if any(label in text for label in _labels(brief)) else _gibberish(text)
            for text, brief in zip(texts, rows.briefs, strict=True)
        ],
        dtype=np.float64,
    )


_LABEL = re.compile(r"(?:^|[.;]\s+)([A-Z]\w{1,19}:)\s")


@lru_cache(maxsize=100_000)
def _labels(brief: str) -> tuple[str, ...]:
    """Return the labels of a brief that is a form, such as ``Price:``; one alone makes none."""
    found = tuple(_LABEL.findall(brief))
    return found if len(found) > 1 else ()


@lru_cache(maxsize=100_000)
def _gibberish(text: str) -> float:
    line = text.strip()
    if not any(c.isalpha() for c in line) or _LEFTOVER.search(line):
        return 1.0
    strange = sum(not (c.isalnum() or c in _PUNCTUATION or _shapes(c)) for c in line)
    tokens = [w for w in line.split() if any(c.isalpha() for c in w)]
    odd = sum(map(_is_odd, tokens))
    lines = 0.5 if "\n" in line else 0.0
    return min(max(lines, 4 * strange / len(line), 2 * odd / max(len(tokens), 1)), 1.0)


def _shapes(character: str) -> bool:
    """Tell whether a character belongs to the letter before it, as accents and joiners do."""
    return character in "\u200c\u200d" or unicodedata.category(character) in ("Mn", "Mc")


def _is_odd(token: str) -> bool:
    word = token.strip(_PUNCTUATION)
    abbreviation = word.isupper() and len(word) <= 5
    return not abbreviation and any(_ODD_WORD.search(part) for part in word.split("-"))
