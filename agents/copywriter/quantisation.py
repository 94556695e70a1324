"""Models of few bits (bitsandbytes): trained through adapters, and unpacked to take them in.

A merge into few bits rounds to the grid that the weights are on already, which is coarser than most
of what fine-tuning changes: the adapter would be lost. So whatever merges unpacks first.
"""

from __future__ import annotations

from typing import Any

import torch


def is_quantised(model: Any) -> bool:
    """Tell whether the weights of ``model``, PEFT or not, are of few bits."""
    lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    return bool(getattr(lm, "is_quantized", False))


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


__all__ = ["is_quantised", "unpacked", "without_adapters"]
