"""Delivery agents judged off-policy: what an agent of a run would have done in a log's decisions.

An agent is shown each logged decision as its environment would have shown it: the user's profile
as the run's fit makes it, the slot, and the state that the log's earlier rows of the user lead to
(fatigue, repetitions, sends, clicks). Its answer is a probability for each action, so that every
agent of the protocol can be judged, whatever library it comes from.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import polars as pl

from copygym.agents.delivery.base import Agent
from copygym.core.errors import UserError
from copygym.core.text.plain import printable
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.kernel import STATE_NAMES
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.envs.simulator.response.timeline import (
    fatigue_before,
    steps_between,
    usual_gap_seconds,
)
from copygym.evaluation.ope.decisions import Decisions
from copygym.evaluation.ope.estimates import PerRow
from copygym.evaluation.ope.policies import Target, target

#: Rows shown to an agent at once.
_CHUNK = 8192


@dataclass(frozen=True)
class _History:
    """What the log's earlier rows of its user make of each decision, (N,) or (N, K)."""

    time: np.ndarray  #: int64 slots since the episode began
    slot: np.ndarray  #: int64
    fatigue: np.ndarray  #: float64
    since: np.ndarray  #: float64 slots since the last send, 0 where there was none
    sends: np.ndarray  #: float64 in this episode
    clicks: np.ndarray  #: float64 in this episode
    last_click: np.ndarray  #: float64
    repetitions_NK: np.ndarray  #: float64 sends of each creative in this episode


def agent_target(
    log: Decisions,
    fitted: FittedUsers,
    agent: Agent,
    horizon: int,
    past: ClickLog | None,
    name: str,
    note: str = "",
) -> Target:
    """Return what an agent would have done in each decision of a log.

    Args:
        log: decisions on the creatives and channels of the fit.
        fitted: the simulated users that the agent learned on.
        agent: any delivery agent.
        horizon: of the environment that it learned in.
        past: what profiles may be made from, up to the fit's cut; None: the log of the decisions.
        name: for tables.
        note: how it came about.

    Raises:
        UserError: the log does not fit the agent.
    """
    chances, arms = propensities(log, fitted, agent, horizon, past)
    place = {arm: index for index, arm in enumerate(log.arms)}
    wide = np.zeros((len(log), len(log.arms)))
    strange = []
    for index, arm in enumerate(arms):
        if arm in place:
            wide[:, place[arm]] = chances[:, index]
        elif chances[:, index].any():
            strange.append(arm)
    outside = float(np.average(np.maximum(1.0 - wide.sum(axis=1), 0.0), weights=log.sizes))
    return target(log, name, PerRow(wide), outside if strange else 0.0, tuple(strange[:3]), note)


