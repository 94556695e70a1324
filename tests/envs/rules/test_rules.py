"""Rules of the real world: what they forbid, and what they refuse to be."""

import re
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.rules.rules import Rules

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
PEOPLE = pl.DataFrame(
    {
        "user": ["a", "b", "c", "d"],
        "email_ok": ["yes", "no", "TRUE", None],
        "time_zone": ["Europe/Berlin", "America/New_York", "Asia/Tokyo", None],
    }
)


def test_consent_is_by_channel_and_silence_is_no():
    rules = Rules(consent={"email": "email_ok", "post": None})
    allowed = rules.allowed(PEOPLE, [NOON], ["email", "post", "sms"])
    assert allowed[:, 0, 0].tolist() == [True, False, True, False]
    assert allowed[:, 0, 1].all()
    assert not rules.allowed(PEOPLE, [NOON], ["email", "post", "sms"])[:, 0, 2].any()


def test_quiet_hours_are_local_and_go_over_midnight():
    # Noon UTC in summer: 14:00 in Berlin, 8:00 in New York, 21:00 in Tokyo; the fourth has no zone.
    rules = Rules(quiet_hours=(21, 8))
    assert rules.awake(PEOPLE, [NOON])[:, 0].tolist() == [True, True, False, False]
    assert Rules(quiet_hours=(13, 15)).awake(PEOPLE, [NOON])[:2, 0].tolist() == [False, True]
    # In winter Berlin's clock is an hour behind.
    winter = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    assert not Rules(quiet_hours=(13, 14)).awake(PEOPLE, [winter])[0, 0]


def test_the_holdout_is_stable_keyed_and_of_its_share():
    users = pl.Series([f"user-{i}" for i in range(20_000)])
    held = Rules(holdout=0.1).held_out(users)
    assert abs(held.mean() - 0.1) < 0.01
    assert (Rules(holdout=0.1).held_out(users[::-1])[::-1] == held).all()
    assert held[Rules(holdout=0.05).held_out(users)].all()
    other = Rules(holdout=0.1, holdout_key="other").held_out(users)
    assert abs((held & other).mean() - 0.01) < 0.004


def test_a_blocklist_is_counted_with_those_whom_nobody_knows(tmp_path):
    (tmp_path / "never.txt").write_text("b\nnobody\n")
    (tmp_path / "rules.yaml").write_text("blocklist: never.txt\ncap_per_week: 2\n")
    rules = Rules.read(tmp_path / "rules.yaml")
    assert rules.reachable(PEOPLE).tolist() == [True, False, True, True]
    assert rules.notes(PEOPLE) == (
        "1 people are on the blocklist; 1 of its ids are nobody's here.",
    )
    (tmp_path / "rules.json").write_text('{"cap_per_week": 2}')
    assert Rules.read(tmp_path / "rules.json").cap_per_week == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cap_per_day": 0}, "cap_per_day is 0"),
        ({"cap_per_week": -1}, "cap_per_week is -1"),
        ({"cap_per_campaign": True}, "cap_per_campaign is True"),
        ({"budget": 0.01, "costs": {"email": 0.02}}, "nothing could be sent"),
        ({"budget": 1.0}, "a budget needs costs"),
        ({"channel_budget": {"fax": 1.0}, "costs": {"email": 0.1}}, "'fax'"),
        ({"quiet_hours": (8, 8)}, "two different local hours"),
        ({"quiet_hours": (25, 8)}, "two different local hours"),
        ({"holdout": 1.0}, "holdout is 1.0"),
        ({"min_exposure": {"shoes": -3}}, "min_exposure of 'shoes' is -3"),
        ({"consent": "email"}, "give a mapping"),
    ],
)
def test_an_impossible_rule_is_refused_in_a_sentence(given, says):
    with pytest.raises(UserError, match=re.escape(says)):
        Rules(**given)


@pytest.mark.parametrize(
    ("rules", "people", "says"),
    [
        (Rules(consent={"email": "opted"}), PEOPLE, "unknown column of consent 'opted'"),
        (Rules(consent={"fax": "email_ok"}), PEOPLE, "unknown channel of consent 'fax'"),
        (
            Rules(consent={"email": "time_zone"}),
            PEOPLE,
            "row 1 of 'time_zone' is 'Europe/Berlin', which is neither yes nor no",
        ),
        (
            Rules(quiet_hours=(21, 8)),
            PEOPLE.with_columns(time_zone=pl.lit("Mars/Olympus")),
            "'Mars/Olympus', which is no time zone",
        ),
        (Rules(), PEOPLE.with_columns(user=pl.lit("a")), "comes twice"),
        (Rules(), PEOPLE.drop("user"), "no column user"),
    ],
)
def test_people_whom_the_rules_do_not_fit_are_refused(rules, people, says):
    with pytest.raises(UserError, match=re.escape(says)):
        rules.allowed(people, [NOON], ["email"])


@pytest.mark.parametrize(
    ("text", "says"),
    [("cap_per_wek: 2", "unknown rule"), ("- 1", "holds no rules"), ("{", "no YAML file of rules")],
)
def test_a_file_that_holds_no_rules_is_named(tmp_path, text, says):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        Rules.read(path)
    assert str(path) in str(caught.value)


def test_allowed_has_a_row_a_person_a_slot_and_a_channel():
    allowed = Rules().allowed(PEOPLE, [NOON, NOON], ["email", "push", "sms"])
    assert allowed.shape == (4, 2, 3)
    assert allowed.dtype == np.bool_
    assert allowed.all()
