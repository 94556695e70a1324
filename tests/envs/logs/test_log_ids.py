"""Ids lose the blanks around them; what looks like another id, or like no row, is named."""

import re

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog

HEADER = "user_id,creative_id,impressions,clicks"


def read(tmp_path, rows, header=HEADER):
    path = tmp_path / "log.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return ClickLog.read(path)


def with_creative(tmp_path, name):
    return read(tmp_path, ["u1,a,1,0", "u2,b,1,1", f'u3,"{name}",1,0'])


@pytest.mark.parametrize("blank", [" ", "\t", "\xa0", "\ufeff", "\u200b"])
def test_blanks_around_ids_are_taken_off_and_noted(tmp_path, blank):
    header = f"{HEADER},channel,slot,product_id,topic,test_id"
    row = f'"{blank}bob","a{blank}",1,0' + f',"x{blank}"' * 5
    log = read(tmp_path, ["bob,a,1,1,x,x,x,x,x", row], header)
    frame = log.collect()
    names = ["user_id", "creative_id", "channel", "slot", "product_id", "topic", "test_id"]
    assert all(frame[name].n_unique() == 1 for name in names)
    blanks = [note for note in log.notes if "has blanks around it" in note]
    assert len(blanks) == 7 and all("row 3" in note for note in blanks)
    assert not any("bob" in note for note in blanks)  # no user id in notes


def test_blanks_around_ids_of_parquet_are_taken_off(tmp_path):
    columns = {"creative_id": ["a", "a "], "impressions": 1, "clicks": [0, 1], "user_seg": "x "}
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    log = ClickLog.read(tmp_path / "x.parquet")
    assert log.arms() == 1
    assert log.collect()["user_seg"].to_list() == ["x", "x"]


@pytest.mark.parametrize("name", ["Hold", "HOLD", "hold ", " Hold"])
def test_hold_in_another_spelling_is_hold_and_named(tmp_path, name):
    log = with_creative(tmp_path, name)
    assert log.collect()["creative_id"][2] == "hold"
    assert log.sends().height == 2
    assert any(f"column creative_id, row 4: value {name!r}" in note for note in log.notes)


NEAR_HOLD = [
    "no send", "none", "Control", "holdout", "-", "null", "no_mail", "HOLD_1", "on-hold", "h0ld",
    "hold (control)", "Hold-out group", "do not contact", "suppressed",
]  # fmt: skip


@pytest.mark.parametrize("name", NEAR_HOLD)
def test_a_near_miss_of_hold_is_named(tmp_path, name):
    (note,) = with_creative(tmp_path, name).notes
    assert f"column creative_id, row 4: value {name!r} counts as a creative that was sent" in note


def test_creatives_that_only_resemble_hold_are_not_named(tmp_path):
    for name in ("holding", "hold the date", "household", "no regrets", "sendoff"):
        assert with_creative(tmp_path, name).notes == ()
    assert with_creative(tmp_path, "hold").notes == ()


def test_ids_that_a_spreadsheet_has_rounded_are_noted(tmp_path):
    rows = ["u1,1.2033E+17,1,0", "u2,1.2034E+17,1,1"]
    (note,) = read(tmp_path, rows).notes
    assert "row 2: value '1.2033E+17' looks like an id that a spreadsheet has rounded" in note
    assert "(2 such rows)" in note
    digits = [f"u{i},12345678901234{i}000,1,{i % 2}" for i in range(4)]
    assert "has no digits but 0 after the 15th" in read(tmp_path, digits).notes[0]
    whole = [f"u{i},1234567890123456{i},1,{i % 2}" for i in range(10)]
    assert read(tmp_path, whole).notes == ()
    assert "became a decimal one" in with_creative(tmp_path, "123.0").notes[0]


@pytest.mark.parametrize(
    "pair", [("Summer", "summer"), ("caf\u00e9", "cafe\u0301"), ("\uff41", "a")]
)
def test_creatives_that_differ_in_spelling_alone_are_noted(tmp_path, pair):
    (note,) = read(tmp_path, [f"u1,{pair[0]},1,0", f"u2,{pair[1]},1,1"]).notes
    assert repr(pair[0]) in note and repr(pair[1]) in note and "count as two" in note


def test_users_that_differ_in_spelling_alone_are_counted_without_their_names(tmp_path):
    (note,) = read(tmp_path, ["Ann@x.org,a,1,0", "ann@x.org,b,1,1", "BOB,a,1,0"]).notes
    assert note.startswith("column user_id: 1 id differs from another in nothing but capital")
    assert "x.org" not in note


