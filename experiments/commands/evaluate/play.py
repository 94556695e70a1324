"""Saved agents of a group of runs, played again: other luck, more users, another horizon.

All policies meet the same held-out people with the same luck, before the run's judge (in a
synthetic world its truth) and in the simulator where the agents learned: what an agent loses from
the one to the other is what it believed of users who are not so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, understood
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import Episodes, policy_metrics
from copygym.experiments.commands.evaluate.runs import Group, Source, baseline_of
from copygym.experiments.report.evidence import cautions
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.identity import code_of
from copygym.experiments.runs.outputs import plain
from copygym.experiments.studies.data import describe, load_log, seen
from copygym.experiments.studies.delivery.delivery import evaluation_setting
from copygym.experiments.studies.people import Judge, has_truth, make_judge, split_users

if TYPE_CHECKING:
    from copygym.agents.delivery.base import Agent
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.evaluation.rollout import Setting

#: Who judges, by key of a result.
JUDGE, SIMULATOR = "judge", "simulator"
IN_SIMULATOR = (
    "In the run's own simulator, where the agents learned, on people whom it was not fitted on."
)


@dataclass(frozen=True)
class Options:
    """What an evaluation changes; None leaves a run's own value.

    Attributes:
        users: how many held-out users.
        seed: of the luck, and of who is drawn where not all users are.
        horizon: slots per episode.
        episodes: per user.
        resamples: of the bootstrap over users.
        baseline: policy from which differences are taken.
    """

    users: int | None = None
    seed: int | None = None
    horizon: int | None = None
    episodes: int | None = None
    resamples: int | None = None
    baseline: str | None = None


def play_group(
    group: Group, options: Options, advance: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Play a group's agents on its held-out users, before the judge and in the simulator.

    Args:
        group: what to play.
        options: what to change.
        advance: called with the name of a policy that has been played by one judge.

    Returns:
        JSON types: ``metrics``, ``differences`` and, where there is an upper reference, ``regret``
        by judge; ``gap`` (simulator - judge); ``support`` by the held-out log.
    """
    first = group.sources[0]
    config = _changed(first.config, options)
    log = _same_log(first)
    parts = split_users(log, first.config)
    fitted = _fitted(first)
    folder = RunFolder(first.path, first.path, first.config, finished=True)
    judge = make_judge(folder, fitted, parts, first.config)
    baseline = baseline_of(group, options.baseline)
    resamples = int(config["evaluation"]["resamples"])
    boot = derived_seed(config["seed"], "bootstrap")
    upper = "upper" if "upper" in group.agents else None
    judges: dict[str, Any] = {}
    played: dict[str, dict[str, Episodes]] = {}
    setting = evaluation_setting(judge.users, config)
    for key, one in ((JUDGE, judge), (SIMULATOR, _simulator(fitted, parts["test"]))):
        played[key] = _play(group, replace(setting, users=one.users), advance)
        values = policy_metrics(played[key], baseline, upper, resamples, boot)
        judges[key] = {"text": one.text, **values}
    gap = {}
    for name in group.agents:
        pair = {key: played[key][name] for key in (JUDGE, SIMULATOR)}
        gap[name] = policy_metrics(pair, JUDGE, None, resamples, boot)["differences"][SIMULATOR]
    support, reason = _support(group, parts["test"], fitted)
    rows_seen = {name: seen(part) for name, part in parts.items()}
    result = {
        "runs": [source.name for source in group.sources],
        "task": group.task,
        "world": first.world,
        "seed": first.seed,
        "policies": list(group.agents),
        "learned": list(group.learned),
        "baseline": baseline,
        "upper": upper,
        "users": len(setting.rows),
        "held_out": len(judge.users),
        "horizon": setting.horizon,
        "learned_horizon": int(first.config["env"]["horizon"]),
        "episodes": setting.episodes,
        "log": log.name,
        "synthetic": log.synthetic,
        "judges": judges,
        "gap": gap,
        "support": support,
        "support_missing": reason,
        "other_code": any(s.code != code_of(s.config).id for s in group.sources),
        "assumptions": [
            *fitted.users.assumptions,
            *(f"the judge: {text}" for text in judge.users.assumptions),
        ],
        "notes": list(log.notes),
        "cautions": cautions({"rows_seen": rows_seen, "notes": log.notes}),
    }
    numbers: dict[str, Any] = plain(result)
    return numbers


