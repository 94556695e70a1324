"""The few tensor operations that a Llama's forward and backward spend their time in.

Written for small batches of short texts: no intermediate is kept that the backward can do
without, frozen weights get no gradient, and every pass over memory counts. All run on any device
in float32 or bfloat16; products stay in the tensors' type, sums and norms are float32.

Shapes: n tokens, d hidden size, m outputs of a linear map, r adapter rank, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from copygym.core.processor import bf16_option

#: Rows of the head's logits held at once: 64 x 49,152 float32 are 12.6 MB.
_HEAD_ROWS = 64

#: Largest difference of two roundings of one product to bfloat16, as a share of its size: half a
#: step, 2^-8, each.
_ROUNDING = 2**-7


class Frozen:
    """A linear map without bias whose weight (m, d) never changes.

    On a CPU in bfloat16 the weight is laid out once for the matrix unit; otherwise each product
    of few rows would rearrange it again, which is most of the time of a decoding step. In float32
    its columns lie together: with few rows that is twice as fast on two threads, with many no
    slower.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach()
        columns = weight.device.type == "cpu" and weight.dtype == torch.float32
        self.weight = weight.t().contiguous().t() if columns else weight.contiguous()
        self._packed = _packed(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x W' of ``x`` (n, d) without recording a gradient."""
        if self._packed is not None:
            try:
                return _packed_product(x, self._packed)
            except RuntimeError:
                self._packed = None  # where x is at fault, the plain product says so
        return functional.linear(x, self.weight)


class Head(Frozen):
    """The output map of a language model: a frozen product, and what some models do to it.

    Args:
        weight: (V, d).
        bias: (V,) added to the product; None for none.
        cap: logits become ``cap * tanh(logits / cap)`` (Gemma Team 2024, arXiv 2408.00118, section
            2); None leaves them.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, cap: float | None = None
    ) -> None:
        super().__init__(weight)
        self.bias, self.cap = None if bias is None else bias.detach(), cap

    def rows(self, tokens: Tensor) -> Head:
        """Return the head of these tokens (K,) alone."""
        return Head(self.weight[tokens], None if self.bias is None else self.bias[tokens], self.cap)


# The layout and its product are operators that torch keeps to itself: they may be missing, fail or
# change from one release or processor to the next. `functional.linear` is right everywhere.


def _packed(weight: Tensor) -> Tensor | None:
    """Return the weight laid out for oneDNN; None where that is of no use, fails or is wrong."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or bf16_option() == "off":
        return None
    if not torch.backends.mkldnn.is_available():
        return None
    # Values that differ by row and column; one row and several take different kernels.
    x = torch.arange(3.0 * weight.shape[1]).sin().view(3, -1).to(weight.dtype)
    try:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        right = all(
            _same(_packed_product(rows, packed), functional.linear(rows, weight))
            for rows in (x[:1], x)
        )
    except (AttributeError, RuntimeError):
        return None
    return packed if right else None


def _same(found: Tensor, right: Tensor) -> bool:
    off = torch.linalg.vector_norm(found.float() - right.float())
    return bool(off <= _ROUNDING * torch.linalg.vector_norm(right.float()))


def _packed_product(x: Tensor, packed: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), packed, None, "none", [], "")
    return out


