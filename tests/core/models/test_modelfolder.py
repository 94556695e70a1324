"""A folder with a model in it: its code, kernels, pickles and other models are left alone."""

import json
import os
import socket

import pytest

from copygym.agents.copywriter.models import load_copywriter, read_model
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.core.models import folder as modelfolder
from copygym.core.models.folder import check_configs, check_model_folder, no_downloads, reading
from copygym.core.text.encoders import SentenceEncoder, default_cache
from copygym.rewards.ctr.encoders import FrozenFeatures


@pytest.fixture
def no_network(monkeypatch):
    """Tell of every attempt to reach another machine."""
    tried = []

    def connect(self, address):
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: connect(None, a[0]))
    return tried


@pytest.fixture
def folder(tmp_path):
    """A model's folder with code that tells that it was run."""
    code = f"open({str(tmp_path / 'PWNED')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    (tmp_path / "evil.py").write_text(code)
    names = {
        "AutoConfig": "evil.Config",
        "AutoModel": "evil.Model",
        "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": ["evil.Model", None],
    }
    config = {"model_type": "strange", "auto_map": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": names}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_code_of_a_model_is_not_run(folder, no_network):
    with pytest.raises(UserError):
        read_model(folder)
    with pytest.raises(UserError):
        SentenceEncoder(str(folder)).encode(["text"])
    with pytest.raises(UserError):
        FrozenFeatures(str(folder))
    assert not (folder / "PWNED").exists()
    assert no_network == []


def test_layers_without_end_and_pipes_are_refused_before_anything_is_made(folder):
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 10**9}))
    with pytest.raises(UserError, match="num_hidden_layers=1000000000, more than 1,000 layers"):
        check_configs(folder)
    (folder / "config.json").write_text("{}")
    os.mkfifo(folder / "added_tokens.json")
    with pytest.raises(UserError, match=r"added_tokens.json is a pipe or a device"):
        check_configs(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_that_would_be_fetched_is_refused(folder, key):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", key: "evil/kernel"}))
    for read in (read_model, lambda source: SentenceEncoder(str(source)).encode(["x"])):
        with pytest.raises(UserError, match="asks for the kernel 'evil/kernel'"):
            read(folder)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"peft_type": "XLORA", "adapters": {"a": "org/adapter"}}, "of the kind 'XLORA'"),
        ({"peft_type": "PROMPT_TUNING", "tokenizer_name_or_path": "a/b"}, "of the kind"),
        ({}, "of the kind None"),
        ({"peft_type": "LORA", "megatron_config": {"a": 1}}, "sets megatron_config"),
        ({"peft_type": "LORA", "megatron_core": "antigravity"}, "sets megatron_core"),
        ({"peft_type": "LORA", "loftq_config": {"a": 1}}, "sets loftq_config"),
    ],
)
def test_adapters_that_read_other_files_or_modules_are_refused(folder, config, match):
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=match):
        check_model_folder(folder)


def test_weights_of_an_adapter_are_no_pickle(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "megatron_core": null}')
    check_model_folder(folder)
    (folder / "adapter_model.bin").write_bytes(b"\x80")
    with pytest.raises(UserError, match="is a pickle, which may run code"):
        check_model_folder(folder)


def test_only_what_a_user_names_is_fetched(tmp_path, monkeypatch, no_network):
    never = {"trust_remote_code": False}
    with monkeypatch.context() as patch:
        patch.setattr(modelfolder, "hub_answers", lambda: True)
        assert reading("org/model") == ("org/model", never | {"local_files_only": False})
    assert reading(tmp_path) == (str(tmp_path), never | {"local_files_only": True})
    for how in ({"fetch": False}, {}):
        with no_downloads(), pytest.raises(UserError, match="may not be fetched from there"):
            reading("org/model", **how)
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    state = {"encoder": "sentence", "model": "nobody/nothing", "cache": "/somewhere/else"}
    (tmp_path / "text.json").write_text(json.dumps(state))
    encoder = SentenceEncoder.load(tmp_path)
    assert encoder._cache_folder == default_cache()
    with pytest.raises(UserError, match="nobody/nothing"):
        encoder.encode(["text"])
    options = {"model": "nobody/nothing", "layers": None}
    with pytest.raises(UserError, match="nobody/nothing"):
        FrozenFeatures.load(tmp_path, {"options": options})
    assert no_network == []


@pytest.mark.parametrize("state", [{"base": "nobody/nothing"}, {"base": 7}, {"dtype": []}])
def test_a_copywriters_folder_has_nothing_fetched_and_is_checked(folder, no_network, state):
    settings = {
        "name": "x", "adapter": True, "base": None, "dtype": "float32",
        "max_new_tokens": 8, "max_prompt_tokens": 8, **state,
    }  # fmt: skip
    (folder / "copywriter.json").write_text(json.dumps(settings))
    for read in (Copywriter.load, lambda place: load_copywriter("hf", place)):
        with pytest.raises(UserError, match=r"may not be fetched|it is damaged"):
            read(folder)
    assert no_network == []
