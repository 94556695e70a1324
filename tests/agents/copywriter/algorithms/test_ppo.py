import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms.ppo import trainer
from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO, copy_vocabulary
from copygym.agents.copywriter.algorithms.ppo.guards import Streak, collapse, stumbles
from copygym.agents.copywriter.algorithms.ppo.trainer import METRICS
from copygym.agents.copywriter.training.algorithm import make_algorithm
from copygym.core.errors import UserError

#: Most texts of a writer that nobody trained are cut off, and it is asked to repeat a word: what
#: keeps language is off.
SMALL = {
    "batch": 8, "epochs": 2, "rank": 2, "judge_every": 2, "save_every": 1,
    "missing_eos_penalty": 0.0, "max_fluency_loss": 0.0,
}  # fmt: skip


def coffee(texts, rows):
    """The share of a text's words that are "coffee"."""
    share = np.array([text.split().count("coffee") / max(1, len(text.split())) for text in texts])
    return share, {"word": share}


def train(writer, rows, reward=coffee, samples=32, seed=0, options=None, **more):
    return PPO(**{**SMALL, **(options or {})}).train(
        writer, rows, reward, samples=samples, seed=seed, **more
    )


def weights(trained):
    return {
        name: value for name, value in trained.writer.model.named_parameters() if "lora" in name
    }


def timeless(history):
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in history]


@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_ppo_learns_to_write_a_word(copywriter, rows, prompt_gradient):
    options = {"batch": 32, "epochs": 4, "kl_coef": 0.01, "rank": 8, "learning_rate": 2e-3}
    options["prompt_gradient"] = prompt_gradient
    done = train(copywriter, rows, samples=640, options=options)
    first, last = done.history[0]["reward"], np.mean([h["reward"] for h in done.history[-3:]])
    assert first < 0.1
    assert last > 0.4
    written = np.mean(coffee(done.writer.write(rows, seed=9, samples=8), None)[0])
    assert written > 0.4
    assert done.history[-1]["kl_k3"] > 1.0


def test_a_higher_price_of_kl_keeps_the_writer_closer(copywriter, rows):
    kl = {}
    for price in (0.0, 1.0):
        options = {"batch": 32, "epochs": 4, "kl_coef": price, "rank": 8, "learning_rate": 2e-3}
        kl[price] = train(copywriter, rows, samples=256, options=options).history[-1]["kl_k3"]
    assert kl[1.0] < 0.5 * kl[0.0]


def test_each_text_is_scored_with_its_own_task(copywriter, rows):
    seen = []

    def reward(texts, tasks):
        assert len(texts) == len(tasks)
        seen.extend(zip(tasks.user.tolist(), tasks.prompts, texts, strict=True))
        return tasks.user.astype(float)

    done = train(copywriter, rows, reward, samples=32)
    assert [prompt for user, prompt, _ in seen] == [rows.prompts[user] for user, _, _ in seen]
    # Every task once before any comes twice.
    assert sorted(user for user, _, _ in seen[:12]) == list(range(12))
    users = [user for user, _, _ in seen]
    assert [h["reward"] for h in done.history] == [
        pytest.approx(np.mean(users[i : i + 8])) for i in range(0, 32, 8)
    ]
    assert {(e["prompt"], e["text"]) for e in done.examples} <= {(p, t) for _, p, t in seen}


