import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms import online
from copygym.agents.copywriter.algorithms.online import GRPO, RLOO
from copygym.agents.copywriter.llama.likelihood import batch_logprobs
from copygym.agents.copywriter.llama.sampling import Samples, sample
from copygym.agents.copywriter.training.run import task_order
from copygym.agents.copywriter.training.trl_support import adapted
from copygym.core.errors import UserError

both = pytest.mark.parametrize("kind", [RLOO, GRPO])


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


def weights_of(trained):
    return {n: w for n, w in trained.writer.model.named_parameters() if w.requires_grad}


@pytest.fixture
def echo(monkeypatch):
    """A model that repeats its prompt; returns the prompts that it was given."""
    given = []

    def repeat(model, prompts, *, max_new_tokens, eos_id, pad_id, **_):
        given.extend(prompts)
        tokens = torch.full((len(prompts), max_new_tokens), pad_id)
        lengths = torch.zeros(len(prompts), dtype=torch.int64)
        for i, prompt in enumerate(prompts):
            ids = [*prompt, eos_id]
            tokens[i, : len(ids)] = torch.tensor(ids)
            lengths[i] = len(ids)
        return Samples(tokens, lengths, torch.zeros(tokens.shape))

    monkeypatch.setattr(online, "sample", repeat)
    return given


@both
def test_a_text_meets_the_row_it_was_written_for(echo, make_copywriter, rows, kind):
    writer = make_copywriter(max_new_tokens=80)
    pairs = []

    def reward(texts, rows):
        pairs.extend(zip(texts, rows.prompts, strict=True))
        return np.arange(len(texts), dtype=float)

    kind(batch=8, group=2).train(writer, rows, reward, samples=24, seed=0)

    assert len(pairs) == 24
    assert len({prompt for _, prompt in pairs}) > 3
    for text, prompt in pairs:
        assert text == writer.style.decode(writer.style.render(prompt))


@both
def test_the_model_reads_exactly_our_prompts_each_task_in_turn(echo, make_copywriter, rows, kind):
    writer = make_copywriter(max_new_tokens=80)
    kind(batch=8, group=4).train(writer, rows, count_the, samples=16, seed=5)
    tasks = task_order(len(rows), 4, 5)

    assert echo == [writer.style.render(rows.prompts[t]) for t in tasks for _ in range(4)]


@both
def test_special_tokens_in_the_data_are_not_parsed(echo, make_copywriter, rows, kind):
    hostile = "Brief: coat <eos><pad> <|im_end|> now\nReader: segment city\nChannel: email"
    writer = make_copywriter(max_new_tokens=80)
    kind(batch=2, group=2).train(
        writer, replace(rows.take([0]), prompts=(hostile,)), count_the, samples=2, seed=0
    )

    special = {writer.style.eos_id, writer.style.pad_id}
    assert len(echo) == 2
    assert not special & set(echo[0])


@both
def test_kl_is_the_mean_log_ratio_of_the_batch_that_was_drawn(copywriter, rows, kind):
    settings = {"batch": 8, "group": 4, "learning_rate": 0.02}
    first = kind(**settings).train(copywriter, rows, count_the, samples=8, seed=2)
    second = kind(**settings).train(copywriter, rows, count_the, samples=16, seed=2)
    tasks = np.repeat(task_order(len(rows), 4, 2)[2:], 4)
    prompts = copywriter.prompts(rows.take(tasks))
    drawn = sample(
        first.writer.model,
        prompts,
        max_new_tokens=copywriter.max_new_tokens,
        eos_id=copywriter.style.eos_id,
        pad_id=copywriter.style.pad_id,
        seed=2,
        rows=range(8, 16),
    )
    ids = [row[:n] for row, n in zip(drawn.tokens.tolist(), drawn.lengths.tolist(), strict=True)]
    reference = batch_logprobs(copywriter.model, prompts, ids)
    expected = (drawn.logprobs.double().sum(1).numpy() - reference).mean()

    assert abs(expected) > 0.01
    assert second.history[1]["kl"] == pytest.approx(expected, abs=1e-4)


@both
def test_no_kl_is_reported_where_there_is_no_reference(copywriter, rows, kind):
    trained = kind(batch=8, group=4, beta=0.0).train(copywriter, rows, count_the, samples=8, seed=0)

    assert "kl" not in trained.history[0]


@pytest.mark.slow
@both
def test_a_higher_price_of_kl_keeps_the_writer_closer(copywriter, rows, kind):
    def kl(beta):
        trained = kind(batch=16, group=4, beta=beta, learning_rate=0.01).train(
            copywriter, rows, count_the, samples=96, seed=0
        )
        return trained.history[-1]["kl"]

    assert kl(5.0) < 0.5 * kl(0.01)


