"""Folders of language models: whether one will do, and progress bars while it is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copygym.envs.errors import UserError

#: Files that a tokenizer can be read from.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_WEIGHTS = ("*.safetensors",)


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


__all__ = ["bars_on_terminals", "check_model_folder"]
