"""Hidden states of responses for PPO: by `LlamaTrunk`, or by any transformers model's own forward.

Shapes: B texts, T response steps, n read positions of all texts, d hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from copygym.agents.copywriter.llama.adapters import peft_changes
from copygym.agents.copywriter.llama.decoding import (
    Decoder,
    HFDecoder,
    LlamaDecoder,
    logit_cap,
    logit_scale,
)
from copygym.agents.copywriter.llama.kernels import Head
from copygym.agents.copywriter.llama.packing import Packed, common_prefix, follow, pack
from copygym.agents.copywriter.llama.trunk import (
    GROUPS,
    Cache,
    Change,
    LlamaTrunk,
    Past,
    base_weight,
)

#: Texts whose frozen layers run together.
_ROWS = 64


@dataclass(frozen=True)
class Texts:
    """B prompts and what was written to them.

    Attributes:
        prompts: B lists of token ids, none empty.
        responses: B lists of 1 ... T token ids, the end token included.
        steps: T, the longest that a response may be.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    steps: int

    def __len__(self) -> int:
        """B."""
        return len(self.prompts)

    @cached_property
    def lengths(self) -> Tensor:
        """(B,) int64 response tokens."""
        return torch.tensor([len(response) for response in self.responses])

    @cached_property
    def inputs(self) -> list[list[int]]:
        """B token sequences to read: a text of T tokens ends there, so its last is not read."""
        return [
            [*prompt, *response[: self.steps - 1]]
            for prompt, response in zip(self.prompts, self.responses, strict=True)
        ]

    @cached_property
    def state_tokens(self) -> list[list[int]]:
        """B token sequences at the states: a prompt's last token and the inputs after it."""
        return [
            inputs[len(prompt) - 1 :]
            for prompt, inputs in zip(self.prompts, self.inputs, strict=True)
        ]

    @cached_property
    def reads(self) -> list[int]:
        """B numbers of states: those before each token and, where there is room, after the end."""
        return [min(len(response) + 1, self.steps) for response in self.responses]

    @cached_property
    def cells(self) -> Tensor:
        """(n,) int64 flat places of the states in (B, T)."""
        step = torch.arange(self.steps)
        return (step < torch.tensor(self.reads).unsqueeze(1)).flatten().nonzero().squeeze(1)

    @cached_property
    def is_token(self) -> Tensor:
        """(n,) bool: a token was written at this state."""
        step = torch.arange(self.steps)
        inside: Tensor = step < self.lengths.unsqueeze(1)
        return inside.flatten()[self.cells]

    @cached_property
    def tokens(self) -> Tensor:
        """int64 tokens of all responses, one after another."""
        return torch.tensor([token for response in self.responses for token in response])

    def take(self, rows: Sequence[int]) -> Texts:
        """Return these texts alone."""
        return Texts(
            [self.prompts[row] for row in rows],
            [self.responses[row] for row in rows],
            self.steps,
        )


@dataclass(frozen=True)
class Prepared:
    """Texts and what no update changes about them: their layout, the frozen layers' outputs.

    Attributes:
        texts: B texts.
        prefix: first tokens that all prompts of the rollout share.
        first: (prefix, d) the frozen layers' output there; None without frozen layers.
        rest: B outputs (S_b, d) after it.
        pasts: what policy and reference have read before the states, where that is fixed: then
            prefix is 0 and the run has the states alone.
    """

    texts: Texts
    device: torch.device
    prefix: int = 0
    first: Tensor | None = None
    rest: Sequence[Tensor] = field(default_factory=list)
    pasts: tuple[Past, Past] | None = None

    @cached_property
    def packed(self) -> Packed:
        """The texts as one run."""
        if self.pasts is None:
            return pack(self.texts.inputs, self.device, prefix=self.prefix)
        past = self.pasts[0]
        return follow(past.lengths, past.seen, self.texts.state_tokens, self.device)

    @cached_property
    def lower(self) -> Tensor | None:
        """(P + M, d) input of the first layer that is trained."""
        return None if self.first is None else torch.cat([self.first, *self.rest])

    @cached_property
    def keep(self) -> Tensor | None:
        """(n,) the states in the run; None where they are all of it."""
        if self.pasts is not None:
            return None
        ends = self.prefix + torch.tensor(self.packed.lengths).cumsum(0)
        return torch.cat(
            [
                torch.arange(end - reads, end)
                for end, reads in zip(ends.tolist(), self.texts.reads, strict=True)
            ]
        ).to(self.device)

    def take(self, rows: Sequence[int]) -> Prepared:
        """Return these texts alone, without computing anything again."""
        rest = [self.rest[row] for row in rows] if self.first is not None else []
        pasts = None
        if self.pasts is not None:
            pasts = self.pasts[0].take(rows), self.pasts[1].take(rows)
        return Prepared(self.texts.take(rows), self.device, self.prefix, self.first, rest, pasts)


