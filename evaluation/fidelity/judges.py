"""What several judges say of policies: simulators, the log, and where it is known the truth.

Over an episode, policies are played against each judge's people with common luck. Decision by
decision, they are shown a held-out log: a simulator or the truth then says what their choices are
worth in the states that the log led to, and the log itself says it off-policy.

Axes: N logged decisions, U held-out people, A actions, K creatives, P policies, J judges.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.estimates import resample_sums
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import places
from copygym.envs.logs.replay import states_before
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import align_to_catalogue, simulate
from copygym.evaluation.fidelity.agreement import Values
from copygym.evaluation.ope.decisions import Decisions, decisions, fit_arms
from copygym.evaluation.ope.intervals import Bootstrap, value_terms
from copygym.evaluation.ope.support import effective_events, support
from copygym.evaluation.ope.terms import ActionValues, PerRow, Terms, model_terms
from copygym.evaluation.rollout import Setting, evaluate

if TYPE_CHECKING:
    from copygym.agents.delivery.base import Agent

#: Names of the judges that are no simulators.
LOG, TRUTH = "log", "truth"
#: Answers of all judges that are kept in memory at once (4 bytes each), and rows made at once.
_CELLS, _ROWS = 200_000_000, 8192


@dataclass(frozen=True)
class Simulator:
    """A fitted simulator and the held-out people as it sees them.

    Attributes:
        name: for tables.
        fitted: what was fitted.
        people: U held-out people; row u is the same person in every simulator.
    """

    name: str
    fitted: FittedUsers
    people: UserModel

    def with_profiles(self, judge: UserModel) -> UserModel:
        """Return the judge's people as agents that learned in this simulator observe them."""
        policy = self.people.logging_policy
        return replace(judge, profiles=self.people.profiles, logging_policy=policy)


def simulator(
    name: str, fitted: FittedUsers, held_out: ClickLog, ids: np.ndarray, catalogue: Catalogue
) -> Simulator:
    """Return a simulator with its view of the people ``ids`` (U,) of the log ``held_out``."""
    profiles = fitted.profiles_of(held_out, users=ids)
    return Simulator(name, fitted, align_to_catalogue(simulate(fitted, profiles), catalogue))


@dataclass(frozen=True)
class HeldOutDecisions:
    """N held-out decisions, and the state that the log's earlier rows of the user led to.

    Attributes:
        decisions: the rows.
        actions: (N,) int64 actions of the catalogue.
        person: (N,) int64 rows of the people.
        slot: (N,) int64.
        fatigue: (N,) float64 before the decision.
        seen_NK: (N, K) float32 log(1 + earlier sends of each creative to this user).
        n_actions: A.
    """

    decisions: Decisions
    actions: np.ndarray
    person: np.ndarray
    slot: np.ndarray
    fatigue: np.ndarray
    seen_NK: np.ndarray
    n_actions: int

    def __len__(self) -> int:
        """N."""
        return len(self.actions)

    @cached_property
    def model(self) -> ActionValues:
        """The log's own response model, cross-fitted on it: for DR, and no simulator."""
        d = self.decisions
        return fit_arms(d.features, d.fold, self.actions, d.rewards, d.sizes, self.n_actions)


