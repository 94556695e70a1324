"""Options that commands share: what is refused in a sentence, and what is read."""

import argparse

import pytest

from copygym.core.errors import UserError
from copygym.experiments.option_values import number, share, whole
from copygym.experiments.options import (
    add_json,
    add_number,
    add_seed,
    add_value,
    add_wandb,
    command_parser,
    print_result,
)


def parsed(add, *words):
    parser = command_parser("copygym try", "", "")
    add(parser)
    return parser.parse_args(words)


def test_a_whole_number_below_the_least_is_refused_by_its_option():
    def add(parser):
        add_number(parser, "users", "how many", 1, 5)

    assert parsed(add).users == 5
    assert parsed(add, "--users", "1").users == 1
    for text in ("0", "many", "1.5"):
        with pytest.raises(UserError, match=rf"^--users={text}: give a whole number of 1 or"):
            parsed(add, f"--users={text}")


def test_a_seed_is_0_or_more():
    assert parsed(lambda parser: add_seed(parser, "of luck")).seed == 0
    with pytest.raises(UserError, match=r"^--seed=-1: give a whole number of 0 or more.$"):
        parsed(lambda parser: add_seed(parser, "of luck"), "--seed=-1")


def test_an_option_says_what_its_reader_says():
    def add(parser):
        add_value(parser, "--level", share, default="50%")

    # A default in words is read as what is given is.
    assert parsed(add).level == 0.5
    with pytest.raises(UserError, match=r"^--level=1: it must lie between 0 and 1 "):
        parsed(add, "--level=1")


def test_numbers_are_read_as_people_write_them():
    assert number("12.5%", "--lift") == 0.125
    assert number(" -3e2", "--lift") == -300
    assert whole(0)("1e6", "--users") == 1_000_000
    assert whole(0)("9007199254740991", "--users") == 2**53 - 1
    for text in ("nan", "inf", "a half", ""):
        with pytest.raises(UserError, match=f"^--lift={text}: give a number or a percentage"):
            number(text, "--lift")
    for text in ("1.5", "1_000", "1,000", "nan", "1e999"):
        with pytest.raises(UserError, match=f"^--users={text}: give a whole number of 2 or more"):
            whole(2)(text, "--users")
    with pytest.raises(UserError, match="at most 9,007,199,254,740,991"):
        whole(0)("9007199254740992", "--users")


def test_w_and_b_is_where_the_user_or_the_environment_says(monkeypatch):
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    assert vars(parsed(add_wandb)) == {"entity": None, "project": "ours", "group": None}
    assert parsed(add_wandb, "--project=mine").project == "mine"


def test_a_result_is_printed_as_text_or_as_strict_json(capsys):
    result = {"b": float("nan"), "a": 1}
    print_result(result, "words\n", argparse.Namespace(json=False))
    assert capsys.readouterr().out == "words\n"
    print_result(result, "words\n", parsed(add_json, "--json"))
    assert capsys.readouterr().out == '{\n  "b": null,\n  "a": 1\n}\n'
