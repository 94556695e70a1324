"""Parts of somebody else's package: how a name becomes one of ours, or one of theirs.

A name is, in this order, one of copygym's own, an entry point that an installed package has in the
group ``copygym.KIND``, or ``package.module:attribute``. All three are found in the same way:

    find("dataset", "hillstrom", OWN)          # ours
    find("dataset", "parcels", OWN)            # [project.entry-points."copygym.dataset"]
    find("dataset", "my.package:parcels", OWN)

A user may name anything, on a command line, in a config or in Python. What a file names is looked
up with ``stored``, or inside `stored_names`: nothing is imported for it but what is ours, what this
process has found for its user before, and what the user trusts (`copygym.core.components.trust`).
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from copygym.core.components import is_trusted
from copygym.core.errors import UserError

#: Kind of part -> how messages call one. Entry points of a kind are in the group ``copygym.KIND``.
KINDS = {
    "agent": "agent",
    "algorithm": "algorithm",
    "copy_term": "copy term",
    "ctr_model": "CTR reward model",
    "dataset": "dataset",
    "encoder": "text encoder",
    "environment": "environment",
    "experiment": "experiment",
    "response": "response family",
    "reward": "reward",
    "reward_term": "reward term",
    "scorer": "kind of CTR scorer",
}
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
#: (kind, name) -> what this process has found under it outside of copygym.
_found: dict[tuple[str, str], Any] = {}
#: The places whose names are being read: see `stored_names`. Of the process, so that threads that
#: work for a reader are as careful as it is.
_places: list[object] = []


def is_path(name: object) -> bool:
    """Return whether a name has the form ``package.module:attribute``."""
    return isinstance(name, str) and _PATH.fullmatch(name) is not None


@cache
def entry_points_of(kind: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return name -> entry points of this kind; nothing is imported.

    Two packages may have taken the same name.
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=f"copygym.{kind}"):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def choices(kind: str, own: Mapping[str, Any]) -> list[str]:
    """Return the names that a user can choose from: ours, then those of installed packages."""
    return [*own, *(name for name in sorted(entry_points_of(kind)) if name not in own)]


def is_installed(name: str) -> bool:
    """Return whether an installed package has an entry point of this name, of whatever kind."""
    return any(name in entry_points_of(kind) for kind in KINDS)


@contextmanager
def stored_names(place: object) -> Iterator[None]:
    """Take every name that is looked up in this block as one that the file ``place`` holds."""
    _places.append(place)
    try:
        yield
    finally:
        _places.remove(place)


def term_name(name: str, own: Mapping[str, Any]) -> str:
    """Return the name of a reward's term without the suffix by which it is used twice.

    ``potential:slow`` is the term `potential`, ``my.package:term:slow`` is ``my.package:term``.
    """
    base = name.partition(":")[0]
    if base in own or is_installed(base):
        return base
    return ":".join(name.split(":")[:2])


def find(
    kind: str,
    name: str,
    own: Mapping[str, Any],
    *,
    needs: Sequence[str] = (),
    stored: object = None,
) -> Any:
    """Return the part that a name stands for.

    Args:
        kind: one of `KINDS`.
        name: as the module says.
        own: name -> part of copygym, or where it is: ``module:attribute``, or ``module`` alone.
        needs: names of what such a part has.
        stored: the file or folder that holds the name; None: the user has named it.

    Raises:
        UserError: no such name, nothing there, a part that lacks what it needs, or a file that
            names what neither copygym nor the user knows.
    """
    if name in own:
        part = own[name]
        return _imported(*part.partition(":")[::2]) if isinstance(part, str) else part
    for same in (name, *_same(name)):
        if (kind, same) in _found:
            return _found[kind, same]
    _check_trusted(kind, name, stored)
    part = _outside(kind, name, own)
    for need in needs:
        if not hasattr(part, need):
            raise UserError(
                f"{KINDS[kind]} {name!r} has no {need!r}: docs/plugins.md says what one needs."
            )
    _found[kind, name] = part
    return part


def target(name: str) -> Any:
    """Return what a config's ``_target_`` stands for, where it is no dotted path of Hydra's.

    Args:
        name: an entry point of any kind, or ``package.module:attribute``.

    Raises:
        UserError: there is nothing there, or two kinds have an entry point of this name.
    """
    kinds = [kind for kind in KINDS if name in entry_points_of(kind)]
    if len(kinds) > 1:
        raise UserError(
            f"_target_={name}: there is an entry point of this name for {' and for '.join(kinds)}; "
            "write package.module:attribute instead."
        )
    if kinds:
        return find(kinds[0], name, {})
    _check_trusted("part", name, None)
    if not is_path(name):
        known = sorted({n for kind in KINDS for n in entry_points_of(kind)})
        raise _unknown("_target_", name, known)
    return _loaded_path("_target_", name)


def _unknown(what: str, name: str, known: Sequence[str]) -> UserError:
    """Return the error for a name that is none of those known, with the likeliest of them."""
    near = difflib.get_close_matches(name, known, n=1)
    end = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join([*sorted(known), "or package.module:attribute of your own"])
    return UserError(f"unknown {what} {name!r}: choose one of {listed}{end}")


def _check_trusted(kind: str, name: str, stored: object) -> None:
    place = stored if stored is not None else next(reversed(_places), None)
    if place is None or not (is_path(name) or is_installed(name)):
        return
    if not any(map(is_trusted, _same(name))):
        raise UserError(
            f"{place} names the {KINDS.get(kind, kind)} {name!r}, which is none of copygym's: a "
            "folder may be anybody's, so nothing that it names is imported; if it is code of your "
            f"own, say so by --trust {name} (in Python: copygym.core.components.trust)."
        )


def _same(name: str) -> set[str]:
    """Return a name, and those by which an installed package says the same."""
    entries = [
        entry for kind in KINDS for found in entry_points_of(kind).values() for entry in found
    ]
    paths = {entry.value for entry in entries if entry.name == name}
    names = {entry.name for entry in entries if entry.value == name}
    return {name} | paths | names


def path_of(part: Any) -> str:
    """Return ``module:attribute`` of a class or function, as a saved file may name it."""
    return f"{part.__module__}:{part.__qualname__}"


def _outside(kind: str, name: str, own: Mapping[str, Any]) -> Any:
    entries = entry_points_of(kind).get(name, ())
    what = KINDS[kind]
    if len(entries) > 1:
        raise UserError(
            f"{what} {name!r} is in {' and '.join(packages(kind, name))}: name the one you mean as "
            f"{' or '.join(entry.value for entry in entries)}."
        )
    if entries:
        try:
            return entries[0].load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{what} {name!r} of {_package(entries[0])} cannot be imported ({error}): install "
                "what it needs, or another version of it."
            ) from error
    if is_path(name):
        return _loaded_path(what, name)
    raise _unknown(what, name, choices(kind, own))


def packages(kind: str, name: str) -> list[str]:
    """Return the installed packages that have an entry point of this kind and name."""
    return sorted(_package(entry) for entry in entry_points_of(kind).get(name, ()))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _loaded_path(what: str, name: str) -> Any:
    """Import what the user named as ``package.module:attribute``."""
    module, _, attribute = name.partition(":")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"{what} {name!r}: there is no module {error.name or module}; install its package, or "
            "put its folder on PYTHONPATH."
        ) from None
    try:
        return _imported(module, attribute)
    except AttributeError as error:
        raise UserError(f"{what} {name!r}: {error}; check the name after the colon.") from None


def _imported(module: str, attribute: str) -> Any:
    part: Any = importlib.import_module(module)
    for name in attribute.split(".") if attribute else ():
        part = getattr(part, name)
    return part
