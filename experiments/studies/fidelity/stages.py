"""Stages of E1: simulators of both halves, agents that learn in them, and what judges say.

Each stage stores what it found in the run's folder and is read there when the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.delivery.base import load_agent
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.population import align_to_catalogue
from copygym.evaluation.fidelity.agreement import Values
from copygym.evaluation.fidelity.judges import (
    LOG,
    TRUTH,
    Answers,
    HeldOutDecisions,
    Simulator,
    clicks_by_person,
    decision_terms,
    decision_values,
    episode_values,
    held_out_decisions,
    in_memory,
    simulator,
)
from copygym.evaluation.fidelity.segments import group_rates, user_segments
from copygym.evaluation.ope.agents import propensities
from copygym.evaluation.rollout import Setting, rows_of
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy, environment, given, instantiated
from copygym.experiments.studies.learning import file_name, learn
from copygym.experiments.studies.people import fit, has_truth, true_world, whole_catalogue
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    import polars as pl

    from copygym.agents.delivery.base import Agent
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel

Config = Mapping[str, Any]

#: The two halves: agents learn in the first, the second only judges.
_HALVES = {"A": "train", "B": "judge"}


@dataclass(frozen=True)
class Halves:
    """The simulators of both halves, and the same held-out people in all of them.

    Attributes:
        first: of half A; agents learn in these.
        second: of half B; these only judge.
        truth: the held-out people as they are; None where nobody knows.
    """

    first: tuple[Simulator, ...]
    second: tuple[Simulator, ...]
    truth: UserModel | None

    @property
    def simulators(self) -> tuple[Simulator, ...]:
        """Those of both halves."""
        return (*self.first, *self.second)

    @property
    def people(self) -> dict[str, UserModel]:
        """The held-out people by judge: the simulators', and the truth's where it is known."""
        found = {one.name: one.people for one in self.simulators}
        return found if self.truth is None else {**found, TRUTH: self.truth}


def fit_halves(
    folder: RunFolder, parts: Mapping[str, ClickLog], log: ClickLog, config: Config
) -> Halves:
    """Fit every family of simulators on both halves, all with the same actions and people."""
    catalogue = whole_catalogue(log, config)
    ids: np.ndarray | None = None
    halves: list[list[Simulator]] = []
    for half, part in _HALVES.items():
        halves.append([])
        for family, options in given(config, "simulators").items():
            name = f"{family} {half}"
            own = {**config, "users": options}
            fitted = fit(folder, file_name(name), parts[part], parts["test"], own, catalogue)
            if ids is None:
                ids = fitted.profiles_of(parts["test"]).user_ids
            halves[-1].append(simulator(name, fitted, parts["test"], ids, catalogue))
    first, second = map(tuple, halves)
    truth = None
    if has_truth(config):
        people = first[0].people
        world = true_world(config).user_model(profiles=people.profiles)
        truth = align_to_catalogue(world, people.catalogue)
    return Halves(first, second, truth)


def train(
    folder: RunFolder, trackers: Trackers, halves: Halves, config: Config
) -> dict[str, Simulator]:
    """Let every learner learn in every simulator of half A; return policy -> its simulator.

    References know nothing of a simulator, or only its logging policy: one of each will do.
    """
    homes = dict.fromkeys(given(config, "references"), halves.first[0])
    for index, home in enumerate(halves.first):
        env = environment(config)(
            int(config["env"]["num_envs"]),
            users=home.fitted.users,
            horizon=int(config["env"]["horizon"]),
            reward=instantiated(config["reward"], "reward"),
        )
        agents = {} if index else {n: (a, None) for n, a in given(config, "references").items()}
        for learner, parts in given(config, "learners").items():
            name = learner_name(learner, home)
            agents[name] = (parts["agent"], parts.get("steps"))
            homes[name] = home
        for name, (agent, steps) in agents.items():
            seed = derived_seed(config["seed"], "learn", name)
            steps = int(config["learn"]["steps"] if steps is None else steps)
            learn(Policy(name, agent), env, steps, seed, folder, trackers)
        env.close()
    return homes


def learner_name(learner: str, home: Simulator) -> str:
    """Return the name of a policy that learned in a simulator."""
    return f"{learner} in {home.name}"


def _agent(folder: RunFolder, name: str) -> Agent:
    return load_agent(folder.file("agents", file_name(name)))


def setting_of(home: Simulator, config: Config) -> Setting:
    """Return how policies are played; whom is the judge's to say."""
    options, seed = config["evaluation"], derived_seed(config["seed"], "evaluate")
    return Setting(
        users=home.people,
        rows=rows_of(len(home.people), options["users"], seed),
        horizon=int(config["env"]["horizon"]),
        episodes=int(options["episodes"]),
        seed=seed,
        num_envs=int(options["num_envs"]),
        environment=environment(config),
    )


