"""Clicks that come later: sends that have waited less are not taken for refusals."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.simulator.delay import Delay, mean_delay

HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def sends():
    """Sends over two days, of which three in ten are clicked, after a day on average."""
    rng = np.random.default_rng(0)
    time = rng.integers(0, 48 * HOUR, 40_000)
    delay = rng.exponential(24.0, len(time))
    waited = (48 * HOUR - time) / HOUR
    clicked = (rng.random(len(time)) < 0.3) & (delay <= waited)
    return time, delay, waited, clicked


def test_weighted_clicks_are_as_many_as_will_come(sends):
    time, _, _, clicked = sends
    weights = Delay(24.0, 48 * HOUR).weights(time)
    old = weights > 0
    assert clicked.mean() < 0.2
    assert (weights * clicked)[old].mean() == pytest.approx(0.3, abs=0.015)
    assert weights.max() <= 20


def test_the_mean_delay_is_not_that_of_the_clicks_that_are_there(sends):
    _, delay, waited, clicked = sends
    assert delay[clicked].mean() < 15
    assert mean_delay(delay[clicked], waited[clicked]) == pytest.approx(24.0, rel=0.1)


def test_where_all_have_waited_long_it_is_the_mean():
    delay = np.random.default_rng(1).exponential(2.0, 5000)
    assert mean_delay(delay, np.full(5000, 500.0)) == pytest.approx(delay.mean(), rel=1e-3)


@pytest.mark.parametrize(("delay", "waited", "said"), [
    ([], [], "no click has a time"),
    ([5.0], [3.0], "came 5 hours after its send, of which 3 have passed"),
])  # fmt: skip
def test_clicks_that_tell_no_delay_are_refused(delay, waited, said):
    with pytest.raises(UserError, match=re.escape(said)):
        mean_delay(np.array(delay), np.array(waited))


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(UserError, match="the mean is 0"):
        Delay(0, 0)
