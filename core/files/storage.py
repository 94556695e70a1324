"""Files and folders that are the old one or the new one, never half of one; no pickle."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.drafts import draft_file, draft_folder
from copygym.core.files.durable import flush, flush_names

#: Levels of nested objects and lists in a JSON file; what copygym writes has a dozen.
DEEPEST = 100
#: What readers raise when a file holds something else than they expect.
_MISREAD = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
#: What numpy raises for a damaged npz; its header may ask for any amount of memory.
_UNREADABLE = (ValueError, OSError, EOFError, KeyError, MemoryError)


def cache_home() -> Path:
    """Return the folder that runs share: ``$COPYGYM_HOME``, or ``~/.cache/copygym``."""
    home = os.environ.get("COPYGYM_HOME") or Path.home() / ".cache" / "copygym"
    return Path(home).expanduser()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` if the block succeeds.

    A killed process leaves the old file or the new one, and so does a power cut. Missing parent
    folders are made.

    Raises:
        UserError: the file there is the user's, in a folder where copygym notes its own.
    """
    written.check_ours(path)
    written.note(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_file(path) as temporary:
        yield temporary
        _usual_permissions(temporary)
        whole_at_once = written.in_draft(path)  # a folder that is flushed when it is whole
        if not whole_at_once:
            flush(temporary)
        temporary.replace(path)
        if not whole_at_once:
            flush_names(path.parent)


@contextmanager
def whole_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place if the block succeeds.

    A killed process leaves the old folder, the new one, or (between two renames) the old one under
    a hidden name; never a mixture.

    Args:
        path: the folder to make, or a link to it. Missing parents are made.
        replace: whether a folder that stands there at the end gives way. If not, it stays and the
            new one is dropped: for content that is the same whoever makes it.

    Raises:
        UserError: a file or a folder with files that copygym did not write would have to give way.
    """
    if path.is_symlink():
        path = path.resolve()
    if replace:
        _check_may_give_way(path)
        _end_earlier(path)
    written.note(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_folder(path) as temporary:
        yield temporary
        _usual_permissions(temporary)
        if replace:
            _replace(path, temporary)
        else:
            _note_all(temporary, path)
            flush(temporary)
            _move_unless_there(temporary, path)
            flush_names(path.parent)


def _replace(path: Path, temporary: Path) -> None:
    """Put a finished folder in the place of an earlier one of ours."""
    _check_may_give_way(path)
    if written.root_of(path) is None:
        written.keep_list(temporary)
        written.note(*_files_in(temporary))
    else:
        _note_all(temporary, path)
    flush(temporary)
    if not path.exists():
        temporary.replace(path)
        flush_names(path.parent)
        return
    old = written.sibling(path, "old")
    path.replace(old)
    temporary.replace(path)
    flush_names(path.parent)
    _remove(old)


def _end_earlier(path: Path) -> None:
    """End a replacement that was killed: between its renames, or before what gave way was gone."""
    for old in written.siblings(path, "old"):
        if not (written.has_list(old) or written.root_of(old)):
            continue
        if path.exists():
            _remove(old)
        else:
            old.replace(path)


def _remove(old: Path) -> None:
    """Remove what has given way: all of it was ours."""
    if written.has_list(old):
        written.remove_ours(old)  # its list last, so that a kill leaves what is known for ours
    else:
        shutil.rmtree(old)


def _check_may_give_way(path: Path) -> None:
    """Raise `UserError` unless everything that stands at ``path`` was written by copygym."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file where a folder is to be written; name a folder.")
    if not path.exists():
        return
    here = Path.cwd()
    if path.resolve() in (here, *here.parents):
        raise UserError(
            f"{path} is the current folder or around it, which a new one would take the place of; "
            "name a folder inside it."
        )
    others = written.foreign(path, written.root_of(path))
    if others:
        raise UserError(
            f"{path} holds {others[0]!r}, which copygym did not write there; move it elsewhere, or "
            "name a new or empty folder."
        )


def _files_in(folder: Path) -> list[Path]:
    return sorted(part for part in folder.rglob("*") if part.is_file())


def _note_all(temporary: Path, path: Path) -> None:
    written.note(*(path / part.relative_to(temporary) for part in _files_in(temporary)))


