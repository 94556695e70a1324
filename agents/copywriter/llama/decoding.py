"""Step-by-step decoding behind one interface: any transformers model, or a faster path for Llamas.

Shapes: B rows of a batch, L prompt tokens, V vocabulary (or the K tokens it is limited to).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from copygym.agents.copywriter.llama.adapters import fast_path, peft_changes
from copygym.agents.copywriter.llama.packing import Packed, pack
from copygym.agents.copywriter.llama.trunk import Cache, Change, LlamaTrunk, Past


class Decoder(ABC):
    """Holds the keys and values of a batch and returns the next token's logits.

    Attributes:
        device: where the logits are.
        subset: (K,) int64 tokens behind the K logits; None where the logits cover V.
    """

    device: torch.device
    subset: torch.Tensor | None = None

    @abstractmethod
    def restrict(self, subset: torch.Tensor | None) -> None:
        """Limit the logits to these tokens; None lifts the limit."""

    @abstractmethod
    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> torch.Tensor:
        """Read B prompts, forgetting the batch before; return logits (B, V) float32."""

    @abstractmethod
    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token (B,) to each row; return logits (B, V) float32."""

    @abstractmethod
    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (M,) of the batch alone."""


class HFDecoder(Decoder):
    """Decodes with the model's own forward and a dynamic cache, left-padded."""

    def __init__(self, model: Any) -> None:
        self._peft = (
            model if getattr(model, "peft_config", None) and hasattr(model, "get_prompt") else None
        )
        self._lm = model.get_base_model() if self._peft is not None else model
        self._trunk = self._lm.get_decoder()
        self._head = self._lm.get_output_embeddings()
        self.device = next(self._lm.parameters()).device

    def restrict(self, subset: torch.Tensor | None) -> None:
        """Limit the logits to these tokens; None lifts the limit."""
        self.subset = None if subset is None else subset.to(self.device)
        if self.subset is None:
            self._weight, self._bias = self._head.weight, getattr(self._head, "bias", None)
            return
        bias = getattr(self._head, "bias", None)
        self._weight = self._head.weight[self.subset]
        self._bias = None if bias is None else bias[self.subset]

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> torch.Tensor:
        """Read B prompts, forgetting the batch before; return logits (B, V) float32."""
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
        mask = torch.zeros((len(prompts), longest), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        self._cache, virtual = self._prefix(len(prompts))
        position = (mask.cumsum(1) - 1).clamp(min=0) + virtual
        ones = torch.ones((len(prompts), virtual), dtype=torch.int64, device=self.device)
        self._mask = torch.cat([ones, mask], dim=1)
        self._position = position[:, -1:]
        return self._forward(ids, position)

    def _prefix(self, n_rows: int) -> tuple[Any, int]:
        """Return the cache that decoding starts from and the virtual tokens in it."""
        if self._peft is not None:
            config = self._peft.active_peft_config
            if config.is_prompt_learning:
                cache = self._peft.get_prompt(batch_size=n_rows)
                return cache, int(config.num_virtual_tokens)
        from transformers import DynamicCache

        return DynamicCache(config=self._lm.config), 0

    def _forward(self, ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        out = self._trunk(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=position,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = out.past_key_values
        # contiguous: a bf16 product with a strided slice is many times slower on a CPU.
        hidden = out.last_hidden_state[:, -1].contiguous()
        logits = torch.nn.functional.linear(hidden, self._weight, self._bias).float()
        return scaled_logits(logits, self._lm.config)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token (B,) to each row; return logits (B, V) float32."""
        self._position = self._position + 1
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        return self._forward(tokens.unsqueeze(1), self._position)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (M,) of the batch alone."""
        # Not batch_select_indices, which recurrent layers lack and hybrid ones have for their
        # attention alone: their recurrent states would stay with other rows.
        self._cache.reorder_cache(rows.to(self.device))
        self._mask, self._position = self._mask[rows], self._position[rows]


def scaled_logits(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """Return a head's products (..., V) as the model of this config makes logits of them."""
    logits = logits * logit_scale(config)
    if cap := logit_cap(config):
        logits = torch.tanh(logits / cap) * cap
    return logits


def logit_scale(config: Any) -> float:
    """Return what a model of this config multiplies its head's products with."""
    config = config.get_text_config()
    # Cohere multiplies, Granite divides.
    up, down = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    return float(up or 1.0) / float(down or 1.0)


def logit_cap(config: Any) -> float | None:
    """Return the number beyond which a model of this config bends its logits (Gemma 2)."""
    cap = getattr(config.get_text_config(), "final_logit_softcapping", None)
    return float(cap) if cap else None


@dataclass(frozen=True)
class Read:
    """B prompts that a Llama has read.

    Attributes:
        prompts: the prompts, in the order of the rows.
        packed: their layout.
        lower: (n, d) input of the layer at which reading was split.
        past: their keys and values, of all layers.
    """

    prompts: Sequence[tuple[int, ...]]
    packed: Packed
    lower: torch.Tensor
    past: Past


class LlamaDecoder(Decoder):
    """Decodes with `LlamaTrunk`: common beginnings run once, weights are laid out once.

    Attributes:
        read: what the last batch read, where ``split`` is given.

    Args:
        trunk: the frozen weights.
        changes: what adapters add, as in `LlamaTrunk.run`; set it anew when they have changed.
        split: layer whose input is kept from reading; None keeps nothing.
    """

    def __init__(
        self,
        trunk: LlamaTrunk,
        changes: Sequence[Change] | None = None,
        split: int | None = None,
    ) -> None:
        self.trunk, self.changes = trunk, changes
        self._split = split
        self.read: Read | None = None
        self.device = trunk.device
        self._head = trunk.head

    def restrict(self, subset: torch.Tensor | None) -> None:
        """Limit the logits to these tokens; None lifts the limit."""
        if subset is None:
            self._head, self.subset = self.trunk.head, None
        elif self.subset is None or not torch.equal(self.subset.cpu(), subset.cpu()):
            self.subset = subset.to(self.device)
            self._head = self.trunk.head.rows(self.subset)

    def start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> torch.Tensor:
        """Read B prompts, forgetting the batch before; return logits (B, V) float32."""
        trunk = self.trunk
        packed = pack(prompts, self.device)
        self._cache = Cache(packed, max_new_tokens)
        lengths = torch.tensor(packed.lengths, device=self.device)
        last = packed.prefix - 1 + lengths.cumsum(0)
        x, split = trunk.embed(packed), self._split or 0
        x = trunk.run(x, packed, range(split), self.changes, cache=self._cache)
        layers = range(split, trunk.n_layers)
        hidden = trunk.run(x, packed, layers, self.changes, keep=last, cache=self._cache)
        if self._split is not None:
            self.read = Read([tuple(p) for p in prompts], packed, x, Past.of(self._cache))
        self._position = packed.prefix - 1 + lengths
        self._bias = self._padding_bias(packed, lengths)
        return self._head(trunk.normed(hidden)).float()

    def _padding_bias(self, packed: Packed, lengths: torch.Tensor) -> torch.Tensor:
        """Return (B, room): the lowest number where a row has padding, 0 elsewhere."""
        slot = torch.arange(self._cache.room, device=self.device) - packed.prefix
        hidden = (slot >= 0) & (slot < (packed.width - lengths).unsqueeze(1))
        low = torch.finfo(self.trunk.dtype).min
        zeros = torch.zeros(hidden.shape, dtype=self.trunk.dtype, device=self.device)
        return zeros.masked_fill_(hidden, low)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append one token (B,) to each row; return logits (B, V) float32."""
        self._position = self._position + 1
        bias = self._bias.repeat_interleave(self.trunk.key_heads, 0).unsqueeze(1)
        hidden = self.trunk.step(tokens, self._position, self._cache, bias, self.changes)
        return self._head(hidden).float()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (M,) of the batch alone."""
        self._cache.keep(rows)
        self._position, self._bias = self._position[rows], self._bias[rows]


def decoder_for(model: Any) -> Decoder:
    """Return the fastest decoder for a causal language model or a PEFT model around one.

    It reads the weights as they are now: make a new one after training.
    """
    lm = fast_path(model)
    if lm is None:
        return HFDecoder(model)
    with torch.no_grad():
        trunk = LlamaTrunk(lm)
        changes = peft_changes(lm, trunk.dtype)
    return LlamaDecoder(trunk, changes if any(changes) else None)


__all__ = ["Decoder", "HFDecoder", "LlamaDecoder", "Read", "decoder_for"]
