"""``copygym update``: a finished run learns from a further log, in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.components import trust
from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, whole_folder, write_json
from copygym.core.seeds import derived_seed
from copygym.experiments.option_values import number, share, whole
from copygym.experiments.options import (
    add_json,
    add_log_options,
    add_trust,
    add_value,
    command_parser,
    named_log,
    print_result,
)

if TYPE_CHECKING:
    import numpy as np

    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.envs.simulator.update import People, Update

#: What an update says of itself, in the new folder.
_FILE = "update.json"
_DESCRIPTION = (
    "Lets a finished run learn from a further log, such as `copygym ingest` writes, without "
    "reading the old one again. Profiles are updated exactly, the click and conversion models by "
    "warm start: what they had learned is the prior of the new rows. The agent of a delivery run "
    "learns on, in the updated simulated users. Copy, reward models and the policies of a "
    "campaign stay what they are; only a new run changes them."
)
_EXAMPLES = """the updated run is a new folder; RUN is only read.

examples:
  copygym update outputs/delivery/RUN --log week2.parquet --out outputs/week2
  copygym update outputs/week2 --log week3.parquet --keep 0.9 --out outputs/week3
  copygym update RUN --log new.csv --map clicks=opened --past old.csv --out updated
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: no run that can learn, a log that it has learned from, or a folder that is taken.
    """
    parser = command_parser("copygym update", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    parser.add_argument("--log", required=True, help="a file, or NAME or NAME=PATH of a dataset")
    parser.add_argument("--past", help="the log that the run learned from, where it kept no sums")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="a new folder")
    add_value(parser, "--keep", share, default=1.0, help="share of what the click model knows "
              "that still counts; below 1 it follows what changes", metavar="SHARE")  # fmt: skip
    add_value(parser, "--steps", whole(0), default=None, help="decisions that the agent learns on "
              "from, 0: it stays (default: a fifth of the run's)", metavar="N")  # fmt: skip
    add_value(parser, "--delay-hours", number, default=None, help="mean time from a send to its "
              "click, where some are still to come", metavar="HOURS")  # fmt: skip
    add_log_options(parser)
    add_json(parser)
    add_trust(parser)
    options = parser.parse_args(arguments)
    trust(options.trust)
    if options.out.exists():
        raise UserError(f"--out={options.out} is there already; name a new folder.")
    log = named_log(options.log, options)
    past = None if options.past is None else named_log(options.past, options, "--past")
    report = update_run(
        options.run, log, options.out, past=past, keep=options.keep, steps=options.steps,
        delay_hours=options.delay_hours,
    )  # fmt: skip
    print_result(report, _words(report, options.out), options)
    return 0


def update_run(
    run: Path,
    log: ClickLog,
    out: Path,
    *,
    past: ClickLog | None = None,
    keep: float = 1.0,
    steps: int | None = None,
    delay_hours: float | None = None,
) -> dict[str, Any]:
    """Write a run that has learned from a further log to ``out``; return what was done, JSON types.

    Args:
        run: folder of a finished run with simulated users.
        log: later rows.
        out: a folder that does not exist.
        past: the log of the run, where it kept no sums of its people.
        keep: see `copygym.envs.simulator.update.update_users`.
        steps: decisions that the agent of a delivery run learns on from; None: a fifth of the
            run's.
        delay_hours: mean time from a send to its click; the log was read at its last row. None: all
            clicks are there.

    Raises:
        UserError: no such run, or it has learned from this log before.
    """
    from copygym.envs.simulator.delay import Delay
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.envs.simulator.update import update_users
    from copygym.experiments.runs.folder import read_run

    config, result = read_run(run)
    folder = run / "users" / "proxy"
    if not folder.is_dir():
        raise UserError(
            f"{run} has no simulated users, so nothing in it could learn from a log of sends; give "
            "the folder of a campaign or a delivery run."
        )
    before = read_json(run / _FILE)["logs"] if (run / _FILE).is_file() else []
    learned = {str(entry["sha256"]) for entry in (result.get("data") or {}).values()}
    learned |= {str(entry["sha256"]) for entry in before}
    checksum = log.checksum()
    if checksum in learned:
        raise UserError(
            f"{log.source or log.name}: {run} has learned from this log already; the same rows "
            "twice would count as new evidence."
        )
    fitted = FittedUsers.load(folder)
    log = _with_topics(log, fitted)
    people = _people(run, config, fitted, past)
    delay = None
    if delay_hours is not None:
        log.require("timestamp")
        delay = Delay(delay_hours, int(_times(log).max()))
    update = update_users(fitted, people, log, keep=keep, delay=delay)
    report = {
        "run": run.name,
        "logs": [*before, {"sha256": checksum, "rows": log.height, "keep": keep}],
        "rows": update.rows,
        "left_out": update.left_out,
        "log_loss": update.log_loss,
        "expected_log_loss": update.expected,
        "people": {"before": people.profiles.height, "after": update.people.profiles.height},
        "exact": ["profiles"],
        "warm start": ["clicks", "conversions"]
        if fitted.response.conversion_model is not None
        else ["clicks"],
        "unchanged": ["fatigue", "unsubscribes", "audiences", "reward", "copy"],
    }
    with whole_folder(out) as draft:
        shutil.copytree(run, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("wandb*"))
        shutil.rmtree(draft / "users" / "proxy")
        update.users.save(draft / "users" / "proxy")
        update.people.save(draft / "users" / "proxy")
        report |= _agent(draft, config, update, steps)
        write_json(draft / _FILE, report)
    return report


def _with_topics(log: ClickLog, fitted: FittedUsers) -> ClickLog:
    """Return a log whose products have the topics that the run knows, where it names none itself.

    A plan names products; that a product is of a topic was in the file of what is sold.
    """
    if log.has("topic") or not log.has("product_id"):
        return log
    import polars as pl

    catalogue = fitted.users.catalogue
    topics = [catalogue.topics[k] for k in catalogue.topic_of_creative]
    known = dict(zip(catalogue.product_ids, topics, strict=True))
    topic = pl.col("product_id").replace_strict(known, default=None, return_dtype=pl.String)
    return log.with_frame(log.frame.with_columns(topic.alias("topic")))


def _times(log: ClickLog) -> np.ndarray:
    """Return the times of a log's rows, (N,) int64 microseconds."""
    return log.frame.select("timestamp").drop_nulls().collect()["timestamp"].cast(int).to_numpy()


