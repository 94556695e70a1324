"""Draws from a writer that keep their tokens, so that learners need not guess them from the text.

Shapes: N rows, n draws per row, T response tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from copygym.agents.copywriter.sampling import sample, vocabulary_subset
from copygym.agents.copywriter.writer import Copywriter, batch_logprobs
from copygym.envs.copyrows import CopyRows

#: Texts whose reference probabilities are computed together.
_CHUNK = 32


@dataclass(frozen=True)
class Drawn:
    """N * n texts, those of row 0 first.

    Attributes:
        texts: as `Copywriter.write` would return them for the same seed.
        ids: their tokens; the end token belongs to a text that ended.
        logprobs: (N * n,) float64 log probabilities at ``temperature``, among the tokens that the
            writer may write, before nucleus truncation.
        temperature: of the draw; 1 where that was greedy.
    """

    texts: list[str]
    ids: list[list[int]]
    logprobs: np.ndarray
    temperature: float

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
) -> Drawn:
    """Draw n texts for each of N tasks."""
    prompts = [prompt for prompt in writer.prompts(rows) for _ in range(n)]
    writer.model.eval()
    samples = sample(
        writer.model,
        prompts,
        max_new_tokens=writer.max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        eos_id=writer.style.eos_id,
        pad_id=writer.style.pad_id,
        seed=seed,
        allowed_tokens=writer.vocabulary,
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
    )


@torch.no_grad()
def reference_kl(start: Copywriter, writer: Copywriter, rows: CopyRows, drawn: Drawn) -> float:
    """Return the KL of ``writer`` from ``start``, nats per text, at the temperature of the draw.

    Both are what they write with: their own tokens alone, at that temperature. The estimator k1,
    the mean of log p / q over the writer's own draws (Schulman 2020, "Approximating KL
    divergence"): unbiased where the draws had no nucleus, and may be negative by chance.
    """
    n = len(drawn.texts) // len(rows)
    prompts = [prompt for prompt in writer.prompts(rows) for _ in range(n)]
    reference = np.zeros(len(prompts))
    allowed = None
    if start.vocabulary is not None:
        allowed = vocabulary_subset(start.vocabulary, start.style.eos_id)
    start.model.eval()
    for first in range(0, len(prompts), _CHUNK):
        part = slice(first, first + _CHUNK)
        reference[part] = batch_logprobs(
            start.model,
            prompts[part],
            drawn.ids[part],
            temperature=drawn.temperature,
            allowed=allowed,
        )
    return float((drawn.logprobs - reference).mean())


__all__ = ["Drawn", "draw", "reference_kl"]
