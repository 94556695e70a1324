"""The copywriter: a causal language model, its tokenizer and its prompts behind one interface.

Shapes: N rows, B rows of a batch, L prompt tokens, T response tokens, V vocabulary, H hidden units.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from copygym.agents.copywriter.llama.adapters import is_peft
from copygym.agents.copywriter.llama.likelihood import batch_logprobs
from copygym.agents.copywriter.llama.quantisation import without_adapters
from copygym.agents.copywriter.llama.sampling import sample
from copygym.agents.copywriter.prompts import PromptStyle
from copygym.agents.copywriter.tokens import check_lengths, end_tokens, n_embeddings
from copygym.agents.copywriter.vocabulary import added_tokens
from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, understood, whole_folder, write_json
from copygym.core.models.folder import bars_on_terminals, check_model_folder
from copygym.core.models.smollm2 import HUB_ID
from copygym.core.models.weights import check_finite, check_safetensors
from copygym.envs.tasks import CopyRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Says that a folder holds a copywriter, and how it was set up.
SETTINGS_FILE = "copywriter.json"
#: Folder of the base inside a saved copywriter whose base nothing else holds.
_BASE = "base"
#: What the settings file of every copywriter holds.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "adapter": bool,
    "base": (str, type(None)),
    "dtype": str,
    "max_new_tokens": int,
    "max_prompt_tokens": int,
}
#: What older copywriters lack.
_LATER: dict[str, Any] = {
    "vocabulary": None,
    "fixed_vocabulary": False,
    "quantisation": None,
    "template_arguments": {},
    "examples": [],
}
_LATER_KINDS: dict[str, tuple[type, ...]] = {
    "vocabulary": (list, type(None)),
    "fixed_vocabulary": (bool,),
    "quantisation": (dict, type(None)),
    "template_arguments": (dict,),
    "examples": (list,),
}
#: Begins the name of a base that lies beside the folder.
_BESIDE = "../"


@dataclass
class Copywriter:
    """A language model that writes copy.

    Attributes:
        model: a causal language model of transformers, or a PEFT model around one.
        tokenizer: of the model.
        style: prompts and responses as tokens.
        name: for reports.
        max_new_tokens: T, longest response, eos included.
        base: where the model's unchanged weights are: ``smollm2``, a folder or a hub id; None
            once they have changed (`merged`) or where they are nowhere but here.
        vocabulary: the only tokens that it writes, where it was trained under such a limit, besides
            those of the task's own brief and product.
        fixed_vocabulary: True: these are not added, because the tokens were chosen one by one.
        quantisation: how the base's weights were put into few bits; None if they were not.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    style: PromptStyle
    name: str
    max_new_tokens: int = 48
    base: str | None = None
    vocabulary: Sequence[int] | None = None
    fixed_vocabulary: bool = False
    quantisation: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        parameters = sum(weight.numel() for weight in self.model.parameters()) / 1e6
        return f"Copywriter({self.name!r}, {parameters:.1f}M parameters, {self.device})"

    @property
    def max_prompt_tokens(self) -> int:
        """L, longest prompt."""
        return self.style.max_prompt_tokens

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def prompts(self, rows: CopyRows) -> list[list[int]]:
        """Return the tokens of N prompts."""
        return [self.style.render(prompt) for prompt in rows.prompts]

    def write(
        self,
        rows: CopyRows,
        *,
        seed: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        samples: int = 1,
    ) -> list[str]:
        """Write copy for N tasks.

        A text depends on the seed, its row's number, its own number and its task, not on which
        rows are decoded together.

        Args:
            rows: the tasks.
            seed: non-negative.
            temperature: 0 takes the likeliest token, 1 samples from the model.
            top_p: nucleus mass.
            samples: texts per row.

        Returns:
            N * samples texts, row 0's first.

        Raises:
            UserError: fewer than one sample, or a temperature or nucleus mass out of range.
        """
        if samples < 1:
            raise UserError(f"samples is {samples}; ask for at least 1 text per row.")
        prompts = [prompt for prompt in self.prompts(rows) for _ in range(samples)]
        if not prompts:
            return []
        added = self.added_tokens(rows)
        self.model.eval()
        drawn = sample(
            self.model,
            prompts,
            max_new_tokens=self.max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            eos_id=self.style.eos_id,
            ends=self.style.end_ids,
            pad_id=self.style.pad_id,
            seed=seed,
            allowed_tokens=self.vocabulary,
            added_tokens=None if added is None else [a for a in added for _ in range(samples)],
        )
        return [self.style.decode(ids) for ids in drawn.tokens.tolist()]

    def added_tokens(self, rows: CopyRows) -> list[tuple[int, ...]] | None:
        """Return what each of N tasks adds to `vocabulary`; None where nothing is limited."""
        return added_tokens(self.vocabulary, self.fixed_vocabulary, self.style, rows)

    def logprobs(self, texts: Sequence[str], rows: CopyRows) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(text and its end | task) in nats, (N,) float64, and tokens, (N,) int64.

        The tokens are those of `PromptStyle.response_ids`: eos counts, and a text longer than
        ``max_new_tokens`` is cut.
        """
        if len(texts) != len(rows):
            raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
        responses = [self.style.response_ids(text, self.max_new_tokens) for text in texts]
        return self._score(self.prompts(rows), responses)

    def perplexity(self, texts: Sequence[str], rows: CopyRows | None = None) -> np.ndarray:
        """Return exp(-log p / tokens) of each text, (N,) float64.

        Args:
            texts: N texts.
            rows: their tasks; None measures the texts alone: then the first token only gives
                context and is not scored, nor is the end, and a text of one token is nan.
        """
        if rows is not None:
            total, tokens = self.logprobs(texts, rows)
        else:
            ids = [self.style.response_ids(text)[:-1] for text in texts]
            limit = self.max_prompt_tokens + self.max_new_tokens
            total, tokens = self._score([i[:1] for i in ids], [i[1:limit] for i in ids])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.exp(-total / tokens)

    @torch.no_grad()
    def _score(
        self, prompts: list[list[int]], responses: list[list[int]], batch_size: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) summed log probabilities of the responses and (N,) their lengths."""
        self.model.eval()
        tokens = np.array([len(response) for response in responses], dtype=np.int64)
        total = np.zeros(len(prompts))
        length = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
        order = [i for i in sorted(range(len(prompts)), key=length.__getitem__) if tokens[i]]
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            total[index] = batch_logprobs(
                self.model, [prompts[i] for i in index], [responses[i] for i in index]
            )
        return total, tokens

    def merged(self) -> Copywriter:
        """Return a copywriter without adapters: they are merged into a copy of the weights.

        Weights of few bits are unpacked first (`quantisation`).

        Raises:
            UserError: the adapter is a prefix, which no weights can stand for.
        """
        if not is_peft(self.model):
            return self
        if self.model.active_peft_config.is_prompt_learning:
            raise UserError(
                "prefix tuning adds keys that no weights can stand for, so it cannot be merged; "
                "save with merge=False, or train with peft kind lora, adalora or full."
            )
        merged = without_adapters(copy.deepcopy(self.model))
        return replace(self, model=merged.eval(), base=None, quantisation=None)

    def copy(self) -> Copywriter:
        """Return a frozen twin: same weights in other memory, none of which requires gradients."""
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        return replace(self, model=model)

    def save(self, folder: str | Path, *, merge: bool = False) -> None:
        """Write model (safetensors), tokenizer and settings (JSON) to ``folder``, all or nothing.

        A model without adapters, or with ``merge``, makes a folder that transformers'
        ``from_pretrained`` reads. With adapters only these are written, and the folder names the
        base; a base that is nowhere else is written beside them.

        Raises:
            UserError: ``merge`` with prefix tuning.
        """
        if merge and is_peft(self.model):
            self.merged().save(folder)
            return
        adapter = is_peft(self.model)
        with whole_folder(Path(folder)) as temporary, bars_on_terminals():
            if adapter and self.base is None:
                _base_alone(self.model).save_pretrained(temporary / _BASE)
                self.tokenizer.save_pretrained(temporary / _BASE)
            # PEFT would look for the base of an adapter to see whether its embeddings have grown.
            self.model.save_pretrained(
                temporary, **({"save_embedding_layers": False} if adapter else {})
            )
            self.tokenizer.save_pretrained(temporary)
            if adapter:
                _name_base(temporary, self.base, Path(folder))
            state = {
                "name": self.name,
                "adapter": adapter,
                "base": _stored_base(self.base, Path(folder)) if adapter else None,
                "dtype": str(next(self.model.parameters()).dtype).removeprefix("torch."),
                "max_new_tokens": self.max_new_tokens,
                "vocabulary": None if self.vocabulary is None else list(self.vocabulary),
                "fixed_vocabulary": self.fixed_vocabulary,
                "quantisation": dict(self.quantisation or {}) if adapter else {},
                **self.style.shape(),
            }
            write_json(temporary / SETTINGS_FILE, state)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "auto",
        quantisation: Mapping[str, Any] | None = None,
        allow_download: bool = False,
        max_prompt_tokens: int | None = None,
        max_new_tokens: int | None = None,
        template_arguments: Mapping[str, Any] | None = None,
    ) -> Copywriter:
        """Read what `save` wrote.

        Args:
            folder: of the copywriter.
            device: see `models.load_copywriter`.
            dtype: likewise; ``auto`` here takes the saved one.
            attention: likewise.
            quantisation: likewise; None: as the base was when the adapters were trained.
            allow_download: whether a base that the folder names by an id may be fetched from the
                hub, if it is not in this machine's cache.
            max_prompt_tokens: None: the saved one.
            max_new_tokens: None: the saved one.
            template_arguments: None: the saved ones.

        Raises:
            UserError: the folder, or the base that it names, is missing or incomplete.
        """
        from copygym.agents.copywriter.models import check_context, read_model
        from copygym.core.models.smollm2 import smollm2_folder

        folder = Path(folder)
        check_model_folder(folder)
        state = _read_settings(folder / SETTINGS_FILE)
        dtype = state["dtype"] if dtype == "auto" else dtype
        base = state["base"]
        source: str | Path = folder
        if state["adapter"]:
            if base is not None and base.startswith(_BESIDE):
                base = str((folder / base).resolve())
            source = folder / _BASE if base is None else base
            source = smollm2_folder() if source == "smollm2" else source
        quantisation = quantisation or state["quantisation"] or None
        model, tokenizer = read_model(
            source,
            device=device,
            dtype=dtype,
            attention=attention,
            quantisation=quantisation,
            allow_download=allow_download,
        )
        if state["adapter"]:
            model = with_adapter(model, folder)
        longest_prompt = (
            state["max_prompt_tokens"] if max_prompt_tokens is None else max_prompt_tokens
        )
        longest_copy = state["max_new_tokens"] if max_new_tokens is None else max_new_tokens
        check_context(model, longest_prompt, longest_copy)
        base_model: Any = model
        if is_peft(model):
            base_model = base_model.get_base_model()
        with understood(folder):
            style = PromptStyle(
                tokenizer,
                longest_prompt,
                end_tokens(base_model, tokenizer),
                _examples(folder / SETTINGS_FILE, state["examples"]),
                arguments=state["template_arguments"]
                if template_arguments is None
                else dict(template_arguments),
            )
            check_lengths(base_model, style)
        _check_vocabulary(folder / SETTINGS_FILE, state["vocabulary"], n_embeddings(base_model))
        return cls(
            model=model,
            tokenizer=tokenizer,
            style=style,
            name=state["name"],
            max_new_tokens=longest_copy,
            base=base if state["adapter"] else str(folder),
            vocabulary=state["vocabulary"],
            fixed_vocabulary=state["fixed_vocabulary"],
            quantisation=quantisation,
        )


