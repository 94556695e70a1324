"""Your own logs by name: how a file is read, kept as ``copygym-logs/NAME.yaml``.

The file holds what the loader of ``dataset=table`` takes, and nothing else: no code can be named in
it. Paths in it are as seen from the folder in which `copygym` is run, or absolute.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files.storage import write_text
from copygym.envs.datasets import table
from copygym.envs.logs.clicklog import ClickLog

#: Where named logs lie, in the folder that one works in.
FOLDER = Path("copygym-logs")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_TEXTS = ("path", "label", "separator", "encoding", "time_zone", "time_format", "products")
_MAPS = ("columns", "constants", "empty", "events")
_LISTS = ("ignore", "cap")
_MOST_BYTES = 1_000_000


def place(name: str) -> Path:
    """Return the file of a named log.

    Raises:
        UserError: it is no name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name of a log: write letters, digits, - and _, a letter first."
        )
    return FOLDER / f"{name}.yaml"


def is_own(name: str) -> bool:
    """Return whether there is a log of that name."""
    return bool(_NAME.fullmatch(name)) and place(name).is_file()


def names() -> list[str]:
    """Return the names of the logs that are there."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml") if _NAME.fullmatch(file.stem))


def read(name: str) -> dict[str, Any]:
    """Return the settings of a named log, as `table.load` takes them.

    Raises:
        UserError: there is none, or its file holds something else.
    """
    import yaml  # type: ignore[import-untyped]

    path = place(name)
    if not path.is_file():
        there = f"there are {', '.join(names())}" if names() else "there is none"
        raise UserError(
            f"no log is called {name!r} ({there} in {FOLDER}); make one by "
            f"`copygym data map FILE --name {name}`."
        )
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too long for a column map")
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no YAML file of a log ({reason}); make it again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; `copygym data map FILE` writes them.")
    check(content, path)
    return content


def check(settings: Mapping[str, Any], path: Path) -> None:
    """Raise unless settings are what `table.load` takes.

    Raises:
        UserError: a key or a value that is not.
    """
    known = list(inspect.signature(table.load).parameters)
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"{path}: there is no setting {key!r}; choose of {', '.join(known)}.")
        fits = (
            (key in _TEXTS and isinstance(value, str | None))
            or (key in _MAPS and _is_map(value, of_columns=key == "columns", lists=key == "events"))
            or (key in _LISTS and (value is None or _is_list(value)))
            or (key == "synthetic" and isinstance(value, bool))
        )
        if not fits:
            kind = "a text" if key in _TEXTS else "lines NAME: VALUE" if key in _MAPS else "a list"
            kind = "true or false" if key == "synthetic" else kind
            raise UserError(f"{path}: {key} is {value!r}; write {kind}.")
    if not settings.get("path"):
        raise UserError(f"{path} names no file: write path: FILE.")


def _is_map(value: Any, *, of_columns: bool, lists: bool) -> bool:
    if value is None:
        return True
    kinds = (str,) if of_columns else (str, int, float)
    return isinstance(value, dict) and all(
        isinstance(k, str) and (isinstance(v, kinds) or (lists and _is_list(v)))
        for k, v in value.items()
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def write(name: str, settings: Mapping[str, Any], remarks: str = "") -> Path:
    """Write a named log and return its file.

    Args:
        name: of the log; what is there under it is replaced.
        settings: as `read` returns them.
        remarks: for people, written as comments above.

    Raises:
        UserError: no name, or settings that `table.load` does not take.
    """
    import yaml

    path = place(name)
    check(settings, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    said = "".join(f"# {line}\n".replace("# \n", "#\n") for line in remarks.splitlines())
    kept = {key: value for key, value in settings.items() if value not in (None, {}, [], False)}
    write_text(path, said + yaml.safe_dump(kept, allow_unicode=True, sort_keys=False))
    return path


def load(name: str, **options: Any) -> ClickLog:
    """Load a named log.

    Args:
        name: of the log.
        options: of `table.load`, which win over what its file says; maps are joined.

    Raises:
        UserError: no such log, or a fault of it.
    """
    return table.load(**joined(read(name), options))


def for_reading(name: str, options: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return a named log's file, and how `ClickLog.read` and `prepare` read it.

    Args:
        name: of the log.
        options: which win.

    Raises:
        UserError: no such log, or one whose rows are events, of which only the loader makes sends.
    """
    settings = joined(read(name), options)
    if settings.get("events"):
        raise UserError(
            f"{place(name)}: its rows are events; only a log with a row a send can be prepared."
        )
    for key in ("label", "products", "synthetic"):
        settings.pop(key, None)
    return Path(settings.pop("path")), settings


def joined(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings over which options win; maps and lists are joined."""
    result = dict(settings)
    for key, value in options.items():
        if value is None or value == {} or value == [] or (key, value) == ("encoding", "utf-8"):
            continue  # nothing was said
        if key in _MAPS:
            result[key] = {**(result.get(key) or {}), **value}
        elif key in _LISTS:
            result[key] = [*dict.fromkeys([*(result.get(key) or []), *value])]
        else:
            result[key] = value
    return result
