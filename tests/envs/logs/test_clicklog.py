"""A click log is validated with the place of the first fault, split by units, and streamed."""

import gzip
import re
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.envs.logs import schema as logschema
from copygym.envs.logs.clicklog import ClickLog, pseudonymise
from copygym.envs.logs.splits import _part_of, headline_components

HEADER = "user_id,timestamp,creative_id,impressions,clicks,propensity,user_age,user_zip"
ROWS = [
    "ann,2020-01-01T10:00:00Z,a,1,0,0.5,30,012",
    "bob,2020-01-02 10:00:00+00:00,b,5,2,0.5,,123",
    "cy,2020-01-02T10:00:00.25Z,hold,5,2,1,31.5,1",
]


def write(path, lines, encoding="utf-8"):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def row(user="dot", time="2020-01-03T10:00:00Z", arm="c", n="5", k="1", p="1", age="40"):
    return f"{user},{time},{arm},{n},{k},{p},{age},777"


@pytest.fixture
def log(tmp_path):
    return ClickLog.read(write(tmp_path / "log.csv", [HEADER, *ROWS]))


def test_csv_is_read_with_canonical_types(log):
    frame = log.collect()
    assert frame["timestamp"].to_list()[1:] == [
        datetime(2020, 1, 2, 10, tzinfo=UTC),
        datetime(2020, 1, 2, 10, 0, 0, 250_000, tzinfo=UTC),
    ]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame["impressions"].to_list() == [1, 5, 5]
    assert frame["clicks"].dtype == pl.Int64
    assert frame["user_age"].to_list() == [30.0, None, 31.5]
    assert frame["user_zip"].to_list() == ["012", "123", "1"]  # a leading zero marks a code
    assert log.user_features() == ["user_age", "user_zip"]
    assert log.context_features() == []
    assert log.height == 3 and log.has("propensity") and not log.has("slot")
    assert log.name == "log" and log.notes == () and not log.synthetic


