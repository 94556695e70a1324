"""What this processor multiplies in hardware: one place, and an option that forces the answer.

The environment variable ``COPYGYM_BF16`` says whether bfloat16 counts as fast on a CPU: ``auto``
(the default) asks the processor, ``off`` takes it for one without bfloat16 units, ``on`` for one
that has them all. Both run on any processor, so that one machine tests what the others do.
"""

from __future__ import annotations

import os

from copygym.core.errors import unknown_name

OPTION = "COPYGYM_BF16"
CHOICES = ("auto", "on", "off")

#: Units by name; AMX multiplies tiles of matrices, AVX-512 BF16 pairs in vectors.
AMX, AVX512 = "amx", "avx512"
_CAPABILITIES = {AMX: "amx_bf16", AVX512: "avx512_bf16"}

#: Where oneDNN, which multiplies for torch, is told what to stop at; then its names without a unit.
ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_AVX512_BF16 = {
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
}  # fmt: skip
_WITHOUT_AMX = {
    *_WITHOUT_AVX512_BF16, "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512", "AVX10_2_512",
}  # fmt: skip


def bf16_option() -> str:
    """Return what ``COPYGYM_BF16`` says: one of `CHOICES`.

    Raises:
        UserError: it says something else.
    """
    option = os.environ.get(OPTION, "").strip().lower() or "auto"
    if option not in CHOICES:
        raise unknown_name(f"value of {OPTION}", option, list(CHOICES))
    return option


def bf16_units() -> frozenset[str]:
    """Return which units for bfloat16 products count as there: of `AMX` and `AVX512`."""
    option = bf16_option()
    if option != "auto":
        return frozenset(_CAPABILITIES) if option == "on" else frozenset()
    return _detect_units()


def has_amx() -> bool:
    """Tell whether the processor multiplies bfloat16 matrices in tiles, or counts as if it did."""
    return AMX in bf16_units()


def _detect_units() -> frozenset[str]:
    """Return the units that the processor has and that torch and oneDNN were not told to leave."""
    import torch

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return frozenset()  # another processor, or ATEN_CPU_CAPABILITY says so
    has = _capabilities()
    limit = next((os.environ[key].upper() for key in ONEDNN_LIMITS if key in os.environ), "")
    left = {AMX: _WITHOUT_AMX, AVX512: _WITHOUT_AVX512_BF16}
    return frozenset(
        unit for unit, name in _CAPABILITIES.items() if has.get(name) and limit not in left[unit]
    )


def _capabilities() -> dict[str, bool]:
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    # Older releases ask one by one, and know tiles without the type that they multiply.
    checks = {AMX: "_is_amx_tile_supported", AVX512: "_is_avx512_bf16_supported"}
    return {
        _CAPABILITIES[unit]: bool(getattr(torch.cpu, check, bool)())
        for unit, check in checks.items()
    }


__all__ = [
    "AMX",
    "AVX512",
    "CHOICES",
    "ONEDNN_LIMITS",
    "OPTION",
    "bf16_option",
    "bf16_units",
    "has_amx",
]
