"""A stranger's export: what is proposed for it, how it is kept under a name, and read by it."""

import datetime
from pathlib import Path

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets import table
from copygym.envs.datasets.own import named
from copygym.envs.datasets.own.proposal import propose
from copygym.envs.logs.clicklog import ClickLog


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


GERMAN = """Kundennummer;Versendet am;Betreffzeile;Artikel;Kanal;Geöffnet;Geklickt;\
Gekauft;Umsatz;Abgemeldet;Alter;E-Mail
k1;05.01.2026 08:01;Warm?;s1;Mail;ja;ja;;;nein;34;a@x.de
k2;31.01.2026 09:30;Neu!;s2;Push;nein;nein;;;nein;61;b@x.de
k1;01.02.2026 10:00;Neu!;s2;Mail;ja;;ja;19;nein;34;a@x.de
k3;02.02.2026 07:15;Warm?;s1;Mail;nein;ja;ja;49;ja;22;c@x.de
"""


def test_a_german_export_is_read_as_it_is_meant():
    Path("log.csv").write_text(GERMAN, encoding="cp1252")
    found = propose("log.csv")
    named.write("german", found.settings)
    rows = named.load("german").collect()
    assert rows["user_id"].to_list() == ["k1", "k2", "k1", "k3"]
    assert rows["timestamp"].to_list()[1] == datetime.datetime(
        2026, 1, 31, 9, 30, tzinfo=datetime.UTC
    )
    assert rows["text"].to_list() == ["Warm?", "Neu!", "Neu!", "Warm?"]
    assert rows["clicks"].to_list() == [1, 0, 0, 1]
    # Bought without a click: not counted, and the row stays.
    assert rows["conversions"].to_list() == [0, 0, 0, 1]
    assert rows["revenue"].to_list() == [0, 0, 19, 49]
    assert rows["unsubscribes"].to_list() == [0, 0, 0, 1]
    assert rows["impressions"].to_list() == [1, 1, 1, 1]
    assert rows["user_age"].to_list() == [34, 61, 34, 22]
    assert found.left_out == {"Geöffnet": "an open is no click", "E-Mail": "it may name a person"}
    assert any("empty values of 'Geklickt' are read as 0" in one for one in found.unsure)
    assert any("more conversions than clicks" in one for one in found.unsure)


EVENTS = """message_id,customer,event,time,subject,revenue
m1,a,sent,2026-01-05T08:00:00,Hello,
m1,a,open,2026-01-05T08:05:00,Hello,
m1,a,click,2026-01-05T08:06:00,Hello,
m1,a,click,2026-01-05T09:06:00,Hello,
m1,a,purchase,2026-01-05T09:30:00,Hello,30
m2,b,sent,2026-01-06T08:00:00,Hi,
m2,b,unsubscribe,2026-01-06T08:30:00,Hi,
m3,c,click,2026-01-07T08:00:00,Hi,
"""


def test_a_row_an_event_becomes_a_row_a_send():
    Path("events.csv").write_text(EVENTS)
    found = propose("events.csv")
    assert found.settings["events"] == {"column": "event", "send": "message_id"}
    named.write("events", found.settings)
    log = named.load("events")
    rows = log.collect().sort("timestamp")
    assert rows["user_id"].to_list() == ["a", "b", "c"]
    assert rows["clicks"].to_list() == [1, 0, 1]
    assert rows["conversions"].to_list() == [1, 0, 0]
    assert rows["unsubscribes"].to_list() == [0, 1, 0]
    assert rows["revenue"].to_list() == [30, 0, 0]
    assert [t.hour for t in rows["timestamp"].to_list()] == [8, 8, 8]
    assert "8 events are read as 3 sends, by message_id." in log.notes
    assert "1 sends have events but none that says that they were sent." in log.notes


def test_events_without_a_send_or_a_click_say_what_is_there():
    frame = pl.DataFrame({"message_id": ["m"], "event": ["bounce"], "text": ["x"]})
    frame.write_csv("e.csv")
    with pytest.raises(UserError, match=r"no word means a send or a click \(it holds 'bounce'\)"):
        table.load("e.csv", events={"column": "event", "send": "message_id"})
    with pytest.raises(UserError, match="'mail' is missing"):
        table.load("e.csv", events={"column": "event", "send": "mail"})