BAD_ROWS = {
    "clicks over impressions": (
        row(k="9"),
        "column clicks: value 9 exceeds impressions 5; clicks are counted among the impressions",
    ),
    "negative": (row(k="-1"), "column clicks: value -1 is negative"),
    "not a number": (row(n="five"), "column impressions: value 'five' is not a number"),
    "not whole": (row(k="0.5"), "column clicks: value 0.5 is not a whole number"),
    "zero impressions": (row(n="0", k="0"), "column impressions: value 0 is below 1"),
    "empty count": (row(k=""), "column clicks: the value is empty"),
    "NaN propensity": (row(p="nan"), "column propensity: the value is NaN"),
    "infinite propensity": (row(p="inf"), "column propensity: the value is infinite"),
    "zero propensity": (row(p="0"), "column propensity: value 0 lies outside (0, 1]"),
    "propensity over 1": (row(p="1.5"), "column propensity: value 1.5 lies outside (0, 1]"),
    "no propensity": (row(p=""), "column propensity: the value is empty"),
    "no user": (row(user=""), "column user_id: the id is empty"),
    "no creative": (row(arm=""), "column creative_id: the id is empty; give every row an id"),
    "no time": (row(time="soon"), "column timestamp: value 'soon' is not a time"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_named_by_file_row_column_and_value(tmp_path, name):
    line, message = BAD_ROWS[name]
    path = write(tmp_path / "bad.csv", [HEADER, *ROWS, line])
    with pytest.raises(UserError, match=re.escape(f"{path}, row 5, {message}")) as error:
        ClickLog.read(path)
    assert str(error.value).endswith(".")
    assert "dot" not in str(error.value)  # no user id in messages


def test_message_counts_the_other_bad_rows(tmp_path):
    path = write(tmp_path / "bad.csv", [HEADER, row(k="9"), *ROWS, row(k="7"), row(k="8")])
    with pytest.raises(UserError, match=re.escape("row 2, column clicks")) as error:
        ClickLog.read(path)
    assert "(3 such rows)" in str(error.value)


@pytest.mark.parametrize("time", ["2020-01-03 10:00", "2020-01-03"])
def test_mixed_time_zones_name_both_rows(tmp_path, time):
    path = write(tmp_path / "zones.csv", [HEADER, *ROWS, row(time=time)])
    expected = (
        f"{path}, row 2, column timestamp: value '2020-01-01T10:00:00Z' and row 5 value {time!r} "
        "are in different time zones"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)


def test_a_format_that_first_occurs_late_is_still_read(tmp_path):
    lines = [HEADER] + [row(time="2020-01-03T10:00:00")] * 1500 + [row(time="2020-01-04")]
    log = ClickLog.read(write(tmp_path / "late.csv", lines))
    assert log.collect()["timestamp"][-1] == datetime(2020, 1, 4, tzinfo=UTC)


def test_naive_times_are_read_in_the_named_zone_and_noted(tmp_path):
    path = write(tmp_path / "naive.csv", [HEADER, row(time="2020-07-01 10:00")])
    log = ClickLog.read(path, time_zone="Europe/Berlin")
    assert log.collect()["timestamp"][0] == datetime(2020, 7, 1, 8, tzinfo=UTC)
    assert "read as Europe/Berlin" in log.notes[0]
    assert "read as UTC" in ClickLog.read(path).notes[0]
    with pytest.raises(UserError, match="unknown time zone 'Mars/Base'"):
        ClickLog.read(path, time_zone="Mars/Base")


def test_naive_datetime_columns_are_localised_too(tmp_path):
    times = pl.Series([datetime(2020, 7, 1, 10)], dtype=pl.Datetime("ms"))
    frame = pl.DataFrame({"timestamp": times, "impressions": 1, "clicks": 0})
    frame.write_parquet(tmp_path / "x.parquet")
    log = ClickLog.read(tmp_path / "x.parquet", time_zone="Europe/Berlin")
    assert log.collect()["timestamp"][0] == datetime(2020, 7, 1, 8, tzinfo=UTC)
    assert "Europe/Berlin" in log.notes[0]
    with pytest.raises(UserError, match="column timestamp: type Int32 is not a time"):
        ClickLog.from_frame(frame.with_columns(timestamp=pl.lit(1577836800)), name="epoch")


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_empty_file(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{path} is empty")):
        ClickLog.read(path)


def test_header_without_rows(tmp_path):
    path = write(tmp_path / "head.csv", [HEADER])
    with pytest.raises(UserError, match="has columns and no rows"):
        ClickLog.read(path)


def test_missing_file_suggests_a_neighbour(log, tmp_path):
    with pytest.raises(UserError, match=re.escape(f"did you mean '{tmp_path / 'log.csv'}'?")):
        ClickLog.read(tmp_path / "logg.csv")
    with pytest.raises(UserError, match="there is no such file; check the path"):
        ClickLog.read(tmp_path / "nowhere" / "x.csv")


def test_missing_impressions_name_the_syntax_of_a_constant(tmp_path):
    path = write(tmp_path / "sends.csv", ["clicks,who", "1,a"])
    expected = (
        "set the constant impressions=1 (`--set impressions=1` for `data check`, "
        "`+data.constants.impressions=1` for runs); map"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"impressions\rclicks,x\n1,0,2\n", "new-line character seen in unquoted field"),
        (b"impressions,cl\x07cks\n1,0\n", "its first line holds the control character 0x07"),
        (b"impressions,clicks,user_x\n1,0,a\rb\xff\n", "new-line character seen in unquoted"),
    ],
)
def test_binary_file_named_csv_is_refused(tmp_path, content, reason):
    path = tmp_path / "binary.csv"
    path.write_bytes(content)
    expected = f"{path} is not a CSV text file ({reason}"
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)


def test_random_bytes_named_csv_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / f"{i}.csv"
        path.write_bytes(rng.bytes(4000))
        with pytest.raises(UserError, match=re.escape(str(path))):
            ClickLog.read(path)


def test_missing_column_suggests_and_lists(tmp_path):
    path = write(tmp_path / "typo.csv", ["impresions,clicks", "1,0"])
    expected = (
        f"{path}: column 'impressions' is missing (did you mean 'impresions'?); the columns there "
        "are 'impresions', 'clicks'; map a column of another name onto 'impressions' (`--map "
        "impressions=COLUMN` for `data check`, `+data.columns.impressions=COLUMN` for runs)."
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)
    path = write(tmp_path / "semi.csv", ["impressions;clicks", "1;0"])
    with pytest.raises(UserError, match="is another separator needed"):
        ClickLog.read(path)
    assert ClickLog.read(path, separator=";").height == 1
    with pytest.raises(UserError, match="separator ';;' is not one ASCII character"):
        ClickLog.read(path, separator=";;")


def test_wrong_encoding_names_the_byte(tmp_path):
    lines = [f"{HEADER},text", *(f"{line},café" for line in ROWS)]
    path = write(tmp_path / "latin.csv", lines, "latin-1")
    offset = len(lines[0]) + 1 + lines[1].index("é")
    expected = f"{path}, row 2, column text: byte 0xe9 at offset {offset} is not UTF-8"
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)
    read = ClickLog.read(path, encoding="latin-1").collect()
    assert read["text"].to_list() == ["café"] * 3
    with pytest.raises(UserError, match="unknown encoding 'klingon'"):
        ClickLog.read(path, encoding="klingon")


