"""The drift alarm: false at most as often as it says, and it rings."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.abtest.drift import DriftAlarm, residual_sums

ROUNDS, GROUPS, SENDS, RATE = 12, 6, 300, 0.06


def watched(rng, shift):
    """Return the alarm after some rounds of a model that is off by a constant, and then drifts."""
    alarm = DriftAlarm(0.05)
    for index in range(ROUNDS):
        rate = RATE + shift * (index >= ROUNDS // 2)
        clicks = rng.binomial(SENDS, rate, GROUPS)
        # The model says .03 of everybody: wrong, but always the same.
        squares = clicks * 0.97**2 + (SENDS - clicks) * 0.03**2
        alarm.update(clicks - 0.03 * SENDS, np.full(GROUPS, float(SENDS)), squares)
    return alarm


def test_a_wrong_but_constant_model_rings_no_alarm():
    rng = np.random.default_rng(0)
    false = np.mean([watched(rng, 0.0).alarm is not None for _ in range(1500)])
    assert false <= 0.05


def test_a_change_is_found_after_it_came():
    rng = np.random.default_rng(1)
    alarms = [watched(rng, 0.04).alarm for _ in range(100)]
    found = [alarm for alarm in alarms if alarm is not None]
    assert len(found) >= 90
    assert np.mean([alarm > ROUNDS // 2 for alarm in found]) > 0.9


def test_two_rounds_give_the_likelihood_ratio_by_hand():
    alarm = DriftAlarm(0.05)
    one, zero = np.array([100.0]), np.array([0.0])
    assert alarm.update(zero, one, np.array([10.0])) == 0.0
    # v = 20 / 200, m = .1 against 0: z^2 = .01 / (.1 * .02) = 5.
    got = alarm.update(np.array([10.0]), one, np.array([10.0]))
    assert got == pytest.approx(0.5 * 5 / 2 - 0.5 * np.log(2))


def test_rows_of_one_person_are_added_up_before_they_are_squared():
    user, group = np.array([3, 3, 4, 3]), np.array([0, 0, 0, 1])
    sums, n, squares = residual_sums(user, group, 2, np.ones(4), np.array([1.0, 1.0, -1.0, 0.5]))
    assert sums.tolist() == [1.0, 0.5]
    assert n.tolist() == [3.0, 1.0]
    assert squares.tolist() == [5.0, 0.25]


@pytest.mark.parametrize(("options", "said"), [
    ({"alpha": 0.0}, "alpha is 0.0; it must lie in (0, 1)"),
    ({"spread": 0.0}, "spread is 0.0; it must be above 0"),
])  # fmt: skip
def test_settings_that_could_never_ring_are_refused(options, said):
    with pytest.raises(UserError, match=re.escape(said)):
        DriftAlarm(**options)
