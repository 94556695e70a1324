"""The state before each row of a log, by the same recursion that moves simulated users.

What a user's earlier rows lead to (fatigue, repetitions, sends, clicks, the time since) is what an
environment would have shown at that row, so that responses can be fitted on it and agents and
simulators asked about it. Axes: N rows, K creatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from copygym.envs.logs.catalogue import Catalogue


@dataclass(frozen=True)
class States:
    """What the earlier rows of its user lead to at each of N rows, in the log's order.

    Attributes:
        time: (N,) int64 slots since the episode began.
        fatigue: (N,) float64; an episode's beginning does not rest anybody.
        since: (N,) int64 slots since the last send of the episode, 0 where there was none.
        sends: (N,) int64 earlier rows of the episode in which something was sent.
        clicks: (N,) float64 in the episode's earlier rows.
        last_click: (N,) bool, whether the episode's previous row had a click.
        repetitions_NK: (N, K) int32 earlier sends of each creative in the episode.
    """

    time: np.ndarray
    fatigue: np.ndarray
    since: np.ndarray
    sends: np.ndarray
    clicks: np.ndarray
    last_click: np.ndarray
    repetitions_NK: np.ndarray


def states_before(
    user: np.ndarray,
    creative: np.ndarray,
    sent: np.ndarray,
    clicks: np.ndarray,
    slot: np.ndarray,
    time_us: np.ndarray | None,
    catalogue: Catalogue,
    decay: float,
    *,
    slot_hours: float | None = None,
    horizon: int | None = None,
) -> States:
    """Return the state before each row of a log.

    Args:
        user: (N,) int64, rows in any order.
        creative: (N,) int64 in the catalogue; another number (-1) counts as none of them.
        sent: (N,) bool.
        clicks: (N,) float64.
        slot: (N,) int64.
        time_us: (N,) int64 microseconds; None: the rows are in order of time, one a slot.
        catalogue: tells the numbers of slots and creatives.
        decay: share of fatigue left after one slot.
        slot_hours: length of a slot; None: as `length_of_slot` finds it.
        horizon: slots of an episode, which a user's rows are cut into; None: all are one.
    """
    order = np.argsort(user, kind="stable") if time_us is None else np.lexsort((time_us, user))
    u, s, x, k = user[order], sent[order], clicks[order], creative[order]
    new = np.diff(u, prepend=-1) != 0
    if time_us is None:
        steps = 1 - new.astype(np.int64)
    else:
        time, n_slots = time_us[order], catalogue.n_slots
        hours = slot_hours or length_of_slot(u, time, s, n_slots)
        steps = steps_between(u, time, slot[order], hours * 3600, n_slots)
    walked = np.cumsum(steps)
    elapsed = walked - _of_first(walked, new)
    if horizon is not None:
        # The simulator's episodes: one every ``horizon`` slots of a user.
        new = new | (np.diff(elapsed // horizon, prepend=0) != 0)
    rows = np.arange(len(u))
    last_send = np.maximum.accumulate(np.where(s, rows, -1))
    last_send = np.concatenate([[-1], last_send[:-1]])
    any_send = last_send >= _of_first(rows, new)
    back = np.empty_like(order)
    back[order] = rows
    repetitions_NK = np.empty((len(u), catalogue.n_creatives), dtype=np.int32)
    for index in range(catalogue.n_creatives):
        repetitions_NK[order, index] = _sum_before((s & (k == index)).astype(np.int64), new)
    return States(
        time=(elapsed if horizon is None else elapsed % horizon)[back],
        fatigue=fatigue_before(u, steps, s, decay)[back],
        since=np.where(any_send, walked - walked[last_send], 0)[back],
        sends=_sum_before(s.astype(np.int64), new)[back],
        clicks=_sum_before(x, new)[back],
        last_click=(~new & np.concatenate([[False], x[:-1] > 0]))[back],
        repetitions_NK=repetitions_NK,
    )


def _of_first(values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return (N,) the value at the first row of each row's episode, where ``new`` is True."""
    first = np.flatnonzero(new)
    return np.repeat(values[first], np.diff([*first, len(values)]))


