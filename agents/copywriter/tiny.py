"""A copywriter of a few million parameters, with its own tokenizer, made from a log's copy alone.

It knows no language but the log's: on a log of tens of thousands of headlines it writes new ones,
on a small catalogue it recombines what the catalogue and the briefs say. For tests, and for sweeps
over many seeds on a CPU.

Shapes: B prompts of a batch, S tokens of a prompt with its copies, M tokens to foretell,
V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from copygym.agents.copywriter.llama.likelihood import head_logits
from copygym.agents.copywriter.models import torch_dtype
from copygym.agents.copywriter.prompts import PromptStyle, clean_copy, clean_data
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The frame is two tokens; the instruction would teach a model from scratch nothing.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<|brief|>{{ message['content'] }}{% elif message['role'] == 'assistant' %}"
    "<|copy|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|copy|>{% endif %}"
)
_PAD, _EOS, _UNKNOWN = "<|pad|>", "<|end|>", "<|unknown|>"
SPECIAL = (_PAD, _EOS, _UNKNOWN, "<|brief|>", "<|copy|>")

#: Below this many distinct texts a model only learns them by heart: their sentences are recombined.
_FEW_TEXTS = 500


@dataclass(frozen=True)
class TinyConfig:
    """Size and training of a tiny copywriter; the defaults take two minutes on one core.

    Attributes:
        vocabulary: V, tokens of the byte-level BPE tokenizer; fewer where the texts have fewer.
        hidden: width.
        layers: depth.
        heads: attention heads; divides ``hidden``.
        max_prompt_tokens: longest prompt; None: 128, or a quarter more than the longest task
            where that is more.
        max_new_tokens: longest copy.
        steps: updates.
        batch_size: copies an update learns from, about: those of one prompt stay together.
        lr: peak of AdamW's learning rate, after a warm-up over a twentieth of the steps; it then
            falls along a cosine to a tenth.
        weight_decay: AdamW's.
        pretrain: share of the steps, first, that learn copy without its task, four times as many
            texts at once; None: a half where the log has many texts, else 0.
        prompt_weight: weight of a prompt token's loss beside a copy token's 1: briefs are
            language too, and on a small log most of what there is.
        recombine: copies that each prompt gets beside its own, of one or two sentences of the same
            brief's copy and facts. The prompt is read once for all. None: 2 where the log has few
            texts, else 0.
    """

    vocabulary: int = 4000
    hidden: int = 256
    layers: int = 3
    heads: int = 4
    max_prompt_tokens: int | None = None
    max_new_tokens: int = 64
    steps: int = 300
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 0.05
    pretrain: float | None = None
    prompt_weight: float = 0.3
    recombine: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocabulary", "hidden", "layers", "heads", "batch_size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"tiny: {name} is {getattr(self, name)}; it must be at least 1.")
        more = self.recombine
        if more is not None and (more < 0 or more != int(more)):
            raise UserError(f"tiny: recombine is {more:g}; give a number of copies, 0 or more.")
        if self.hidden % (2 * self.heads):
            raise UserError(
                f"tiny: hidden is {self.hidden}; it must be a multiple of 2 * heads = "
                f"{2 * self.heads}."
            )


def make_tiny(
    texts: Sequence[str], rows: CopyRows, *, seed: int, config: TinyConfig | None = None
) -> Copywriter:
    """Return an untrained tiny copywriter whose tokenizer knows these texts and prompts.

    Args:
        texts: copy.
        rows: tasks; their number may differ from that of the texts.
        seed: of the weights.
        config: sizes.

    Raises:
        UserError: no text.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = config or TinyConfig()
    tokenizer = _train_tokenizer([*texts, *rows.prompts], config.vocabulary)
    style = PromptStyle(tokenizer)
    if config.max_prompt_tokens is None:
        longest = max((len(style.render(p)) for p in dict.fromkeys(rows.prompts)), default=0)
        style = replace(style, max_prompt_tokens=max(128, 32 * math.ceil(1.25 * longest / 32)))
    else:
        style = replace(style, max_prompt_tokens=config.max_prompt_tokens)
    network = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=_multiple_of_32(8 * config.hidden / 3),
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=2 * (style.max_prompt_tokens + config.max_new_tokens),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Eager attention trains fastest on short rows: it takes bfloat16 under autocast.
        network._attn_implementation = "eager"
        model = LlamaForCausalLM(network).float().eval()
    return Copywriter(model, tokenizer, style, "tiny", config.max_new_tokens)


