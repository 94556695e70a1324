"""Pad, ends and lengths: what a tokenizer says of its special tokens, settled with its model.

Most released tokenizers have no pad token of their own (Llama, Mistral, GPT-2) or use the end of a
text for it (Qwen's base models, Phi-3, TinyLlama). All that is padded here is masked by position,
so that any token the model has will do as pad. Nor is a tokenizer's eos the only end of a text:
tuned models end a turn with a token that stands in generation_config.json alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from copygym.agents.copywriter.prompts import PromptStyle

#: Parts of the names that tokens for nothing have, the best first.
_SPARE = ("pad", "unused", "reserved", "unk", "bos", "<s>")


def n_embeddings(model: Any) -> int:
    """Return how many tokens a model can read and write: ids from here on are beyond it."""
    sizes = [
        int(part.weight.shape[0])
        for part in (model.get_input_embeddings(), model.get_output_embeddings())
        # Weights of few bits are laid out in another shape.
        if part is not None and part.weight.is_floating_point()
    ]
    return min(sizes) if sizes else int(model.config.get_text_config().vocab_size)


def settle_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer an eos and a pad that its model has; what it brings stays if it will do.

    Raises:
        UserError: it has no end of a text, or knows text tokens that its model lacks.
    """
    size = n_embeddings(model)
    _check_vocabulary(tokenizer, size)
    eos = tokenizer.eos_token_id
    if eos is None or eos >= size:
        ends = [token for token in _generation_ends(model, tokenizer) if token < size]
        if ends:
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
        elif eos is not None:
            raise UserError(
                f"the tokenizer of {_name(tokenizer)} ends a text with token {eos}, but the model "
                f"has {size} tokens: copy would have no end; resize the model's embeddings to the "
                "tokenizer's length, or set another eos_token in its tokenizer_config.json."
            )
    pad = tokenizer.pad_token_id
    if tokenizer.eos_token_id is None or (pad not in (None, tokenizer.eos_token_id) and pad < size):
        return
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(_spare(model, tokenizer))


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    if len(tokenizer) <= size:
        return
    special = _special(tokenizer)
    beyond = sorted(
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= size and number not in special
    )
    if beyond:
        raise UserError(
            f"the tokenizer of {_name(tokenizer)} knows {len(tokenizer)} tokens, but the model has "
            f"{size}: {beyond[0][1]!r} is number {beyond[0][0]}; take the tokenizer that the model "
            "was trained with, or resize the model's embeddings to the tokenizer's length."
        )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.name_or_path or "the model")


def _special(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | {int(i) for i in tokenizer.all_special_ids}


def _spare(model: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return a special token that says nothing and ends nothing; eos where there is no other."""
    size, ends = n_embeddings(model), end_tokens(model, tokenizer)
    others = [t for t in _special(tokenizer) if t < size and t not in ends]

    def rank(token: int) -> int:
        spelled = str(tokenizer.convert_ids_to_tokens(token)).lower()
        names = [place for place, part in enumerate(_SPARE) if part in spelled]
        return names[0] if names else len(_SPARE)

    return min(others, key=lambda token: (rank(token), token), default=int(tokenizer.eos_token_id))


def _generation_ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ends in a model's generation config that are special tokens of its tokenizer.

    A config's default may name any token.
    """
    said = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = [] if said is None else said if isinstance(said, list | tuple) else [said]
    special = _special(tokenizer)
    return [int(token) for token in ends if token in special]


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return all tokens that end a text of this model, the tokenizer's eos (if any) first."""
    size, eos = n_embeddings(model), tokenizer.eos_token_id
    own = [] if eos is None else [int(eos)]
    ends = dict.fromkeys([*own, *_generation_ends(model, tokenizer)])
    return tuple(token for token in ends if token < size)


def check_lengths(model: Any, style: PromptStyle) -> None:
    """Raise unless the model has every token of the prompts' frame and of a text's end.

    Raises:
        UserError: one is beyond its embeddings.
    """
    size = n_embeddings(model)
    beyond = [token for token in (*style.frame, *style.end_ids) if token >= size]
    if beyond:
        spelled = style.tokenizer.convert_ids_to_tokens(beyond[0])
        raise UserError(
            f"the prompts of {_name(style.tokenizer)} hold the token {spelled!r}, number "
            f"{beyond[0]}, but the model has {size} tokens; resize its embeddings to the "
            "tokenizer's length, or take the tokenizer that it was trained with."
        )


__all__ = ["check_lengths", "end_tokens", "n_embeddings", "settle_tokens"]
