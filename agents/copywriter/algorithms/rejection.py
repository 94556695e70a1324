"""Rejection-sampling fine-tuning: draw, keep the best of each task, imitate it, and again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune
from copygym.agents.copywriter.drawing import draw, reference_kl
from copygym.agents.copywriter.llama.adapters import layer_stack
from copygym.agents.copywriter.llama.quantisation import unpacked
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.run import (
    RunAlgorithm,
    TrainingRun,
    isolated_rng,
    task_order,
)
from copygym.agents.copywriter.training.trl_support import cheap_collections
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyRows


@dataclass(frozen=True, kw_only=True)
class Rejection(RunAlgorithm):
    """RAFT (Dong et al. 2023, arXiv 2304.06767, algorithm 1).

    Also known as rejection-sampling fine-tuning (Touvron et al. 2023, arXiv 2307.09288, section
    3.2.3). A round draws ``group`` texts for each of ``tasks`` tasks, keeps the reward's favourite
    of each task, and fine-tunes on these; the next round draws from the result. There is no KL
    term: few steps per round, ``max_kl`` and the judge are what holds the writer back.

    Attributes:
        tasks: tasks per round, which is one update of the history.
        group: texts drawn per task; at least 2.
        epochs: times that a round's favourites are gone through.
        batch: texts per optimiser step.
        learning_rate: the peak of each round's schedule.
        rank: LoRA's r; each round's adapter is merged before the next.
        layers: how many of the top layers get an adapter; 0: all.
    """

    tasks: int = 16
    group: int = 4
    epochs: int = 2
    batch: int = 8
    learning_rate: float = 1e-3
    rank: int = 8
    layers: int = 0

    name = "rejection"

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("tasks", "epochs", "batch"):
            if getattr(self, setting) < 1:
                raise UserError(f"{setting} is {getattr(self, setting)}; it must be at least 1.")
        if self.group < 2:
            raise UserError(f"group is {self.group}; a favourite needs at least 2 texts.")
        if self.learning_rate <= 0:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be positive.")

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train in rounds; see `RunAlgorithm.train_in`."""
        samples, seed = run.samples, run.seed
        if samples < self.group:
            raise UserError(
                f"the budget of {samples} samples is smaller than one group of {self.group}; "
                "raise samples or lower group."
            )
        rounds = max(1, samples // (self.tasks * self.group))
        twin = _twin(writer)
        with run, isolated_rng(seed), cheap_collections():
            run.start(twin, twin.model)
            while not run.stopped:
                numbers = self._round(run, writer, twin, seed)
                last = run.updates + 1 >= rounds
                run.end_update(twin, twin.model, state=dict, last=last, **numbers)
            return run.finish(twin, twin.model)

    def _round(
        self, run: TrainingRun, start: Copywriter, writer: Copywriter, seed: int
    ) -> dict[str, float]:
        """Draw, keep the favourites and imitate them; return the round's numbers."""
        seed = seed * 100_003 + run.updates
        first = run.updates * self.tasks
        size = min(self.tasks, int(run.meter.left) // self.group)
        index = task_order(len(run.rows), first + size, run.seed)[first:]
        tasks = run.rows.take(index)
        drawn = draw(writer, tasks, n=self.group, seed=seed, temperature=self.temperature)
        run.meter.add(Spent(generated=drawn.n_tokens))
        repeated = tasks.take(np.repeat(np.arange(size), self.group))
        scores_NG = run.score(drawn.texts, repeated).reshape(size, self.group)
        numbers = {
            "kept_reward": float(scores_NG.max(axis=1).mean()),
            "length": drawn.n_tokens / len(drawn.ids),
        }
        numbers["kl"] = reference_kl(start, writer, tasks, drawn)
        favourites = scores_NG.argmax(axis=1) + self.group * np.arange(size)
        # An empty text teaches nothing, and a task whose texts score alike has no favourite.
        told = [
            i
            for i in np.flatnonzero(scores_NG.max(axis=1) > scores_NG.min(axis=1)).tolist()
            if drawn.texts[favourites[i]].strip()
        ]
        if told:
            texts = [drawn.texts[favourites[i]] for i in told]
            numbers |= self._imitate(run, writer, texts, tasks.take(told), seed)
        return numbers | {"n_kept": float(len(told))}

    def _imitate(
        self, run: TrainingRun, writer: Copywriter, texts: list[str], tasks: CopyRows, seed: int
    ) -> dict[str, float]:
        """Fine-tune ``writer`` on texts; return the mean loss."""
        losses: list[float] = []
        spent = finetune(
            writer,
            texts,
            tasks,
            steps=math.ceil(len(texts) * self.epochs / self.batch),
            lr=self.learning_rate,
            batch_size=min(self.batch, len(texts)),
            peft=PeftChoice(kind="lora", rank=self.rank, layers=self.layers),
            seed=seed,
            on_progress=lambda _, numbers: losses.append(numbers["loss"]),
        )
        # The run's own meter counts the CPU seconds.
        run.meter.add(Spent(trained=spent.trained))
        return {"loss": float(np.mean(losses))}


def _twin(writer: Copywriter) -> Copywriter:
    """Return a plain twin whose layers count as trainable.

    Fine-tuning merges its adapters, so what changes from round to round, and what a checkpoint
    must hold, are the layers' own matrices.
    """
    twin = writer.merged().copy()
    twin.model, twin.quantisation = unpacked(twin.model), None
    for name, weight in layer_stack(twin.model).named_parameters():
        if name.endswith("weight") and weight.dim() == 2:
            weight.requires_grad_(True)
    return twin


__all__ = ["Rejection"]
