"""Supervised fine-tuning on texts, through TRL's SFTTrainer and PEFT.

The loss is the mean cross-entropy of the response tokens, eos included, given the prompt. Where
the model is a Llama with plain LoRA, the module `losses` computes it; all else goes through the
model's own forward and TRL's chunked loss.

Nothing of the Trainer's own checkpoints is used (they are pickles): batches are laid out before
training, so that trained weights, AdamW's moments and a number of steps are all that a checkpoint
needs.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from copygym.agents.copywriter.algorithms.sft.losses import lora_losses
from copygym.agents.copywriter.algorithms.sft.plan import Care, order_of
from copygym.agents.copywriter.algorithms.sft.trainer import Passes, StepCallback, plan_trainer
from copygym.agents.copywriter.llama.adapters import adapter_places, fast_path, is_peft
from copygym.agents.copywriter.llama.likelihood import hidden_states
from copygym.agents.copywriter.llama.quantisation import is_quantised, without_adapters
from copygym.agents.copywriter.llama.trunk import LlamaTrunk
from copygym.agents.copywriter.training.budget import Meter, Spent
from copygym.agents.copywriter.training.run import isolated_rng, put_weights
from copygym.agents.copywriter.training.trl_support import quiet
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError, unknown_name
from copygym.core.processes import peers
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import CopyRows

KINDS = ("lora", "adalora", "prefix", "full")

OnProgress = Callable[[int, dict[str, float]], None]

#: Texts of a look that are read together.
_LOOK_ROWS = 32
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


@dataclass(frozen=True)
class Lesson:
    """What is learned, and how: all that the processes of a training must agree on.

    Attributes:
        texts: N copies.
        rows: N tasks that they answer.
        steps: updates of AdamW.
        lr: its peak learning rate.
        peft: which weights.
        passes: how a batch goes through the model.
        seed: of the order of the rows, of the adapter's first weights and of what is dropped.
        care: what keeps it from learning its texts by heart.

    Raises:
        UserError: no rows, an empty text or brief, a number out of range.
    """

    texts: Sequence[str]
    rows: CopyRows
    steps: int
    lr: float
    peft: PeftChoice
    passes: Passes
    seed: int
    care: Care = field(default_factory=Care)

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.rows):
            raise ValueError(f"got {len(self.texts)} texts for {len(self.rows)} tasks")
        if not self.texts:
            raise UserError(
                "there is no copy to fine-tune on; give at least one text and its task."
            )
        if self.steps < 1:
            raise UserError(f"sft.steps is {self.steps}; it must be at least 1.")
        if not self.lr > 0 or not math.isfinite(self.lr):
            raise UserError(f"sft.lr is {self.lr}; it must be a positive number.")
        for row, (text, brief) in enumerate(zip(self.texts, self.rows.briefs, strict=True)):
            if not text.strip() or not brief.strip():
                what = "brief" if text.strip() else "text"
                raise UserError(
                    f"the {what} of row {row} is empty; leave such rows out of fine-tuning."
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
    on_progress: OnProgress | None = None,
) -> Spent:
    """Train ``writer`` in place to write ``texts`` for ``rows``.

    This is the training alone; the algorithm `copygym.agents.copywriter.algorithms.sft.algorithm.
    SFT` adds checkpoints, a judge and a history. Adapters are merged at the end, so that
    ``writer.model`` is a plain model again; with prefix tuning it is a PEFT model. If training
    fails, the writer is what it was. Under several processes each takes its share of every batch,
    and the result is one process's up to the order of sums.

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
        on_progress: called after each step with its number, ``loss`` (nats per token) and ``lr``.

    Returns:
        What it cost.

    Raises:
        UserError: no rows, an empty text or brief, settings out of range, a loss that is not a
            number.
    """
    passes = Passes(batch_size, micro_batch, bf16, gradient_checkpointing)
    lesson = Lesson(tuple(texts), rows, steps, lr, peft or PeftChoice(), passes, seed)

    def end_step(job: Job, loss: float, lr: float) -> bool:
        if on_progress is not None:
            on_progress(job.done, {"loss": loss, "lr": lr})
        return True

    meter = Meter()
    together = peers().together(take_part, writer, lesson, {}, {}, 0)
    with meter, together, tuning(writer.merged(), lesson) as job:
        job.restore({}, 0)
        job.train(meter, end_step)
        job.finish(writer)
    return meter.spent


def take_part(
    writer: Copywriter,
    lesson: Lesson,
    weights: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    done: int,
) -> None:
    """Train as one of the processes beside the first, which alone judges, saves and tells.

    Args:
        writer: the starting writer.
        lesson: what is learned.
        weights: trained weights to go on from; empty at the start.
        state: what `Job.tensors` returned; empty at the start.
        done: steps before.
    """
    with tuning(writer.merged(), lesson) as job:
        put_weights(job.model, weights)
        job.restore(state, done)
        job.train(Meter(), lambda *_: True)


@contextmanager
def tuning(start: Copywriter, lesson: Lesson) -> Iterator[Job]:
    """Yield the job of training a writer without adapters.

    Raises:
        UserError: weights of few bits that cannot learn in the way that was chosen.
    """
    if lesson.peft.kind not in ("lora", "prefix") and is_quantised(start.model):
        raise UserError(
            f"sft.peft.kind is {lesson.peft.kind}, but weights of few bits learn through lora or "
            "prefix; choose one of these, or set quantisation to null."
        )
    with isolated_rng(lesson.seed), _adapted(start, lesson) as model:
        yield Job(start, model, lesson)


@contextmanager
def _adapted(start: Copywriter, lesson: Lesson) -> Iterator[Any]:
    """Yield the model to train; adapters that are still in it at the end are taken out.

    PEFT puts adapters into the writer's own modules, so a failure must not leave them there.
    """
    from peft import get_peft_model

    before = {name: weight.requires_grad for name, weight in start.model.named_parameters()}
    if lesson.peft.kind == "full":
        # Float32 masters, whatever the weights are: bfloat16 would lose small updates.
        yield copy.deepcopy(start.model).float().requires_grad_(True)
        return
    config = _peft_config(lesson, start.model)
    # The adapters are float32 (PEFT's default): they are their own masters.
    model = get_peft_model(start.model, config)
    if lesson.peft.kind == "prefix":
        _check_prefix(model, start)
    try:
        yield model
    except BaseException:
        if lesson.peft.kind != "prefix":
            model.unload()
        raise
    finally:
        for name, weight in start.model.named_parameters():
            if weight.is_floating_point():
                weight.requires_grad_(before.get(name, True))


def _check_prefix(model: Any, start: Copywriter) -> None:
    """Raise unless a model reads prefix tuning's keys, which need plain attention in every layer.

    Raises:
        UserError: it does not.
    """
    ids = torch.full((2, 2), start.style.eos_id, device=start.device)
    mask = torch.ones_like(ids)
    try:
        with torch.no_grad():
            hidden_states(model, ids, mask)
            model(input_ids=ids, attention_mask=mask, labels=ids)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError):
        raise UserError(
            "prefix tuning needs plain attention in every layer, which "
            f"{type(start.model).__name__} has not; choose peft kind lora, adalora or full."
        ) from None


def _peft_config(lesson: Lesson, model: Any) -> Any:
    from peft import AdaLoraConfig, LoraConfig, PrefixTuningConfig

    peft = lesson.peft
    if peft.kind == "prefix":
        return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=peft.prefix_tokens)
    common: dict[str, Any] = {
        "lora_alpha": 2 * peft.rank,
        "lora_dropout": 0.0 if _is_ours(lesson, model) else lesson.care.dropout,
        # By name: "all-linear" cannot be limited to some layers.
        **adapter_places(model, peft.layers),
        "task_type": "CAUSAL_LM",
    }
    if peft.kind == "lora":
        return LoraConfig(r=peft.rank, **common)
    return AdaLoraConfig(
        init_r=peft.rank + (peft.rank + 1) // 2,
        target_r=peft.rank,
        total_step=lesson.steps,
        tinit=lesson.steps // 6,
        tfinal=lesson.steps // 3,
        deltaT=1,
        orth_reg_weight=0.0,  # `PlanTrainer` adds it, once a batch
        **common,
    )


def _is_ours(lesson: Lesson, model: Any) -> bool:
    """Tell whether `LlamaTrunk` computes the losses, and not the model's own forward."""
    return (
        lesson.peft.kind == "lora"
        and not lesson.passes.own_forward
        and fast_path(model) is not None
    )


