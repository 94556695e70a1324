import re
import time

import numpy as np
import pytest

from copygym.agents.copywriter.training.budget import Meter, Spent
from copygym.core.errors import UserError


def ones(texts, rows):
    return np.ones(len(texts))


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_bills_add_up():
    total = Spent(1, 20, 30, 0.5) + Spent(samples=4, trained=6, cpu_seconds=1.0)

    assert total == Spent(samples=5, generated=20, trained=36, cpu_seconds=1.5)
    assert total.tokens == 56


def test_a_bill_survives_json():
    spent = Spent(3, 1, 2, 0.1 + 0.2)

    assert Spent.from_dict(spent.to_dict()) == spent


def test_the_meter_counts_cpu_seconds_inside_the_block_only():
    meter = Meter()
    burn(0.05)
    with meter:
        burn(0.1)
        inside = meter.spent.cpu_seconds
    burn(0.05)

    assert 0.1 <= inside <= meter.spent.cpu_seconds < 0.15


def test_nested_entries_count_once_and_a_second_entry_goes_on():
    meter = Meter()
    with meter, meter:
        burn(0.05)
    with meter:
        burn(0.05)

    assert 0.1 <= meter.spent.cpu_seconds < 0.15


def test_sleep_is_not_work():
    with Meter() as meter:
        time.sleep(0.1)

    assert meter.spent.cpu_seconds < 0.05


def test_scoring_charges_one_sample_a_text(rows):
    meter = Meter(10)
    scores, terms = meter.score(ones, ["a", "b"], rows.take([0, 1]))

    assert scores.tolist() == [1.0, 1.0]
    assert terms == {}
    assert meter.spent.samples == 2
    assert meter.left == 8


def test_a_meter_takes_up_an_earlier_bill(rows):
    meter = Meter(10, start=Spent(samples=9))

    assert meter.left == 1


def test_the_budget_cannot_be_exceeded(rows):
    meter = Meter(1)
    with pytest.raises(RuntimeError, match=re.escape("2 samples asked for with 1 of 1 left")):
        meter.score(ones, ["a", "b"], rows.take([0, 1]))

    assert meter.spent.samples == 0


def test_a_refused_answer_is_not_charged(rows):
    meter = Meter(5)
    with pytest.raises(UserError, match="must return one number for each"):
        meter.score(lambda texts, rows: np.ones(3), ["a"], rows.take([0]))

    assert meter.spent.samples == 0


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(UserError, match=re.escape("the budget is 0 samples; give at least 1.")):
        Meter(0)
