"""On the same batch, our loss and gradients are those of TRL's own ``train``."""

import copy

import pytest
import torch
from datasets import Dataset

from copygym.agents.copywriter.algorithms.ppo import trainer as ppo_trainer
from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
from copygym.agents.copywriter.algorithms.ppo.policy import Policy
from copygym.agents.copywriter.algorithms.ppo.trainer import CopyPPOTrainer, PPOConfig, PPOTrainer

T, EPOCHS = 7, 3


def score_of(tokens):
    """A reward that any reader of the tokens agrees on."""
    return float(sum((token * 7) % 5 for token in tokens)) / 10 - 1.0


class StockReward(torch.nn.Module):
    """What stock wants of a reward model: hidden states that already are the score."""

    base_model_prefix = "backbone"

    def __init__(self, prompt_length, pad):
        super().__init__()
        self.backbone = self.read
        self.score = torch.nn.Identity()
        self._start, self._pad = prompt_length, pad

    def read(self, input_ids, attention_mask, **_):
        from types import SimpleNamespace

        rows = [
            score_of(row[keep].tolist())
            for row, keep in zip(
                input_ids[:, self._start :], attention_mask[:, self._start :].bool(), strict=True
            )
        ]
        hidden = torch.tensor(rows)[:, None, None].expand(*input_ids.shape, 1)
        return SimpleNamespace(hidden_states=[hidden])


class StockValue(torch.nn.Module):
    """Our value head on the policy's own trunk, as a value model of stock's kind."""

    base_model_prefix = "backbone"

    def __init__(self, trunk, head):
        super().__init__()
        self.backbone, self.head = trunk, head

    def score(self, hidden):
        return self.head(hidden).unsqueeze(-1)


def recorded(trainer, weights):
    """Return a list that fills with loss and gradients of every backward."""
    seen, backward = [], trainer.accelerator.backward

    def record(loss, **options):
        backward(loss, **options)
        seen.append(
            (loss.item(), [None if w.grad is None else w.grad.detach().clone() for w in weights])
        )

    trainer.accelerator.backward = record
    return seen


def batch(writer):
    """Return prompts of several lengths, and responses: ended, one token short, full, one token."""
    eos = writer.style.eos_id
    prompts = [[4, 5, 6, 7 + i % 3, *range(8, 8 + i % 4)] for i in range(8)]
    generator = torch.Generator().manual_seed(5)
    lengths = [3, T, T - 1, 1, 5, T, 2, 4]
    responses = [
        [*torch.randint(3, 40, (n - 1,), generator=generator).tolist(), eos] for n in lengths
    ]
    responses[1][-1] = 9  # never ended
    return prompts, responses


def perturbed(writer):
    """Return a policy whose adapters and value head are not zero."""
    policy = Policy(writer, rank=4, targets="all", temperature=0.9, seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return policy


def run_stock(policy, prompts, responses, folder, monkeypatch, estimator):
    writer = policy.writer
    pad = writer.style.pad_id
    weights = [w for w in policy.parameters() if w.requires_grad]
    width = max(map(len, prompts))
    padded = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    answer = {tuple(p): r + [pad] * (T - len(r)) for p, r in zip(padded, responses, strict=True)}

    def generation(model, queries, *_):
        both = torch.cat(
            [queries, torch.tensor([answer[tuple(query)] for query in queries.tolist()])], 1
        )
        with torch.no_grad():
            out = stock.forward(model, both, pad)
        return both, out.logits[:, width - 1 : -1] / (0.9 + 1e-7)

    from trl.experimental.ppo import ppo_trainer as stock

    monkeypatch.setattr(stock, "batch_generation", generation)
    optimizer = torch.optim.AdamW(weights, lr=3e-2, weight_decay=0.0)
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", disable_tqdm=True, save_strategy="no", num_sample_generations=0,
            per_device_train_batch_size=8, total_episodes=8, num_ppo_epochs=EPOCHS,
            response_length=T, stop_token_id=writer.style.eos_id, temperature=0.9,
            missing_eos_penalty=0.5, kl_coef=0.3, kl_estimator=estimator, vf_coef=0.7,
            gamma=0.95, lam=0.9, cliprange=0.02, cliprange_value=0.05,
        ),
        processing_class=writer.tokenizer,
        model=policy.lm,
        ref_model=None,
        reward_model=StockReward(width, pad),
        train_dataset=Dataset.from_dict({"input_ids": padded}),
        value_model=StockValue(policy.lm.get_base_model().model, policy.value),
        data_collator=lambda rows: {"input_ids": torch.tensor([row["input_ids"] for row in rows])},
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
    )  # fmt: skip
    seen = recorded(trainer, weights)
    trainer.train()
    return seen


