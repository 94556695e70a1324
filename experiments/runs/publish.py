"""Publication: a run's result files copied to a folder that is made to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, write_bytes


def check_publish(target: Path, names: Iterable[str]) -> None:
    """Check that publishing to ``target`` writes over nothing but an earlier publication.

    Args:
        target: the folder to publish to.
        names: of the files that are going to be written there.

    Raises:
        UserError: a file of another origin would be lost.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"publish={target} is a file; name a folder.")
    taken = sorted(name for name in names if (target / name).exists())
    if taken and not _is_publication(target):
        raise UserError(
            f"publish={target} holds {taken[0]!r}, which copygym did not publish and would write "
            "over: move it elsewhere, or name another folder."
        )


def _is_publication(target: Path) -> bool:
    """Return whether a folder holds a run's manifest, as every publication does."""
    try:
        manifest = read_json(target / "manifest.json")
    except UserError:
        return False
    code = manifest.get("code")
    return "config_sha256" in manifest and isinstance(code, dict) and "sources_sha256" in code


def publish(folder: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copy result files to ``target`` (each atomically): ``names`` maps run file to new name.

    Raises:
        UserError: a file of another origin would be lost; nothing is written then.
    """
    check_publish(target, names.values())
    # The manifest goes first: what a kill leaves is known for ours by it.
    for source, name in sorted(names.items(), key=lambda item: item[1] != "manifest.json"):
        write_bytes(target / name, (folder / source).read_bytes())
