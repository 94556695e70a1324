"""Names of weekdays and months, by language: in full, or as the beginnings that tell them apart."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

#: Weekdays from Monday and months from January; a second form stands behind a bar, and after an
#: equals sign one that is written in full only.
_NAMES = (
    (
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may june july august september october november december",
    ),
    (
        "montag dienstag mittwoch donnerstag freitag samstag|=sonnabend sonntag",
        "januar|jänner februar|feber märz|maerz|mrz april mai juni juli august september oktober "
        "november dezember",
    ),
    (
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    ),
    (
        "lunes martes miércoles jueves viernes sábado domingo",
        "enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre "
        "diciembre",
    ),
    (
        "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
        "dicembre",
    ),
    (
        "segunda terça quarta quinta sexta sábado domingo",
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    ),
    (
        "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        "januari februari maart|mrt april mei juni juli augustus september oktober november "
        "december",
    ),
    (
        "måndag tisdag onsdag torsdag fredag lördag söndag",
        "januari februari mars april maj juni juli augusti september oktober november december",
    ),
    (
        "mandag tirsdag onsdag torsdag fredag lørdag søndag",
        "januar februar marts|mars april maj|mai juni juli august september oktober november "
        "december|desember",
    ),
    (
        "poniedziałek wtorek środa czwartek piątek sobota niedziela",
        "styczeń|stycznia luty|lutego marzec|marca kwiecień|kwietnia maj|maja czerwiec|czerwca "
        "lipiec|lipca sierpień|sierpnia wrzesień|września październik|października "
        "listopad|listopada grudzień|grudnia",
    ),
    (
        "понедельник|пн вторник|вт среда|ср четверг|чт пятница|пт суббота|сб воскресенье|вс",
        "январь|января февраль|февраля март|марта апрель|апреля май|мая июнь|июня июль|июля "
        "август|августа сентябрь|сентября октябрь|октября ноябрь|ноября декабрь|декабря",
    ),
    (
        "月曜日|月 火曜日|火 水曜日|水 木曜日|木 金曜日|金 土曜日|土 日曜日|日",
        "",
    ),
)
#: Words that say nothing of a day: "30 de abril de 2024", "May the 1st", "1er mai", "quinta-feira".
FILLERS = {"of", "the", "de", "del", "di", "den", "d", "er", "le", "el", "il", "feira", "г"}


@dataclass(frozen=True)
class Calendar:
    """One language's names.

    Attributes:
        weekdays: name, or its beginning, without accents -> 0 for Monday to 6.
        months: likewise -> 0 for January to 11.
    """

    weekdays: dict[str, int]
    months: dict[str, int]


def words(name: str) -> list[str]:
    """Return the words of a name without case, accents, dots and digits."""
    plain = unicodedata.normalize("NFD", name.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.findall(r"[^\W\d_]+", plain)


def _beginnings(names: str, least: int) -> dict[str, int]:
    """Return full names and every beginning of ``least`` letters or more that only one has."""
    known: dict[str, int] = {}
    places: dict[str, set[int]] = {}
    for place, forms in enumerate(names.split()):
        for form in forms.split("|"):
            (plain,) = words(form)
            known[plain] = place
            for length in range(len(plain) if form.startswith("=") else least, len(plain)):
                places.setdefault(plain[:length], set()).add(place)
    for short, held in places.items():
        if len(held) == 1:
            known.setdefault(short, next(iter(held)))
    return known


CALENDARS = tuple(
    Calendar(_beginnings(weekdays, 2), _beginnings(months, 3)) for weekdays, months in _NAMES
)
#: Every name of a weekday in any language.
WEEKDAYS = frozenset(name for calendar in CALENDARS for name in calendar.weekdays)
#: Every name of a month in any language.
MONTHS = frozenset(name for calendar in CALENDARS for name in calendar.months)
