"""Which bfloat16 units count as there: what the processor says, unless an option says otherwise."""

import re

import pytest
import torch

from copygym.agents.copywriter.models import torch_dtype
from copygym.core.errors import UserError
from copygym.core.processor import bf16_units, has_amx
from copygym.core.text.encoders import SentenceEncoder

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """A maker of processors: what torch says of them, and no option set."""
    for name in ("COPYGYM_BF16", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)

    def make(*features, vectors="AVX512"):
        has = dict.fromkeys(features, True)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)

    return make


@pytest.mark.parametrize(
    ("features", "units"),
    [
        ((), set()),
        (("avx512_f", "amx_int8"), set()),
        (("avx512_bf16",), {"avx512"}),
        (("avx512_bf16", "amx_bf16"), {"avx512", "amx"}),
    ],
)
def test_the_processor_decides(processor, features, units):
    processor(*features)
    assert bf16_units() == units
    assert has_amx() == ("amx" in units)
    assert torch_dtype("auto", CPU) == (torch.bfloat16 if units else torch.float32)
    assert SentenceEncoder("anything", bf16=None).bf16 == ("amx" in units)


@pytest.mark.parametrize(("option", "dtype"), [("on", torch.bfloat16), ("Off", torch.float32)])
@pytest.mark.parametrize("features", [(), ("avx512_bf16", "amx_bf16")])
def test_the_option_decides_instead(processor, monkeypatch, option, dtype, features):
    processor(*features)
    monkeypatch.setenv("COPYGYM_BF16", option)
    assert torch_dtype("auto", CPU) == dtype
    assert has_amx() == (option == "on")
    assert SentenceEncoder("anything", bf16=None).bf16 == (option == "on")


def test_an_unknown_option_is_named(processor, monkeypatch):
    processor()
    monkeypatch.setenv("COPYGYM_BF16", "yes")
    message = "unknown value of COPYGYM_BF16 'yes': choose one of auto, off, on."
    with pytest.raises(UserError, match=re.escape(message)):
        torch_dtype("auto", CPU)


@pytest.mark.parametrize(
    ("limit", "units"),
    [
        ("AVX512_CORE_AMX", {"avx512", "amx"}),
        ("AVX512_CORE_FP16", {"avx512"}),
        ("avx512_core_bf16", {"avx512"}),
        ("AVX512_CORE", set()),
        ("AVX2", set()),
    ],
)
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_what_onednn_leaves_out_is_not_there(processor, monkeypatch, name, limit, units):
    processor("avx512_bf16", "amx_bf16")
    monkeypatch.setenv(name, limit)
    assert bf16_units() == units


def test_what_torch_leaves_out_is_not_there(processor):
    processor("avx512_bf16", "amx_bf16", vectors="AVX2")
    assert bf16_units() == set()


def test_a_torch_that_answers_one_question_at_a_time(processor, monkeypatch):
    processor()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert bf16_units() == {"avx512"}
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert bf16_units() == set()