def _people(
    run: Path, config: dict[str, Any], fitted: FittedUsers, past: ClickLog | None
) -> People:
    """Return the sums that the run kept, or those of the log that it learned from."""
    from copygym.envs.simulator.update import People
    from copygym.experiments.studies.data import load_log

    folder = run / "users" / "proxy"
    if past is None and People.kept(folder):
        return People.load(folder)
    if past is None:
        try:
            past = load_log(config["data"])
        except UserError as error:
            raise UserError(
                f"{run} kept no sums of its people, and its log can't be read again ({error}) Name "
                "it by --past."
            ) from None
    return People.of(fitted.profile_builder, past)


def _agent(run: Path, config: dict[str, Any], update: Update, steps: int | None) -> dict[str, Any]:
    """Let the agent of a delivery run learn on in the updated users; return what was done."""
    from copygym.agents.delivery.base import load_agent
    from copygym.experiments.studies.delivery.delivery import learning_env
    from copygym.experiments.studies.saved_agents import agents_of

    learned = [name for name in agents_of(run) if name.endswith("__learned")]
    spent = int((config.get("learn") or {}).get("steps") or 0)
    steps = -(-spent // 5) if steps is None else steps
    if not learned or not steps:
        return {"agent": None, "steps": 0}
    (name,) = learned
    agent = load_agent(run / "agents" / name)
    env = learning_env(update.users.users, config)
    seed = derived_seed(int(config["seed"]), "update", str(update.rows))
    agent.learn(env, steps, seed=seed)
    env.close()
    shutil.rmtree(run / "agents" / name)
    agent.save(run / "agents" / name)
    return {"agent": name.removesuffix("__learned"), "steps": steps}


def _words(report: dict[str, Any], out: Path) -> str:
    people, agent = report["people"], report["agent"]
    known = f"{report['rows']:,} rows of the log told of clicks"
    strange = report["left_out"]
    if strange:
        known += f"; {strange:,} rows are left out, of creatives, channels or slots that the run "
        known += "does not know (only a new run takes them in)"
    more = people["after"] - people["before"]
    lines = [
        f"{known}.",
        f"profiles: exact, {people['after']:,} people, {more:,} of them new.",
        f"{' and '.join(report['warm start'])}: by warm start from the old posterior.",
        f"policy: {agent} learned on from {report['steps']:,} further decisions."
        if agent
        else "policy: unchanged.",
        f"unchanged: {', '.join(report['unchanged'])}.",
        f"log loss of the new rows before they were learned: {report['log_loss']:.4f} nats an "
        f"impression, where the run expected {report['expected_log_loss']:.4f}.",
    ]
    return "\n".join(lines) + f"\n\nwritten: {out}\n"
