"""How well a text reads to a language model that was never rewarded, and what never wins a batch.

What a reward model of clicks does not price, a writer finds: ungrammatical strings, leftovers of
its prompt, one sentence again and again. The first is a term that begins to cost where human copy
ends; the others are put below every honest text, whatever they score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.visible import is_blank
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.claims.broken import LEFTOVER

if TYPE_CHECKING:
    from copygym.rewards.copy.text_terms import Resources, Term

#: Maps N texts to their mean log probability per token, nats, (N,) float64; nan of what has none.
Fluency = Callable[[Sequence[str]], np.ndarray]

#: Copies from which the floor is learned: a quantile of more is no other.
_MOST = 2000
#: What a faulty text is put below the worst honest one of its batch.
MARGIN = 0.5

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_NO_LETTERS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class _Stumbling:
    measure: Fluency
    human: Sequence[str]
    quantile: float
    most: float

    @cached_property
    def floor(self) -> float:
        """What a share of the quantile of human copy lies below."""
        some = np.linspace(0, len(self.human) - 1, min(_MOST, len(self.human))).astype(int)
        values = np.asarray(self.measure([self.human[i] for i in some]), np.float64)
        return float(np.nanquantile(values, self.quantile)) if np.isfinite(values).any() else -9.0

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        value = np.asarray(self.measure(list(texts)), np.float64)
        below = np.clip(self.floor - value, 0.0, self.most)
        blank = np.array([is_blank(text) for text in texts], dtype=bool)
        # A text of one token gives a language model nothing to foretell.
        return np.where(blank, self.most, np.where(np.isfinite(value), below, 0.0))


def fluency(resources: Resources, quantile: float = 0.05, most: float = 3.0) -> Term:
    """Return in [0, most] how far a text is less fluent than human copy, nats per token.

    Fluency is the mean log probability of a text's tokens under the untuned language model, the
    text alone; the floor, up to which nothing is lost, is a low quantile of the reference texts'.

    Args:
        resources: ``fluency`` and ``reference_texts``.
        quantile: share of the reference texts that lies below the floor, in (0, 1).
        most: the largest that it gets, and what an empty text has.
    """
    from copygym.rewards.copy.text_terms import require_input

    measure = require_input(
        resources.fluency, "fluency", "fluency", "a language model's log probabilities"
    )
    human = require_input(
        resources.reference_texts, "fluency", "reference_texts", "the training log's copies"
    )
    if isinstance(quantile, bool) or not 0.0 < quantile < 1.0:
        raise UserError(f"copy term 'fluency' has quantile={quantile!r}; it must lie in (0, 1).")
    if isinstance(most, bool) or not 0.0 < most < np.inf:
        raise UserError(f"copy term 'fluency' has most={most!r}; give a positive number.")
    return _Stumbling(measure, human, float(quantile), float(most))


def faulty(texts: Sequence[str]) -> np.ndarray:
    """Return (N,) bool: texts that nobody would send, whatever they are about.

    Nothing is seen of them, they hold leftovers of a template, or they say a sentence twice.
    """
    return np.array([is_blank(t) or bool(LEFTOVER.search(t)) or _says_twice(t) for t in texts])


def _says_twice(text: str) -> bool:
    parts = (_NO_LETTERS.sub(" ", part).strip().lower() for part in _SENTENCE_END.split(text))
    sentences = [part for part in parts if part]
    return len(set(sentences)) < len(sentences)


def below_honest(scores: np.ndarray, fault: np.ndarray) -> np.ndarray:
    """Return the scores with every faulty one below every honest one of the batch.

    By `MARGIN` below the worst, or as they are where that is lower still or nothing is honest.

    Args:
        scores: (N,) float64.
        fault: (N,) bool.
    """
    if not fault.any() or fault.all():
        return scores
    return np.where(fault, np.minimum(scores, scores[~fault].min() - MARGIN), scores)


__all__ = ["MARGIN", "Fluency", "below_honest", "faulty", "fluency"]
