"""Weights of few bits: adapters learn beside them, and taking an adapter in loses none of it."""

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.models import load_copywriter
from copygym.agents.copywriter.ppo import PPO
from copygym.agents.copywriter.rejection import Rejection
from copygym.agents.copywriter.sft import PeftChoice, finetune
from copygym.agents.copywriter.writer import Copywriter, is_peft
from copygym.envs.errors import UserError

pytest.importorskip("bitsandbytes", reason="quantisation needs bitsandbytes")

FOUR = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}
EIGHT = {"load_in_8bit": True}


@pytest.fixture
def quantised(make_copywriter, tmp_path):
    """The maker of copywriters of few bits."""
    plain = make_copywriter(hidden=64)
    plain.model.save_pretrained(tmp_path / "model")
    plain.tokenizer.save_pretrained(tmp_path / "model")

    def make(how=FOUR):
        return load_copywriter(
            "hf",
            tmp_path / "model",
            dtype="float32",
            device="cpu",
            quantisation=how,
            max_prompt_tokens=160,
            max_new_tokens=12,
        )

    return make


def with_lora(writer):
    """Put an adapter that nobody trained into ``writer``."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    writer.model = get_peft_model(writer.model, config).eval()
    torch.manual_seed(0)
    for name, weight in writer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return writer


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


TEXTS = ["the best offer ends today", "warm coat", "fresh coffee now"] * 4


@pytest.mark.parametrize(("how", "off"), [(FOUR, 1e-3), (EIGHT, 0.3)], ids=["4 bits", "8 bits"])
def test_a_merge_keeps_the_adapter(quantised, rows, how, off):
    # The products of 8 bits round their inputs too; those of unpacked weights do not.
    before, _ = quantised(how).logprobs(TEXTS, rows)
    worn = with_lora(quantised(how))
    with_adapter, _ = worn.logprobs(TEXTS, rows)
    merged = worn.merged()
    taken_in, _ = merged.logprobs(TEXTS, rows)

    assert abs(with_adapter - before).max() > 3 * off
    np.testing.assert_allclose(taken_in, with_adapter, atol=off)
    assert merged.quantisation is None
    assert merged.model.dtype == torch.float32
    assert is_peft(worn.model)  # the original stays as it is


def test_what_sft_learned_is_saved(quantised, rows, tmp_path):
    writer = quantised()
    before, _ = writer.logprobs(TEXTS, rows)
    finetune(writer, TEXTS, rows, steps=15, lr=3e-3, batch_size=6, seed=0, peft=PeftChoice(rank=8))
    after, _ = writer.logprobs(TEXTS, rows)
    writer.save(tmp_path / "sft")
    again, _ = Copywriter.load(tmp_path / "sft", device="cpu").logprobs(TEXTS, rows)

    assert (after > before + 1).all()
    np.testing.assert_allclose(again, after, atol=1e-4)


def test_ppo_keeps_few_bits_below_its_adapters(quantised, rows, tmp_path):
    trained = PPO(batch=12, epochs=1).train(quantised(), rows, count_the, samples=12, seed=0)
    trained.writer.save(tmp_path / "ppo")
    loaded = load_copywriter("hf", tmp_path / "ppo", device="cpu")

    assert loaded.quantisation == FOUR
    assert loaded.model.get_base_model().is_quantized
    assert loaded.write(rows, seed=1) == trained.writer.write(rows, seed=1)


def test_rejection_sampling_unpacks(quantised, rows):
    trained = Rejection(tasks=6, group=2).train(quantised(), rows, count_the, samples=12, seed=0)
    assert trained.writer.quantisation is None
    assert trained.writer.model.dtype == torch.float32


@pytest.mark.parametrize("kind", ["full", "adalora"])
def test_sft_names_what_learns_beside_few_bits(quantised, rows, kind):
    with pytest.raises(UserError, match=f"sft.peft.kind is {kind}, but weights of few bits"):
        finetune(quantised(), TEXTS, rows, peft=PeftChoice(kind=kind), steps=1, seed=0)


def test_ppo_names_what_learns_beside_few_bits(quantised, rows):
    with pytest.raises(UserError, match="tune is full, but weights of few bits"):
        PPO(batch=12, tune="full").train(quantised(), rows, count_the, samples=12, seed=0)
