"""A Llama's layers over packed texts: the same function as transformers' forward, with less work.

Nothing is computed twice or thrown away: the common beginning of the texts runs once, q, k, v and
gate, up are one product each, the last layer stops at the tokens that are read, and weights that
never change take no gradient. SmolLM2 and the tiny model are Llamas; other architectures use
their own forward (`backends.HFBackend`).

Shapes: n = P + M tokens of a `Packed`, B rows, S longest row, d hidden size, c head size, H query
heads, G key heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from copygym.agents.copywriter.llama.kernels import (
    Frozen,
    Head,
    linear,
    place,
    rms_norm,
    rotate,
    swiglu,
    take,
)
from copygym.agents.copywriter.llama.packing import Packed, right_aligned

#: The four products of a layer and the modules whose weights they join, in order.
GROUPS: dict[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}

#: What a layer adds to its frozen weights: group -> an adapter (A, B), or a weight in its place.
Change = Mapping[str, tuple[Tensor, Tensor] | Tensor]

_STATIC_ROPE = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class _Layer:
    maps: Mapping[str, Frozen]
    norm_in: Tensor
    norm_mid: Tensor


class Cache:
    """Keys and values of a batch while it is decoded: 2 x layers of (B, G, room, c)."""

    def __init__(self, packed: Packed, room: int) -> None:
        self.packed = packed
        self.used = packed.prefix + packed.width
        self.room = self.used + room
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def store(self, keys: Tensor, values: Tensor) -> None:
        """Take a layer's keys and values (B, G, P + S, c) of the prompts."""
        for kept, new in ((self.keys, keys), (self.values, values)):
            rows, heads, used, size = new.shape
            block = new.new_empty((rows, heads, self.room, size))
            block[:, :, :used] = new
            kept.append(block)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        self.keys = [block[rows] for block in self.keys]
        self.values = [block[rows] for block in self.values]


@dataclass(frozen=True)
class Past:
    """What B rows have read already.

    Attributes:
        lengths: (B,) int64 tokens of each row.
        seen: (B, K) bool, which of the K keys are the row's own.
        keys: by layer, (B, G, K, c).
        values: likewise.
    """

    lengths: Tensor
    seen: Tensor
    keys: Sequence[Tensor]
    values: Sequence[Tensor]

    @classmethod
    def of(cls, cache: Cache) -> Past:
        """Return what `LlamaTrunk.run` left in a cache; what is decoded after it is not in it."""
        packed = cache.packed
        used = packed.prefix + packed.width
        lengths = torch.tensor(packed.lengths)
        common = torch.ones((packed.rows, packed.prefix), dtype=torch.bool)
        seen = torch.cat([common, right_aligned(lengths, packed.width)], dim=1)
        keys, values = (
            [block[:, :, :used] for block in blocks] for blocks in (cache.keys, cache.values)
        )
        return cls(packed.prefix + lengths, seen, keys, values)

    def take(self, rows: Sequence[int]) -> Past:
        """Return these rows alone."""
        index = torch.tensor(list(rows))
        at = index.to(self.keys[0].device) if self.keys else index
        keys, values = ([block[at] for block in blocks] for blocks in (self.keys, self.values))
        return Past(self.lengths[index], self.seen[index], keys, values)

    def without_last(self) -> Past:
        """Return the same before each row's last token; every row has two."""
        keys, values = (
            [block[:, :, :-1] for block in blocks] for blocks in (self.keys, self.values)
        )
        return Past(self.lengths - 1, self.seen[:, :-1], keys, values)

    def of_layers(self, layers: slice) -> Past:
        """Return what these layers keep, of those that it is of."""
        return Past(self.lengths, self.seen, self.keys[layers], self.values[layers])