def test_a_word_for_a_missing_id_is_noted(tmp_path):
    (note,) = read(tmp_path, ["null,a,1,0", "null,b,1,1", "u,a,1,0"]).notes
    assert "column user_id, row 2: a value stands where an id is missing" in note


TOTALS = [
    "итого",
    "--- Totals ---",
    "Total",
    "TOTAL",
    "Grand total",
    "Summe",
    "Total: campaigns",
    "Gesamtergebnis",
    "Overall",
]


@pytest.mark.parametrize("label", TOTALS)
@pytest.mark.parametrize("column", ["creative_id", "channel", "text"])
def test_a_row_called_total_is_refused(tmp_path, label, column):
    rows = ["a,1000,30", "b,1100,45", f"{label},2100,75"]
    expected = f"row 4, column {column}: {label!r} is a row that adds up others"
    with pytest.raises(UserError, match=re.escape(expected)):
        read(tmp_path, rows, f"{column},impressions,clicks")


def test_a_creative_whose_name_begins_with_total_is_read_and_noted_if_it_could_be_a_sum(tmp_path):
    header = "creative_id,impressions,clicks"
    rows = ["a,1000,30", "b,1100,45"]
    for name in ("Total recall", "Totally new", "Total sale: -50%", "All"):
        assert read(tmp_path, [*rows, f"{name},2100,71"], header).notes == ()
    (note,) = read(tmp_path, [*rows, "Total: save big,900,75"], header).notes
    assert "row 4: value 'Total: save big' is called like a row that adds up others" in note


def test_an_arm_as_large_as_the_others_together_is_read_where_chance_explains_it(tmp_path):
    header = "creative_id,impressions,clicks"
    assert read(tmp_path, ["a,100,3", "b,100,4", "c,200,7"], header).height == 3
    assert read(tmp_path, ["a,1000,30", "b,1000,45", "hold,2000,75"], header).height == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_row_that_is_the_sum_of_the_others_is_refused(tmp_path, order):
    rows = ["a,1000,30", "b,1100,45", "Alle,2100,75"]
    with pytest.raises(UserError, match="just as many impressions and clicks as all others"):
        read(tmp_path, [rows[i] for i in order], "creative_id,impressions,clicks")


def test_a_log_of_rows_that_happen_to_add_up_is_read(tmp_path):
    header = "creative_id,impressions,clicks"
    assert read(tmp_path, ["a,1000,30", "b,1100,45", "c,2100,74"], header).notes == ()
    assert read(tmp_path, ["a,1,0", "b,1,1", "Total,1,0"], header).height == 3
    assert read(tmp_path, ["a,1,0", "b,1,1", "c,2,1"], header).height == 3


def test_repeated_rows_are_counted_and_noted(tmp_path):
    header = "user_id,timestamp,creative_id,impressions,clicks"
    rows = ["u1,2024-05-01T10:00:00Z,a,1,1", "u2,2024-05-01T10:00:00Z,b,1,0"]
    log = read(tmp_path, rows * 2, header)
    assert log.height == 4
    (note,) = log.notes
    assert note.startswith("2 rows repeat an earlier one in every column (row 4 is row 2 again)")
    # Another column tells the rows apart, and rows without a user may well be equal.
    apart = [f"{row},{i}" for i, row in enumerate(rows * 2)]
    assert not any("repeat" in n for n in read(tmp_path, apart, f"{header},order").notes)
    assert read(tmp_path, ["a,1,1", "a,1,1", "b,1,0"], "creative_id,impressions,clicks").notes == ()
    again = read(tmp_path, ["a,900,9", "a,900,9", "b,9,1"], "creative_id,impressions,clicks")
    assert "1 row repeats an earlier one" in again.notes[0]


def test_repeats_and_spellings_are_counted_in_slices(tmp_path, monkeypatch):
    from copygym.envs.logs import ids as logids

    rows = [f"U{i},a,1,0" for i in range(20)] + [f"u{i},b,1,1" for i in range(7)] + ["u3,b,1,1"]
    notes = read(tmp_path, rows).notes
    monkeypatch.setattr(logids, "HASHES", 3)
    assert read(tmp_path, rows).notes == notes
    assert "7 ids differ" in notes[0] and notes[1].startswith("1 row repeats")
