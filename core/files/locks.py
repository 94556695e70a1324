"""Who works in a run's folder: locks in a folder that nobody else can reach.

A lock is an empty file under a name that anybody can work out. In a folder of all users another
one could put a link there, or hold the lock. So it lies in a folder of the user's own, and is
opened without following a link and without emptying what is there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from copygym.core.errors import UserError
from copygym.core.files.storage import cache_home


class Busy(UserError):
    """Another process works in the run's folder."""


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep a second process of this user out of the same run folder while the block runs.

    Raises:
        Busy: another process holds the folder.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock; there two runs in one folder are the user's care
        yield
        return
    target.mkdir(parents=True, exist_ok=True)
    # A home may be that of many machines, each with a /tmp/run of its own.
    place = f"{platform.node()}:{target.resolve()}"
    name = f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:16]}.lock"
    for folder in _candidates():
        try:
            stream = open_lock(own_folder(folder) / name)
        except OSError:
            continue
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"another copygym process is running in {target}; wait for it or choose "
                    "another out=."
                ) from None
            except OSError:  # a file system without locks
                continue
            yield
            return
    sys.stderr.write(
        f"copygym: no folder for locks could be made, so nothing keeps a second process out of "
        f"{target}; set COPYGYM_HOME to a folder of your own.\n"
    )
    yield


def open_lock(path: Path) -> IO[str]:
    """Open a lock file, made if need be; what is in it stays, and a link is not followed.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+", encoding="utf-8")


def own_folder(path: Path) -> Path:
    """Return a folder, made if need be, that is this user's and closed to all others.

    Raises:
        OSError: it cannot be made, is a link or no folder, or belongs to somebody else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    # Not through a link: its owner could turn it elsewhere.
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{path} is no folder of this user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def _candidates() -> Iterator[Path]:
    """Yield where locks may lie; the first that works is the same for all of a user's processes."""
    with suppress(RuntimeError):  # nobody knows where this user's home is
        yield cache_home() / "locks"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "copygym-locks"
    yield Path(tempfile.gettempdir()) / f"copygym-locks-{os.geteuid()}"
