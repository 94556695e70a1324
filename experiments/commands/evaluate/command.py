"""``copygym evaluate``: the saved agents of finished runs, played again on held-out people."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.components import trust
from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import RESAMPLES
from copygym.core.files.storage import understood
from copygym.core.plugins import stored_names
from copygym.core.text.plain import printable
from copygym.experiments.options import Parser, add_trust, command_parser
from copygym.experiments.runs.outputs import check_output_folder

if TYPE_CHECKING:
    from copygym.experiments.commands.evaluate.play import Options
    from copygym.experiments.commands.evaluate.runs import Group

#: Files that --output gets.
FILES = ("result.json", "table.md", "report.html")

_DESCRIPTION = (
    "Plays the saved agents of finished runs again, on the people that the runs held out: with "
    "other luck, more users or another horizon, before the run's judge (in a synthetic world the "
    "world's own truth) and in the simulator where the agents learned. All policies meet the same "
    "people with the same luck. Without options it gives the run's own numbers again. Several "
    "runs, such as a multirun's, give one table over seeds, with interquartile means, "
    "probabilities of improvement and performance profiles."
)
_EXAMPLES = """runs that can be evaluated: those of the jobs delivery and headroom. For others:
`copygym ope` judges policies from a log, `copygym write` and `copygym score` take copywriters and
reward models, `copygym abtest` judges A/B tests.

examples:
  copygym evaluate outputs/delivery/RUN --seed 7 --users 3000
  copygym evaluate outputs/delivery/RUN --agents best_fixed maskable_ppo --horizon 14 --json
  copygym run -m experiment=delivery agent=linucb,maskable_ppo seed=0,1,2,3,4 out=sweep
  copygym evaluate sweep --output evaluation
  copygym evaluate sweep --output evaluation --track offline
  copygym evaluate sweep --saved           what the runs themselves have found
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, or a run whose agents cannot be played.
    """
    options = _parser().parse_args(arguments)
    _check(options)
    from copygym.experiments.commands.evaluate.report import SCORES

    if options.metric not in SCORES:
        raise unknown_name("metric", options.metric, list(SCORES))
    if options.saved:
        return _saved(options)
    trust(options.trust)
    with stored_names(options.run[0]):
        return _played_again(options)


def _played_again(options: argparse.Namespace) -> int:
    """Play the agents and print, write and track what comes of it."""
    from copygym.experiments.commands.evaluate.play import Options
    from copygym.experiments.commands.evaluate.report import combined
    from copygym.experiments.commands.evaluate.runs import chosen, groups_of, sources_of

    sources = {source.path.resolve(): source for run in options.run for source in sources_of(run)}
    with understood(options.run[0]):
        groups = chosen(groups_of(list(sources.values())), options.agents, options.baseline)
    changes = Options(
        users=options.users,
        seed=options.seed,
        horizon=options.horizon,
        episodes=options.episodes,
        resamples=options.resamples,
        baseline=options.baseline,
    )
    played = _play(groups, changes)
    resamples = options.resamples or int(groups[0].sources[0].config["evaluation"]["resamples"])
    result = combined(played, options.metric, resamples, remarks(played, changes))
    if options.output is not None:
        write(result, options.output)
    if options.track is not None:
        _track(options, [source.config for source in sources.values()], result)
    if options.json:
        sys.stdout.write(_json(result))
    else:
        sys.stdout.write(text(result))
        if options.output is not None:
            sys.stdout.write(f"\nwritten: {options.output}/ ({', '.join(FILES)})\n")
    return 0


def _saved(options: argparse.Namespace) -> int:
    """Print the aggregates over the results that the runs have saved."""
    from copygym.experiments.commands.evaluate import saved as evaluate_saved

    for name in ("users", "seed", "horizon", "episodes", "output"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for playing again; leave it out, or leave --saved out.")
    if options.agents:
        raise UserError("--agents is for playing again; leave it out, or leave --saved out.")
    with understood(options.run[0]):
        found = evaluate_saved.aggregated(
            options.run, options.metric, options.resamples or RESAMPLES, options.baseline
        )
    sys.stdout.write(_json(found) if options.json else evaluate_saved.text(found))
    return 0


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
    parser.add_argument("--users", type=int, help="held-out users to play (default: as the run)")
    parser.add_argument(
        "--seed",
        type=int,
        help="of the users' luck, and of who is drawn where not all are (default: the run's own)",
    )
    parser.add_argument("--horizon", type=int, help="slots per episode (default: as learned)")
    parser.add_argument("--episodes", type=int, help="per user (default: as the run)")
    parser.add_argument(
        "--baseline", metavar="NAME", help="take differences from this policy (default: the run's)"
    )
    parser.add_argument(
        "--metric",
        default="clicks_per_user",
        help="of the aggregates over runs: clicks_per_user (default), profit_per_user, "
        "revenue_per_user or reward_per_user",
    )
    parser.add_argument(
        "--saved",
        action="store_true",
        help="play nothing: aggregates over the results that the runs have saved, in seconds",
    )
    add_trust(parser)
    parser.add_argument("--resamples", type=int, help="of the bootstrap (default: as the run)")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"write {', '.join(FILES)} there"
    )
    parser.add_argument(
        "--track",
        metavar="MODE",
        help="log tables, figures and aggregates as one W&B run of the runs' group: online, "
        "offline, or auto; W&B's files go to the --output folder",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse, before any work, numbers without a meaning and an output folder in use."""
    least = {"users": 1, "seed": 0, "horizon": 1, "episodes": 1, "resamples": 2}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise UserError(f"--{name}={value}: give a whole number of {low} or more.")
    folder: Path | None = options.output
    if options.track is not None:
        from copygym.experiments.tracking.wandb import WandbConfig

        WandbConfig(mode=options.track)
        if folder is None:
            raise UserError(
                "--track needs --output=FOLDER, where W&B's files go beside the result."
            )
    if folder is not None:
        check_output_folder(folder, (*FILES, "wandb"), "remarks")


