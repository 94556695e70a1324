"""The order of looks: dates, weeks, months and numbers in their own, and no guess."""

import itertools
import re

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.order import find_order, natural_key

#: Names in their order, parted by bars, and by what they were ordered.
ORDERS = {
    "5/1/2024|5/2/2024|5/10/2024|5/14/2024": "date (month/day/year)",
    "1/5/2024|2/5/2024|13/5/2024": "date (day/month/year)",
    "01.05.2024|02.05.2024|30.05.2024|01.06.2024": "date (day.month.year)",
    "1.5.24|2.5.24|30.5.24|1.6.24": "date (day.month.year)",
    "2024-5-2|2024-5-10": "date (year-month-day)",
    "24/05/30|24/06/01": "date (year/month/day)",
    "20240430|20240501": "date (year, month, day)",
    "30042024|01052024": "date (day, month, year)",
    "5/1|5/2|5/10|5/14": "date (month/day, no year)",
    "01.05.|02.05.|30.05.|01.06.": "date (day.month, no year)",
    "01.05|02.05|30.05|01.06": "date (day.month, no year)",
    "12/28|12/29|1/1|1/3": "date (month/day, no year)",
    "2024-05-02T09:00:00Z|2024-05-02T10:00:00Z": "date (year-month-day)",
    "2024-05-02 01:00:00+03:00|2024-05-01 23:00:00+00:00": "date (year-month-day)",
    "5/1/2024 9:00 AM|5/1/2024 1:00 PM|5/2/2024 12:00 AM": "date (month/day/year)",
    "Mon 5/6|Tue 5/7|Mon 5/13": "date (month/day, no year)",
    "Wednesday 1|Thursday 2|Friday 10": "number",
    "5/1/2024 (Wed)|5/2/2024 (Thu)|5/14/2024 (Tue)": "date (month/day/year)",
    "Week of 29/4/2024|Week of 6/5/2024|Week of 13/5/2024": "date (day/month/year)",
    "Week of 29.4.|Week of 6.5.|Week of 13.5.": "date (day.month, no year)",
    "5/1 - 5/7|5/8 - 5/14|5/29 - 6/4": "date (month/day, no year)",
    "2-May-24|10-May-24|1-Jun-24": "date (day, month, year)",
    "May 2, 2024|May 10, 2024|Jun 1, 2024": "date (day, month, year)",
    "1 May|2 May|10 May|1 June": "date (no year)",
    "Nov-23|Dec-23|Jan-24": "date (no year)",
    "9am|12pm|1pm": "time of day",
    "9/2024|10/2024|1/2025": "year and number in it",
    "Mon|Tue|Wed|Thu|Fri|Sat|Sun": "weekday, from Monday",
    "Mo|Di|Mi|Do|Fr|Sa|So": "weekday, from Monday",
    "Sat|Sun|Mon|Tue": "weekday",
    "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche": "weekday, from Monday",
    "lun|mar|mié|jue|vie|sáb|dom": "weekday, from Monday",
    "ma|di|wo|do|vr|za|zo": "weekday, from Monday",
    "segunda-feira|terça-feira|quarta-feira|sábado": "weekday, from Monday",
    "月曜日|火曜日|水曜日": "weekday, from Monday",
    "janvier|février|mars|avril|mai|juin|juillet": "month, from January",
    "30 avr. 2024|1er mai 2024|12 mai 2024|2 juin 2024": "date (day, month, year)",
    "mar. 5 mars|mer. 6 mars|mar. 12 mars": "date (no year)",
    "Mar 5, 2024|Mar 6, 2024|Apr 1, 2024": "date (day, month, year)",
    "martes, 30 de abril de 2024|miércoles, 1 de mayo de 2024": "date (day, month, year)",
    "ma 29 apr|di 30 apr|wo 1 mei": "date (no year)",
    "30 апреля 2024 г.|1 мая 2024 г.": "date (day, month, year)",
    "2024-04-29/2024-05-05|2024-05-06/2024-05-12": "date (year-month-day)",
    "Week 51|Week 52|Week 1|Week 2": "the numbers in the names, over the end of a year",
    "KW51|KW52|KW01": "the numbers in the names, over the end of a year",
    "January|February|March": "month, from January",
    "Nov|Dec|Jan|Feb": "month",
    "1|2|10|20": "number",
    "0.5|1.0|1.5": "number",
    "day 2|day 10|day 11": "the numbers in the names",
    "day -1|day 0|day 1": "the numbers in the names",
    "W9|W10": "the numbers in the names",
    "1st|2nd|3rd|10th": "the numbers in the names",
    "w1d2|w1d10|w2d1": "the numbers in the names",
    "2024-W9|2024-W10|2025-W1": "the numbers in the names, the year first",
    "Q1 2024|Q3 2024|Q1 2025": "the numbers in the names, the year first",
    "KW 9/2024|KW 10/2024|KW 1/2025": "year and number in it",
    "week 1-2|week 1-10|week 2-1": "the numbers in the names",
    "v1.9|v1.10": "the numbers in the names",
}


@pytest.mark.parametrize(("line", "by"), ORDERS.items())
def test_names_stand_in_their_own_order_whatever_the_files(line, by):
    names = line.split("|")
    some = itertools.islice(itertools.permutations(names), 0, 120, 7)
    for shuffled in (names[::-1], *some):
        found = find_order(shuffled, "a.csv, column day")
        assert list(found.names) == names
        assert found.by == by


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "4/5/2024|5/4/2024|6/6/2024",
            "may be read by date (month/day/year) or by date (day/month/year)",
        ),
        ("W52-23|W01-24", "may be read by the numbers in the names or by"),
        ("5.1|5.2|5.10", "may be read by number or by date (day.month, no year)"),
        ("5/13/2024|13/5/2024|5/1/2024", "nobody can tell the order of '5/13/2024'"),
        ("9h on 29/4/2024|9h on 6/5/2024", "nobody can tell the order"),
        ("before|after", "nobody can tell the order of 'before', 'after'"),
        ("salı|pazartesi", "write dates as 2024-05-31, or one name with a number"),
        ("week 2 - Mon|week 1 - Tue|week 1 - Mon", "nobody can tell the order"),
    ],
)
def test_an_order_that_nobody_can_know_is_refused(line, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        find_order(line.split("|"), "a.csv, column day")
    assert str(caught.value).startswith("a.csv, column day: ") and "\n" not in str(caught.value)


def test_names_without_numbers_are_taken_where_file_and_alphabet_agree():
    assert find_order(["alpha", "beta"], "x").by == "name, which is also their order in the file"


def test_days_of_a_month_that_the_file_has_over_its_end_are_said():
    found = find_order(["29", "30", "1", "2"], "x")
    assert found.names == ("1", "2", "29", "30")
    assert "the file has them in another order, from '29' to '2'" in found.caution
    assert find_order(["1", "2", "29", "30"], "x").caution == ""


def test_two_spellings_of_a_day_are_one_look_and_said():
    found = find_order(["5/10/2024", "5/2/2024", "5/02/2024"], "x")
    assert found.names == ("5/2/2024", "5/10/2024")
    assert found.place == {"5/10/2024": 1, "5/2/2024": 0, "5/02/2024": 0}
    assert "'5/2/2024' and '5/02/2024' are one look" in found.caution


def test_weekdays_may_come_twice_and_that_is_said():
    assert "began on another weekday" in find_order(["Tue", "Mon"], "x").caution


def test_natural_keys():
    assert sorted(["B10", "B2", "A", "b1"], key=natural_key) == ["A", "b1", "B2", "B10"]
