"""Model folders that are either whole or not there, and one-sentence reasons why one won't do."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copygym.envs.errors import UserError

#: Files that a tokenizer can be read from.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_WEIGHTS = ("*.safetensors",)


@contextmanager
def whole_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place if the block succeeds.

    A killed process leaves the old folder, the new one, or (between two renames) the old one under
    a hidden name; never a mixture.

    Args:
        path: the folder to make. Missing parents are made.
        replace: whether a folder that stands there at the end gives way. If not, it stays and the
            new one is dropped: for content that is the same whoever makes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        _usual_permissions(temporary)
        if replace and path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            _move_unless_there(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_unless_there(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError:
        # Another process was faster: a folder with files cannot be replaced.
        if not path.is_dir():
            raise


def _usual_permissions(folder: Path) -> None:
    """Give private temporary files and folders the permissions that the user's files have."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


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


__all__ = ["bars_on_terminals", "check_model_folder", "whole_folder"]