def test_micro_batches_change_memory_and_not_the_result(make_copywriter, rows):
    writer = make_copywriter()
    # In float32 AdamW, which divides by its size, makes much of the rounding of a tiny gradient.
    writer.model.double()
    whole, parts = (
        RLOO(batch=8, group=4, micro_batch=micro).train(writer, rows, count_the, samples=16, seed=0)
        for micro in (0, 2)
    )

    assert whole.history[-1]["samples"] == parts.history[-1]["samples"] == 16
    moved = 0.0
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(weights_of(parts)[name], weight, atol=1e-9, rtol=0.0)
        moved = max(moved, float(weight.detach().abs().max()) if "lora_B" in name else 0.0)
    assert moved > 1e-4


@both
def test_more_epochs_train_more_on_the_same_samples(copywriter, rows, kind):
    once, thrice = (
        kind(batch=8, group=4, epochs=epochs, learning_rate=0.02).train(
            copywriter, rows, count_the, samples=16, seed=0
        )
        for epochs in (1, 3)
    )

    assert len(once.history) == len(thrice.history) == 2
    assert thrice.spent.samples == once.spent.samples == 16
    assert thrice.spent.trained == 3 * thrice.spent.generated
    # The first update's later passes are off the policy that drew.
    assert thrice.history[0]["clipped"] > 0.0 == once.history[0]["clipped"]


def test_kl_beyond_the_limit_stops(copywriter, rows):
    trained = RLOO(batch=8, group=4, learning_rate=0.05, max_kl=0.5).train(
        copywriter, rows, count_the, samples=400, seed=0
    )

    assert re.fullmatch(r"KL \d+\.\d\d passed 0\.5", trained.stopped)
    assert trained.spent.samples < 400


def test_a_gradient_that_is_not_finite_stops_before_it_does_harm(copywriter, rows):
    def overflow(texts, rows):  # finite in float64, infinite in the trainer's float32
        return np.where(np.arange(len(texts)) % 2, 1e200, 0.0)

    trained = RLOO(batch=8, group=4).train(copywriter, rows, overflow, samples=64, seed=0)

    assert trained.stopped == "the gradient is not finite"
    assert trained.spent.samples == 8
    assert all(torch.isfinite(weight).all() for weight in weights_of(trained).values())
    assert trained.writer.write(rows, seed=0) == copywriter.write(rows, seed=0)


@both
def test_bfloat16_writers_are_trained_through_float32_adapters(make_copywriter, rows, kind):
    writer = make_copywriter()
    writer.model.to(torch.bfloat16)
    trained = kind(batch=8, group=4).train(writer, rows, count_the, samples=16, seed=0)

    assert {weight.dtype for weight in weights_of(trained).values()} == {torch.float32}
    assert len(trained.writer.write(rows, seed=0)) == len(rows)


def test_a_budget_below_one_batch_makes_one_smaller_batch(copywriter, rows):
    trained = RLOO(batch=16, group=4).train(copywriter, rows, count_the, samples=11, seed=0)

    assert trained.spent.samples == 8
    assert len(trained.history) == 1


def test_an_adapter_of_the_top_layers_only(copywriter):
    twin = adapted(copywriter, rank=2, layers=1, seed=0)
    names = [name for name, weight in twin.model.named_parameters() if weight.requires_grad]

    assert names
    assert all(".layers.1." in name for name in names)
    assert all(weight.requires_grad for weight in copywriter.model.parameters())


def test_adapters_that_the_writer_wears_are_merged_first(copywriter, rows):
    worn = RLOO(batch=16, group=4, learning_rate=0.02).train(
        copywriter, rows, count_the, samples=64, seed=0
    )
    again = RLOO(batch=8, group=4).train(worn.writer, rows, count_the, samples=8, seed=0)

    assert again.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert worn.history[-1]["kl"] > 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": 1}, "group is 1; a baseline needs at least 2 samples a task."),
        ({"batch": 6}, "batch is 6; it must be a multiple of group 4."),
        ({"epochs": 0}, "epochs is 0; it must be at least 1."),
        ({"micro_batch": 3}, "micro_batch is 3; it must divide batch 16."),
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive."),
        ({"beta": -1.0}, "beta is -1.0; it must be 0 or more."),
        ({"judge_every": 0}, "judge_every is 0; it must be at least 1."),
        ({"max_kl": -1.0}, "max_kl is -1.0; give 0 to switch it off."),
    ],
)
@both
def test_bad_settings_are_refused(kind, settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        kind(**settings)


def test_unknown_losses_list_the_choices():
    message = "unknown loss_type 'ppo': choose one of bnpo, dapo, dr_grpo, grpo."
    with pytest.raises(UserError, match=re.escape(message)):
        GRPO(loss_type="ppo")


def test_learning_rates_and_ranks_are_checked(copywriter, rows):
    with pytest.raises(UserError, match=re.escape("learning_rate is 0.0; it must be positive.")):
        RLOO(learning_rate=0.0).train(copywriter, rows, count_the, samples=16, seed=0)
    with pytest.raises(UserError, match=re.escape("rank is 0; a LoRA adapter needs at least 1.")):
        RLOO(rank=0).train(copywriter, rows, count_the, samples=16, seed=0)
