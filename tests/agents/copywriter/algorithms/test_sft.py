"""Fine-tuning: it learns the copy, goes on where it was stopped, and fails without a trace."""

import re

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from copygym.agents.copywriter.algorithms.sft.algorithm import SFT
from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune
from copygym.agents.copywriter.algorithms.sft.trainer import packed_loss
from copygym.agents.copywriter.llama.adapters import fast_path
from copygym.agents.copywriter.llama.likelihood import right_padded
from copygym.agents.copywriter.llama.trunk import LlamaTrunk
from copygym.agents.copywriter.training.feedback import Demonstrations
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError

TEXTS = ["the best offer of the week", "fresh coffee", "see how people save time"] * 4

SETTINGS = {"steps": 5, "batch_size": 4, "lr": 1e-2, "seed": 3}


def weights(writer):
    return {name: w.detach().clone() for name, w in writer.model.named_parameters()}


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def tune(writer, rows, **options):
    """Fine-tune; return the bill and the losses."""
    losses = []
    spent = finetune(
        writer,
        TEXTS,
        rows,
        **SETTINGS | {"on_progress": lambda step, m: losses.append(m["loss"])} | options,
    )
    return spent, losses


#: The same as an algorithm: 5 updates of 4 texts.
ALGORITHM = {"batch": 4, "learning_rate": 1e-2}


def learn(writer, rows, texts=TEXTS, *, seed=3, folder=None, on_progress=None, **options):
    """Train by the algorithm."""
    return SFT(**ALGORITHM | options).train(
        writer, rows, Demonstrations(texts), samples=20, seed=seed, folder=folder,
        on_progress=on_progress,
    )  # fmt: skip


KINDS = [
    PeftChoice("lora", rank=4),
    PeftChoice("lora", rank=4, layers=1),
    PeftChoice("adalora", rank=4),
    PeftChoice("prefix", prefix_tokens=4),
    PeftChoice("full"),
]


@pytest.mark.parametrize("peft", KINDS, ids=lambda p: f"{p.kind}{p.layers or ''}")
def test_every_kind_learns_the_copy(make_copywriter, rows, peft):
    writer = make_copywriter(seed=1)
    before = writer.logprobs(TEXTS, rows)[0].mean()
    _, losses = tune(writer, rows, peft=peft, steps=12, lr=2e-2)
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert writer.logprobs(TEXTS, rows)[0].mean() > before + 1
    assert hasattr(writer.model, "peft_config") is (peft.kind == "prefix")
    assert not writer.model.training
    assert "forward" not in writer.model.__dict__


def test_only_the_top_layers_change(make_copywriter, rows):
    writer = make_copywriter(seed=1)
    before = weights(writer)
    tune(writer, rows, peft=PeftChoice("lora", rank=4, layers=1))
    changed = {name for name, w in weights(writer).items() if not torch.equal(w, before[name])}
    assert changed
    assert all(".layers.1." in name for name in changed)


def test_the_first_loss_is_the_models_own(make_copywriter, rows):
    writer = make_copywriter(seed=1)
    total, tokens = writer.logprobs(TEXTS, rows)
    expected = -total.sum() / tokens.sum()
    for peft in (PeftChoice("lora"), PeftChoice("full")):
        _, losses = tune(make_copywriter(seed=1), rows, peft=peft, batch_size=12, steps=1)
        assert losses[0] == pytest.approx(expected, abs=1e-4)


