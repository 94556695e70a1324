"""Times with any offset are read to UTC; what cannot be read is refused with its row."""

import re
from datetime import UTC, date, datetime

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog


def read(tmp_path, *times, **options):
    path = tmp_path / "log.csv"
    rows = [f'a,"{time}",1,{i % 2}' for i, time in enumerate(times)]
    path.write_text("\n".join(["creative_id,timestamp,impressions,clicks", *rows]) + "\n")
    return ClickLog.read(path, **options)


def read_parquet(tmp_path, *times, **options):
    path = tmp_path / "log.parquet"
    series = times[0] if isinstance(times[0], pl.Series) else pl.Series(times)
    pl.DataFrame({"timestamp": series, "impressions": 1, "clicks": 0}).write_parquet(path)
    return ClickLog.read(path, **options)


def test_a_day_whose_midnight_the_clocks_skip_begins_when_they_go_on(tmp_path):
    zone = "America/Santiago"
    wanted = [datetime(2024, 9, 8, 4, tzinfo=UTC)]
    assert read(tmp_path, "2024-09-08", time_zone=zone).collect()["timestamp"].to_list() == wanted
    log = read_parquet(tmp_path, date(2024, 9, 8), time_zone=zone)
    assert log.collect()["timestamp"].to_list() == wanted
    with pytest.raises(UserError, match="does not exist in America/Santiago"):
        read(tmp_path, "2024-09-08 00:00:00", time_zone=zone)


def test_a_zone_that_only_this_machine_knows_is_no_fault_of_the_file(tmp_path):
    with pytest.raises(UserError, match="unknown time zone 'localtime'"):
        read(tmp_path, "2024-09-08 10:00:00", time_zone="localtime")


@pytest.mark.parametrize(
    "written",
    [
        "2024-05-01 10:00:00+02",
        "2024-05-01 10:00:00+0200",
        "2024-05-01 10:00:00 +02:00",
        "2024-05-01T10:00+02:00",
        "2024-05-01T10:00+02",
        "2024-05-01 08:00:00 UTC",
        "2024-05-01 08:00:00.000 UTC",
        "2024-05-01 08:00:00 GMT",
        "2024-05-01T08:00Z",
        "2024-05-01t08:00:00z",
        "2024-05-01T03:00:00-05",
    ],
)
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_offset_is_read_however_it_is_written(tmp_path, written, zone):
    log = read(tmp_path, written, written, time_zone=zone)
    assert log.collect()["timestamp"].to_list() == [datetime(2024, 5, 1, 8, tzinfo=UTC)] * 2
    assert log.notes == ()  # nothing is said of a zone that is not there


def test_a_log_over_a_change_of_clocks_is_read_to_utc(tmp_path):
    log = read(tmp_path, "2024-03-30T10:00:00+01:00", "2024-04-01T11:00:00+02:00")
    expected = [datetime(2024, 3, 30, 9, tzinfo=UTC), datetime(2024, 4, 1, 9, tzinfo=UTC)]
    assert log.collect()["timestamp"].to_list() == expected
    assert log.notes == ("timestamps carry several offsets (+0100, +0200); all are read to UTC.",)


def test_an_offset_that_first_occurs_late_is_still_read(tmp_path):
    log = read(tmp_path, *["2024-05-01T10:00:00Z"] * 1500, "2024-05-01 10:00:00+02")
    assert log.collect()["timestamp"][-1] == datetime(2024, 5, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    ["30/04/2024", "04/30/24", "01.05.2024", "30-04-2024", "1714557600", "1714557600000",
     "45413.5", "20240501", "2024-02-30", "2024-05-01 1:30 PM", "2024-05-01 10:00:00 CET"],
)  # fmt: skip
def test_what_is_no_iso_time_is_refused_with_its_row(tmp_path, written):
    expected = f"log.csv, row 3, column timestamp: value {written!r} is not a time"
    with pytest.raises(UserError, match=re.escape(expected)):
        read(tmp_path, "2024-05-01T10:00:00Z", written)


@pytest.mark.parametrize(
    "written",
    [
        "30-04-24",
        "01-05-24",
        "24-05-01 10:00:00",
        "0000-01-01",
        "0001-01-01 00:00:00",
        "9999-12-31",
    ],
)
def test_a_year_that_no_log_is_from_is_refused_with_its_row(tmp_path, written):
    expected = f"log.csv, row 2, column timestamp: value {written} is read as a year before 1900"
    with pytest.raises(UserError, match=re.escape(expected)):
        read(tmp_path, written)


def test_such_a_year_in_parquet_is_refused_too(tmp_path):
    with pytest.raises(UserError, match="row 1, column timestamp: value 0001-01-01"):
        read_parquet(tmp_path, datetime(1, 1, 1))
    before = pl.Series([-62_200_000_000_000_000]).cast(pl.Datetime("us"))
    with pytest.raises(UserError, match="row 1, column timestamp: value -000"):
        read_parquet(tmp_path, before)


def test_an_hour_that_clocks_skip_is_named(tmp_path):
    expected = "row 2, column timestamp: value 2024-03-31T02:30:00 does not exist in Europe/Berlin"
    with pytest.raises(UserError, match=re.escape(expected)):
        read(tmp_path, "2024-03-31T02:30:00", "2024-03-31T11:00:00", time_zone="Europe/Berlin")
    with pytest.raises(UserError, match=r"value 2024-03-31 02:30:00.* does not exist in"):
        read_parquet(tmp_path, datetime(2024, 3, 31, 2, 30), time_zone="Europe/Berlin")


def test_an_hour_that_clocks_repeat_is_noted(tmp_path):
    log = read(tmp_path, "2024-05-01T10:00:00", "2024-10-27T02:30:00", time_zone="Europe/Berlin")
    assert log.collect()["timestamp"][1] == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert "column timestamp, row 3: value 2024-10-27T02:30:00 lies in an hour" in log.notes[1]
