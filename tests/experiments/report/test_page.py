"""A report's page, its Markdown and its main table hold the numbers of the result."""

import re
from html.parser import HTMLParser

import pytest

from copygym.core.errors import UserError
from copygym.experiments.report.evidence import cautioned
from copygym.experiments.report.figures import draw
from copygym.experiments.report.page import (
    Section,
    _closing,
    markdown,
    render,
    terminal,
    write_page,
    write_report,
)
from copygym.experiments.report.tables import Table, interval

RESULT = {
    "title": "Who <wins>?",
    "summary": "Agent beats random.",
    "synthetic": True,
    "ctr": {
        "random": {"value": 0.0312, "low": 0.0301, "high": 0.0323},
        "agent": {"value": 0.0512, "low": 0.0498, "high": 0.0526},
    },
    "assumptions": ["nobody leaves", "one seed"],
    "notes": ["the file spells Surburban"],
    "rows_seen": {"train": {"rows": 900, "users": 30, "clicks": 700}},
}
MANIFEST = {
    "command": "copygym run seed=7", "seed": 7, "config_sha256": "a1" * 32,
    "code": {"version": "1.2", "sources_sha256": "b2", "commit": "c3", "dirty": True},
    "machine": {"processor": "P", "cores": 3, "system": "S"},
    "wall_seconds": 12.5, "cpu_seconds": 20.25,
    "data": {"log": {"sha256": "d4" * 32, "rows": 1000}},
    "stages": {"fit": {"wall_seconds": 1.23456, "cpu_seconds": 2.0}},
    "packages": {"numpy": "2.1"},
    "rows_seen": {"train": {"rows": 900, "users": 30, "clicks": 700}},
}  # fmt: skip


def dot(figure):
    figure.subplots().plot([1], [2], "o")


def main_table(result):
    rows = tuple((name, interval(entry, "%")) for name, entry in result["ctr"].items())
    return Table(("policy", "CTR %"), rows, caption="CTR over users.", strong=1)


def sections():
    return [
        Section(
            "A | B", ("first <p>", "second"), (Table(("a", "b", "c"), (("x", "1", "2"),)),),
            (draw("curve", "one dot", (2, 2), dot),), ("point [a](b)",),
        ),
        Section("Details", ("hidden",), folded=True),
    ]  # fmt: skip


