"""Numeric tests again as other processors would run them: this one with units switched off.

Each setting is a subprocess, because libraries choose their kernels when they are loaded. What
this processor lacks can't be switched on; such a setting is skipped and says so.
`make test-isa` runs all of them over every numeric test.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_ROOT = Path(__file__).parents[1]
_NUMPY = "NPY_DISABLE_CPU_FEATURES"

#: name -> what this processor must have for it to make a difference, and the switches.
SETTINGS = {
    "bf16 off": ("", {"COPYGYM_BF16": "off"}),
    "bf16 on": ("", {"COPYGYM_BF16": "on"}),
    "AVX512-BF16 without AMX": ("amx_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}),
    "AVX512 without BF16": ("avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}),
    # Of oneDNN's products alone: torch goes on to count with VNNI.
    "AVX512 without VNNI": ("avx512_vnni", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "AVX2": (
        "avx512_f",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
            _NUMPY: "X86_V4 AVX512_ICL AVX512_SPR",
        },
    ),
    "SSE4": (
        "avx2",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "OPENBLAS_CORETYPE": "Nehalem",
            _NUMPY: "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        },
    ),
}

NUMERIC = [
    "tests/agents/copywriter/algorithms",
    "tests/agents/copywriter/llama",
    "tests/agents/copywriter/test_models.py",
    "tests/agents/copywriter/test_writer.py",
    "tests/agents/delivery/test_golden_agents.py",
    "tests/core/text/test_text.py",
    "tests/golden",
    "tests/rewards",
]


def run_as(name, files):
    """Run the tests of ``files`` under a setting and return what pytest printed."""
    needs, switches = SETTINGS[name]
    if needs and not torch.cpu.get_capabilities().get(needs):
        pytest.skip(f"this processor has no {needs}: it would run as it always does")
    # A worker of xdist would take itself for one of ours.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, cwd=_ROOT, env=kept | switches, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"as {name}:\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("name", ["AVX2", "AVX512 without BF16"])
def test_kernels_are_right_on_another_processor(name):
    assert " passed" in run_as(name, ["tests/agents/copywriter/llama/test_kernels.py"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SETTINGS)
def test_numbers_are_right_on_another_processor(name):
    print(name, run_as(name, NUMERIC).splitlines()[-1])
