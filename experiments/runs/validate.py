"""Checks a resolved config against `schema`, before any log is loaded."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from copygym.core.errors import UserError
from copygym.experiments.runs.schema import Config, Range

#: What a type is called, one and several.
_NOUNS = {int: "whole number", float: "number", str: "name"}
#: Brackets and commas outside of quotes make a list of what was meant as one name.
_PATH = """one path, which needs quotes where it has brackets or commas ('KEY="my [2].csv"')"""


def validate(config: Mapping[str, Any]) -> None:
    """Check the values of a resolved config.

    Args:
        config: of a run, or some keys of one. Unknown keys in a section are refused only where
            ``job`` is one of copygym's: other jobs may have keys of their own.

    Raises:
        UserError: names the first wrong key, its value and what is allowed.
    """
    ours = str(config.get("job", "")).startswith("copygym.")
    _check_section(config, Config, "", strict=ours)


def _check_section(section: Mapping[str, Any], kind: type, prefix: str, *, strict: bool) -> None:
    hints = _hints(kind)
    if strict and not getattr(kind, "free", False):
        for name in section:
            if name not in hints:
                raise unknown_key(f"{prefix}{name}", hints)
    for name, hint in hints.items():
        if name in section:
            _check(section[name], hint, f"{prefix}{name}", strict)


@cache
def _hints(kind: type) -> dict[str, Any]:
    found = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in found.items() if name != "free"}


def unknown_key(key: str, known: Any) -> UserError:
    """Return the error for a key that is not ``known``, which lists the likeliest ones first."""
    names = [str(name) for name in known]
    likely = get_close_matches(key.rpartition(".")[2], names, n=len(names) or 1)
    ordered = [*likely, *(name for name in names if name not in likely)]
    return UserError(f"there is no config key {key!r}: choose one of {', '.join(ordered)}.")


def _check(value: Any, hint: Any, key: str, strict: bool) -> None:
    """Raise `UserError` unless a value is what the type of its key says."""
    section, kind = _section_of(hint), _parts(hint)[0]
    if section is not None and isinstance(value, Mapping):
        _check_section(value, section, f"{key}.", strict=strict)
    elif get_origin(kind) is dict and isinstance(value, Mapping):
        for name, entry in value.items():
            _check(entry, get_args(kind)[1], f"{key}.{name}", strict)
    elif not _allowed(value, hint):
        shown = "null" if value is None else value
        raise UserError(f"{key}={shown}: give {_words(hint)}.")


def _section_of(hint: Any) -> type | None:
    kinds = (kind for kind in (hint, *get_args(hint)) if isinstance(kind, type))
    return next((kind for kind in kinds if is_dataclass(kind)), None)


def _parts(hint: Any) -> tuple[Any, Range | str | None, bool]:
    """Return the type without its extras, what limits it, and whether null is allowed."""
    null = False
    if get_origin(hint) in (types.UnionType, Union):
        options = [part for part in get_args(hint) if part is not types.NoneType]
        null = len(options) < len(get_args(hint))
        (hint,) = options
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
        return hint, limit, null
    return hint, None, null


def _allowed(value: Any, hint: Any) -> bool:
    kind, limit, null = _parts(hint)
    if value is None or kind is Any:
        return null or kind is Any
    if _section_of(kind) or get_origin(kind) is dict:
        return False
    if get_origin(kind) is list:
        return (
            isinstance(value, list)
            and (bool(value) or limit == "may be empty")
            and all(_allowed(entry, get_args(kind)[0]) for entry in value)
        )
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and (limit != "path" or value.strip() != "")
    if not isinstance(value, int if kind is int else int | float) or math.isnan(value):
        return False
    return not isinstance(limit, Range) or value in limit


def _words(hint: Any) -> str:
    """Return what a key may hold, to follow "give "."""
    kind, limit, null = _parts(hint)
    if get_origin(kind) is list:
        inner, inner_limit, _ = _parts(get_args(kind)[0])
        words = f"a list of {_NOUNS[inner]}s" + (f" {inner_limit}" if inner_limit else "")
        words += ", which may be empty" if limit == "may be empty" else ""
    elif _section_of(kind) or get_origin(kind) is dict:
        words = "no value of its own, but keys below it"
    elif kind is bool:
        words = "true or false"
    else:
        words = _PATH if limit == "path" else f"a {_NOUNS[kind]}" + (f" {limit}" if limit else "")
    return f"null or {words}" if null else words


__all__ = ["unknown_key", "validate"]
