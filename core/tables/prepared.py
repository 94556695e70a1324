"""A prepared log: a folder of Parquet parts beside the manifest that says what belongs in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.checksum import sha256_of
from copygym.core.files.storage import read_json

MANIFEST = "preparation.json"
_FORMAT = 1
#: Parts that a log may be dealt out to: their names have five digits.
MOST_PARTS = 100_000


def read_preparation(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a prepared log, finished or not; None where the folder has none.

    Raises:
        UserError: the manifest is damaged, or was written by a newer copygym.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path)
    if manifest.get("format") != _FORMAT:
        raise UserError(
            f"{path}: format {manifest.get('format')!r} is not the {_FORMAT} that this copygym "
            "writes; prepare the log again into another folder."
        )
    if fault := _fault(manifest):
        raise UserError(
            f"{path} has {fault}: it is damaged; prepare the log again into another folder."
        )
    return manifest


def _fault(manifest: dict[str, Any]) -> str | None:
    """Return what of a manifest is not as `new_preparation` and `copygym data prepare` write it."""
    kinds = {"parts": dict, "partitions": int, "complete": bool, "source": dict, "notes": list}
    kinds |= {"columns": dict, "order": list}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            return f"no {key} that could be read"
    if not 1 <= manifest["partitions"] <= MOST_PARTS:
        return f"{manifest['partitions']} partitions"
    if not {"name", "identity"} <= manifest["source"].keys():
        return "no source that could be read"
    for name, part in manifest["parts"].items():
        numbers = [part.get(key) for key in ("bytes", "rows")] if isinstance(part, dict) else [None]
        if not all(isinstance(number, int) for number in numbers) or "sha256" not in part:
            return f"no {name} that could be read"
    return None


def new_preparation(**entries: Any) -> dict[str, Any]:
    """Return the manifest of a log of which no part is written yet."""
    return {"format": _FORMAT, "complete": False, **entries, "parts": {}}


def part_names(partitions: int) -> list[str]:
    """Return the file names of the parts, in their order."""
    return [f"part-{number:05d}.parquet" for number in range(partitions)]


def whole(folder: Path, name: str, part: dict[str, Any] | None) -> bool:
    """Tell whether a part is there as the manifest notes it: its size, and every byte of it."""
    path = folder / name
    if part is None or not path.is_file() or path.stat().st_size != part["bytes"]:
        return False
    return sha256_of(path) == part["sha256"]


def prepared_parts(folder: Path) -> tuple[list[Path], list[str]] | None:
    """Return a prepared log's parts in order and its notes; None where the folder is no such log.

    Raises:
        UserError: the preparation was not finished, or a part is missing or is another file.
    """
    manifest = read_preparation(folder)
    if manifest is None:
        return None
    again = "run its `copygym data prepare` again, which makes what is missing"
    names, parts = part_names(manifest["partitions"]), manifest["parts"]
    if not manifest["complete"]:
        raise UserError(
            f"{folder} is a prepared log of which {len(parts)} of {len(names)} parts are written; "
            f"{again}."
        )
    for name in names:
        if whole(folder, name, part := parts.get(name)):
            continue
        noted = "what" if part is None else f"the {part['bytes']:,} bytes (by number or content)"
        raise UserError(
            f"{folder / name} is missing or not {noted} that {MANIFEST} notes; delete it if it is "
            f"there, and {again}."
        )
    return [folder / name for name in names], list(manifest["notes"])