def _move_unless_there(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError:
        # Another process was faster: a folder with files cannot be replaced.
        if not path.is_dir():
            raise


def _usual_permissions(path: Path) -> None:
    """Give private temporary files and folders the permissions that the user's files have."""
    umask = os.umask(0)
    os.umask(umask)
    for part in (path, *path.rglob("*")):
        part.chmod((0o777 if part.is_dir() else 0o666) & ~umask)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON; infinities are written as Python's ``Infinity``."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        UserError: the file is missing, cannot be read, is not a JSON object, or is nested deeper
            than `DEEPEST`.
    """
    check_ends(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist, though what was saved here needs it; make it again."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise UserError(
            f"{path} is not JSON ({error}): it is damaged; delete it and make it again."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: it is damaged; delete it and make it again.")
    if _deeper_than(content, DEEPEST):
        raise _too_deep(path)
    return content


def check_saves_over(folder: Path, mark: str, keys: set[str], *names: str) -> None:
    """Check that saving file by file into ``folder`` writes over nothing but an earlier save.

    Args:
        folder: to save to.
        mark: the JSON file that is written last.
        keys: which an earlier one has.
        names: of the other files.

    Raises:
        UserError: the folder holds a file of another origin with such a name.
    """
    taken = [name for name in (*names, mark) if os.path.lexists(folder / name)]
    if not taken:
        return
    try:
        earlier = keys <= read_json(folder / mark).keys()
    except UserError:
        earlier = False
    if not earlier:
        raise UserError(
            f"{folder} holds {taken[0]!r}, which copygym did not save there; move it elsewhere, or "
            "save to another folder."
        )


def check_ends(path: Path) -> None:
    """Check that reading a file, or all files of a folder, comes to an end.

    A folder may be anybody's; whoever opens a pipe waits for ever, and a link may lead to a device.
    What is missing is left to its reader.

    Raises:
        UserError: a pipe, a socket or a device is there.
    """
    inside = [Path(place) / name for place, _, names in os.walk(path) for name in names]
    for one in (path, *inside):
        try:
            mode = one.stat().st_mode
        except (OSError, ValueError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(
                f"{one} is a pipe or a device and no file, which nothing of copygym's is; remove "
                "it, or make what was saved there again."
            )


def _too_deep(path: Path) -> UserError:
    return UserError(
        f"{path} has brackets within brackets, more than {DEEPEST} deep: copygym wrote no such "
        "file; delete it and make it again."
    )


def _deeper_than(value: Any, limit: int) -> bool:
    """Return whether JSON types are nested deeper than ``limit``; level by level, so it ends."""
    level = [value]
    for _ in range(limit):
        level = [
            entry
            for part in level
            for entry in (part.values() if isinstance(part, dict) else part)
            if isinstance(entry, dict | list)
        ]
        if not level:
            return False
    return True


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn whatever a file of unexpected content makes its reader raise into one sentence.

    For readers of what copygym has saved: the file may be damaged, edited, of another version or
    anybody's, and a key that is missing is no bug of ours.

    Args:
        path: of the file or folder that the block reads.

    Raises:
        UserError: the block raised what wrong content makes readers raise.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not isinstance(error, _MISREAD) and _library_of(error) not in ("polars", "safetensors"):
            raise
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {said}): it is damaged, or another "
            "version of copygym wrote it; make it again."
        ) from error


def _library_of(error: Exception) -> str:
    """Return the library that an exception is of: theirs are no kinds of Python's own."""
    return type(error).__module__.partition(".")[0]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` as a compressed npz without pickled objects."""
    for name, array in arrays.items():
        if array.dtype == object:
            raise TypeError(f"array {name!r} holds Python objects; npz without pickle cannot.")
    with atomic(path) as temporary, temporary.open("wb") as stream:
        # numpy's stubs take a keyword named allow_pickle for one of the arrays.
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


class Arrays(dict[str, np.ndarray]):
    """Arrays of a file by name; asking for one that is not there says which file lacks it."""

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> np.ndarray:
        raise UserError(
            f"{self.path} has no array {name!r}: it is damaged or of another model; delete it and "
            "make it again."
        )


def read_arrays(path: Path) -> Arrays:
    """Read what `write_arrays` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    check_ends(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Arrays(path, {name: archive[name] for name in archive.files})
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist, though what was saved here needs it; make it again."
        ) from None
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not a readable npz ({error}): it is damaged; delete it and make it again."
        ) from None