def test_packed_loss_and_gradients_are_transformers_own(make_copywriter, rows):
    writer = make_copywriter(seed=1)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(writer.model, config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    prompts = writer.prompts(rows)
    responses = [writer.style.response_ids(text) for text in TEXTS]
    ids, mask, picked = right_padded(prompts, responses)
    labels = ids.masked_fill(~picked, -100)
    trained = [w for w in model.parameters() if w.requires_grad]
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    expected = torch.autograd.grad(loss, trained)
    lm = fast_path(model)
    packed = packed_loss(LlamaTrunk(lm), lm, ids, labels)
    found = torch.autograd.grad(packed, trained)
    assert float(packed.detach()) == pytest.approx(float(loss.detach()), abs=1e-5)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_bill_counts_response_tokens(make_copywriter, rows):
    writer = make_copywriter(seed=1)
    tokens = [len(writer.style.response_ids(text, writer.max_new_tokens)) for text in TEXTS]
    spent, _ = tune(writer, rows, steps=2, batch_size=12)
    assert spent.trained == 2 * sum(tokens)
    assert spent.samples == spent.generated == 0
    assert spent.cpu_seconds > 0


def test_the_seed_fixes_the_weights(make_copywriter, rows):
    a, b, c = (make_copywriter(seed=1) for _ in range(3))
    tune(a, rows, steps=2)
    tune(b, rows, steps=2)
    tune(c, rows, steps=2, seed=4)
    assert same_weights(weights(a), weights(b))
    assert not same_weights(weights(a), weights(c))


class _Stop(Exception):
    """Stands for a killed process."""


def _stop_at(last):
    def stop(step, metrics):
        if step == last:
            raise _Stop

    return stop


every_kind = pytest.mark.parametrize("peft", KINDS, ids=lambda p: f"{p.kind}{p.layers or ''}")


@every_kind
def test_the_algorithm_is_the_function_with_a_history(make_copywriter, rows, peft):
    plain, start = make_copywriter(seed=1), make_copywriter(seed=1)
    before = weights(start)
    spent, losses = tune(plain, rows, peft=peft)
    used = []
    done = learn(start, rows, peft=peft, on_progress=lambda texts, line: used.append(texts))
    assert [line["loss"] for line in done.history] == losses
    assert same_weights(weights(done.writer), weights(plain))
    assert same_weights(weights(start), before)
    assert (done.spent.trained, done.spent.samples) == (spent.trained, 0)
    assert used == [4, 8, 12, 16, 20]
    assert done.stopped == "the budget is spent"


@every_kind
def test_an_interrupted_run_ends_as_an_uninterrupted_one(make_copywriter, rows, tmp_path, peft):
    whole = learn(make_copywriter(seed=1), rows, peft=peft)
    options = {"peft": peft, "folder": tmp_path, "save_every": 2}
    with pytest.raises(_Stop):
        learn(make_copywriter(seed=1), rows, **options, on_progress=_stop_at(12))
    used = []
    resumed = learn(
        make_copywriter(seed=1), rows, **options, on_progress=lambda texts, line: used.append(texts)
    )
    assert used == [12, 16, 20]
    assert [line["loss"] for line in resumed.history] == [line["loss"] for line in whole.history]
    assert same_weights(weights(whole.writer), weights(resumed.writer))
    assert resumed.spent.trained == whole.spent.trained
    # A finished run is not trained again.
    finished = learn(make_copywriter(seed=1), rows, **options, on_progress=_stop_at(0))
    assert same_weights(weights(whole.writer), weights(finished.writer))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("peft", KINDS[1:], ids=lambda p: f"{p.kind}{p.layers or ''}")
def test_a_failure_leaves_the_writer_as_it_was(make_copywriter, rows, peft):
    writer = make_copywriter(seed=1)
    before, text = weights(writer), writer.write(rows, seed=1)
    with pytest.raises(_Stop):
        tune(writer, rows, peft=peft, on_progress=_stop_at(2))
    assert same_weights(before, weights(writer))
    assert writer.write(rows, seed=1) == text
    assert all(weight.requires_grad for weight in writer.model.parameters())


def test_a_checkpoint_of_other_settings_is_refused(make_copywriter, rows, tmp_path):
    learn(make_copywriter(seed=1), rows, folder=tmp_path)
    for options, message in (
        ({"bf16": True}, "settings.bf16 was False and is now True"),
        ({"learning_rate": 2e-2}, "settings.learning_rate was 0.01 and is now 0.02"),
        ({"texts": TEXTS[::-1]}, "feedback was"),
        ({"peft": PeftChoice("full")}, "settings.peft was"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            learn(make_copywriter(seed=1), rows, folder=tmp_path, **options)
    with pytest.raises(UserError, match=re.escape("weights was")):
        learn(make_copywriter(seed=2), rows, folder=tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run(make_copywriter, rows, tmp_path):
    writer = make_copywriter(seed=1)
    writer.model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(UserError, match=re.escape("sft: the loss of step 1 is nan; lower sft.lr.")):
        learn(writer, rows, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_without_a_folder(make_copywriter, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tune(make_copywriter(seed=1), rows)
    assert list(tmp_path.iterdir()) == []


def test_global_generators_are_left_alone(make_copywriter, rows):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    tune(make_copywriter(seed=1), rows, steps=1)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


@pytest.mark.parametrize("peft", [PeftChoice("lora", rank=4), PeftChoice("full")])
def test_micro_batches_and_checkpointing_change_memory_and_not_the_result(
    make_copywriter, rows, peft
):
    # Rows of unlike length: a mean of the parts' means would be another number.
    whole = make_copywriter(seed=1)
    _, losses = tune(whole, rows, peft=peft)
    for options in ({"micro_batch": 1}, {"micro_batch": 2, "gradient_checkpointing": True}):
        other = make_copywriter(seed=1)
        _, found = tune(other, rows, peft=peft, **options)
        assert found == pytest.approx(losses, rel=1e-5)
        for name, weight in weights(whole).items():
            torch.testing.assert_close(weights(other)[name], weight, atol=1e-4, rtol=1e-3)
    assert not other.model.is_gradient_checkpointing


def test_bf16_computes_coarser_and_trains_float32(make_copywriter, rows):
    plain, coarse = make_copywriter(seed=1), make_copywriter(seed=1)
    _, losses = tune(plain, rows)
    _, found = tune(coarse, rows, bf16=True)
    assert found == pytest.approx(losses, rel=2e-2)
    assert found != losses
    assert coarse.model.dtype == torch.float32


def test_a_bf16_writer_keeps_its_dtype_and_learns_small_steps(make_copywriter, rows):
    writer = make_copywriter(seed=1)
    writer.model.to(torch.bfloat16)
    before = weights(writer)
    tune(writer, rows, peft=PeftChoice("full"), lr=1e-3, steps=10)
    assert writer.model.dtype == torch.bfloat16
    assert not same_weights(before, weights(writer))


def test_a_tuned_writer_is_saved_whole(make_copywriter, rows, tmp_path):
    make_copywriter(seed=1).save(tmp_path / "base")
    writer = Copywriter.load(tmp_path / "base")
    tune(writer, rows)
    writer.save(tmp_path / "tuned")
    loaded = Copywriter.load(tmp_path / "tuned")
    assert loaded.write(rows, seed=1) == writer.write(rows, seed=1)


def test_a_prefix_keeps_its_base(make_copywriter, rows, tmp_path):
    make_copywriter(seed=1).save(tmp_path / "base")
    writer = Copywriter.load(tmp_path / "base")
    tune(writer, rows, peft=PeftChoice("prefix", prefix_tokens=4))
    assert writer.base == str(tmp_path / "base")
    with pytest.raises(UserError, match="prefix tuning"):
        tune(writer, rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "sft.steps is 0"),
        ({"batch_size": 0}, "sft.batch_size is 0"),
        ({"lr": -1.0}, "sft.lr is -1.0"),
        ({"micro_batch": 3}, "sft.micro_batch is 3; it must divide the 4 rows"),
    ],
)
def test_settings_out_of_range_are_named(copywriter, rows, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        tune(copywriter, rows, **options)


def test_settings_of_the_algorithm_are_checked_before_anything_is_computed():
    for options, message in (
        ({"batch": 0}, "sft.batch_size is 0"),
        ({"batch": 4, "micro_batch": 3}, "sft.micro_batch is 3"),
        ({"max_kl": 1.0}, "max_kl is 1, but SFT writes no texts"),
        ({"save_every": 0}, "save_every is 0"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            SFT(**options)


def test_choices_out_of_range_are_named():
    with pytest.raises(
        UserError, match=re.escape("unknown peft kind 'loro': choose one of adalora")
    ):
        PeftChoice("loro")
    with pytest.raises(UserError, match=re.escape("peft.rank is 0")):
        PeftChoice(rank=0)


def test_empty_input_is_refused(copywriter, rows):
    with pytest.raises(UserError, match="there is no copy to fine-tune on"):
        finetune(copywriter, [], rows.take([]), seed=0)
    with pytest.raises(UserError, match="the text of row 1 is empty"):
        finetune(copywriter, ["a", " "], rows.take([0, 1]), seed=0)


@pytest.mark.parametrize("peft", [PeftChoice("lora", rank=4, layers=1), PeftChoice("full")])
def test_other_architectures_are_fine_tuned_too(gpt2, rows, peft):
    _, losses = tune(gpt2, rows, peft=peft, steps=12, lr=2e-2)
    assert losses[-1] < losses[0]
