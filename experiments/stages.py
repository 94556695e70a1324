"""Stages that experiments share: load the log, count what each part saw, learn, evaluate."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.envs.errors import UserError, unknown_name
from copygym.envs.plaintext import printable
from copygym.experiments.folder import Record, RunFolder
from copygym.experiments.tracking import Trackers
from copygym.experiments.trust import check_names, holds_stored

if TYPE_CHECKING:
    from copygym.agents.base import Agent
    from copygym.envs.clicklog import ClickLog
    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.experiments.evaluate import Setting
    from copygym.experiments.metrics import Episodes

#: Parts of a log by user, in the order in which they are drawn.
PARTS = ("train", "test", "judge")

#: Stands among the assumptions of every report with simulated users.
ONE_SEED = (
    "intervals cover the luck of the held-out users only, not that of the fit and of the learning, "
    "of which there is one seed each."
)

#: The same of an experiment on randomised tests.
ONE_SPLIT = (
    "intervals cover the choice of test tests only, not that of the split and the training, of "
    "which there is one seed."
)


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose of a run, below 2**31.

    Seeds of different purposes are independent, so that adding a stage changes no other one.
    """
    words = [zlib.crc32(str(part).encode()) for part in purpose]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1)[0] >> 1)


def load_log(data: Mapping[str, Any]) -> ClickLog:
    """Load the log that the config's ``data`` part describes.

    Args:
        data: ``name`` of the dataset, ``path`` or None, and the loader's options.

    Raises:
        UserError: an unknown name or option, a fault of the log, one with nothing to learn from
            (everything that was sent was clicked), or a path that a synthetic log would be
            written to though nobody made the folder.
    """
    from copygym.experiments.evidence import noted

    log = _as_told(data)
    log.require_outcomes()
    return noted(log)


def _as_told(data: Mapping[str, Any]) -> ClickLog:
    """Return the log, whatever it can teach."""
    from copygym.envs.datasets import card, load

    path = data.get("path")
    if path is not None and card(str(data["name"])).synthetic and not Path(path).exists():
        raise UserError(
            f"data.path={path} does not exist: {data['name']} makes its log itself and keeps it in "
            "that folder, so make it first; for a log of your own add dataset=table."
        )
    options = {key: value for key, value in data.items() if key not in ("name", "path")}
    return load(str(data["name"]), path, **options)


def describe(log: ClickLog) -> dict[str, Any]:
    """Return what the manifest says of a log: checksum and rows."""
    return {"sha256": log.checksum(), "rows": log.height, "synthetic": log.synthetic}


def seen(log: ClickLog) -> dict[str, int]:
    """Return rows, impressions, clicks and (where known) users of a part of a log.

    Where people click while nothing is sent, ``organic`` says how many of the clicks are such.
    """
    import polars as pl

    from copygym.experiments.evidence import organic_clicks

    counts = [pl.len().alias("rows"), pl.col("impressions").sum(), pl.col("clicks").sum()]
    for column, name in (("user_id", "users"), ("test_id", "tests")):
        if log.has(column):
            counts.append(pl.col(column).n_unique().alias(name))
    row = log.frame.select(counts).collect(engine="streaming").to_dicts()[0]
    organic = organic_clicks(log)
    extra = {"organic": organic} if organic else {}
    return {key: int(value) for key, value in row.items()} | extra


def same_data(folder: RunFolder, log: ClickLog) -> dict[str, Any]:
    """Store the log's description; a resumed run must find the same log.

    Raises:
        UserError: the file has changed since the run began.
    """
    description = describe(log)
    stored = folder.stage("data", lambda: Record(description)).values
    if stored["sha256"] != description["sha256"]:
        raise UserError(
            f"{log.source or log.name} has changed since this run began; choose another out= or "
            "add overwrite=true."
        )
    return stored


