"""Which arm is the control, and names that are no arm of their own."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.arms import choose, is_total, refuse_totals


@pytest.mark.parametrize(
    ("names", "control"),
    [
        (["1", "0"], "0"),
        (["1.0", "0.0"], "0.0"),
        (["0.5", "0.25"], "0.25"),
        (["B", "A"], "A"),
        (["v10", "v2"], "v2"),
        (["true", "false"], "false"),
        (["Variant", "CONTROL"], "CONTROL"),
        (["new", "control_v2"], "control_v2"),
        (["holdout", "a", "control"], "control"),
        (["a", "holdout"], "holdout"),
        (["a", "baseline"], "baseline"),
        (["a", "Original"], "Original"),
        (["a", "Kontrollgruppe"], "Kontrollgruppe"),
        (["new", "old"], "old"),
        (["New subject line", "Old subject line"], "Old subject line"),
        (["Neue Betreffzeile", "Alte Betreffzeile"], "Alte Betreffzeile"),
        (["A new way to old friends", "Better than old ways"], "A new way to old friends"),
        (["Mens E-Mail", "No E-Mail"], "No E-Mail"),
        # A copy that holds such a word is no control.
        (["Hold on to summer", "Act now"], "Act now"),
        (["Our original recipe is back", "Act now"], "Act now"),
    ],
)
def test_the_control_is_the_one_called_so_or_the_first_in_order(names, control):
    for order in (names, names[::-1]):
        found = choose(order, None, "x")
        assert found.names[0] == control and sorted(found.names) == sorted(names)
        assert found.why in ("by its name", "the first in order, as no arm is called control")


def test_a_named_control_is_found_and_said():
    assert choose(["a", "b"], "b", "x").names == ("b", "a")
    assert choose(["a", "b"], "B ", "x").why == "as you named it"
    with pytest.raises(UserError, match=re.escape("x has no arm 'z'; it has a, b")):
        choose(["a", "b"], "z", "x")


@pytest.mark.parametrize(
    "pair",
    [
        ("Control", "control"),
        ("new text", "new_text"),
        ("new  text", "new text"),
        ("a\u200b", "a"),
        ("\uff21", "A"),
        ("1", "01"),
        ("1", "1.0"),
        ("cafe\u0301", "caf\u00e9"),
        # A Cyrillic letter that looks like a Latin one.
        ("\u0421ontrol", "Control"),
    ],
)
def test_names_that_are_one_to_the_eye_are_refused(pair):
    with pytest.raises(UserError, match="differ in case, blanks or signs only") as caught:
        choose([*pair, "other"], None, "x")
    assert all(repr(name) in str(caught.value) for name in pair)


def test_names_that_differ_are_not():
    names = ["1", "-1", "10", "v1", "v2", "b", "B2", "new", "new2"]
    assert sorted(choose(names, None, "x").names) == sorted(names)


@pytest.mark.parametrize("name", ["nan", "NULL", "(not set)", "N/A", "undefined"])
def test_a_name_that_says_that_there_is_no_arm_is_refused(name):
    with pytest.raises(UserError, match="says that there is no arm"):
        choose(["a", "b", name], None, "x")


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("Total", True),
        ("TOTALS", True),
        ("Grand Total", True),
        ("Total: campaign", True),
        ("-- Total --", True),
        ("Sum", True),
        ("Summe", True),
        ("Gesamtergebnis", True),
        ("Total Wellness", False),
        ("Summer", False),
        ("Summary", False),
        ("all", False),
    ],
)
def test_labels_of_sums(name, total):
    assert is_total(name) is total


def test_an_arm_that_has_the_sums_of_all_others_is_none():
    def where(name):
        return f"x, row of {name}"

    counts = {"impressions": np.array([100, 90, 190]), "clicks": np.array([5, 6, 11])}
    with pytest.raises(UserError, match=re.escape("x, row of --: arm '--' has as many impr")):
        refuse_totals(["a", "b", "--"], counts, where)
    refuse_totals(["a", "b", "--"], counts, where, planned=["a", "b", "--"])
    refuse_totals(["a", "b", "c"], {**counts, "clicks": np.array([5, 6, 12])}, where)
    # Two equal arms are no sums of each other.
    refuse_totals(["a", "b"], {"impressions": np.array([5, 5])}, where)
    with pytest.raises(UserError, match="'Total' is a row of sums by its name"):
        refuse_totals(["a", "Total"], {}, where)
