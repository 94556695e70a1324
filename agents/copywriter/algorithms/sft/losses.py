"""Cross-entropy of responses under a Llama with LoRA: nothing is computed twice.

Shapes: B texts, L prompt tokens, T response tokens, n response tokens of all texts, U prompts that
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from copygym.agents.copywriter.llama.adapters import peft_changes
from copygym.agents.copywriter.llama.kernels import token_logprobs
from copygym.agents.copywriter.llama.packing import common_prefix, follow, pack
from copygym.agents.copywriter.llama.trunk import Cache, Change, LlamaTrunk, Past


def packed_losses(
    trunk: LlamaTrunk,
    changes: Sequence[Change],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Return the (n,) float32 cross-entropies of the response tokens, nats; texts in order.

    Args:
        trunk: of the model.
        changes: what the adapters add, differentiable.
        prompts: B lists of tokens, none empty.
        responses: B lists of tokens, none empty.
    """
    sequences = [[*prompt, *text] for prompt, text in zip(prompts, responses, strict=True)]
    shared = min(min(map(len, prompts)) - 1, common_prefix(sequences))
    packed = pack(sequences, trunk.device, prefix=shared)
    # A response token is predicted one place before it.
    reads: list[int] = []
    at = 0
    for prompt, text in zip(prompts, responses, strict=True):
        first = at + len(prompt)
        reads.extend(range(first - 1, first + len(text) - 1))
        at = first + len(text) - shared
    keep = torch.tensor(reads, device=trunk.device)
    x = trunk.run(trunk.embed(packed), packed, range(trunk.n_layers), changes, keep=keep)
    return _losses(trunk, x, responses)


def response_losses(
    trunk: LlamaTrunk,
    changes: Sequence[Change],
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    frozen: int = 0,
) -> torch.Tensor:
    """Return the same numbers with a gradient that does not go through the prompts.

    Each of the U prompts is read once, whatever the number of its texts, and keeps nothing for a
    backward pass: what is left out is what a prompt's keys and values could learn. Two of three
    passes over the prompts are saved, which are most of what short copy costs.

    Args:
        trunk: as for `packed_losses`.
        changes: likewise.
        prompts: likewise, of at least two tokens.
        responses: likewise.
        frozen: how many of the bottom layers carry no change.
    """
    unique = list(dict.fromkeys(map(tuple, prompts)))
    place = {prompt: row for row, prompt in enumerate(unique)}
    lower, upper = range(frozen), range(frozen, trunk.n_layers)
    with torch.no_grad():
        read = pack(unique, trunk.device)
        cache = Cache(read, 0)
        x = trunk.run(trunk.embed(read), read, lower, changes, cache=cache)
        nothing = torch.zeros(0, dtype=torch.int64, device=trunk.device)
        trunk.run(x, read, upper, changes, cache=cache, keep=nothing)
        # The state at a prompt's last token is the first that is read, and takes a gradient.
        past = Past.of(cache).without_last().take([place[tuple(prompt)] for prompt in prompts])
        states = [[p[-1], *text[:-1]] for p, text in zip(prompts, responses, strict=True)]
        packed = follow(past.lengths, past.seen, states, trunk.device)
        x = trunk.run(trunk.embed(packed), packed, lower, changes, past=past)
    x = trunk.run(x, packed, upper, changes, past=past.of_layers(slice(frozen, None)))
    return _losses(trunk, x, responses)


def dropped(changes: Sequence[Change], share: float, seed: int) -> list[Change]:
    """Return LoRA's changes with a ``share`` of every adapter's inputs left out.

    The same inputs for all tokens of a step, the rest scaled up: the columns of LoRA's A that Lin
    et al. 2024 (arXiv 2404.09610) drop, at no cost to the products.

    Args:
        changes: what the adapters add.
        share: in [0, 1).
        seed: of the choice.
    """
    if not share:
        return list(changes)
    generator = torch.Generator().manual_seed(seed)
    kept: list[Change] = []
    for change in changes:
        part: dict[str, Any] = {}
        for group, pair in change.items():
            assert isinstance(pair, tuple)
            down, up = pair
            mask = torch.rand(down.shape[1], generator=generator) >= share
            part[group] = (down * (mask / (1.0 - share)).to(down), up)
        kept.append(part)
    return kept


def lora_losses(
    trunk: LlamaTrunk,
    lm: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    prompt_gradient: bool,
    dropout: float = 0.0,
    seed: int = 0,
) -> torch.Tensor:
    """Return the (n,) losses of `packed_losses` or `response_losses` under a Llama's LoRA.

    Args:
        trunk: of ``lm``.
        lm: a Llama with PEFT's LoRA in it.
        prompts: B lists of tokens.
        responses: B lists of tokens.
        prompt_gradient: whether the gradient goes through the prompts.
        dropout: see `dropped`.
        seed: likewise.
    """
    plain = peft_changes(lm, trunk.dtype)
    changes = dropped(plain, dropout, seed)
    if prompt_gradient:
        return packed_losses(trunk, changes, prompts, responses)
    frozen = next((number for number, change in enumerate(plain) if change), 0)
    return response_losses(trunk, changes, prompts, responses, frozen)


def _losses(trunk: LlamaTrunk, x: torch.Tensor, responses: Sequence[Sequence[int]]) -> torch.Tensor:
    tokens = torch.tensor([token for text in responses for token in text], device=trunk.device)
    return -token_logprobs(trunk.normed(x), trunk.head, tokens, 1.0)[0]


__all__ = ["dropped", "lora_losses", "packed_losses", "response_losses"]
