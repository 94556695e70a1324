"""The arms of a file: which one is the control, and names that are no arm of their own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.logs.ids import TOTAL, TOTAL_OF
from copygym.evaluation.abtest.file.order import natural_key

#: Names of a control, the surest first; a name may have more words, as in "control_v2".
CONTROLS = (
    ("control", "ctrl", "ctl", "kontrolle", "kontrollgruppe", "controle", "contrôle"),
    ("baseline", "base", "original", "orig", "champion", "incumbent", "default", "current", "old"),
    ("placebo", "holdout", "hold", "untreated", "unexposed"),
    ("none", "nothing", "no", "off", "false", "without"),
)
#: Words that make a name of up to three words a control's.
_WITHIN = {*CONTROLS[0], "baseline", "original", "placebo", "holdout"}
#: Words of a control's name where another arm's has "new".
_BEFORE = {"old", "current", "existing", "previous", "alt", "alte", "alter", "altes", "bisher"}
_AFTER = {"new", "neu", "neue", "neuer", "neues"}
_NO_TREATMENT = re.compile(r"no (e[- ]?mail|mail|message|treatment|contact|ad|change|send)s?")
#: What tools write where there is no value.
_MISSING = {"null", "nan", "n/a", "#n/a", "<na>", "undefined", "(not set)", "(null)", "(blank)"}
#: Cyrillic and Greek letters that look like Latin ones.
_LOOKALIKES = str.maketrans("асеорхуіјѕαοικνρτυχ", "aceopxyijsaoikvptux")
_INVISIBLE = {"Cf", "Cc"}


@dataclass(frozen=True)
class Chosen:
    """The arms in the order in which they are judged.

    Attributes:
        names: the control first.
        why: what made it the control, as a part of a sentence.
    """

    names: tuple[str, ...]
    why: str


def choose(names: Sequence[str], control: str | None, where: str) -> Chosen:
    """Return the arms, the control first and the others in their natural order.

    Args:
        names: different names of arms.
        control: its name; None takes one that is called so, else the first in natural order.
        where: file and column, for messages.

    Raises:
        UserError: two names that differ in case, blanks or signs only, a name that says that
            there is no value, no arm of the control's name.
    """
    _refuse_missing(names, where)
    refuse_near(names, where)
    rest = _in_order(names)
    if control is None:
        control, why = _recognise_control(rest)
    else:
        control, why = _match_control(names, control, where), "as you named it"
    return Chosen((control, *(name for name in rest if name != control)), why)


def _in_order(names: Sequence[str]) -> list[str]:
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names, key=natural_key)


def _match_control(names: Sequence[str], control: str, where: str) -> str:
    if control in names:
        return control
    near = next((name for name in names if fold_name(name) == fold_name(control)), None)
    if near is None:
        raise UserError(
            f"{where} has no arm {control!r}; it has {', '.join(names[:12])}: name one by "
            "--control."
        )
    return near


def _recognise_control(names: Sequence[str]) -> tuple[str, str]:
    """Return the control and why, from names in natural order."""
    plain = {name: fold_name(name) for name in names}
    for known in CONTROLS[:-1]:
        for name in names:
            if plain[name] in known:
                return name, "by its name"
    for name in names:
        words = re.findall(r"[^\W\d_]+", plain[name])
        if len(words) <= 3 and _WITHIN & set(words):
            return name, "by its name"
    short = {name: set(re.findall(r"[^\W\d_]+", plain[name])) for name in names}
    short = {name: found for name, found in short.items() if len(found) <= 3}
    old = [name for name, found in short.items() if _BEFORE & found]
    if len(old) == 1 and any(_AFTER & found for found in short.values()):
        return old[0], "by its name"
    for name in names:
        if plain[name] in CONTROLS[-1] or _NO_TREATMENT.fullmatch(plain[name]):
            return name, "by its name"
    return names[0], "the first in order, as no arm is called control"


def fold_name(name: str) -> str:
    """Return a name without what readers do not see: case, blanks, joins, forms of signs."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = "".join(c for c in plain if unicodedata.category(c) not in _INVISIBLE)
    if re.search(r"[a-z]", plain):
        plain = plain.translate(_LOOKALIKES)
    plain = re.sub(r"(?<=\w)[\s_\-]+(?=\w)", " ", plain.strip())
    try:
        return repr(float(plain))  # 1, 01 and 1.0
    except ValueError:
        return plain


def refuse_near(names: Sequence[str], where: str) -> None:
    """Raise where two names are one to the eye.

    Raises:
        UserError: names both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold_name(name), name)
        if other != name:
            raise UserError(
                f"{where}: the arms {other!r} and {name!r} differ in case, blanks or signs only; "
                "write one name if they are one arm, or names that differ clearly."
            )


def _refuse_missing(names: Sequence[str], where: str) -> None:
    missing = next((name for name in names if name.casefold() in _MISSING), None)
    if missing is not None:
        raise UserError(
            f"{where}: {missing!r} says that there is no arm; give every row its arm, or remove "
            "the rows that have none."
        )


def is_total(name: str) -> bool:
    """Return whether a name is that of a row of sums, such as Total or Summe."""
    return any(re.search(pattern, name.strip()) for pattern in (TOTAL, TOTAL_OF))


def refuse_totals(
    names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    where: Callable[[str], str],
    planned: Collection[str] = (),
) -> None:
    """Raise where an arm is a row of sums of the others.

    Args:
        names: A arms.
        counts: what is counted -> (A,) its counts; one that has the sums of all others in each
            of them is no arm.
        where: returns an arm's file, row and column, for messages.
        planned: arms that the planned ratio names, which are arms whatever they count.

    Raises:
        UserError: names the arm.
    """
    labelled = next((n for n in names if is_total(n) and n not in planned), None)
    if labelled is not None:
        raise UserError(
            f"{where(labelled)}: {labelled!r} is a row of sums by its name, and no arm; delete it, "
            "or say by --ratio that it is one."
        )
    if len(names) < 3 or not counts:
        return
    same = np.ones(len(names), bool)
    for values in counts.values():
        same &= (2 * values == values.sum()) & (values > 0)
    for place in np.flatnonzero(same):
        name = names[int(place)]
        if name not in planned:
            raise UserError(
                f"{where(name)}: arm {name!r} has as many {' and '.join(counts)} as all others "
                "together, so it is a row of their sums; delete it, or say by --ratio that it is "
                "an arm."
            )
