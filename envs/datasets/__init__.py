"""Datasets: one module each, with a ``CARD`` and ``load(path=None, **options) -> ClickLog``.

A dataset of another package is such a module, or an object with these two, and is named as
`copygym.core.plugins` says.

A dataset of made-up people also has ``make_world(**options)``, the `World` whose truth is known.
One of readers' histories has ``articles(path=None)``: ``news_id`` and ``text`` of what they read.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from copygym.core.errors import UserError
from copygym.core.plugins import choices, find
from copygym.envs.datasets.card import Card, RemoteFile
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.world import World

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Card",
    "RemoteFile",
    "World",
    "articles",
    "available",
    "card",
    "has_world",
    "load",
    "loader_options",
    "make_world",
]

_NAMES = (
    "storefront",
    "upworthy",
    "hillstrom",
    "open_bandit",
    "coupon",
    "mind",
    "pens",
    "criteo_uplift",
    "table",
)
#: Our own: name -> module.
OWN = {name: f"copygym.envs.datasets.{name}" for name in _NAMES}


def available() -> list[str]:
    """Return the names of all datasets: ours, then those of installed packages."""
    return choices("dataset", OWN)


def _module(name: str) -> Any:
    return find("dataset", name, OWN, needs=("CARD", "load"))


def card(name: str) -> Card:
    """Return a dataset's card."""
    found: Card = _module(name).CARD
    return found


def loader_options(name: str) -> list[str]:
    """Return the names of the options that a dataset's loader takes."""
    return [p for p in inspect.signature(_module(name).load).parameters if p != "path"]


def has_world(name: str) -> bool:
    """Return whether a dataset's people are made up, so that their true response is known."""
    return hasattr(_module(name), "make_world")


def make_world(name: str, **options: Any) -> World | None:
    """Return the world that writes a dataset's log; None where its people are real.

    Args:
        name: one of `available`.
        options: of the dataset's loader; those that say nothing of the people are left out.

    Raises:
        UserError: unknown name, or a bad value of an option.
    """
    if not has_world(name):
        return None
    make = _module(name).make_world
    known = inspect.signature(make).parameters
    world: World = make(**{key: value for key, value in options.items() if key in known})
    return world


def articles(name: str, path: str | Path | None = None) -> pl.DataFrame:
    """Return the articles that a dataset's ``user_history`` names: ``news_id``, ``text`` and more.

    Raises:
        UserError: the dataset has no histories, or its files are not there.
    """
    module = _module(name)
    if not hasattr(module, "articles"):
        having = ", ".join(other for other in OWN if hasattr(_module(other), "articles"))
        raise UserError(
            f"dataset {name} has no histories of what its readers read; choose one of {having}."
        )
    found: pl.DataFrame = module.articles(path)
    return found


def load(name: str, path: str | Path | None = None, **options: Any) -> ClickLog:
    """Load a dataset.

    Args:
        name: one of `available`, or ``package.module:attribute``.
        path: its file, or the folder that holds it; None looks where ``copygym data get`` puts
            it.
        options: of the dataset's loader.

    Raises:
        UserError: unknown name or option, a dataset that isn't there, or a bad file.
    """
    known = loader_options(name)
    for option in options:
        if option not in known:
            listed = ", ".join(known) if known else "none"
            raise UserError(f"dataset {name} has no option {option!r}; its options are: {listed}.")
    _check_types(name, options)
    log: ClickLog = _module(name).load(path, **options)
    return log


def _check_types(name: str, options: Mapping[str, Any]) -> None:
    """Raise where an option is no number, truth value or text though its loader says so.

    Raises:
        UserError: names the option.
    """
    hints = get_type_hints(_module(name).load)
    for option, value in options.items():
        kinds = get_args(hints.get(option)) or (hints.get(option),)
        # What is more than a word is checked by its loader.
        if all(kind in (*_WORDS, NoneType) for kind in kinds) and not _fits(value, kinds):
            wanted = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
            raise UserError(f"dataset {name}: {option}={value!r} is not {wanted}.")


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _fits(value: Any, kinds: tuple[Any, ...]) -> bool:
    if value is None:
        return NoneType in kinds
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float):
        return float in kinds or (int in kinds and isinstance(value, int))
    return isinstance(value, str) and str in kinds