class Backend(ABC):
    """A language model with weights in training, and the same without them as reference.

    Attributes:
        head: the output embedding, frozen.
        hidden_size: d.
        device: where the model is.
    """

    head: Head
    hidden_size: int
    device: torch.device

    @abstractmethod
    def prepare(self, texts: Texts) -> Prepared:
        """Do once for a rollout what no update changes."""

    @abstractmethod
    def hidden(self, part: Prepared, *, trained: bool) -> Tensor:
        """Return the final hidden states (n, d) of the texts' states.

        Args:
            part: of `prepare`.
            trained: with the weights in training; False is the reference.
        """

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return a decoder with the weights as they are now."""

    @abstractmethod
    def finish(self) -> None:
        """Write the trained weights into the language model."""


class LlamaBackend(Backend):
    """`LlamaTrunk` with PEFT's adapters, or with trained weights of the top layers.

    Args:
        lm: the Llama, adapters in place.
        frozen: how many of the bottom layers carry nothing in training; they run once per rollout.
        masters: trained weights in float32, by layer and module name; empty with adapters.
        gradient_checkpointing: keep no layer's output for the backward pass.
        prompt_gradient: False: the keys and values of the prompts are those of `prepare`.
    """

    def __init__(
        self,
        lm: Any,
        frozen: int,
        masters: dict[str, nn.Parameter],
        gradient_checkpointing: bool = False,
        prompt_gradient: bool = True,
    ) -> None:
        self._lm, self._frozen, self._masters = lm, frozen, masters
        self._prompt_gradient = prompt_gradient
        self.trunk = LlamaTrunk(lm, gradient_checkpointing)
        self.head, self.device = self.trunk.head, self.trunk.device
        self.hidden_size = int(lm.config.hidden_size)
        self._decoder = LlamaDecoder(self.trunk, split=None if prompt_gradient else frozen)
        # Versions of the weights that the decoder reads with.
        self._read_with: tuple[int, ...] = ()

    def changes(self) -> list[Change]:
        """Return the weights in training as the trunk takes them; differentiable."""
        if not self._masters:
            return peft_changes(self._lm, self.trunk.dtype)
        changes: list[Change] = [{} for _ in range(self._frozen)]
        for number in range(self._frozen, self.trunk.n_layers):
            changes.append(
                {
                    group: torch.cat(
                        [self._masters[master_name(number, name)] for name in names]
                    ).to(self.trunk.dtype)
                    for group, names in GROUPS.items()
                }
            )
        return changes

    @torch.no_grad()
    def prepare(self, texts: Texts) -> Prepared:
        """Run the frozen layers, if there are any, and the prompts, if they are fixed."""
        if not self._prompt_gradient:
            return self._prepare_fixed(texts)
        plain = Prepared(texts, self.device, common_prefix(texts.prompts))
        if not self._frozen:
            return plain
        first, rest = None, []
        for start in range(0, len(texts), _ROWS):
            part = plain.take(range(start, min(start + _ROWS, len(texts))))
            x = self.trunk.embed(part.packed)
            x = self.trunk.run(x, part.packed, range(self._frozen))
            first, *rows = x.split([plain.prefix, *part.packed.lengths])
            rest += rows
        return Prepared(texts, self.device, plain.prefix, first, rest)

    def _prepare_fixed(self, texts: Texts) -> Prepared:
        """Take the prompts' keys and values from the decoder that wrote the texts, if it can be."""
        wanted = [tuple(prompt) for prompt in texts.prompts]
        read = self._decoder.read
        if read is None or self._read_with != self._version() or {*wanted} - {*read.prompts}:
            decoder = self.decoder()
            decoder.start(list(dict.fromkeys(wanted)), 0)
            read = self._decoder.read
        assert read is not None
        place = {prompt: row for row, prompt in enumerate(read.prompts)}
        rows = [place[prompt] for prompt in wanted]
        trained = range(self._frozen, self.trunk.n_layers)
        cache = Cache(read.packed, 0)
        nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
        self.trunk.run(read.lower, read.packed, trained, keep=nothing, cache=cache)
        # The state at a prompt's last token is one that is read.
        past = read.past.without_last().take(rows)
        reference = Past.of(cache).without_last().take(rows)
        pasts = past.of_layers(slice(self._frozen, None)), reference
        part = Prepared(texts, self.device, pasts=pasts)
        if not self._frozen:
            return part
        x = self.trunk.embed(part.packed)
        x = self.trunk.run(x, part.packed, range(self._frozen), past=past)
        return replace(part, first=x[:0], rest=x.split(part.packed.lengths))

    def _version(self) -> tuple[int, ...]:
        """Return how often each trained weight has been written."""
        weights = self._masters.values() or self._lm.parameters()
        return tuple(weight._version for weight in weights if weight.requires_grad)

    def hidden(self, part: Prepared, *, trained: bool) -> Tensor:
        """Return the final hidden states (n, d) of the texts' states."""
        trunk = self.trunk
        x = trunk.embed(part.packed) if part.lower is None else part.lower
        layers = range(self._frozen, trunk.n_layers)
        changes = self.changes() if trained else None
        past = None if part.pasts is None else part.pasts[0 if trained else 1]
        return trunk.normed(trunk.run(x, part.packed, layers, changes, keep=part.keep, past=past))

    @torch.no_grad()
    def decoder(self) -> Decoder:
        """Return the decoder, up to date; the frozen weights stay laid out."""
        self._decoder.changes, self._decoder.read = self.changes(), None
        self._read_with = self._version()
        return self._decoder

    @torch.no_grad()
    def finish(self) -> None:
        """Write trained weights into the Llama; adapters are there already."""
        for key, master in self._masters.items():
            number, _, name = key.partition("/")
            layer = self._lm.model.layers[int(number.removeprefix("layer"))]
            base_weight(layer.get_submodule(name.replace("/", "."))).copy_(master)


