"""Copywriters that are not all there are refused at load, in a sentence that names the folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from copygym.agents.copywriter.models import load_copywriter
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError

LAYER = "model.layers.0.mlp.up_proj.weight"


def with_lora(writer):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    writer.model = get_peft_model(writer.model, config).eval()
    return writer


def with_prefix(writer):
    from peft import PrefixTuningConfig, get_peft_model

    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    writer.model = get_peft_model(writer.model, config).eval()
    return writer


def change(path, edit):
    """Read a file of tensors, let ``edit`` change them in place, and write them again."""
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def configure(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def without(name):
    return lambda tensors: tensors.pop(name)


def filled(name, value):
    return lambda tensors: tensors[name].view(-1)[:1].fill_(value)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES = {
    "a tensor is missing": lambda f: change(f / "model.safetensors", without(LAYER)),
    "the final norm is missing": lambda f: change(
        f / "model.safetensors", without("model.norm.weight")
    ),
    "a weight is NaN": lambda f: change(f / "model.safetensors", filled(LAYER, float("nan"))),
    "a weight is infinite": lambda f: change(
        f / "model.safetensors", filled("model.embed_tokens.weight", float("inf"))
    ),
    "a tensor has another shape": lambda f: change(
        f / "model.safetensors", lambda t: t.update({LAYER: torch.zeros(3, 3)})
    ),
    "the config says another width": lambda f: configure(f, hidden_size=64),
    "the config says more layers": lambda f: configure(f, num_hidden_layers=3),
    "the config says fewer layers": lambda f: configure(f, num_hidden_layers=1),
    "the config is another architecture's": lambda f: configure(
        f, architectures=["BertLMHeadModel"], model_type="bert"
    ),
    "the config is a cousin's": lambda f: configure(f, model_type="gpt_neox"),
    "the config says another head": lambda f: configure(f, tie_word_embeddings=False),
    "layers hold a bias that the config does not know": lambda f: change(
        f / "model.safetensors",
        lambda t: t.update({"model.layers.1.mlp.up_proj.bias": torch.ones(64)}),
    ),
    "the file is cut off": lambda f: cut_off(f / "model.safetensors"),
    "the file is no safetensors": lambda f: (f / "model.safetensors").write_bytes(b"{}" * 50),
    "the config is cut off": lambda f: cut_off(f / "config.json"),
    "the tokenizer is cut off": lambda f: cut_off(f / "tokenizer.json"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_copywriter_is_refused_at_load(copywriter, tmp_path, damage, capfd):
    copywriter.save(tmp_path / "writer")
    damage(tmp_path / "writer")
    for load in (Copywriter.load, lambda folder: load_copywriter("hf", folder)):
        with pytest.raises(UserError) as refusal:
            load(tmp_path / "writer")
        assert str(tmp_path / "writer") in str(refusal.value)
        assert "\n" not in str(refusal.value)
    (tmp_path / "writer" / "copywriter.json").unlink()
    with pytest.raises(UserError):
        load_copywriter("hf", tmp_path / "writer")
    assert "MISSING" not in capfd.readouterr().err


ADAPTER_DAMAGES = {
    "a tensor is missing": lambda f: change(f, lambda t: t.pop(sorted(t)[0])),
    "a tensor is unknown": lambda f: change(f, lambda t: t.update({"odd": torch.ones(2)})),
    "a weight is NaN": lambda f: change(f, lambda t: filled(sorted(t)[0], float("nan"))(t)),
    "a tensor has another shape": lambda f: change(
        f, lambda t: t.update({sorted(t)[0]: torch.ones(2, 2)})
    ),
    "the file is cut off": cut_off,
}


@pytest.mark.parametrize("damage", ADAPTER_DAMAGES.values(), ids=ADAPTER_DAMAGES)
@pytest.mark.parametrize("wear", [with_lora, with_prefix])
def test_a_damaged_adapter_is_refused_at_load(make_copywriter, tmp_path, wear, damage):
    wear(make_copywriter(seed=1)).save(tmp_path / "writer")
    Copywriter.load(tmp_path / "writer")
    damage(tmp_path / "writer" / "adapter_model.safetensors")
    with pytest.raises(UserError) as refusal:
        Copywriter.load(tmp_path / "writer")
    assert "writer" in str(refusal.value)


def test_the_base_of_an_adapter_is_checked_too(make_copywriter, tmp_path):
    with_lora(make_copywriter(seed=1)).save(tmp_path / "writer")
    change(tmp_path / "writer" / "base" / "model.safetensors", without(LAYER))
    with pytest.raises(UserError, match="lack what its config"):
        Copywriter.load(tmp_path / "writer")


def test_a_pickled_adapter_is_not_read(make_copywriter, tmp_path):
    with_lora(make_copywriter(seed=1)).save(tmp_path / "writer")
    file = tmp_path / "writer" / "adapter_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    shutil.move(file, tmp_path / "writer" / "other.safetensors")
    with pytest.raises(UserError, match="a pickle"):
        Copywriter.load(tmp_path / "writer")


def test_a_folder_of_peft_is_its_base_with_the_adapter_merged(make_copywriter, rows, tmp_path):
    from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
    from copygym.agents.copywriter.models import read_model

    writer = make_copywriter(seed=1)
    writer.save(tmp_path / "base")
    (tmp_path / "base" / "copywriter.json").unlink()
    worn = with_lora(make_copywriter(seed=1))
    generator = torch.Generator().manual_seed(0)
    for name, weight in worn.model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    worn.model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    worn.model.save_pretrained(tmp_path / "adapter")
    worn.tokenizer.save_pretrained(tmp_path / "adapter")
    read = load_copywriter("hf", tmp_path / "adapter", dtype="float32", max_new_tokens=6)
    texts = ["fresh coffee", "warm coat now"] * 6
    np.testing.assert_allclose(
        read.logprobs(texts, rows)[0], worn.logprobs(texts, rows)[0], atol=1e-4
    )
    done = PPO(batch=4).train(read, rows, lambda t, r: np.zeros(len(t)), samples=4, seed=0)
    assert done.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(UserError, match="merge it into its base first"):
        read_model(tmp_path / "adapter", quantisation={"load_in_4bit": True})


def test_a_head_that_we_do_not_know_is_refused(copywriter, tmp_path):
    """HyperCLOVAX multiplies its logits by what Granite divides them by."""
    from copygym.agents.copywriter.llama.likelihood import check_head

    check_head(copywriter.model, "x")
    model = copywriter.copy().model
    model.config.logits_scaling = 3.0  # which its own forward does not heed
    with pytest.raises(UserError, match="makes its logits in a way"):
        check_head(model, "x")
