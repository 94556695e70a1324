"""Which files of a folder copygym wrote: nothing else in it is ever replaced or removed.

A folder that copygym may have to replace or empty one day keeps a list of what was written into
it, `LIST`. A name is noted before the file takes it, so that a killed process leaves no file of
ours that isn't in the list. Whatever is not in it is the user's.

Drafts lie beside what they will become, as ``.NAME.XXXXXXXX.copygym.tmp`` (in earlier versions
``.NAME.XXXXXXXX.tmp``): they are ours where NAME is.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from copygym.core.errors import UserError
from copygym.core.files.durable import flush, flush_names

#: The list's name: one path a line, relative to its folder, ``/`` between its parts.
LIST = ".copygym-files"
#: Drafts, folders that wait to take a place (new), gave way (old), are being removed (gone).
#: A day, as in a copy that the user made, is nothing that `sibling` draws.
_MARK = r"(?![0-9]{8})[0-9a-f]{8}"
_DRAFT = re.compile(
    rf"\.(?P<name>.+)\.(?:[a-z0-9_]{{8}}\.(?:copygym\.)?tmp|{_MARK}\.(?:new|old|gone))", re.DOTALL
)
#: What W&B writes for us, which notes nothing.
_WANDB = ("offline-run-*", "run-*", "latest-run", "debug*.log", "settings")


def keep_list(folder: Path) -> None:
    """Make ``folder`` and begin the list of what is written into it; idempotent.

    Raises:
        UserError: something else has the list's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(folder / LIST) and not has_list(folder):
        raise UserError(
            f"{folder / LIST} is a link, a pipe or a folder, where copygym keeps a list of what it "
            "writes; remove it, or choose another folder."
        )
    if not has_list(folder):
        with _appended(folder / LIST):
            flush_names(folder)


def has_list(folder: Path) -> bool:
    """Return whether a folder keeps a list; a link to one, or a pipe, is none."""
    return (folder / LIST).is_file() and not (folder / LIST).is_symlink()


def root_of(path: Path) -> Path | None:
    """Return the nearest folder around ``path`` that keeps a list; None where none does."""
    return next((folder for folder in path.parents if has_list(folder)), None)


def check_inside(path: Path, root: Path) -> None:
    """Check that what is written at ``path`` comes to lie in ``root``, not where a link leads.

    Raises:
        UserError: a folder in between, or the file itself, is a link.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise UserError(
                f"{part} is a link, through which nothing is written; put what it leads to in its "
                "place, or remove it."
            )


def read_list(folder: Path) -> set[str]:
    """Return the names in a folder's list; none where it keeps no list."""
    if not has_list(folder):
        return set()
    try:
        return set((folder / LIST).read_text(encoding="utf-8", errors="replace").split("\n")) - {""}
    except OSError:
        return set()


def note(*paths: Path) -> None:
    """Note that files or folders of ours are going to stand at ``paths``.

    Does nothing for drafts, whose files are noted when they take their place, and outside of
    folders that keep a list.

    Raises:
        UserError: a link stands in the way.
    """
    roots: dict[Path, list[str]] = {}
    for path in paths:
        root = root_of(path)
        if root is not None:
            check_inside(path, root)
            roots.setdefault(root, []).append(path.relative_to(root).as_posix())
    for root, names in roots.items():
        known = read_list(root)
        fresh = [n for n in dict.fromkeys(names) if n not in known and not _in_draft(n)]
        if fresh:
            with _appended(root / LIST) as stream:
                # What a full disk has left of a name is a line by itself.
                whole = not known or _ends_a_line(root / LIST)
                stream.write("".join(f"{name}\n" for name in ([] if whole else [""]) + fresh))
            flush(root / LIST)