class Cells(HTMLParser):
    """Collects the rows of a page's tables, and what stands in some of its elements."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.texts, self._open = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, text):
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += text
        if self._open:
            self.texts[self._open[-1]][-1] += text


@pytest.fixture
def written(tmp_path):
    """The folder of a report, and its sections."""
    own = sections()
    path = write_page(tmp_path, RESULT, main_table(RESULT), [*own, *_closing(RESULT, MANIFEST)])
    assert path == tmp_path / "report.html"
    return tmp_path, own


MAIN = [["policy", "CTR %"], ["random", "3.12 [3.01, 3.23]"], ["agent", "5.12 [4.98, 5.26]"]]


def test_the_page_shows_every_number_in_its_place(written):
    page = Cells((written[0] / "report.html").read_text())
    main, own, manifest, parts, stages, packages = page.tables
    assert main == MAIN
    assert own == [["a", "b", "c"], ["x", "1", "2"]]
    assert ["seed", "7"] in manifest and ["wall / CPU seconds", "12.5 / 20.25"] in manifest
    assert ["config (SHA-256)", "a1" * 8] in manifest
    assert ["commit", "c3 with changes"] in manifest
    assert ["data: log", f"SHA-256 {'d4' * 8}, 1000 rows"] in manifest
    assert parts[1] == ["train", "900", "30", "700"]
    assert stages[1] == ["fit", "1.23", "2"]
    assert packages[1] == ["numpy", "2.1"]
    assert page.texts["h1"] == ["Who <wins>?"]
    assert page.texts["h2"] == ["A | B", "Assumptions", "What is known of the data"]
    assert page.texts["summary"] == ["Details", "Manifest"]
    assert page.texts["li"] == [
        "point [a](b)", "nobody leaves", "one seed", "the file spells Surburban",
    ]  # fmt: skip
    assert page.texts["p"][:3] == ["Agent beats random.", "first <p>", "second"]
    assert page.texts["caption"] == ["CTR over users."]
    assert page.texts["figcaption"] == ["one dot"]


def test_the_stressed_row_is_the_tables_own(written):
    html = (written[0] / "report.html").read_text()
    (strong,) = re.findall(r'<tr class="strong">(.*?)</tr>', html)
    assert strong == "<td>agent</td><td>5.12 <span>[4.98, 5.26]</span></td>"


def test_markdown_says_the_same_as_the_page(written):
    folder, _ = written
    lines = (folder / "report.md").read_text().splitlines()
    tables = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("|") and not line.startswith("| ---")
    ]
    page = Cells((folder / "report.html").read_text())
    assert [row for table in page.tables for row in table] == tables
    assert "![one dot](curve.svg)" in lines
    assert [line for line in lines if line.startswith("#")] == [
        "# Who &lt;wins>?", "## A | B", "## Details", "## Assumptions",
        "## What is known of the data", "## Manifest",
    ]  # fmt: skip
    assert "- point [a]\\(b)" in lines


def test_the_main_table_stands_alone_with_its_label(written):
    assert (written[0] / "table.md").read_text() == (
        "Synthetic data. CTR over users.\n\n| policy | CTR % |\n| --- | ---: |\n"
        "| random | 3.12 [3.01, 3.23] |\n| agent | 5.12 [4.98, 5.26] |\n"
    )


def test_pictures_are_files_of_their_own(written):
    folder, sections = written
    (picture,) = sections[0].pictures
    assert (folder / "figures" / "curve.png").read_bytes() == picture.png
    svg = (folder / "figures" / "curve.svg").read_text()
    assert svg.startswith('<?xml version="1.0" encoding="utf-8"?>\n<svg ')
    # A file has no page to take colour and font from.
    assert "currentColor" not in svg and "var(--sans)" not in svg
    assert "currentColor" in (folder / "report.html").read_text()


def test_real_data_carries_no_label():
    real = {**RESULT, "synthetic": False}
    table = main_table(real)
    assert "synthetic" not in render(real, table, []).lower()
    assert "synthetic" not in markdown(real, table, []).lower()


def test_a_caption_says_that_there_were_few_clicks():
    few = {"rows_seen": {"train": {"rows": 900, "clicks": 9, "organic": 6}}}
    caption = cautioned(main_table(RESULT), few).caption
    assert "CTR over users. Caution, not supported: the log has 3 clicks on sends" in caption
    assert cautioned(main_table(RESULT), RESULT) == main_table(RESULT)


def test_without_a_manifest_the_page_has_none(tmp_path):
    write_page(tmp_path, RESULT, main_table(RESULT), [*sections(), *_closing(RESULT, {})])
    page = Cells((tmp_path / "report.html").read_text())
    assert page.tables == [MAIN, [["a", "b", "c"], ["x", "1", "2"]]]
    assert page.texts["summary"] == ["Details"]


def test_an_unfinished_run_has_no_report(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="holds no finished copygym run"):
        write_report(tmp_path)


def test_sections_in_a_terminal_leave_out_what_is_folded():
    table = Table(("policy", "clicks"), (("ours", "2"),), "A caption.")
    shown = terminal(
        [
            Section("Compared", ("A text.",), (table,), points=("one", "two")),
            Section("By seed", (), (table,), folded=True),
            Section("Empty"),
        ]
    )
    assert shown.split("\n\n") == [
        "Compared", "A text.", table.to_text(), "A caption.", "note: one\nnote: two",
    ]  # fmt: skip


def test_what_came_out_stands_first_and_does_nothing_but_be_read():
    answers = ["Do not deploy <b>it</b>, because: -1 [-2, 0].", "New copy wins."]
    page = render({**RESULT, "answers": answers}, main_table(RESULT), [])
    texts = [text for text in Cells(page).texts["p"] if text.strip()]
    assert texts[:3] == [*answers, "Agent beats random."]
    assert page.index("<table") < page.index("Agent beats random.")  # how comes after what
    assert "&lt;b&gt;it" in page
    shown = markdown({**RESULT, "answers": answers}, main_table(RESULT), []).split("\n\n")
    assert shown[1].startswith("> Do not deploy &lt;b>it") and shown[2] == "> New copy wins."
    assert 'class="answer"' not in render(RESULT, main_table(RESULT), [])
