"""RLOO and GRPO: TRL's trainers, fed with our prompts, samples and rewards that see the row."""

from __future__ import annotations

import math
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from copygym.agents.copywriter.llama.sampling import sample
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.run import (
    RunAlgorithm,
    TrainingRun,
    Watch,
    isolated_rng,
    task_order,
)
from copygym.agents.copywriter.training.trl_support import (
    Optimizer,
    QuietTrainer,
    RunCallback,
    adapted,
    cheap_collections,
    contiguous_head,
    drop_reference,
    has_absolute_positions,
    quiet,
    trainer_arguments,
    true_positions,
)
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError, unknown_name


@dataclass(frozen=True, kw_only=True)
class OnlineSettings(Watch):
    """Settings that RLOO and GRPO share, besides those of `Watch`.

    Attributes:
        batch: samples per update; ``group`` divides it.
        group: samples per task, which are each other's baseline; at least 2.
        epochs: optimiser steps per batch of samples; beyond 1 the ratio is clipped.
        micro_batch: samples per backward pass; 0: the whole batch. It only bounds memory.
        learning_rate: of AdamW, at the start.
        decay: True: the rate falls linearly to 0 over the budget.
        beta: weight of the KL to the starting writer; 0: none, and none is reported.
        clip: the ratio stays within 1 - clip ... 1 + clip.
        rank: LoRA's r.
        layers: how many of the top layers get an adapter; 0: all.
        max_grad_norm: gradients beyond this norm are scaled down; 0: never.
    """

    batch: int = 16
    group: int = 4
    epochs: int = 1
    micro_batch: int = 0
    learning_rate: float = 1e-3
    decay: bool = False
    beta: float = 0.05
    clip: float = 0.2
    rank: int = 8
    layers: int = 0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group < 2:
            raise UserError(f"group is {self.group}; a baseline needs at least 2 samples a task.")
        if self.batch < self.group or self.batch % self.group:
            raise UserError(f"batch is {self.batch}; it must be a multiple of group {self.group}.")
        if self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; it must be at least 1.")
        if self.micro_batch and self.batch % self.micro_batch:
            raise UserError(
                f"micro_batch is {self.micro_batch}; it must divide batch {self.batch}."
            )
        if self.beta < 0:
            raise UserError(f"beta is {self.beta}; it must be 0 or more.")


