"""TRL's SFTTrainer over a laid-out plan: the packed loss of a Llama with LoRA, steps and bar.

Shapes: B rows of a batch, L prompt tokens, T response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from copygym.agents.copywriter.adapters import fast_path, peft_changes
from copygym.agents.copywriter.kernels import token_logprobs
from copygym.agents.copywriter.packing import common_prefix, pack
from copygym.agents.copywriter.trl_support import QuietTrainer
from copygym.agents.copywriter.trunk import LlamaTrunk
from copygym.agents.copywriter.writer import is_peft
from copygym.envs.errors import UserError

if TYPE_CHECKING:
    from copygym.agents.copywriter.sft import Job

OnProgress = Callable[[int, dict[str, float]], None]


def plan_trainer(
    job: Job, plan: list[dict[str, list[int]]], batch_size: int, scratch: str
) -> PlanTrainer:
    """Return the trainer of what is left of a job; ``scratch`` is a folder that may go."""
    device = job.start.device
    half = job.start.model.dtype == torch.bfloat16
    arguments = SFTConfig(
        output_dir=scratch,
        max_steps=job.steps - job.done,
        per_device_train_batch_size=batch_size,
        max_grad_norm=1.0,
        # Only full tuning has weights in more than the writer's precision.
        bf16=half and job.model is not job.start.model and not is_peft(job.model),
        use_cpu=device.type == "cpu",
        gradient_checkpointing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        push_to_hub=False,
        disable_tqdm=True,
    )
    return PlanTrainer(
        job,
        model=job.model,
        args=arguments,
        train_dataset=Dataset.from_list(plan),
        processing_class=job.start.tokenizer,
        optimizers=(job.adamw, job.schedule),
    )


class PlanTrainer(QuietTrainer, SFTTrainer):
    """SFTTrainer over rows in the plan's order, with the packed loss where the model allows it."""

    def __init__(self, job: Job, **arguments: Any) -> None:
        self._job = job
        lm = fast_path(job.model) if is_peft(job.model) else None
        self._trunk = None if lm is None else LlamaTrunk(lm)
        self._lm = lm
        self.last_loss = math.nan
        # TRL's chunked loss wraps the model's forward; the wrapper must not outlive the run.
        self._rows = len(arguments["train_dataset"])
        self._unwrapped = base_model(job.model).__dict__.get("forward")
        super().__init__(**arguments)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; the model's own forward is put back at the end, whatever happened."""
        base = base_model(self._job.model)
        try:
            return super().train(*args, **kwargs)
        finally:
            if self._unwrapped is None:
                base.__dict__.pop("forward", None)
            else:
                base.forward = self._unwrapped

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(range(self._rows))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean cross-entropy of the response tokens.

        Raises:
            UserError: it is not a number.
        """
        labels = inputs["labels"]
        self._job.trained += int((labels != -100).sum())
        if self._trunk is None:
            loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        else:
            loss = packed_loss(self._trunk, self._lm, inputs["input_ids"], labels)
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss):
            raise UserError(
                f"sft: the loss of step {self._job.done + 1} is {self.last_loss}; lower sft.lr."
            )
        return loss


def base_model(model: Any) -> Any:
    return model.get_base_model() if is_peft(model) else model


def packed_loss(
    trunk: LlamaTrunk, lm: Any, ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy, nats per token, of the tokens with a label.

    Args:
        trunk: of ``lm``.
        lm: a Llama with PEFT's LoRA in it.
        ids: (B, L + T) right-padded prompts and responses.
        labels: (B, L + T): -100 on prompts and padding, else the token; each row ends labelled.
    """
    ends = [int(row.nonzero()[-1]) + 1 for row in labels != -100]
    sequences = [row[:end].tolist() for row, end in zip(ids, ends, strict=True)]
    starts = [int((row != -100).nonzero()[0]) for row in labels]
    shared = min(min(starts) - 1, common_prefix(sequences))
    packed = pack(sequences, trunk.device, prefix=shared)
    # A response token is predicted one place before it.
    reads: list[int] = []
    targets: list[int] = []
    at = packed.prefix
    for sequence, first in zip(sequences, starts, strict=True):
        offset = at - packed.prefix
        reads.extend(range(offset + first - 1, offset + len(sequence) - 1))
        targets.extend(sequence[first:])
        at += len(sequence) - packed.prefix
    keep = torch.tensor(reads, device=trunk.device)
    x = trunk.run(
        trunk.embed(packed),
        packed,
        range(trunk.n_layers),
        peft_changes(lm, trunk.dtype),
        keep=keep,
    )
    tokens = torch.tensor(targets, device=trunk.device)
    logprobs, _ = token_logprobs(trunk.normed(x), trunk.head, tokens, 1.0)
    return -logprobs.mean()


class StepCallback(TrainerCallback):
    """After each step: AdaLoRA's ranks, a checkpoint, the bar."""

    def __init__(self, job: Job, trainer: PlanTrainer, on_progress: OnProgress | None) -> None:
        from tqdm import tqdm

        self._job, self._trainer, self._on_progress = job, trainer, on_progress
        self._bar = tqdm(total=job.steps, initial=job.done, desc="fine-tune", disable=None)

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Let AdaLoRA move ranks while the gradients are there."""
        if self._job.adalora is not None:
            self._job.model.base_model.update_and_allocate(self._job.done)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count the step and tell of it."""
        lr = float(self._job.adamw.param_groups[0]["lr"])
        self._job.step_done()
        self._bar.set_postfix(loss=f"{self._trainer.last_loss:.3f}", refresh=False)
        self._bar.update()
        if self._on_progress is not None:
            self._on_progress(self._job.done, {"loss": self._trainer.last_loss, "lr": lr})

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        self._bar.close()


__all__ = ["OnProgress", "PlanTrainer", "StepCallback", "packed_loss", "plan_trainer"]
