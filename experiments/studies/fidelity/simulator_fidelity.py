"""Experiment E1: are the simulated users like the real ones, where it matters to a policy?

A fidelity card scores a simulator's predictions. This asks what a card cannot tell: whether a
policy that learned in one simulator keeps its promise in others and in the truth (exploit test),
whether simulators rank policies as the log does (rank agreement), and whose clicks they get wrong
(calibration by segment). Users are split in three: one half fits the simulators in which agents
learn (A), one fits those that only judge (B), and the rest are the people on whom all is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.delivery.base import load_agent
from copygym.core.errors import UserError, unknown_name
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.population import align_to_catalogue
from copygym.evaluation.fidelity.agreement import (
    LEAST_POLICIES,
    Values,
    agreement,
    gain,
    gain_share,
    optimism,
)
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
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.evaluation.rollout import Setting, rows_of
from copygym.experiments.report.evidence import contradictions
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.data import PARTS, load_log, same_data, seen, split_shares
from copygym.experiments.studies.fidelity.simulator_fidelity_report import (
    main_table,
    sections,
    summary,
)
from copygym.experiments.studies.learning import ONE_SEED, file_name, learn
from copygym.experiments.studies.people import fit, has_truth, true_world, whole_catalogue
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    import polars as pl

    from copygym.agents.delivery.base import Agent
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel

__all__ = ["main_table", "run", "sections"]

#: What `_numbers` are; their rows are judges, or the simulators that are judged.
NUMBERS = {
    "optimism": "promised by the simulator where an agent learned less what the row pays, mean "
    "over all learned policies, in clicks per decision of one and per person of several",
    "kept": "share of the promised gain over the baseline that the row pays",
    "tau/log": "rank agreement of the row with the log",
    "tau/truth, over an episode": "rank agreement of the row with the truth on whole episodes",
    "tau/truth, decision by decision": "the same on single decisions",
    "segments inside": "share of user segments whose click rate by the row lies in the log's 95% "
    "interval",
}
#: The two halves: agents learn in the first, the second only judges.
_HALVES = {"A": "train", "B": "judge"}
_DECISION = (
    "decision by decision, a policy's value is that of its next decision in the states that the "
    "log led to, over the held-out people's rows after the time that profiles are made from."
)


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``split`` (train: half A; judge: half B; test: the people who are judged),
    ``simulators`` (name -> options of `fit_users`), ``references`` and ``learners`` (name ->
    ``agent`` and ``steps``, null for ``learn.steps``), ``arms`` (judge every arm for everybody,
    too), ``env``, ``reward``, and of ``evaluation``: ``users``,
    ``episodes``, ``num_envs``, ``resamples``, ``baseline`` (policy), ``estimator``, ``segments``.
    """
    check(config)
    log = load_log(config["data"])
    log.require("user_id", "creative_id", "propensity")
    data = same_data(folder, log)
    parts = log.split_by_user(split_shares(config), derived_seed(config["seed"], "split"))
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    first, second = _fits(folder, parts, log, config)
    learned = _teach(folder, trackers, first, config)
    truth = _truth(first[0], config)
    people = {s.name: s.people for s in (*first, *second)}
    if truth is not None:
        people[TRUTH] = truth
    agents = {**dict.fromkeys(given(config, "references"), first[0]), **learned}
    log_rows = _logged(parts["test"], first, second, config)
    decided, arms, ess, events = _decisions(folder, log_rows, agents, people, parts["test"], config)
    one_decision = int(config["env"]["horizon"]) == 1
    values = decided
    if not one_decision:
        values = _episodes(folder, agents, people, config)
    homes = {policy: home.name for policy, home in learned.items()}
    judges = [j for j in values.judges if j not in {s.name for s in first}]
    supported = [
        policy
        for policy, rows, clicks in zip(decided.policies, ess, events, strict=True)
        if rows >= LEAST_ESS and clicks >= LEAST_EVENTS and not contradictions(log.notes)
    ]
    simulators = [s.name for s in (*first, *second)]
    result: dict[str, Any] = {
        "title": f"Simulator fidelity: {log.name}",
        "synthetic": log.synthetic,
        "policies": list(values.policies),
        "learned": homes,
        "decided": list(decided.policies),
        "homes": [s.name for s in first],
        "judges": judges,
        "simulators": simulators,
        "baseline": config["evaluation"]["baseline"],
        "horizon": int(config["env"]["horizon"]),
        "estimator": config["evaluation"]["estimator"],
        "people": len(first[0].people),
        "played": _played_people(first[0], config) if not one_decision else len(first[0].people),
        "log_rows": len(log_rows),
        "log_clicks": float((log_rows.decisions.rewards * log_rows.decisions.sizes).sum()),
        "unit": "clicks per decision" if one_decision else "clicks per person",
        "values": _table(values),
        "exploit": _exploit(values, homes, judges, str(config["evaluation"]["baseline"])),
        "decisions": _table(decided),
        "arms": arms,
        "support": {
            policy: {"rows": float(rows), "clicks": float(clicks), "enough": policy in supported}
            for policy, rows, clicks in zip(decided.policies, ess, events, strict=True)
        },
        "agreement": _agreement(values, decided, supported, simulators, one_decision),
        "calibration": _calibration(folder, log_rows, (*first, *second), parts["test"], config),
        "cards": {s.name: _card(s) for s in (*first, *second)},
        "data": {log.name: data},
        "rows_seen": rows_seen,
        "notes": list(log.notes),
        "assumptions": _assumptions(log, (*first, *second), truth, one_decision),
    }
    result["summary"] = summary(result)
    result["summary_numbers"] = _numbers(result)
    return result


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    for part, share in {**dict.fromkeys(PARTS), **split_shares(config)}.items():
        if not share:
            raise UserError(f"split.{part}={share or 0:g}: give a share of users above 0.")
    if not given(config, "simulators"):
        raise UserError("simulators is empty: name at least one, such as logistic.")
    if not given(config, "learners"):
        raise UserError("learners is empty: name at least one agent that learns in a simulator.")
    estimator = config["evaluation"]["estimator"]
    if estimator not in ESTIMATORS or estimator == "dm":
        known = [name for name in ESTIMATORS if name != "dm"]
        raise unknown_name("evaluation.estimator", str(estimator), known)
    for name, agent in given(config, "references").items():
        Policy(name, agent).make()
    for name, parts in given(config, "learners").items():
        Policy(name, parts["agent"]).make()
    instantiated(config["reward"], "reward")
    if config["evaluation"]["baseline"] not in given(config, "references"):
        raise unknown_name(
            "evaluation.baseline",
            str(config["evaluation"]["baseline"]),
            list(given(config, "references")),
        )