@dataclass
class Job:
    """A training under way: weights, optimiser and the number of steps done.

    Attributes:
        start: the writer that is trained, without adapters.
        model: what is trained: its model with an adapter in it, or a float32 copy.
        lesson: what is learned.
        done: steps so far.
        others_seconds: CPU seconds of the other processes in the last step.
        tokens: response tokens of the last step's batch, over all processes.
    """

    start: Copywriter
    model: Any
    lesson: Lesson
    done: int = 0
    others_seconds: float = 0.0
    tokens: int = 0

    def restore(self, state: Mapping[str, torch.Tensor], done: int) -> None:
        """Make optimiser and schedule, as they were after ``done`` steps.

        Args:
            state: what `tensors` returned then; empty at the start.
            done: steps so far.
        """
        self.done, self._clock, steps = done, time.process_time(), self.lesson.steps
        weights = {n: w for n, w in self.model.named_parameters() if w.requires_grad}
        self.weights = weights
        self.adamw = torch.optim.AdamW(
            weights.values(),
            lr=self.lesson.lr,
            weight_decay=self.lesson.care.weight_decay,
            foreach=False,
        )
        for key, value in _under(state, "adamw/").items():
            name, _, moment = key.rpartition("/")
            where = "cpu" if moment == "step" else weights[name].device
            self.adamw.state[weights[name]][moment] = value.to(where)
        for key, value in _under(state, "adalora/").items():
            table, _, name = key.partition("/")
            getattr(self.model.base_model.rankallocator, table)[name] = value.to(self.start.device)
        warm = max(1, steps // 10)

        def factor(step: int) -> float:
            at = done + step
            return min((at + 1) / warm, max(0.0, 1 - (at - warm) / max(1, steps - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, factor)

    def train(self, meter: Meter, end_step: Callable[[Job, float, float], bool]) -> None:
        """Take the steps that are left.

        Args:
            meter: charged for tokens, and for the CPU seconds of the other processes.
            end_step: called after each step with this job, the batch's mean loss, nats per token,
                and the learning rate; the first process's answer says whether to go on.
        """
        lesson, batch = self.lesson, self.lesson.passes.batch
        if self.done >= lesson.steps:
            return

        def ended(loss: float, lr: float) -> bool:
            self.done += 1
            meter.add(Spent(trained=self.tokens, cpu_seconds=self.others_seconds))
            return bool(peers().tell(peers().first and end_step(self, loss, lr)))

        with tempfile.TemporaryDirectory() as scratch:
            trainer = plan_trainer(self, self._plan()[self.done * batch :], lesson.passes, scratch)
            trainer.add_callback(StepCallback(self, trainer, ended))
            quiet(trainer)
            trainer.train()

    def clock(self) -> float:
        """Return this process's CPU seconds since the last call."""
        last, self._clock = self._clock, time.process_time()
        return self._clock - last

    @property
    def step_seed(self) -> int:
        """The seed of what the step under way leaves out."""
        return derived_seed(self.lesson.seed, "step", self.done)

    @cached_property
    def trunk(self) -> LlamaTrunk | None:
        """The Llama whose LoRA is trained, where its losses are ours to compute."""
        lm = fast_path(self.model) if is_peft(self.model) else None
        return None if lm is None or self.lesson.passes.own_forward else LlamaTrunk(lm)

    @torch.no_grad()
    def scores(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        """Return the mean log probability per token, nats, of N texts, (N,) float64; no dropout."""
        trunk, style = self.trunk, self.start.style
        if trunk is None:
            total, tokens = replace(self.start, model=self.model).logprobs(texts, rows)
            return total / tokens
        prompts = self.start.prompts(rows)
        responses = [style.response_ids(text, self.start.max_new_tokens) for text in texts]
        found = []
        for at in range(0, len(prompts), _LOOK_ROWS):
            part = slice(at, at + _LOOK_ROWS)
            losses = lora_losses(
                trunk,
                fast_path(self.model),
                prompts[part],
                responses[part],
                prompt_gradient=False,
            )
            lengths = [len(response) for response in responses[part]]
            found += [-float(own.double().mean()) for own in losses.split(lengths)]
        return np.array(found)

    @property
    def adalora(self) -> Any | None:
        """AdaLoRA's rank allocator; None with other kinds."""
        return getattr(getattr(self.model, "base_model", None), "rankallocator", None)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint needs besides the trained weights, by name."""
        tensors = {
            f"adamw/{name}/{moment}": self.adamw.state[weight][moment]
            for name, weight in self.weights.items()
            for moment in _MOMENTS
        }
        if self.adalora is not None:
            for table in _IMPORTANCE:
                for name, value in getattr(self.adalora, table).items():
                    tensors[f"adalora/{table}/{name}"] = value
        return tensors

    def finish(self, writer: Copywriter) -> None:
        """Give the trained weights to ``writer``, which may be the starting one."""
        prefix = self.lesson.peft.kind == "prefix"
        if self.lesson.peft.kind == "full":
            start = dict(self.start.model.named_parameters())
            trained = {n: w.detach().to(start[n].dtype) for n, w in self.model.named_parameters()}
            put_weights(self.start.model, trained)
            model = self.start.model
        else:
            model = self.model if prefix else without_adapters(self.model)
        writer.model = model.eval()
        writer.base = self.start.base if prefix else None
        writer.quantisation = self.start.quantisation if is_quantised(model) else None

    def _plan(self) -> list[dict[str, list[int]]]:
        """Return the examples of the run in their order.

        Labels are -100 on the prompt, so that only the response is learned.
        """
        lesson, style = self.lesson, self.start.style
        n = lesson.steps * lesson.passes.batch
        order = order_of(lesson.texts, lesson.rows, n, lesson.passes.texts_per_prompt, lesson.seed)
        prompts = {prompt: style.render(prompt) for prompt in set(lesson.rows.prompts)}
        plan = []
        for text, row in zip(*(part.tolist() for part in order), strict=True):
            prompt = prompts[lesson.rows.prompts[row]]
            response = style.response_ids(lesson.texts[text], self.start.max_new_tokens)
            labels = [-100] * len(prompt) + response
            plan.append({"input_ids": [*prompt, *response], "labels": labels})
        return plan


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


__all__ = ["KINDS", "Job", "Lesson", "PeftChoice", "finetune", "take_part", "tuning"]