def test_training_leaves_the_writer_alone_and_is_fixed_by_its_seed(copywriter, rows):
    before = {name: value.clone() for name, value in copywriter.model.state_dict().items()}
    one, two = train(copywriter, rows), train(copywriter, rows)
    other = train(copywriter, rows, seed=1)
    assert timeless(one.history) == timeless(two.history)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name])
    assert timeless(one.history) != timeless(other.history)
    for name, value in copywriter.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    "options",
    [
        {"kl_control": "adaptive", "kl_horizon": 40, "decay": True},
        {"minibatches": 2, "micro_batch": 3, "layers": 1},
        {"minibatches": 2, "micro_batch": 3, "layers": 1, "prompt_gradient": False},
        {"tune": "full"},
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(copywriter, rows, tmp_path, options):
    judge = {"judge": coffee, "judge_rows": rows}
    whole = train(copywriter, rows, options=options, **judge)
    calls = []

    def interrupt(samples, line):
        calls.append(samples)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(copywriter, rows, options=options, folder=tmp_path, on_progress=interrupt, **judge)
    resumed = train(copywriter, rows, options=options, folder=tmp_path, **judge)
    assert timeless(resumed.history) == timeless(whole.history)
    assert len(resumed.history) == 4
    theirs = dict(resumed.writer.model.named_parameters())
    for name, value in whole.writer.model.named_parameters():
        assert torch.equal(value, theirs[name])
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_gradient_checkpointing_changes_memory_and_not_the_result(copywriter, rows, tune):
    options = {"tune": tune, "layers": 1} if tune == "full" else {"prompt_gradient": False}
    whole, again = (
        train(copywriter, rows, options={**options, "gradient_checkpointing": on})
        for on in (False, True)
    )
    for one, other in zip(timeless(whole.history), timeless(again.history), strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_gradient_checkpointing_computes_layers_twice(copywriter, rows, monkeypatch):
    from copygym.agents.copywriter.llama.trunk import LlamaTrunk

    through, calls = LlamaTrunk._through, []

    def count(self, *parts):
        calls.append(parts[1])
        return through(self, *parts)

    monkeypatch.setattr(LlamaTrunk, "_through", count)
    train(copywriter, rows, samples=8)
    once = len(calls)
    train(copywriter, rows, samples=8, options={"gradient_checkpointing": True})
    # Two epochs through two layers, again in each backward pass.
    assert len(calls) - once == once + 4


def test_bf16_halves_what_is_frozen(copywriter, rows):
    plain, coarse = train(copywriter, rows), train(copywriter, rows, options={"bf16": True})
    assert copywriter.model.dtype == torch.float32
    assert coarse.writer.model.get_base_model().model.embed_tokens.weight.dtype == torch.bfloat16
    first, other = plain.history[0], coarse.history[0]
    assert other["entropy"] == pytest.approx(first["entropy"], rel=2e-2)


def test_a_checkpoint_of_other_settings_is_refused(copywriter, rows, tmp_path):
    train(copywriter, rows, folder=tmp_path)
    with pytest.raises(UserError, match=re.escape("clip was 0.2 and is now 0.1")):
        train(copywriter, rows, folder=tmp_path, options={"clip": 0.1})


def test_every_metric_is_documented(copywriter, rows):
    line = train(copywriter, rows, samples=8).history[0]
    of_the_run = {"samples", "generated", "trained", "cpu_seconds", "reward", "reward/word"}
    assert set(line) == of_the_run | set(METRICS)
    assert line["kl_k1"] == line["kl_k3"] == 0.0
    assert 0 < line["entropy"] < np.log(len(copywriter.tokenizer))


@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_the_first_epochs_ratio_is_one_in_bfloat16(make_copywriter, rows, prompt_gradient):
    writer = make_copywriter(hidden=64)
    writer.model.bfloat16()
    options = {"epochs": 1, "prompt_gradient": prompt_gradient}
    line = train(writer, rows, samples=8, options=options).history[0]
    assert line["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert line["approx_kl"] == 0.0
    assert line["kl_k1"] == 0.0


def test_the_budget_is_kept_and_accounted_for(copywriter, rows):
    done = train(copywriter, rows, samples=30)
    assert done.spent.samples == 24
    assert done.spent.generated == sum(h["length"] * 8 for h in done.history)
    assert done.spent.trained == 2 * done.spent.generated
    small = train(copywriter, rows, samples=5)
    assert small.spent.samples == 5


def test_a_missing_end_costs_its_penalty(copywriter, rows):
    plain, fined = (
        train(copywriter, rows, lambda texts, _: np.zeros(len(texts)), samples=64,
              options={"missing_eos_penalty": penalty, "value_clip": 0.0, "batch": 64})
        for penalty in (0.0, 2.0)
    )  # fmt: skip
    share = plain.history[0]["ended"]
    assert 0 < share < 1
    assert plain.history[0]["score_std"] == 0.0
    assert fined.history[0]["score_std"] == pytest.approx(2 * (share * (1 - share)) ** 0.5)
    assert fined.history[0]["reward"] == 0.0


def test_kl_beyond_its_bound_stops_training(copywriter, rows):
    options = {"batch": 32, "epochs": 4, "learning_rate": 2e-2, "kl_coef": 0.0, "max_kl": 1.0}
    done = train(copywriter, rows, samples=640, options=options)
    assert "passed 1" in done.stopped
    assert len(done.history) < 20


def test_the_judge_keeps_the_best_writer_and_stops_a_hacked_reward(copywriter, rows):
    def judge(texts, tasks):
        return -coffee(texts, tasks)[0]

    options = {"batch": 32, "epochs": 4, "learning_rate": 2e-3, "kl_coef": 0.0, "patience": 2,
               "judge_every": 3, "rank": 8}  # fmt: skip
    done = train(copywriter, rows, samples=1280, options=options, judge=judge, judge_rows=rows)
    assert "judge" in done.stopped
    assert len(done.history) < 40
    best = max([h["judge"] for h in done.history if "judge" in h] + [done.info["judge"]])
    assert done.info["judge"] == best
    kept = -coffee(done.writer.write(rows, seed=90_001), None)[0].mean()
    assert kept == pytest.approx(best)


def test_the_judge_is_sure_before_it_counts_a_fall():
    from copygym.agents.copywriter.training.run import fell

    best = np.array([1.0, 2.0, 3.0, 4.0])
    # Differences 1, 0, 1, 0: mean 0.5, standard error (1/3) ** 0.5 / 2 = 0.289.
    scores = best - np.array([1.0, 0.0, 1.0, 0.0])
    assert fell(scores, best, 1.7)
    assert not fell(scores, best, 1.8)
    assert not fell(best, best, 1.0)
    assert not fell(best + 1, best, 1.0)


def test_a_gradient_that_is_not_finite_is_skipped_and_then_stops(copywriter, rows, monkeypatch):
    from copygym.agents.copywriter.algorithms.ppo import trainer as ppo_trainer

    true_gae, calls = ppo_trainer.gae, []

    def broken(*arguments, **options):
        advantages, returns = true_gae(*arguments, **options)
        calls.append(1)
        return advantages, returns * (float("nan") if len(calls) in (2, 4, 5, 6) else 1.0)

    monkeypatch.setattr(ppo_trainer, "gae", broken)
    done = train(copywriter, rows, samples=80, options={"max_bad_steps": 4})
    assert [h["skipped"] for h in done.history] == [0, 2, 0, 2, 2]
    assert done.stopped.startswith("loss or gradient was not finite in 4 steps in a row")
    assert all(torch.isfinite(value).all() for value in weights(done).values())


def test_a_collapsed_writer_stops_training(copywriter, rows):
    options = {"collapse_patience": 2, "min_entropy": 100.0}
    done = train(copywriter, rows, samples=80, options=options)
    assert done.stopped.startswith("the writer collapsed: the entropy fell to ")
    assert done.stopped.endswith("for 2 updates in a row; raise kl_coef or lower the learning rate")
    assert len(done.history) == 2


def test_a_batch_that_sft_would_not_write_ends_training_and_is_not_kept(copywriter, rows):
    # Any loss of fluency is too much, and the judge likes each look better than the one before.
    looks = iter(range(100))
    options = {"max_fluency_loss": 1e-9, "collapse_patience": 2, "learning_rate": 0.05}
    done = train(
        copywriter, rows, samples=160, options=options | {"judge_every": 1},
        judge=lambda texts, rows: np.full(len(texts), float(next(looks))), judge_rows=rows,
    )  # fmt: skip
    assert "nats per token under the starting writer, whose own have" in done.stopped
    sound = [line["sound"] for line in done.history]
    assert sound[0] == 1.0
    assert sound[-2:] == [0.0, 0.0]
    # Look 0 is before the first update, and look k after the k-th.
    assert done.info["judge"] == max(k for k, s in enumerate(sound, 1) if s)
    plain = train(copywriter, rows, samples=160, options=options | {"max_fluency_loss": 0.0})
    assert plain.stopped == "the budget is spent"


def test_fluency_is_the_starting_writers_opinion(copywriter, rows):
    first = train(copywriter, rows, samples=8).history[0]
    # Before any update it is the writer's own: minus the entropy, in expectation.
    assert first["fluency"] == pytest.approx(-first["entropy"], abs=0.5)
    assert first["kl_k1"] == pytest.approx(0.0, abs=1e-3)


def test_a_loss_of_fluency_by_hand():
    assert stumbles(-2.4, -2.0, 0.5) == ""
    assert stumbles(-9.0, -2.0, 0.0) == ""
    assert "-2.60 nats per token" in stumbles(-2.6, -2.0, 0.5)


def test_a_text_without_an_end_scores_below_all_that_have_one(copywriter, rows):
    kept = []
    rollout = trainer.CopyPPOTrainer.rollout

    def watched(self, update):
        kept.append(rollout(self, update))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.CopyPPOTrainer, "rollout", watched)
        # The longest win, so that those that were cut off would.
        train(
            copywriter, rows, lambda texts, rows: np.array([float(len(t)) for t in texts]),
            samples=64, options={"batch": 64, "missing_eos_penalty": None},
        )  # fmt: skip
    scores, ended = kept[0].scores_B.numpy(), kept[0].ended_B.numpy()
    assert 0 < ended.sum() < 64
    assert scores[~ended].max() < scores[ended].min()
    style = copywriter.style
    for response, whole in zip(kept[0].texts.responses, ended, strict=True):
        assert whole == style.is_whole(response)


def test_a_special_token_inside_makes_a_text_no_copy(copywriter):
    style, tokenizer = copywriter.style, copywriter.tokenizer
    ids = style.response_ids("fresh coffee")
    assert style.is_whole(ids)
    assert not style.is_whole(ids[:-1])
    assert not style.is_whole([ids[0], tokenizer.pad_token_id, *ids[1:]])
    assert not style.is_whole([])
    # The words alone don't tell.
    assert style.decode([ids[0], tokenizer.pad_token_id, *ids[1:]]) == style.decode(ids)


def test_collapse_by_hand():
    assert collapse(["a", "b"], 1.0, 0.1) == ""
    assert collapse(["a", "a"], 1.0, 0.1) == "all 2 texts are alike ('a')"
    assert collapse(["", " "], 1.0, 0.1) == "2 of 2 texts are empty"
    assert collapse(["a", "b"], 0.01, 0.1) == "the entropy fell to 0.0100 nats per token"
    streak = Streak(2)
    assert [streak.broken(bad) for bad in (True, False, True, True)] == [False, False, False, True]
    assert not any(Streak(0).broken(True) for _ in range(9))


def test_the_vocabulary_of_copy(copywriter, rows):
    options = {"vocabulary": "copy", "copy_texts": ["fresh coffee now"]}
    done = train(copywriter, rows, options=options)
    allowed = set(copy_vocabulary(copywriter, ["fresh coffee now", *rows.briefs]))
    assert set(done.writer.vocabulary) == allowed
    words = set(" ".join(done.writer.write(rows, seed=0, samples=4)).split())
    # A text may also hold what its own brief does, in any case.
    allowed = allowed.union(*done.writer.added_tokens(rows))
    spelled = {copywriter.tokenizer.decode([token]) for token in allowed}
    assert words <= spelled
    assert "fresh" in words


@pytest.mark.parametrize(("vocabulary", "fixed"), [("copy", False), ([5, 7, 9], True)])
def test_tokens_that_somebody_chose_are_all_that_may_be_written(
    copywriter, rows, vocabulary, fixed
):
    options = {"vocabulary": vocabulary, "copy_texts": ["fresh coffee now"]}
    writer = train(copywriter, rows, options=options).writer
    assert writer.fixed_vocabulary is fixed
    assert (writer.added_tokens(rows) is None) is fixed


def test_adapted_price_moves_towards_its_target(copywriter, rows):
    options = {"kl_control": "adaptive", "kl_target": 5.0, "kl_horizon": 80}
    prices = [h["kl_coef"] for h in train(copywriter, rows, options=options).history]
    # KL is far below its target at first: 20% off, 8 of 80 samples an update.
    assert prices == pytest.approx([0.1 * 0.98**n for n in range(4)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch is 0; it must be at least 1."),
        ({"minibatches": 3}, "minibatches is 3; it must divide batch 8."),
        ({"clip": 0.0}, "clip is 0.0; it must be positive."),
        ({"kl_coef": -1.0}, "kl_coef is -1.0; it must be 0 or more."),
        ({"lam": 1.5}, "lam is 1.5; it must lie in [0, 1]."),
        ({"kl_estimator": "k2"}, "unknown kl_estimator 'k2': choose one of k1, k3."),
        ({"kl_control": "free"}, "unknown kl_control 'free': choose one of adaptive, fixed."),
        ({"vocabulary": "short"}, "unknown vocabulary 'short': choose one of copy, full."),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_algorithm("ppo", **{**SMALL, **options})


def test_bad_rewards_and_budgets_are_named(copywriter, rows):
    with pytest.raises(UserError, match=re.escape("returned nan for text 0")):
        train(copywriter, rows, lambda texts, _: np.full(len(texts), np.nan))
    with pytest.raises(UserError, match=re.escape("returned shape (1,) for 8 texts")):
        train(copywriter, rows, lambda texts, _: np.zeros(1))
    with pytest.raises(UserError, match="vocabulary is 'copy', but copy_texts is empty"):
        train(copywriter, rows, options={"vocabulary": "copy"})
    with pytest.raises(UserError, match=re.escape("the budget of 5 samples is smaller than one")):
        train(copywriter, rows, samples=5, options={"minibatches": 2})
    with pytest.raises(UserError, match=re.escape("the brief of row 0 is empty")):
        train(copywriter, replace(rows, briefs=("",) * 12))


def test_a_constant_added_to_the_reward_changes_nothing_that_is_learned(copywriter, rows):
    """A click's logit is around -4; what counts is which text has more of it."""

    def shifted(texts, tasks):
        return coffee(texts, tasks)[0] - 4.0

    def learned(reward, start):
        options = {"batch": 32, "epochs": 4, "kl_coef": 0.01, "value_start": start}
        return train(copywriter, rows, reward, samples=128, options=options).history

    for plain, low in zip(learned(coffee, "mean"), learned(shifted, "mean"), strict=True):
        assert low["reward"] == pytest.approx(plain["reward"] - 4.0, abs=1e-3)
        assert low["length"] == pytest.approx(plain["length"], rel=1e-3)
    # From values of 0 it learns when to stop, which the constant alone has taught it.
    lengths = [[h["length"] for h in learned(r, "zero")] for r in (coffee, shifted)]
    assert lengths[0] != pytest.approx(lengths[1], rel=0.01)
