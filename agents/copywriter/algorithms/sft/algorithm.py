"""SFT: imitate texts, within the interface of everything that trains a copywriter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from copygym.agents.copywriter.algorithms.sft.finetune import (
    Job,
    Lesson,
    PeftChoice,
    take_part,
    tuning,
)
from copygym.agents.copywriter.algorithms.sft.trainer import Passes
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.feedback import DEMONSTRATIONS, Demonstrations
from copygym.agents.copywriter.training.run import RunAlgorithm, TrainingRun, trainable
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.core.processes import peers


@dataclass(frozen=True, kw_only=True)
class SFT(RunAlgorithm):
    """Supervised fine-tuning on `Demonstrations`: cross-entropy of the response tokens.

    The step before learning from a reward (Ouyang et al. 2022, arXiv 2203.02155, section 3.5). Its
    budget is one of texts: it makes ``samples // batch`` updates, in which the learning rate rises
    for a tenth and then falls linearly to 0. Adapters are merged at the end, except a prefix.

    Attributes:
        batch: B, texts of an update, over all processes.
        learning_rate: at its peak. About 1e-3 for LoRA and AdaLoRA, 1e-2 for a prefix, 5e-5 for
            full tuning of SmolLM2.
        peft: which weights are trained.
        micro_batch: rows of a backward pass; 0: all of a process's. It only bounds memory.
        bf16: multiply matrices in bfloat16; what is trained stays float32.
        gradient_checkpointing: compute layers again in the backward pass: less memory, more time.
        examples_every: no effect, because no text is written.
        max_kl: must be 0, because no text is written whose KL could be seen.
    """

    batch: int = 16
    learning_rate: float = 1e-3
    peft: PeftChoice = field(default_factory=PeftChoice)
    micro_batch: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False

    name = "sft"
    learns_from = (DEMONSTRATIONS,)

    def __post_init__(self) -> None:
        super().__post_init__()
        Passes(self.batch, self.micro_batch, self.bf16, self.gradient_checkpointing)
        if self.max_kl:
            raise UserError(
                f"max_kl is {self.max_kl:g}, but SFT writes no texts to see its KL by; give 0, or "
                "fewer samples."
            )

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train on the demonstrations; see `RunAlgorithm.train_in`."""
        assert isinstance(run.feedback, Demonstrations)
        if run.samples < self.batch:
            raise UserError(
                f"the budget of {run.samples} samples is smaller than one batch of {self.batch}; "
                "raise samples or lower batch."
            )
        lesson = Lesson(
            tuple(run.feedback.texts),
            run.rows,
            run.samples // self.batch,
            self.learning_rate,
            self.peft,
            Passes(self.batch, self.micro_batch, self.bf16, self.gradient_checkpointing),
            run.seed,
        )
        twin = writer.merged().copy()
        with run, tuning(twin, lesson) as job:
            live = replace(twin, model=job.model)

            def end_step(job: Job, loss: float, lr: float) -> bool:
                return run.end_update(
                    live,
                    job.model,
                    state=job.tensors,
                    last=job.done == lesson.steps,
                    texts=self.batch,
                    loss=loss,
                    lr=lr,
                )

            state: dict[str, Any] = run.start(live, job.model)
            job.restore(state, run.updates)
            if not run.stopped:
                shared = (lesson, dict(trainable(job.model)), state, run.updates)
                with peers().together(take_part, writer, *shared):
                    job.train(run.meter, end_step)
            outcome = run.finish(twin, job.model)
            job.finish(twin)
        return outcome


__all__ = ["SFT"]
