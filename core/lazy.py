"""Names of a package that are imported on first use (PEP 562), so that importing it stays cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]], packages: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package's front.

    Type checkers are to read ordinary imports under ``TYPE_CHECKING`` instead, with this call in
    the other branch: a ``__getattr__`` that they saw would make every misspelt name valid.

    Args:
        package: its ``__name__``.
        modules: module -> the names that the front takes from it.
        packages: names of sub-packages that are attributes of the front too.

    Raises:
        ValueError: two modules give one name.
    """
    pairs = [(name, module) for module, names in modules.items() for name in names]
    home = dict(pairs)
    if len(home) < len(pairs):
        raise ValueError(f"{package}: a name comes from two modules")
    public = sorted([*home, *packages])

    def get(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(home[name]), name)
        if name in packages:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *public})

    return get, names, public
