"""``KEY=VALUE`` as people write it: names stay as they are spelt, and what cannot be read is told.

Hydra reads a value by its looks: ``data.path=007`` is the number 7. Keys that hold names (of files,
folders, columns, zones) are never numbers, so their values get quoted before Hydra sees them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from copygym.experiments.sweeps.job import quoted

#: Keys whose values are names; those below ``data.columns`` are as well.
_NAMES = frozenset(
    ["out", "publish", "name", "tiny"]
    + [
        f"data.{key}"
        for key in ("path", "label", "separator", "encoding", "time_zone", "time_format")
    ]
    + [f"tracker.{key}" for key in ("project", "entity", "group", "job_type", "name")]
)
_COLUMNS, _CONSTANTS = "data.columns", "data.constants"
#: What Hydra reads as a number or a truth value, and nothing in quotes.
_NO_TEXT = r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:e[+-]?\d[\d_]*)?|[+-]?(?:inf|nan)|true|false"
#: Numbers that a reader would write the same way.
_USUAL = r"-?(?:0|[1-9]\d*)(?:\.\d+)?|true|false"


def as_spelt(arguments: Sequence[str]) -> list[str]:
    """Return overrides in which Hydra leaves names as they are spelt.

    Args:
        arguments: of ``copygym run``; what is no such override is returned as it is. A log that
            `copygym data map` has named becomes the settings that its file holds.

    Raises:
        UserError: the file of a named log holds something else.
    """
    return [_as_spelt(one) for argument in arguments for one in _named_log(argument)]


def _named_log(argument: str) -> list[str]:
    """Return the overrides that ``dataset=NAME`` stands for, where that is a log of one's own."""
    from copygym.envs.datasets.own import named

    key, _, name = argument.partition("=")
    if key != "dataset" or not named.is_own(name):
        return [argument]
    settings = {"label": name, **named.read(name)}
    return ["dataset=table", *(f"++data.{key}={_hydra(value)}" for key, value in settings.items())]


def _hydra(value: Any) -> str:
    """Return a value of a named log in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_hydra(k)}:{_hydra(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) else _quote(text)


def _quote(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(text, Quote.double).with_quotes())


def holds_a_name(key: str) -> bool:
    """Return whether a config key holds a name, so that no value of it is a number."""
    return key in _NAMES or key.startswith(f"{_COLUMNS}.")


def _as_spelt(argument: str) -> str:
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    if name == "tiny":
        value = value.lower()  # the files tiny/true.yaml and tiny/false.yaml
    # Whoever quotes, escapes or interpolates knows what they do.
    if not sign or re.search(r"['\"\\$]", value):
        return argument
    if name == _COLUMNS:
        entries = rf"(:\s*)({_NO_TEXT}|null)(?=\s*[,}}])"
        return f"{key}=" + re.sub(entries, r"\1'\2'", value, flags=re.IGNORECASE)
    if name == _CONSTANTS:
        entries = rf"(:\s*)(?!(?:{_USUAL})\s*[,}}])({_NO_TEXT})(?=\s*[,}}])"
        return f"{key}=" + re.sub(entries, r"\1'\2'", value, flags=re.IGNORECASE)
    if not holds_a_name(name) and not name.startswith(f"{_CONSTANTS}."):
        return argument
    choice = re.fullmatch(r"(\s*choice\()(.*)(\)\s*)", value)
    before, inside, after = choice.groups() if choice else ("", value, "")
    if re.search(r"[\[\](){}]", inside):
        return argument
    return f"{key}={before}{','.join(_part(name, part) for part in inside.split(','))}{after}"


def _part(name: str, text: str) -> str:
    word = text.strip()
    kept = _NO_TEXT
    if name == "out" or name.startswith(f"{_COLUMNS}."):
        kept += "|null"  # elsewhere null stands for nothing
    if not re.fullmatch(kept, word, re.IGNORECASE):
        return text
    if name.startswith(f"{_CONSTANTS}.") and re.fullmatch(_USUAL, word, re.IGNORECASE):
        return text
    return f"'{word}'"


def how_to_write(override: str | None) -> str:
    """Return what to do about an override that Hydra cannot read, to follow a colon."""
    key, sign, value = (override or "").partition("=")
    whole = re.fullmatch(r"""(["'])(.*)\1""", value, re.DOTALL)
    suggested = f"{key}={quoted(whole[2] if whole else value)}"
    # Lists with a hole and calls are no names that lack quotes.
    odd = not re.search(r"\w", value) and key != "data.separator"
    listed = odd or value.endswith(",") or ",," in value or re.fullmatch(r"\w+\(.*\)", value)
    if not sign or not value or listed or suggested == override or not _readable(suggested):
        return "write KEY=VALUE."
    return (
        "a value with brackets, quotes, = or other signs needs quotes of its own inside those of "
        f"the shell, as in {shlex.quote(suggested)}."
    )


def _readable(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    return True
