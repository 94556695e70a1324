"""Text from logs and models is read and does nothing: terminal, Markdown, spreadsheet."""

import io
import json

import polars as pl
import pytest

from copygym.core.text.plain import (
    PrintableStream,
    as_written,
    harmless,
    inert,
    inert_cell,
    printable,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;title\x07b", "a\\u001b]0;title\\u0007b"),
        ("\x9b2J \x7f \x00", "\\u009b2J \\u007f \\u0000"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("over\rwritten", "over\\u000dwritten"),
        ("line\u2028line", "line\\u2028line"),
        ("half \ud83d", "half \\ud83d"),
        ("tab\tand\nline\r\nstay", "tab\tand\nline\nstay"),
        ("emoji 👩‍👩‍👧, می‌خواهم, क्‍ष stay", "emoji 👩‍👩‍👧, می‌خواهم, क्‍ष stay"),
    ],
)
def test_control_characters_are_shown_and_all_else_stays(text, shown):
    assert printable(text) == shown


def test_json_with_control_characters_made_visible_is_the_same_json():
    content = {"arm": "a\x7f\x9b\u202eb"}
    assert json.loads(printable(json.dumps(content, ensure_ascii=False))) == content


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_stream_shows_what_it_would_obey_and_keeps_bars_on_a_terminal():
    text = "\r\x1b[Abar \x1b[32mgreen\x1b[0m \x1b[2J\x1b]0;x\x07"
    for bars, stream, expected in (
        (True, Terminal(), "\r\x1b[Abar \x1b[32mgreen\x1b[0m \\u001b[2J\\u001b]0;x\\u0007"),
        (True, io.StringIO(), printable(text)),
        (False, Terminal(), printable(text)),
    ):
        shown = PrintableStream(stream, bars=bars)
        assert shown.write(text) == len(text)
        shown.writelines(["\x1b"])
        assert shown.getvalue() == f"{expected}\\u001b"


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("<script>alert(1)</script>", "<"),
        ("<img src=x onerror=y>", "<"),
        ("[here](javascript:x)", "]("),
        ("![a](b)", "]("),
        ("[a][b]", "]["),
        ("[b]: http://x", "]:"),
        ("https://evil.example", "://"),
        ("WWW.evil.example", "WWW."),
    ],
)
def test_no_text_is_html_or_a_link_in_markdown(text, active):
    assert active not in inert(text)
    assert active not in inert_cell(text)


def test_a_cell_stays_a_cell():
    assert inert_cell("a|b\\|c\r\n| d | `e`") == "a\\|b\\\\\\|c \\| d \\| \\`e\\`"


def test_formulas_get_an_apostrophe_and_numbers_do_not():
    numbers = ["-1.5", "+3", "-1,234.5", "-.5", "1e5", "-1e-5", "-5%", None, "", "plain", "a=b"]
    formulas = ["=1+1", "-20% off", "+cmd|x", "@x", "\tx", "\rx", "\nx", "-1+2", "'=x", "-", "＝1"]
    table = pl.DataFrame({"text": numbers + formulas, "n": range(len(numbers + formulas))})
    safe, changed = harmless(table)
    assert changed == len(formulas)
    assert safe["text"].to_list() == numbers + [f"'{text}" for text in formulas]
    assert safe["n"].equals(table["n"])
    assert as_written(safe).equals(table)


def test_categories_and_names_of_columns_are_made_harmless_too():
    table = pl.DataFrame({"=a": pl.Series(["=x", "y"], dtype=pl.Categorical)})
    safe, changed = harmless(table)
    assert (changed, safe.columns, safe["'=a"].to_list()) == (2, ["'=a"], ["'=x", "y"])
    assert as_written(safe).columns == ["=a"]


def test_a_table_is_returned_whole_where_nothing_is_dangerous():
    for table in (pl.DataFrame(), pl.DataFrame({"a": [1.5]}), pl.DataFrame({"a": ["x", None]})):
        safe, changed = harmless(table)
        assert changed == 0
        assert safe.equals(table)
