"""Supervised fine-tuning on the log's better copy, through TRL's SFTTrainer and PEFT.

The loss is the mean cross-entropy of the response tokens, eos included, given the prompt. Where
the model is a Llama with plain LoRA, `LlamaTrunk` computes it over packed rows, whose common
beginning runs once; all else goes through the model's own forward and TRL's chunked loss.

Nothing of the Trainer's own checkpoints is used (they are pickles): batches are laid out before
training, so that a checkpoint is the trained weights, AdamW's moments and a number of steps.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from copygym.agents.copywriter.algorithms.sft.trainer import (
    OnProgress,
    Passes,
    StepCallback,
    plan_trainer,
)
from copygym.agents.copywriter.llama.adapters import is_peft, linear_names
from copygym.agents.copywriter.llama.quantisation import is_quantised, without_adapters
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.checkpoint import (
    read_checkpoint,
    weights_digest,
    write_checkpoint,
)
from copygym.agents.copywriter.training.run import isolated_rng, put_weights, trainable
from copygym.agents.copywriter.training.trl_support import quiet
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError, unknown_name
from copygym.core.processes import peers
from copygym.envs.tasks import CopyRows

KINDS = ("lora", "adalora", "prefix", "full")

#: The checkpoint in ``folder``.
CHECKPOINT = "sft.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
#: What AdaLoRA knows of each weight's importance.
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")


@dataclass(frozen=True)
class PeftChoice:
    """Which weights are trained.

    Attributes:
        kind: ``lora`` (Hu et al. 2021, arXiv 2106.09685), ``adalora`` (Zhang et al. 2023, arXiv
            2303.10512: ranks move to where they matter), ``prefix`` (Li and Liang 2021, arXiv
            2101.00190: keys and values before the prompt; cannot be merged), or ``full``.
        rank: of LoRA; AdaLoRA starts at half as much again and ends at this mean rank.
        layers: how many of the top layers get an adapter; 0: all. Fewer are faster, because the
            backward pass stops below them. LoRA and AdaLoRA only.
        prefix_tokens: length of the prefix.
    """

    kind: str = "lora"
    rank: int = 16
    layers: int = 0
    prefix_tokens: int = 16

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("peft kind", self.kind, list(KINDS))
        for name, least in (("rank", 1), ("layers", 0), ("prefix_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"peft.{name} is {getattr(self, name)}; it must be at least {least}."
                )


def finetune(
    writer: Copywriter,
    texts: Sequence[str],
    rows: CopyRows,
    *,
    steps: int = 40,
    lr: float = 1e-3,
    batch_size: int = 16,
    peft: PeftChoice | None = None,
    micro_batch: int = 0,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
    seed: int,
    folder: str | Path | None = None,
    save_every: int = 10,
    on_progress: OnProgress | None = None,
) -> Spent:
    """Train ``writer`` in place to write ``texts`` for ``rows``.

    Adapters are merged at the end, so that ``writer.model`` is a plain model again; with prefix
    tuning it is a PEFT model. If training fails, the writer is what it was. Under several
    processes each takes its share of every batch, and the result is one process's up to the order
    of sums.

    Args:
        writer: without prefix; other adapters that it wears are merged first.
        texts: N copies.
        rows: N tasks that they answer.
        steps: updates of AdamW.
        lr: its peak learning rate, reached in a tenth of the steps, then falling linearly to 0.
            About 1e-3 for LoRA and AdaLoRA, 1e-2 for a prefix, 5e-5 for full tuning of SmolLM2.
        batch_size: B, rows of an update.
        peft: which weights; None is LoRA on all layers.
        micro_batch: rows of a backward pass, whose gradients are added up to the batch's; 0: all
            of a process's. It only bounds memory.
        bf16: multiply matrices in bfloat16; what is trained stays float32.
        gradient_checkpointing: compute the layers again in the backward pass instead of keeping
            what they put out: less memory, more time.
        seed: of the order of the rows and of the adapter's first weights.
        folder: where a checkpoint goes every ``save_every`` steps; the same call resumes from it
            with the same result. None: no checkpoints, and nothing is written.
        save_every: steps between two checkpoints.
        on_progress: called after each step with its number, ``loss`` (nats per token) and ``lr``.

    Returns:
        What it cost; with a resumed run, all of it.

    Raises:
        UserError: no rows, an empty text or brief, settings out of range, a checkpoint of other
            settings, a loss that is not a number.
    """
    peft = peft or PeftChoice()
    _check(texts, rows, steps, lr, batch_size, save_every)
    passes = Passes(batch_size, micro_batch, bf16, gradient_checkpointing)
    wanted = _fingerprint(writer, texts, rows, (steps, lr, batch_size, seed), peft)
    wanted |= {"bf16": bf16} if bf16 else {}
    path = None if folder is None else Path(folder) / CHECKPOINT
    found = None if path is None else read_checkpoint(path, wanted)
    shared = (writer, texts, rows, steps, lr, peft, passes, seed, found)
    with peers().together(_finetune, *shared):
        return _finetune(*shared, path, wanted, save_every, on_progress)


def _finetune(
    writer: Copywriter,
    texts: Sequence[str],
    rows: CopyRows,
    steps: int,
    lr: float,
    peft: PeftChoice,
    passes: Passes,
    seed: int,
    found: tuple[dict[str, torch.Tensor], dict[str, Any]] | None,
    path: Path | None = None,
    wanted: Mapping[str, Any] | None = None,
    save_every: int = 1,
    on_progress: OnProgress | None = None,
) -> Spent:
    """Fine-tune as one of the processes; the first one alone has a ``path`` and tells."""
    tensors, state = found or ({}, {"step": 0, "spent": Spent().to_dict()})
    start = writer.merged()
    if peft.kind not in ("lora", "prefix") and is_quantised(start.model):
        raise UserError(
            f"sft.peft.kind is {peft.kind}, but weights of few bits learn through lora or prefix; "
            "choose one of these, or set quantisation to null."
        )
    with isolated_rng(seed), _adapted(start, peft, steps) as model:
        before = Spent.from_dict(state["spent"])
        job = Job(start, model, path, wanted or {}, save_every, steps, before)
        job.restore(tensors, int(state["step"]), lr)
        if job.done < steps:
            with tempfile.TemporaryDirectory() as scratch:
                plan = _plan(start, texts, rows, steps * passes.batch, seed)
                trainer = plan_trainer(job, plan[job.done * passes.batch :], passes, scratch)
                trainer.add_callback(StepCallback(job, trainer, on_progress))
                quiet(trainer)
                trainer.train()
        job.finish(writer, peft)
    return job.spent


def _check(
    texts: Sequence[str], rows: CopyRows, steps: int, lr: float, batch_size: int, save_every: int
) -> None:
    if len(texts) != len(rows):
        raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
    if not texts:
        raise UserError("there is no copy to fine-tune on; give at least one text and its task.")
    for name, value in (("steps", steps), ("batch_size", batch_size), ("save_every", save_every)):
        if value < 1:
            raise UserError(f"sft.{name} is {value}; it must be at least 1.")
    if not lr > 0 or not math.isfinite(lr):
        raise UserError(f"sft.lr is {lr}; it must be a positive number.")
    for row, (text, brief) in enumerate(zip(texts, rows.briefs, strict=True)):
        if not text.strip() or not brief.strip():
            what = "brief" if text.strip() else "text"
            raise UserError(
                f"the {what} of row {row} is empty; leave such rows out of fine-tuning."
            )


def _fingerprint(
    writer: Copywriter,
    texts: Sequence[str],
    rows: CopyRows,
    numbers: tuple[int, float, int, int],
    peft: PeftChoice,
) -> dict[str, Any]:
    """Return what a run must share with a checkpoint to go on from it."""
    content = json.dumps([list(texts), list(rows.prompts)]).encode("utf-8", "surrogatepass")
    names = ("steps", "lr", "batch_size", "seed")
    return {
        "stage": "sft",
        "writer": writer.name,
        "weights": weights_digest(writer.model),
        "max_prompt_tokens": writer.max_prompt_tokens,
        "max_new_tokens": writer.max_new_tokens,
        "texts": hashlib.sha256(content).hexdigest()[:16],
        **dict(zip(names, numbers, strict=True)),
        **{f"peft.{name}": value for name, value in asdict(peft).items()},
    }


@contextmanager
def _adapted(start: Copywriter, peft: PeftChoice, steps: int) -> Iterator[Any]:
    """Yield the model to train; adapters that are still in it at the end are taken out.

    PEFT puts adapters into the writer's own modules, so a failure must not leave them there.
    """
    from peft import get_peft_model

    before = {name: weight.requires_grad for name, weight in start.model.named_parameters()}
    if peft.kind == "full":
        # Float32 masters, whatever the weights are: bfloat16 would lose small updates.
        yield copy.deepcopy(start.model).float().requires_grad_(True)
        return
    config = _peft_config(peft, start.model, steps)
    # The adapters are float32 (PEFT's default): they are their own masters.
    model = get_peft_model(start.model, config)
    try:
        yield model
    except BaseException:
        if peft.kind != "prefix":
            model.unload()
        raise
    finally:
        for name, weight in start.model.named_parameters():
            if weight.is_floating_point():
                weight.requires_grad_(before.get(name, True))


def _peft_config(peft: PeftChoice, model: Any, steps: int) -> Any:
    from peft import AdaLoraConfig, LoraConfig, PrefixTuningConfig

    if peft.kind == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=peft.prefix_tokens)
    depth = int(model.config.num_hidden_layers)
    top = list(range(depth - peft.layers, depth)) if 0 < peft.layers < depth else None
    common: dict[str, Any] = {
        "lora_alpha": 2 * peft.rank,
        "lora_dropout": 0.0,
        # By name: "all-linear" cannot be limited to some layers.
        "target_modules": linear_names(model),
        "layers_to_transform": top,
        "task_type": "CAUSAL_LM",
    }
    if peft.kind == "lora":
        return LoraConfig(r=peft.rank, **common)
    return AdaLoraConfig(
        init_r=peft.rank + (peft.rank + 1) // 2,
        target_r=peft.rank,
        total_step=steps,
        tinit=steps // 6,
        tfinal=steps // 3,
        deltaT=1,
        **common,
    )


@dataclass
class Job:
    """A run of fine-tuning: weights, optimiser and what it has cost so far."""

    start: Copywriter
    model: Any
    path: Path | None
    wanted: Mapping[str, Any]
    save_every: int
    steps: int
    before: Spent

    def restore(self, tensors: Mapping[str, torch.Tensor], done: int, lr: float) -> None:
        """Put a checkpoint's tensors back (none at the start) and make optimiser and schedule."""
        self.done, self.trained = done, 0
        self.seconds, self._clock = 0.0, time.process_time()
        put_weights(self.model, _under(tensors, "weight/"))
        weights = {n: w for n, w in self.model.named_parameters() if w.requires_grad}
        self.weights = weights
        self.adamw = torch.optim.AdamW(weights.values(), lr=lr, weight_decay=0.0, foreach=False)
        for key, value in _under(tensors, "adamw/").items():
            name, _, moment = key.rpartition("/")
            where = "cpu" if moment == "step" else weights[name].device
            self.adamw.state[weights[name]][moment] = value.to(where)
        for key, value in _under(tensors, "adalora/").items():
            table, _, name = key.partition("/")
            getattr(self.model.base_model.rankallocator, table)[name] = value.to(self.start.device)
        warm = max(1, self.steps // 10)

        def factor(step: int) -> float:
            at = done + step
            return min((at + 1) / warm, max(0.0, 1 - (at - warm) / max(1, self.steps - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, factor)

    @property
    def spent(self) -> Spent:
        """The bill so far."""
        return self.before + Spent(trained=self.trained, cpu_seconds=self.seconds)

    def clock(self) -> float:
        """Return this process's CPU seconds since the last call."""
        last, self._clock = self._clock, time.process_time()
        return self._clock - last

    @property
    def adalora(self) -> Any | None:
        """AdaLoRA's rank allocator; None with other kinds."""
        return getattr(getattr(self.model, "base_model", None), "rankallocator", None)

    def step_done(self) -> None:
        """Count a step; let AdaLoRA move ranks; write a checkpoint where one is due."""
        self.done += 1
        if self.path is not None and (self.done % self.save_every == 0 or self.done == self.steps):
            tensors = {f"weight/{n}": w for n, w in trainable(self.model).items()}
            for name, weight in self.weights.items():
                for moment in _MOMENTS:
                    tensors[f"adamw/{name}/{moment}"] = self.adamw.state[weight][moment]
            if self.adalora is not None:
                for table in _IMPORTANCE:
                    for name, value in getattr(self.adalora, table).items():
                        tensors[f"adalora/{table}/{name}"] = value
            state = {"step": self.done, "spent": self.spent.to_dict()}
            write_checkpoint(self.path, self.wanted, tensors, state)

    def finish(self, writer: Copywriter, peft: PeftChoice) -> None:
        """Give the trained weights to ``writer``."""
        if peft.kind == "full":
            start = dict(self.start.model.named_parameters())
            trained = {n: w.detach().to(start[n].dtype) for n, w in self.model.named_parameters()}
            put_weights(self.start.model, trained)
            model = self.start.model
        else:
            model = self.model if peft.kind == "prefix" else without_adapters(self.model)
        base = writer.base if not is_peft(writer.model) else None
        writer.model = model.eval()
        writer.base = base if peft.kind == "prefix" else None
        writer.quantisation = writer.quantisation if is_quantised(model) else None


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _plan(
    writer: Copywriter, texts: Sequence[str], rows: CopyRows, n: int, seed: int
) -> list[dict[str, list[int]]]:
    """Return the n examples of the run in their order: one permutation of the rows after another.

    Labels are -100 on the prompt, so that only the response is learned.
    """
    rng = np.random.default_rng(seed)
    epochs = [rng.permutation(len(texts)) for _ in range(-(-n // len(texts)))]
    prompts = {prompt: writer.style.render(prompt) for prompt in set(rows.prompts)}
    plan = []
    for row in np.concatenate(epochs)[:n].tolist():
        prompt = prompts[rows.prompts[row]]
        response = writer.style.response_ids(texts[row], writer.max_new_tokens)
        labels = [-100] * len(prompt) + response
        plan.append({"input_ids": [*prompt, *response], "labels": labels})
    return plan


__all__ = ["CHECKPOINT", "KINDS", "PeftChoice", "finetune"]
