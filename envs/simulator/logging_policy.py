"""What chose the actions of a log: how often it sends, and what, as its rows tell."""

from __future__ import annotations

import numpy as np

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.replay import slots_in_window
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.data import FitData
from copygym.envs.simulator.response.encode import EncodedRows
from copygym.envs.simulator.response.outcomes import (
    logging_policy_table,
    send_rate_table,
    with_holds,
)


def estimate_logging_policy(
    rows: EncodedRows,
    catalogue: Catalogue,
    profiles: Profiles,
    population: np.ndarray,
    send_rate_US: np.ndarray | None = None,
) -> np.ndarray:
    """Return (U, S, A) float32 mean probabilities of the logging policy for each user's segment.

    Args:
        rows: of the log, whose users are rows of ``profiles``.
        catalogue: what can be sent.
        profiles: of all users of the log.
        population: (U,) int64 rows of ``profiles`` to return.
        send_rate_US: P(send) in each slot for all users of ``profiles``, the same within a
            segment, for a log without hold rows; None: the rows tell how often nothing was sent.
    """
    names, first, segment = np.unique(profiles.segments, return_index=True, return_inverse=True)
    shape = (len(names), catalogue.n_slots, catalogue.n_actions)
    columns = (segment[rows.user], rows.slot.astype(np.int64), rows.action.astype(np.int64))
    weight = rows.trials.astype(np.float64)
    table_GSA = logging_policy_table(*columns, weight, rows.propensity, shape)
    if send_rate_US is not None:
        table_GSA = with_holds(table_GSA, send_rate_US[first])
    return table_GSA.astype(np.float32)[segment[population]]


def estimate_send_rate(data: FitData) -> tuple[np.ndarray, float] | None:
    """Return how often logging sends, where only the times of the sends can tell it.

    In a log without hold rows, a user had as many decisions in a slot as the slot occurred
    between the log's first row and its last. People of the holdout do not count; people whom
    logging never sent anything are in no row, so that it sends at most as often as this says.

    Returns:
        (U, S) float64 P(send) by segment and slot for all users of ``data.profiles``, and the
        share over all decisions; None where there are hold rows, or no timeline.
    """
    rows = data.rows
    if not data.timeline or not rows.sent.all():
        return None
    assert rows.time is not None
    ours = ~rows.held_out
    user, segment = rows.user[ours], np.unique(data.profiles.segments, return_inverse=True)[1]
    shape = (int(segment.max()) + 1, data.catalogue.n_slots)
    cell = segment[user] * shape[1] + rows.slot[ours]
    sends_GS = np.bincount(cell, rows.trials[ours], shape[0] * shape[1]).reshape(shape)
    users_G = np.bincount(segment[np.unique(user)], minlength=shape[0])
    occurrences = max(slots_in_window(rows.time[ours], data.slot_hours * 3600) / shape[1], 1.0)
    decisions_GS = np.repeat(users_G[:, None] * occurrences, shape[1], axis=1)
    overall = min(float(sends_GS.sum() / decisions_GS.sum()), 1.0)
    return send_rate_table(sends_GS, decisions_GS)[segment], overall
