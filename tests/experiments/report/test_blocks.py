"""Blocks of reports show the records' own numbers, whatever the study."""

import re

import pytest

from copygym.evaluation.records import Records, Rows, filtered, joined
from copygym.experiments.report import blocks
from copygym.experiments.report.blocks import (
    Shown,
    against,
    by_seed,
    curve,
    differences,
    estimates_table,
    forest,
    pivot_table,
    texts_table,
)
from copygym.experiments.report.page import render
from copygym.experiments.report.tables import Table

METRICS = {"rate": Shown("rate %", "%"), "sends": Shown("sends")}


def of_seed(seed, shift=0.0):
    rows = Rows(seed)
    for place, (agent, shape) in enumerate([("ppo", "click"), ("ppo", "profit"), ("dqn", "click")]):
        entry = {"value": 0.1 * place + shift, "low": 0.1 * place, "high": 0.1 * place + 0.2}
        rows.add("rate", entry, agent=agent, shape=shape)
    rows.add("sends", 12.0, agent="ppo", shape="click")
    rows.add("rate", -0.05, agent="ppo", shape="click", versus="dqn")
    rows.add_lines("loss", "step", [1, 2, 3], [0.3, 0.2, 0.1], agent="ppo")
    return Records(rows.frame, {seed: {"resamples": 20}})


def plain(records):
    return filtered(records.estimates, versus=None, step=None)


def test_a_table_has_a_row_for_each_cell_and_a_column_for_each_metric():
    table = estimates_table(
        plain(of_seed(1)), ("agent", "shape"), METRICS, "What.", strong="ppo, profit"
    )
    assert table.columns == ("agent, shape", "rate %", "sends")
    assert table.rows == (
        ("ppo, click", "0 [0, 20]", "12"),
        ("ppo, profit", "10 [10, 30]", "-"),
        ("dqn, click", "20 [20, 40]", "-"),
    )
    assert (table.caption, table.strong) == ("What.", 1)


def test_columns_beside_the_first_stand_alone():
    rate = {"rate": METRICS["rate"]}
    table = estimates_table(plain(of_seed(1)), "agent", rate, beside=["shape"], strong="dqn")
    assert table.columns == ("agent", "shape", "rate %")
    assert table.rows == (
        ("ppo", "click", "0 [0, 20]"),
        ("ppo", "profit", "10 [10, 30]"),
        ("dqn", "click", "20 [20, 40]"),
    )
    assert table.strong == 2


def test_a_pivot_has_a_row_and_a_column_for_each_value():
    table = pivot_table(plain(of_seed(1)), "agent", "shape", "rate", unit="%")
    assert table.columns == ("agent", "click", "profit")
    assert table.rows == (("ppo", "0 [0, 20]", "10 [10, 30]"), ("dqn", "20 [20, 40]", "-"))


def test_differences_are_the_records_that_say_from_what():
    table = differences(of_seed(1).estimates, ("agent", "versus"), {"rate": METRICS["rate"]})
    assert table.rows == (("ppo, dqn", "-5.0"),)


def test_each_seed_s_value_stands_under_its_seed():
    records = joined([of_seed(4), of_seed(2, 0.5)]).where(shape="click", step=None)
    section = by_seed(records, "agent", {"rate": METRICS["rate"]}, unit="world")
    assert (section.heading, section.folded) == ("By world", True)
    (table,) = section.tables
    assert table.columns == ("world", "ppo", "dqn")
    # Differences stay out; shares are shown times 100.
    assert table.rows == (("2", "50.000", "70.000"), ("4", "0.000", "20.000"))


def texts_of(svg):
    return re.findall(r">([^<>\s][^<>]*)</text>", svg)


def test_a_forest_names_its_rows_and_panels():
    picture = forest(plain(of_seed(1)), ("agent", "shape"), METRICS, "rates", "Rates.")
    assert {"ppo, click", "dqn, click", "rate %", "sends"} <= set(texts_of(picture.svg))


def test_a_curve_has_a_line_for_each_cell():
    picture = curve(
        of_seed(1).estimates, "step", "agent", "loss", "loss", "Loss.", "steps", "loss, nats"
    )
    assert {"steps", "loss, nats"} <= set(texts_of(picture.svg))
    # Three points of one line are drawn with markers.
    assert picture.svg.count("<use ") >= 3


def test_a_metric_is_drawn_against_another_at_the_same_step(monkeypatch):
    rows = Rows(1)
    rows.add_lines(
        "loss", "step", [2, 1], [0.2, {"value": 0.4, "low": 0.3, "high": 0.5}], agent="a"
    )
    rows.add_lines("cost", "step", [1, 2], [10.0, 20.0], agent="a")
    monkeypatch.setattr(blocks, "lines_figure", lambda name, caption, lines, *labels: lines)
    lines = against(rows.frame, "step", "agent", ("cost", "loss"), "n", "C.", ("cost", "loss"))
    assert lines == {
        "a": {"x": [10.0, 20.0], "y": [0.4, 0.2], "low": [0.3, None], "high": [0.5, None]}
    }


def test_a_cost_stands_without_its_interval():
    frame = plain(of_seed(1))
    table = estimates_table(frame, ("agent", "shape"), {"rate": Shown("rate", "%", alone=True)})
    assert table.rows[1] == ("ppo, profit", "10")


LONG = "The waterproof jacket that keeps you dry on every ride, whatever the weather brings. " * 3


def test_long_texts_wrap_on_a_terminal_and_in_the_page():
    table = texts_table(
        [{"brief": "jacket", "before": LONG, "after": "Stay dry."}],
        {"brief": "product", "before": "before", "after": "after"},
    )
    lines = table.to_text().split("\n")
    assert max(map(len, lines)) <= 3 * 44 + 4
    assert " ".join(LONG.split()) in " ".join(" ".join(line[8:54].split()) for line in lines)
    page = render({"title": "t", "summary": "s"}, table, [])
    assert page.count('<td class="text">') == 3
    assert re.search(r"td\.text \{[^}]*white-space: normal", page)
    assert re.search(r"td\.text \{[^}]*max-width: 24rem", page)


def test_numbers_stay_on_one_line_to_the_right():
    table = Table(("name", "text", "n"), (("a", "one two", "1"), ("b", "three", "20")), texts=(1,))
    assert table.to_markdown().split("\n")[1] == "| --- | --- | ---: |"
    assert table.to_text().split("\n")[-1] == "b     three    20"


@pytest.mark.parametrize("missing", ["agent", "step"])
def test_a_block_of_a_column_that_is_not_there_is_refused(missing):
    frame = of_seed(1).frame.drop(missing, strict=False).drop("seed")
    with pytest.raises(Exception, match=missing):
        curve(frame, "step", "agent", "loss", "n", "c", "x", "y")