class LlamaTrunk:
    """The frozen weights of a Llama and its forward over a `Packed`.

    Args:
        lm: a `LlamaForCausalLM`; adapters that PEFT put into it are left out, see
            `adapters.peft_changes`. On a CPU in bfloat16 a second, rearranged copy of the
            weights is held.
        gradient_checkpointing: compute the layers again in the backward pass instead of keeping
            what they put out (Chen et al. 2016, arXiv 1604.06174).
    """

    def __init__(self, lm: Any, gradient_checkpointing: bool = False) -> None:
        self._checkpoints = gradient_checkpointing
        config, model = lm.config, lm.model
        self.n_layers = config.num_hidden_layers
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.embedding: Tensor = model.embed_tokens.weight.detach()
        self.head = Head(lm.lm_head.weight)
        self._rotary = model.rotary_emb
        self._final = model.norm.weight.detach()
        self._layers = [_layer(module) for module in model.layers[: self.n_layers]]
        self.device, self.dtype = self.embedding.device, self.embedding.dtype

    def embed(self, packed: Packed) -> Tensor:
        """Return the input of the first layer, (n, d)."""
        return self.embedding[packed.tokens]

    def normed(self, x: Tensor) -> Tensor:
        """Return the final norm of ``x`` (n, d)."""
        return rms_norm(x, self._final, self.eps)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines (n, 1, c / 2) of tokens at ``positions`` (n,)."""
        cos, sin = self._rotary(self.embedding[:1], positions.unsqueeze(0))
        half = self.size // 2
        return cos[0, :, None, :half].contiguous(), sin[0, :, None, :half].contiguous()

    def run(
        self,
        x: Tensor,
        packed: Packed,
        layers: range,
        changes: Sequence[Change] | None = None,
        *,
        keep: Tensor | None = None,
        cache: Cache | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """Return ``x`` (n, d) after ``layers``.

        Args:
            x: (n, d), the input of the first of these layers.
            packed: whose tokens these are.
            layers: a range of layer numbers.
            changes: one for each layer of the model; None leaves every weight as it is.
            keep: (n_out,) tokens to return, without repeats, when the last layer is among
                ``layers``; None returns all.
            cache: takes the keys and values.
            past: what the rows of ``packed``, made by `follow`, have read, by these layers.
        """
        angles = self.angles(packed.positions)
        biases = _biases(packed, self, x.dtype)
        again = self._checkpoints and torch.is_grad_enabled() and cache is None
        for number in layers:
            change = changes[number] if changes else {}
            kept = keep if number == self.n_layers - 1 else None
            known = None
            if past is not None:
                known = past.keys[number - layers.start], past.values[number - layers.start]
            parts = (x, number, change, packed, angles, biases, kept, cache, known)
            x = (
                checkpoint(self._through, *parts, use_reentrant=False)
                if again
                else self._through(*parts)
            )
        return x

    def _through(
        self,
        x: Tensor,
        number: int,
        change: Change,
        packed: Packed,
        angles: tuple[Tensor, Tensor],
        biases: tuple[Tensor | None, Tensor],
        keep: Tensor | None,
        cache: Cache | None,
        known: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return ``x`` (n, d) after a layer; of the tokens ``keep`` alone, if given."""
        layer = self._layers[number]
        hidden = rms_norm(x, layer.norm_in, self.eps)
        qkv = _product(hidden, layer, change, "qkv").view(len(hidden), -1, self.size)
        qk, v = qkv.split([self.heads + self.key_heads, self.key_heads], dim=1)
        attended = self._attend(rotate(qk, *angles), v, packed, biases, cache, known)
        if keep is not None:
            attended, x = take(attended, keep), take(x, keep)
        x = x + _product(attended, layer, change, "out")
        hidden = rms_norm(x, layer.norm_mid, self.eps)
        inner = swiglu(_product(hidden, layer, change, "gate_up"))
        return x + _product(inner, layer, change, "down")

    def _attend(
        self,
        qk: Tensor,
        v: Tensor,
        packed: Packed,
        biases: tuple[Tensor | None, Tensor],
        cache: Cache | None,
        known: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return the heads' answers (n, H c) from rotated ``qk`` (n, H + G, c) and ``v``."""
        q, k = qk.split([self.heads, self.key_heads], dim=1)
        sizes = [packed.prefix, len(qk) - packed.prefix]
        (q_first, q_rest), (k_first, k_rest), (v_first, v_rest) = (
            part.split(sizes) for part in (q, k, v)
        )
        q_grid, keys, values = (_grid(part, packed) for part in (q_rest, k_rest, v_rest))
        if known is not None:
            keys, values = (
                torch.cat(pair, dim=2) for pair in zip(known, (keys, values), strict=True)
            )
        if not packed.prefix:
            if cache is not None:
                cache.store(keys, values)
            return _ungrid(_attention(q_grid, keys, values, biases[1]), packed)
        k_one, v_one = (part.transpose(0, 1).unsqueeze(0) for part in (k_first, v_first))
        shape = (packed.rows, -1, -1, -1)
        keys = torch.cat([k_one.expand(shape), keys], dim=2)
        values = torch.cat([v_one.expand(shape), values], dim=2)
        if cache is not None:
            cache.store(keys, values)
        assert biases[0] is not None
        first = _attention(q_first.transpose(0, 1).unsqueeze(0), k_one, v_one, biases[0])
        rest = _ungrid(_attention(q_grid, keys, values, biases[1]), packed)
        return torch.cat([first[0].transpose(0, 1).flatten(1), rest])

    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        cache: Cache,
        bias: Tensor,
        changes: Sequence[Change] | None,
    ) -> Tensor:
        """Append a token to each row; return the normed hidden states (B, d).

        Args:
            tokens: (B,) int64.
            positions: (B,) their places.
            cache: of the rows so far; grows by one.
            bias: (B G, 1, room) added to the scores: the mask of the rows' padding.
            changes: as in `run`.
        """
        cos, sin = self.angles(positions)
        x, slot = self.embedding[tokens], cache.used
        groups = self.heads // self.key_heads
        for number, layer in enumerate(self._layers):
            change = changes[number] if changes else {}
            hidden = rms_norm(x, layer.norm_in, self.eps)
            qkv = _product(hidden, layer, change, "qkv").view(len(x), -1, self.size)
            qk, v = qkv.split([self.heads + self.key_heads, self.key_heads], dim=1)
            qk = rotate(qk, cos, sin)
            cache.keys[number][:, :, slot] = qk[:, self.heads :]
            cache.values[number][:, :, slot] = v
            q = qk[:, : self.heads].reshape(-1, groups, self.size)
            keys = cache.keys[number].flatten(0, 1)[:, : slot + 1]
            values = cache.values[number].flatten(0, 1)[:, : slot + 1]
            scores = torch.baddbmm(
                bias[:, :, : slot + 1], q, keys.transpose(1, 2), alpha=self.size**-0.5
            )
            attended = (scores.softmax(-1) @ values).view(len(x), -1)
            x = x + _product(attended, layer, change, "out")
            hidden = rms_norm(x, layer.norm_mid, self.eps)
            x = x + _product(
                swiglu(_product(hidden, layer, change, "gate_up")), layer, change, "down"
            )
        cache.used += 1
        return self.normed(x)


