"""``copygym ope``: what other policies would have earned, from a log with propensities."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.components import trust
from copygym.core.errors import UserError
from copygym.evaluation.ope.decisions import OUTCOMES, decisions
from copygym.evaluation.ope.policies import BUILT_IN, Target, built_in, policy_file
from copygym.experiments.options import (
    Parser,
    add_json,
    add_log_options,
    add_number,
    add_output_folder,
    add_seed,
    add_trust,
    command_parser,
    file_arguments,
    named_log,
    print_result,
)
from copygym.experiments.runs.outputs import check_output_folder

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.evaluation.ope.decisions import Decisions

#: Files that --output gets.
FILES = ("result.json", "estimates.csv", "table.md", "report.html")

_DESCRIPTION = (
    "Estimates what policies would have earned from a log that another policy wrote "
    "(off-policy evaluation), with intervals, and says where the log cannot tell. The log needs "
    "creative_id and propensity, the probability with which each logged choice was made."
)
_EXAMPLES = f"""policies (--policy, repeatable):
  {", ".join(BUILT_IN)}; or [NAME=]FILE.csv, which says how likely each arm is:
    arm,probability                      the same for everybody
    arm,user_segment,probability         by any columns of the log
    hold,mens_email,womens_email         row by row, one column per arm
    probability                          row by row, of the logged arm alone
  [NAME=]FILE.npy holds rows x arms (hold first, then by name) and is read block by block.
  --separator and --encoding hold for these files as well, where they fit.

