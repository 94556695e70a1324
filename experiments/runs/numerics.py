"""With which numbers a run counts: pinned where a result is to be the same elsewhere, and noted.

``conf/numerics`` is the one place: `auto` takes what is fastest here, `pinned` what the paper's
experiments were published with. What remains is the rounding of sums, which processors add up in
another order; from one drawn token on, that may be another text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from copygym.core.errors import unknown_name
from copygym.core.processor import OPTION, bf16_option, bf16_units, has_amx

#: Sections of a config with a language model, and the key of a model that encodes texts.
_WRITER, _ENCODER = "copywriter", "bf16"
_CHOICES = {
    "dtype": ("auto", "bfloat16", "float16", "float32"),
    "attention": ("auto", "eager", "sdpa", "flash_attention_2", "flex_attention"),
    "kernels": ("auto", "plain"),
    "device": ("auto", "cpu"),
}
_THREADS, _GPUS = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def check_numerics(config: Mapping[str, Any]) -> None:
    """Check a config's ``numerics``.

    Raises:
        UserError: a value is none of those that there are.
    """
    for key, choices in _CHOICES.items():
        value = (config.get("numerics") or {}).get(key, "auto")
        if value not in choices:
            raise unknown_name(f"numerics.{key}", str(value), list(choices))


@contextmanager
def counted_as(config: Mapping[str, Any]) -> Iterator[None]:
    """Count in the block as a config's ``numerics`` says; its dtypes are the models' own to take.

    Args:
        config: resolved, of a run; without ``numerics`` nothing is changed.
    """
    pinned = config.get("numerics") or {}
    wanted: dict[str, str] = {}
    if pinned.get("kernels") == "plain":
        wanted[OPTION] = "off"
    if pinned.get("device") == "cpu":
        wanted[_GPUS] = "-1"
    threads = pinned.get("threads")
    if threads:
        wanted[_THREADS] = str(threads)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        with _torch_threads(threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _torch_threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads, if it is loaded; else the environment tells it."""
    torch = sys.modules.get("torch")
    if not number or torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def numerics(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return with which numbers a run counts here, for its manifest.

    Returns:
        ``dtype`` of the language models and ``encoders`` of the models that read texts, each as it
        is used here or None where the config has none; ``attention``, ``kernels``; ``units``: what
        this processor multiplies bfloat16 with, and ``instructions`` that torch uses, both None
        where the run has not loaded torch; ``threads``.
    """
    loaded = "torch" in sys.modules
    writer = config.get(_WRITER)
    model = writer.get("model") if isinstance(writer, Mapping) else None
    pinned = config.get("numerics") or {}
    told: dict[str, Any] = {
        "dtype": _dtype(model) if loaded and isinstance(model, Mapping) else None,
        "encoders": _encoders(config) if loaded else None,
        "attention": model.get("attention") if isinstance(model, Mapping) else None,
        "kernels": "plain" if bf16_option() == "off" else pinned.get("kernels", "auto"),
        "units": None,
        "instructions": None,
        "threads": os.environ.get(_THREADS, "not set"),
    }
    if loaded:
        import torch

        told["instructions"] = torch.backends.cpu.get_cpu_capability()
        told["units"] = _units()
    return told


def _units() -> list[str]:
    """Return the processor's units for bfloat16, also where a run was told not to use them."""
    before = os.environ.pop(OPTION, None)
    try:
        return sorted(bf16_units())
    finally:
        if before is not None:
            os.environ[OPTION] = before


def _dtype(model: Mapping[str, Any]) -> str:
    from copygym.agents.copywriter.models import torch_device, torch_dtype

    dtype = str(model.get("dtype", "auto"))
    if dtype == "auto" and model.get("name") == "tiny":
        dtype = "float32"  # see `load_copywriter`
    found = torch_dtype(dtype, torch_device(str(model.get("device", "auto"))))
    return str(found).removeprefix("torch.")


def _encoders(config: Mapping[str, Any]) -> str | None:
    """Return the dtype of models that read texts, such as MiniLM; None where there are none."""
    chosen = [
        part[_ENCODER]
        for part in config.values()
        if isinstance(part, Mapping) and _ENCODER in part and "encoder" in part
    ]
    if not chosen:
        return None
    fast = [has_amx() if bf16 is None else bool(bf16) for bf16 in chosen]
    return "bfloat16" if all(fast) else "both" if any(fast) else "float32"


def told_apart(published: Mapping[str, Any], obtained: Mapping[str, Any]) -> list[str]:
    """Return in what the numbers of two manifests were counted differently, a phrase for each.

    Args:
        published: manifest of the published run.
        obtained: manifest of the run that is compared with it.
    """
    before, now = published.get("numerics"), obtained.get("numerics") or {}
    words = {
        "dtype": "language models in",
        "encoders": "encoders in",
        "attention": "attention",
        "kernels": "kernels",
        "units": "bfloat16 units",
        "instructions": "instructions",
        "threads": "threads",
    }
    found = []
    if not isinstance(before, Mapping):
        found.append("the published manifest does not say with which dtype and units it was made")
    else:
        for key, word in words.items():
            if before.get(key) != now.get(key):
                found.append(f"{word} {_said(before.get(key))}, here {_said(now.get(key))}")
    for key in ("processor", "architecture"):
        values = [(m.get("machine") or {}).get(key) for m in (published, obtained)]
        if values[0] != values[1]:
            found.append(f"{key} {_said(values[0])}, here {_said(values[1])}")
    used = [
        bool(((m.get("machine") or {}).get("accelerator") or {}).get("used"))
        for m in (published, obtained)
    ]
    if used[0] != used[1]:
        found.append("a GPU was used, here none" if used[0] else "no GPU was used, here one was")
    versions = [m.get("packages") or {} for m in (published, obtained)]
    for name in ("torch", "numpy", "transformers"):
        if name in versions[0] and versions[0].get(name) != versions[1].get(name):
            found.append(f"{name} {versions[0][name]}, here {_said(versions[1].get(name))}")
    return found


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