def master_name(layer: int, module: str) -> str:
    """Return the name of a trained weight; parameter names hold no dots."""
    return f"layer{layer}/{module.replace('.', '/')}"


class HFBackend(Backend):
    """Any transformers causal model, by its own forward over right-padded texts.

    Args:
        model: the model, or a PEFT model around it.
        reference: a frozen copy; None where switching the adapters off gives the reference.
        gradient_checkpointing: keep no layer's output for the backward pass.

    """

    def __init__(
        self, model: Any, reference: Any | None, gradient_checkpointing: bool = False
    ) -> None:
        self._model, self._reference = model, reference
        self._checkpoints = gradient_checkpointing
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self._lm = model.get_base_model() if hasattr(model, "get_base_model") else model
        head, config = self._lm.get_output_embeddings(), self._lm.config
        bias, scale = getattr(head, "bias", None), logit_scale(config)
        weight = head.weight
        if scale != 1:
            weight, bias = weight * scale, None if bias is None else bias * scale
        self.head = Head(weight, bias, logit_cap(config))
        self.hidden_size = int(self.head.weight.shape[1])
        self.device = self.head.weight.device

    def prepare(self, texts: Texts) -> Prepared:
        """Return the texts; nothing is shared between passes here."""
        return Prepared(texts, self.device)

    def hidden(self, part: Prepared, *, trained: bool) -> Tensor:
        """Return the final hidden states (n, d) of the texts' states."""
        rows = part.texts.inputs
        width = max(map(len, rows))
        ids = torch.zeros((len(rows), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        read = torch.zeros((len(rows), width), dtype=torch.bool)
        for number, (row, reads) in enumerate(zip(rows, part.texts.reads, strict=True)):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
            read[number, len(row) - reads : len(row)] = True
        lm, context = self._lm, nullcontext()
        if not trained:
            lm = self._reference or self._lm
            context = nullcontext() if self._reference else self._model.disable_adapter()
        # transformers saves memory in training mode alone, in which no cache is kept for decoding.
        if self._checkpoints and trained:
            lm.train(torch.is_grad_enabled())
        with context:
            out = lm.get_decoder()(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
            )
        if self._checkpoints and trained:
            lm.eval()
        return out.last_hidden_state[read.to(self.device)]

    def decoder(self) -> Decoder:
        """Return a decoder over the model's own forward."""
        return HFDecoder(self._model)

    def finish(self) -> None:
        """Leave the weights, which were trained in place; the model forgets checkpointing."""
        if self._checkpoints:
            self._model.gradient_checkpointing_disable()


__all__ = ["Backend", "HFBackend", "LlamaBackend", "Prepared", "Texts", "master_name"]