def held_out_decisions(
    held_out: ClickLog,
    cut: int | None,
    people: UserModel,
    profiles: Profiles,
    slot_hours: float | None,
    seed: int,
) -> HeldOutDecisions:
    """Return the decisions of a log from ``cut`` on.

    Args:
        held_out: log of the people, with propensities.
        cut: microseconds up to which profiles know the log; None: no row tells a profile anything.
        people: its catalogue numbers the actions, its ``fatigue_decay`` makes the state.
        profiles: of the same people, to find them by id.
        slot_hours: length of a slot; None infers it as the fit does.
        seed: of the folds of the log's response model.
    """
    catalogue, frame = people.catalogue, held_out.collect()
    rows = held_out
    keep = np.ones(len(frame), dtype=bool)
    if cut is not None:
        rows = held_out.filter(pl.col("timestamp").cast(pl.Int64) >= cut)
        keep = (frame["timestamp"].cast(pl.Int64) >= cut).to_numpy()
    found = decisions(rows, seed=seed)
    person = profiles.index_of(frame["user_id"].to_numpy().astype(np.str_))
    creative = places(frame["creative_id"], catalogue.creative_ids)
    slot = places(frame["slot"], catalogue.slots) if held_out.has("slot") else 0 * person
    channel = 0 * person
    if held_out.has("channel"):
        channel = np.maximum(places(frame["channel"], catalogue.channels), 0)
    sent = (frame["creative_id"] != HOLD).to_numpy()
    action = np.where(sent, 1 + creative * catalogue.n_channels + channel, 0)
    if (sent & (creative < 0)).any():
        row = int(np.flatnonzero(sent & (creative < 0))[0])
        raise UserError(
            f"{held_out.source or held_out.name}: creative {frame['creative_id'][row]!r} is not in "
            "the catalogue of the fit; fit and judge on parts of one log."
        )
    fatigue = np.zeros(len(frame))
    seen_NK = np.zeros((len(frame), catalogue.n_creatives), dtype=np.float32)
    if held_out.has("timestamp"):
        before = states_before(
            person,
            creative,
            sent,
            frame["clicks"].to_numpy().astype(np.float64),
            slot,
            frame["timestamp"].cast(pl.Int64).to_numpy(),
            catalogue,
            people.dynamics.fatigue_decay,
            slot_hours=slot_hours,
        )
        fatigue = before.fatigue
        seen_NK = np.log1p(before.repetitions_NK).astype(np.float32)
    return HeldOutDecisions(
        found,
        action[keep].astype(np.int64),
        person[keep],
        slot[keep],
        fatigue[keep],
        seen_NK[keep],
        catalogue.n_actions,
    )