def run_ours(policy, prompts, responses, folder, monkeypatch, estimator, micro_batch=0):
    import numpy as np

    from copygym.agents.copywriter.llama.sampling import Samples

    def sampled(*_, **__):
        tokens = torch.full((8, T), policy.writer.style.pad_id)
        for row, response in enumerate(responses):
            tokens[row, : len(response)] = torch.tensor(response)
        return Samples(tokens, torch.tensor([len(r) for r in responses]), torch.zeros(8, T))

    monkeypatch.setattr(ppo_trainer, "sample", sampled)
    settings = PPO(
        value_start="zero",  # stock leaves the values where they are
        batch=8, epochs=EPOCHS, micro_batch=micro_batch, clip=0.02, value_clip=0.05, kl_coef=0.3,
        kl_estimator=estimator, missing_eos_penalty=0.5, vf_coef=0.7, gamma=0.95, lam=0.9,
        temperature=0.9, max_grad_norm=0.0, learning_rate=3e-2, value_learning_rate=3e-2, rank=4,
    )  # fmt: skip
    trainer = CopyPPOTrainer(
        policy=policy, settings=settings, prompts=prompts, tasks=np.arange(8),
        score=lambda words, rows: np.array([score_of(r) for r in responses]), batch=8, seed=0,
        done=0, state={}, end_update=lambda metrics, last: True, stop=lambda why: None,
        output_dir=folder,
    )  # fmt: skip
    seen = recorded(trainer, [w for w in policy.parameters() if w.requires_grad])
    trainer.train()
    return seen


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_loss_and_gradients_equal_stock(make_copywriter, tmp_path, monkeypatch, estimator):
    writer = make_copywriter(max_new_tokens=T)
    ours, stocks = perturbed(writer), perturbed(writer)
    prompts, responses = batch(writer)
    theirs = run_stock(stocks, prompts, responses, tmp_path / "stock", monkeypatch, estimator)
    mine = run_ours(ours, prompts, responses, tmp_path / "ours", monkeypatch, estimator)
    assert len(mine) == len(theirs) == EPOCHS
    for (loss, gradients), (stock_loss, stock_gradients) in zip(mine, theirs, strict=True):
        assert loss == pytest.approx(stock_loss, abs=1e-5)
        for gradient, stock_gradient in zip(gradients, stock_gradients, strict=True):
            torch.testing.assert_close(gradient, stock_gradient, atol=1e-5, rtol=1e-4)
    # The ratio has left 1, so that later epochs test the clipping too.
    assert abs(mine[-1][0] - mine[0][0]) > 1e-3


def test_micro_batches_leave_the_gradient_alone(make_copywriter, tmp_path, monkeypatch):
    writer = make_copywriter(max_new_tokens=T)
    prompts, responses = batch(writer)
    whole, parts = perturbed(writer), perturbed(writer)
    one = run_ours(whole, prompts, responses, tmp_path / "a", monkeypatch, "k1")
    three = run_ours(parts, prompts, responses, tmp_path / "b", monkeypatch, "k1", micro_batch=3)
    assert len(three) == 3 * EPOCHS
    for epoch in range(EPOCHS):
        assert sum(loss for loss, _ in three[3 * epoch : 3 * epoch + 3]) == pytest.approx(
            one[epoch][0], abs=1e-5
        )
        for gradient, other in zip(one[epoch][1], three[3 * epoch + 2][1], strict=True):
            torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)


def test_the_comparison_can_fail(make_copywriter, tmp_path, monkeypatch):
    writer = make_copywriter(max_new_tokens=T)
    prompts, responses = batch(writer)
    one = run_ours(perturbed(writer), prompts, responses, tmp_path / "a", monkeypatch, "k1")
    other = copy.deepcopy(responses)
    other[4][1] = 11 if other[4][1] != 11 else 12
    two = run_ours(perturbed(writer), prompts, other, tmp_path / "b", monkeypatch, "k1")
    assert abs(one[0][0] - two[0][0]) > 1e-5
