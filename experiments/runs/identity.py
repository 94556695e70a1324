"""When two runs are the same: nothing that their job reads in the config or runs has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from copygym.experiments.runs.code import Code, changed_modules, job_code
from copygym.experiments.runs.outputs import plain

#: Config keys that say where and how a run is shown, not what it computes.
_UNHASHED = ("out", "tracker", "resume", "overwrite", "publish")
#: Keys that decide every result, though no job's code reads them.
_ALWAYS = ("numerics",)
#: So many modules a sentence names.
_NAMED = 2


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the part of a resolved config that decides the result."""
    return hashlib.sha256(_json(_relevant(config)).encode()).hexdigest()


def code_of(config: Mapping[str, Any]) -> Code:
    """Return the code that a run of this resolved config rests on, as its sources are now."""
    return job_code(_relevant(config))


def difference(state: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Return what tells a stored run from one that would start now, in words.

    Args:
        state: of the stored run, as its ``run.json`` has it: ``config``, ``code``, ``modules``.
        config: resolved, of the new run.

    Returns:
        A phrase that follows "a run with"; None where nothing that matters has changed.
    """
    code = code_of(config)
    old, new = plain(state["config"]), plain(config)
    # Another job explains all other changes.
    for section in sorted(old.keys() | new.keys(), key=lambda name: (name != "job", name)):
        same = _json(old.get(section)) == _json(new.get(section))
        if same or section in _UNHASHED or not (section in _ALWAYS or code.reads(section)):
            continue
        return f"another config ({_first_change(section, old, new)})"
    if state["code"] != code.id:
        changed = _changed(state.get("modules"), code)
        return f"the same config but made by another version of the code{changed}"
    return None


def _first_change(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first key inside a section that differs, with both values."""
    before, now = _flat(old.get(section), section), _flat(new.get(section), section)
    for key in sorted(before.keys() | now.keys()):
        values = before.get(key, "absent"), now.get(key, "absent")
        if _json(values[0]) != _json(values[1]):
            return f"{key} was {values[0]}, now {values[1]}"
    return f"in {section}"


def _changed(before: Any, code: Code) -> str:
    """Return which modules have changed, in brackets; nothing where the folder does not tell."""
    names = changed_modules(before, code.modules) if isinstance(before, Mapping) else []
    if not names:
        return ""
    more = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f" ({listed} changed since)"


def _relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _UNHASHED}


def _json(value: Any) -> str:
    return json.dumps(plain(value), sort_keys=True)


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    """Return dotted key -> value of everything inside that is no mapping, or an empty one."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat.update(_flat(entry, f"{prefix}.{key}"))
    return flat
