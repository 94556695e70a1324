"""Fatigue and repetitions of every log row, by the same recursion that moves simulated users."""

from __future__ import annotations

import numpy as np
from numba import njit


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

    The recursion of `copygym.envs.people.model.Dynamics`, ``z <- decay * z + sent`` once per slot,
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
