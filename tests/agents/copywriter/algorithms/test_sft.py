"""Fine-tuning: it learns the copy, goes on where it was stopped, and fails without a trace."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from copygym.agents.copywriter.algorithms.sft.algorithm import SFT
from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune
from copygym.agents.copywriter.algorithms.sft.losses import (
    dropped,
    packed_losses,
    response_losses,
)
from copygym.agents.copywriter.algorithms.sft.plan import hold_out, order_of
from copygym.agents.copywriter.algorithms.sft.trainer import parts
from copygym.agents.copywriter.llama.adapters import fast_path, peft_changes
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


CARE = {"dropout": 0.2, "weight_decay": 0.1}

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
    # A prefix, far from the copy it changes, needs tenfold steps.
    lr = 0.2 if peft.kind == "prefix" else 2e-2
    _, losses = tune(writer, rows, peft=peft, steps=12, lr=lr)
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


@pytest.fixture
def adapted(make_copywriter, rows):
    """A model whose adapters do something, its trunk and rows of padded tokens and labels."""
    writer = make_copywriter(seed=1)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(writer.model, config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    responses = [writer.style.response_ids(text) for text in TEXTS]
    ids, mask, picked = right_padded(writer.prompts(rows), responses)
    lm = fast_path(model)
    return model, LlamaTrunk(lm), lm, ids, mask, ids.masked_fill(~picked, -100)


def test_the_packed_losses_and_their_gradients_are_transformers_own(adapted):
    model, trunk, lm, ids, mask, labels = adapted
    trained = [w for w in model.parameters() if w.requires_grad]
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    expected = torch.autograd.grad(loss, trained)
    packed = packed_losses(trunk, peft_changes(lm, trunk.dtype), *parts(ids, labels)).mean()
    found = torch.autograd.grad(packed, trained)
    assert float(packed.detach()) == pytest.approx(float(loss.detach()), abs=1e-5)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frozen", [0, 1])
def test_without_a_gradient_through_prompts_the_losses_are_the_same(adapted, frozen):
    _, trunk, lm, ids, _, labels = adapted
    changes = peft_changes(lm, trunk.dtype)
    if frozen:
        changes[0] = {}
    prompts, responses = parts(ids, labels)
    # Some texts share a prompt, which is read once.
    prompts[3] = prompts[5] = prompts[0]
    expected = packed_losses(trunk, changes, prompts, responses)
    found = response_losses(trunk, changes, prompts, responses, frozen)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_gradient_that_is_left_is_that_of_the_responses(adapted):
    model, trunk, lm, ids, _, labels = adapted
    prompts, responses = parts(ids, labels)
    trained = [w for w in model.parameters() if w.requires_grad]
    changes = peft_changes(lm, trunk.dtype)
    found = torch.autograd.grad(response_losses(trunk, changes, prompts, responses).mean(), trained)
    # The model's own forward, whose prompts are read without a gradient.
    total = torch.zeros(())
    for prompt, response in zip(prompts, responses, strict=True):
        with torch.no_grad():
            cache = model(input_ids=torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
        states = torch.tensor([[prompt[-1], *response[:-1]]])
        logits = model(input_ids=states, past_key_values=cache).logits[0]
        total = total + torch.nn.functional.cross_entropy(
            logits, torch.tensor(response), reduction="sum"
        )
    expected = torch.autograd.grad(total / sum(map(len, responses)), trained)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_dropout_leaves_out_the_same_inputs_for_a_seed_and_keeps_their_mean(adapted):
    _, trunk, lm, *_ = adapted
    changes = peft_changes(lm, trunk.dtype)
    assert dropped(changes, 0.0, 1) == changes
    down = changes[0]["qkv"][0]
    draws = [dropped(changes, 0.25, seed)[0]["qkv"][0] for seed in range(200)]
    assert torch.equal(draws[3], dropped(changes, 0.25, 3)[0]["qkv"][0])
    assert not torch.equal(draws[3], draws[4])
    out = (draws[3] == 0).all(dim=0)
    torch.testing.assert_close(draws[3][:, ~out], down[:, ~out] / 0.75)
    torch.testing.assert_close(torch.stack(draws).mean(0), down, atol=0.02, rtol=0.25)


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
        UserError, match=re.escape("unknown peft kind 'loro' (did you mean 'lora'?): choose one of")
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


# ---------------------------------------------------------------- when to stop


def test_what_is_held_out_are_whole_briefs(rows):
    assert len(set(rows.briefs)) == 3
    # Of few briefs each is needed: texts are held out instead.
    learned, held = hold_out(TEXTS, rows, 0.1, seed=0)
    assert {TEXTS[i] for i in learned}.isdisjoint({TEXTS[i] for i in held})
    assert sorted([*learned, *held]) == list(range(12))
    many = replace(rows, briefs=tuple(f"brief {i % 6}" for i in range(12)))
    texts = [f"text {i}" for i in range(12)]
    learned, held = hold_out(texts, many, 0.2, seed=0)
    assert {many.briefs[i] for i in learned}.isdisjoint({many.briefs[i] for i in held})
    assert len(held) == 4  # two briefs of two texts: the least that is a fifth
    assert not np.array_equal(held, hold_out(texts, many, 0.2, seed=1)[1])


def test_little_copy_is_all_learned(rows):
    for share, texts in ((0.0, TEXTS), (0.5, ["fresh coffee"] * 12)):
        learned, held = hold_out(texts, rows, share, seed=0)
        assert (len(learned), len(held)) == (12, 0)
    learned, held = hold_out(["a", "b"] * 6, rows, 0.5, seed=0)
    assert (len(learned), len(held)) == (6, 6)


def test_texts_share_a_prompt_only_with_their_like(rows):
    tasks = replace(
        rows,
        briefs=("coat",) * 6 + ("coffee",) * 6,
        channels=("email",) * 12,
        audience=np.array([1, 1, 1, 2, 2, 2] * 2),
    )
    texts = ["a", "b", "a", "c", "d", "e", "f", "g", "h", "i", "i", "i"]
    text, prompt = order_of(texts, tasks, 24, 2, seed=0)
    assert len(text) == len(prompt) == 24
    # Every demonstration is learned as often as ever: once in each of the two rounds.
    assert np.bincount(text).tolist() == [2] * 12
    for i, j in zip(text, prompt, strict=True):
        assert (tasks.briefs[i], tasks.audience[i]) == (tasks.briefs[j], tasks.audience[j])
    groups = np.split(np.arange(12), np.flatnonzero(np.diff(prompt[:12])) + 1)
    assert max(map(len, groups)) == 2
    assert all(len({texts[text[i]] for i in g}) == len(g) for g in groups)
    # Without audiences nothing says that two readers want the same: prompts must be equal.
    _, alone = order_of(texts, rows, 12, 2, seed=0)
    assert len(set(alone)) == len(set(rows.prompts))
    text, prompt = order_of(texts, tasks, 12, 1, seed=0)
    assert np.array_equal(text, prompt)


@every_kind
def test_the_weights_that_foretell_held_out_copy_best_come_back(make_copywriter, rows, peft):
    # So fast that it learns its texts by heart, and then forgets everything else.
    options = {"held_out": 0.3, "judge_every": 1, "patience": 3, "learning_rate": 0.1}
    run = SFT(batch=4, peft=peft, **options).train(
        make_copywriter(seed=1), rows, Demonstrations(TEXTS), samples=400, seed=3
    )
    curve = [line["held_out"] for line in run.history]
    assert "held-out copy" in run.stopped
    assert len(curve) < 100
    assert run.info["held_out"] == pytest.approx(max([*curve, run.info["held_out"]]))
    _, held = hold_out(TEXTS, rows, 0.3, 3)
    total, tokens = run.writer.logprobs([TEXTS[i] for i in held], rows.take(held))
    assert float((total / tokens).mean()) == pytest.approx(run.info["held_out"], abs=1e-3)


def test_a_stopped_training_with_care_goes_on_as_it_would_have(make_copywriter, rows, tmp_path):
    options = CARE | {"held_out": 0.3, "judge_every": 1, "save_every": 1, "prompt_gradient": False}
    for bf16 in (False, True):  # our losses, and the model's own forward
        own = options | {"bf16": bf16}
        whole = learn(make_copywriter(seed=1), rows, **own)
        kept = own | {"folder": tmp_path / str(bf16)}
        kept["folder"].mkdir()
        with pytest.raises(_Stop):
            learn(make_copywriter(seed=1), rows, **kept, on_progress=_stop_at(12))
        resumed = learn(make_copywriter(seed=1), rows, **kept)
        assert [line["loss"] for line in resumed.history] == [x["loss"] for x in whole.history]
        assert same_weights(weights(whole.writer), weights(resumed.writer))
        assert resumed.info == whole.info


def test_a_judge_looks_in_place_of_held_out_copy(make_copywriter, rows):
    run = SFT(batch=4, held_out=0.3, judge_every=1, patience=0).train(
        make_copywriter(seed=1), rows, Demonstrations(TEXTS), samples=8, seed=3,
        judge=lambda texts, rows: np.array([float(len(t)) for t in texts]),
        judge_rows=rows.take([0, 1]),
    )  # fmt: skip
    assert all("judge" in line and "held_out" not in line for line in run.history)
    assert set(run.info) == {"judge"}


def test_weight_decay_shrinks_what_is_trained(make_copywriter, rows):
    def size(**care):
        model = learn(make_copywriter(seed=1), rows, peft=PeftChoice("full"), **care).writer.model
        return sum(float(w.square().sum()) for w in model.parameters())

    assert size(weight_decay=1.0) < size()


def test_care_out_of_range_is_refused():
    for options, message in (
        ({"dropout": 1.0}, "sft.dropout is 1.0; it must lie in [0, 0.9]"),
        ({"held_out": 0.6}, "sft.held_out is 0.6"),
        ({"weight_decay": -1.0}, "sft.weight_decay is -1.0"),
        ({"texts_per_prompt": 0}, "sft.texts_per_prompt is 0"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            SFT(**options)
