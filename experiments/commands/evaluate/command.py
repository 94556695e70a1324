"""``copygym evaluate``: the saved agents of finished runs, played again on held-out people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.components import trust
from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import RESAMPLES
from copygym.core.files.storage import understood
from copygym.core.plugins import stored_names
from copygym.core.text.plain import printable
from copygym.experiments.options import (
    Parser,
    add_json,
    add_number,
    add_output_folder,
    add_trust,
    add_wandb,
    command_parser,
    print_result,
)
from copygym.experiments.runs.outputs import check_output_folder

if TYPE_CHECKING:
    from copygym.evaluation.records import Records
    from copygym.experiments.commands.evaluate.play import Options
    from copygym.experiments.commands.evaluate.runs import Group
    from copygym.experiments.report.page import Report

#: Files that --output gets.
FILES = ("records.parquet", "about.json", "table.md", "report.html")

_DESCRIPTION = (
    "Plays the saved agents of finished runs again, on the people that the runs held out: with "
    "other luck, more users or another horizon, before the run's judge (in a synthetic world the "
    "world's own truth) and in the simulator where the agents learned. All policies meet the same "
    "people with the same luck. Without options it gives the run's own numbers again. Several "
    "runs, such as a multirun's, give one table over seeds, with interquartile means, "
    "probabilities of improvement and performance profiles."
)
_EXAMPLES = """runs whose agents can be played: those of the jobs delivery and headroom; --saved
takes those of any study whose records name policies. For others:
`copygym ope` judges policies from a log, `copygym write` and `copygym score` take copywriters and
reward models, `copygym abtest` judges A/B tests.

examples:
  copygym evaluate outputs/delivery/RUN --seed 7 --users 3000
  copygym evaluate outputs/delivery/RUN --agents best_fixed maskable_ppo --horizon 14 --json
  copygym run -m experiment=delivery agent=linucb,maskable_ppo seed=0,1,2,3,4 out=sweep
  copygym evaluate sweep --output evaluation
  copygym evaluate sweep --output evaluation --track offline --project PROJECT
  copygym evaluate sweep --saved           what the runs themselves have found
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, or a run whose agents cannot be played.
    """
    options = _parser().parse_args(arguments)
    if options.saved:
        return _saved(options)
    _check(options)
    trust(options.trust)
    with stored_names(options.run[0]):
        return _played_again(options)


def _played_again(options: argparse.Namespace) -> int:
    """Play the agents and print, write and track what comes of it."""
    from copygym.experiments.commands.evaluate.play import Options
    from copygym.experiments.commands.evaluate.report import aggregated, combined, report
    from copygym.experiments.commands.evaluate.runs import chosen, groups_of, sources_of

    sources = {source.path.resolve(): source for run in options.run for source in sources_of(run)}
    with understood(options.run[0]):
        groups = chosen(groups_of(list(sources.values())), options.agents, options.baseline)
    changes = Options(**{name: getattr(options, name) for name in (*_PLAYED, "baseline")})
    played = _play(groups, changes)
    resamples = options.resamples or int(groups[0].sources[0].config["evaluation"]["resamples"])
    records = combined(played, options.metric, resamples, remarks(played, changes))
    found = report(records)
    if options.output is not None:
        write(records, found, options.output)
    if options.track is not None:
        _track(options, records, found)
    result: dict[str, Any] = {}
    if options.json:
        result = {"about": records.about, "records": records.frame.to_dicts()}
        result |= {"aggregates": aggregated(records)}
    print_result(result, text(records, found), options)
    if options.output is not None and not options.json:
        sys.stdout.write(f"\nwritten: {options.output}/ ({', '.join(FILES)})\n")
    return 0


def _saved(options: argparse.Namespace) -> int:
    """Print the aggregates over the records that the runs have saved."""
    from copygym.experiments.commands.evaluate.saved import aggregated, section_text

    for name in ("users", "seed", "horizon", "episodes", "output", "track", "agents"):
        if getattr(options, name) not in (None, []):
            raise UserError(f"--{name} is for playing again; leave it out, or leave --saved out.")
    with understood(options.run[0]):
        found = aggregated(
            options.run, options.metric, options.resamples or RESAMPLES, options.baseline
        )
    print_result(found, "" if options.json else section_text(found), options)
    return 0


#: Options that change what is played; without them it is as in the run.
_PLAYED = {
    "users": ("held-out users to play (default: as the run)", 1),
    "seed": (
        "of the users' luck, and of who is drawn where not all are (default: the run's own)",
        0,
    ),
    "horizon": ("slots per episode (default: as learned)", 1),
    "episodes": ("per user (default: as the run)", 1),
    "resamples": ("of the bootstrap (default: as the run)", 2),
}


def _parser() -> Parser:
    parser = command_parser("copygym evaluate", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "run",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a finished run, or of a multirun",
    )
    parser.add_argument(
        "--agents",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these, beside the baseline and the upper reference; default all",
    )
    for name, (told, least) in _PLAYED.items():
        add_number(parser, name, told, least)
    parser.add_argument(
        "--baseline", metavar="NAME", help="take differences from this policy (default: the run's)"
    )
    parser.add_argument(
        "--metric",
        default="clicks_per_user",
        help="of the aggregates over runs: clicks_per_user (default), profit_per_user, "
        "revenue_per_user or reward_per_user; with --saved any of the records, of which more is "
        "better",
    )
    parser.add_argument(
        "--saved",
        action="store_true",
        help="play nothing: aggregates over the records that the runs have saved, in seconds",
    )
    add_trust(parser)
    add_json(parser, "(about, records, aggregates) instead of tables")
    add_output_folder(parser, FILES)
    parser.add_argument(
        "--track",
        metavar="MODE",
        help="log records, tables, figures and aggregates as one W&B run: online, offline, or "
        "auto; W&B's files go to the --output folder",
    )
    add_wandb(parser)
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse, before any work, an unknown metric and an output folder in use."""
    from copygym.experiments.commands.evaluate.report import SCORES

    if options.metric not in SCORES:
        raise unknown_name("metric", options.metric, list(SCORES))
    folder: Path | None = options.output
    if options.track is not None:
        from copygym.experiments.tracking.wandb import WandbConfig

        WandbConfig(mode=options.track)
        if folder is None:
            raise UserError(
                "--track needs --output=FOLDER, where W&B's files go beside the result."
            )
    if folder is not None:
        check_output_folder(folder, (*FILES, "wandb"), "remarks", "about.json")


