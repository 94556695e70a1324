"""Figures hold the numbers that they were given: every test reads what was drawn."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from copygym.experiments.report import figures
from copygym.experiments.report.figures import (
    PALETTE,
    calibration_figure,
    draw,
    interval_figure,
    lines_figure,
    scaled,
)


@pytest.fixture
def axes_of(monkeypatch):
    """The maker of a figure's axes, in the order in which they were added."""

    def make(function, *arguments, **options):
        kept = []

        def catch(name, caption, size, plot):
            figure = Figure(figsize=size)
            plot(figure)
            kept.extend(figure.axes)

        monkeypatch.setattr(figures, "draw", catch)
        function("figure", "caption", *arguments, **options)
        return kept

    return make


def data(line):
    return [list(map(float, values)) for values in line.get_data()]


POLICIES = {
    "random": {"value": 1.0, "low": 0.5, "high": 1.75},
    "silent": {"value": None, "low": None, "high": None},
    "agent": {"value": 2.0, "low": 1.5, "high": 2.25},
    "upper": {"value": 3.0, "low": None, "high": None},
}


def test_an_interval_figure_shows_each_value_and_its_interval(axes_of):
    (axes,) = axes_of(interval_figure, {"clicks/user": POLICIES}, strong="agent")
    assert axes.get_title() == "clicks/user"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(POLICIES)
    # The first policy stands on top, and who has no value has no mark.
    assert axes.get_ylim() == (3.5, -0.5)
    assert [data(line) for line in axes.lines] == [
        [[0.5, 1.75], [0, 0]],
        [[1.0], [0]],
        [[1.5, 2.25], [2, 2]],
        [[2.0], [2]],
        [[3.0], [3]],
    ]
    blue, orange = PALETTE[:2]
    assert [line.get_color() for line in axes.lines] == [blue, blue, orange, orange, blue]


def test_panels_share_their_policies(axes_of):
    panels = {"a": {"x": POLICIES["random"]}, "b": {"x": POLICIES["agent"]}}
    first, second = axes_of(interval_figure, panels)
    assert (first.get_title(), second.get_title()) == ("a", "b")
    assert data(second.lines[-1]) == [[2.0], [0]]


def test_shares_are_shown_as_percent_and_other_numbers_as_they_are():
    estimate = {"value": 0.25, "low": 0.125, "high": None}
    assert scaled(estimate) == {"value": 25.0, "low": 12.5, "high": None}
    assert scaled(estimate, "") == estimate


def test_lines_and_their_bands_are_drawn_where_they_are(axes_of):
    lines = {
        "a": {"x": [1, 2, 3], "y": [0.5, None, 0.75], "low": [0.25, 0.5, 0.5], "high": [1, 1, 1]},
        "b": {"x": list(range(12)), "y": [float(x * x) for x in range(12)]},
    }
    (axes,) = axes_of(lines_figure, lines, "users", "CTR", log_x=True)
    np.testing.assert_array_equal(axes.lines[0].get_data(), [[1, 2, 3], [0.5, np.nan, 0.75]])
    assert data(axes.lines[1]) == [list(range(12)), [x * x for x in range(12)]]
    # Points are marked while they are few.
    assert [line.get_marker() for line in axes.lines] == ["o", "None"]
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(1, 0.25), (2, 0.5), (3, 0.5), (1, 1), (2, 1), (3, 1)} <= corners
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("users", "CTR", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_lines_beyond_the_palette_are_told_apart_by_dashes(axes_of):
    many = {f"line {i}": {"x": [0, 1], "y": [i, i]} for i in range(2 * len(PALETTE) + 1)}
    axes = axes_of(lines_figure, many, "x", "y")[0]
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == len(many)
    # So many names stand beside the lines, not on them.
    assert axes.get_legend() is None


def test_one_line_needs_no_legend(axes_of):
    (axes,) = axes_of(lines_figure, {"only": {"x": [0], "y": [1]}}, "x", "y")
    assert axes.get_legend() is None
    assert axes.get_xscale() == "linear"


def test_a_calibration_figure_shows_the_bins_and_the_diagonal(axes_of):
    rows = ((0.1, (0.15, 0.1, 0.2)), (0.2, (0.4, 0.3, 0.5)), (None, (0.3, 0.2, 0.4)))
    curve = [{"predicted": predicted, "real": real} for predicted, real in rows]
    (axes,) = axes_of(calibration_figure, curve)
    bins, diagonal = axes.lines
    np.testing.assert_array_equal(bins.get_data(), [[0.1, 0.2, np.nan], [0.15, 0.4, 0.3]])
    # From 0 to a little above the largest number.
    assert data(diagonal) == [[0, pytest.approx(0.42)], [0, pytest.approx(0.42)]]
    (intervals,) = axes.collections
    assert intervals.get_segments()[1].tolist() == [[0.2, 0.3], [0.2, 0.5]]


def simple(figure):
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "o-", clip_on=True)
    axes.set_title("<b>title</b>")


def test_a_drawing_follows_the_page_and_is_the_same_each_time():
    picture = draw("curve", 'a "caption" of <it>', (3, 2), simple)
    assert picture == draw("curve", 'a "caption" of <it>', (3, 2), simple)
    assert picture.png.startswith(b"\x89PNG")
    svg = picture.svg
    assert svg.startswith('<svg role="img" aria-label="a &quot;caption&quot; of &lt;it&gt;" ')
    # Axes in the page's colour, data in the palette's or the drawing's own.
    assert "currentColor" in svg and "#010203" not in svg
    assert "&lt;b&gt;title&lt;/b&gt;" in svg
    assert "<metadata" not in svg and "<?xml" not in svg


def test_two_drawings_in_one_page_share_no_id():
    ids = []
    for name in ("one", "two"):
        svg = draw(name, "", (3, 2), simple).svg
        found = re.findall(r'id="([^"]+)"', svg)
        used = re.findall(r"url\(#([^)]+)\)", svg) + re.findall(r'href="#([^"]+)"', svg)
        assert used and set(used) <= set(found)
        ids.append(set(found))
    assert not ids[0] & ids[1]