def _sum_before(values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return (N,) the sum of the values of the episode's earlier rows."""
    total = np.cumsum(values) - values
    return total - _of_first(total, new)


def length_of_slot(user: np.ndarray, time_us: np.ndarray, sent: np.ndarray, n_slots: int) -> float:
    """Return the hours that a slot lasts.

    The usual gap between a user's rows where the log records decisions to hold; else the day
    divided by the number of slots.

    Args:
        user: (N,) int, rows sorted by user, then time.
        time_us: (N,) int64 microseconds.
        sent: (N,) bool.
        n_slots: S.
    """
    usual = None if sent.all() else usual_gap_seconds(user, time_us)
    return usual / 3600 if usual else 24.0 / n_slots


def steps_between(
    user: np.ndarray, time_us: np.ndarray, slot: np.ndarray, slot_seconds: float, n_slots: int
) -> np.ndarray:
    """Return (N,) int64: slots that passed since the user's previous row, at least 1; 0 at first.

    Where the log's slots follow each other in time, the number is known up to a multiple of S, and
    the time only has to tell that multiple: a send late in its slot then counts right. Elsewhere
    the time is rounded to whole slots.

    Args:
        user: (N,) int, rows sorted by user, then time.
        time_us: (N,) int64 microseconds.
        slot: (N,) int.
        slot_seconds: length of one slot.
        n_slots: S.
    """
    steps = np.zeros(len(user), dtype=np.int64)
    gap = np.diff(time_us) / (slot_seconds * 1e6)
    same = user[1:] == user[:-1]
    passed = np.rint(gap)
    ahead = np.mod(np.diff(slot.astype(np.int64)), n_slots)
    by_slot = np.maximum(ahead + n_slots * np.rint((gap - ahead) / n_slots), ahead)
    if n_slots > 1 and same.any() and np.mean(np.abs(by_slot - gap)[same] <= 1.0) > 0.95:
        passed = by_slot
    # Two rows are two decisions, so at least one slot lies between them.
    steps[1:] = np.where(same, np.maximum(passed, 1), 0)
    return steps


def usual_gap_seconds(user: np.ndarray, time_us: np.ndarray) -> float | None:
    """Return the median time between consecutive rows of a user; None where nobody has two.

    Rows are sorted by user, then time. In a log that records every decision, hold included, this
    is the length of a slot.
    """
    gap = np.diff(time_us)[user[1:] == user[:-1]]
    gap = gap[gap > 0]
    return float(np.median(gap)) / 1e6 if len(gap) else None


def slots_in_window(time_us: np.ndarray, slot_seconds: float) -> int:
    """Return the number of slots from the first to the last row, both included; at least 1.

    Args:
        time_us: (N,) int64 microseconds, in any order.
        slot_seconds: length of one slot.
    """
    return int(np.rint((time_us.max() - time_us.min()) / (slot_seconds * 1e6))) + 1


def fatigue_before(
    user: np.ndarray, steps: np.ndarray, sent: np.ndarray, decay: float
) -> np.ndarray:
    """Return (N,) float64: fatigue z at each row, before its own send.

    The recursion of `envs.people.dynamics.Dynamics`, ``z <- decay * z + sent`` once per slot,
    with nothing sent in the slots between two rows: ``z_i = decay^(steps_i - 1) * (decay * z_j +
    sent_j)`` where j is the user's previous row, and 0 at the user's first row.

    Args:
        user: (N,) int, rows sorted by user, then time.
        steps: (N,) int64 from `steps_between`.
        sent: (N,) bool.
        decay: share of fatigue left after one slot.
    """
    out = np.zeros(len(user))
    _fatigue(np.asarray(user, dtype=np.int64), steps, sent, decay, out)
    return out


@njit(cache=True)
def _fatigue(user, steps, sent, decay, out):  # type: ignore[no-untyped-def]
    for i in range(1, user.size):
        if user[i] == user[i - 1]:
            after = decay * out[i - 1] + (1.0 if sent[i - 1] else 0.0)
            out[i] = after * decay ** (steps[i] - 1)


def repetitions_before(user: np.ndarray, creative: np.ndarray, sent: np.ndarray) -> np.ndarray:
    """Return (N,) int64: earlier sends of the row's creative to its user; 0 where nothing is sent.

    Args:
        user: (N,) int, rows sorted by user, then time.
        creative: (N,) int; ignored where nothing is sent.
        sent: (N,) bool.
    """
    out = np.zeros(len(user), dtype=np.int64)
    rows = np.flatnonzero(sent)
    key = user[rows].astype(np.int64) * (int(creative.max(initial=0)) + 1) + creative[rows]
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    run = np.repeat(np.arange(len(first)), np.diff([*first, len(ordered)]))
    out[rows[order]] = np.arange(len(ordered)) - first[run]
    return out
