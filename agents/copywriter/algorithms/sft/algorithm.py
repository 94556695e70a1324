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
from copygym.agents.copywriter.algorithms.sft.plan import Care, hold_out, order_of
from copygym.agents.copywriter.algorithms.sft.trainer import Passes
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.feedback import DEMONSTRATIONS, Demonstrations
from copygym.agents.copywriter.training.run import RunAlgorithm, TrainingRun, trainable
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.core.processes import peers
from copygym.envs.tasks import CopyRows


@dataclass(frozen=True, kw_only=True)
class SFT(RunAlgorithm):
    """Supervised fine-tuning on `Demonstrations`: cross-entropy of the response tokens.

    The step before learning from a reward (Ouyang et al. 2022, arXiv 2203.02155, section 3.5). Its
    budget is one of texts: it makes at most ``samples // batch`` updates, in which the learning
    rate rises for a tenth and then falls linearly to 0. Adapters are merged at the end, except a
    prefix.

    It stops early: copy for briefs that are held out from training (`plan.hold_out`) is read every
    ``judge_every`` updates, and what comes back are the weights that foretold it best. A judge, if
    one is given, looks in its place. The history's ``held_out`` is the mean log probability per
    token of that copy, nats.

    Attributes:
        batch: B, texts of an update, over all processes.
        learning_rate: at its peak. About 1e-3 for LoRA and AdaLoRA, 1e-2 for a prefix, 5e-5 for
            full tuning of SmolLM2.
        peft: which weights are trained.
        micro_batch: rows of a backward pass; 0: all of a process's. It only bounds memory.
        bf16: multiply matrices in bfloat16; what is trained stays float32.
        gradient_checkpointing: compute layers again in the backward pass: less memory, more time.
        prompt_gradient: False: no gradient goes through the prompts, which takes a third off the
            time of short copy for long briefs. Llamas with LoRA only; nothing changes for others.
        texts_per_prompt: texts for one brief, channel and audience that share the reading of one
            prompt, where several are known.
        dropout: share of the adapters' inputs that each update leaves out; no effect but on LoRA
            and AdaLoRA.
        weight_decay: of AdamW.
        held_out: share of the demonstrations that are held out to see when to stop; 0: none.
        examples_every: no effect, because no text is written.
        max_kl: must be 0, because no text is written whose KL could be seen.
    """

    batch: int = 16
    learning_rate: float = 1e-3
    peft: PeftChoice = field(default_factory=PeftChoice)
    micro_batch: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    prompt_gradient: bool = True
    texts_per_prompt: int = 1
    dropout: float = 0.0
    weight_decay: float = 0.0
    held_out: float = 0.0
    judge_every: int = 10
    patience: int = 3
    margin: float = 0.0

    name = "sft"
    learns_from = (DEMONSTRATIONS,)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.passes, self.care
        if self.max_kl:
            raise UserError(
                f"max_kl is {self.max_kl:g}, but SFT writes no texts to see its KL by; give 0, or "
                "fewer samples."
            )

    @property
    def passes(self) -> Passes:
        """How a batch goes through the model."""
        return Passes(
            self.batch,
            self.micro_batch,
            self.bf16,
            self.gradient_checkpointing,
            self.prompt_gradient,
            self.texts_per_prompt,
        )

    @property
    def care(self) -> Care:
        """What keeps it from learning its texts by heart."""
        return Care(self.dropout, self.weight_decay, self.held_out)

    def _look_at(self, texts: list[str], rows: CopyRows) -> tuple[list[str], CopyRows]:
        """Return what is held out as it is looked at: with prompts shared as in training."""
        text, prompt = order_of(texts, rows, len(texts), self.texts_per_prompt, 0)
        return [texts[row] for row in text], rows.take(prompt)

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train on the demonstrations; see `RunAlgorithm.train_in`."""
        assert isinstance(run.feedback, Demonstrations)
        if run.samples < self.batch:
            raise UserError(
                f"the budget of {run.samples} samples is smaller than one batch of {self.batch}; "
                "raise samples or lower batch."
            )
        texts = run.feedback.texts
        learned, held = hold_out(texts, run.rows, self.held_out, run.seed)
        lesson = Lesson(
            tuple(texts[row] for row in learned),
            run.rows.take(learned),
            run.samples // self.batch,
            self.learning_rate,
            self.peft,
            self.passes,
            run.seed,
            self.care,
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

            if len(held):
                shown = self._look_at([texts[row] for row in held], run.rows.take(held))
                run.examine = lambda _: job.scores(*shown)
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
