"""Draws from a writer that keep their tokens, so that learners need not guess them from the text.

Shapes: N rows, n draws per row, T response tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from copygym.agents.copywriter.llama.likelihood import batch_logprobs
from copygym.agents.copywriter.llama.sampling import sample, vocabulary_subset, widened
from copygym.agents.copywriter.writer import Copywriter
from copygym.envs.tasks import CopyRows

#: Texts whose reference probabilities are computed together.
_CHUNK = 32


@dataclass(frozen=True)
class Drawn:
    """N * n texts, those of row 0 first.

    Attributes:
        texts: as `Copywriter.write` would return them for the same seed, if ``briefs``.
        ids: their tokens; the end token belongs to a text that ended.
        logprobs: (N * n,) float64 log probabilities at ``temperature``, among the tokens that the
            writer may write, before nucleus truncation.
        temperature: of the draw; 1 where that was greedy.
        briefs: whether tokens of the task's brief could be drawn that are not the writer's own.
    """

    texts: list[str]
    ids: list[list[int]]
    logprobs: np.ndarray
    temperature: float
    briefs: bool = False

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts."""
        return sum(map(len, self.ids))


def draw(
    writer: Copywriter,
    rows: CopyRows,
    *,
    n: int,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    briefs: bool = False,
) -> Drawn:
    """Draw n texts for each of N tasks.

    Args:
        writer: whose.
        rows: N tasks.
        n: texts of a task.
        seed: non-negative.
        temperature: see `Copywriter.write`.
        top_p: likewise.
        briefs: whether a writer that is limited to a vocabulary may also write its brief's tokens,
            as `Copywriter.write` does; not in training, which is over the vocabulary alone.
    """
    prompts = [prompt for prompt in writer.prompts(rows) for _ in range(n)]
    added = writer.added_tokens(rows) if briefs else None
    writer.model.eval()
    samples = sample(
        writer.model,
        prompts,
        max_new_tokens=writer.max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        eos_id=writer.style.eos_id,
        ends=writer.style.end_ids,
        pad_id=writer.style.pad_id,
        seed=seed,
        allowed_tokens=writer.vocabulary,
        added_tokens=None if added is None else [a for a in added for _ in range(n)],
    )
    ids = [
        row[:length]
        for row, length in zip(samples.tokens.tolist(), samples.lengths.tolist(), strict=True)
    ]
    return Drawn(
        texts=[writer.style.decode(row) for row in ids],
        ids=ids,
        logprobs=samples.logprobs.double().sum(1).numpy(),
        temperature=temperature or 1.0,
        briefs=briefs,
    )


@torch.no_grad()
def reference_kl(start: Copywriter, writer: Copywriter, rows: CopyRows, drawn: Drawn) -> float:
    """Return the KL of ``writer`` from ``start``, nats per text, at the temperature of the draw.

    Both are what they write with: the tokens that they may write, at that temperature. The
    estimator k1, the mean of log p / q over the writer's own draws (Schulman 2020, "Approximating
    KL divergence"): unbiased where the draws had no nucleus, and may be negative by chance.
    """
    n = len(drawn.texts) // len(rows)
    prompts = [prompt for prompt in writer.prompts(rows) for _ in range(n)]
    reference = np.zeros(len(prompts))
    allowed = closed = None
    if start.vocabulary is not None:
        allowed = vocabulary_subset(start.vocabulary, start.style.end_ids)
        added = start.added_tokens(rows) if drawn.briefs else None
        if added is not None:
            allowed, closed = widened(allowed, [tokens for tokens in added for _ in range(n)])
    start.model.eval()
    for first in range(0, len(prompts), _CHUNK):
        part = slice(first, first + _CHUNK)
        reference[part] = batch_logprobs(
            start.model,
            prompts[part],
            drawn.ids[part],
            temperature=drawn.temperature,
            allowed=allowed,
            closed=None if closed is None else closed[part],
        )
    return float((drawn.logprobs - reference).mean())


__all__ = ["Drawn", "draw", "reference_kl"]
