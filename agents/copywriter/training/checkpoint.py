"""A training checkpoint: one safetensors file, its state as JSON in the header; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from copygym.core.errors import UserError
from copygym.core.files.storage import atomic, check_ends
from copygym.core.models.weights import sort_metadata
from copygym.envs.tasks import CopyRows

#: The file in an algorithm's folder.
CHECKPOINT = "checkpoint.safetensors"
#: Numbers of each weight that tell one writer from another.
_LOOKED_AT = 256


def fingerprint(
    algorithm: str,
    settings: Mapping[str, Any],
    rows: CopyRows,
    judge_rows: CopyRows | None,
    samples: int,
    seed: int,
    writer: object,
) -> dict[str, Any]:
    """Return what a run must share with a checkpoint to continue it, by name."""
    return {
        "algorithm": algorithm,
        **{f"settings.{name}": value for name, value in settings.items()},
        "samples": samples,
        "seed": seed,
        "training tasks": _digest(rows),
        "judge's tasks": None if judge_rows is None else _digest(judge_rows),
        "writer": getattr(writer, "name", type(writer).__name__),
        "weights": weights_digest(getattr(writer, "model", None)),
    }


def weights_digest(model: Any) -> str | None:
    """Return 16 hex digits that tell a model's weights from others; None where there is no model.

    They come of some numbers of each weight, so that they take a moment whatever the model's size.
    """
    if not isinstance(model, torch.nn.Module):
        return None
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _LOOKED_AT)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:16]


def write_checkpoint(
    path: Path,
    wanted: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write tensors and state as one file, atomically.

    Args:
        path: the file.
        wanted: `fingerprint` of the run.
        tensors: named tensors on any device.
        state: JSON types; a float is read back exactly.
    """
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = {"fingerprint": json.dumps(wanted), "state": json.dumps(state)}
    header["sha256"] = _content(plain)
    with atomic(path) as temporary:
        save_file(plain, temporary, metadata=header)
        sort_metadata(temporary)


def read_checkpoint(
    path: Path, wanted: Mapping[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return tensors and state of a checkpoint; None where there is no file.

    Raises:
        UserError: the file is no checkpoint, or of a run with another fingerprint.
    """
    if not path.exists():
        return None
    check_ends(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            found, state = json.loads(header["fingerprint"]), json.loads(header["state"])
            # JSON turns tuples into lists, so both sides must have made the journey.
            _compare(path, found, json.loads(json.dumps(wanted)))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except UserError:
        raise
    except (SafetensorError, LookupError, OSError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if header.get("sha256", _content(tensors)) != _content(tensors):
        raise _damaged(path, "its checksum differs")
    return tensors, state


def _damaged(path: Path, said: str) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of ours, or a damaged one ({said}); delete it, which "
        "begins the training anew, or use another folder."
    )


def _content(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors on the CPU: their names and every byte."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in sorted({*found, *wanted}):
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path} is a checkpoint of other settings: {name} was {found.get(name)!r} and is "
                f"now {wanted.get(name)!r}; delete it or use another folder."
            )


def _digest(rows: CopyRows) -> str:
    content = json.dumps([rows.prompts, rows.briefs, rows.creative.tolist(), rows.user.tolist()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


__all__ = ["CHECKPOINT", "fingerprint", "read_checkpoint", "weights_digest", "write_checkpoint"]