@pytest.mark.parametrize(
    ("fmt", "value", "expected"),
    [
        ("%d.%m.%Y %H:%M", "31.12.2026 23:59", (2026, 12, 31, 23, 59)),
        ("%m/%d/%Y %I:%M %p", "01/02/2026 03:04 PM", (2026, 1, 2, 15, 4)),
        ("%d.%m.%Y", "02.01.2026", (2026, 1, 2, 0, 0)),
        ("epoch", "1767312240", (2026, 1, 2, 0, 4)),
        ("epoch_ms", "1767312240000", (2026, 1, 2, 0, 4)),
        ("%Y-%m-%d %H:%M:%S %z", "2026-01-02 01:04:00 +0100", (2026, 1, 2, 0, 4)),
    ],
)
def test_times_of_a_stated_format(fmt, value, expected):
    pl.DataFrame({"timestamp": [value], "impressions": [1], "clicks": [0]}).write_csv("t.csv")
    read = ClickLog.read("t.csv", time_format=fmt).collect()["timestamp"][0]
    assert read == datetime.datetime(*expected, tzinfo=datetime.UTC)


def test_a_time_of_another_format_is_refused_with_its_row():
    Path("t.csv").write_text("timestamp,impressions,clicks\n05.01.2026 08:00,1,0\n2026-01-05,1,0\n")
    with pytest.raises(
        UserError,
        match=r"t\.csv, row 3, column timestamp: value '2026-01-05' is no time as "
        r"'%d\.%m\.%Y %H:%M' reads it",
    ):
        ClickLog.read("t.csv", time_format="%d.%m.%Y %H:%M")
    with pytest.raises(UserError, match="time format '%H:%M' names no day"):
        ClickLog.read("t.csv", time_format="%H:%M")


def test_a_local_time_of_a_stated_format_is_moved_to_utc():
    pl.DataFrame({"timestamp": ["05.07.2026 08:00"], "impressions": [1], "clicks": [0]}).write_csv(
        "t.csv"
    )
    log = ClickLog.read("t.csv", time_format="%d.%m.%Y %H:%M", time_zone="Europe/Berlin")
    assert log.collect()["timestamp"][0].hour == 6


def test_days_and_months_that_could_be_either_are_said():
    pl.DataFrame(
        {"date": ["01/02/2026", "03/04/2026"], "clicks": [0, 1], "subject": ["a b", "c d"]}
    ).write_csv("t.csv")
    found = propose("t.csv")
    assert found.settings["time_format"] == "%m/%d/%Y"
    assert any("could be '%d/%m/%Y'" in one for one in found.unsure)


def test_counts_are_cut_where_that_is_asked_and_every_row_stays():
    pl.DataFrame(
        {"impressions": [1, 1, 2], "clicks": [3, 0, 1], "conversions": [1, 2, 1]}
    ).write_csv("t.csv")
    with pytest.raises(UserError, match=r"cut them with `--cap clicks`"):
        ClickLog.read("t.csv")
    log = ClickLog.read("t.csv", cap=["clicks", "conversions"])
    rows = log.collect()
    assert rows["clicks"].to_list() == [1, 0, 1]
    assert rows["conversions"].to_list() == [1, 0, 1]
    assert any("1 row has more clicks than impressions" in note for note in log.notes)
    with pytest.raises(UserError, match="unknown column to cap 'revenue'"):
        ClickLog.read("t.csv", cap=["revenue"])


def test_a_named_log_holds_settings_and_nothing_else():
    named.FOLDER.mkdir()
    file = named.FOLDER / "bad.yaml"
    for text, message in [
        ("path: x.csv\n_target_: os.system\n", "there is no setting '_target_'"),
        ("path: [x]\n", "path is"),
        ("path: x.csv\ncolumns: {clicks: [a]}\n", "columns is"),
        ("path: x.csv\nignore: a\n", "ignore is 'a'; write a list"),
        ("columns: {}\n", "names no file"),
        ("- x\n", "holds no settings"),
        ("path: !!python/object/apply:os.system ['touch PWNED']\n", "is no YAML file of a log"),
        ("{", "is no YAML file of a log"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            named.read("bad")
    assert not list(named.FOLDER.parent.glob("PWNED"))


def test_names_that_are_none():
    with pytest.raises(UserError, match="is no name of a log"):
        named.place("../secret")
    assert not named.is_own("../x")
    with pytest.raises(UserError, match=r"no log is called 'spring' .there is none"):
        named.read("spring")


def test_options_win_over_the_file_and_maps_are_joined():
    settings = {"path": "a", "columns": {"clicks": "c"}, "ignore": ["x"], "time_zone": "UTC"}
    options = {"columns": {"text": "t"}, "ignore": ["y"], "time_zone": None, "encoding": "utf-8"}
    assert named.joined(settings, options) == {
        "path": "a",
        "columns": {"clicks": "c", "text": "t"},
        "ignore": ["x", "y"],
        "time_zone": "UTC",
    }
