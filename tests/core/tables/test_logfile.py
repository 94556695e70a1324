"""Reading table files: every row is read with every field as it stands, or the row is named."""

import csv
import gzip
import io
import itertools
import re
import zipfile

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.core.tables import csv_form as csvform
from copygym.core.tables.files import is_csv, open_table, resolve_log_path
from copygym.envs.logs.clicklog import ClickLog

HEADER = "user_id,creative_id,note,impressions,clicks\n"
ROWS = [f"u{i},{'ab'[i % 2]},plain {i},1,{int(i % 5 == 0)}\n" for i in range(12)]
NEW_LINES = {"old Mac": "\r", "Windows": "\r\n", "twice translated": "\r\r\n"}


def put(path, changes=None, rows=ROWS):
    """Write the log with some rows (counted from 0) changed."""
    lines = [(changes or {}).get(i, row) for i, row in enumerate(rows)]
    path.write_bytes((HEADER + "".join(lines)).encode())
    return path


def clicks(table):
    """Return what a reader gets that asks for one column alone."""
    return table.frame.select("clicks").collect()["clicks"].to_list()


WANTED = [row.rstrip("\n").split(",")[4] for row in ROWS]


def test_an_inch_mark_in_a_column_that_nobody_uses_takes_no_row(tmp_path):
    odd = {4: 'u4,a,asked for 12" tablet,1,0\n', 9: 'u9,b,wants 15" screen,1,0\n'}
    table = open_table(put(tmp_path / "log.csv", odd))
    assert clicks(table) == WANTED
    assert table.frame.select(pl.len()).collect().item() == 12
    assert table.frame.collect()["note"][4] == 'asked for 12" tablet'
    assert table.notes == (
        "column note: 2 values hold quote marks that are not doubled (row 6 first); read as they "
        "stand.",
    )
    assert table.notes[0] in ClickLog.read(tmp_path / "log.csv").notes


def test_inch_marks_among_quoted_values_are_read_row_by_row(tmp_path):
    odd = {1: 'u1,b,"a, b",1,0\n', 4: 'u4,a,12" tablet,1,0\n', 6: 'u6,a,"say ""x""\nand y",1,0\n'}
    table = open_table(put(tmp_path / "log.csv", odd))
    assert clicks(table) == WANTED
    note = table.frame.collect()["note"].to_list()
    assert (note[1], note[4], note[6]) == ("a, b", '12" tablet', 'say "x"\nand y')
    assert "1 value holds quote marks that are not doubled (row 6 first)" in table.notes[0]
    assert "1 row holds values with line breaks (row 8 first)" in table.notes[1]


def test_quotes_escaped_by_backslashes_take_no_row(tmp_path):
    odd = {0: 'u0,a,"one \\" two",1,1\n', 2: 'u2,a,"three \\" \\n C:\\\\",1,0\n'}
    table = open_table(put(tmp_path / "log.csv", odd))
    assert clicks(table) == WANTED
    note = table.frame.collect()["note"].to_list()
    assert (note[0], note[2]) == ('one " two', 'three " \\n C:\\')
    assert table.notes == (
        "quote marks inside of values are escaped by backslashes (row 2 first), and read so.",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {2: 'u2,a,"Tablet,1,0\n', 8: 'u8,a,TV",1,0\n'},
            "row 4: a quote mark opens a value that runs over several lines, and these look like",
        ),
        ({2: 'u2,a,"Tablet,1,0\n'}, "row 4: a quote mark opens a value that never ends"),
        ({2: 'u2,a,"Big" one,1,0\n'}, "row 4: a value begins with a quote mark and goes on after"),
        ({2: "u2,a\n"}, "row 4: 2 fields where the header has 5 columns; write every field"),
        ({2: "u2,a,x,y,1,0\n"}, "row 4: 6 fields where the header has 5 columns; quote values"),
        ({2: "u2,a,x\0y,1,0\n"}, "row 4: it holds a NUL byte"),
        ({11: "u11,b,pl"}, "row 13: 3 fields where the header has 5 columns; the file ends in the"),
        ({2: "u2,a,x\ry,1,0\n"}, "new-line character seen in unquoted field, row 4"),
    ],
)
def test_rows_that_cannot_be_read_exactly_are_named(tmp_path, changes, message):
    path = put(tmp_path / "log.csv", changes)
    for read in (ClickLog.read, open_table):
        with pytest.raises(UserError, match=re.escape(message)):
            read(path)


