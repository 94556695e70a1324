"""SHA-256 of files, so that what was noted of a file is checked whenever it is read."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from copygym.core.errors import UserError


def stamp(path: Path) -> tuple[int, int, int, int, int]:
    """Return what changes when a file does: device, inode, size, and both times of change."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file; one that has not changed is read once by a process."""
    return _sha256_of(path.absolute(), stamp(path))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, _: tuple[int, ...]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_of(path: Path) -> Path:
    """Return the file beside ``path`` that notes its checksum, as ``sha256sum`` writes it."""
    return path.with_name(path.name + ".sha256")


def verify_checksum(path: Path, way_out: str) -> Path:
    """Return ``path`` if it is still what was noted beside it, or if nothing was.

    Raises:
        UserError: the file has changed; ends with ``way_out``.
    """
    record = record_of(path)
    if not path.is_file() or not record.is_file():
        return path
    noted = record.read_text(encoding="utf-8", errors="replace").split(" ")[0].strip().lower()
    found = sha256_of(path)
    if found != noted:
        raise UserError(
            f"{path} has changed since it was fetched: its SHA-256 is {found}, and {record.name} "
            f"notes {noted[:64]}; {way_out}."
        )
    return path