def _track(
    options: argparse.Namespace, configs: list[dict[str, Any]], result: dict[str, Any]
) -> None:
    from copygym.experiments.commands.evaluate.summary import log_summary, summary_options

    # A multirun's runs have its folder's name as their group, unless they were told another.
    group = options.run[0].resolve().name
    mirror = log_summary(result, summary_options(configs, options.track), options.output, group)
    if mirror.mode == "offline":
        sys.stderr.write(f"upload the summary by `wandb sync {options.output}/wandb/offline-*`\n")


def _play(groups: list[Group], options: Options) -> list[dict[str, Any]]:
    from tqdm import tqdm

    from copygym.experiments.commands.evaluate.play import play_group

    total = 2 * sum(len(group.agents) for group in groups)
    found = []
    with tqdm(total=total, desc="play", unit="policy", disable=None) as bar:

        def advance(name: str) -> None:
            bar.set_postfix_str(printable(name))
            bar.update()

        for group in groups:
            found.append(play_group(group, options, advance))
    return found


def remarks(played: list[dict[str, Any]], options: Options) -> list[str]:
    """Return what a reader has to know of this evaluation."""
    found = []
    held = min(group["held_out"] for group in played)
    if options.users is not None and options.users > held:
        found.append(
            f"--users={options.users:,} is more than the {held:,} people held out: all were played."
        )
    learned = {group["learned_horizon"] for group in played}
    if options.horizon is not None and learned != {options.horizon}:
        found.append(
            f"the agents learned for {' or '.join(map(str, sorted(learned)))} slots and played "
            f"{options.horizon}: they see time, sends and clicks as shares of the horizon."
        )
    if any(group["other_code"] for group in played):
        found.append(
            "a run was made by another version of copygym: its numbers may differ from these for "
            "that reason alone."
        )
    for group in played:
        if group["support_missing"]:
            found.append(f"effective sample sizes are not known: {group['support_missing']}.")
    return list(dict.fromkeys(found))


def text(result: dict[str, Any]) -> str:
    """Return what is printed: tables with their captions, then remarks."""
    from copygym.experiments.commands.evaluate import report as evaluate_report
    from copygym.experiments.report import aggregates as aggregate_report

    kind = " (synthetic)" if result["synthetic"] else ""
    tables = [
        evaluate_report.main_table(result),
        evaluate_report.difference_table(result),
        evaluate_report.transfer_table(result),
        evaluate_report.support_table(result),
    ]
    parts = [f"{result['title']}{kind}", result["summary"]]
    for table in tables:
        if table is not None and table.rows:
            parts += [table.to_text(), table.caption]
    if result.get("aggregates"):
        section = aggregate_report.section(result["aggregates"])
        parts += [section.heading, *section.text]
        for table in section.tables:
            parts += [table.to_text(), table.caption]
    parts.append("\n".join(f"note: {line}" for line in result["remarks"]))
    return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def write(result: dict[str, Any], folder: Path) -> None:
    """Write `FILES` to ``folder``, each atomically."""
    from copygym.core.files.storage import write_text
    from copygym.experiments.commands.evaluate import report as evaluate_report
    from copygym.experiments.report.page import render
    from copygym.experiments.runs.outputs import write_result

    write_result(folder / "result.json", result)
    table = evaluate_report.main_table(result)
    label = "Synthetic data. " if result["synthetic"] else ""
    write_text(folder / "table.md", table.to_page(label))
    write_text(folder / "report.html", render(result, table, evaluate_report.sections(result)))


def _json(result: dict[str, Any]) -> str:
    from copygym.experiments.runs.outputs import plain

    content = plain(result)
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
