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
from copygym.envs.simulator.population import simulate
from copygym.evaluation.metrics import Episodes, policy_metrics
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.commands.evaluate.runs import Group, Source, baseline_of
from copygym.experiments.report.evidence import cautions
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.identity import code_of
from copygym.experiments.runs.outputs import plain
from copygym.experiments.studies.data import describe, load_log, seen
from copygym.experiments.studies.delivery.delivery import add_policies, evaluation_setting
from copygym.experiments.studies.people import has_truth, make_judge, split_users

if TYPE_CHECKING:
    from copygym.agents.delivery.base import Agent
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.evaluation.rollout import Setting

#: Who judges: the run's judge, its own simulator on the same people, the second less the first, and
#: the held-out log.
JUDGE, SIMULATOR, GAP, LOG = "judge", "simulator", "gap", "log"


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
) -> Records:
    """Play a group's agents on its held-out users, before the judge and in the simulator.

    Args:
        group: what to play.
        options: what to change.
        advance: called with the name of a policy that has been played by one judge.

    Returns:
        Columns ``task``, ``world``, ``policy``, ``judge`` (`JUDGE`, `SIMULATOR`, `GAP`, which is
        the simulator less the judge, or `LOG`) and ``versus`` on paired differences; the delivery
        metrics, and of the log ``ess``, ``rows`` and ``used`` (`evaluation.ope.support`). The
        seed's ``about`` has this group as the only one of its ``groups``.
    """
    first = group.sources[0]
    baseline = baseline_of(group, options.baseline)
    config = _changed(first.config, options, baseline)
    log = _same_log(first)
    parts = split_users(log, first.config)
    fitted = _fitted(first)
    folder = RunFolder(first.path, first.path, first.config, finished=True)
    judge = make_judge(folder, fitted, parts, first.config)
    setting = evaluation_setting(judge.users, config)
    simulator = simulate(fitted, fitted.profiles_of(parts["test"]))
    played = {
        JUDGE: _play(group, setting, advance),
        SIMULATOR: _play(group, replace(setting, users=simulator), advance),
    }
    rows = {
        key: Rows(first.seed, task=group.task or None, world=first.world or None, judge=key)
        for key in (JUDGE, SIMULATOR, GAP, LOG)
    }
    for key, episodes in played.items():
        add_policies(rows[key], config, episodes)
    resamples, boot = (
        int(config["evaluation"]["resamples"]),
        derived_seed(config["seed"], "bootstrap"),
    )
    for name in group.agents:
        pair = {key: played[key][name] for key in (JUDGE, SIMULATOR)}
        gap = policy_metrics(pair, JUDGE, None, resamples, boot)["differences"][SIMULATOR]
        rows[GAP].add_all(gap, policy=name)
    support, reason = _support(group, parts["test"], fitted)
    for name, numbers in support.items():
        rows[LOG].add_all(numbers, policy=name)
    rows_seen = {name: seen(part) for name, part in parts.items()}
    told = {
        "runs": [source.name for source in group.sources],
        "task": group.task,
        "world": first.world,
        "seed": first.seed,
        "learned": list(group.learned),
        "baseline": baseline,
        "users": len(setting.rows),
        "held_out": len(judge.users),
        "horizon": setting.horizon,
        "learned_horizon": int(first.config["env"]["horizon"]),
        "episodes": setting.episodes,
        "resamples": resamples,
        "log": log.name,
        "synthetic": log.synthetic,
        "judge": judge.text,
        "support_missing": reason,
        "other_code": any(s.code != code_of(s.config).id for s in group.sources),
        "assumptions": [
            *fitted.users.assumptions,
            *(f"the judge: {text}" for text in judge.users.assumptions),
        ],
        "notes": list(log.notes),
        "cautions": cautions({"rows_seen": rows_seen, "notes": log.notes}),
    }
    frame = joined([Records(part.frame) for part in rows.values() if len(part)]).frame
    return Records(frame, {first.seed: {"groups": [plain(told)]}})


def _changed(config: dict[str, Any], options: Options, baseline: str) -> dict[str, Any]:
    """Return a run's config with the options in place of its own values."""
    evaluation = {**config["evaluation"], "baseline": baseline}
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
) -> tuple[dict[str, dict[str, float | None]], str]:
    """Return how much of the held-out log speaks for each policy, or a sentence why none is known.

    A policy that looks at the simulator's state has no place in a log: its numbers are None.
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
        found: dict[str, dict[str, float | None]] = {}
        for name, folder in group.agents.items():
            agent = _loaded(folder, horizon)
            if isinstance(agent, LoggingAgent):
                weights = np.ones(len(log))
            elif agent.privileged:
                found[name] = dict.fromkeys(("ess", "rows", "used"))
                continue
            else:
                weights = agent_target(log, fitted, agent, horizon, test, name).weights
            held = support(weights)
            found[name] = {"ess": held.ess, "rows": held.n, "used": held.used}
    except UserError as error:
        return {}, str(error).rstrip(".")
    return found, ""
