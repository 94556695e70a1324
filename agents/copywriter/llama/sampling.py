"""Sampling from a causal language model: cached keys, batches by length, one stream per row.

Shapes: N rows, B rows of a batch, L prompt tokens, T response tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from copygym.agents.copywriter.llama.decoding import Decoder, decoder_for
from copygym.core.errors import UserError

#: Width of the blocks of the two-level inverse CDF.
_BLOCK = 256

#: Tokens among which a nucleus is looked for first.
_LIKELY = 1024

#: Rows that have ended leave the batch once so few are going on; leaving copies the cache.
_CROWDED = 0.75


@dataclass(frozen=True)
class Samples:
    """N responses.

    Attributes:
        tokens: (N, T) int64, right-padded with ``pad_id``; the end token belongs to the response.
        lengths: (N,) int64 tokens of each response, its end token counted.
        logprobs: (N, T) float32 log probabilities of the tokens at the sampling temperature
            (at temperature 1 where it was 0), before nucleus truncation; 0 on padding.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    logprobs: torch.Tensor


def row_uniforms(seed: int, rows: Sequence[int], n: int) -> torch.Tensor:
    """Return (len(rows), n) float32 uniforms in [0, 1); row r depends on ``seed`` and r alone."""
    draws = np.stack(
        [np.random.Generator(np.random.Philox(key=[seed, row])).random(n) for row in rows]
    )
    # Below 1 after rounding to float32, with room for one product: see `inverse_cdf`.
    return torch.from_numpy(np.minimum(draws, 1 - 2.0**-23).astype(np.float32))


