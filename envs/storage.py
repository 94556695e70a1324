"""Folders of fitted models: JSON and npz, written atomically, never pickle."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from copygym.envs.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, then move it into place.

    A killed process leaves the old file or the new one, never half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON; infinities are written as Python's ``Infinity``."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: it belongs to a saved model; save the model again."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); save the model again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; save the model again.")
    return content


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as a compressed npz without pickled objects."""
    for name, array in arrays.items():
        if array.dtype == object:
            raise TypeError(f"array {name!r} holds Python objects; npz without pickle cannot.")
    write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: it belongs to a saved model; save the model again."
        ) from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is not a readable npz ({error}); save the model again.") from None
