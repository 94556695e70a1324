"""The order of looks and arms: dates, weeks, months and numbered names, not the alphabet's.

"5/10/2024" stands before "5/2/2024" in the alphabet and after it in time, and a test that is looked
at in the wrong order stops at a look that never was. A column's names are read in one way, all of
them or none. Where two ways would put them in different orders, nobody can know, and that is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.calendar import CALENDARS, FILLERS, MONTHS, WEEKDAYS, words
from copygym.evaluation.abtest.file.dates import (
    Reading,
    compact_dates,
    dates,
    named_dates,
    pairs_of_numbers,
    times,
)

#: Names that a message shows.
_SHOWN = 3
#: A date by numbers alone cannot tell months from years where a test would have lasted longer.
_LONGEST_DAYS = 731
_YEARS = range(1900, 2101)
#: A range such as "5/1 - 5/7" stands where it begins.
_RANGE = re.compile(
    r"(.+?)\s+(?:-|–|—|to|bis|au|al|a|tot)\s+(.+)|([\d./]+[./][\d./]+)\s?[-–—]\s?([\d./]+)"
    r"|(\d{4}-\d\d?-\d\d?)\s?/\s?(\d{4}-\d\d?-\d\d?)"
)
_WEEKS = {"w", "wk", "week", "kw", "woche", "semaine", "sem", "semana", "settimana", "uke", "vecka"}
_WEEKLIKE = {*_WEEKS, "q", "quarter", "quartal", "trimestre", "t", "h", "m", "month", "s"}


@dataclass(frozen=True)
class Order:
    """Names in their order.

    Attributes:
        names: one of each look, in order.
        place: name as it is spelt -> index into ``names``; spellings of one look share it.
        by: by what they were ordered, such as "date (month/day/year)".
        caution: what the order cannot know; empty where all is well.
    """

    names: tuple[str, ...]
    place: dict[str, int]
    by: str
    caution: str = ""


def find_order(names: Sequence[str], where: str) -> Order:
    """Return different names in their own order.

    Args:
        names: as they are spelt, in the order in which the file has them.
        where: file and column, for the message.

    Raises:
        UserError: the names can be ordered in two ways, or in none.
    """
    plain = [unicodedata.normalize("NFKC", name).strip() for name in names]
    ranges = [_RANGE.fullmatch(name) for name in plain]
    starts = [(found[1] or found[3] or found[5]).strip() for found in ranges if found is not None]
    if len(set(starts)) == len(plain):
        plain = starts
    bare = [_without_weekday(name) for name in plain]
    if len(set(bare)) == len(plain):
        plain = bare
    for family in _FAMILIES:
        readings = family(plain)
        if readings:
            return _order(names, _one(readings, names, where))
    return _order(names, _by_text(plain, names, where))


def _without_weekday(name: str) -> str:
    """Return a name without the weekday before or behind it, which says nothing new of a date."""
    if not re.search(r"\d", name):
        return name
    found = words(name)
    if name[0].isalpha() and found and _only_weekday(found[0], found[1:]):
        name = re.sub(r"^[^\W\d_]+(-feira)?\.?,?\s+", "", name)
        found = words(name)
    if name[0].isdigit() and found and _only_weekday(found[-1], found[:-1]):
        name = re.sub(r"[\s,(]+[^\W\d_]+\.?\)?$", "", name)
    return name


def _only_weekday(word: str, others: Sequence[str]) -> bool:
    # Mar is March, and a Tuesday in French: it is one where another month stands beside it.
    return word in WEEKDAYS and (word not in MONTHS or not MONTHS.isdisjoint(others))


def natural_key(name: str) -> tuple[Any, ...]:
    """Return a key that sorts "2" before "10" and "B2" before "B10"."""
    text, numbers = _pieces(unicodedata.normalize("NFKC", name).strip())
    return (tuple(text), tuple(numbers)) if len(text) == 1 else _natural_parts(text, numbers)


def _natural_parts(text: list[str], numbers: list[int]) -> tuple[Any, ...]:
    # Text and numbers in turns; a text is compared with a text and a number with a number.
    key: list[Any] = []
    for place, piece in enumerate(text):
        key.append(piece)
        if place < len(numbers):
            key.append(numbers[place])
    return ((key[0],), tuple(key[1:]))


def _order(names: Sequence[str], reading: Reading) -> Order:
    ranks = reading.ranks()
    first: dict[int, str] = {}
    for name, rank in zip(names, ranks, strict=True):
        first.setdefault(rank, name)
    caution = reading.caution or _year_end_caution(names, ranks, reading)
    joined = next(((first[r], n) for n, r in zip(names, ranks, strict=True) if first[r] != n), None)
    if joined:
        said = f"{joined[0]!r} and {joined[1]!r} are one look, written in two ways."
        caution = f"{caution} {said}" if caution else said
    return Order(
        tuple(first[rank] for rank in sorted(first)),
        dict(zip(names, ranks, strict=True)),
        reading.by,
        caution,
    )


def _year_end_caution(names: Sequence[str], ranks: Sequence[int], reading: Reading) -> str:
    """Return a caution where the file has bare numbers as days or weeks over the end of a year."""
    if "number" not in reading.by or reading.days is not None or len(ranks) < 3:
        return ""
    start = ranks.index(0)
    if start == 0 or [*ranks[start:], *ranks[:start]] != list(range(len(ranks))):
        return ""
    return (
        f"the file has them in another order, from {names[0]!r} to {names[-1]!r}; if that is the "
        "order of time, as of days over the end of a month, write dates such as 2024-05-31."
    )


def _one(readings: list[Reading], names: Sequence[str], where: str) -> Reading:
    """Return the reading that the names allow, where they allow one order only."""
    short = [one for one in readings if one.days is None or one.days <= _LONGEST_DAYS]
    readings = short or readings
    other = next((one for one in readings if one.ranks() != readings[0].ranks()), None)
    if other is None:
        return readings[0]
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    raise UserError(
        f"{where}: {shown} may be read by {readings[0].by} or by {other.by}, which gives another "
        "order; write dates as 2024-05-31, or other names with one leading number."
    )


# ------------------------------------------------------------------ families of names


def _numbers(names: Sequence[str]) -> list[Reading]:
    if not all(re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", n, re.I) for n in names):
        return []
    number = Reading("number", [float(name) for name in names])
    found = [re.fullmatch(r"(\d+)\.(\d+)", name) for name in names]
    pairs = [(pair[1], pair[2]) for pair in found if pair is not None]
    if len(pairs) < len(names):
        return [number]
    # 01.05 is a day; 5.1, 5.2, 5.10 may be days or decimals.
    by_day = pairs_of_numbers(pairs, ".", [0.0] * len(pairs))
    if by_day and any(len(a) > 1 and a.startswith("0") for a, _ in pairs):
        return by_day
    readings = [number, *by_day]
    if len({len(decimals) for _, decimals in pairs}) > 1:
        keys: list[Hashable] = [(int(a), int(b)) for a, b in pairs]
        readings.append(Reading("two numbers with a dot between", keys))
    return readings


def _calendar(kind: str, size: int, first: str) -> Callable[..., list[Reading]]:
    def family(names: Sequence[str]) -> list[Reading]:
        if any(re.search(r"\d", name) for name in names):
            return []
        found = [words(name) for name in names]
        found = [w if len(w) == 1 else [x for x in w if x not in FILLERS] for w in found]
        if any(len(w) != 1 for w in found):
            return []
        readings = []
        for calendar in CALENDARS:
            known = calendar.weekdays if kind == "weekday" else calendar.months
            if all(w[0] in known for w in found):
                readings.append(_cyclic([known[w[0]] for w in found]))
        return readings

    def _cyclic(places: Sequence[int]) -> Reading:
        start = cyclic_start(places, size)
        caution = (
            f"the order is that of the calendar; where the test began on another {kind}, or lasted "
            f"so long that a {kind} came again, name a column of dates by --look."
        )
        by = f"{kind}" + (f", from {first}" if start == 0 else "")
        return Reading(by, [(p - start) % size for p in places], caution=caution)

    return family


def cyclic_start(places: Sequence[int], size: int) -> int:
    """Return where a run on a circle begins: after its gap if that is over half the circle."""
    inside = sorted(set(places))
    for place, following in pairwise(inside):
        if following - place > size / 2:
            return following
    return 0


def _number_readings(names: Sequence[str]) -> list[Reading]:
    """Read one text with numbers in it, such as "day 2" and "day 10" or "2024-W9"."""
    pieces = [_pieces(name) for name in names]
    if len({tuple(text) for text, _ in pieces}) != 1 or not pieces[0][1]:
        return []
    keys = [tuple(numbers) for _, numbers in pieces]
    by = "the numbers in the names"
    width = len(keys[0])
    years = [j for j in range(width) if all(key[j] in _YEARS for key in keys)]
    if years and years[-1] > 1:
        return []  # days and months stand before it, in an order that no date was found in
    if width > 1 and len(years) == 1:
        (year,) = years
        keys = [(key[year], *key[:year], *key[year + 1 :]) for key in keys]
        return [Reading(f"{by}, the year first", list(keys))]
    texts = pieces[0][0]
    if width == 1 and _WEEKS & set(words(" ".join(texts))) and all(1 <= k[0] <= 53 for k in keys):
        start = cyclic_start([key[0] for key in keys], 53)
        if start:
            turned: list[Hashable] = [(number - start) % 53 for (number,) in keys]
            caution = (
                "the weeks seem to run over the end of a year; where they do not, write the year "
                "as well, as in 2024-W01."
            )
            return [Reading(f"{by}, over the end of a year", turned, caution=caution)]
    readings = [Reading(by, list(keys))]
    if width == 2 and _WEEKLIKE & set(words(" ".join(texts))) and all(k[1] >= 10 for k in keys):
        readings.append(Reading(f"{by}, the last one a year", [(b, a) for a, b in keys]))
    return readings


def _titled_dates(names: Sequence[str]) -> list[Reading]:
    """Read dates with the same text before and behind all of them, as in "week of 29/4/2024"."""
    found = [re.fullmatch(r"(\D*)(.*\d\.?)(\D*)", name) for name in names]
    if not all(found) or len({(one[1], one[3]) for one in found if one}) > 1:
        return []
    rest = [one[2] for one in found if one]
    if rest == list(names) or any(re.fullmatch(r"\d+-\d+", one) for one in rest):
        return []  # 1-2 may be a day of a week
    return compact_dates(rest) or dates(rest)


_FAMILIES: tuple[Callable[[Sequence[str]], list[Reading]], ...] = (
    compact_dates,
    dates,
    _numbers,
    named_dates,
    times,
    _calendar("weekday", 7, "Monday"),
    _calendar("month", 12, "January"),
    _titled_dates,
    _number_readings,
)


def _by_text(plain: Sequence[str], names: Sequence[str], where: str) -> Reading:
    """Read names without a number of their own, whose order must be that of the file as well."""
    keys: list[Hashable] = [natural_key(name) for name in plain]
    reading = Reading("name, which is also their order in the file", keys)
    if reading.ranks() != list(range(len(names))):
        shown = ", ".join(repr(name) for name in names[:_SHOWN])
        raise UserError(
            f"{where}: nobody can tell the order of {shown}{', ...' * (len(names) > _SHOWN)}; "
            "write dates as 2024-05-31, or one name with a number, such as day 1, day 2."
        )
    return reading


def _pieces(name: str) -> tuple[list[str], list[int]]:
    """Return the texts around a name's numbers, and the numbers; the texts are one more."""
    name = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", name.casefold())
    parts = re.split(r"((?:(?<=\s)|^)-\d+|\d+)", name)
    texts = [re.sub(r"\s+", " ", part).strip() for part in parts[::2]]
    return texts, [int(part) for part in parts[1::2]]