def inverse_cdf(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Return (B,) int64 draws from the distributions proportional to ``weights`` (B, V) float32.

    Two levels, blocks of V and places in a block: sums of a few hundred terms lose less in
    float32 than one running sum over a vocabulary, and the first pass is the only one over V.
    A token of weight 0 is never drawn.

    Args:
        weights: (B, V) non-negative, not all 0 in a row.
        uniforms: (B,) in [0, 1).
    """
    rows, vocabulary = weights.shape
    short = -vocabulary % _BLOCK
    if short:
        weights = torch.nn.functional.pad(weights, (0, short))
    blocks = weights.view(rows, -1, _BLOCK)
    upper = blocks.sum(-1).cumsum(-1)
    target = (uniforms * upper[:, -1]).unsqueeze(1)
    # right=True: the first place whose running sum is *greater* than the target.
    block = torch.searchsorted(upper, target, right=True).clamp_(max=upper.shape[1] - 1)
    before = torch.where(block > 0, upper.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows, device=weights.device), block.squeeze(1)]
    running = inside.cumsum(-1)
    # Rounding may leave the rest just above the block's own sum: stay below it.
    rest = torch.minimum(target - before, running[:, -1:] * (1 - 2.0**-23)).clamp_(min=0.0)
    place = torch.searchsorted(running, rest, right=True).clamp_(max=_BLOCK - 1)
    # The end of the vocabulary is passed by weights that are no numbers alone.
    return (block * _BLOCK + place).squeeze(1).clamp_(max=vocabulary - 1)


def nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return ``weights`` (B, V) with 0 outside the smallest set of mass at least ``top_p``.

    Nucleus sampling, Holtzman et al. 2020 (arXiv 1904.09751), equation 2.
    """
    mass = top_p * weights.sum(-1, keepdim=True)
    # Sorting a whole vocabulary costs as much as a step of a small model; few tokens matter.
    for size in (min(_LIKELY, weights.shape[1]), weights.shape[1]):
        ordered, order = weights.topk(size)
        running = ordered.cumsum(-1)
        if bool((running[:, -1:] >= mass).all()):
            break
    # A token stays if the mass of those before it has not reached top_p of the whole.
    ordered = ordered.masked_fill(running - ordered >= mass, 0.0)
    return torch.zeros_like(weights).scatter_(1, order, ordered)


def _draw(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (B,) and their log probabilities (B,); ``logits`` (B, V) float32 is used up."""
    if temperature not in (0, 1):
        logits = logits / temperature
    # In place from here on: a pass over V costs as much as a layer of the model.
    top = logits.max(-1, keepdim=True)
    if temperature == 0:
        tokens = top.indices.squeeze(1)
    weights = logits.sub_(top.values).exp_()
    if temperature > 0:
        tokens = inverse_cdf(nucleus(weights, top_p) if top_p < 1 else weights, uniforms)
    picked = weights.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return tokens, (picked / weights.sum(-1)).log()


def _check(prompts: Sequence[Sequence[int]], temperature: float, top_p: float) -> None:
    empty = next((row for row, prompt in enumerate(prompts) if len(prompt) == 0), None)
    if empty is not None:
        raise UserError(f"prompt {empty} has no tokens; render it with the prompt style first.")
    if temperature < 0:
        raise UserError(f"temperature is {temperature}; it must be 0 (greedy) or more.")
    if not 0 < top_p <= 1:
        raise UserError(f"top_p is {top_p}; it must lie in (0, 1], and 1 keeps every token.")


def vocabulary_subset(allowed_tokens: Sequence[int], eos_id: int | Sequence[int]) -> torch.Tensor:
    """Return the sorted unique ``allowed_tokens`` and ends as int64; texts must end."""
    ends = [eos_id] if isinstance(eos_id, int) else eos_id
    tokens = {int(token) for token in (*allowed_tokens, *ends)}
    return torch.tensor(sorted(tokens), dtype=torch.int64)


def widened(
    subset: torch.Tensor, added: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the union (K,) of ``subset`` and what B rows add, and where it is closed to a row.

    Args:
        subset: int64 tokens that are open to all.
        added: B lists of tokens that are open to one row each.

    Returns:
        Sorted int64 tokens (K,) and bool (B, K).
    """
    union = torch.tensor(sorted({*subset.tolist(), *(int(t) for row in added for t in row)}))
    union = union.to(torch.int64)
    closed = ~torch.isin(union, subset).repeat(len(added), 1)
    for row, tokens in enumerate(added):
        own = torch.tensor(sorted(set(tokens)), dtype=torch.int64)
        closed[row, torch.searchsorted(union, own)] = False
    return union, closed


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    eos_id: int,
    ends: Sequence[int] = (),
    pad_id: int,
    seed: int,
    allowed_tokens: Sequence[int] | None = None,
    added_tokens: Sequence[Sequence[int]] | None = None,
    batch_size: int = 64,
    rows: Sequence[int] | None = None,
) -> Samples:
    """Write one response to each prompt.

    A row's uniforms are its own stream, so its text does not depend on its neighbours or on
    ``batch_size``, up to the last bits of the model's arithmetic.

    Args:
        model: a causal language model of transformers, a PEFT model around one, or a `Decoder`.
        prompts: N lists of token ids, none empty.
        max_new_tokens: T, the longest response.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: nucleus mass; 1 keeps every token.
        eos_id: the token that ends a response.
        ends: more tokens each of which does.
        pad_id: fills ``Samples.tokens`` after the end; may equal ``eos_id``.
        seed: non-negative; chooses the streams.
        allowed_tokens: the only tokens that may be drawn; the ends always may.
        added_tokens: with ``allowed_tokens``, N lists of further tokens: a row may draw its own.
        batch_size: rows decoded together; shorter batches need less memory.
        rows: (N,) stream numbers, by default 0 ... N - 1; a caller that samples a part of its
            rows hands in their numbers and gets the texts of the whole.

    Raises:
        UserError: an empty prompt, a temperature or nucleus mass out of range, or logits that are
            not numbers.
    """
    _check(prompts, temperature, top_p)
    streams = range(len(prompts)) if rows is None else rows
    decoder = model if isinstance(model, Decoder) else decoder_for(model)
    final = tuple(dict.fromkeys([eos_id, *(int(token) for token in ends)]))
    subset = None if allowed_tokens is None else vocabulary_subset(allowed_tokens, final)
    tokens = torch.full((len(prompts), max_new_tokens), pad_id, dtype=torch.int64)
    logprobs = torch.zeros((len(prompts), max_new_tokens))
    lengths = torch.zeros(len(prompts), dtype=torch.int64)
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    decoder.restrict(subset)
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        closed = None
        if subset is not None and added_tokens is not None:
            wider, closed = widened(subset, [added_tokens[row] for row in index])
            decoder.restrict(wider)
        part = _sample_batch(
            decoder,
            [prompts[row] for row in index],
            row_uniforms(seed, [streams[row] for row in index], max_new_tokens),
            (temperature, top_p, final, pad_id),
            closed,
            # Whoever brings a decoder may look at what it has read, row by row.
            once=decoder is not model,
        )
        tokens[index], lengths[index], logprobs[index] = (
            part.tokens,
            part.lengths,
            part.logprobs,
        )
    if bool(logprobs.isnan().any()):
        raise UserError(
            "the model's logits are not numbers: its weights are damaged, or too large for their "
            "dtype; load it again with dtype=float32, or train it with a lower learning rate."
        )
    return Samples(tokens, lengths, logprobs)


def _sample_batch(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    uniforms: torch.Tensor,
    options: tuple[float, float, tuple[int, ...], int],
    closed: torch.Tensor | None = None,
    *,
    once: bool,
) -> Samples:
    """Decode B prompts together.

    Args:
        decoder: of the model.
        prompts: B lists of token ids.
        uniforms: (B, T).
        options: temperature, top_p, the tokens that end a response, and pad_id.
        closed: (B, K) bool: which of the decoder's K tokens a row may not draw.
        once: read a prompt once for all rows that have it.
    """
    temperature, top_p, ends, pad_id = options
    n_rows, longest = uniforms.shape
    device = decoder.device
    uniforms = uniforms.to(device)
    tokens = torch.full((n_rows, longest), pad_id, dtype=torch.int64, device=device)
    logprobs = torch.zeros((n_rows, longest), device=device)
    lengths = torch.full((n_rows,), longest, dtype=torch.int64, device=device)
    final = torch.tensor(ends, dtype=torch.int64, device=device)
    rows = torch.arange(n_rows, device=device)  # what the decoder holds
    going = torch.ones(n_rows, dtype=torch.bool, device=device)
    closed = None if closed is None else closed.to(device)
    logits = _read_once(decoder, prompts, longest) if once else decoder.start(prompts, longest)
    for step in range(longest):
        if closed is not None:
            logits = logits.masked_fill(closed[rows], -torch.inf)
        drawn, logprob = _draw(logits, uniforms[rows, step], temperature, top_p)
        if decoder.subset is not None:
            drawn = decoder.subset[drawn]
        tokens[rows[going], step] = drawn[going]
        logprobs[rows[going], step] = logprob[going]
        ended = going & torch.isin(drawn, final)
        lengths[rows[ended]] = step + 1
        going = going & ~ended
        left = int(going.sum())
        if step + 1 == longest or left == 0:
            break
        if left <= _CROWDED * len(rows):
            decoder.keep(going.nonzero().squeeze(1))
            rows, drawn, going = rows[going], drawn[going], going[going]
        logits = decoder.step(drawn)
    return Samples(tokens.cpu(), lengths.cpu(), logprobs.cpu())


def _read_once(
    decoder: Decoder, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> torch.Tensor:
    """Start a decoder on B prompts, of which equal ones are read together; return logits (B, V)."""
    places: dict[tuple[int, ...], int] = {}
    place = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    logits = decoder.start(list(places), max_new_tokens)
    if len(places) == len(prompts):
        return logits
    rows = torch.tensor(place, device=decoder.device)
    decoder.keep(rows)
    return logits[rows]


__all__ = [
    "Samples",
    "inverse_cdf",
    "nucleus",
    "row_uniforms",
    "sample",
    "vocabulary_subset",
    "widened",
]
