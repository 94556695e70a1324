"""Model folders: tensors and JSON, whole or not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import Arrays, atomic, whole_folder
from copygym.core.models.weights import finite

#: The file that makes a folder a CTR model's.
MARK = "ctr_model.json"
#: Where experiments keep the model in their run folder.
PLACES = ("", "reward_model", "model", "models/proxy")


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as safetensors, atomically."""
    from safetensors.numpy import save_file

    with atomic(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)


def read_tensors(path: Path) -> Arrays:
    """Read what `write_tensors` wrote.

    Raises:
        UserError: the file is missing or damaged, or a tensor of it holds NaN or an infinity.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise UserError(f"{path} is missing: the model folder has no weights; train it again.")
    try:
        arrays = Arrays(path, load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); train the model again.") from None
    finite(path, arrays)
    return arrays


@contextmanager
def new_model_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the name ``path`` only if the block succeeds.

    Raises:
        UserError: ``path`` holds files that copygym did not write.
    """
    if path.exists() and not (path / MARK).is_file() and (path.is_file() or any(path.iterdir())):
        raise UserError(f"{path} holds files that are no CTR model; save to a new or empty folder.")
    with whole_folder(path) as draft:
        yield draft


def find_model(folder: str | Path) -> Path:
    """Return the model folder at ``folder`` or in the run that ``folder`` holds.

    Raises:
        UserError: there is none.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{root} is no folder: give a run's folder or that of a CTR reward model.")
    for place in PLACES:
        if (root / place / MARK).is_file():
            return root / place
    raise UserError(
        f"{root} holds no CTR reward model (no {MARK} in it): give the folder that "
        "`copygym run experiment=upworthy_reward` printed, or train one."
    )