class _OnlineTrainer(QuietTrainer):
    """What both trainers change in TRL: prompts, sampling and the bookkeeping around them.

    A prompt is the number of its row, so that TRL applies no template and parses no special token
    in the data: `_tokenize_prompts` returns what `PromptStyle.render` makes of the row.
    """

    model: Any
    temperature: float
    num_iterations: int
    beta: float

    def __init__(self, *, run: TrainingRun, writer: Copywriter, seed: int, **options: Any) -> None:
        self.run, self.writer, self.copy_seed = run, writer, seed
        self.reference_logps: torch.Tensor | None = None
        self.sampled_logps: torch.Tensor | None = None
        self.sampled_lengths: torch.Tensor | None = None
        self.ended = 0.0
        self.absolute = has_absolute_positions(writer.model)
        super().__init__(**options)
        quiet(self)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        texts = self.run.rows.prompts
        return [self.writer.style.render(texts[int(prompt)]) for prompt in prompts], None, {}

    def draw(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return one response to each prompt; sample i of the run has its own random stream."""
        first = self.run.meter.spent.samples
        self.model.eval()
        samples = sample(
            self.model,
            prompts,
            max_new_tokens=self.writer.max_new_tokens,
            temperature=self.temperature,
            eos_id=self.writer.style.eos_id,
            ends=self.writer.style.end_ids,
            pad_id=self.writer.style.pad_id,
            seed=self.copy_seed,
            allowed_tokens=self.writer.vocabulary,
            rows=range(first, first + len(prompts)),
        )
        self.model.train()
        self.sampled_logps, self.sampled_lengths = samples.logprobs, samples.lengths
        last = samples.tokens.gather(1, samples.lengths.unsqueeze(1) - 1).squeeze(1)
        ends = torch.tensor(self.writer.style.end_ids)
        self.ended = float(torch.isin(last, ends).float().mean())
        n_tokens = int(samples.lengths.sum())
        self.run.meter.add(Spent(generated=n_tokens, trained=n_tokens * self.num_iterations))
        return [
            row[:length].tolist()
            for row, length in zip(samples.tokens, samples.lengths.tolist(), strict=True)
        ]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        # TRL shuffles the batch with torch's global generator: tie it to the update, so that a
        # resumed run shuffles alike.
        torch.manual_seed(self.copy_seed * 100_003 + self.run.updates)
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        return output

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
        # TRL pads prompts on the left and leaves it to the model where a text begins.
        with true_positions(model) if self.absolute else nullcontext():
            answer = super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, *args, **options
            )
        if not torch.is_grad_enabled():
            # The last pass without gradients is the reference's, where there is one.
            self.reference_logps = answer[0]
        return answer

    def kl(self) -> float:
        """Return the mean KL to the reference, nats per text, by the estimator k1 = log p/q."""
        assert self.reference_logps is not None
        assert self.sampled_logps is not None
        assert self.sampled_lengths is not None
        reference = self.reference_logps.cpu().float()
        width = reference.shape[1]
        inside = torch.arange(width) < self.sampled_lengths.unsqueeze(1)
        ratio = (self.sampled_logps[:, :width] - reference) * inside
        return float(ratio.sum(1).mean())


class _RLOOTrainer(_OnlineTrainer, RLOOTrainer):
    def _generate_single_turn(self, prompt_ids: Any, images: Any, fields: Any) -> Any:
        return self.draw(prompt_ids)


class _GRPOTrainer(_OnlineTrainer, GRPOTrainer):
    def _generate_single_turn(self, prompt_ids: Any, images: Any, fields: Any, *_: Any) -> Any:
        return self.draw(prompt_ids), None


@dataclass(frozen=True, kw_only=True)
class _Online(OnlineSettings, RunAlgorithm):
    """Training by a TRL online trainer; subclasses name it and its config."""

    trainer: ClassVar[type[_OnlineTrainer]]
    config: ClassVar[type[RLOOConfig] | type[GRPOConfig]]

    @abstractmethod
    def own_arguments(self) -> dict[str, Any]:
        """Return the arguments of the config that only this algorithm has."""

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train by policy gradients on groups of samples; see `RunAlgorithm.train_in`."""
        samples, seed = run.samples, run.seed
        batch = min(self.batch, samples // self.group * self.group)
        if batch == 0:
            raise UserError(
                f"the budget of {samples} samples is smaller than one group of {self.group}; "
                "raise samples or lower group."
            )
        twin = adapted(writer, rank=self.rank, layers=self.layers, seed=seed)
        with run, isolated_rng(seed), cheap_collections():
            state = run.start(twin, twin.model)
            if not run.stopped:
                self._fit(run, twin, state, batch, samples // batch, seed)
            twin.model.eval()
            return run.finish(twin, twin.model)

    def _fit(
        self,
        run: TrainingRun,
        writer: Copywriter,
        state: Mapping[str, torch.Tensor],
        batch: int,
        updates: int,
        seed: int,
    ) -> None:
        """Let the trainer do the updates that are left."""
        done = run.updates
        optimizer = Optimizer(
            writer.model,
            learning_rate=self.learning_rate,
            steps=updates * self.epochs,
            done=done * self.epochs,
            decay=self.decay,
            state=state,
        )
        per_update = batch // self.group
        tasks = task_order(len(run.rows), updates * per_update, seed)[done * per_update :]
        with tempfile.TemporaryDirectory() as scratch, contiguous_head(writer.model):
            trainer = self.trainer(
                run=run,
                writer=writer,
                seed=seed,
                model=writer.model,
                reward_funcs=_row_reward(run, writer),
                args=self._arguments(Path(scratch), writer, batch, updates - done, seed),
                train_dataset=Dataset.from_dict({"prompt": [str(t) for t in tasks], "row": tasks}),
                processing_class=writer.tokenizer,
                optimizers=(optimizer.adamw, optimizer.schedule),
            )
            drop_reference(writer.model)
            trainer.add_callback(
                RunCallback(run, writer, optimizer, updates, lambda logs: _metrics(trainer, logs))
            )
            trainer.train()

    def _arguments(
        self, scratch: Path, writer: Copywriter, batch: int, updates: int, seed: int
    ) -> RLOOConfig | GRPOConfig:
        micro = math.gcd(batch, self.micro_batch or batch)
        return self.config(
            **trainer_arguments(
                scratch,
                writer.device,
                seed=seed,
                learning_rate=self.learning_rate,
                max_grad_norm=self.max_grad_norm,
                max_steps=updates * self.epochs,
                logging_steps=self.epochs,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=batch // micro,
                num_generations=self.group,
                num_iterations=self.epochs,
                max_completion_length=writer.max_new_tokens,
                temperature=self.temperature,
                beta=self.beta,
                epsilon=self.clip,
                shuffle_dataset=False,
            ),
            **self.own_arguments(),
        )


def _row_reward(run: TrainingRun, writer: Copywriter) -> Any:
    """Return the reward as TRL calls it: with the ids of the responses and their rows."""

    def reward(completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float]:
        texts = [writer.style.decode(ids) for ids in completion_ids]
        scores: list[float] = run.score(texts, run.rows.take(row)).tolist()
        return scores

    return reward


def _metrics(trainer: _OnlineTrainer, logs: Mapping[str, float]) -> dict[str, float]:
    """Return the update's numbers under our names."""
    numbers = {
        "loss": logs["loss"],
        "grad_norm": logs["grad_norm"],
        "learning_rate": logs["learning_rate"],
        "entropy": logs["entropy"],
        "length": logs["completions/mean_length"],
        "ended": trainer.ended,
        "clipped": logs["clip_ratio/region_mean"],
        "same_reward_groups": logs["frac_reward_zero_std"],
    }
    if trainer.beta != 0.0:
        numbers["kl"] = trainer.kl()
    return numbers


@dataclass(frozen=True, kw_only=True)
class RLOO(_Online):
    """REINFORCE with the task's other samples as baseline (Ahmadian et al., arXiv 2402.14740).

    TRL's ``RLOOTrainer``: the KL penalty is part of the reward, and the ratio of a whole text is
    clipped when a batch is used more than once.

    Attributes:
        normalize_advantages: True: divide by the batch's standard deviation.
    """

    normalize_advantages: bool = False

    name = "rloo"
    trainer = _RLOOTrainer
    config = RLOOConfig

    def own_arguments(self) -> dict[str, Any]:
        """Return RLOO's own part of the config."""
        return {"normalize_advantages": self.normalize_advantages}


@dataclass(frozen=True, kw_only=True)
class GRPO(_Online):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300).

    TRL's ``GRPOTrainer``: advantages are standardised within the task's samples, the ratio is
    clipped token by token, and the KL (estimator k3) is part of the loss.

    Attributes:
        loss_type: how tokens are averaged: "grpo" (by text, then over texts), "bnpo" or "dapo"
            (over the batch's tokens), "dr_grpo" (over a constant, arXiv 2503.20783).
        scale_rewards: what advantages are divided by: the standard deviation of the "group" or
            the "batch", or "none".
    """

    loss_type: str = "dapo"
    scale_rewards: str = "group"

    name = "grpo"
    trainer = _GRPOTrainer
    config = GRPOConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, value, choices in (
            ("loss_type", self.loss_type, ["grpo", "bnpo", "dapo", "dr_grpo"]),
            ("scale_rewards", self.scale_rewards, ["group", "batch", "none"]),
        ):
            if value not in choices:
                raise unknown_name(kind, value, choices)

    def own_arguments(self) -> dict[str, Any]:
        """Return GRPO's own part of the config."""
        return {"loss_type": self.loss_type, "scale_rewards": self.scale_rewards}


__all__ = ["GRPO", "RLOO", "OnlineSettings"]