examples:
  copygym ope --log hillstrom=hillstrom.csv --policy uniform --policy arms
  copygym ope --log clicks.csv --map creative_id=mail --map clicks=opened --set impressions=1 \\
      --policy new=new_policy.csv --output ope
  copygym ope --log hillstrom=hillstrom.csv --agent outputs/hillstrom/RUN:bandit_visit
  copygym ope --log clicks.csv --agent outputs/delivery/RUN --horizon 28
  copygym ope --log open_bandit --set campaign=men --policy best_fixed
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, a log or a policy that cannot be judged.
    """
    options = _parser().parse_args(arguments)
    trust(options.trust)
    if options.output is not None:
        check_output_folder(options.output, FILES, "policies")
    log = named_log(options.log, options)
    runs = [_agent_of(text) for text in options.agent]
    past, remarks = log, []
    for run, _ in runs[:1]:
        from copygym.experiments.studies.saved_agents import held_out

        log, past, remark = held_out(log, run)
        remarks.append(remark)
    rows = decisions(
        log, options.outcome, estimate=options.estimate_propensities, seed=options.seed
    )
    reading = file_arguments(options)
    targets = _targets(rows, options.policy or ["uniform", "best_fixed"], runs, past, reading)
    remarks += [remark for one in targets for remark in one.remarks]
    model = None
    if not options.no_model:
        from copygym.evaluation.ope.decisions import response_model

        model = response_model(rows)
    from copygym.evaluation.ope.judge import evaluate

    result = evaluate(rows, targets, model, options.resamples, options.seed)
    result["remarks"] = remarks
    if options.horizon is not None:
        from copygym.evaluation.ope.sequential.episodes import logged_episodes
        from copygym.evaluation.ope.sequential.judge import value_episodes

        result["horizon"] = options.horizon
        result["episodes"] = {
            one.name: value_episodes(
                logged_episodes(rows, one, options.horizon),
                model=None if options.no_model else "linear",
                resamples=options.resamples,
                seed=options.seed,
            ).to_dict()
            for one in targets
        }
    print_result(result, text(result, brief=options.brief), options)
    if options.output is not None:
        write(result, options.output)
        # Beside JSON nothing else may be printed.
        out = sys.stderr if options.json else sys.stdout
        out.write(f"\nwritten: {options.output}/ ({', '.join(FILES)})\n")
    return 0


def _parser() -> Parser:
    parser = command_parser("copygym ope", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--log",
        required=True,
        metavar="FILE|NAME[=PATH]",
        help="a CSV or Parquet log, or a dataset of `copygym data list`",
    )
    add_log_options(parser)
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="POLICY",
        help="what to judge, see below; without any: uniform and best_fixed",
    )
    parser.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="RUN[:NAME]",
        help="an agent in the folder of a finished run",
    )
    parser.add_argument(
        "--outcome", default="clicks", help=f"{', '.join(OUTCOMES)} (default clicks)"
    )
    parser.add_argument(
        "--estimate-propensities",
        action="store_true",
        help="fit the logging policy on the log's features; an assumption, which the result names",
    )
    parser.add_argument(
        "--no-model", action="store_true", help="only estimators that need no response model"
    )
    add_number(
        parser, "horizon", "also judge whole episodes: a user's decisions in order, N at a time", 1
    )
    add_trust(parser)
    add_number(parser, "resamples", "of the bootstrap (default 1000)", 2, 1000)
    add_seed(parser, "of folds and resamples")
    parser.add_argument("--brief", action="store_true", help="print the first table only")
    add_json(parser)
    add_output_folder(parser, FILES)
    return parser


def _agent_of(text: str) -> tuple[Path, str | None]:
    if Path(text).is_dir():
        return Path(text), None
    run, _, name = text.rpartition(":")
    if not run or not Path(run).is_dir():
        raise UserError(f"--agent={text}: there is no such folder; give that of a finished run.")
    return Path(run), name


def _targets(
    rows: Decisions,
    names: list[str],
    runs: list[tuple[Path, str | None]],
    past: ClickLog,
    reading: dict[str, Any],
) -> list[Target]:
    """Return the policies to judge, the logging policy first."""
    found = built_in(rows, "logging")
    for name in names:
        if name in BUILT_IN:
            found += built_in(rows, name) if name != "logging" else []
            continue
        label, mark, path = name.partition("=")
        if not mark or Path(name).is_file():
            label, path = Path(name).name.split(".")[0], name
        found.append(policy_file(rows, Path(path), label, **reading))
    for run, agent in runs:
        from copygym.experiments.studies.saved_agents import agent_policy

        found.append(agent_policy(rows, run, agent, past))
    for index, one in enumerate(found):
        if one.name in [other.name for other in found[:index]]:
            raise UserError(f"two policies are called {one.name!r}; write NAME=FILE for one.")
    return found


def text(result: dict[str, Any], *, brief: bool = False) -> str:
    """Return what is printed: tables, then warnings."""
    from copygym.experiments.commands.statistics import ope_report

    kind = " (synthetic)" if result["synthetic"] else ""
    table = ope_report.main_table(result)
    parts = [f"{result['log']}{kind}", table.to_text(), table.caption]
    if "episodes" in result:
        episodes = ope_report.episode_table(result)
        parts += ["Episodes", episodes.to_text(), episodes.caption]
    if not brief:
        support = ope_report.support_table(result)
        parts += ["Support", support.to_text(), support.caption]
        for name in result["policies"]:
            estimates = ope_report.estimator_table(result, name)
            parts.append("\n".join(x for x in (estimates.to_text(), estimates.caption) if x))
    lines = ope_report.warning_lines(result)
    notes = [*result["notes"], *result["remarks"]]
    parts.append("\n".join(f"note: {line}" for line in notes))
    parts.append("\n".join(f"warning: {line}" for line in lines))
    return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def write(result: dict[str, Any], folder: Path) -> None:
    """Write `FILES` to ``folder``, each atomically."""
    import polars as pl

    from copygym.core.files.storage import write_bytes
    from copygym.experiments.commands.statistics import ope_report
    from copygym.experiments.report.page import write_short
    from copygym.experiments.runs.outputs import without_formulas, write_result

    write_result(folder / "result.json", result)
    rows = pl.DataFrame(ope_report.csv_rows(result), infer_schema_length=None)
    # Policies and arms are called as the user's log calls them.
    write_bytes(folder / "estimates.csv", without_formulas(rows).write_csv().encode())
    page = {
        "title": f"Off-policy evaluation: {result['log']}",
        "synthetic": result["synthetic"],
        "summary": f"What {len(result['policies'])} policies would have earned in the decisions "
        "of the log, estimated from what its own policy did and earned.",
    }
    write_short(folder, page, ope_report.main_table(result), ope_report.sections(result))
