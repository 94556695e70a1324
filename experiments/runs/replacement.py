"""A run that takes the place of an older one (``overwrite=true``), whatever gets killed when.

The new run is written to a hidden folder beside the old one and takes its place by two renames:

    RUN, .RUN.XXXXXXXX.new      while the new one runs, and when it has ended
    .RUN.XXXXXXXX.old, .new     killed here, `restore` puts the old one back
    RUN (new), .old             the old one becomes .gone and is removed; `restore` goes on with it

All three are folders that keep a list of what copygym wrote (`copygym.core.files.written`); a
folder of the user's is never taken for one of them, whatever its name, and a file that the user
has put into an old run is never removed with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import read_json


def check_replaceable(target: Path) -> None:
    """Check that all of a run's folder may go.

    Raises:
        UserError: the user has files in it, works in it, or it was written before copygym noted
            what it writes.
    """
    if not written.has_list(target):
        raise UserError(
            f"out={target} has no list of the files that copygym wrote ({written.LIST}), so that "
            "they cannot be told from yours: remove the folder yourself, or choose another out=."
        )
    others = written.foreign(target)
    if others:
        raise UserError(
            f"out={target} holds {others[0]!r}, which no copygym run wrote: move it elsewhere "
            "before overwrite=true replaces the folder, or choose another out=."
        )
    here = Path.cwd().resolve()
    if target.resolve() in (here, *here.parents):
        raise UserError(
            f"out={target} is the current folder or around it, which overwrite=true would take "
            "away; change to another folder and repeat the command."
        )


def replace_run(target: Path, draft: Path) -> None:
    """Put a finished run in the place of an older one.

    Raises:
        UserError: the older one's folder holds files that copygym did not write.
    """
    if not target.exists():
        draft.replace(target)
        return
    if any(target.iterdir()):  # an empty one gives way by itself
        check_replaceable(target)
    old = written.sibling(target, "old")
    target.replace(old)
    draft.replace(target)
    _remove(target, old)


def restore(target: Path, *, in_use: bool) -> None:
    """Undo a replacement that was killed between its renames, or end one killed after them.

    Args:
        target: the run's folder.
        in_use: whether anything is in it.

    Raises:
        UserError: the old run cannot be put back.
    """
    for gone in _ours(target, "gone"):
        written.remove_ours(gone)
    for old in _ours(target, "old"):
        if not in_use:
            _put_back(old, target)
            in_use = True
        elif _finished(target):
            _remove(target, old)


def _put_back(old: Path, target: Path) -> None:
    written.remove_ours(target)  # what a run leaves that was killed as it began
    try:
        old.replace(target)
    except OSError as error:
        raise UserError(
            f"the run that was in {target} waits in {old} and cannot be put back "
            f"({error.strerror}); rename it yourself."
        ) from error


def _finished(target: Path) -> bool:
    try:
        return read_json(target / "run.json").get("state") == "finished"
    except UserError:
        return False


def _remove(target: Path, old: Path) -> None:
    # Renamed first: what is half removed must never be put back.
    gone = written.sibling(target, "gone")
    old.replace(gone)
    if not written.remove_ours(gone):
        sys.stderr.write(
            f"copygym: files of the replaced run that aren't copygym's are in {gone}\n"
        )


def drafts_of(target: Path) -> Iterator[Path]:
    """Yield the unfinished runs that were to replace the one in ``target``."""
    return _ours(target, "new")


def remove_drafts_of(target: Path) -> None:
    """Remove unfinished runs that were to replace the one in ``target``."""
    for draft in list(_ours(target, "new")):
        written.remove_ours(draft)


def _ours(target: Path, ending: str) -> Iterator[Path]:
    for folder in written.siblings(target, ending):
        if written.has_list(folder):
            yield folder
        elif ending != "old":
            with suppress(OSError):
                folder.rmdir()  # killed before its list was begun or after; with files it stays
