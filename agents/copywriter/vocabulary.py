"""The tokens of a brief, for writers that are limited to those of the copy they learned from.

PPO with ``vocabulary=copy`` learns over the tokens of its training copy and briefs, which makes it
several times faster. A new brief names what no training text does, and a writer that cannot spell
the product is of no use; so that what it may write is that set and its own brief's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from copygym.envs.tasks import CopyRows

if TYPE_CHECKING:
    from copygym.agents.copywriter.prompts import PromptStyle

#: What may stand around a word of a brief and not around that of a copy.
_AROUND = ".,;:!?\"'()[]{}“”‘’«»„…–—-/"


def brief_tokens(style: PromptStyle, rows: CopyRows) -> list[tuple[int, ...]]:
    """Return the tokens that spell what N tasks name, sorted: of brief, product and original.

    Words count in every case (as they stand, small, capitalised, in capitals), at the start of a
    text and after a blank, with and without the punctuation around them.
    """
    known: dict[tuple[str, ...], tuple[int, ...]] = {}
    originals = rows.originals or ("",) * len(rows)
    named = list(zip(rows.briefs, rows.products, originals, strict=True))
    for parts in named:
        if parts not in known:
            spelled = [text for part in filter(None, parts) for text in _variants(part)]
            known[parts] = tuple(sorted(style.tokens_of(spelled)))
    return [known[parts] for parts in named]


def _variants(text: str) -> list[str]:
    words = {word for raw in text.split() for word in (raw, raw.strip(_AROUND))} - {""}
    cased = {form for w in words for form in (w, w.lower(), w.upper(), w.capitalize(), w.title())}
    return [text, " " + text, *sorted(cased), *(" " + word for word in sorted(cased))]


def added_tokens(
    vocabulary: Sequence[int] | None, fixed: bool, style: PromptStyle, rows: CopyRows
) -> list[tuple[int, ...]] | None:
    """Return what each of N tasks adds to a writer's vocabulary; None where nothing is limited."""
    if vocabulary is None or fixed:
        return None
    return brief_tokens(style, rows)


__all__ = ["added_tokens", "brief_tokens"]
