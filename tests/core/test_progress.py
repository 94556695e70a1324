"""How far long work is: lines without a terminal; nothing of short work, or on request."""

import re
import time

import pytest

from copygym.core import progress as module
from copygym.core.progress import progress, say, working

DATED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.delenv(module.QUIET, raising=False)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "EVERY", 0.05)


def lines(capsys):
    found = capsys.readouterr().err.splitlines()
    assert all(DATED.match(line) for line in found)
    return [DATED.sub("", line) for line in found]


def test_a_bar_without_a_terminal_is_dated_lines_with_the_time_left(capsys):
    for _ in progress(range(6), "learn", unit="step"):
        time.sleep(0.04)
    said = lines(capsys)
    assert all(
        re.match(r"learn: \d+%, step \d of 6, \d\d:\d\d gone, \d\d:\d\d left", s) for s in said
    )
    assert said[-1].startswith("learn: 100%, step 6 of 6")
    assert len(said) == len(set(said)) > 1


def test_a_bar_that_knows_no_total_tells_what_is_done(capsys):
    with progress(what="read", unit="B", unit_scale=True) as bar:
        for _ in range(3):
            time.sleep(0.06)
            bar.update(2000)
    assert lines(capsys)[-1] == "read: 6.00kB, 00:00 gone"


def test_what_changes_beside_a_bar_makes_no_line(capsys, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    with progress(total=2, what="learn") as bar:
        bar.set_postfix(loss=1.0)
        bar.set_postfix_str("ppo")
    assert lines(capsys) == []


def test_short_work_says_nothing(capsys, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    assert list(progress(range(3), "learn")) == [0, 1, 2]
    with working("fit"):
        pass
    assert lines(capsys) == []


def test_long_work_says_that_it_goes_on_and_how_long_it_took(capsys):
    with working("fit"):
        time.sleep(0.8)  # room for a busy machine
    said = lines(capsys)
    assert said[0] == "fit ..."
    assert "fit: 00:00 gone" in said
    assert said[-1] == "fit: done in 00:00"


def test_a_stage_whose_bar_speaks_needs_no_other_sign_of_life(capsys, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.4)
    with working("fit"):
        for _ in progress(range(24), "trees"):
            time.sleep(0.05)
    assert "fit: 00:00 gone" not in lines(capsys)


def test_work_that_fails_does_not_say_that_it_is_done(capsys):
    with pytest.raises(ZeroDivisionError), working("fit"):
        time.sleep(0.1)
        1 / 0  # noqa: B018
    assert "done" not in "".join(lines(capsys))


@pytest.mark.parametrize(("value", "spoken"), [("1", 0), ("0", 1), ("", 1)])
def test_quiet(capsys, monkeypatch, value, spoken):
    monkeypatch.setenv(module.QUIET, value)
    say("hello")
    with working("fit"):
        time.sleep(0.06)
    list(progress(range(2), "learn"))
    assert bool(lines(capsys)) == bool(spoken)
