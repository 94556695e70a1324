import pytest

from copygym.experiments.report.tables import Table, interval, number


def test_text_is_aligned_and_markdown_escapes_bars():
    table = Table(("policy", "CTR"), (("a|b", "1.0"), ("long name", "12.0")))
    assert table.to_text().splitlines() == [
        "policy      CTR",
        "---------  ----",
        "a|b         1.0",
        "long name  12.0",
    ]
    assert "| a\\|b | 1.0 |" in table.to_markdown()


@pytest.mark.parametrize(
    ("estimate", "unit", "expected"),
    [
        ({"value": 0.0312, "low": 0.0301, "high": 0.0323}, "%", "3.12 [3.01, 3.23]"),
        ({"value": 2.0, "low": 1.0, "high": 3.0}, "", "2.0 [1.0, 3.0]"),
        ({"value": 1234.0, "low": 1200.0, "high": 1260.0}, "", "1234 [1200, 1260]"),
        ({"value": None, "low": None, "high": None}, "", "-"),
        ({"value": 1.0, "low": 1.0, "high": 1.0}, "", "1.0 [1.0, 1.0]"),
        ({"value": 0.5, "low": 0.5, "high": 0.5 + 2e-16}, "%", "50 [50, 50]"),
        ({"value": 0.0, "low": 0.0, "high": 1e-17}, "", "0.00 [0.00, 0.00]"),
    ],
)
def test_intervals_show_two_digits_of_their_width(estimate, unit, expected):
    assert interval(estimate, unit) == expected


def test_numbers():
    assert number(12345.6) == "12,346"
    assert number(0.012345) == "0.0123"
    assert number(None) == "-"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 1 cells"):
        Table(("a", "b"), (("x",),))