def _changed(config: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return a run's config with the options in place of its own values."""
    evaluation = dict(config["evaluation"])
    for key in ("users", "episodes", "resamples"):
        if getattr(options, key) is not None:
            evaluation[key] = getattr(options, key)
    env = dict(config["env"])
    if options.horizon is not None:
        env["horizon"] = options.horizon
    seed = config["seed"] if options.seed is None else options.seed
    return {**config, "seed": seed, "env": env, "evaluation": evaluation}


def _same_log(source: Source) -> ClickLog:
    """Return the log of a run; one that copygym makes itself is kept where it always is.

    Raises:
        UserError: it cannot be read any more, or has changed since.
    """
    from copygym.envs.datasets import card

    data = source.config["data"]
    if card(str(data["name"])).synthetic:
        # It is the same wherever it is kept, and a run's folder may be anybody's: it does not say
        # where a file is made.
        data = type(data)({**data, "path": None})
    log = load_log(data)
    with understood(path := source.path / "stages" / "data.json"):
        stored = {"sha256": str(read_json(path)["values"]["sha256"])}
    if describe(log)["sha256"] != stored["sha256"]:
        raise UserError(
            f"{log.source or log.name} has changed since {source.name} was run; its held-out "
            "users cannot be told any more: repeat the run."
        )
    return log


def _fitted(source: Source) -> FittedUsers:
    from copygym.envs.simulator.fitted import FittedUsers

    truth = has_truth(source.config)
    for name in ("proxy",) if truth else ("proxy", "judge"):
        if not (source.path / "users" / name).is_dir():
            raise UserError(
                f"{source.path / 'users' / name} is missing, where the run saved its simulated "
                "users; repeat the run."
            )
    return FittedUsers.load(source.path / "users" / "proxy")


def _simulator(fitted: FittedUsers, test: ClickLog) -> Judge:
    """Return the held-out people as the run's own simulator takes them to be."""
    from copygym.envs.simulator.population import simulate

    return Judge(simulate(fitted, fitted.profiles_of(test)), IN_SIMULATOR)


def _play(
    group: Group, setting: Setting, advance: Callable[[str], None] | None
) -> dict[str, Episodes]:
    from copygym.evaluation.rollout import evaluate

    played = {}
    for name, folder in group.agents.items():
        played[name], _ = evaluate(_loaded(folder, setting.horizon), setting)
        if advance is not None:
            advance(name)
    return played


def _loaded(folder: Path, horizon: int) -> Agent:
    """Return a saved agent that knows how long an episode is now."""
    from copygym.agents.delivery.base import load_agent
    from copygym.agents.delivery.planner import PlannerAgent
    from copygym.agents.delivery.schedule import ScheduleAgent

    agent = load_agent(folder)
    if isinstance(agent, PlannerAgent | ScheduleAgent):
        # They count slots; all others read shares of the horizon off the observation.
        agent.horizon = horizon
    return agent


def _support(
    group: Group, test: ClickLog, fitted: FittedUsers
) -> tuple[dict[str, dict[str, float] | None], str]:
    """Return how much of the held-out log speaks for each policy, or a sentence why none is known.

    A policy that looks at the simulator's state has no place in a log: None.
    """
    from copygym.agents.delivery.bandits import LoggingAgent
    from copygym.evaluation.ope.agents import agent_target
    from copygym.evaluation.ope.decisions import decisions
    from copygym.evaluation.ope.support import support

    if not test.has("propensity"):
        return {}, "the log has no propensities"
    rows = test
    if fitted.cut is not None:
        rows = test.filter(pl.col("timestamp").cast(pl.Int64) >= fitted.cut)
    horizon = int(group.sources[0].config["env"]["horizon"])
    try:
        log = decisions(rows)
        for contradiction in log.propensity_check.contradictions:
            return {}, contradiction.rstrip(".")
        found: dict[str, dict[str, float] | None] = {}
        for name, folder in group.agents.items():
            agent = _loaded(folder, horizon)
            if isinstance(agent, LoggingAgent):
                weights = np.ones(len(log))
            elif agent.privileged:
                found[name] = None
                continue
            else:
                weights = agent_target(log, fitted, agent, horizon, test, name).weights
            held = support(weights)
            found[name] = {"ess": held.ess, "rows": held.n, "used": held.used}
    except UserError as error:
        return {}, str(error).rstrip(".")
    return found, ""
