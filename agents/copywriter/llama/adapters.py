"""Where PEFT's adapters go, and LoRA as the joint matrices that `LlamaTrunk` multiplies with.

Shapes: r adapter rank, d inputs, m outputs of a joint product, R the sum of its adapters' ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from copygym.agents.copywriter.llama.trunk import GROUPS, Change, is_llama
from copygym.core.errors import UserError

#: Names that attention's queries and values have, joint ones last.
_QUERIES_AND_VALUES = (
    frozenset(("q_proj", "v_proj")),
    *(frozenset((name,)) for name in ("qkv_proj", "query_key_value", "Wqkv", "c_attn")),
)
#: Parts of the names of models with scans, and the maps of theirs to which PEFT adds no adapter,
#: because a kernel reads their weights past it.
_SCANS = ("mamba", "falcon_h1", "nemotron_h", "hybrid")
_SCANNED = frozenset(("out_proj", "conv1d"))


def is_peft(model: Any) -> bool:
    """Tell whether ``model`` carries PEFT adapters."""
    return bool(getattr(model, "peft_config", None)) and hasattr(model, "active_peft_config")


def layer_stack(model: Any) -> torch.nn.ModuleList:
    """Return the layers of any model, bottom first.

    Raises:
        UserError: they were not found.
    """
    # What a model of several kinds of input has beside its language model is no layer of it.
    depth = int(model.config.get_text_config().num_hidden_layers)
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    for module in decoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise UserError(f"the layers of {type(model).__name__} were not found; train another model.")


def linear_names(model: Any) -> list[str]:
    """Return the names that the linear maps have within a layer, such as ``q_proj``.

    PEFT's "all-linear" means the same, but cannot be limited to some layers.
    """
    from transformers.pytorch_utils import Conv1D

    found = {
        name.rpartition(".")[2]
        for layer in layer_stack(model)
        for name, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }
    kind = str(model.config.get_text_config().model_type)
    return sorted(found - _SCANNED if any(name in kind for name in _SCANS) else found)


def adapter_places(model: Any, layers: int = 0, targets: str = "all") -> dict[str, Any]:
    """Return the arguments of PEFT's configs that say where adapters go.

    Args:
        model: without adapters.
        layers: how many of the top layers get one; 0: all.
        targets: ``all`` linear maps of a layer, or ``qv``, its queries and values.

    Raises:
        UserError: a layer has no queries and values by any name that is known.
    """
    stack, names = layer_stack(model), linear_names(model)
    if targets == "qv":
        known = (own for own in _QUERIES_AND_VALUES if own <= set(names))
        names = sorted(next(known, ()))
        if not names:
            raise UserError(
                f"the queries and values of {type(model).__name__} were not found, which "
                "targets=qv asks for; choose targets=all."
            )
    first = len(stack) - layers if 0 < layers < len(stack) else 0
    inside = {module for layer in stack for module in layer.modules()}
    linear = [
        (name, module) for name, module in model.named_modules() if name.rpartition(".")[2] in names
    ]
    if all(module in inside for _, module in linear):
        top = list(range(first, len(stack))) if first else None
        return {"target_modules": names, "layers_to_transform": top}
    # A model that sees, too: its other towers have linear maps of the same names.
    trained = {module for layer in stack[first:] for module in layer.modules()}
    return {"target_modules": [name for name, module in linear if module in trained]}


def _lora(module: Any) -> tuple[Tensor, Tensor, float] | None:
    """Return A (r, d), B (m, r) and the scale of the one active adapter, or None."""
    names = [name for name in getattr(module, "active_adapters", ()) if name in module.lora_A]
    if not names or module.disable_adapters or module.merged:
        return None
    name = names[0]
    return module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])


def readable(module: Any) -> bool:
    """Tell whether a linear module is plain or holds at most one plain active LoRA."""
    if type(module) is torch.nn.Linear:
        return True
    from peft.tuners.lora import Linear as LoraLinear

    if type(module) is not LoraLinear or type(module.get_base_layer()) is not torch.nn.Linear:
        return False
    active = [name for name in module.active_adapters if name in module.lora_A]
    variants = getattr(module, "lora_variant", {})
    plain = all(
        name not in variants
        and not module.lora_bias.get(name, False)
        and type(module.lora_dropout[name]) is torch.nn.Identity
        for name in active
    )
    return len(active) <= 1 and plain


def fast_path(model: Any) -> Any | None:
    """Return the Llama inside ``model`` if `LlamaTrunk` and `peft_changes` cover all of it."""
    lm = model
    if hasattr(model, "peft_config"):
        if not hasattr(model, "get_base_model") or model.active_peft_config.is_prompt_learning:
            return None
        lm = model.get_base_model()
    if not is_llama(lm):
        return None
    if (
        type(lm.lm_head) is not torch.nn.Linear
        or type(lm.model.embed_tokens) is not torch.nn.Embedding
    ):
        return None
    modules = (
        layer.get_submodule(name)
        for layer in lm.model.layers
        for names in GROUPS.values()
        for name in names
    )
    return lm if all(readable(module) for module in modules) else None


def joint(parts: list[tuple[int, tuple[Tensor, Tensor, float] | None]], dtype: torch.dtype) -> Any:
    """Return A (R, d) and scaled B (m, R) of modules whose outputs stand side by side.

    Args:
        parts: for each module its number of outputs, and its adapter or None.
        dtype: of the result; gradients reach the adapters in theirs.
    """
    adapters = [adapter for _, adapter in parts if adapter is not None]
    if not adapters:
        return None
    down = torch.cat([adapter[0] for adapter in adapters]).to(dtype)
    rank, column, blocks = len(down), 0, []
    for outputs, adapter in parts:
        if adapter is None:
            blocks.append(down.new_zeros((outputs, rank)))
            continue
        up = (adapter[1] * adapter[2]).to(dtype)
        padding = (column, rank - column - up.shape[1])
        blocks.append(torch.nn.functional.pad(up, padding) if any(padding) else up)
        column += up.shape[1]
    return down, torch.cat(blocks) if len(blocks) > 1 else blocks[0]


def peft_changes(lm: Any, dtype: torch.dtype) -> list[Change]:
    """Return what PEFT's active adapters add to each layer of a Llama; differentiable."""
    changes: list[Change] = []
    for layer in lm.model.layers:
        change: dict[str, tuple[Tensor, Tensor] | Tensor] = {}
        for group, names in GROUPS.items():
            modules = [layer.get_submodule(name) for name in names]
            if all(type(module) is torch.nn.Linear for module in modules):
                continue
            pair = joint(
                [
                    (
                        module.out_features,
                        None if type(module) is torch.nn.Linear else _lora(module),
                    )
                    for module in modules
                ],
                dtype,
            )
            if pair is not None:
                change[group] = pair
        changes.append(change)
    return changes


__all__ = [
    "adapter_places",
    "fast_path",
    "is_peft",
    "joint",
    "layer_stack",
    "linear_names",
    "peft_changes",
    "readable",
]