def check_data(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Compare the log with the one that a finished run has used.

    A synthetic log is made from the config, which is equal; a file that was taken away since
    leaves the result as it is.

    Raises:
        UserError: the file has changed, or cannot be read any more.
    """
    from copygym.envs.datasets import card

    data = config.get("data")
    if not data or not folder.has_stage("data") or card(str(data["name"])).synthetic:
        return
    if data.get("path") is not None and not Path(data["path"]).exists():
        return
    same_data(folder, _as_told(data))


def split_shares(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the config's shares of users, in an order that its keys do not decide.

    Who is in which part depends on the order of the parts.

    Raises:
        UserError: there is a part that no experiment knows.
    """
    split = config["split"]
    for name in split:
        if name not in PARTS:
            raise unknown_name("part of split", str(name), list(PARTS))
    return {name: float(split[name]) for name in PARTS if name in split}


def given(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the named parts of a config that are not switched off by null.

    Args:
        config: of a run.
        key: of a mapping in it, such as ``references``; one that is missing has no parts.
    """
    return {name: part for name, part in (config.get(key) or {}).items() if part is not None}


@dataclass(frozen=True)
class Policy:
    """An agent to compare, as the config describes it.

    Attributes:
        name: for tables and files.
        config: ``_target_`` and arguments.
    """

    name: str
    config: Mapping[str, Any]

    def make(self) -> Agent:
        """Return a fresh agent.

        Raises:
            UserError: the agent refuses its arguments, or does not know one.
        """
        return instantiated(self.config, f"agent {self.name}")


def instantiated(config: Mapping[str, Any], what: str) -> Any:
    """Return the object that a config part with ``_target_`` describes.

    Args:
        config: the part. A user's own may name any code; of one that was read from a folder
            (`copygym.experiments.trust`) nothing is made but what copygym's config files name.
        what: names it in messages.

    Raises:
        UserError: it is no such part, its constructor refuses the arguments, or a folder's part
            names other code.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check_part(config, what)
    if holds_stored(config):
        check_names(config, "the run's folder", what)
    try:
        return instantiate(dict(config), _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            if isinstance(cause, TypeError):
                raise UserError(f"{what}: {cause}; check its config keys.") from error
            cause = cause.__cause__
        raise


def check_part(config: Any, what: str) -> None:
    """Raise `UserError` unless ``config`` is a part with ``_target_``, such as a group's file is.

    ``judge_model=tfidf`` puts a word where the group's file belongs.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise UserError(
            f"{what} is {config!r}, not a config part with _target_; to choose a file of a config "
            f"group for it write GROUP@{what}=FILE, such as reward_model@judge_model=tfidf."
        )


def known_options(taker: Any, options: Mapping[str, Any], what: str) -> None:
    """Check that a function or class takes every option by name.

    Raises:
        UserError: it does not; the message lists what it takes.
    """
    known = list(inspect.signature(taker).parameters)
    for name in options:
        if name not in known:
            raise unknown_name(what, str(name), known)


def policies(config: Mapping[str, Any]) -> dict[str, Policy]:
    """Return the references and the learned agent of a config, in the order of tables.

    The upper reference comes last; the learned agent carries its own name.
    """
    references = given(config, "references")
    upper = references.pop("upper", None)
    found = {name: Policy(name, entry) for name, entry in references.items()}
    learned = learned_name(config)
    found[learned] = Policy(learned, config["agent"])
    if upper is not None:
        found["upper"] = Policy("upper", upper)
    return found


def learned_name(config: Mapping[str, Any]) -> str:
    """Return the name under which tables show the config's agent."""
    agent = config["agent"]
    name = agent.get("name") or str(agent["_target_"]).rpartition(".")[2]
    return f"{name} (learned)"


def file_name(policy: str) -> str:
    """Return a policy's name as a file name."""
    return "".join(c if c.isalnum() else "_" for c in policy).strip("_").lower()


def learn(
    policy: Policy,
    env: DeliveryVectorEnv,
    steps: int,
    seed: int,
    folder: RunFolder,
    trackers: Trackers,
) -> list[dict[str, float]]:
    """Let a policy learn and save it to ``agents/NAME``; return its learning curve.

    Args:
        policy: who learns.
        env: simulated users fitted on the training part of the log.
        steps: transitions to spend.
        seed: of the learning.
        folder: the run.
        trackers: get the curve's points as they come.
    """
    name = file_name(policy.name)
    stage = f"learn/{name}"

    def compute() -> Record:
        trackers.begin(stage)
        curve: list[dict[str, float]] = []

        def on_progress(step: int, metrics: dict[str, float]) -> None:
            point = {"step": step, **{key: float(value) for key, value in metrics.items()}}
            curve.append(point)
            trackers.log(stage, metrics, step)

        agent = policy.make()
        agent.learn(env, steps, seed=seed, on_progress=on_progress)
        with folder.new_folder("agents", name) as draft:
            agent.save(draft)
        return Record({"curve": curve, "steps": steps})

    record = folder.stage(stage, compute)
    trackers.artifact(f"agent-{name}", "model", folder.file("agents", name))
    curve: list[dict[str, float]] = record.values["curve"]
    return curve


def play(
    name: str,
    setting: Setting,
    folder: RunFolder,
    stage: str,
    timelines: int = 0,
) -> tuple[Episodes, list[list[Any]]]:
    """Evaluate a saved agent in a stage; return its episodes and some users' events.

    Args:
        name: policy whose agent lies in ``agents/``.
        setting: users, seeds and environment.
        folder: the run.
        stage: prefix of the stage's name.
        timelines: of how many users to keep the events.
    """
    from tqdm import tqdm

    from copygym.agents.base import load_agent
    from copygym.envs.render import Event
    from copygym.experiments.evaluate import evaluate
    from copygym.experiments.metrics import Episodes

    short = file_name(name)

    def compute() -> Record:
        agent = load_agent(folder.file("agents", short))
        total = len(setting.rows) * setting.episodes
        with tqdm(
            total=total, desc=f"evaluate {printable(name)}", unit="user", disable=None
        ) as bar:
            episodes, events = evaluate(
                agent, setting, timelines=timelines, on_batch=lambda n: bar.update(n) and None
            )
        arrays = {"users": episodes.users, "totals": episodes.totals}
        arrays["creatives"] = episodes.creatives
        return Record({"events": [[list(event) for event in row] for row in events]}, arrays)

    record = folder.stage(f"{stage}/{short}", compute)
    arrays = record.arrays
    events = [[Event(*entry) for entry in row] for row in record.values["events"]]
    return Episodes(arrays["users"], arrays["totals"], arrays["creatives"]), events
