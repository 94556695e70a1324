"""The state before each row of a log is the one that the simulator's own recursion leads to."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.from_log import places
from copygym.envs.logs.replay import (
    fatigue_before,
    repetitions_before,
    slots_in_window,
    states_before,
    steps_between,
    usual_gap_seconds,
)

HOUR = 3_600_000_000


def test_fatigue_follows_the_recursion_by_hand():
    user = np.array([0, 0, 0, 0, 1])
    steps = np.array([0, 1, 1, 3, 0])
    sent = np.array([True, True, False, True, True])
    # z: 0; 1; .5 + 1; (.5 * 1.5) then two idle slots more; a new user starts at 0.
    expected = [0.0, 1.0, 1.5, 0.75 * 0.25, 0.0]
    assert fatigue_before(user, steps, sent, 0.5) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=2, max_size=12))
def test_a_gap_is_the_same_as_hold_rows_in_it(rows):
    """Rows with gaps against the full timeline with every slot written out."""
    steps = np.array([0, *(s for s, _ in rows[1:])])
    sent = np.array([s for _, s in rows])
    place = np.cumsum(steps)
    dense = np.zeros(place[-1] + 1, dtype=bool)
    dense[place] = sent
    z, out = 0.0, []
    for send in dense:
        out.append(z)
        z = 0.7 * z + send
    user = np.zeros(len(rows), dtype=int)
    assert fatigue_before(user, steps, sent, 0.7) == pytest.approx(np.array(out)[place])


def test_repetitions_count_earlier_sends_of_the_same_creative():
    user = np.array([0, 0, 0, 0, 0, 1])
    creative = np.array([2, 1, -1, 2, 2, 2])
    assert repetitions_before(user, creative, creative >= 0).tolist() == [0, 0, 0, 1, 2, 0]


def test_steps_round_the_time_where_slots_tell_nothing():
    time = np.array([0, 25, 26, 99, 50]) * HOUR
    user = np.array([0, 0, 0, 0, 1])
    slot = np.zeros(5, dtype=int)
    assert steps_between(user, time, slot, 24 * 3600, 1).tolist() == [0, 1, 1, 3, 0]


def test_steps_follow_the_slots_where_sends_come_late_in_them():
    # Slots of six hours; the second decision comes 11.5 hours after the first, one slot later.
    time = (np.array([0.2, 11.7, 12.1, 42.0]) * HOUR).astype(np.int64)
    slot = np.array([0, 1, 2, 3])
    assert steps_between(np.zeros(4, int), time, slot, 6 * 3600, 4).tolist() == [0, 1, 1, 5]


def test_usual_gap_is_the_median_within_users():
    time = np.array([0, 6, 12, 18, 0, 6]) * HOUR
    assert usual_gap_seconds(np.array([0, 0, 0, 0, 1, 1]), time) == 6 * 3600
    assert usual_gap_seconds(np.array([0, 1]), time[:2]) is None


def test_slots_in_a_window_count_the_first_and_the_last():
    hour = 3_600_000_000
    assert slots_in_window(np.array([30, 0, 7]) * hour, 6 * 3600) == 6
    assert slots_in_window(np.array([5 * hour]), 3600) == 1


# ---------------------------------------------------------------- all of the state

SIZES = SimpleNamespace(n_slots=2, n_creatives=2)


def test_states_of_a_log_by_hand():
    """One user sends 0, waits two slots, sends 1 and 0; another's rows lie between his."""
    user = np.array([5, 3, 5, 5, 3])
    time = np.array([0, 0, 3, 4, 1]) * 6 * HOUR
    creative, sent = np.array([0, 1, 1, 0, -1]), np.array([True, True, True, True, False])
    clicks, slot = np.array([1.0, 0.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 0, 1])
    found = states_before(user, creative, sent, clicks, slot, time, SIZES, decay=0.5, slot_hours=6)
    assert found.time.tolist() == [0, 0, 3, 4, 1]
    # z: 1 after the send, halved twice by the holds; then 0.5 * 0.25 + 1.
    assert found.fatigue.tolist() == [0.0, 0.0, 0.25, 1.125, 1.0]
    assert found.since.tolist() == [0, 0, 3, 1, 1]
    assert found.sends.tolist() == [0, 0, 1, 2, 1]
    assert found.clicks.tolist() == [0, 0, 1, 1, 0]
    assert found.last_click.tolist() == [False, False, True, False, False]
    assert found.repetitions_NK.tolist() == [[0, 0], [0, 0], [1, 0], [1, 1], [0, 1]]


def test_an_episode_begins_anew_but_rests_nobody():
    sent, n = np.ones(4, dtype=bool), np.zeros(4, dtype=np.int64)
    found = states_before(n, n, sent, 1.0 + n, n, None, SIZES, decay=0.5, horizon=2)
    assert found.time.tolist() == [0, 1, 0, 1]
    assert found.sends.tolist() == found.since.tolist() == [0, 1, 0, 1]
    assert found.clicks.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert found.last_click.tolist() == [False, True, False, True]
    assert found.repetitions_NK[:, 0].tolist() == [0, 1, 0, 1]
    assert found.fatigue.tolist() == [0.0, 1.0, 1.5, 1.75]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**16), horizon=st.integers(1, 9), log_slots=st.integers(1, 18))
def test_a_replayed_log_has_the_states_of_the_environment(
    make_user_model, seed, horizon, log_slots
):
    """Whatever is sent, the environment's state before each step is the replay's of its log."""
    users = make_user_model(n_users=4, n_channels=1)
    names = users.catalogue.creative_ids
    env = DeliveryVectorEnv(4, users=users, horizon=horizon)
    layout = env.observation_layout["state"]
    observation, _ = env.reset(seed=seed, options={"user": np.arange(4)})
    rng = np.random.default_rng(seed)
    rows, seen, alive = [], [], np.ones(4, dtype=bool)
    for t in range(min(horizon, log_slots)):
        state = env.state
        part = observation[:, layout]
        actions = rng.integers(0, len(names) + 1, 4)
        observation, _, unsubscribed, _, info = env.step(actions)
        outcome = info["outcome"]
        for u in np.flatnonzero(alive):
            rows.append((u, t, outcome.creative[u], outcome.sent[u], outcome.click[u]))
            seen.append(
                (state["t"][u], state["fatigue"][u], *part[u, 3:], *state["repetitions"][u])
            )
        alive &= ~unsubscribed
    order = rng.permutation(len(rows))
    user, t, creative, sent, click = (np.array(column)[order] for column in zip(*rows, strict=True))
    slot = t % users.catalogue.n_slots
    found = states_before(
        user, creative, sent, click * 1.0, slot, t * HOUR, users.catalogue,
        users.dynamics.fatigue_decay, slot_hours=1, horizon=horizon,
    )  # fmt: skip
    since = np.where(found.since > 0, found.since / horizon, 1.0)
    replayed = np.column_stack(
        [
            found.time, found.fatigue, since, found.sends / horizon, found.clicks / horizon,
            found.last_click, found.repetitions_NK,
        ]
    )  # fmt: skip
    np.testing.assert_allclose(replayed, np.array(seen)[order], atol=1e-6)


def test_places_of_names():
    names = pl.Series(["b", None, "a", "other"])
    assert places(names, ("a", "b")).tolist() == [1, -1, 0, -1]