def _read_settings(path: Path) -> dict[str, Any]:
    """Return what a copywriter's settings file says, checked.

    Raises:
        UserError: a key is missing, or holds what none of ours does.
    """
    state = _LATER | read_json(path)
    if lost := _SETTINGS.keys() - state.keys():
        raise UserError(
            f"{path} has no {', '.join(sorted(lost))}: it is damaged; save the copywriter again."
        )
    for key, kind in (_SETTINGS | _LATER_KINDS).items():
        if not isinstance(state[key], kind) or (kind is int and isinstance(state[key], bool)):
            raise UserError(
                f"{path} has {key}={state[key]!r}: it is damaged; save the copywriter again."
            )
    return state


def _examples(path: Path, stored: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """Return the examples of a few-shot writer as they were saved.

    Raises:
        UserError: one is no pair of texts.
    """
    for pair in stored:
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            raise UserError(
                f"{path} has the example {pair!r}, which is no pair of a task and its copy: it is "
                "damaged; save the copywriter again."
            )
    return tuple((task, text) for task, text in stored)


def _check_vocabulary(path: Path, vocabulary: Sequence[Any] | None, size: int) -> None:
    """Raise unless a limit names tokens that the model has."""
    if vocabulary is None:
        return
    odd = [t for t in vocabulary if not isinstance(t, int) or not 0 <= t < size]
    if odd or not vocabulary:
        what = repr(odd[0]) if odd else "nothing"
        raise UserError(
            f"{path} limits its copy to {what}, which is no token of the model's {size}: it is "
            "damaged, or of another model; save the copywriter again."
        )


def _stored_base(base: str | None, folder: Path) -> str | None:
    """Return a base as it is written down: one beside the folder moves with it, as in a run."""
    if base is None or base == "smollm2" or not Path(base).is_dir():
        return base
    place = Path(base).resolve()
    beside = place.parent == folder.resolve().parent
    return f"{_BESIDE}{place.name}" if beside else str(place)


def _name_base(folder: Path, base: str | None, place: Path) -> None:
    """Make an adapter name the base that it belongs to, for other readers of PEFT's folders.

    PEFT writes down what its model was first read from, which fine-tuning has changed since.

    Args:
        folder: of the adapter.
        base: see `Copywriter`.
        place: where the folder will be.
    """
    path = folder / "adapter_config.json"
    named = {None: str(place.resolve() / _BASE), "smollm2": HUB_ID}.get(base, base)
    if base is not None and Path(base).is_dir():
        named = str(Path(base).resolve())
    config = read_json(path) | {"base_model_name_or_path": named}
    if isinstance(
        config.get("target_modules"), list
    ):  # PEFT's is a set, in another order each time
        config["target_modules"] = sorted(config["target_modules"])
    write_json(path, config)


def _base_alone(model: Any) -> Any:
    """Return the model under an adapter; LoRA sits inside it, so that a copy must be cleaned."""
    if model.active_peft_config.is_prompt_learning:
        return model.get_base_model()
    return copy.deepcopy(model).unload()


def with_adapter(model: Any, folder: Path) -> Any:
    """Return the model with the adapter of ``folder``, all of which must be there."""
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise UserError(
            f"{path} is missing: the adapter has no weights, or they are a pickle, which may run "
            "code when it is read; save the copywriter again."
        )
    check_safetensors(path)
    stored = load_file(path)
    check_finite(path, stored.items())
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # said below
            wrapped = PeftModel.from_pretrained(
                model, str(folder), autocast_adapter_dtype=False, local_files_only=True
            )
    except UserError:
        raise
    except Exception as error:  # whatever PEFT makes of a config that was edited
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise UserError(
            f"the adapter in {folder} does not fit its base ({reason}); save the copywriter again."
        ) from None
    # PEFT leaves at their first values what the file lacks, and drops what it has no place for.
    own = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    if odd := sorted(own.keys() ^ stored.keys()):
        fault = "lacks" if odd[0] in own else "has no place for"
        raise UserError(
            f"the adapter in {folder} {fault} {odd[0]} (one of {len(odd)} tensors), so that it is "
            "damaged or of another base; save the copywriter again."
        )
    return wrapped.eval()


__all__ = [
    "SETTINGS_FILE",
    "Copywriter",
    "with_adapter",
]
