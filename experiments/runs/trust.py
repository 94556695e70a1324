"""What a run's folder says of itself, read as a stranger's word: nothing that it names is imported.

`instantiated` makes whatever a config names, because a config comes from a command line. One that
was read from a folder is `Stored` at every depth, from which `instantiated` makes nothing but what
copygym's own config files name (`copygym.core.components`).
"""

from __future__ import annotations

import importlib
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from copygym.core.components import is_trusted, may_be_named, may_be_run, trust
from copygym.core.errors import UserError
from copygym.core.files.storage import check_ends, read_json
from copygym.core.plugins import entry_points_of, find, is_installed, is_path, stored_names

#: What a module must offer to be named by the config's ``job``.
JOB_FUNCTIONS = ("check", "seed_records", "report")
#: Hydra's words in a part with ``_target_`` that only say how to make it, and what they may be.
_HOW: dict[str, tuple[Any, ...]] = {
    "_convert_": ("none", "partial", "object", "all"),
    "_partial_": (True, False),
}


class Stored(dict[str, Any]):
    """A JSON object that was read from a folder, and may therefore be anybody's."""


def stored(value: Any) -> Any:
    """Return JSON types in which every object, at every depth, is `Stored`."""
    if isinstance(value, dict):
        return Stored({key: stored(entry) for key, entry in value.items()})
    if isinstance(value, list):
        return [stored(entry) for entry in value]
    return value


def _parts(value: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object inside ``value`` with the dotted key that leads to it."""
    if isinstance(value, Mapping):
        yield key, value
        for name, entry in value.items():
            yield from _parts(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _parts(entry, f"{key}.{index}" if key else str(index))


def holds_stored(value: Any) -> bool:
    """Return whether anything inside ``value`` was read from a folder."""
    return any(isinstance(part, Stored) for _, part in _parts(value))


@contextmanager
def reading(config: Any) -> Iterator[None]:
    """Look names up in this block as a folder's, where the config was read from one."""
    if not holds_stored(config):
        yield
        return
    with stored_names("the run's folder"):
        yield


def check_names(config: Any, place: object, key: str = "") -> None:
    """Check that a config from a folder names nothing but parts of copygym.

    Args:
        config: of a run, or a part of one.
        place: names the folder or file in messages.
        key: that leads to ``config``, where it is a part.

    Raises:
        UserError: at some depth it names other code, or asks Hydra for more than to make a part.
    """
    for name, part in _parts(config, key):
        if "_target_" in part:
            _check_part(name, part, place)
        elif strange := _hydra_words(part):
            raise _refused(place, f"{name}.{strange[0]}", part[strange[0]])
    for name, text in _words(config, key):
        # A term of a reward is ``NAME:SUFFIX`` where it is used twice.
        if is_path(text) and not is_trusted(text) and name.rpartition(".")[2] != "terms":
            raise _refused(place, name, text)


def _check_part(name: str, part: Mapping[str, Any], place: object) -> None:
    target = part["_target_"]
    if not may_be_named(target, name.rpartition(".")[2]):
        raise _refused(place, f"{name}._target_" if name else "_target_", target)
    for word in _hydra_words(part):
        if word != "_target_" and part[word] not in _HOW.get(word, ()):
            raise _refused(place, f"{name}.{word}", part[word])
    rest = {word: value for word, value in part.items() if word != "_target_"}
    for inner, value in _parts(rest, name):
        if "_target_" in value:
            raise _refused(place, f"{inner}._target_", value["_target_"])
    for inner, text in _words(rest, name):
        if "${" in text:
            raise _refused(place, inner, text)


def _hydra_words(part: Mapping[str, Any]) -> list[str]:
    words = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_", "_mode_")
    return [word for word in words if word in part]


def _words(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts inside ``value``, keys too, with the dotted key that leads to them."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield key, str(name)
            yield from _words(entry, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _words(entry, key)


def _refused(place: object, key: str, value: object) -> UserError:
    return UserError(
        f"{place} names {reprlib.repr(value)} as {key}, which is no part of copygym: a folder may "
        "be anybody's, so nothing that it names is run; if it is code of your own, say so by "
        "--trust NAME."
    )


def read_state(folder: Path) -> dict[str, Any]:
    """Return the content of a run's ``run.json``, its config `Stored`.

    Raises:
        UserError: the file is missing or damaged, or reading the folder would never end.
    """
    check_ends(folder)
    path = folder / "run.json"
    state = read_json(path)
    kinds = {"state": str, "config": dict, "code": str}
    for key, kind in kinds.items():
        if not isinstance(state.get(key), kind):
            raise UserError(
                f"{path} has no {key} that could be read: it is damaged; repeat the run in another "
                "folder."
            )
    return {**state, "config": stored(state["config"])}


def load_job(name: str, key: str = "job") -> ModuleType:
    """Return the experiment that a user's config names as ``job``, or under another key.

    Args:
        name: a module, ``package.module:attribute``, or an entry point in ``copygym.experiment``.
        key: of the config, for messages.

    Raises:
        UserError: there is no such module, or it isn't an experiment.
    """
    if is_path(name) or name in entry_points_of("experiment"):
        found: ModuleType = find("experiment", name, {}, needs=JOB_FUNCTIONS)
        return found
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:
        # Python has other words for names that no module can have, such as "" and ".x".
        lost = getattr(error, "name", None)
        if lost and not name.startswith(lost):
            raise
        ours = "copygym.experiments.studies.delivery.delivery"
        raise UserError(
            f"{key}={name} is no module; an experiment's job is one like "
            f"{', '.join([ours, *entry_points_of('experiment')])}."
        ) from None
    missing = [function for function in JOB_FUNCTIONS if not hasattr(module, function)]
    if missing:
        raise UserError(f"{key}={name} has no function {missing[0]}(); an experiment needs one.")
    return module


def stored_job(name: object, place: object) -> ModuleType:
    """Return the experiment module that a run's folder names.

    Args:
        name: as the folder has it.
        place: names the folder in messages.

    Raises:
        UserError: it is no experiment of copygym, nor one that the user has named.
    """
    if not may_be_run(name):
        raise _refused(place, "job", name)
    return load_job(str(name))


def trust_config(config: Mapping[str, Any]) -> None:
    """Trust the names in a config that a user gave: the run's own files may name them again."""
    targets = [part.get("_target_") for _, part in _parts(config)]
    texts = [text for _, text in _words(config, "")]
    outside = [name for text in texts for name in _outside(text)]
    trust(str(name) for name in (config.get("job"), *targets, *outside) if name)


def _outside(text: str) -> list[str]:
    """Return what in a text may name a plug-in: all of it, or all before the suffix of a term."""
    forms = {text, text.partition(":")[0], text.rpartition(":")[0]}
    return [form for form in forms if is_path(form) or is_installed(form)]


__all__ = [
    "JOB_FUNCTIONS",
    "Stored",
    "check_names",
    "holds_stored",
    "load_job",
    "read_state",
    "reading",
    "stored",
    "stored_job",
    "trust",
    "trust_config",
]
