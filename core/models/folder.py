"""Folders of language models: whether one will do, and what reading it may not do.

A folder may be anybody's. Code that it brings along is not run, kernels and models that it names
are not fetched, and adapters of kinds that read further files or modules are refused.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.storage import check_ends, read_json

#: Files that a tokenizer can be read from.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_WEIGHTS = ("*.safetensors",)
#: Keys of a config.json that may name a kernel to fetch and run.
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
#: Keys of a config.json that say how many layers are made before the weights are looked at.
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_MOST_LAYERS = 1000
#: Kinds of adapters that copygym makes, and what their configs may say; the rest must be empty.
_ADAPTERS = ("LORA", "ADALORA", "PREFIX_TUNING")
_ADAPTER_KEYS = {
    *("peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path"),
    *("revision", "inference_mode", "r", "lora_alpha", "lora_dropout", "lora_bias", "bias"),
    *("target_modules", "exclude_modules", "target_parameters", "modules_to_save"),
    *("layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "fan_in_fan_out"),
    *("init_lora_weights", "use_rslora", "use_dora", "qalora_group_size", "ensure_weight_tying"),
    *("trainable_token_indices", "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1"),
    *("beta2", "orth_reg_weight", "total_step", "num_virtual_tokens", "token_dim", "num_layers"),
    *("num_transformer_submodules", "num_attention_heads", "encoder_hidden_size"),
    *("prefix_projection",),
}
#: Seconds for the hub's first answer.
_PATIENCE = 10.0
_fetching: ContextVar[bool] = ContextVar("fetching", default=True)


@contextmanager
def no_downloads() -> Iterator[None]:
    """Inside the block, models are read from this machine alone: a file names them, no user."""
    before = _fetching.set(False)
    try:
        yield
    finally:
        _fetching.reset(before)


def may_fetch() -> bool:
    """Return whether a model that is read now may be fetched from the hub."""
    return _fetching.get()


def reading(source: str | Path, *, fetch: bool | None = None) -> tuple[str, dict[str, Any]]:
    """Return from where transformers reads a model, and the options with which it does.

    Args:
        source: a folder, which is checked by `check_configs`, or a hub id.
        fetch: whether an id may be fetched; None: outside of `no_downloads`.

    Raises:
        UserError: the folder names code, or the model may not be fetched and is not here.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = settled_model(str(source), fetch=may_fetch() if fetch is None else fetch)
    local = folder.is_dir()
    if local:
        check_configs(folder)
    options = {"trust_remote_code": False, "local_files_only": local}
    return str(folder) if local else str(source), options


def settled_model(name: str, *, fetch: bool) -> Path:
    """Return this machine's folder of a hub id if nothing is fetched, else the id as it stands.

    Whether the hub answers is asked once: its client would try again for a minute.

    Raises:
        UserError: the name is no id, or nothing is fetched and the model is not in this machine's
            cache.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(
            f"the model {name!r} is neither a folder nor an id of the Hugging Face hub; give the "
            "folder where it is now."
        ) from None
    if fetch and hub_answers():
        return Path(name)
    try:
        return cached_model(name)
    except UserError:
        if not fetch:
            raise
        raise UserError(
            f"the model {name!r} is neither a folder nor in this machine's cache, and the Hugging "
            "Face hub does not answer; download it on a machine with network and give its folder."
        ) from None


def hub_answers() -> bool:
    """Return whether this machine reaches the Hugging Face hub at all, asked once and briefly."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # of many libraries; offline mode is one as well
        return False
    return True


def cached_model(name: str) -> Path:
    """Return the folder of this machine's cache that holds a model of the Hugging Face hub.

    transformers' own ``local_files_only`` asks the hub in places all the same.

    Raises:
        UserError: it is not there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        raise UserError(
            f"the model {name!r} is neither a folder nor in this machine's cache of the Hugging "
            "Face hub, and may not be fetched from there: say so by allow_download=true (`copygym "
            "write --allow-download`, `copygym run +copywriter.model.allow_download=true`), fetch "
            f"it by `hf download {shlex.quote(name)}`, or give its folder."
        ) from None


def check_configs(folder: Path) -> None:
    """Raise unless a model's folder names no kernel to fetch and no strange adapter.

    Raises:
        UserError: it does, or reading it would never end.
    """
    check_ends(folder)
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        for key in _KERNELS:
            if "/" in str(config.get(key) or ""):
                raise UserError(
                    f"{folder / 'config.json'} asks for the kernel {config[key]!r} ({key}), which "
                    "is code that would be fetched; remove that key."
                )
        for key in _LAYERS:
            if isinstance(config.get(key), int) and config[key] > _MOST_LAYERS:
                raise UserError(
                    f"{folder / 'config.json'} has {key}={config[key]}, more than {_MOST_LAYERS:,} "
                    "layers, whose making would not end; it is damaged: save the model again."
                )
    if (folder / "adapter_config.json").is_file():
        _check_adapter(folder / "adapter_config.json")


def _check_adapter(path: Path) -> None:
    config = read_json(path)
    kind = config.get("peft_type")
    if kind not in _ADAPTERS:
        raise UserError(
            f"{path} is of the kind {kind!r}; copygym reads adapters of {', '.join(_ADAPTERS)}: "
            "merge it into its base elsewhere, and give the merged model."
        )
    weights = path.parent / "adapter_model"
    if weights.with_suffix(".bin").is_file() and not weights.with_suffix(".safetensors").is_file():
        raise UserError(
            f"{weights}.bin is a pickle, which may run code when it is read; convert it to "
            "safetensors."
        )
    for key, value in config.items():
        usual = key == "megatron_core" and value == "megatron.core"
        if value and key not in _ADAPTER_KEYS and not usual:
            raise UserError(
                f"{path} sets {key}, by which an adapter could have further files or code read; "
                "set it to null if the adapter does not need it."
            )


@contextmanager
def bars_on_terminals() -> Iterator[None]:
    """Switch transformers' progress bars off inside the block unless somebody looks at them."""
    from transformers.utils import logging

    silence = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if silence:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silence:
            logging.enable_progress_bar()


def check_model_folder(folder: Path) -> None:
    """Raise unless ``folder`` holds a causal language model that can be read safely.

    Raises:
        UserError: no folder, no config.json, no safetensors weights, or no tokenizer.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that a model was saved to.")
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{folder} holds no config.json, so it is no model; give the folder that "
            "save_pretrained or a copygym run wrote."
        )
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        pickled = next(folder.glob("*.bin"), None)
        reason = (
            f"only {pickled.name}, a pickle, which may run code when it is read; convert it to "
            "safetensors"
            if pickled
            else "no weights (*.safetensors); save the model again"
        )
        raise UserError(f"{folder} holds {reason}.")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(
            f"{folder} holds no tokenizer ({', '.join(_TOKENIZER_FILES[:3])}); save the model's "
            "tokenizer into the same folder."
        )
    check_configs(folder)
