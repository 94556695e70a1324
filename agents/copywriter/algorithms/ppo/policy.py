"""The policy of PPO: a language model with weights in training, a value head on its trunk.

Shapes: B texts, T response steps, n read states of all texts, d hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from copygym.agents.copywriter.llama.adapters import adapter_places, fast_path, layer_stack
from copygym.agents.copywriter.llama.backends import (
    Backend,
    HFBackend,
    LlamaBackend,
    Prepared,
    Texts,
    master_name,
)
from copygym.agents.copywriter.llama.decoding import Decoder
from copygym.agents.copywriter.llama.kernels import token_logprobs
from copygym.agents.copywriter.llama.quantisation import is_quantised
from copygym.agents.copywriter.llama.sampling import vocabulary_subset
from copygym.agents.copywriter.llama.trunk import GROUPS, base_weight
from copygym.agents.copywriter.training.run import isolated_rng
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError, unknown_name

#: What ``targets`` may be; "qv" is PEFT's own choice, which is queries and values in a Llama.
TARGETS = ("all", "qv")


@dataclass(frozen=True)
class Evaluated:
    """What the policy thinks of B texts.

    Attributes:
        logprobs_BT: float32 log probabilities of the tokens; 0 outside the texts.
        values_BT: float32 values of the states; 0 outside.
        entropy_BT: float32 entropies at the tokens (no gradient); zeros where not asked for.
    """

    logprobs_BT: Tensor
    values_BT: Tensor
    entropy_BT: Tensor


class ValueHead(nn.Module):
    """V(h) = w . h / |h| + b in float32, zero at first.

    On the policy's own trunk: a second language model for values would double the work. The unit
    vector makes one step of the optimiser change V by at most about its learning rate times the
    square root of d, whatever the scale of the trunk's states.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (...,) float32 values of hidden states (..., d)."""
        unit = nn.functional.normalize(hidden.float(), dim=-1)
        return unit @ self.weight + self.bias


