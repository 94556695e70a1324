"""Delivery agents judged off-policy: what an agent of a run would have done in a log's decisions.

An agent is shown each logged decision as its environment would have shown it: the user's profile
as the run's fit makes it, the slot, and the state that the log's earlier rows of the user lead to
(fatigue, repetitions, sends, clicks). Its answer is a probability for each action, so that every
agent of the protocol can be judged, whatever library it comes from.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import polars as pl

from copygym.agents.delivery.base import Agent
from copygym.core.errors import UserError
from copygym.core.text.plain import printable
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import places
from copygym.envs.logs.replay import States, states_before
from copygym.envs.people.kernel import STATE_NAMES
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.evaluation.ope.decisions import Decisions
from copygym.evaluation.ope.policies import Target, target
from copygym.evaluation.ope.terms import PerRow

#: Rows shown to an agent at once.
_CHUNK = 8192


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
    from copygym.core.progress import progress

    catalogue = fitted.users.catalogue
    arms = _action_names(log, catalogue)
    profiles, person = _people(log, fitted, past or log.log)
    slot, states = _states(log, fitted, horizon, person)
    chances = np.empty((len(log), catalogue.n_actions))
    with progress(total=len(log), what=f"ask {printable(agent.name)}", unit="row") as bar:
        for start in range(0, len(log), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(log)))
            observation = _observations(profiles, person, slot, states, fitted, horizon, rows)
            mask = np.ones((len(observation), catalogue.n_actions), dtype=bool)
            state, asked = None, agent
            if agent.privileged:
                people, local = np.unique(person[rows], return_inverse=True)
                # A copy for each part: an agent may keep the people that it was bound to first.
                asked = copy(agent)
                asked.bind(simulate(fitted, profiles.take(people)))
                state = _state(slot, states, catalogue, local, rows, mask)
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


def _states(
    log: Decisions, fitted: FittedUsers, horizon: int, person: np.ndarray
) -> tuple[np.ndarray, States]:
    """Return (N,) int64 the slot of each decision, and the state that it was taken in."""
    catalogue, frame = fitted.users.catalogue, log.frame
    names = frame["creative_id" if log.log.has("creative_id") else "text"]
    slot = np.zeros(len(log), dtype=np.int64)
    if log.log.has("slot"):
        slot = np.maximum(places(frame["slot"], catalogue.slots), 0)
    time_us = None
    if log.log.has("timestamp"):
        time_us = frame["timestamp"].cast(pl.Int64).to_numpy()
    return slot, states_before(
        person,
        places(names, catalogue.creative_ids),
        (names != HOLD).to_numpy(),
        frame["clicks"].to_numpy().astype(np.float64),
        slot,
        time_us,
        catalogue,
        fitted.users.dynamics.fatigue_decay,
        slot_hours=fitted.settings.get("slot_hours"),
        horizon=horizon,
    )


def _observations(
    profiles: Profiles,
    person: np.ndarray,
    slot: np.ndarray,
    states: States,
    fitted: FittedUsers,
    horizon: int,
    rows: slice,
) -> np.ndarray:
    """Return (n, D) float32 in the layout of `DeliveryEnv`."""
    catalogue = fitted.users.catalogue
    rest = 1.0 - fitted.users.dynamics.fatigue_decay
    since = states.since[rows]
    state = {
        "time_left": 1.0 - states.time[rows] / horizon,
        "budget_left": np.ones(len(since)),
        "fatigue": np.minimum(states.fatigue[rows] * rest, 1.0),
        "since_last_send": np.where(since > 0, np.minimum(since / horizon, 1.0), 1.0),
        "sends": np.minimum(states.sends[rows] / horizon, 1.0),
        "clicks": np.minimum(states.clicks[rows] / horizon, 1.0),
        "last_click": states.last_click[rows],
    }
    return np.column_stack(
        [
            profiles.features[person[rows]],
            np.eye(catalogue.n_slots)[slot[rows]],
            *(state[name] for name in STATE_NAMES),
            np.log1p(states.repetitions_NK[rows]),
        ]
    ).astype(np.float32)


def _state(
    slot: np.ndarray,
    states: States,
    catalogue: Catalogue,
    local: np.ndarray,
    rows: slice,
    mask: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return what privileged agents are told; interests are taken not to have drifted."""
    return {
        "user": local,
        "t": states.time[rows],
        "slot": slot[rows],
        "fatigue": states.fatigue[rows],
        "budget": np.full(len(local), np.inf),
        "repetitions": states.repetitions_NK[rows].astype(np.float64),
        "drift": np.zeros((len(local), len(catalogue.topics)), dtype=np.float32),
        "mask": mask,
    }