@dataclass(frozen=True)
class Answers:
    """A judge's click probability for every action in each logged decision; see `ActionValues`.

    Interests are taken not to have drifted, which no log tells.

    Attributes:
        people: U people as the judge sees them.
        log: the decisions.
    """

    people: UserModel
    log: HeldOutDecisions

    def block(self, rows: slice) -> np.ndarray:
        """Return (n, A) float64."""
        return self._probability(np.arange(rows.start, rows.stop))

    def of_actions(self, actions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the click probabilities of the actions taken, (N,) float64, or of some rows."""
        from scipy.special import expit

        index = np.arange(len(self.log)) if rows is None else rows
        log, d = self.log, self.people.dynamics
        logit = self.people.click_logit[log.person[index], log.slot[index], actions]
        creative = self.people.catalogue.creative_of_action[actions]
        tired = d.fatigue_click * log.fatigue[index]
        tired = tired + d.repetition_click * log.seen_NK[index, creative]
        return np.asarray(expit(logit.astype(np.float64) - np.where(actions > 0, tired, 0.0)))

    def _probability(self, rows: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        log, d = self.log, self.people.dynamics
        logit = self.people.click_logit[log.person[rows], log.slot[rows]].astype(np.float64)
        creative = self.people.catalogue.creative_of_action[1:]
        logit[:, 1:] -= d.fatigue_click * log.fatigue[rows, None]
        logit[:, 1:] -= d.repetition_click * log.seen_NK[rows][:, creative]
        return np.asarray(expit(logit))


def in_memory(judges: Mapping[str, ActionValues], log: HeldOutDecisions) -> dict[str, ActionValues]:
    """Return the judges with all their answers in memory, where they fit, for policy after policy.

    Args:
        judges: name -> its answers.
        log: N decisions with A actions.
    """
    if len(log) * log.n_actions * len(judges) > _CELLS:
        return dict(judges)
    return {name: PerRow(_all(answers, log)) for name, answers in judges.items()}


def _all(answers: ActionValues, log: HeldOutDecisions) -> np.ndarray:
    table = np.empty((len(log), log.n_actions), dtype=np.float32)
    for start in range(0, len(log), _ROWS):
        rows = slice(start, min(start + _ROWS, len(log)))
        table[rows] = answers.block(rows)
    return table


def decision_terms(
    chances_NA: np.ndarray, log: HeldOutDecisions, judges: Mapping[str, ActionValues]
) -> dict[str, Terms]:
    """Return what the estimators need of one policy, by judge.

    Args:
        chances_NA: (N, A) the policy's probabilities in the log's decisions.
        log: the decisions.
        judges: name -> its `Answers`; of the log, its own response model.
    """
    policy, d = PerRow(chances_NA), log.decisions
    weights = policy.of_actions(log.actions) / d.propensities
    return {
        name: Terms(d.rewards, weights, *model_terms(log.actions, policy, model), d.trials)
        for name, model in judges.items()
    }


def decision_values(
    terms: Mapping[str, Mapping[str, Terms]],
    log: HeldOutDecisions,
    estimator: str,
    resamples: int,
    seed: int,
) -> tuple[Values, np.ndarray, np.ndarray]:
    """Return what each judge says of the policies, clicks per decision.

    Args:
        terms: policy -> judge -> from `decision_terms`; one judge is the log.
        log: the decisions.
        estimator: a key of `ESTIMATORS`, for the log; simulators are asked directly (DM).
        resamples: R, over people.
        seed: of the resamples.

    Returns:
        The values, and effective rows and effective clicks of each policy in the log, (P,) each.
    """
    flat: dict[Hashable, Terms] = {
        (policy, judge): entry for policy, by in terms.items() for judge, entry in by.items()
    }
    wanted = tuple(dict.fromkeys(("dm", estimator)))
    found = value_terms(flat, Bootstrap(log.decisions.unit, resamples, seed), wanted)
    policies, judges = tuple(terms), tuple(next(iter(terms.values())))
    value = np.empty((len(policies), len(judges)))
    draws = np.empty((resamples, len(policies), len(judges)))
    for p, policy in enumerate(policies):
        for j, judge in enumerate(judges):
            one = found[policy, judge][estimator if judge == LOG else "dm"]
            value[p, j], draws[:, p, j] = one.bootstrap.value, one.draws
    own = [by[LOG] for by in terms.values()]
    rows = np.array([support(entry.weights).ess for entry in own])
    clicks = np.array([effective_events(entry) for entry in own])
    return Values(policies, judges, value, draws), rows, clicks


def clicks_by_person(
    agent: Agent, home: Simulator, people: UserModel, setting: Setting
) -> np.ndarray:
    """Return the expected clicks per episode of each person under an agent, (U,) float64.

    Clicks are counted by their probability, so that their own luck adds no noise.

    Args:
        agent: that learned in ``home``; a planner goes on planning with what it knows there.
        home: the simulator whose profiles the agent observes.
        people: the judge's people.
        setting: whatever else is held fixed; its users and reward are replaced.
    """
    from copygym.agents.delivery.planner import PlannerAgent
    from copygym.rewards import RewardShape

    agent.bind(home.people)
    if isinstance(agent, PlannerAgent):
        agent.keep_model = True
    users = home.with_profiles(people)
    reward = RewardShape({"expected_click": 1.0})
    episodes, _ = evaluate(agent, replace(setting, users=users, reward=reward))
    return episodes.total("reward")


def episode_values(
    clicks: Mapping[str, np.ndarray], judges: tuple[str, ...], resamples: int, seed: int
) -> Values:
    """Return what each judge says of the policies, clicks per person and episode.

    Args:
        clicks: policy -> (J, U) float64 from `clicks_by_person`.
        judges: J names.
        resamples: R, over people.
        seed: of the resamples.
    """
    table = np.stack(list(clicks.values()))
    n_policies, n_judges, n_people = table.shape
    sums = resample_sums(table.reshape(-1, n_people).T, resamples, seed)
    draws = (sums[:, :-1] / sums[:, -1:]).reshape(-1, n_policies, n_judges)
    return Values(tuple(clicks), judges, table.mean(axis=-1), draws)
