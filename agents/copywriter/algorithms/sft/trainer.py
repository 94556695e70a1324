"""TRL's SFTTrainer over a laid-out plan, with our loss of a Llama with LoRA.

Shapes: B rows of a batch, L prompt tokens, T response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from copygym.agents.copywriter.algorithms.sft.losses import lora_losses
from copygym.agents.copywriter.llama.adapters import fast_path, is_peft
from copygym.agents.copywriter.training.trl_support import QuietTrainer
from copygym.core.errors import UserError
from copygym.core.processes import peers

if TYPE_CHECKING:
    from copygym.agents.copywriter.algorithms.sft.finetune import Job


@dataclass(frozen=True)
class Passes:
    """How a batch goes through the model.

    Attributes:
        batch: B, rows of an update, over all processes.
        micro: rows of a backward pass; 0: all of a process's share.
        bf16: multiply matrices in bfloat16.
        gradient_checkpointing: compute layers again in the backward pass.
        prompt_gradient: let the gradient go through the prompts (see `losses.response_losses`);
            where the model's own forward is needed it always does.
        texts_per_prompt: texts that one reading of a prompt serves (see `plan.grouped`).
    """

    batch: int
    micro: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    prompt_gradient: bool = True
    texts_per_prompt: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"sft.batch_size is {self.batch}; it must be at least 1.")
        if self.batch % peers().count:
            raise UserError(
                f"sft.batch_size is {self.batch}; it must be a multiple of the {peers().count} "
                "processes."
            )
        if self.micro < 0 or self.share % (self.micro or 1):
            raise UserError(
                f"sft.micro_batch is {self.micro}; it must divide the {self.share} rows that a "
                "process has of a batch, or be 0."
            )
        if self.texts_per_prompt < 1:
            raise UserError(
                f"sft.texts_per_prompt is {self.texts_per_prompt}; it must be at least 1."
            )

    @property
    def share(self) -> int:
        """Rows of a process's part of a batch."""
        return self.batch // peers().count

    @property
    def rows(self) -> int:
        """Rows of a backward pass."""
        return self.micro or self.share

    @property
    def own_forward(self) -> bool:
        """True where the model's own forward is needed, which alone knows these options."""
        return self.bf16 or self.gradient_checkpointing


#: Weight of `orthogonality` in AdaLoRA's loss, PEFT's own.
ORTHOGONAL = 0.5


def plan_trainer(
    job: Job, plan: list[dict[str, list[int]]], passes: Passes, scratch: str
) -> PlanTrainer:
    """Return the trainer of what is left of a job; ``scratch`` is a folder that may go."""
    device = job.start.device
    half = job.start.model.dtype == torch.bfloat16
    batches = [plan[at : at + passes.batch] for at in range(0, len(plan), passes.batch)]
    own = peers().share(passes.batch)
    labels = [[label for row in batch for label in row["labels"]] for batch in batches]
    arguments = SFTConfig(
        output_dir=scratch,
        max_steps=job.lesson.steps - job.done,
        per_device_train_batch_size=passes.rows,
        gradient_accumulation_steps=passes.share // passes.rows,
        max_grad_norm=1.0,
        # Only full tuning has weights in more than the writer's precision.
        bf16=passes.bf16 or (half and job.model is not job.start.model and not is_peft(job.model)),
        use_cpu=device.type == "cpu",
        gradient_checkpointing=passes.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        max_length=None,
        **_loss(job.start.model),
        router_aux_loss_coef=0.0,  # as in `trl_support.trainer_arguments`
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
        tokens=[sum(label != -100 for label in batch) for batch in labels],
        model=job.model,
        args=arguments,
        train_dataset=Dataset.from_list([batch[row] for batch in batches for row in own]),
        processing_class=job.start.tokenizer,
        optimizers=(job.adamw, job.schedule),
    )


def _loss(model: Any) -> dict[str, Any]:
    """Return the loss of TRL that is right for a model.

    Its usual one, in chunks, does not know how some architectures scale their logits (Granite,
    MiniCPM, Falcon-H1): it would train another softmax than the model's. Nor does it know what
    some mixtures of experts call their parts.
    """
    config = model.config.get_text_config()
    names = (
        "logits_scaling",
        "lm_head_multiplier",
        "logits_soft_cap",
        "scale_width",
        "dim_model_base",
    )
    odd = any(getattr(config, name, None) not in (None, 1, 1.0) for name in names)
    experts = any("expert" in name for name in vars(config))
    return {"loss_type": "nll"} if odd or experts else {}


def orthogonality(model: Any) -> torch.Tensor:
    """Return how far AdaLoRA's matrices are from orthogonal ones, as PEFT counts it.

    Zhang et al. 2023 (arXiv 2303.10512), equation 4: the Frobenius norm of P'P - I, here the mean
    over the matrices.
    """
    off = []
    for name, weight in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            square = weight @ weight.T if "lora_A" in name else weight.T @ weight
            off.append(torch.linalg.norm(square - torch.eye(len(square), device=square.device)))
    return torch.stack(off).mean()