def _fits(
    folder: RunFolder, parts: Mapping[str, ClickLog], log: ClickLog, config: Mapping[str, Any]
) -> tuple[list[Simulator], list[Simulator]]:
    """Return the simulators of half A and of half B, all with the same actions and people."""
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
    return halves[0], halves[1]


def _truth(home: Simulator, config: Mapping[str, Any]) -> UserModel | None:
    """Return the held-out people as they are; None where nobody knows."""
    if not has_truth(config):
        return None
    world = true_world(config).user_model(profiles=home.people.profiles)
    return align_to_catalogue(world, home.people.catalogue)


def _teach(
    folder: RunFolder, trackers: Trackers, homes: list[Simulator], config: Mapping[str, Any]
) -> dict[str, Simulator]:
    """Let every learner learn in every simulator of half A; return where each policy learned."""
    from copygym.envs.delivery import DeliveryVectorEnv

    found = {}
    for index, home in enumerate(homes):
        env = DeliveryVectorEnv(
            int(config["env"]["num_envs"]),
            users=home.fitted.users,
            horizon=int(config["env"]["horizon"]),
            reward=instantiated(config["reward"], "reward"),
        )
        # References know nothing of a simulator, or only its logging policy: one of each will do.
        todo = {} if index else {k: (v, None) for k, v in given(config, "references").items()}
        for learner, parts in given(config, "learners").items():
            name = f"{learner} in {home.name}"
            todo[name] = (parts["agent"], parts.get("steps"))
            found[name] = home
        for name, (agent, steps) in todo.items():
            seed = derived_seed(config["seed"], "learn", name)
            steps = int(config["learn"]["steps"] if steps is None else steps)
            learn(Policy(name, agent), env, steps, seed, folder, trackers)
        env.close()
    return found


def _agent(folder: RunFolder, name: str) -> Agent:
    return load_agent(folder.file("agents", file_name(name)))


def _setting(home: Simulator, config: Mapping[str, Any]) -> Setting:
    options, seed = config["evaluation"], derived_seed(config["seed"], "evaluate")
    return Setting(
        users=home.people,
        rows=rows_of(len(home.people), options["users"], seed),
        horizon=int(config["env"]["horizon"]),
        episodes=int(options["episodes"]),
        seed=seed,
        num_envs=int(options["num_envs"]),
    )