def test_utf16_is_recognised_and_a_utf8_mark_is_skipped(tmp_path):
    path = write(tmp_path / "wide.csv", [HEADER, *ROWS], "utf-16")
    wide = ClickLog.read(path)
    assert wide.checksum() == ClickLog.read(path, encoding="utf-16").checksum()
    marked = ClickLog.read(write(tmp_path / "mark.csv", [HEADER, *ROWS], "utf-8-sig"))
    assert wide.checksum() == marked.checksum()


def test_damaged_files(tmp_path):
    whole = gzip.compress("\n".join([HEADER, *ROWS * 2000]).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or truncated gzip"):
        ClickLog.read(tmp_path / "cut.csv.gz")
    (tmp_path / "no.parquet").write_bytes(b"this is no parquet file")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        ClickLog.read(tmp_path / "no.parquet")
    path = write(tmp_path / "ragged.csv", [HEADER, *ROWS, ROWS[0] + ",1,2"])
    with pytest.raises(UserError, match=re.escape(f"{path}, row 5: 10 fields where the header")):
        ClickLog.read(path)
    path = write(tmp_path / "twice.csv", [HEADER + ",clicks", *(f"{r},1" for r in ROWS)])
    with pytest.raises(UserError, match="row 1: column 'clicks' occurs twice"):
        ClickLog.read(path)


def test_duplicate_arms_of_an_aggregated_log(tmp_path):
    lines = ["test_id,creative_id,impressions,clicks", "1,a,5,1", "2,a,5,1", "1,b,5,1", "1,a,6,2"]
    path = write(tmp_path / "arms.csv", lines)
    expected = (
        f"{path}, row 5, column creative_id: test_id '1', creative_id 'a' is already in row 2"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        ClickLog.read(path)
    per_impression = [re.sub(r"\d+,\d$", "1,0", line) for line in lines]
    assert ClickLog.read(write(path, per_impression)).height == 4
    by_slot = [lines[0] + ",slot", *(f"{line},s{i}" for i, line in enumerate(lines[1:]))]
    assert ClickLog.read(write(path, by_slot)).height == 4


def test_ids_are_compared_in_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(logschema, "_HASHES", 3)
    lines = [f"{i},1,0" for i in range(40)]
    path = write(tmp_path / "log.csv", ["impression_id,impressions,clicks", *lines])
    assert ClickLog.read(path).height == 40
    write(path, ["impression_id,impressions,clicks", *lines, "17,1,0"])
    with pytest.raises(UserError, match=r"row 42, column impression_id: .* already in row 19"):
        ClickLog.read(path)


def test_duplicate_impression_id(tmp_path):
    lines = ["impression_id,impressions,clicks", "x,1,0", "y,1,0", "x,1,1"]
    with pytest.raises(UserError, match=re.escape("row 4, column impression_id")):
        ClickLog.read(write(tmp_path / "ids.csv", lines))


def test_one_arm_is_a_legal_log_without_a_choice(tmp_path, log):
    lines = ["test_id,creative_id,impressions,clicks", "1,a,5,1", "2,b,5,1"]
    one = ClickLog.read(write(tmp_path / "one.csv", lines))
    one.require_arms(1)
    with pytest.raises(UserError, match=re.escape("the log has 1 arm where at least 2 are")):
        one.require_arms(2)
    log.require_arms(3)  # a, b, hold


def test_hold_counts_as_one_arm_on_whatever_channel():
    frame = pl.DataFrame(
        {
            "creative_id": ["hold", "hold", "a", "a"],
            "channel": ["push", "email", "push", "email"],
            "impressions": 1,
            "clicks": 0,
        }
    )
    log = ClickLog.from_frame(frame, name="frame")
    assert log.arms() == 3
    assert log.sends().height == 2


def test_columns_and_constants_are_mapped(tmp_path):
    path = write(tmp_path / "mail.csv", ["opened,subject,clicks,age", "1,Hi,7,30", "0,Yo,8,40"])
    log = ClickLog.read(
        path,
        columns={"clicks": "opened", "text": "subject", "user_age": "age"},
        constants={"impressions": 1, "channel": "email"},
    )
    frame = log.collect()
    assert frame["clicks"].to_list() == [1, 0]
    assert frame["channel"].to_list() == ["email"] * 2
    assert frame["user_age"].to_list() == [30, 40]
    assert set(frame.columns) == {"clicks", "text", "user_age", "impressions", "channel"}
    # The message names the file's own column.
    write(path, ["opened,subject", "3,Hi"])
    with pytest.raises(UserError, match=re.escape("row 2, column opened: value 3 exceeds")):
        ClickLog.read(path, columns={"clicks": "opened"}, constants={"impressions": 1})
    with pytest.raises(UserError, match=re.escape("column 'open' (for 'clicks') is missing")):
        ClickLog.read(path, columns={"clicks": "open"})
    with pytest.raises(UserError, match="cannot map onto 'klicks'"):
        ClickLog.read(path, columns={"klicks": "opened"})


def test_unused_columns_are_noted_with_the_likely_meaning(tmp_path):
    log = ClickLog.read(write(tmp_path / "x.csv", ["impressions,clicks,propensty", "1,0,.5"]))
    assert log.notes == ("columns not used: 'propensty' (is it propensity?).",)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet"])
def test_written_log_reads_back_the_same(log, tmp_path, name):
    log.write(tmp_path / name)
    assert ClickLog.read(tmp_path / name).checksum() == log.checksum()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", name]


def test_failed_write_leaves_the_old_file(log, tmp_path):
    target = tmp_path / "x.parquet"
    log.write(target)
    before = target.read_bytes()
    broken = log.with_frame(log.frame.with_columns(pl.col("creative_id").cast(pl.Int64)))
    with pytest.raises(pl.exceptions.PolarsError):
        broken.write(target)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "x.parquet"]
    with pytest.raises(UserError, match=re.escape("a log is written as .parquet, .csv or .csv.gz")):
        log.write(tmp_path / "x.xlsx")


def test_partitioned_parquet_folder(log, tmp_path):
    frame = log.collect()
    for arm in ("a", "b", "hold"):
        folder = tmp_path / "parts" / f"creative_id={arm}"
        folder.mkdir(parents=True)
        part = frame.filter(pl.col("creative_id") == arm).drop("creative_id")
        part.write_parquet(folder / "part-0.parquet")
    read = ClickLog.read(tmp_path / "parts").collect()
    assert read.sort("user_id").equals(frame.sort("user_id").select(read.columns))
    # Parquet of other sub-folders is none of the log's business.
    (tmp_path / "none" / ".cache").mkdir(parents=True)
    frame.write_parquet(tmp_path / "none" / ".cache" / "other.parquet")
    with pytest.raises(UserError, match="is a folder with 0 CSV files"):
        ClickLog.read(tmp_path / "none")


def test_parquet_rows_count_from_one(tmp_path):
    pl.DataFrame({"impressions": [1, 2], "clicks": [0, 3]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=re.escape("x.parquet, row 2, column clicks: value 3")):
        ClickLog.read(tmp_path / "x.parquet")


def big(n=5000, users=200, seed=0):
    rng = np.random.default_rng(seed)
    return ClickLog.from_frame(
        pl.DataFrame(
            {
                "user_id": rng.integers(0, users, n).astype(str),
                "timestamp": pl.Series(rng.integers(0, 900, n) * 1_000_000).cast(
                    pl.Datetime("us", "UTC")
                ),
                "impressions": np.ones(n, int),
                "clicks": rng.integers(0, 2, n),
            }
        ),
        name="big",
    )


def test_split_by_user_keeps_users_whole():
    log = big()
    parts = log.split_by_user({"train": 0.7, "valid": 0.1, "test": 0.2}, seed=3)
    users = {k: set(v.collect()["user_id"]) for k, v in parts.items()}
    assert [len(users[k]) for k in ("train", "valid", "test")] == [140, 20, 40]
    assert not users["train"] & users["test"] and not users["train"] & users["valid"]
    assert sum(v.height for v in parts.values()) == log.height
    again = log.with_frame(log.frame.reverse()).split_by_user({"a": 0.7, "b": 0.3}, seed=3)
    assert set(again["a"].collect()["user_id"]) == users["train"]  # not the order of rows
    other = log.split_by_user({"a": 0.7, "b": 0.3}, seed=4)
    assert set(other["a"].collect()["user_id"]) != users["train"]


def test_split_by_time_keeps_the_order_of_time():
    log = big()
    parts = log.split_by_time({"past": 0.8, "future": 0.2})
    past, future = parts["past"].collect(), parts["future"].collect()
    assert past["timestamp"].max() < future["timestamp"].min()
    assert past.height + future.height == log.height
    assert past.height / log.height == pytest.approx(0.8, abs=0.005)


def test_split_fractions_are_checked():
    log = big(users=2)
    with pytest.raises(UserError, match=re.escape("a=0.5, b=0.6 must be positive and add up to")):
        log.split_by_user({"a": 0.5, "b": 0.6}, seed=0)
    with pytest.raises(UserError, match="2 users cannot fill 3 parts"):
        log.split_by_user({"a": 0.5, "b": 0.3, "c": 0.2}, seed=0)
    with pytest.raises(UserError, match="column 'test_id' is missing"):
        log.split_by_test({"a": 0.5, "b": 0.5}, seed=0)


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.integers(1, 50), min_size=3, max_size=30),
    shares=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_every_part_gets_a_group_and_parts_are_in_order(weights, shares):
    cumulative = np.cumsum(shares) / sum(shares)
    part = _part_of(np.array(weights, dtype=float), cumulative)
    assert (np.diff(part) >= 0).all()
    assert set(part) == set(range(len(shares)))


def log_of_tests(texts):
    """One test per list of headlines."""
    return ClickLog.from_frame(
        pl.DataFrame(
            {
                "test_id": [f"t{i}" for i, arms in enumerate(texts) for _ in arms],
                "creative_id": [
                    f"t{i}/{j}" for i, arms in enumerate(texts) for j in range(len(arms))
                ],
                "text": [text for arms in texts for text in arms],
                "impressions": 10,
                "clicks": 1,
            }
        ),
        name="tests",
    )


def test_tests_are_connected_through_normalised_headlines():
    log = log_of_tests([["A cat!", "x"], ["y", "a  CAT"], ["Y.", "z"], ["alone", "too"], ["", "?"]])
    found = headline_components(log.frame)
    assert found["test_id"].to_list() == ["t0", "t1", "t2", "t3", "t4"]
    first = found["component"].to_list()
    assert first[0] == first[1] == first[2]
    assert len(set(first)) == 3


def test_split_by_test_shares_no_headline():
    rng = np.random.default_rng(1)
    log = log_of_tests([[f"headline {h}" for h in rng.integers(0, 600, 2)] for _ in range(200)])
    parts = log.split_by_test({"a": 0.6, "b": 0.4}, seed=0)
    texts = {k: set(v.collect()["text"]) for k, v in parts.items()}
    assert texts["a"] and texts["b"] and not texts["a"] & texts["b"]
    assert sum(v.height for v in parts.values()) == log.height


def test_tests_that_share_text_with_another_log_are_dropped():
    log = log_of_tests([["a", "b"], ["b", "c"], ["d", "e"]])
    other = log_of_tests([["A!", "zzz"]])
    assert set(log.without_tests_sharing_text(other).collect()["test_id"]) == {"t2"}


def test_batches_stream_all_rows_in_order():
    log = big(n=5001)
    sizes, frames = [], []
    for batch in log.batches(size=700, columns=["user_id", "clicks"]):
        sizes.append(batch.height)
        frames.append(batch)
    assert max(sizes) <= 700
    assert pl.concat(frames).equals(log.collect().select("user_id", "clicks"))


def test_checksum_sees_values_nulls_and_order():
    log = big(n=300)
    base = log.checksum()
    assert big(n=300).checksum() == base
    assert log.with_frame(log.frame.reverse()).checksum() != base
    flipped = log.frame.with_columns(clicks=1 - pl.col("clicks"))
    assert log.with_frame(flipped).checksum() != base
    texts = [["ab", "c"], ["a", "bc"], ["", None], [None, ""]]
    frames = [pl.LazyFrame({"text": t}, schema={"text": pl.String}) for t in texts]
    assert len({log.with_frame(f).checksum() for f in frames}) == 4


def test_pseudonyms_depend_on_the_key_only(log):
    one = pseudonymise(log, "a secret of enough bytes")
    again = pseudonymise(log.with_frame(log.frame.reverse()), "a secret of enough bytes")
    other = pseudonymise(log, "another secret, just as long")
    ids = one.collect()["user_id"].to_list()
    assert again.collect()["user_id"].to_list() == ids[::-1]
    assert not set(ids) & {"ann", "bob", "cy"} and len(set(ids)) == 3
    assert not set(ids) & set(other.collect()["user_id"])
    assert one.collect().drop("user_id").equals(log.collect().drop("user_id"))
    with pytest.raises(UserError, match="key has 5 bytes"):
        pseudonymise(log, "short")


def test_text_numbers_that_are_not_finite_do_not_become_integers(tmp_path):
    path = write(tmp_path / "n.csv", ["impressions,clicks,user_x", "1,0,nan", "1,0,2"])
    assert ClickLog.read(path).collect()["user_x"].to_list() == [None, 2.0]
