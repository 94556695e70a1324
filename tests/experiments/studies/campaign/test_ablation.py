"""E12: what each cell may spend, what its records say, and what the report makes of them."""

import re
from functools import partial

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, joined
from copygym.experiments.studies.campaign import ablation
from copygym.experiments.studies.campaign.ablation import arms, rows_of_world

CLICKS = {"neither": 1.0, "copy": 1.5, "delivery": 2.0, "both": 2.25, "both, twice": 2.75}


@pytest.fixture(scope="module")
def config(composed):
    return partial(composed, "experiment=e12", "tiny=true")


@pytest.fixture(scope="module")
def world(config):
    """The maker of a world's records, in which all have so many clicks more than `CLICKS`."""
    cells = arms(config("learn.steps=1000", "sample_cost=10"))

    def make(seed, more=0.0):
        metrics = ("ctr", "profit_per_user", "unsubscribe_rate", "sends_per_user")
        values = {
            name: {**dict.fromkeys(metrics, 0.5), "clicks_per_user": clicks * (1 + more)}
            for name, clicks in CLICKS.items()
        }
        told = {
            "log": "made up", "agent": "ppo", "budget": 1000, "sample_cost": 10.0, "users": 40,
            "horizon": 28,
            "judge": "The world judges.", "texts": {"100": ["new of " + str(seed)], "0": ["old"]},
        }  # fmt: skip
        return Records(rows_of_world(seed, cells, values).frame, {seed: told})

    return make


def test_copy_delivery_and_both_have_the_same_budget(config):
    settings = config("learn.steps=1000", "sample_cost=10")
    spent = {name: arm.steps + 10 * arm.samples for name, arm in arms(settings).items()}
    assert spent == {
        "neither": 0, "copy": 1000, "delivery": 1000, "both": 1000, "both, twice": 2000,
    }  # fmt: skip


def test_effects_are_differences_in_the_same_world(world):
    records = world(1)

    def gain(policy, versus):
        return records.number("clicks_per_user", policy=policy, versus=versus)["value"]

    assert gain("copy", "neither") == pytest.approx(0.5)
    assert gain("both", "delivery") == pytest.approx(0.25)
    assert gain("both", "copy") == pytest.approx(0.75)
    # 1.75 together, 0.5 + 1.0 alone.
    assert records.number("interaction")["value"] == pytest.approx(0.25)


def test_one_world_is_reported_without_intervals(world):
    report = ablation.report(world(1))
    rows = {row[0]: row[1:] for row in report.table.rows}
    assert list(rows) == list(CLICKS)
    assert rows["both"][:3] == ("50", "500", "2.2")
    assert [row[-1] for row in rows.values()] == ["-", "0.50", "1.0", "1.2", "1.8"]
    assert "without intervals" in report.table.caption and "one world" in report.summary


def test_several_worlds_have_intervals_over_them(world):
    records = joined([world(1), world(2, more=1.0)])
    report = ablation.report(records)
    rows = {row[0]: row[1:] for row in report.table.rows}
    # 1.5 and 3 clicks, of which the interval is over worlds; what is spent has none.
    assert rows["copy"][:3] == ("100", "0", "2.2 [1.5, 3.0]")
    assert rows["copy"][-1] == "0.75 [0.50, 1.00]"
    effects, by_world, copies = report.sections
    assert ("both - delivery", "0.38 [0.25, 0.50]") in effects.tables[0].rows
    assert ("interaction", "0.38 [0.25, 0.50]") in effects.tables[0].rows
    assert by_world.tables[0].rows[1] == ("2", "2.000", "3.000", "4.000", "4.500", "5.500")
    # The log's copy first, and columns of text that wrap.
    assert copies.tables[0].rows[:2] == (("old", "1", "0"), ("new of 1", "1", "100"))
    assert copies.tables[0].texts


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learn.steps=150", "learn.steps=150 is less than two samples of sample_cost=100"),
        ("algorithms.ppo=null", "algorithms is empty"),
        ("references.logging=null", "evaluation.baseline=logging is no policy"),
        ("dataset=coupon", "dataset=coupon: new copy must be judged"),
    ],
)
def test_mistakes_are_found_before_anything_is_learned(config, override, message):
    wrong = config(*([] if override.startswith("dataset") else [override]))
    if override.startswith("dataset"):
        wrong = {**wrong, "data": {"name": "coupon"}}
    with pytest.raises(UserError, match=re.escape(message)):
        ablation.check(wrong)
