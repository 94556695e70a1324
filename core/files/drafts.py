"""Drafts: files and folders that are being written and have not taken their name yet.

A draft lies beside what it will become, as ``.NAME.XXXXXXXX.copygym.tmp``. Who writes it holds it
locked; one that nobody holds was left by a killed process, and goes when NAME is written next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from copygym.core.files import written

_ENDING = ".copygym.tmp"


@contextmanager
def draft_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path``; it is removed if it is still there after the block."""
    _remove_abandoned(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_ENDING, dir=path.parent)
    with _held(handle), _gone_after(Path(name)) as draft:
        yield draft


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; it is removed if it is still there after the block."""
    _remove_abandoned(path)
    name = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_ENDING, dir=path.parent)
    with _held(_opened(Path(name))), _gone_after(Path(name)) as draft:
        yield draft


@contextmanager
def _gone_after(draft: Path) -> Iterator[Path]:
    try:
        yield draft
    finally:
        _remove(draft)


@contextmanager
def _held(handle: int | None) -> Iterator[None]:
    """Hold a draft locked during the block; where there are no locks, nothing is removed later."""
    if handle is None:
        yield
        return
    locked = _lock(handle)
    if not locked:
        os.close(handle)
    try:
        yield
    finally:
        if locked:
            os.close(handle)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None


def _lock(handle: int) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove drafts of ``path`` that killed processes left; a name alone makes none of ours."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in list(entries):
            if not entry.name.endswith(_ENDING) or not written.is_draft_of(entry.name, path.name):
                continue
            draft = Path(entry.path)
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                continue
            handle = _opened(draft)
            if handle is None:
                continue
            try:
                if _lock(handle):
                    _remove(draft)
            finally:
                os.close(handle)


def _remove(draft: Path) -> None:
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