def propensities(
    log: Decisions,
    fitted: FittedUsers,
    agent: Agent,
    horizon: int,
    past: ClickLog | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an agent's probabilities (N, A) in each decision, and the names of its A actions.

    Args:
        log: N decisions.
        fitted: the simulated users that the agent learned on.
        agent: any delivery agent.
        horizon: of the environment that it learned in; a user's rows are cut into episodes of it.
        past: what profiles may be made from; None: the log of the decisions.
    """
    from tqdm import tqdm

    catalogue = fitted.users.catalogue
    arms = _action_names(log, catalogue)
    profiles, person = _people(log, fitted, past or log.log)
    history = _history(log, fitted, horizon, person)
    chances = np.empty((len(log), catalogue.n_actions))
    with tqdm(total=len(log), desc=f"ask {printable(agent.name)}", unit="row", disable=None) as bar:
        for start in range(0, len(log), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(log)))
            observation = _observations(profiles, person, history, fitted, horizon, rows)
            mask = np.ones((len(observation), catalogue.n_actions), dtype=bool)
            state, asked = None, agent
            if agent.privileged:
                people, local = np.unique(person[rows], return_inverse=True)
                # A copy for each part: an agent may keep the people that it was bound to first.
                asked = copy(agent)
                asked.bind(simulate(fitted, profiles.take(people)))
                state = _state(history, catalogue, local, rows, mask)
            chances[rows] = asked.propensities(observation, mask, state)
            bar.update(len(observation))
    return chances, arms


def _action_names(log: Decisions, catalogue: Catalogue) -> tuple[str, ...]:
    channels = any("@" in arm for arm in log.arms)
    if channels and catalogue.n_channels == 1:
        raise UserError(
            f"{log.log.source or log.log.name}: the log has several channels and the agent knows "
            f"{catalogue.channels[0]} alone; give the rows of that channel."
        )
    names = catalogue.action_names if channels else (HOLD, *catalogue.creative_ids)
    if len(names) != catalogue.n_actions:
        raise UserError(
            f"the agent knows the channels {', '.join(catalogue.channels)} and the log one; give "
            "a log with all of them."
        )
    if not set(names) & set(log.arms):
        raise UserError(
            f"{log.log.source or log.log.name}: none of its arms ({', '.join(log.arms[:3])}) is "
            f"known to the agent ({', '.join(names[:3])}); give a log of the same creatives."
        )
    return names


def _people(log: Decisions, fitted: FittedUsers, past: ClickLog) -> tuple[Profiles, np.ndarray]:
    """Return profiles of the log's users and (N,) int64 the place of each row's user.

    A fit with a timeline knows what lies before its cut; otherwise profiles hold only what is
    known of somebody new, so that none knows the outcome that judges.
    """
    if not log.log.has("user_id"):
        ids = [f"row_{index}" for index in range(len(log))]
        frame = log.frame.with_columns(user_id=pl.Series(ids))
        return fitted.profile_builder.cold_start(frame), np.arange(len(log))
    if fitted.cut is not None:
        users = log.frame["user_id"].unique().sort().to_numpy()
        profiles = fitted.profiles_of(past, users=users)
    else:
        one = log.frame.unique("user_id", keep="first", maintain_order=True)
        profiles = fitted.profile_builder.cold_start(one)
    return profiles, profiles.index_of(log.frame["user_id"].to_numpy().astype(np.str_))


def _history(log: Decisions, fitted: FittedUsers, horizon: int, person: np.ndarray) -> _History:
    """Replay the log user by user, by the recursions of the simulator."""
    catalogue, frame = fitted.users.catalogue, log.frame
    n, k = len(log), catalogue.n_creatives
    known = {name: index for index, name in enumerate(catalogue.creative_ids)}
    shown = frame["creative_id" if log.log.has("creative_id") else "text"]
    creative = np.array([known.get(name, -1) for name in shown], dtype=np.int64)
    sent = (shown != HOLD).to_numpy()
    slots = {name: index for index, name in enumerate(catalogue.slots)}
    slot = np.zeros(n, dtype=np.int64)
    if log.log.has("slot"):
        slot = np.array([slots.get(name, 0) for name in frame["slot"]], dtype=np.int64)
    clicks = frame["clicks"].to_numpy().astype(np.float64)
    time = np.zeros(n, dtype=np.int64)
    if log.log.has("timestamp"):
        time = frame["timestamp"].cast(pl.Int64).to_numpy()
    order = np.lexsort((np.arange(n), time, person))
    p, s, x, c = person[order], sent[order], clicks[order], creative[order]
    steps = np.concatenate([[0], (p[1:] == p[:-1]).astype(np.int64)])
    if log.log.has("timestamp"):
        hours = fitted.settings.get("slot_hours")
        usual = None if s.all() else usual_gap_seconds(p, time[order])
        seconds = float(hours) * 3600 if hours else usual or 86_400 / catalogue.n_slots
        steps = steps_between(p, time[order], slot[order], seconds, catalogue.n_slots)
    first = np.flatnonzero(np.diff(p, prepend=-1))
    owner = np.repeat(np.arange(len(first)), np.diff([*first, n]))
    walked = np.cumsum(steps)
    elapsed = walked - walked[first][owner]
    # The simulator's episodes: one every ``horizon`` slots of a user.
    episode = np.unique(owner * (int(elapsed.max()) + 1) + elapsed // horizon, return_inverse=True)[
        1
    ]
    same = np.concatenate([[False], episode[1:] == episode[:-1]])
    fatigue = fatigue_before(p, steps, s, fitted.users.dynamics.fatigue_decay)
    since = np.zeros(n)
    for i in np.flatnonzero(same):
        if s[i - 1]:
            since[i] = steps[i]
        elif since[i - 1]:
            since[i] = since[i - 1] + steps[i]
    seen = np.zeros((n, k))
    for index in range(k):
        seen[:, index] = _before((s & (c == index)).astype(np.float64), episode)
    back = np.empty(n, dtype=np.int64)
    back[order] = np.arange(n)
    last = np.where(same, np.concatenate([[0.0], (x[:-1] > 0).astype(np.float64)]), 0.0)
    return _History(
        time=(elapsed % horizon)[back],
        slot=slot,
        fatigue=fatigue[back],
        since=since[back],
        sends=_before(s.astype(np.float64), episode)[back],
        clicks=_before(x, episode)[back],
        last_click=last[back],
        repetitions_NK=seen[back],
    )


def _before(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return the sum of the episode's earlier values, (N,); rows are sorted by episode."""
    total = np.cumsum(values) - values
    first = np.flatnonzero(np.diff(episode, prepend=-1))
    return total - total[first][episode]


def _observations(
    profiles: Profiles,
    person: np.ndarray,
    history: _History,
    fitted: FittedUsers,
    horizon: int,
    rows: slice,
) -> np.ndarray:
    """Return (n, D) float32 in the layout of `DeliveryEnv`."""
    catalogue = fitted.users.catalogue
    rest = 1.0 - fitted.users.dynamics.fatigue_decay
    since = history.since[rows]
    state = {
        "time_left": 1.0 - history.time[rows] / horizon,
        "budget_left": np.ones(len(since)),
        "fatigue": np.minimum(history.fatigue[rows] * rest, 1.0),
        "since_last_send": np.where(since > 0, np.minimum(since / horizon, 1.0), 1.0),
        "sends": np.minimum(history.sends[rows] / horizon, 1.0),
        "clicks": np.minimum(history.clicks[rows] / horizon, 1.0),
        "last_click": history.last_click[rows],
    }
    return np.column_stack(
        [
            profiles.features[person[rows]],
            np.eye(catalogue.n_slots)[history.slot[rows]],
            *(state[name] for name in STATE_NAMES),
            np.log1p(history.repetitions_NK[rows]),
        ]
    ).astype(np.float32)


def _state(
    history: _History, catalogue: Catalogue, local: np.ndarray, rows: slice, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what privileged agents are told; interests are taken not to have drifted."""
    return {
        "user": local,
        "t": history.time[rows],
        "slot": history.slot[rows],
        "fatigue": history.fatigue[rows],
        "budget": np.full(len(local), np.inf),
        "repetitions": history.repetitions_NK[rows],
        "drift": np.zeros((len(local), len(catalogue.topics)), dtype=np.float32),
        "mask": mask,
    }
