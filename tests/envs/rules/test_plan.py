"""Plans: no plan that is made ever breaks a rule that the separate check knows."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.envs.rules.lawful import lawful
from copygym.envs.rules.plan import check_plan
from copygym.envs.rules.rules import Rules

MONDAY = datetime(2026, 3, 23, tzinfo=UTC)  # the week at whose end Berlin's clock goes forward
CHANNELS, PRODUCTS = ("email", "push", "sms"), ("shoes", "tea", "pens")
COSTS = {"email": 0.01, "push": 0.02, "sms": 0.1}
PEOPLE = pl.DataFrame(
    {
        "user": [f"u{i}" for i in range(8)],
        "email_ok": ["yes", "no", None, "yes", "yes", "yes", "no", "yes"],
        "sms_ok": [True, True, False, True, None, True, True, True],
        "time_zone": ["Europe/Berlin", "America/New_York", "Asia/Tokyo", None] * 2,
    }
)
sends = st.tuples(
    st.integers(0, 8).map(lambda i: f"u{i}"),  # u8 is a stranger
    st.sampled_from(PRODUCTS),
    st.sampled_from(CHANNELS),
    st.integers(0, 14 * 4).map(lambda n: MONDAY + timedelta(hours=6 * n)),
    st.integers(-1, 6).map(float),
)
cap = st.none() | st.integers(1, 3)
rules = st.builds(
    Rules,
    consent=st.sampled_from([{}, {"email": "email_ok", "sms": "sms_ok", "push": None}]),
    cap_per_day=cap,
    cap_per_week=cap,
    cap_per_campaign=cap,
    quiet_hours=st.sampled_from([None, (21, 8), (13, 15)]),
    holdout=st.sampled_from([0.0, 0.3]),
    costs=st.just(COSTS),
    budget=st.none() | st.floats(0.02, 1.0),
    channel_budget=st.just({}) | st.floats(0.1, 0.5).map(lambda b: {"sms": b}),
)


def frame(rows) -> pl.DataFrame:
    names = ["user", "product", "channel", "send_at", "value"]
    return pl.DataFrame(rows, schema=names, orient="row")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules, st.lists(sends, min_size=1, max_size=40))
def test_no_plan_that_is_made_breaks_a_rule(rules, rows):
    rows = [("u0", *rows[0][1:]), *rows]
    made = lawful(frame(rows), rules, PEOPLE)
    assert check_plan(made.plan, rules, PEOPLE) == ()
    # And nothing of value was left out that could still go: each single addition breaks a rule.
    for wish in set(rows) - set(made.plan.rows()):
        if wish[-1] > 0:
            assert check_plan(frame([*made.plan.rows(), wish]), rules, PEOPLE) != ()


@settings(max_examples=60, deadline=None)
@given(st.lists(sends, min_size=3, max_size=40), st.integers(1, 5), st.permutations(range(3)))
def test_a_floor_is_filled_or_its_gap_is_told(rows, least, order):
    rows = [("u0", name, *row[2:]) for name, row in zip(PRODUCTS, rows, strict=False)] + rows
    rules = Rules(min_exposure={PRODUCTS[order[0]]: least}, cap_per_week=2)
    made = lawful(frame(rows), rules, PEOPLE)
    breaches = check_plan(made.plan, rules, PEOPLE)
    assert {breach.rule for breach in breaches} <= {"min_exposure"}
    assert bool(breaches) == any("min_exposure" in note for note in made.notes)


def test_every_rule_is_found_broken():
    def at(hour, day=0):
        return MONDAY + timedelta(days=day, hours=hour)

    rules = Rules(
        consent={"email": "email_ok", "sms": "sms_ok"}, cap_per_day=1, cap_per_week=2,
        cap_per_campaign=3, quiet_hours=(21, 8), costs=COSTS, budget=0.1,
        channel_budget={"email": 0.045}, min_exposure={"tea": 1},
    )  # fmt: skip
    rows = [
        ("u0", "shoes", "email", at(12), 1.0),
        ("u0", "shoes", "email", at(12), 1.0),  # once, cap_per_day
        ("u0", "shoes", "email", at(12, 1), 1.0),  # cap_per_week (the third of it)
        ("u0", "shoes", "email", at(12, 8), 1.0),  # cap_per_campaign
        ("u1", "shoes", "email", at(12), 1.0),  # consent, channel_budget
        ("u5", "shoes", "sms", at(2), 1.0),  # quiet_hours (22:00 in New York), budget
        ("u9", "shoes", "email", at(12), 1.0),  # person, still counted as spent
        ("u0", "shoes", "push", at(12, 16), 1.0),  # consent: not named
    ]
    found = {(breach.row, breach.rule) for breach in check_plan(frame(rows), rules, PEOPLE)}
    assert {
        (1, "once"), (1, "cap_per_day"), (2, "cap_per_week"), (3, "cap_per_campaign"),
        (4, "consent"), (4, "channel_budget"), (5, "quiet_hours"), (5, "budget"), (6, "person"),
        (7, "consent"), (None, "min_exposure"),
    } <= found  # fmt: skip
    assert not {(0, rule) for rule in ("once", "consent", "budget")} & found
    control = frame(rows).with_columns(control=pl.lit(True))
    assert {b.rule for b in check_plan(control, rules, PEOPLE)} == {"min_exposure"}


def test_the_most_valuable_wishes_go_first_under_one_budget():
    rows = [
        (f"u{i}", "tea", "push", MONDAY + timedelta(hours=12), float(i)) for i in (0, 2, 1, 4, 5)
    ]
    made = lawful(frame(rows), Rules(costs=COSTS, budget=0.05), PEOPLE)
    assert made.plan["user"].to_list() == ["u4", "u5"]


@pytest.mark.parametrize(
    ("rules", "wishes", "says"),
    [
        (Rules(min_exposure={"cars": 3}), {}, "unknown product of min_exposure 'cars'"),
        (Rules(costs={"post": 1.0}, budget=2.0), {}, "unknown channel with a cost"),
        (Rules(), {"value": float("nan")}, "row 1 has no value"),
        (Rules(), {"send_at": None}, "give dates with times"),
        (Rules(), {"user": "stranger"}, "none of them is for one of the people"),
    ],
)
def test_wishes_that_make_no_plan_are_refused(rules, wishes, says):
    row = {"user": "u0", "product": "tea", "channel": "push", "send_at": MONDAY, "value": 1.0}
    with pytest.raises(UserError, match=re.escape(says)):
        lawful(pl.DataFrame([row | wishes]), rules, PEOPLE)
