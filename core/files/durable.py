"""What was written is on the disk before its name says so, so that a power cut leaves no half file.

A rename may reach the disk before the content of what was renamed; so files are flushed first, and
the folder after. The environment variable ``COPYGYM_FSYNC=off`` leaves that to the system: a kill
does no harm then either, a power cut may.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

OPTION = "COPYGYM_FSYNC"
#: What file systems say that flush no folders, or nothing at all.
_UNKNOWN = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}


def flush(path: Path) -> None:
    """Bring a file, or a folder with all in it, to the disk.

    Raises:
        OSError: the disk is full or broken, which some file systems say here first.
    """
    if not _wanted():
        return
    for place, _, names in os.walk(path):
        for name in names:
            _flush(Path(place) / name)
        _flush(Path(place))
    if not path.is_dir():
        _flush(path)


def flush_names(folder: Path) -> None:
    """Bring to the disk what a folder's entries are called now."""
    if _wanted():
        _flush(folder)


def _wanted() -> bool:
    return os.environ.get(OPTION, "").strip().lower() != "off"


def _flush(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # a link, or a folder where the system opens none
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(handle)