def play(
    folder: RunFolder,
    homes: Mapping[str, Simulator],
    people: Mapping[str, UserModel],
    config: Config,
) -> Values:
    """Play every policy against every judge's people; return clicks per person and episode."""
    from copygym.core.progress import progress

    clicks: dict[str, np.ndarray] = {}
    with progress(total=len(homes) * len(people), what="play", unit="episode") as bar:
        for name, home in homes.items():
            setting = setting_of(home, config)

            def compute(name: str = name, home: Simulator = home, s: Setting = setting) -> Record:
                rows = []
                for judge in people.values():
                    rows.append(clicks_by_person(_agent(folder, name), home, judge, s))
                    bar.update()
                return Record({}, {"clicks": np.stack(rows)})

            clicks[name] = folder.stage(f"play/{file_name(name)}", compute).arrays["clicks"]
    seed = derived_seed(config["seed"], "bootstrap")
    return episode_values(clicks, tuple(people), int(config["evaluation"]["resamples"]), seed)


def judged_decisions(held_out: ClickLog, halves: Halves, config: Config) -> HeldOutDecisions:
    """Return the held-out rows after the time that profiles of any simulator are made from."""
    cuts = [one.fitted.cut for one in halves.simulators if one.fitted.cut is not None]
    first = halves.first[0]
    return held_out_decisions(
        held_out,
        max(cuts) if cuts else None,
        first.people,
        first.people.profiles,
        first.fitted.settings.get("slot_hours"),
        derived_seed(config["seed"], "folds"),
    )


@dataclass(frozen=True)
class Decided:
    """What judges and the log say of single decisions.

    Attributes:
        values: clicks per decision of P policies, the fixed arms among them.
        rows: (P,) effective rows of the log that speak for each policy.
        clicks: (P,) effective clicks of the log.
    """

    values: Values
    rows: np.ndarray
    clicks: np.ndarray


def decide(
    folder: RunFolder,
    log: HeldOutDecisions,
    homes: Mapping[str, Simulator],
    people: Mapping[str, UserModel],
    held_out: ClickLog,
    config: Config,
) -> Decided:
    """Ask judges and log about every policy's decisions, and with ``arms`` about fixed ones."""
    catalogue = next(iter(people.values())).catalogue
    several = catalogue.n_channels > 1
    names = catalogue.action_names if several else (HOLD, *catalogue.creative_ids)
    arms = [f"always {name}" for name in names] if config["arms"] else []

    def compute() -> Record:
        answers = {name: Answers(model, log) for name, model in people.items()}
        judges = in_memory({**answers, LOG: log.model}, log)
        terms = {}
        for name, home in homes.items():
            chances, _ = propensities(
                log.decisions,
                home.fitted,
                _agent(folder, name),
                int(config["env"]["horizon"]),
                held_out,
            )
            terms[name] = decision_terms(chances, log, judges)
        for action, name in enumerate(arms):
            row = np.eye(catalogue.n_actions)[action]
            terms[name] = decision_terms(np.tile(row, (len(log), 1)), log, judges)
        found, rows, clicks = decision_values(
            terms,
            log,
            str(config["evaluation"]["estimator"]),
            int(config["evaluation"]["resamples"]),
            derived_seed(config["seed"], "bootstrap"),
        )
        arrays = {"value": found.value_PJ, "draws": found.draws_RPJ, "rows": rows}
        return Record({}, {**arrays, "clicks": clicks})

    stored = folder.stage("decisions", compute).arrays
    values = Values((*homes, *arms), (*people, LOG), stored["value"], stored["draws"])
    return Decided(values, stored["rows"], stored["clicks"])


def calibrate(
    folder: RunFolder, log: HeldOutDecisions, halves: Halves, held_out: ClickLog, config: Config
) -> dict[str, list[dict[str, Any]]]:
    """Return by simulator the click rates of segments and creatives, simulated and real."""
    d = log.decisions
    segments = user_segments(held_out, d.frame, config["evaluation"]["segments"])
    groups = {**segments, "creative": _creatives(d.frame)}
    unit = np.arange(len(d)) if d.unit is None else d.unit

    def compute() -> Record:
        found = {}
        for one in halves.simulators:
            # Where nobody clicks without a send, hold has nothing to be calibrated.
            organic = bool(np.isfinite(one.people.click_logit[:, :, 0]).any())
            rows = np.flatnonzero((log.actions > 0) | organic)
            found[one.name] = group_rates(
                Answers(one.people, log).of_actions(log.actions[rows], rows),
                d.sizes[rows],
                (d.rewards * d.sizes)[rows],
                unit[rows],
                {kind: names[rows] for kind, names in groups.items()},
            )
        return Record(found)

    return folder.stage("calibration", compute).values


def _creatives(frame: pl.DataFrame) -> np.ndarray:
    return frame["creative_id"].to_numpy().astype(np.str_)
