"""What TRL's trainers need to train a copywriter here: quiet, offline, resumable without pickle."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from copygym.agents.copywriter.llama.adapters import adapter_places
from copygym.agents.copywriter.training.run import TrainingRun, isolated_rng
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError

#: Moments of AdamW that a checkpoint holds.
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def adapted(writer: Copywriter, *, rank: int, layers: int, seed: int) -> Copywriter:
    """Return a twin of ``writer`` with a fresh LoRA adapter, the only weights that train.

    Adapters that the writer already wears are merged first: the twin without its adapter is then
    the starting writer, which serves as reference for free.

    Args:
        writer: where to start; left as it is.
        rank: LoRA's r (Hu et al. 2021, arXiv 2106.09685); alpha is 2 r.
        layers: how many of the top layers get an adapter; 0: all.
        seed: of the adapter's first weights.

    Raises:
        UserError: the writer wears prefix tuning, which has no merged form.
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise UserError(f"rank is {rank}; a LoRA adapter needs at least 1.")
    twin = writer.merged().copy()
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        **adapter_places(twin.model, layers),
        task_type="CAUSAL_LM",
    )
    with isolated_rng(seed):
        # The adapters are float32 (PEFT's default): bf16 would lose small updates.
        twin.model = get_peft_model(twin.model, config)
    return twin


def trainer_arguments(
    folder: Path, device: torch.device, *, seed: int, **settings: Any
) -> dict[str, Any]:
    """Return the arguments that every TRL config here shares, then ``settings``."""
    return {
        "output_dir": str(folder),
        "use_cpu": device.type == "cpu",
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "push_to_hub": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": False,
        "disable_dropout": True,
        # Adapters leave the routers of mixtures of experts as they are: nothing to balance.
        "router_aux_loss_coef": 0.0,
        "seed": seed % 2**32,  # NumPy takes no larger one
        **settings,
    }


class QuietTrainer(Trainer):
    """A Trainer that phones nobody; goes before TRL's class among the bases."""

    def _send_telemetry(self) -> None:
        """Send nothing: TRL would report to the hub that it is used."""


def quiet(trainer: Trainer) -> None:
    """Take the trainer's own bars and prints away; the run has its own."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def drop_reference(model: Any) -> None:
    """Delete the copy of the fresh adapter that TRL makes as reference.

    The fresh adapter is zero, so the reference is the model with adapters off; TRL finds that
    itself where no adapter is named "ref".
    """
    if "ref" in model.peft_config:
        model.delete_adapter("ref")


#: Share of the logits' spread by which moved positions must change them to count.
_MOVED = 0.02


@torch.no_grad()
def has_absolute_positions(model: Any) -> bool:
    """Tell whether a text means something else to a model when all its positions are moved.

    True of learned and sinusoidal positions (GPT-2, GPT-Neo, XGLM); False of rotary and ALiBi ones,
    and of models that work positions out from the mask alone.
    """
    training = model.training
    model.eval()
    size = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(8, device=next(model.parameters()).device) % size).unsqueeze(0)
    place = torch.arange(8, device=ids.device).unsqueeze(0)
    try:
        first, second = (
            model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=p).logits.float()
            for p in (place, place + 5)
        )
    except (TypeError, ValueError):
        return False
    finally:
        model.train(training)
    return bool((first - second).abs().max() > _MOVED * first.std())


@contextmanager
def true_positions(model: Any) -> Iterator[None]:
    """Inside the block the model counts positions from each row's first real token."""

    def add(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = options.get("attention_mask")
        if mask is not None and options.get("position_ids") is None:
            options = {**options, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        return args, options

    handle = model.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def cheap_collections() -> Iterator[None]:
    """Keep Python's garbage collector off what exists already, inside the block.

    Every ``Trainer.train`` ends with a full collection, which walks all imported libraries: a
    quarter of a second, more than a small model's whole round.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def contiguous_head(model: Any) -> Iterator[None]:
    """Make the language head's input contiguous inside the block.

    A bf16 product with the strided slice that ``logits_to_keep`` leaves is 27 times slower on a
    CPU.
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


class Optimizer:
    """AdamW and a schedule over the trainable weights, with a state of plain tensors.

    Args:
        model: its trainable weights are optimised.
        learning_rate: at the start.
        steps: optimiser steps of the whole run, those before a checkpoint included.
        done: steps before the checkpoint.
        decay: True: the rate falls linearly to 0; False: it stays.
        state: what `tensors` returned; empty at the start.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        learning_rate: float,
        steps: int,
        done: int,
        decay: bool,
        state: Mapping[str, torch.Tensor],
    ) -> None:
        if learning_rate <= 0:
            raise UserError(f"learning_rate is {learning_rate}; it must be positive.")
        self._weights = {n: w for n, w in model.named_parameters() if w.requires_grad}
        self.adamw = torch.optim.AdamW(
            self._weights.values(), lr=learning_rate, weight_decay=0.0, foreach=False
        )
        for key, value in state.items():
            name, _, moment = key.rpartition("/")
            self.adamw.state[self._weights[name]][moment] = value.to(
                "cpu" if moment == "step" else self._weights[name].device
            )

        def factor(step: int) -> float:
            return max(0.0, 1.0 - (done + step) / steps) if decay else 1.0

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, factor)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return AdamW's moments, ``WEIGHT/MOMENT`` -> tensor."""
        return {
            f"{name}/{moment}": self.adamw.state[weight][moment]
            for name, weight in self._weights.items()
            for moment in _MOMENTS
            if moment in self.adamw.state.get(weight, {})
        }


class FiniteGradients(TrainerCallback):
    """Keeps a gradient that is not finite out of the weights, and stops the run.

    Args:
        run: the training run.
        writer: the writer in training; its model is the trainer's.
    """

    def __init__(self, run: TrainingRun, writer: Copywriter) -> None:
        self._run, self._writer = run, writer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop the gradient if any of it is not finite."""
        gradients = [w.grad for w in self._writer.model.parameters() if w.grad is not None]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._writer.model.zero_grad(set_to_none=True)
            self._run.stop("the gradient is not finite")
            control.should_training_stop = True


class RunCallback(FiniteGradients):
    """Ends one of the run's updates at each of the trainer's logs.

    Args:
        run: the training run.
        writer: the writer in training; its model is the trainer's.
        optimizer: makes the state for checkpoints.
        updates: updates of the whole run.
        metrics: makes the update's numbers from the trainer's logs.
    """

    def __init__(
        self,
        run: TrainingRun,
        writer: Copywriter,
        optimizer: Optimizer,
        updates: int,
        metrics: Callable[[Mapping[str, float]], dict[str, float]],
    ) -> None:
        super().__init__(run, writer)
        self._optimizer = optimizer
        self._updates, self._metrics = updates, metrics

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """End an update; the trainer's last log, a summary without a loss, is none."""
        if logs is None or "loss" not in logs:
            return
        model = self._writer.model
        model.eval()
        last = self._run.updates + 1 >= self._updates
        more = self._run.end_update(
            self._writer,
            model,
            state=self._optimizer.tensors,
            last=last,
            **self._metrics(logs),
        )
        model.train()
        control.should_training_stop = control.should_training_stop or not more


__all__ = [
    "FiniteGradients",
    "Optimizer",
    "QuietTrainer",
    "RunCallback",
    "adapted",
    "cheap_collections",
    "contiguous_head",
    "drop_reference",
    "has_absolute_positions",
    "quiet",
    "trainer_arguments",
    "true_positions",
]