def _played_people(home: Simulator, config: Mapping[str, Any]) -> int:
    return len(_setting(home, config).rows)


def _episodes(
    folder: RunFolder,
    agents: Mapping[str, Simulator],
    people: Mapping[str, UserModel],
    config: Mapping[str, Any],
) -> Values:
    """Play every policy against every judge's people."""
    from tqdm import tqdm

    clicks: dict[str, np.ndarray] = {}
    with tqdm(total=len(agents) * len(people), desc="play", unit="episode", disable=None) as bar:
        for name, home in agents.items():
            setting = _setting(home, config)

            def compute(name: str = name, home: Simulator = home, s: Setting = setting) -> Record:
                rows = []
                for judge in people.values():
                    rows.append(clicks_by_person(_agent(folder, name), home, judge, s))
                    bar.update()
                return Record({}, {"clicks": np.stack(rows)})

            clicks[name] = folder.stage(f"play/{file_name(name)}", compute).arrays["clicks"]
    seed = derived_seed(config["seed"], "bootstrap")
    return episode_values(clicks, tuple(people), int(config["evaluation"]["resamples"]), seed)


def _logged(
    held_out: ClickLog, first: list[Simulator], second: list[Simulator], config: Mapping[str, Any]
) -> HeldOutDecisions:
    cuts = [s.fitted.cut for s in (*first, *second) if s.fitted.cut is not None]
    return held_out_decisions(
        held_out,
        max(cuts) if cuts else None,
        first[0].people,
        first[0].people.profiles,
        first[0].fitted.settings.get("slot_hours"),
        derived_seed(config["seed"], "folds"),
    )


def _decisions(
    folder: RunFolder,
    log: HeldOutDecisions,
    agents: Mapping[str, Simulator],
    people: Mapping[str, UserModel],
    held_out: ClickLog,
    config: Mapping[str, Any],
) -> tuple[Values, list[str], np.ndarray, np.ndarray]:
    """Ask judges and log about every policy's decisions.

    Returns:
        The values, which of the policies are fixed arms, and effective rows and clicks of each.
    """
    catalogue = next(iter(people.values())).catalogue
    several = catalogue.n_channels > 1
    names = catalogue.action_names if several else (HOLD, *catalogue.creative_ids)
    arms = [f"always {name}" for name in names] if config["arms"] else []
    tables = (*agents, *arms)
    estimator = str(config["evaluation"]["estimator"])

    def compute() -> Record:
        judges = in_memory({**{k: Answers(v, log) for k, v in people.items()}, LOG: log.model}, log)
        terms = {}
        for name, home in agents.items():
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
        seed = derived_seed(config["seed"], "bootstrap")
        resamples = int(config["evaluation"]["resamples"])
        found, rows, clicks = decision_values(terms, log, estimator, resamples, seed)
        arrays = {"value": found.value_PJ, "draws": found.draws_RPJ, "rows": rows}
        return Record({}, {**arrays, "clicks": clicks})

    stored = folder.stage("decisions", compute).arrays
    found = Values(tables, (*people, LOG), stored["value"], stored["draws"])
    return found, arms, stored["rows"], stored["clicks"]


def _exploit(
    values: Values, homes: Mapping[str, str], judges: list[str], baseline: str
) -> dict[str, Any]:
    """Return promises and what judges pay: of all learned policies, by simulator, one by one."""
    groups: dict[str, dict[str, str]] = {"all": dict(homes)}
    # What learned nothing has nothing to exploit: its optimism is the simulators' level alone.
    unlearned = {home: {baseline: home} for home in dict.fromkeys(homes.values())}
    for home in dict.fromkeys(homes.values()):
        groups[home] = {policy: own for policy, own in homes.items() if own == home}
    groups.update({policy: {policy: own} for policy, own in homes.items()})
    found = {}
    for name, members in groups.items():
        shares = {j: gain_share(values, members, baseline, j) for j in judges}
        found[name] = {
            "promised_gain": gain(values, members, baseline, None).to_dict(),
            "gain": {j: gain(values, members, baseline, j).to_dict() for j in judges},
            "optimism": {j: optimism(values, members, j).to_dict() for j in judges},
            "kept": {j: None if share is None else share.to_dict() for j, share in shares.items()},
        }
    level = [{j: optimism(values, one, j).to_dict() for j in judges} for one in unlearned.values()]
    found["level"] = dict(zip(unlearned, level, strict=True))
    return found


