"""What is learned in which order, and what is held out to see when to stop.

Shapes: N demonstrations, H of them held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.tasks import CopyRows

#: Texts at which a look at what was held out stops: more cost time and tell little.
_LOOKED_AT = 48
#: Briefs from which on whole briefs are held out; of fewer each is needed to learn from.
_FEW_BRIEFS = 4


@dataclass(frozen=True)
class Care:
    """What keeps fine-tuning from learning its texts by heart.

    Attributes:
        dropout: share of the adapters' inputs that a step leaves out (`losses.dropped`; PEFT's own
            where the model's own forward is needed). Without adapters of LoRA or AdaLoRA it has no
            effect, and the dropout of the model's config acts alone.
        weight_decay: of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101).
        held_out: share of the demonstrations that are held out; 0: none, and nothing stops early.
    """

    dropout: float = 0.0
    weight_decay: float = 0.0
    held_out: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("dropout", 0.9), ("held_out", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"sft.{name} is {getattr(self, name)}; it must lie in [0, {most}].")
        if not 0 <= self.weight_decay < 10:
            raise UserError(f"sft.weight_decay is {self.weight_decay}; it must lie in [0, 10).")


def hold_out(
    texts: Sequence[str], rows: CopyRows, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of what is learned and of what is held out, int64 each.

    Whole briefs are held out, so that a look asks for copy about what nobody trained on; of fewer
    than four briefs whole texts. What is learned is never empty.

    Args:
        texts: N copies.
        rows: N tasks.
        share: of the N that is held out, at least; 0: none.
        seed: of the draw.

    Returns:
        up to N indices, and H of at most 48; no H where all texts or briefs are the same.
    """
    everything, nothing = np.arange(len(texts)), np.zeros(0, np.int64)
    several = len(set(rows.briefs)) >= _FEW_BRIEFS
    _, group = np.unique(np.array(rows.briefs if several else list(texts)), return_inverse=True)
    size = np.bincount(group)
    if not share or len(size) < 2:
        return everything, nothing
    order = np.random.default_rng(seed).permutation(len(size))
    # The first groups that make up the share, but never the last one.
    needed = int(np.searchsorted(size[order].cumsum(), share * len(texts))) + 1
    out = np.isin(group, order[: min(needed, len(size) - 1)])
    held = np.flatnonzero(out)
    if len(held) > _LOOKED_AT:
        held = held[np.linspace(0, len(held) - 1, _LOOKED_AT).round().astype(np.int64)]
    return np.flatnonzero(~out), held


def order_of(
    texts: Sequence[str], rows: CopyRows, n: int, per_prompt: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which text is learned as an answer to whose prompt, n of each, int64 indices.

    One permutation of the demonstrations after another. With ``per_prompt`` above 1 each of these
    is put into groups that follow each other: unlike texts for one brief, channel and audience, all
    as answers to the prompt of the first, so that this is read once for several texts. Where there
    are no audiences, prompts must be the same.

    Args:
        texts: N copies.
        rows: N tasks.
        n: texts of the whole training.
        per_prompt: most texts of a group.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(texts)) for _ in range(-(-n // len(texts)))]
    if per_prompt > 1:
        keys = _alike(rows)
        pairs = [_grouped(order, texts, keys, per_prompt) for order in rounds]
    else:
        pairs = [(order, order) for order in rounds]
    text, prompt = (np.concatenate(part)[:n] for part in zip(*pairs, strict=True))
    return text, prompt


def _alike(rows: CopyRows) -> list[object]:
    """Return N keys; the tasks of a key can be answered by each other's texts."""
    if not rows.audience.any():
        return list(rows.prompts)
    originals = rows.originals or ("",) * len(rows)
    parts = (rows.briefs, rows.channels, rows.audience.tolist(), originals)
    return list(zip(*parts, strict=True))


def _grouped(
    order: np.ndarray, texts: Sequence[str], keys: Sequence[object], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return one round's texts and the rows whose prompts they answer, group after group."""
    done: list[list[int]] = []
    waiting: dict[object, list[list[int]]] = {}
    for row in order.tolist():
        groups = waiting.setdefault(keys[row], [])
        # A text is in a group once: twice it would teach no more than its weight.
        group = next((g for g in groups if all(texts[row] != texts[i] for i in g)), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(row)
        if len(group) == size:
            groups.remove(group)
            done.append(group)
    done += [group for groups in waiting.values() for group in groups]
    text = np.array([row for group in done for row in group], np.int64)
    prompt = np.array([group[0] for group in done for _ in group], np.int64)
    return text, prompt


__all__ = ["Care", "hold_out", "order_of"]