class Policy(nn.Module):
    """Log probabilities and values of texts, under the policy and under the reference.

    Args:
        writer: where training starts, and the reference; left as it is. Adapters that it wears
            are merged first, so that the reference is the policy without its own adapter.
        tune: "lora" trains adapters (Hu et al. 2022, arXiv 2106.09685), "full" the linear maps of
            the trained layers themselves.
        rank: LoRA's r; its alpha is 2 r.
        targets: which maps get an adapter: "all", or "qv" for queries and values alone.
        layers: how many of the top layers are trained; 0: all. In a Llama the layers below run
            once per rollout for policy and reference together.
        vocabulary: the only tokens that may be written, the end token always among them; None:
            the writer's own limit, or all. Policy and reference are normalised over these.
        temperature: divides the logits of both.
        seed: of the adapters' first weights.
        bf16: put the frozen weights into bfloat16, unless they are of few bits; the trained writer
            keeps that.
        gradient_checkpointing: keep no layer's output for the backward pass.
        prompt_gradient: False: what the prompts say to the trained layers is computed once a
            rollout and takes no gradient; the passes run over the responses alone. Other
            architectures than Llama's run the whole texts whatever it is.

    Raises:
        UserError: an unknown name, a rank below 1, a prefix-tuned writer, "full" and few bits.
    """

    def __init__(
        self,
        writer: Copywriter,
        *,
        tune: str = "lora",
        rank: int = 8,
        targets: str = "all",
        layers: int = 0,
        vocabulary: Sequence[int] | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        bf16: bool = False,
        gradient_checkpointing: bool = False,
        prompt_gradient: bool = True,
    ) -> None:
        super().__init__()
        if tune not in ("lora", "full"):
            raise unknown_name("way of tuning", tune, ["lora", "full"])
        self.temperature = temperature
        self.writer = writer.merged().copy()
        if bf16 and not is_quantised(self.writer.model):
            self.writer.model.to(torch.bfloat16)
        depth = len(layer_stack(self.writer.model))
        top = range(depth - layers if 0 < layers < depth else 0, depth)
        reference, masters = None, {}
        if tune == "lora":
            self._adapt(rank, targets, top, seed)
        lm = fast_path(self.writer.model)
        if tune == "full" and lm is not None:
            masters = _masters(lm, top)
        elif tune == "full":
            if is_quantised(self.writer.model):
                raise UserError(
                    "tune is full, but weights of few bits learn through lora; choose it, or set "
                    "quantisation to null."
                )
            self.writer.model.float()
            reference = self.writer.copy().model
            _train_layers(self.writer.model, top)
        self.backend: Backend = (
            HFBackend(self.writer.model, reference, gradient_checkpointing)
            if lm is None
            else LlamaBackend(lm, top.start, masters, gradient_checkpointing, prompt_gradient)
        )
        self.lm = self.writer.model
        self.masters = nn.ParameterDict(masters)
        self.value = ValueHead(self.backend.hidden_size).to(self.backend.device)
        self._limit(writer.vocabulary if vocabulary is None else vocabulary)

    def _adapt(self, rank: int, targets: str, top: range, seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        if rank < 1:
            raise UserError(f"rank is {rank}; a LoRA adapter needs at least 1.")
        if targets not in TARGETS:
            raise unknown_name("choice of LoRA targets", targets, list(TARGETS))
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            **adapter_places(self.writer.model, len(top), targets),
            task_type="CAUSAL_LM",
        )
        with isolated_rng(seed):
            # float32 adapters are the masters that the optimiser steps; the trunk casts them.
            self.writer.model = get_peft_model(
                self.writer.model, config, autocast_adapter_dtype=True
            ).eval()

    def _limit(self, vocabulary: Sequence[int] | None) -> None:
        self.vocabulary = None
        self._head = self.backend.head
        if vocabulary is None:
            return
        self.vocabulary = vocabulary_subset(vocabulary, self.writer.style.end_ids)
        size = len(self._head.weight)
        if int(self.vocabulary[-1]) >= size or int(self.vocabulary[0]) < 0:
            raise UserError(
                f"the vocabulary holds token {int(self.vocabulary[-1])}, but the model has {size} "
                "tokens; make it with the model's own tokenizer."
            )
        self._head = self._head.rows(self.vocabulary.to(self.backend.device))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.backend.device

    @property
    def allowed(self) -> list[int] | None:
        """The tokens that may be written; None: all."""
        return None if self.vocabulary is None else self.vocabulary.tolist()

    def decoder(self) -> Decoder:
        """Return a decoder of the policy as it is now; hand `vocabulary` to `sample` with it."""
        return self.backend.decoder()

    def prepare(self, texts: Texts) -> Prepared:
        """Do once for a rollout what no update changes."""
        return self.backend.prepare(texts)

    def evaluate(self, part: Prepared, *, entropy: bool = False) -> Evaluated:
        """Return log probabilities, values and, if asked for, entropies of the texts."""
        texts = part.texts
        hidden = self.backend.hidden(part, trained=True)
        logprobs, entropies = self._logprobs(hidden, texts, entropy)
        cells = texts.cells.to(self.device)
        at_tokens = cells[texts.is_token.to(self.device)]
        return Evaluated(
            _spread(logprobs, at_tokens, texts),
            _spread(self.value(hidden), cells, texts),
            _spread(entropies, at_tokens, texts),
        )

    @torch.no_grad()
    def reference(self, part: Prepared) -> Tensor:
        """Return the reference's log probabilities (B, T) float32 of the texts' tokens."""
        hidden = self.backend.hidden(part, trained=False)
        logprobs, _ = self._logprobs(hidden, part.texts, False)
        at_tokens = part.texts.cells[part.texts.is_token].to(self.device)
        return _spread(logprobs, at_tokens, part.texts)

    def _logprobs(self, hidden: Tensor, texts: Texts, entropy: bool) -> tuple[Tensor, Tensor]:
        tokens = texts.tokens
        if self.vocabulary is not None:
            tokens = torch.searchsorted(self.vocabulary, tokens)
        return token_logprobs(
            hidden[texts.is_token.to(self.device)],
            self._head,
            tokens.to(self.device),
            self.temperature,
            entropy=entropy,
        )

    def finish(self) -> Copywriter:
        """Return the trained writer; the policy must not be used after it."""
        self.backend.finish()
        model = self.writer.model
        if not hasattr(model, "peft_config"):
            self.writer.base = None  # its weights have changed
        self.writer.vocabulary = self.allowed
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    # What the trunk computed with; transformers' forward of a bf16 base with
                    # float32 adapters takes twice the time.
                    weight.data = weight.data.to(self.backend.head.weight.dtype)
        model.eval().requires_grad_(False)
        return self.writer


def _spread(values: Tensor, cells: Tensor, texts: Texts) -> Tensor:
    """Return (B, T) zeros with ``values`` (n,) at the flat places ``cells`` (n,)."""
    grid = values.new_zeros(len(texts) * texts.steps)
    return grid.index_put((cells,), values).view(len(texts), texts.steps)


def _masters(lm: Any, top: range) -> dict[str, nn.Parameter]:
    """Return float32 copies of the linear maps of the layers ``top`` of a Llama."""
    return {
        master_name(number, name): nn.Parameter(
            base_weight(lm.model.layers[number].get_submodule(name)).detach().float().clone()
        )
        for number in top
        for names in GROUPS.values()
        for name in names
    }


def _train_layers(model: Any, top: range) -> None:
    """Switch gradients on for the layers ``top`` of any model."""
    for number in top:
        layer_stack(model)[number].requires_grad_(True)


__all__ = ["TARGETS", "Evaluated", "Policy", "ValueHead"]
