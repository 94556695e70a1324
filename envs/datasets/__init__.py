"""Datasets: one module each, with a ``CARD`` and ``load(path=None, **options) -> ClickLog``."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from copygym.core.errors import UserError, unknown_name
from copygym.envs.datasets.card import Card, RemoteFile
from copygym.envs.logs.clicklog import ClickLog

__all__ = ["Card", "RemoteFile", "available", "card", "load"]

_NAMES = (
    "storefront",
    "upworthy",
    "hillstrom",
    "open_bandit",
    "coupon",
    "mind",
    "criteo_uplift",
    "table",
)


def available() -> list[str]:
    """Return the names of all datasets."""
    return list(_NAMES)


def _module(name: str) -> ModuleType:
    if name not in _NAMES:
        raise unknown_name("dataset", name, available())
    return importlib.import_module(f"copygym.envs.datasets.{name}")


def card(name: str) -> Card:
    """Return a dataset's card."""
    found: Card = _module(name).CARD
    return found


def load(name: str, path: str | Path | None = None, **options: Any) -> ClickLog:
    """Load a dataset.

    Args:
        name: one of `available`.
        path: its file, or the folder that holds it; None looks where ``copygym data get`` puts
            it.
        options: of the dataset's loader.

    Raises:
        UserError: unknown name or option, a dataset that isn't there, or a bad file.
    """
    module = _module(name)
    known = [p for p in inspect.signature(module.load).parameters if p != "path"]
    for option in options:
        if option not in known:
            listed = ", ".join(known) if known else "none"
            raise UserError(f"dataset {name} has no option {option!r}; its options are: {listed}.")
    log: ClickLog = module.load(path, **options)
    return log
