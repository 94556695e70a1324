"""Agents that a run has saved, and the rows of a log on which they may be judged."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.agents.delivery.base import load_agent
from copygym.core.errors import UserError
from copygym.core.files.storage import understood
from copygym.core.plugins import stored_names
from copygym.core.seeds import derived_seed
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.simulator.fitted import FittedUsers
from copygym.evaluation.ope.agents import agent_target
from copygym.evaluation.ope.decisions import Decisions
from copygym.evaluation.ope.policies import Target
from copygym.experiments.runs.folder import read_run
from copygym.experiments.studies.data import split_shares
from copygym.experiments.studies.learning import file_name
from copygym.experiments.studies.people import split_users

#: How the folder of the agent that a run is about ends.
_LEARNED = "__learned"


def agents_of(run: Path) -> list[str]:
    """Return the names of the agents that a run has saved."""
    return sorted(path.parent.name for path in (run / "agents").glob("*/agent.json"))


def held_out(log: ClickLog, run: Path) -> tuple[ClickLog, ClickLog, str]:
    """Return the rows of a log on which a run's agents may be judged.

    Where the log is the one that the run learned from, these are the rows of its test users after
    the time up to which profiles know them; else all rows.

    Returns:
        Those rows, the log that profiles may be made from, and a sentence that says what was done.
    """
    config, result = read_run(run)
    with understood(run / "result.json"):
        known = {entry.get("sha256") for entry in (result.get("data") or {}).values()}
    if log.checksum() not in known:
        return log, log, f"{run.name} learned from another log: be sure that it shares no user."
    shares = split_shares(config)
    if str(config["job"]).endswith(".uplift"):
        shares = {name: share for name, share in shares.items() if share}
        parts = log.split_by_user(shares, derived_seed(config["seed"], "split"))
    else:
        with stored_names(run):
            parts = split_users(log, config)
    test = parts["test"]
    cut = FittedUsers.load(run / "users" / "proxy").cut
    rows = test if cut is None else test.filter(pl.col("timestamp").cast(pl.Int64) >= cut)
    after = "" if cut is None else ", after the time that their profiles are made from"
    return rows, test, f"judged on the users that {run.name} kept for testing{after}."


def agent_policy(
    log: Decisions, run: Path, name: str | None = None, past: ClickLog | None = None
) -> Target:
    """Return what a run's agent would have done in each decision of a log.

    Args:
        log: decisions on the creatives and channels of the run.
        run: folder of a finished `copygym run` with a delivery agent.
        name: of the agent; None where the run has only one that has learned.
        past: what profiles may be made from, up to the cut of the run's fit; None: ``log``.

    Raises:
        UserError: no such agent, or the log does not fit the run.
    """
    config, _ = read_run(run)
    name = agent_name(run, name)
    users = run / "users" / "proxy"
    if not users.is_dir():
        raise UserError(f"{run} has no simulated users, so it tells no agent what to look at.")
    fitted = FittedUsers.load(users)
    agent = load_agent(run / "agents" / name)
    horizon = int(config.get("env", {}).get("horizon", 1))
    # The log has a policy of this name already.
    shown = f"{name} of the run" if name == "logging" else name
    note = f"agent {name} of {run.name}, shown the log's own history"
    return agent_target(log, fitted, agent, horizon, past, shown, note)


def agent_name(run: Path, name: str | None) -> str:
    """Return the folder name of a run's agent; None: the only one that has learned.

    Raises:
        UserError: there is none, or none of this name.
    """
    there = agents_of(run)
    if not there:
        raise UserError(f"{run} holds no agent; give the folder that `copygym run` printed.")
    learned = [agent for agent in there if agent.endswith(_LEARNED)] or there
    if name is None and len(learned) == 1:
        return learned[0]
    # As in the folder, as in tables, or a learned one by its agent's name alone.
    for one in () if name is None else (name, file_name(name), f"{name}{_LEARNED}"):
        if one in there:
            return one
    raise UserError(f"{run} has the agents {', '.join(there)}; name one: --agent {run}:{there[0]}.")