class PlanTrainer(QuietTrainer, SFTTrainer):
    """SFTTrainer over rows in the plan's order, with the packed loss where the model allows it.

    Args:
        job: what is trained.
        tokens: labelled tokens of each batch that is left, over all processes.
        arguments: of TRL's trainer.
    """

    def __init__(self, job: Job, *, tokens: list[int], **arguments: Any) -> None:
        self._job, self._tokens, self._first = job, tokens, job.done
        self._partial = torch.zeros((), dtype=torch.float64)
        self._penalty = 0.0
        # PEFT would add it in every pass, and to what is reported.
        passes = job.lesson.passes
        self._orthogonal = ORTHOGONAL if job.lesson.peft.kind == "adalora" else 0.0
        self._passes = passes.batch // passes.rows
        self._trunk, self._lm = job.trunk, fast_path(job.model)
        self.last_loss = math.nan
        # TRL's chunked loss wraps the model's forward; the wrapper must not outlive the run.
        self._rows = len(arguments["train_dataset"])
        self._unwrapped = base_model(job.model).__dict__.get("forward")
        super().__init__(**arguments)
        # `compute_loss` divides by the whole batch's tokens itself.
        self.loss_is_scaled_for_ga = True

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; the model's own forward is put back at the end, whatever happened."""
        base = base_model(self._job.model)
        try:
            return super().train(*args, **kwargs)
        finally:
            if self.args.gradient_checkpointing:
                base.gradient_checkpointing_disable()
                base.disable_input_require_grads()
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
        """Return these rows' part of the batch's mean cross-entropy over response tokens."""
        labels = inputs["labels"]
        total = self._tokens[self._job.done - self._first]
        if self._trunk is None:
            count = torch.tensor(total, device=labels.device)
            loss = super().compute_loss(model, inputs, num_items_in_batch=count)
            if not self._orthogonal:
                return loss
            penalty = self._orthogonal * orthogonality(model) / self._passes
            self._penalty += float(penalty.detach())
            return loss + penalty
        prompts, responses = parts(inputs["input_ids"], labels)
        losses = lora_losses(
            self._trunk,
            self._lm,
            prompts,
            responses,
            prompt_gradient=self._job.lesson.passes.prompt_gradient,
            dropout=self._job.lesson.care.dropout,
            seed=self._job.step_seed,
        )
        return losses.sum() / total

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Add up gradients: of micro batches, then of processes.

        What a model's own dropout leaves out hangs on the seed and the step alone, so that a
        training that was stopped goes on as it would have.

        Raises:
            UserError: the batch's loss is not a number.
        """
        torch.manual_seed(self._job.step_seed)
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self._partial += loss.detach().double().cpu() - self._penalty
        self._penalty = 0.0
        if not self.accelerator.sync_gradients:
            return loss
        job, own = self._job, self._job.clock()
        seconds = torch.tensor(own, dtype=torch.float64)
        peers().add([self._partial, seconds])
        peers().add_gradients(list(job.weights.values()))
        self.last_loss = float(self._partial)
        self._partial = torch.zeros_like(self._partial)
        job.others_seconds = float(seconds) - own
        job.tokens = self._tokens[job.done - self._first]
        if not math.isfinite(self.last_loss):
            raise UserError(
                f"sft: the loss of step {job.done + 1} is {self.last_loss}; lower sft.lr."
            )
        return loss


def base_model(model: Any) -> Any:
    return model.get_base_model() if is_peft(model) else model


def parts(ids: torch.Tensor, labels: torch.Tensor) -> tuple[list[list[int]], list[list[int]]]:
    """Return the B prompts and B responses of right-padded rows.

    Args:
        ids: (B, L + T) tokens.
        labels: (B, L + T): -100 on prompts and padding, else the token; each row ends labelled.
    """
    prompts, responses = [], []
    for row, label in zip(ids.tolist(), (labels != -100).tolist(), strict=True):
        first, end = label.index(True), len(label) - label[::-1].index(True)
        prompts.append(row[:first])
        responses.append(row[first:end])
    return prompts, responses


class StepCallback(TrainerCallback):
    """After each step: AdaLoRA's ranks, then whoever decides whether to go on.

    Args:
        job: what is trained.
        trainer: that trains it.
        ended: called with the batch's loss and the learning rate; False ends training.
    """

    def __init__(
        self, job: Job, trainer: PlanTrainer, ended: Callable[[float, float], bool]
    ) -> None:
        self._job, self._trainer, self._ended = job, trainer, ended

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Let AdaLoRA move ranks while the gradients are there."""
        if self._job.adalora is not None:
            self._job.model.base_model.update_and_allocate(self._job.done)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the step."""
        lr = float(self._job.adamw.param_groups[0]["lr"])
        if not self._ended(self._trainer.last_loss, lr):
            control.should_training_stop = True


__all__ = ["Passes", "PlanTrainer", "StepCallback", "parts", "plan_trainer"]
