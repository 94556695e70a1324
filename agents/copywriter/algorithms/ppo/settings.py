"""PPO's settings: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from copygym.agents.copywriter.training.run import Watch
from copygym.core.errors import UserError, unknown_name


@dataclass(frozen=True, kw_only=True)
class PPOSettings(Watch):
    """Settings of PPO, besides those of `Watch`.

    Attributes:
        batch: samples per update.
        minibatches: optimiser steps per epoch; divides ``batch``. With 1 the first epoch's pass
            also gives the old log probabilities and values, which saves a pass.
        epochs: passes over each batch.
        micro_batch: texts per backward pass; 0: the whole minibatch. It bounds memory, if
            ``minibatches`` is 2 or more (with 1 the first epoch's pass holds the whole batch); the
            loss is that of the minibatch whatever it is.
        bf16: hold and multiply the frozen weights in bfloat16; what is trained stays float32.
        gradient_checkpointing: compute the layers again in the backward pass instead of keeping
            what they put out: less memory, more time.
        learning_rate: of AdamW on the language model, at the start.
        value_learning_rate: of AdamW on the value head, at the start.
        value_start: of the value head's constant: "mean" is the mean score of the first batch,
            "zero" is stock's.
        decay: True: the rates fall linearly to 0 over the budget.
        clip: the ratio stays within 1 - clip ... 1 + clip.
        value_clip: the value stays within this of the old value; 0: not clipped.
        gamma: discount; 1: none.
        lam: of the advantages: 1 is Monte Carlo, 0 one step.
        vf_coef: weight of the value loss.
        kl_coef: price of a nat of KL from the starting writer; 0: free.
        kl_estimator: of the penalty: "k1" or "k3" (see the module `losses`). Both are reported.
        kl_control: "fixed", or "adaptive": ``kl_coef`` moves until KL is ``kl_target``.
        kl_target: nats per text, for the adaptive control.
        kl_horizon: samples in which the adaptive control reacts.
        missing_eos_penalty: taken from the score of a text that didn't end or holds a special
            token; 0: nothing. None: such a text scores below every other of its batch.
        whiten_rewards: scale the token rewards of a batch to unit variance.
        whiten_advantages: standardise the advantages of a batch.
        top_p: nucleus mass of the samples. Below 1 the samples are not from the policy that is
            trained, and its ratios don't know; leave it at 1 for training.
        max_grad_norm: gradients beyond this norm are scaled down; 0: never.
        tune: "lora" or "full", see `Policy`.
        rank: LoRA's r.
        targets: "all" linear maps get an adapter, or "qv" alone.
        layers: how many of the top layers are trained; 0: all. The others run once per rollout.
        prompt_gradient: False: keys and values of the prompts are those of the update's start and
            take no gradient, so that the epochs' passes run over the responses alone. Saves time
            with Llamas, changes nothing with others.
        vocabulary: the only tokens that may be written: a list of token ids, "copy" for those of
            ``copy_texts`` and of the tasks' briefs, or "full". The trained writer keeps it.
        copy_texts: examples of copy, for ``vocabulary="copy"``.
        max_bad_steps: optimiser steps in a row with a loss or gradient that is not finite, after
            which training stops; they are skipped. 0: never.
        collapse_patience: updates in a row with collapsed texts after which training stops; 0:
            never. Collapsed: entropy below ``min_entropy``, all texts alike, most of them empty,
            or less fluent than ``max_fluency_loss`` allows. The weights of such an update are
            never those that come back, if a judge chooses them.
        min_entropy: nats per token.
        max_fluency_loss: nats per token by which the mean log probability of a batch under the
            starting writer may lie below that of the first batch, which this wrote; 0: any.
    """

    batch: int = 32
    minibatches: int = 1
    epochs: int = 4
    micro_batch: int = 32
    bf16: bool = False
    gradient_checkpointing: bool = False
    learning_rate: float = 1e-3
    value_learning_rate: float = 1e-2
    value_start: str = "mean"
    decay: bool = False
    clip: float = 0.2
    value_clip: float = 0.2
    gamma: float = 1.0
    lam: float = 0.95
    vf_coef: float = 0.1
    kl_coef: float = 0.1
    kl_estimator: str = "k1"
    kl_control: str = "fixed"
    kl_target: float = 6.0
    kl_horizon: int = 2000
    missing_eos_penalty: float | None = None
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    top_p: float = 1.0
    max_grad_norm: float = 1.0
    tune: str = "lora"
    rank: int = 8
    targets: str = "all"
    layers: int = 0
    prompt_gradient: bool = True
    vocabulary: str | Sequence[int] = "full"
    copy_texts: Sequence[str] = ()
    max_bad_steps: int = 3
    collapse_patience: int = 3
    min_entropy: float = 0.01
    max_fluency_loss: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch", "minibatches", "epochs", "rank", "kl_horizon"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be positive.")
        for name in _NOT_NEGATIVE:
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must lie in [0, 1].")
        if self.batch % self.minibatches:
            raise UserError(
                f"minibatches is {self.minibatches}; it must divide batch {self.batch}."
            )
        for kind, value, choices in (
            ("kl_estimator", self.kl_estimator, ["k1", "k3"]),
            ("kl_control", self.kl_control, ["fixed", "adaptive"]),
            ("value_start", self.value_start, ["mean", "zero"]),
        ):
            if value not in choices:
                raise unknown_name(kind, value, choices)
        if isinstance(self.vocabulary, str) and self.vocabulary not in ("full", "copy"):
            raise unknown_name("vocabulary", self.vocabulary, ["full", "copy"])


_POSITIVE = ("learning_rate", "value_learning_rate", "clip", "kl_target")
_NOT_NEGATIVE = (
    "micro_batch",
    "value_clip",
    "vf_coef",
    "kl_coef",
    "missing_eos_penalty",
    "max_grad_norm",
    "layers",
    "max_bad_steps",
    "collapse_patience",
    "min_entropy",
    "max_fluency_loss",
)

__all__ = ["PPOSettings"]
