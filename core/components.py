"""What a file from elsewhere may name: the parts that copygym's own config files name.

A config on a command line may name any code, because its user typed it. A folder may have been
written by anybody, so what it names is looked up here and never imported by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_TARGET = re.compile(r"^\s*(?:-\s+)?_target_:\s*(copygym\.[\w.]+)\s*$", re.MULTILINE)
#: What the user of this process has named: on the command line, or in a config of their own.
_trusted: set[str] = set()
_JOB = re.compile(r"\bcopygym\.experiments\.[\w.]+")


@cache
def registered(group: str | None = None) -> frozenset[str]:
    """Return the names under ``_target_`` in the config files that come with copygym.

    Args:
        group: of config files, such as ``reward``; None: all files.
    """
    root: Traversable = files("copygym.conf")
    if group is not None:
        if not group.isidentifier() or not (root / group).is_dir():
            return frozenset()
        root = root / group
    return frozenset(name for text in _texts(root) for name in _TARGET.findall(text))


@cache
def registered_jobs() -> frozenset[str]:
    """Return the experiments' modules that the config files name."""
    return frozenset(name for text in _texts(files("copygym.conf")) for name in _JOB.findall(text))


def trust(names: Iterable[str]) -> None:
    """Let files of this process's runs name these as well: the user has named them."""
    _trusted.update(name.replace(":", ".") for name in names)


def is_trusted(name: object) -> bool:
    """Return whether the user of this process has named this, dotted or as ``module:attribute``."""
    return isinstance(name, str) and name.replace(":", ".") in _trusted


def may_be_named(name: object, group: str | None = None) -> bool:
    """Return whether a file from elsewhere may name a class or a function.

    Args:
        name: dotted, such as ``copygym.rewards.RewardShape``.
        group: of config files that must hold it; None or a group without any: all files.
    """
    own = (registered(group) if group else frozenset()) or registered()
    return isinstance(name, str) and (name in own or is_trusted(name))


def may_be_run(name: object) -> bool:
    """Return whether a file from elsewhere may name a module as its experiment."""
    return isinstance(name, str) and (name in registered_jobs() or is_trusted(name))


def _texts(folder: Traversable) -> list[str]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _texts(entry)
        elif entry.name.endswith(".yaml"):
            found.append(entry.read_text(encoding="utf-8"))
    return found