def test_a_file_that_can_be_read_in_two_ways_is_refused(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text('headline\n"\nx\\"\n"\ny\\"\n')
    with pytest.raises(UserError, match=r"row 2: a backslash .* can be read in two ways"):
        open_table(path)


def test_values_with_line_breaks_are_no_rows_of_their_own(tmp_path):
    odd = {2: 'u2,a,"Dear all,\nthanks, bye",1,0\n', 5: 'u5,b,"x\r\n\ry",1,1\n'}
    table = open_table(put(tmp_path / "log.csv", odd))
    assert clicks(table) == WANTED
    assert table.frame.collect()["note"][5] == "x\r\n\ry"
    assert table.notes == (
        "2 rows hold values with line breaks (row 4 first), so that the file has 2 lines more than "
        "rows.",
    )


def test_blank_lines_are_skipped_and_said_except_where_they_are_rows(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\n" + HEADER + "".join(ROWS[:3]) + "\n  \n" + "".join(ROWS[3:]) + "\n")
    table = open_table(path)
    assert clicks(table) == WANTED
    assert table.notes == (
        "4 blank lines (before the header first) are skipped and not counted as rows.",
    )
    path.write_text("headline\none\n\nthree\n")
    assert open_table(path).frame.collect()["headline"].to_list() == ["one", None, "three"]


@pytest.mark.parametrize("end", NEW_LINES.values(), ids=NEW_LINES)
def test_lines_of_every_system_are_rows(tmp_path, end):
    path = tmp_path / "log.csv"
    path.write_bytes((HEADER + "".join(ROWS)).replace("\n", end).encode())
    frame = open_table(path).frame.collect()
    assert frame["clicks"].to_list() == WANTED and frame.columns == HEADER.strip().split(",")


def test_rows_beyond_memory_are_kept_in_a_private_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("copygym.core.tables.csv_exact._HELD", 100)
    monkeypatch.setattr("copygym.core.tables.csv_exact._BATCH", 3)
    odd = {1: 'u1,b,"a, b",1,0\n', 4: 'u4,a,12" tablet,1,0\n'}
    table = open_table(put(tmp_path / "log.csv", odd))
    assert clicks(table) == WANTED
    assert table.frame.collect()["user_id"].to_list() == [f"u{i}" for i in range(12)]


DIALECTS = [
    {"quoting": csv.QUOTE_MINIMAL},
    {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"},
    {"quoting": csv.QUOTE_NONNUMERIC, "delimiter": ";"},
    {"quoting": csv.QUOTE_ALL, "doublequote": False, "escapechar": "\\", "lineterminator": "\n"},
    {"quoting": csv.QUOTE_MINIMAL, "doublequote": False, "escapechar": "\\"},
]
_PIECES = [*"ab1 ,;\"\\\n'é\t", '""', '\\"', "\r\n"]
CELLS = st.lists(st.sampled_from(_PIECES), max_size=5).map("".join)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6)
)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """New paths, since what was found of a file is kept for its path."""
    folder = tmp_path_factory.mktemp("tables")
    return (folder / f"{i}.csv" for i in itertools.count())


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=TABLES, dialect=st.sampled_from(DIALECTS), block=st.sampled_from([7, 64, 1 << 23]))
def test_nasty_tables_are_read_back_exactly_or_refused(numbered, table, dialect, block):
    path, names = next(numbered), [f"h{i}" for i in range(len(table[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([names, *table])
    path.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csvform, "_BLOCK", block)
        try:
            frame = open_table(path, separator=dialect.get("delimiter")).frame
        except UserError as error:
            assert "row" in str(error)
            return
    assert frame.select(pl.len()).collect().item() == len(table)
    if "escapechar" in dialect:
        # Without an escaped mark in quotes nothing tells that the backslashes are doubled.
        assert frame.select(names[0]).collect().height == len(table)
        return
    for column, name in enumerate(names):
        found = frame.select(name).collect()[name].fill_null("").to_list()
        assert found == [row[column] for row in table]


_CHANGE = st.tuples(st.integers(0, 200), st.sampled_from(['"', "\\", "\n", ""]))
DAMAGE = st.lists(_CHANGE, max_size=3)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=DAMAGE)
def test_damage_never_takes_a_row_without_a_word(numbered, damage):
    text = HEADER + 'u0,a,"x, y",1,1\n' + "".join(ROWS[1:])
    for place, piece in damage:
        text = text[:place] + piece + text[place + 1 :]
    path = next(numbered)
    path.write_bytes(text.encode())
    try:
        table = open_table(path)
    except UserError:
        return
    rows = table.frame.select(pl.len()).collect().item()
    lines = len([line for line in text.split("\n")[1:] if line.strip()])
    assert rows == lines or "line" in " ".join(table.notes)


def test_paths_are_paths_and_never_patterns(tmp_path):
    put(tmp_path / "log1.csv", rows=ROWS[:3])
    put(tmp_path / "log[1].csv")
    assert ClickLog.read(tmp_path / "log[1].csv").height == 12
    with pytest.raises(UserError, match="there is no such file"):
        ClickLog.read(tmp_path / "log?.csv")
    for name, rows in (("ab.parquet", 3), ("a*b.parquet", 12)):
        pl.read_csv(tmp_path / "log[1].csv", glob=False).head(rows).write_parquet(tmp_path / name)
    assert ClickLog.read(tmp_path / "a*b.parquet").height == 12
    folder = tmp_path / "proj [v2]" / "parts"
    folder.mkdir(parents=True)
    pl.read_csv(tmp_path / "log1.csv").write_parquet(folder / "x.parquet")
    assert ClickLog.read(folder).height == 3


def test_folders_above_a_log_say_nothing_of_its_rows(tmp_path):
    folder = tmp_path / "user_age=7" / "seed=1" / "log"
    for arm in ("007", "b c", "[x]"):
        (folder / f"creative_id={arm}").mkdir(parents=True)
        frame = pl.DataFrame({"impressions": [1], "clicks": [0]})
        frame.write_parquet(folder / f"creative_id={arm}" / "p.parquet")
    log = ClickLog.read(folder)
    assert log.columns == ["creative_id", "impressions", "clicks"]
    assert sorted(log.collect()["creative_id"]) == ["007", "[x]", "b c"]
    (folder / "README.md").write_text("Other files change nothing.")
    assert ClickLog.read(folder).collect().equals(log.collect())
    pl.DataFrame({"impressions": [1]}).write_parquet(folder / "more.pq")
    with pytest.raises(UserError, match=r"holds more.pq and, in a folder of its own, creative_id"):
        ClickLog.read(folder)


@pytest.mark.parametrize("name", ["log.dat", "log", "log.csv.gz", "log.parquet", "log.log"])
@pytest.mark.parametrize("kind", ["csv", "gzip", "parquet"])
def test_the_content_decides_and_not_the_suffix(tmp_path, name, kind):
    text = (HEADER + "".join(ROWS)).replace("note", "user_age").replace("plain ", "")
    path = tmp_path / name
    if kind == "parquet":
        pl.read_csv(text.encode()).write_parquet(path)
    else:
        path.write_bytes(text.encode() if kind == "csv" else gzip.compress(text.encode()))
    log = ClickLog.read(path)
    assert log.height == 12 and log.frame.collect_schema()["user_age"] == pl.Int64
    assert is_csv(path) == (kind != "parquet")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_byte_order_marks_name_the_encoding(tmp_path, encoding):
    path = tmp_path / "log.csv"
    path.write_bytes((HEADER + "".join(ROWS)).replace("plain", "plaïn").encode(encoding))
    table = open_table(path)
    assert table.frame.collect()["note"][3] == "plaïn 3"
    said = f"log.csv is {encoding.upper()} by its byte order mark, and read so."
    assert table.notes == (() if encoding == "utf-8-sig" else (said,))
    path.write_bytes((HEADER + "".join(ROWS)).encode("utf-16-be"))
    with pytest.raises(UserError, match="pass --encoding utf-16-be"):
        open_table(path)


def test_what_is_no_table_is_named(tmp_path):
    path = tmp_path / "log.csv"
    for content, what in (
        (b'[{"clicks": 1}]', "is JSON"),
        (b"<!DOCTYPE html><html>", "is a page of HTML or XML"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"\x28\xb5\x2f\xfdxx", "is a zstd archive, neither CSV nor Parquet; unpack it"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=what):
            ClickLog.read(path)
    for member, what in (("xl/workbook.xml", "is an Excel workbook"), ("a.csv", "is a zip arch")):
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr(member, "x")
        with pytest.raises(UserError, match=what):
            ClickLog.read(path)


def test_another_separator_is_asked_for_or_found(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text((HEADER + "".join(ROWS)).replace(",", ";"))
    with pytest.raises(UserError, match=re.escape("separated by ';'; say so by --separator ';'")):
        open_table(path)
    assert open_table(path, separator=";").frame.collect().height == 12
    found = open_table(path, detect=True)
    assert clicks(found) == WANTED
    assert found.notes == ("columns are separated by ';', as the header says.",)
    path.write_text("sep=;\n" + path.read_text())
    with pytest.raises(UserError, match="row 1: 'sep=;' is Excel's note on the separator"):
        open_table(path)


def test_pipes_and_paths_that_cannot_be_are_sentences(tmp_path):
    with pytest.raises(UserError, match="/dev/null is a pipe or a device and no file"):
        resolve_log_path("/dev/null")
    for path in ("x" * 300, "~nosuchuserhere/x.csv"):
        with pytest.raises(UserError, match="cannot be opened"):
            resolve_log_path(path)


def test_a_file_that_changes_is_read_anew(tmp_path):
    path = put(tmp_path / "log.csv")
    assert ClickLog.read(path).height == 12
    put(path, rows=ROWS[:5])
    assert ClickLog.read(path).height == 5


def test_a_byte_order_mark_alone_is_an_empty_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\n")
    with pytest.raises(UserError, match="is empty"):
        open_table(path)


@pytest.mark.parametrize("tab", ["\t", "\\t", "tab"])
def test_a_tab_may_be_named_as_a_message_and_a_shell_write_it(tmp_path, tab):
    path = tmp_path / "log.csv"
    path.write_text("impressions\tclicks\n1\t0\n")
    with pytest.raises(UserError, match=re.escape(r"--separator '\t'")):
        open_table(path)
    assert open_table(path, separator=tab).frame.collect().height == 1


@pytest.mark.parametrize("name", ["PARENT", "BZh", "FEA1", "ARROW1", "SQLite format 3"])
def test_a_header_that_begins_like_another_format_is_text(tmp_path, name):
    path = tmp_path / "log.csv"
    path.write_text(f"{name},impressions,clicks\nx,1,0\n")
    assert open_table(path).frame.collect().height == 1


def test_a_file_called_as_somebody_at_home_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "~log.csv")
    assert clicks(open_table("~log.csv")) == WANTED


def test_a_link_that_leads_nowhere_is_named_as_one(tmp_path):
    (tmp_path / "log.csv").symlink_to("gone.csv")
    with pytest.raises(UserError, match="is a link to a file that is not there"):
        open_table(tmp_path / "log.csv")


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("All campaigns\na,b\n1,2\n", "or remove lines before the header, such as a title"),
        ("a,b\n1,2,\n", "the row ends with the separator ',': end the header with it as well"),
        ('a, b\n1, "x, y"\n', "blanks before a quote mark make it an ordinary character"),
        ("a,b\n1,2,3\n", "quote values that hold the separator"),
    ],
)
def test_a_row_with_too_many_fields_is_told_what_it_may_be(tmp_path, text, way_out):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(way_out)):
        open_table(tmp_path / "log.csv")


@pytest.mark.parametrize("note", ["plain", '12" stray', '"quoted ""twice"""'])
def test_a_columns_name_has_its_quote_marks_once_however_the_rows_are_written(tmp_path, note):
    path = tmp_path / "log.csv"
    path.write_text(f'"a ""b"" c",note,impressions,clicks\nx,{note},1,0\ny,z,1,1\n')
    assert open_table(path).frame.collect_schema().names()[0] == 'a "b" c'
    log = ClickLog.read(path, columns={"creative_id": 'a "b" c'})
    assert log.collect()["creative_id"].to_list() == ["x", "y"]


@pytest.mark.parametrize("name", ["*", "^a.*$"])
def test_a_column_whose_name_stands_for_several_is_refused(tmp_path, name):
    path = tmp_path / "log.csv"
    path.write_text(f"{name},impressions,clicks\nx,1,0\n")
    with pytest.raises(UserError, match="has a name that stands for any number of columns"):
        ClickLog.read(path)


def test_a_column_that_is_named_by_a_number_may_be_given_as_one(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("7,impressions,clicks\nx,1,0\n")
    assert ClickLog.read(path, columns={"creative_id": 7}).collect()["creative_id"].item() == "x"
