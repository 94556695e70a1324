"""Results as strict JSON, whatever numbers they hold, and outputs that can be written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from copygym.envs.errors import UserError
from copygym.envs.storage import write_text


def write_result(path: Path, value: Any) -> None:
    """Write ``value`` as strict JSON (sorted keys, NaN as null) to ``path`` atomically."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def plain(value: Any) -> Any:
    """Return ``value`` as JSON types: arrays become lists, non-finite numbers None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def check_output(path: Path) -> None:
    """Refuse, before any work, an ``--output`` that could not be written in the end.

    Raises:
        UserError: it is a folder, or lies where nothing can be written.
    """
    if path.is_dir():
        raise UserError(f"--output={path} is a folder; name a file.")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"--output={path}: {parent} cannot be written to; choose another folder.")
