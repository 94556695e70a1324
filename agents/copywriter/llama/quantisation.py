"""Models of few bits (bitsandbytes): trained through adapters, and unpacked to take them in.

A merge into few bits rounds to the grid that the weights are on already, which is coarser than most
of what fine-tuning changes: the adapter would be lost. So whatever merges unpacks first.

On a CPU with AVX512-BF16, bitsandbytes 0.50 rearranges a layer's 4-bit weights in place at the
first product that takes no gradient. The product is right to bfloat16's rounding, but nothing else
is from then on: the weights unpack to noise, no gradient passes, what is saved has other scales,
and some shapes fail. `settle_kernels` keeps the weights as they are (docs/log.md has the figures).
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from copygym.core.errors import UserError
from copygym.core.processor import ONEDNN_LIMITS

#: Largest error of a layer's products, as a share of their size. Rounding the inputs to bfloat16
#: costs 0.005, to 8 bits 0.01; a wrong kernel is off by 0.2 or more.
_ROUNDING = 0.03

# The layer's own switch for rearranging, which its forward reads.
_SWITCH = "support_avx512bf16_for_cpu"

# What it would multiply rearranged weights with is fetched from a hub by a package that nobody
# needs here; the advice to install it would only mislead.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: "gemm_4bit_forward" not in record.getMessage()
)


def is_quantised(model: Any) -> bool:
    """Tell whether the weights of ``model``, PEFT or not, are of few bits."""
    lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    return bool(getattr(lm, "is_quantized", False))


def settle_kernels(model: Any) -> None:
    """Make a model of few bits right on this processor, in place; leave any other alone.

    Raises:
        UserError: a layer answers otherwise than its unpacked weights, or unpacks otherwise after
            it answered: a kernel that this processor takes is wrong.
    """
    if not is_quantised(model):
        return
    tried = set()
    for layer in _layers(model):
        if hasattr(layer, _SWITCH):
            setattr(layer, _SWITCH, False)
        shape = (type(layer), layer.in_features, layer.out_features, layer.bias is None)
        if shape not in tried:
            tried.add(shape)
            _check(layer)


def _layers(model: Any) -> Iterator[Any]:
    """Yield the linear layers whose weights are of 4 or 8 bits."""
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        if type(weight).__name__ not in ("Params4bit", "Int8Params"):
            continue
        packed = not weight.is_meta and not weight.is_floating_point()
        if packed and hasattr(module, "in_features"):
            yield module


def _check(layer: Any) -> None:
    try:
        off = layer_error(layer)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise _wrong_kernel(layer, f"fails ({str(error).splitlines()[0]})") from None
    if math.isinf(off):
        raise _wrong_kernel(layer, "passes no gradient, or what is no number")
    if not off <= _ROUNDING:
        raise _wrong_kernel(layer, f"is off by {off:.0%} against its own unpacked weights")


def layer_error(layer: Any) -> float:
    """Return how far a layer of few bits is from its own unpacked weights.

    Eight random rows go through the layer with and without gradients, and one row, which takes
    another kernel; then the weights are unpacked again.

    Returns:
        The largest of the errors of products, gradient and weights, each as a share of what is
        right; infinite where the layer passes no gradient, or what is no number.
    """
    weight = _weight(layer)
    x = torch.randn(8, layer.in_features, generator=torch.Generator().manual_seed(0)).to(weight)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    want = functional.linear(x, weight, bias).detach()
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad():
            alone, together = layer(x[:1]), layer(x)
        found, grad = _with_gradient(layer, x)
    finally:
        layer.train(training)
    off = [_off(alone, want[:1]), _off(together, want), _off(found, want)]
    off.append(_off(_weight(layer), weight))
    # The gradient of the sum of W x.
    off.append(math.inf if grad is None else _off(grad, weight.sum(0).expand_as(x)))
    return max(off)


def _weight(layer: Any) -> Tensor:
    """Return the unpacked weight (m, d), as `unpacked` would."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    state = getattr(layer, "state", None)
    weight: Tensor = dequantize_bnb_weight(layer.weight, state).detach()
    return weight.reshape(layer.out_features, layer.in_features)


def _with_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return f(x) and the gradient of its sum, None where there is none."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        out = function(x)
        if not out.requires_grad:
            return out, None
        (grad,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
    return out.detach(), grad


def _off(mine: Tensor, right: Tensor) -> float:
    """Return the error as a share of what is right; what is no number is infinitely wrong."""
    error = (mine.float() - right.float()).norm() / right.float().norm().clamp_min(1e-30)
    return float(error.nan_to_num(math.inf))


def _wrong_kernel(layer: Any, how: str) -> UserError:
    bits = 4 if type(layer.weight).__name__ == "Params4bit" else 8
    # torch hands over products of int8 that oneDNN, told to leave units alone, gets wrong.
    limits = "".join(f"unset {name}, " for name in ONEDNN_LIMITS if name in os.environ)
    return UserError(
        f"bitsandbytes {version('bitsandbytes')} is wrong on this processor: a layer of {bits} "
        f"bits ({layer.in_features} to {layer.out_features}) {how}; {limits}set quantisation to "
        "null, or take another version of bitsandbytes."
    )


def unpacked(model: Any) -> Any:
    """Return a model without adapters in its own dtype; a quantised one is changed in place."""
    if not is_quantised(model):
        return model
    # Embeddings keep the dtype that the model was read in.
    return model.dequantize(dtype=model.get_input_embeddings().weight.dtype)


@torch.no_grad()
def without_adapters(model: Any) -> Any:
    """Return the model inside a PEFT model, in place, its weights changed by the adapters."""
    if not is_quantised(model):
        return model.merge_and_unload()
    adapted = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    lm = unpacked(model.unload())
    # One change at a time: together they are as large as the model.
    for name, module in adapted.items():
        weight = lm.get_submodule(name).weight
        for adapter in module.active_adapters:
            weight.add_(module.get_delta_weight(adapter).to(weight.dtype))
    return lm


__all__ = ["is_quantised", "layer_error", "settle_kernels", "unpacked", "without_adapters"]