def _adapted(x: Tensor, linear: Frozen, down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return x W' + (x A') B' and x A'."""
    inner = x @ down.t()
    return linear(x).addmm_(inner, up.t()), inner


class _FrozenLinear(Function):
    """x W' + (x A') B' with a frozen W; A (r, d) and B (m, r) may be missing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Frozen, down: Tensor | None, up: Tensor | None) -> Any:
        ctx.linear = linear
        ctx.adapted = down is not None and up is not None
        if down is None or up is None:
            return linear(x)
        out, inner = _adapted(x, linear, down, up)
        ctx.save_for_backward(x, inner, down, up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        needs_x = ctx.needs_input_grad[0]
        grad = grad.contiguous()
        dx = grad @ ctx.linear.weight if needs_x else None
        if not ctx.adapted:
            return dx, None, None, None
        x, inner, down, up = ctx.saved_tensors
        d_inner = grad @ up
        if dx is not None:
            dx.addmm_(d_inner, down)
        return dx, None, d_inner.t() @ x, grad.t() @ inner


def linear(x: Tensor, weight: Frozen | Tensor, adapter: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return ``x`` (n, d) through a frozen weight with or without an adapter, or a trained weight.

    Args:
        x: (n, d).
        weight: the frozen map, or a weight (m, d) that may take a gradient.
        adapter: A (r, d) and B (m, r), scaled already: LoRA, Hu et al. 2022 (arXiv 2106.09685),
            equation 3.
    """
    if isinstance(weight, Tensor):
        return functional.linear(x, weight)
    if not torch.is_grad_enabled():
        # The same products without autograd's bookkeeping, which a decoding step would feel.
        return weight(x) if adapter is None else _adapted(x, weight, *adapter)[0]
    down, up = adapter if adapter is not None else (None, None)
    out: Tensor = _FrozenLinear.apply(x, weight, down, up)
    return out


def _normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the norm of ``x`` (n, d) and 1 / rms (n, 1) float32."""
    # One conversion and products in place: mixed types in one product cost twice as much.
    wide = x.float() if x.dtype != torch.float32 else x.clone()
    size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = torch.rsqrt(size.square_().div_(x.shape[-1]).add_(eps))
    return wide.mul_(scale).to(x.dtype).mul_(weight), scale


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, scale = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        grad = grad * weight
        inner = (grad * x).sum(-1, keepdim=True, dtype=torch.float32)
        # dx = s (g - x s^2 <g, x> / d): the derivative of x / rms(x).
        factor = (inner * scale.square() / x.shape[-1]).to(x.dtype)
        return grad.addcmul_(x, factor, value=-1.0).mul_(scale.to(x.dtype)), None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x / rms(x) * weight over the last axis; ``weight`` (d,) takes no gradient.

    Zhang and Sennrich 2019 (arXiv 1910.07467), equation 4.
    """
    if not torch.is_grad_enabled():
        return _normed(x, weight, eps)[0]
    out: Tensor = _RMSNorm.apply(x, weight, eps)
    return out


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _gated(gate_up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        d_gate, d_up = out.chunk(2, dim=-1)
        d_gate.copy_(torch.ops.aten.silu_backward(grad * up, gate))
        torch.mul(functional.silu(gate), grad, out=d_up)
        return out


def swiglu(gate_up: Tensor) -> Tensor:
    """Return silu(gate) * up of ``gate_up`` (n, 2 h): Shazeer 2020 (arXiv 2002.05202)."""
    if not torch.is_grad_enabled():
        return _gated(gate_up)
    out: Tensor = _SwiGLU.apply(gate_up)
    return out


class _Rotate(Function):
    """Rotate the two halves of the last axis; the gradient is the inverse rotation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, -1.0), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    low, high = x.chunk(2, dim=-1)
    to_low, to_high = out.chunk(2, dim=-1)
    torch.mul(low, cos, out=to_low)
    to_low.addcmul_(high, sin, value=-sign)
    torch.mul(high, cos, out=to_high)
    to_high.addcmul_(low, sin, value=sign)
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x`` (n, heads, c) rotated by its tokens' angles.

    RoFormer, Su et al. 2021 (arXiv 2104.09864), equation 34, in the half-split layout of Llama.

    Args:
        x: (n, heads, c).
        cos: (n, 1, c / 2) cosines of the angles.
        sin: (n, 1, c / 2).
    """
    if not torch.is_grad_enabled():
        return _rotated(x, cos, sin, 1.0)
    out: Tensor = _Rotate.apply(x, cos, sin)
    return out


class _Place(Function):
    """Rows of x to their places in a grid of zeros; the gradient gathers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return x.new_zeros((size, *x.shape[1:])).index_copy_(0, index, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Take(Function):
    """Rows of a grid, each once at most; the gradient places them back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = x.shape[0]
        return x.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (index,) = ctx.saved_tensors
        return grad.new_zeros((ctx.size, *grad.shape[1:])).index_copy_(0, index, grad), None


def place(x: Tensor, index: Tensor, size: int) -> Tensor:
    """Return zeros (size, ...) with row ``index[i]`` set to ``x[i]``; ``index`` has no repeats."""
    out: Tensor = _Place.apply(x, index, size)
    return out


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return ``x[index]`` for an ``index`` without repeats (its gradient is then a copy)."""
    out: Tensor = _Take.apply(x, index)
    return out


class _TokenLogprobs(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Head, tokens: Tensor, temperature: float, entropy: bool
    ) -> Any:
        needs_grad = ctx.needs_input_grad[0]
        n = hidden.shape[0]
        logprobs = hidden.new_empty(n, dtype=torch.float32)
        entropies = hidden.new_zeros(n, dtype=torch.float32)
        direction = torch.empty_like(hidden) if needs_grad else None
        # One block of memory for all rounds: fresh pages cost more than the arithmetic on them.
        block = hidden.new_empty((min(n, _HEAD_ROWS), len(head.weight)), dtype=torch.float32)
        for start in range(0, n, _HEAD_ROWS):
            part = slice(start, start + _HEAD_ROWS)
            raw = head(hidden[part])
            weights = block[: len(raw)].copy_(raw)
            if head.bias is not None:
                weights.add_(head.bias)
            slope = None
            if head.cap is not None:
                weights.div_(head.cap).tanh_()
                slope = 1 - weights.square() if needs_grad else None
                weights.mul_(head.cap)
            if temperature != 1.0:
                weights.div_(temperature)
            top = weights.amax(-1, keepdim=True)
            picked = weights.gather(1, tokens[part].unsqueeze(1))
            weights.sub_(top)
            logits = weights.clone() if entropy else None
            total = weights.exp_().sum(-1, keepdim=True)
            log_total = total.log()
            logprobs[part] = (picked - top - log_total).squeeze(1)
            if logits is not None:
                expected = torch.linalg.vecdot(weights, logits) / total.squeeze(1)
                entropies[part] = log_total.squeeze(1) - expected
            if direction is not None:
                # d log p(y) / d h = (W_y - sum_v p(v) W_v) / temperature: d numbers a token to
                # keep for the backward in place of V.
                weights.div_(total)
                own = head.weight[tokens[part]]
                if slope is not None:
                    weights.mul_(slope)
                    own = own * slope.gather(1, tokens[part].unsqueeze(1)).to(own.dtype)
                torch.sub(own, raw.copy_(weights) @ head.weight, out=direction[part])
        ctx.temperature = temperature
        if direction is not None:
            ctx.save_for_backward(direction)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        (direction,) = ctx.saved_tensors
        scale = (grad / ctx.temperature).unsqueeze(1)
        return (direction * scale).to(direction.dtype), None, None, None, None


def token_logprobs(
    hidden: Tensor, head: Head, tokens: Tensor, temperature: float, *, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Return log softmax(logits / temperature) at ``tokens``, and the entropies if asked for.

    The gradient with respect to ``hidden`` is worked out in the forward pass, while the
    probabilities are at hand; nothing of size V is kept.

    Args:
        hidden: (n, d).
        head: makes logits (V,) of a hidden state.
        tokens: (n,) int64 rows of the head.
        temperature: positive.
        entropy: also return the entropy of each distribution (no gradient).

    Returns:
        log probabilities (n,) float32 and entropies (n,) float32, zeros where not asked for.
    """
    logprobs, entropies = _TokenLogprobs.apply(hidden, head, tokens, temperature, entropy)
    return logprobs, entropies


__all__ = [
    "Frozen",
    "Head",
    "linear",
    "place",
    "rms_norm",
    "rotate",
    "swiglu",
    "take",
    "token_logprobs",
]