def _agreement(
    values: Values, decided: Values, supported: list[str], simulators: list[str], one_decision: bool
) -> dict[str, list[dict[str, Any]]]:
    """Return by comparison the rank agreement of every simulator with another judge."""
    enough = decided.take(supported) if len(supported) >= LEAST_POLICIES else None
    sets: dict[str, tuple[Values | None, str, list[str]]] = {LOG: (enough, LOG, simulators)}
    if TRUTH in decided.judges:
        # The log's own ranking stands beside the simulators', on the policies that it supports.
        own = [*simulators, LOG] if enough else simulators
        sets[f"{TRUTH}, decision by decision"] = (enough or decided, TRUTH, own)
        if not one_decision:
            sets[f"{TRUTH}, over an episode"] = (values, TRUTH, simulators)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (table, other, judges) in sets.items():
        rows = [] if table is None else [agreement(table, one, other) for one in judges]
        found[name] = [row for row in rows if row is not None]
    return found


def _calibration(
    folder: RunFolder,
    log: HeldOutDecisions,
    simulators: tuple[Simulator, ...],
    held_out: ClickLog,
    config: Mapping[str, Any],
) -> dict[str, list[dict[str, Any]]]:
    """Return by simulator the click rates of segments and creatives, simulated and real."""
    d = log.decisions
    segments = user_segments(held_out, d.frame, config["evaluation"]["segments"])
    groups = {**segments, "creative": _creatives(d.frame)}
    unit = np.arange(len(d)) if d.unit is None else d.unit

    def compute() -> Record:
        found = {}
        for one in simulators:
            # Where nobody clicks without a send, hold has nothing to be calibrated.
            organic = bool(np.isfinite(one.people.click_logit[:, :, 0]).any())
            rows = np.flatnonzero((log.actions > 0) | organic)
            predicted = Answers(one.people, log).of_actions(log.actions[rows], rows)
            found[one.name] = group_rates(
                predicted,
                d.sizes[rows],
                (d.rewards * d.sizes)[rows],
                unit[rows],
                {kind: names[rows] for kind, names in groups.items()},
            )
        return Record(found)

    return folder.stage("calibration", compute).values


def _creatives(frame: pl.DataFrame) -> np.ndarray:
    return frame["creative_id"].to_numpy().astype(np.str_)


def _card(one: Simulator) -> dict[str, Any]:
    card = one.fitted.fidelity.to_dict()
    keys = ("log_loss_skill", "auc", "ece", "ece_floor", "fitted_rows", "fitted_users")
    return {key: card[key] for key in keys}


def _table(values: Values) -> dict[str, dict[str, dict[str, float]]]:
    return {
        policy: {judge: values.estimate(policy, judge).to_dict() for judge in values.judges}
        for policy in values.policies
    }


def _assumptions(
    log: ClickLog, simulators: tuple[Simulator, ...], truth: UserModel | None, one_decision: bool
) -> list[str]:
    owners: dict[str, list[str]] = {}
    for one in simulators:
        for text in one.fitted.users.assumptions:
            owners.setdefault(text, []).append(one.name)
    sentences = [
        text if len(names) == len(simulators) else f"{', '.join(names)}: {text}"
        for text, names in owners.items()
    ]
    if not one_decision:
        sentences.append(_DECISION)
        sentences.append("in logged decisions, interests are taken not to have drifted.")
    sentences.append("the propensities are taken as the log gives them.")
    if truth is not None:
        sentences += truth.assumptions
    sentences.append(ONE_SEED)
    return [s for s in dict.fromkeys(sentences) if s not in log.notes]


def _numbers(result: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for judge in result["judges"]:
        entry = result["exploit"]["all"]
        found[f"optimism/{judge}"] = entry["optimism"][judge]["value"]
        share = entry["kept"][judge]
        found[f"kept/{judge}"] = None if share is None else share["value"]
    for name, rows in result["agreement"].items():
        for row in rows:
            if row["tau"] is not None:
                found[f"tau/{name}/{row['one']}"] = row["tau"]["value"]
    for name, rates in result["calibration"].items():
        segments = [rate["inside"] for rate in rates if rate["kind"] != "creative"]
        if segments:
            found[f"segments inside/{name}"] = sum(segments) / len(segments)
    return found
