"""Dates and times as people write them: every way in which all names of a column can be read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from copygym.evaluation.abtest.file.calendar import CALENDARS, FILLERS, MONTHS, WEEKDAYS, words

_DAY = 86_400
#: Orders of day, month and year by the mark between them; the usual ones first.
_USUAL = {
    "/": (("mdy", "dmy"), ()),
    "-": (("mdy", "dmy"), ()),
    # Who writes dots writes the day first.
    ".": (("dmy",), ("mdy",)),
}
_LETTERS = {"y": "year", "m": "month", "d": "day"}


@dataclass(frozen=True)
class Reading:
    """One way to read a column's names.

    Attributes:
        by: by what it orders them, in words.
        keys: one per name; names of equal keys are the same.
        days: from the first date to the last, where it knows the year.
        caution: what it cannot know.
    """

    by: str
    keys: Sequence[Hashable]
    days: float | None = None
    caution: str = ""

    def ranks(self) -> list[int]:
        """Return the place of every name among the different keys."""
        place = {key: rank for rank, key in enumerate(sorted(set(self.keys)))}  # type: ignore[type-var]
        return [place[key] for key in self.keys]


# ------------------------------------------------------------------ times of the day

_TIME = re.compile(
    r"(?P<h>\d{1,2})(?::(?P<m>\d{2})(?::(?P<s>\d{2}(?:[.,]\d+)?))?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<zone>z|utc|gmt|[+-]\d{2}(?::?\d{2})?)?",
    re.I,
)


def _seconds(text: str) -> float | None:
    """Return seconds since midnight UTC (or of the clock, without a zone); None for no time."""
    found = _TIME.fullmatch(text.strip())
    if not found or not (found["m"] or found["half"]):
        return None
    hour, minute = int(found["h"]), int(found["m"] or 0)
    second = float((found["s"] or "0").replace(",", "."))
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    if hour > 24 or minute > 59 or second >= 61:
        return None
    offset = re.fullmatch(r"([+-])(\d{2}):?(\d{2})?", found["zone"] or "")
    shift = 0
    if offset:
        shift = int(f"{offset[1]}1") * (3600 * int(offset[2]) + 60 * int(offset[3] or 0))
    return 3600 * hour + 60 * minute + second - shift


def times(names: Sequence[str]) -> list[Reading]:
    """Read times of a day, such as 9:00 and 1 pm."""
    keys = [_seconds(name) for name in names]
    return [] if None in keys else [Reading("time of day", keys)]


def _split_time(names: Iterable[str]) -> list[tuple[str, float]] | None:
    """Return what stands before a time, and the time; None where a rest is no time."""
    out = []
    for name in names:
        date, _, rest = re.sub(r"(?<=\d)T(?=\d\d:)", " ", name).partition(" ")
        if not rest.strip():
            out.append((date, 0.0))
            continue
        seconds = _seconds(rest)
        if seconds is None:
            return None
        out.append((date, seconds))
    return out


# ------------------------------------------------------------------ dates of numbers


def compact_dates(names: Sequence[str]) -> list[Reading]:
    """Read dates of 8 or 6 digits without a mark, such as 20240501 and 010524."""
    if not all(re.fullmatch(r"\d{8}|\d{6}", name) for name in names):
        return []
    if len({len(name) for name in names}) > 1:
        return []
    wide = len(names[0]) == 8
    readings = []
    for order in ("ymd", "dmy", "mdy"):
        cells = []
        for name in names:
            first = 4 if order == "ymd" and wide else 2
            cells.append((name[:first], name[first : first + 2], name[first + 2 :]))
        found = _read_dates(cells, order, [0.0] * len(names), "")
        if found is not None and (wide or (found.days or 0) <= 2 * 366):
            readings.append(found)
    return readings


def dates(names: Sequence[str]) -> list[Reading]:
    """Read dates of two or three numbers with a mark between, with or without a time."""
    parts = _split_time(names)
    if parts is None:
        return []
    texts, seconds = [date for date, _ in parts], [second for _, second in parts]
    found = [re.fullmatch(r"(\d{1,4})([-./])(\d{1,4})(?:\2(\d{1,4}))?([.]?)", t) for t in texts]
    if not all(found):
        return []
    matches = [one for one in found if one is not None]
    marks = {one[2] for one in matches}
    if len(marks) > 1 or len({one[4] is None for one in matches}) > 1:
        return []
    mark = marks.pop()
    if matches[0][4] is None:
        if mark == "." and not all(one[5] for one in matches) and not any(seconds):
            return []  # 5.10 may be a number
        return pairs_of_numbers([(one[1], one[3]) for one in matches], mark, seconds)
    cells = [(one[1], one[3], one[4]) for one in matches]
    if all(len(cell[0]) == 4 for cell in cells):
        usual: tuple[tuple[str, ...], tuple[str, ...]] = (("ymd",), ("ydm",))
    elif all(len(cell[2]) == 4 for cell in cells):
        usual = _USUAL[mark]
    else:
        first, second = _USUAL[mark]
        usual = (first, (*second, "ymd")) if mark == "." else (("ymd", *first), ())
    for orders in usual:
        read = [_read_dates(cells, order, seconds, mark) for order in orders]
        kept = [one for one in read if one is not None]
        if kept:
            return kept
    return []


def _read_dates(
    cells: Sequence[tuple[str, str, str]], order: str, seconds: Sequence[float], mark: str
) -> Reading | None:
    """Return the reading of three numbers in this order, or None where one is no date."""
    keys = []
    for cell, second in zip(cells, seconds, strict=True):
        value = dict(zip(order, cell, strict=True))
        if len(value["m"]) > 2 or len(value["d"]) > 2 or len(value["y"]) not in (2, 4):
            return None
        year = int(value["y"]) + (2000 if len(value["y"]) == 2 else 0)
        if not 1900 <= year <= 2100:
            return None
        try:
            day = dt.date(year, int(value["m"]), int(value["d"]))
        except ValueError:
            return None
        keys.append(day.toordinal() * _DAY + second)
    by = f"date ({(mark or ', ').join(_LETTERS[letter] for letter in order)})"
    return Reading(by, keys, days=(max(keys) - min(keys)) / _DAY)


def pairs_of_numbers(
    cells: Sequence[tuple[str, str]], mark: str, seconds: Sequence[float]
) -> list[Reading]:
    """Read two numbers: a month and a day, or a month (or week) and a year."""
    first, second = ([int(cell[place]) for cell in cells] for place in (0, 1))
    if all(len(cell[0]) == 4 for cell in cells):
        return [Reading("year and number in it", list(zip(first, second, seconds, strict=True)))]
    if all(len(cell[1]) == 4 for cell in cells):
        return [Reading("year and number in it", list(zip(second, first, seconds, strict=True)))]
    readings: list[Reading] = []
    # Who writes dots writes the day first.
    for order in ("dm", "md") if mark == "." else ("md", "dm"):
        month, day = (first, second) if order == "md" else (second, first)
        if mark == "." and order == "md" and readings:
            break
        by = f"date ({mark.join(_LETTERS[letter] for letter in order)}, no year)"
        found = _without_year(month, day, seconds, by)
        if found is not None:
            readings.append(found)
    if all(len(cell[1]) == 2 for cell in cells) and all(1 <= m <= 12 for m in first):
        keys = [dt.date(2000 + y, m, 1).toordinal() for m, y in zip(first, second, strict=True)]
        by = f"date (month{mark}year)"
        readings.append(Reading(by, keys, days=float(max(keys) - min(keys))))
    return readings


def _without_year(
    month: Sequence[int], day: Sequence[int], seconds: Sequence[float], by: str
) -> Reading | None:
    """Return days of a year, from the one after the gap if they run over its end."""
    try:
        # A leap year, so that 29 February is a day.
        days = [dt.date(2024, m, d).timetuple().tm_yday for m, d in zip(month, day, strict=True)]
    except ValueError:
        return None
    inside = sorted(set(days))
    start = next((b for a, b in pairwise(inside) if b - a > 183), 0)
    keys = [(d - start) % 366 * _DAY + s for d, s in zip(days, seconds, strict=True)]
    return Reading(by, keys, days=(max(keys) - min(keys)) / _DAY)


# ------------------------------------------------------------------ dates with a month's name


def named_dates(names: Sequence[str]) -> list[Reading]:
    """Read dates with a month's name and one or two numbers: 5 May, May 5, 2024, Jan-24, 1er mai.

    The names are of one language; several that know them all are several readings.
    """
    dates: list[str] = []
    seconds: list[float] = []
    for name in names:
        clock = re.search(r"\s(\d{1,2}:\d{2}.*|\d{1,2}\s*[ap]\.?m\.?)$", name, re.I)
        time = 0.0 if clock is None else _seconds(clock[1])
        if time is None:
            return []
        dates.append(name if clock is None else name[: clock.start()])
        seconds.append(time)
    found = [_words_of_date(date) for date in dates]
    numbers = [re.findall(r"\d+", date) for date in dates]
    if not 1 <= len(numbers[0]) <= 2 or len({len(digits) for digits in numbers}) > 1:
        return []
    readings: list[Reading] = []
    for calendar in CALENDARS:
        months = [
            calendar.months[w[0]] + 1 for w in found if len(w) == 1 and w[0] in calendar.months
        ]
        if len(months) == len(names):
            readings += _with_months(months, numbers, seconds)
    return readings


def _words_of_date(date: str) -> list[str]:
    """Return the words of a date but for weekdays and such as "of"; the month is to be left."""
    found = words(re.sub(r"(?<=\d)(st|nd|rd|th|er|º|ª)\b", "", date, flags=re.I))
    if len(found) > 1:
        found = [w for w in found if w not in FILLERS]
    if len(found) > 1:
        found = [w for w in found if w in MONTHS or w not in WEEKDAYS]
    if len(found) == 2 and found[0] in WEEKDAYS:
        found = found[1:]  # mar. 5 mars: a Tuesday
    return found


def _with_months(
    months: Sequence[int], numbers: Sequence[Sequence[str]], seconds: Sequence[float]
) -> list[Reading]:
    if len(numbers[0]) == 2:
        return _day_and_year(months, numbers, seconds)
    only = [digits[0] for digits in numbers]
    if all(len(digit) == 4 for digit in only):
        return [Reading("month and year", [(int(y), m) for y, m in zip(only, months, strict=True)])]
    if any(len(digit) > 2 for digit in only):
        return []
    readings = []
    by_day = _without_year(months, [int(digit) for digit in only], seconds, "date (no year)")
    if by_day is not None:
        readings.append(by_day)
    if all(len(digit) == 2 for digit in only):
        keys = [dt.date(2000 + int(y), m, 1).toordinal() for y, m in zip(only, months, strict=True)]
        readings.append(Reading("month and year", keys, days=float(max(keys) - min(keys))))
    return readings


def _day_and_year(
    months: Sequence[int], numbers: Sequence[Sequence[str]], seconds: Sequence[float]
) -> list[Reading]:
    readings = []
    for order, by in (((0, 1), "date (day, month, year)"), ((1, 0), "date (year, month, day)")):
        cells = [
            (digits[order[0]], str(month), digits[order[1]])
            for digits, month in zip(numbers, months, strict=True)
        ]
        found = _read_dates(cells, "dmy", seconds, "")
        if found is not None:
            readings.append(Reading(by, found.keys, found.days))
    return readings