def _track(options: argparse.Namespace, records: Records, report: Report) -> None:
    """Log the evaluation to W&B, where the user says: a run's folder may be anybody's."""
    from copygym.experiments.commands.evaluate.summary import log_summary
    from copygym.experiments.tracking.wandb import WandbConfig

    # A multirun's runs have its folder's name as their group, unless they were told another.
    group = options.group or options.run[0].resolve().name
    config = WandbConfig(options.track, options.project, options.entity, group)
    mirror = log_summary(records, report, config, options.output)
    if mirror.mode == "offline":
        sys.stderr.write(f"upload the summary by `wandb sync {options.output}/wandb/offline-*`\n")


def _play(groups: list[Group], options: Options) -> list[Records]:
    from copygym.core.progress import progress
    from copygym.experiments.commands.evaluate.play import play_group

    total = 2 * sum(len(group.agents) for group in groups)
    with progress(total=total, what="play", unit="policy") as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(printable(name))
            bar.update()

        return [play_group(group, options, advance) for group in groups]


def remarks(played: Sequence[Records], options: Options) -> list[str]:
    """Return what a reader has to know of this evaluation."""
    from copygym.experiments.commands.evaluate.report import groups_of

    groups = [group for records in played for group in groups_of(records)]
    found = []
    held = min(group["held_out"] for group in groups)
    if options.users is not None and options.users > held:
        found.append(
            f"--users={options.users:,} is more than the {held:,} people held out: all were played."
        )
    learned = {group["learned_horizon"] for group in groups}
    if options.horizon is not None and learned != {options.horizon}:
        found.append(
            f"the agents learned for {' or '.join(map(str, sorted(learned)))} slots and played "
            f"{options.horizon}: they see time, sends and clicks as shares of the horizon."
        )
    if any(group["other_code"] for group in groups):
        found.append(
            "a run was made by another version of copygym: its numbers may differ from these for "
            "that reason alone."
        )
    for group in groups:
        if group["support_missing"]:
            found.append(f"effective sample sizes are not known: {group['support_missing']}.")
    return list(dict.fromkeys(found))


def text(records: Records, report: Report) -> str:
    """Return what is printed: the report without its figures."""
    from copygym.experiments.report.page import terminal

    kind = " (synthetic)" if records.first["synthetic"] else ""
    table = report.table
    parts = [f"{report.title}{kind}", report.summary, table.to_text(), table.caption]
    return "\n" + "\n\n".join([*parts, terminal(report.sections)]) + "\n"


def write(records: Records, report: Report, folder: Path) -> None:
    """Write `FILES` to ``folder``, each atomically."""
    from copygym.experiments.report.page import write_short

    records.write(folder)
    told = {"title": report.title, "summary": report.summary}
    told |= {"synthetic": records.first["synthetic"]}
    write_short(folder, told, report.table, report.sections)