def _appended(path: Path) -> IO[str]:
    """Open a list to append to it; not through a link that was put there a moment ago."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


def check_ours(path: Path) -> None:
    """Check that a file that is going to be written over is one of ours.

    Outside of folders that keep a list the caller has to know.

    Raises:
        UserError: it is the user's.
    """
    root = root_of(path)
    if root is None or not os.path.lexists(path):
        return
    name = path.relative_to(root).as_posix()
    if name not in read_list(root) and not _in_draft(name):
        raise UserError(
            f"{path} was not written by copygym and stands where it has to write; move it "
            "elsewhere and repeat the command."
        )


def foreign(folder: Path, root: Path | None = None) -> list[str]:
    """Return what in ``folder`` copygym did not write: sorted names, relative to it.

    Empty folders count only where nobody noted them. Links are never followed.

    Args:
        folder: to look through; one that keeps no list is all the user's.
        root: the folder whose list says what is ours; None takes ``folder`` itself.
    """
    ours = _Ours(folder, root or folder)
    return sorted(name for name, mine in ours.entries() if not mine)


def remove_ours(folder: Path) -> bool:
    """Remove what copygym wrote into ``folder``, and the folder if nothing else is left.

    Returns:
        Whether the folder is gone.
    """
    empty_of_ours(folder)
    _remove(folder.parent, [folder.name])
    return not folder.exists()


def empty_of_ours(folder: Path, *, keep: str = "") -> None:
    """Remove what copygym wrote into ``folder``, which stays; nothing where it keeps no list.

    Args:
        folder: to empty.
        keep: name at the top of it that stays.
    """
    ours = _Ours(folder, folder)
    mine = [name for name, is_ours in ours.entries() if is_ours and name not in (LIST, keep)]
    _remove(folder, [*mine, *ours.folders])
    # The list goes last, so that after a kill the rest is still known to be ours.
    if keep not in read_list(folder):
        _remove(folder, [LIST])


def remove_drafts(folder: Path) -> None:
    """Remove what killed saves left in a folder that keeps a list."""
    ours = _Ours(folder, folder)
    mine = [name for name, is_ours in ours.entries() if is_ours]
    _remove(folder, [name for name in [*mine, *ours.folders] if _in_draft(name)])


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files, links and empty folders, the deepest first; what refuses to go stays."""
    for name in sorted(names, key=lambda name: name.count("/"), reverse=True):
        path = folder / name
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def sibling(path: Path, ending: str) -> Path:
    """Return a hidden name beside ``path`` that nothing has; ``ending`` is new, old or gone."""
    while True:
        found = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")
        if is_draft(found) and not os.path.lexists(found):
            return found


def siblings(path: Path, ending: str) -> Iterator[Path]:
    """Yield the folders beside ``path`` that `sibling` named for it."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{_MARK}\.{ending}")
    if path.parent.is_dir():
        for entry in sorted(path.parent.iterdir()):
            if name.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                yield entry


def is_draft(path: Path) -> bool:
    """Return whether a path has the name of a draft."""
    return _DRAFT.fullmatch(path.name) is not None


def is_draft_of(name: str, wanted: str) -> bool:
    """Return whether a file's name is that of a draft of the file ``wanted``."""
    match = _DRAFT.fullmatch(name)
    return match is not None and match["name"] == wanted


def in_draft(path: Path) -> bool:
    """Return whether a path lies in a folder that is being written."""
    return any(part.endswith(".tmp") and _DRAFT.fullmatch(part) for part in path.parts[:-1])


def _in_draft(name: str) -> bool:
    return any(_DRAFT.fullmatch(part) for part in name.split("/"))


class _Ours:
    """Goes through a folder and tells ours from the user's.

    Attributes:
        folders: our folders that hold something, relative, once `entries` has ended.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.folders: set[str] = set()
        self._above = "" if root == folder else f"{folder.relative_to(root).as_posix()}/"
        self._kept = has_list(root)
        self._names = {LIST} | read_list(root) if self._kept else set()
        self._parents = {str(p) for name in self._names for p in PurePosixPath(name).parents}

    def entries(self) -> Iterator[tuple[str, bool]]:
        """Yield (name, whether ours) of each file, link and empty folder."""
        for place, folders, files in os.walk(self.folder):
            inside = Path(place).relative_to(self.folder).as_posix()
            lead = "" if inside == "." else f"{inside}/"
            if inside != ".":
                mine = self._is_folder(inside)
                if not (folders or files):
                    yield inside, mine
                elif mine:
                    self.folders.add(inside)
            links = [name for name in folders if (Path(place) / name).is_symlink()]
            for name in [*files, *links]:
                yield f"{lead}{name}", self._is_file(f"{lead}{name}")

    def _is_file(self, name: str) -> bool:
        whole = self._above + name
        if self._by_place(whole):
            return True
        return whole in self._names and not (self.folder / name).is_symlink()

    def _is_folder(self, name: str) -> bool:
        whole = self._above + name
        return whole in self._names or whole in self._parents or self._by_place(whole)

    def _by_place(self, name: str) -> bool:
        """Return whether a path lies in W&B's files, or in a draft of something of ours."""
        if not self._kept:
            return False
        parts = name.split("/")
        if parts[0] == "wandb" and len(parts) == 1:
            return True
        if parts[0] == "wandb" and any(fnmatchcase(parts[1], one) for one in _WANDB):
            return True
        for depth, part in enumerate(parts):
            match = _DRAFT.fullmatch(part)
            while match is not None:
                becomes = "/".join([*parts[:depth], match["name"]])
                if becomes in self._names or becomes in self._parents:
                    return True
                match = _DRAFT.fullmatch(match["name"])
        return False
