"""Log probabilities of given texts, from a model's last hidden states and its head.

Shapes: B rows of a batch, L prompt tokens, T response tokens, V vocabulary, H hidden units, M
tokens, K tokens of a limited vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from copygym.agents.copywriter.llama.adapters import is_peft
from copygym.agents.copywriter.llama.decoding import scaled_logits
from copygym.core.errors import UserError

#: Share of the logits' spread that rounding may make of them.
_HEAD_TOLERANCE = 0.05
#: Rows of logits that are normalised at a time: bounds memory at (rows, V) float32.
_CHUNK = 512


@torch.no_grad()
def batch_logprobs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
    allowed: torch.Tensor | None = None,
    closed: torch.Tensor | None = None,
) -> np.ndarray:
    """Return (B,) float64 sums of the response tokens' log probabilities given their prompts.

    Args:
        model: with or without adapters.
        prompts: B lists of tokens.
        responses: B lists of tokens.
        temperature: positive.
        allowed: int64 tokens that share the probability; None for all. A response with another
            token has a number all the same: its logit beside those of the allowed ones.
        closed: (B, len(allowed)) bool: which of ``allowed`` a row does not share in; None for none.
    """
    ids_BL, mask_BL, picked_BL = right_padded(prompts, responses)
    device = next(model.parameters()).device
    ids_BL, mask_BL, picked_BL = ids_BL.to(device), mask_BL.to(device), picked_BL.to(device)
    hidden = hidden_states(model, ids_BL, mask_BL)
    # A response token's logits are one position before it.
    before = torch.zeros_like(picked_BL)
    before[:, :-1] = picked_BL[:, 1:]
    if allowed is not None:
        allowed = allowed.to(device)
    row = picked_BL.nonzero()[:, 0]
    shut = None if closed is None else closed.to(device)[row]
    logprobs = token_logprobs(model, hidden[before], ids_BL[picked_BL], temperature, allowed, shut)
    total = torch.zeros(len(prompts), dtype=torch.float64, device=device)
    return total.index_add_(0, row, logprobs.double()).cpu().numpy()


def right_padded(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (B, L + T) tokens (int64), attention mask (int64) and response positions (bool)."""
    rows = [[*p, *r] for p, r in zip(prompts, responses, strict=True)]
    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    picked = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        picked[i, len(prompts[i]) : len(row)] = True
    return ids, mask, picked


def hidden_states(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states (B, L, H) of right-padded tokens, adapters included."""
    base = model.get_base_model() if is_peft(model) else model
    cache = None
    if is_peft(model) and model.active_peft_config.is_prompt_learning:
        cache = model.get_prompt(batch_size=len(ids))
        virtual = int(model.active_peft_config.num_virtual_tokens)
        mask = torch.cat([mask.new_ones(len(ids), virtual), mask], dim=1)
    out = base.get_decoder()(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=False
    )
    return out.last_hidden_state


def token_logprobs(
    model: Any,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    temperature: float = 1.0,
    allowed: torch.Tensor | None = None,
    closed: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the (M,) float32 log probabilities of M tokens given hidden states (M, H).

    ``allowed`` (K,) share the probability, but for those where ``closed`` (M, K) is True.
    """
    base = model.get_base_model() if is_peft(model) else model
    parts = []
    for start in range(0, len(tokens), _CHUNK):
        logits = head_logits(base, hidden[start : start + _CHUNK]) / temperature
        picked = logits.gather(1, tokens[start : start + _CHUNK].unsqueeze(1)).squeeze(1)
        whole = logits if allowed is None else logits[:, allowed]
        if closed is not None:
            whole = whole.masked_fill(closed[start : start + _CHUNK], -torch.inf)
        parts.append(picked - whole.logsumexp(1))
    return torch.cat(parts)


def head_logits(base: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits (M, V) float32 of hidden states (M, H), scaled as the model's own."""
    return scaled_logits(base.get_output_embeddings()(hidden).float(), base.config)


@torch.no_grad()
def check_head(model: Any, name: str) -> None:
    """Raise unless `head_logits` of a plain model's hidden states are its own logits.

    Some architectures do more to their logits than `scaled_logits` knows; every probability would
    be wrong without a word. Others keep what they have read in ways of their own, which decoding
    cannot carry on.

    Raises:
        UserError: they differ, or the model keeps no cache that `HFDecoder` can use.
    """
    ids = torch.arange(8, device=next(model.parameters()).device).unsqueeze(0)
    mask = torch.ones_like(ids)
    try:
        own = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0].float()
        ours = head_logits(model, hidden_states(model, ids, mask)[0])
        read = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=True)
    except (TypeError, AttributeError, ValueError, RuntimeError, IndexError):
        return  # of another kind altogether: what is asked of it later says so
    if getattr(read, "past_key_values", None) is None:
        raise UserError(
            f"{name}: {type(model).__name__} keeps no keys and values from one token to the next, "
            "without which copygym cannot write with it; use another model."
        )
    off = float((own - ours).abs().max())
    if own.shape != ours.shape or not off <= _HEAD_TOLERANCE * max(float(own.std()), 1e-3):
        raise UserError(
            f"{name}: {type(model).__name__} makes its logits in a way that copygym does not know "
            f"(they are off by {off:.3g}), so that every probability would be wrong; use another "
            "model."
        )


__all__ = [
    "batch_logprobs",
    "check_head",
    "head_logits",
    "hidden_states",
    "right_padded",
    "token_logprobs",
]