def train_tiny(
    texts: Sequence[str],
    rows: CopyRows,
    *,
    seed: int,
    corpus: Sequence[str] = (),
    config: TinyConfig | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Copywriter:
    """Return a tiny copywriter trained to write ``texts`` for ``rows``.

    Args:
        texts: N copies.
        rows: N tasks that they answer.
        seed: of weights, batches and recombinations.
        corpus: further copy without tasks, such as that which lost its test: it is language too.
        config: sizes and training.
        on_progress: called after every step with its number and ``{"loss": nats per token}``.

    Raises:
        UserError: no texts, or a loss that is not a number.
    """
    from copygym.core.progress import progress

    if len(texts) != len(rows):
        raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
    config = config or TinyConfig()
    writer = make_tiny([*texts, *corpus], rows, seed=seed, config=config)
    model = writer.model.train()
    dtype = torch_dtype("auto", torch.device("cpu"))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    batches = _Batches(writer, texts, rows, corpus, config, np.random.default_rng(seed))
    for step in progress(range(config.steps), what="train tiny"):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(step, config.steps)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = _loss(model, batches.draw(step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(f"tiny: the loss of step {step} is {value}; lower lr={config.lr}.")
        if on_progress is not None:
            on_progress(step + 1, {"loss": value})
    model.eval()
    return writer


def _multiple_of_32(size: float) -> int:
    return 32 * max(1, round(size / 32))


def _train_tokenizer(texts: Sequence[str], vocabulary: int):  # type: ignore[no-untyped-def]
    """Return a byte-level BPE tokenizer (Sennrich et al. 2016) of these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    cleaned = sorted({clean_data(line) for text in texts for line in text.split("\n")} - {""})
    if not cleaned:
        raise UserError("tiny: there is no text to make a tokenizer from; use a log with copy.")
    bpe = Tokenizer(models.BPE(unk_token=None))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(cleaned, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        eos_token=_EOS,
        unk_token=_UNKNOWN,
        additional_special_tokens=["<|brief|>", "<|copy|>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to a tenth."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@dataclass(frozen=True)
class _Batch:
    """Prompts, each followed by copies that see it and not each other.

    Attributes:
        ids: (B, S) int64 tokens, padded on the right.
        position: (B, S) int64: every copy begins where its prompt ends.
        mask: (B, 1, S, S) float32 to add to attention: 0 where a token sees another.
        source: (M,) int64 places in the flat ids that foretell a token.
        target: (M,) int64 those tokens.
        weight: (M,) float32 of their losses.
    """

    ids: torch.Tensor
    position: torch.Tensor
    mask: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


def _batch(
    prompts: Sequence[Sequence[int]],
    copies: Sequence[Sequence[Sequence[int]]],
    pad_id: int,
    prompt_weight: float,
) -> _Batch:
    """Return B prompts with the copies of each, at least one, as one batch."""
    width = max(len(p) + sum(map(len, c)) for p, c in zip(prompts, copies, strict=True))
    shape = len(prompts), width
    ids, position = np.full(shape, pad_id), np.zeros(shape, np.int64)
    # 0: prompt, 1 and on: its copies, -1: nothing. Nothing sees itself, lest it see no token.
    part = np.full(shape, -1)
    before = np.tile(np.arange(-1, width - 1), (len(prompts), 1))
    for row, (prompt, answers) in enumerate(zip(prompts, copies, strict=True)):
        end = start = len(prompt)
        ids[row, :end], position[row, :end], part[row, :end] = prompt, np.arange(end), 0
        for number, answer in enumerate(answers, 1):
            place = slice(start, start + len(answer))
            ids[row, place], part[row, place] = answer, number
            position[row, place] = np.arange(end, end + len(answer))
            before[row, start] = end - 1
            start = place.stop
    sees = (part[:, :, None] == part[:, None, :]) | (part[:, None, :] == 0)
    sees &= np.tri(width, dtype=bool)
    weight = np.where(part > 0, 1.0, np.where(part == 0, prompt_weight, 0.0)).astype(np.float32)
    weight[:, 0] = 0.0
    rows, columns = weight.nonzero()
    return _Batch(
        ids=torch.from_numpy(ids),
        position=torch.from_numpy(position),
        mask=torch.where(torch.from_numpy(sees[:, None]), 0.0, torch.finfo(torch.float32).min),
        source=torch.from_numpy(rows * width + before[rows, columns]),
        target=torch.from_numpy(ids[rows, columns]),
        weight=torch.from_numpy(weight[rows, columns]),
    )


def _loss(model: PreTrainedModel, batch: _Batch) -> torch.Tensor:
    """Return the weighted mean cross-entropy, nats per token."""
    out = model.get_decoder()(
        input_ids=batch.ids,
        position_ids=batch.position,
        attention_mask=batch.mask,
        use_cache=False,
    )
    logits = head_logits(model, out.last_hidden_state.flatten(0, 1)[batch.source])
    losses = torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")
    return (losses * batch.weight).sum() / batch.weight.sum()


class _Batches:
    """Draws batches of rows of like length, in an order that the seed fixes."""

    def __init__(
        self,
        writer: Copywriter,
        texts: Sequence[str],
        rows: CopyRows,
        corpus: Sequence[str],
        config: TinyConfig,
        rng: np.random.Generator,
    ) -> None:
        self._style, self._texts, self._rows = writer.style, texts, rows
        self._config, self._rng = config, rng
        rendered = {prompt: writer.style.render(prompt) for prompt in set(rows.prompts)}
        self._prompts = [rendered[prompt] for prompt in rows.prompts]
        self._corpus = sorted({*texts, *corpus})
        few = len(self._corpus) < _FEW_TEXTS
        self._more = config.recombine if config.recombine is not None else 2 * few
        pretrain = config.pretrain if config.pretrain is not None else 0.5 * (not few)
        self._first = round(pretrain * config.steps)
        self._pools: dict[str, list[str]] = {}
        for brief, text in sorted(set(zip(rows.briefs, texts, strict=True))):
            pool = self._pools.setdefault(brief, _facts(brief))
            pool.extend(s for s in _split(text) if s not in pool)
        self._copies: Iterator[np.ndarray] = iter(())
        self._tasks: Iterator[np.ndarray] = iter(())

    def draw(self, step: int) -> _Batch:
        """Return the batch of a step; to be called in order."""
        pad, weight = self._style.pad_id, self._config.prompt_weight
        if step < self._first:
            index = next(self._copies, None)
            if index is None:
                lengths = [len(text) for text in self._corpus]
                self._copies = self._epoch(lengths, 4 * self._config.batch_size)
                index = next(self._copies)
            # The last token of a prompt is the one that copy follows.
            prompts = [self._prompts[0][-1:]] * len(index)
            return _batch(prompts, [[self._tokens(self._corpus[i])] for i in index], pad, weight)
        index = next(self._tasks, None)
        if index is None:
            lengths = [len(prompt) for prompt in self._prompts]
            prompts_a_step = max(1, round(self._config.batch_size / (1 + self._more)))
            self._tasks = self._epoch(lengths, prompts_a_step)
            index = next(self._tasks)
        copies = [
            [self._tokens(text) for text in (self._texts[i], *self._recombined(i))] for i in index
        ]
        return _batch([self._prompts[i] for i in index], copies, pad, weight)

    def _tokens(self, text: str) -> list[int]:
        return self._style.response_ids(text, self._config.max_new_tokens)

    def _epoch(self, lengths: Sequence[int], size: int) -> Iterator[np.ndarray]:
        """Yield every row once, (B,) at a time, rows of like length together."""
        order = self._rng.permutation(len(lengths))
        if len(order) < size:
            order = self._rng.integers(len(order), size=size)
        for start in range(0, len(order), 16 * size):
            pool = order[start : start + 16 * size]
            pool = pool[np.argsort(np.take(lengths, pool), kind="stable")]
            batches = [pool[k : k + size] for k in range(0, len(pool), size)]
            yield from (batches[k] for k in self._rng.permutation(len(batches)))

    def _recombined(self, row: int) -> Iterator[str]:
        """Yield further copies for a task."""
        pool = self._pools[self._rows.briefs[row]]
        for _ in range(self._more):
            count = min(len(pool), int(self._rng.integers(1, 3)))
            yield " ".join(pool[k] for k in self._rng.permutation(len(pool))[:count])


def _split(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", clean_copy(text)) if part]


def _facts(brief: str) -> list[str]:
    """Return the sentences of a brief after its label ``Facts:``; none without that label."""
    return _split(brief.partition("Facts:")[2])


__all__ = ["TinyConfig", "make_tiny", "train_tiny"]
