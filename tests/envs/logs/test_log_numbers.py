"""Counts, amounts and features are read exactly, or refused or noted with the row and value."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog

HEADER = "user_id,creative_id,impressions,clicks"


def read(tmp_path, text, suffix=".csv", **options):
    path = tmp_path / f"log{suffix}"
    path.write_text(text, encoding="utf-8")
    return ClickLog.read(path, **options)


def read_parquet(tmp_path, **columns):
    table = {"creative_id": ["a", "b"], "impressions": [1, 1], "clicks": [0, 1]} | columns
    pl.DataFrame(table).write_parquet(tmp_path / "log.parquet")
    return ClickLog.read(tmp_path / "log.parquet")


def with_impressions(tmp_path, value):
    return read(tmp_path, f'{HEADER}\nann,a,"{value}",0\nbob,b,1,1\n')


def with_feature(tmp_path, value, **options):
    rows = "".join(f"u{i},{'ab'[i % 2]},1,{i % 2},{i}\n" for i in range(30))
    return read(tmp_path, f'{HEADER},user_x\n{rows}u30,a,1,0,"{value}"\n', **options)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("9007199254740993", 2**53 + 1),
        ("9223372036854775806", 2**63 - 2),
        ("1e3", 1000),
        ("5.0", 5),
        ("+5", 5),
        (" 7 ", 7),
        ("True", 1),
    ],
)
def test_a_count_is_read_exactly(tmp_path, written, number):
    assert with_impressions(tmp_path, written).collect()["impressions"][0] == number


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("9223372036854775808", "value 9223372036854775808 is too large"),
        ("4e18", "value 4e18 is too large"),
        ("9007199254740993.0", "value 9007199254740993.0 is too large"),
        ("1.000", "value 1.000 may mean a number or a thousand times it"),
        ("1e400", "the value is infinite"),
        ("0.5", "value 0.5 is not a whole number"),
        *((text, f"value {text!r} is not a number") for text in
          ("1,000", "1 000", "1.000,5", "5%", "$5", "(5)", "1_000", "0x10", "many")),
    ],
)  # fmt: skip
def test_a_count_that_cannot_be_read_exactly_is_refused_with_row_and_value(
    tmp_path, written, problem
):
    expected = f"log.csv, row 2, column impressions: {problem}"
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        with_impressions(tmp_path, written)
    assert "remove the row" not in str(error.value)


def test_counts_that_add_up_beyond_64_bits_are_refused(tmp_path):
    rows = "9223372036854775807,1\n1,0\n"
    with pytest.raises(UserError, match=r"column impressions: .* add up to 9,223,372,036,854"):
        read(tmp_path, f"impressions,clicks\n{rows}")


@pytest.mark.parametrize("words", ["True False", "TRUE false", "yes no", "T F", "wahr falsch"])
def test_true_and_false_are_counts_and_noted(tmp_path, words):
    yes, no = words.split()
    log = read(tmp_path, f"{HEADER},unsubscribes\nann,a,1,{yes},{no}\nbob,b,1,{no},{yes}\n")
    assert log.collect()["clicks"].to_list() == [1, 0]
    assert log.collect()["unsubscribes"].to_list() == [0, 1]
    assert f"column clicks, row 2: words such as {yes!r} are read as 1 (true) and 0" in log.notes[0]


def test_true_and_false_of_parquet_are_counts_and_noted(tmp_path):
    log = read_parquet(tmp_path, clicks=[True, False])
    assert log.collect()["clicks"].to_list() == [1, 0]
    assert "words such as True are read as 1" in log.notes[0]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"clicks": [date(1970, 1, 1)] * 2}, "column clicks: type Date is no number"),
        ({"user_id": [timedelta(1)] * 2}, "column user_id: type Duration"),
        ({"text": [time(1)] * 2}, "column text: type Time is no name"),
        ({"user_x": [time(1)] * 2}, "column user_x: type Time cannot be a feature"),
        ({"impressions": [1e17, 1.0]}, "row 1, column impressions: value 1e+17 is too large"),
        (
            {"impressions": pl.Series([1, 2**63 + 1], dtype=pl.UInt64)},
            "row 2, column impressions: value 9223372036854775809 is too large",
        ),
        (
            {"user_x": pl.Series([1, 2**63 + 1], dtype=pl.UInt64)},
            "row 2, column user_x: value 9223372036854775809 is beyond",
        ),
    ],
)
def test_parquet_that_cannot_be_read_is_refused_by_the_check(tmp_path, columns, problem):
    with pytest.raises(UserError, match=re.escape(problem)):
        read_parquet(tmp_path, **columns)


def test_dates_and_durations_as_features_are_days_and_noted(tmp_path):
    log = read_parquet(
        tmp_path,
        user_since=[date(1970, 1, 3), None],
        user_at=[datetime(1970, 1, 1, 12), datetime(1970, 1, 2)],
        user_stay=[timedelta(hours=6), timedelta(days=2)],
    )
    frame = log.collect()
    assert frame["user_since"].to_list() == [2.0, None]
    assert frame["user_at"].to_list() == [0.5, 1.0]
    assert frame["user_stay"].to_list() == [0.25, 2.0]
    assert "column user_since: type Date is read as a number, days since 1970" in log.notes[0]


def test_decimal_features_count_in_the_checksum(tmp_path):
    sums = {
        read_parquet(tmp_path, user_x=pl.Series([x, "2"]).cast(pl.Decimal(10, 2))).checksum()
        for x in ("1.25", "1.5")
    }
    assert len(sums) == 2


def test_whole_features_are_exact_to_64_bits(tmp_path):
    rows = "ann,a,1,0,9007199254740993\nbob,b,1,1,9007199254740992\n"
    log = read(tmp_path, f"{HEADER},user_account\n{rows}")
    assert log.collect()["user_account"].to_list() == [2**53 + 1, 2**53]
    assert "user_account: 2 values beyond 2^53, which models round" in log.notes[0]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("98765432109876543210", "value 98765432109876543210 is beyond the whole numbers of 64"),
        ("inf", "the value 'inf' is infinite"),
        ("-Infinity", "the value '-Infinity' is infinite"),
        ("1e999", "the value '1e999' is infinite"),
    ],
)
def test_a_feature_that_is_no_finite_number_is_refused(tmp_path, value, problem):
    with pytest.raises(UserError, match=re.escape(f"log.csv, row 32, column user_x: {problem}")):
        with_feature(tmp_path, value)


@pytest.mark.parametrize("word", ["N/A", "-", "unknown", "null", "#REF!", "nan", "None"])
def test_a_word_for_a_missing_value_keeps_a_column_numeric_and_is_noted(tmp_path, word):
    log = with_feature(tmp_path, word)
    assert log.collect()["user_x"].to_list() == [*range(30), None]
    assert log.notes == (
        f"column user_x, row 32: value {word!r} is read as missing in a column of numbers.",
    )


@pytest.mark.parametrize("value", ["$1,200", "5%", "old", "2024-01-01"])
def test_what_turns_numbers_into_categories_is_noted(tmp_path, value):
    log = with_feature(tmp_path, value)
    assert log.collect()["user_x"].dtype == pl.String
    (note,) = log.notes
    assert f"column user_x, row 32: value {value!r} is no plain number" in note
    assert "30 of its 31 values are numbers" in note


def test_a_column_of_amounts_with_signs_is_noted(tmp_path):
    log = read(tmp_path, f'{HEADER},user_x\nann,a,1,0,"$1,200"\nbob,b,1,1,$5\n')
    assert "column user_x, row 2: value '$1,200' is no plain number" in log.notes[0]
    plain = read(tmp_path, f"{HEADER},user_x\nann,a,1,0,18-25\nbob,b,1,1,26-35\n")
    assert plain.notes == ()


def test_a_rare_leading_zero_that_makes_categories_is_noted(tmp_path):
    assert "value '05' has a leading zero" in with_feature(tmp_path, "05").notes[0]


def test_points_that_may_mark_thousands_are_noted(tmp_path):
    rows = "ann,a,1,1,1.234,2.500,0.125\nbob,b,1,0,5,7,1.250\n"
    log = read(tmp_path, f"{HEADER},revenue,user_x,user_y\n{rows}")
    assert [note.split(":")[0] for note in log.notes] == ["column revenue", "column user_x"]


def test_the_content_of_a_file_not_its_suffix_decides_what_is_a_number(tmp_path):
    csv, other = (with_feature(tmp_path, "30", suffix=s) for s in (".csv", ".dat"))
    assert csv.checksum() == other.checksum()
    assert other.collect()["user_x"].dtype == pl.Int64
    typed = read_parquet(tmp_path, user_x=["1", "2"])
    assert "column user_x: its type is text, so its numbers are read as categ" in typed.notes[0]


def test_refunds_are_read_and_noted(tmp_path):
    log = read(tmp_path, f"{HEADER},revenue\nann,a,1,1,20.5\nbob,b,1,1,-20.5\n")
    assert log.collect()["revenue"].to_list() == [20.5, -20.5]
    assert "column revenue, row 3: value -20.5 is negative" in log.notes[0]


def test_what_exceeds_its_ceiling_has_a_way_out_that_keeps_the_rows(tmp_path):
    text = f"{HEADER},conversions\nann,a,1000,20,25\nbob,b,1000,30,10\n"
    with pytest.raises(UserError, match=r"not view-through ones.*`--ignore conversions`"):
        read(tmp_path, text)
    log = read(tmp_path, text, ignore=["conversions"])
    assert log.height == 2 and not log.has("conversions")
    assert log.notes == ("columns left out, as told: 'conversions'.",)


def test_an_empty_value_can_be_given_a_meaning(tmp_path):
    text = f"{HEADER}\nann,a,1,1\nbob,b,1,\ncy,,1,\n"
    with pytest.raises(UserError, match=r"row 3, column clicks: .*`--empty clicks=0`"):
        read(tmp_path, text)
    log = read(tmp_path, text, empty={"clicks": 0, "creative_id": "hold"})
    assert log.collect()["clicks"].to_list() == [1, 0, 0]
    assert log.collect()["creative_id"].to_list() == ["a", "b", "hold"]
    assert log.notes[0] == "column clicks: 2 empty values are read as 0, as told."
    assert "column creative_id: 1 empty value is read as hold" in log.notes[1]
    with pytest.raises(UserError, match="an empty clicks cannot mean 'none'"):
        read(tmp_path, text, empty={"clicks": "none"})
    with pytest.raises(UserError, match="unknown column that may be empty 'user_id'"):
        read(tmp_path, text, empty={"user_id": "x"})
    typed = pl.DataFrame({"impressions": [1, 1], "clicks": [None, 1]})
    typed.write_parquet(tmp_path / "t.parquet")
    read_typed = ClickLog.read(tmp_path / "t.parquet", empty={"clicks": "0"})
    assert read_typed.collect()["clicks"].to_list() == [0, 1]


def test_a_propensity_that_nobody_draws_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"row 3, column propensity: value 1e-160 is too small"):
        read(tmp_path, f"{HEADER},propensity\nann,a,1,0,0.5\nbob,b,1,1,1e-160\n")


def test_a_constant_that_contradicts_the_file_is_refused(tmp_path):
    text = f"{HEADER}\nann,a,5,1\nbob,b,7,0\n"
    expected = "row 2, column impressions: the file says '5' where the constant impressions=1 would"
    with pytest.raises(UserError, match=re.escape(expected)):
        read(tmp_path, text, constants={"impressions": 1})
    told = read(tmp_path, text, constants={"impressions": 1}, ignore=["impressions"])
    assert told.collect()["impressions"].to_list() == [1, 1]
    same = read(tmp_path, f"{HEADER}\nann,a,1,1\nbob,b,1.0,0\n", constants={"impressions": "1"})
    assert same.notes == ()
    with pytest.raises(UserError, match="'clicks' is mapped to column 'clicks' and has the const"):
        read(tmp_path, text, columns={"clicks": "clicks"}, constants={"clicks": 0})


def test_a_map_that_shadows_a_column_or_reads_one_twice_is_noted(tmp_path):
    text = f"{HEADER},opened\nann,a,5,1,2\nbob,b,7,0,0\n"
    (note,) = read(tmp_path, text, columns={"clicks": "opened"}).notes
    assert "own column 'clicks' is not used; they differ, first in row 2: '2' for '1'" in note
    twice = read(tmp_path, text, columns={"clicks": "opened", "conversions": "opened"})
    assert "column 'opened' is read as clicks and as conversions." in twice.notes
    own = read(tmp_path, text, columns={"conversions": "clicks"})
    assert "column 'clicks' is read as clicks and as conversions." in own.notes


def decimals(*values, scale=0):
    return pl.Series([Decimal(v) for v in values], dtype=pl.Decimal(38, scale))


def test_whole_numbers_that_a_database_exports_as_decimals_are_exact(tmp_path):
    codes = decimals("9007199254740993", "9007199254740992")
    log = read_parquet(tmp_path, impressions=codes, user_account=codes)
    want = [9007199254740993, 9007199254740992]
    assert log.collect()["impressions"].to_list() == want
    assert log.collect()["user_account"].to_list() == want
    assert any("column user_account: 1 value beyond 2^53" in note for note in log.notes)
    with pytest.raises(UserError, match="row 1, column user_account: value 1000000000000000000000"):
        read_parquet(tmp_path, user_account=decimals("1e25", "2"))
    with pytest.raises(UserError, match=r"row 2, column impressions: value 1\.50 is not a whole"):
        read_parquet(tmp_path, impressions=decimals("2", "1.50", scale=2))


def test_decimal_ids_are_quoted_as_the_file_has_them(tmp_path):
    log = read_parquet(tmp_path, creative_id=decimals("1.0", "2.0", scale=1))
    assert "row 1: value '1.0' looks like a whole number" in log.notes[0]


def test_revenue_that_adds_up_to_no_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="column revenue: the values add up to more than a number"):
        read_parquet(tmp_path, revenue=[1e308, 1e308])
