"""DPO: TRL's trainer on preference pairs from a log, or on pairs that the reward makes."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from copygym.agents.copywriter.drawing import draw, reference_kl
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.feedback import PREFERENCES, REWARD, Preferences
from copygym.agents.copywriter.training.run import (
    RunAlgorithm,
    TrainingRun,
    isolated_rng,
    task_order,
)
from copygym.agents.copywriter.training.trl_support import (
    FiniteGradients,
    Optimizer,
    QuietTrainer,
    adapted,
    cheap_collections,
    drop_reference,
    quiet,
    trainer_arguments,
)
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError, unknown_name
from copygym.envs.tasks import CopyRows

_LOSSES = ["hinge", "ipo", "sigmoid"]


@dataclass(frozen=True)
class _Round:
    """Pairs of one round, as tokens, and the numbers of how they came about."""

    rows: CopyRows
    better: list[list[int]]
    worse: list[list[int]]
    numbers: dict[str, float]


class _DPOTrainer(QuietTrainer, DPOTrainer):
    """DPOTrainer on token ids: our prompts and responses, with no second template or parsing."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


@dataclass(frozen=True, kw_only=True)
class DPO(RunAlgorithm):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    From `Preferences` it learns without a reward; its budget is then one of texts, two a pair, and
    pairs are used again if they run out. With a reward, each round draws ``group`` texts for each
    of ``tasks`` tasks from the writer as it is by then, and pairs the reward's best with its worst,
    where they differ. The reference is always the starting writer. ``info["pairs"]`` of the result
    says which it was.

    Attributes:
        tasks: pairs per round, which is one update of the history.
        group: texts drawn per task where the reward makes the pairs; at least 2.
        epochs: times that a round's pairs are gone through.
        batch: pairs per optimiser step.
        beta: how strongly the writer is held to where it started; small is loose.
        loss_type: "sigmoid" (DPO), "ipo" (arXiv 2310.12036) or "hinge" (SLiC, arXiv 2305.10425).
        learning_rate: of AdamW.
        rank: LoRA's r.
        layers: how many of the top layers get an adapter; 0: all.
        max_grad_norm: gradients beyond this norm are scaled down; 0: never.
    """

    tasks: int = 16
    group: int = 4
    epochs: int = 1
    batch: int = 8
    beta: float = 0.1
    loss_type: str = "sigmoid"
    learning_rate: float = 1e-3
    rank: int = 8
    layers: int = 0
    max_grad_norm: float = 1.0

    name = "dpo"
    learns_from = (PREFERENCES, REWARD)

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("tasks", "epochs", "batch"):
            if getattr(self, setting) < 1:
                raise UserError(f"{setting} is {getattr(self, setting)}; it must be at least 1.")
        if self.group < 2:
            raise UserError(f"group is {self.group}; a pair needs at least 2 texts.")
        if self.beta <= 0:
            raise UserError(f"beta is {self.beta}; DPO needs a positive one.")
        if self.loss_type not in _LOSSES:
            raise unknown_name("loss_type", self.loss_type, _LOSSES)

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train on pairs; see `RunAlgorithm.train_in`."""
        seed, given = run.seed, _given(run)
        if given is not None and self.max_kl:
            raise UserError(
                f"max_kl is {self.max_kl:g}, but DPO writes no texts to see its KL by when it "
                "learns from preferences; give max_kl=0, or raise beta."
            )
        rounds = self._rounds(run)
        twin = adapted(writer, rank=self.rank, layers=self.layers, seed=seed)
        with run, isolated_rng(seed), cheap_collections():
            state = run.start(twin, twin.model)
            optimizer = Optimizer(
                twin.model,
                learning_rate=self.learning_rate,
                steps=1,
                done=0,
                decay=False,
                state=state,
            )
            while not run.stopped:
                pairs = self._round(run, twin, seed)
                numbers = self._fit(run, twin, optimizer, pairs, seed)
                twin.model.eval()
                run.end_update(
                    twin,
                    twin.model,
                    state=optimizer.tensors,
                    last=run.updates + 1 >= rounds,
                    texts=0 if given is None else 2 * len(pairs.rows),
                    **numbers,
                )
            source = "drawn from the writer" if given is None else "given, from a log"
            return run.finish(twin, twin.model, pairs=source)

    def _rounds(self, run: TrainingRun) -> int:
        if _given(run) is not None:
            return math.ceil(_pairs_for(run.samples) / self.tasks)
        if run.samples < self.group:
            raise UserError(
                f"the budget of {run.samples} samples is smaller than one group of {self.group}; "
                "raise samples or lower group."
            )
        return max(1, run.samples // (self.tasks * self.group))

    def _round(self, run: TrainingRun, writer: Copywriter, seed: int) -> _Round:
        """Return the pairs of this round."""
        first, given = run.updates * self.tasks, _given(run)
        if given is None:
            size = min(self.tasks, int(run.meter.left) // self.group)
            index = task_order(len(run.rows), first + size, seed)[first:]
            return self._draw(run, writer, run.rows.take(index), seed * 100_003 + run.updates)
        total = min(first + self.tasks, _pairs_for(run.samples))
        index = task_order(len(run.rows), total, seed)[first:]
        better_ids, worse_ids = (
            [writer.style.response_ids(texts[i], writer.max_new_tokens) for i in index]
            for texts in (given.better, given.worse)
        )
        return _Round(run.rows.take(index), better_ids, worse_ids, {})

    def _draw(self, run: TrainingRun, writer: Copywriter, tasks: CopyRows, seed: int) -> _Round:
        """Draw texts and pair the reward's favourites with what it likes least."""
        drawn = draw(writer, tasks, n=self.group, seed=seed, temperature=self.temperature)
        run.meter.add(Spent(generated=drawn.n_tokens))
        repeated = tasks.take(np.repeat(np.arange(len(tasks)), self.group))
        scores_NG = run.score(drawn.texts, repeated).reshape(len(tasks), self.group)
        best, worst = scores_NG.argmax(axis=1), scores_NG.argmin(axis=1)
        # A task whose texts score alike says nothing.
        told = np.flatnonzero(scores_NG.max(axis=1) > scores_NG.min(axis=1))
        numbers = {"length": drawn.n_tokens / len(drawn.ids)}
        with writer.model.disable_adapter():
            numbers["kl"] = reference_kl(writer, writer, tasks, drawn)
        return _Round(
            tasks.take(told),
            [drawn.ids[i * self.group + int(best[i])] for i in told],
            [drawn.ids[i * self.group + int(worst[i])] for i in told],
            numbers,
        )

    def _fit(
        self, run: TrainingRun, writer: Copywriter, optimizer: Optimizer, pairs: _Round, seed: int
    ) -> dict[str, float]:
        """Let the trainer go through the pairs; return the round's mean numbers."""
        numbers = pairs.numbers | {"n_pairs": float(len(pairs.rows))}
        if len(pairs.rows) == 0:
            return numbers
        ids = {
            "prompt_ids": writer.prompts(pairs.rows),
            "chosen_ids": pairs.better,
            "rejected_ids": pairs.worse,
        }
        tokens = sum(map(len, pairs.better)) + sum(map(len, pairs.worse))
        run.meter.add(Spent(trained=tokens * self.epochs))
        with tempfile.TemporaryDirectory() as scratch:
            trainer = _DPOTrainer(
                model=writer.model,
                args=self._arguments(Path(scratch), writer, seed * 100_003 + run.updates),
                train_dataset=Dataset.from_dict(ids),
                processing_class=writer.tokenizer,
                optimizers=(optimizer.adamw, optimizer.schedule),
                callbacks=[FiniteGradients(run, writer)],
            )
            quiet(trainer)
            drop_reference(writer.model)
            trainer.train()
        logs = [line for line in trainer.state.log_history if "loss" in line]
        means = {
            ours: float(np.mean([line[theirs] for line in logs]))
            for ours, theirs in _NUMBERS.items()
        }
        return numbers | means

    def _arguments(self, scratch: Path, writer: Copywriter, seed: int) -> DPOConfig:
        return DPOConfig(
            **trainer_arguments(
                scratch,
                writer.device,
                seed=seed,
                learning_rate=self.learning_rate,
                max_grad_norm=self.max_grad_norm,
                num_train_epochs=self.epochs,
                logging_steps=1,
                per_device_train_batch_size=self.batch,
                beta=self.beta,
                loss_type=self.loss_type,
                max_length=None,
            )
        )


#: Names in our history -> names in TRL's logs.
_NUMBERS = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
}


def _pairs_for(samples: int) -> int:
    """Return how many of the log's pairs, of two texts each, a budget of samples buys."""
    return max(1, samples // 2)


def _given(run: TrainingRun) -> Preferences | None:
    """Return the pairs that the run was given; None where the reward makes them."""
    return run.feedback if isinstance(run.feedback, Preferences) else None


__all__ = ["DPO"]