def _product(x: Tensor, layer: _Layer, change: Change, group: str) -> Tensor:
    changed = change.get(group)
    if isinstance(changed, Tensor):
        return linear(x, changed, None)
    return linear(x, layer.maps[group], changed)


def base_weight(module: Any) -> Tensor:
    """Return the weight under a linear module that PEFT may have wrapped."""
    weight: Tensor = getattr(module, "base_layer", module).weight
    return weight


def _layer(module: Any) -> _Layer:
    maps = {
        group: Frozen(
            torch.cat([base_weight(module.get_submodule(name)).detach() for name in names])
        )
        for group, names in GROUPS.items()
    }
    return _Layer(
        maps,
        module.input_layernorm.weight.detach(),
        module.post_attention_layernorm.weight.detach(),
    )


def _grid(x: Tensor, packed: Packed) -> Tensor:
    """Return (B, heads, S, c) of ``x`` (M, heads, c), zeros in the padding."""
    rows, width = packed.rows, packed.width
    grid = x if packed.full else place(x, packed.cells, rows * width)
    return grid.reshape(rows, width, *x.shape[1:]).transpose(1, 2)


def _ungrid(x: Tensor, packed: Packed) -> Tensor:
    """Return (M, H c) of ``x`` (B, H, S, c)."""
    flat = x.transpose(1, 2).reshape(packed.rows * packed.width, -1)
    return flat if packed.full else take(flat, packed.cells)


def _biases(packed: Packed, trunk: LlamaTrunk, dtype: torch.dtype) -> tuple[Tensor | None, Tensor]:
    """Return what is added to the scores: of the prefix (P, P), and of the grid.

    Laid out as `_attention` multiplies, once for all layers.
    """
    low = torch.finfo(dtype).min
    groups = trunk.heads // trunk.key_heads

    def laid_out(mask: Tensor) -> Tensor:
        rows, _, width, seen = mask.shape
        shape = (rows, trunk.key_heads, groups, width, seen)
        bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, low)
        return bias.unsqueeze(1).expand(shape).reshape(rows * trunk.key_heads, -1, seen)

    first = None
    if packed.prefix:
        square = torch.ones((packed.prefix,) * 2, dtype=torch.bool, device=packed.mask.device)
        first = laid_out(square.tril()[None, None])
    return first, laid_out(packed.mask)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(c) + bias) v as (B, H, S, c).

    Query heads that share a key head are one product. On a CPU this is faster in bfloat16 than
    the fused kernel, whose backward is several times slower; on a GPU the fused kernel runs.

    Args:
        q: (B, H, S, c).
        k: (B, G, K, c).
        v: (B, G, K, c).
        bias: (B G, H / G * S, K).
    """
    rows, heads, width, size = q.shape
    key_heads, seen = k.shape[1:3]
    if q.is_cuda:
        mask = bias.view(rows, heads, width, seen)
        out: Tensor = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, enable_gqa=True
        )
        return out
    q = q.reshape(rows * key_heads, -1, size)
    k, v = (part.reshape(rows * key_heads, seen, size) for part in (k, v))
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=size**-0.5)
    return (scores.softmax(-1) @ v).view(rows, heads, width, size)


def is_llama(lm: Any) -> bool:
    """Tell whether `LlamaTrunk` computes what this language model does."""
    from transformers import LlamaForCausalLM

    if type(lm) is not LlamaForCausalLM:
        return False
    config = lm.config
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    plain = not (config.attention_bias or config.mlp_bias) and config.hidden_act == "silu"
    return plain and rope in _STATIC_ROPE and not getattr(lm, "is_quantized", False)


__all__ = ["GROUPS", "Cache", "Change", "LlamaTrunk", "Past", "base_weight", "is_llama"]
