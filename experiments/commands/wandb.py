"""``copygym wandb``: what W&B's own users need: a sweep for its agents, a workspace as code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from copygym.core.errors import UserError
from copygym.experiments.options import Parser, add_json, add_wandb, command_parser, print_result

_EXAMPLES = """examples:
  copygym wandb sweep experiment=delivery agent=linucb,logistic_ts seed=0,1,2 --output sweep.yaml
  wandb sweep sweep.yaml && wandb agent ENTITY/copygym/SWEEP
  copygym wandb workspace --entity ENTITY --group SWEEP
  copygym wandb workspace --group SWEEP --json
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, or a package, key or server that is not there.
    """
    # A multirun's arguments may be pasted as they are.
    options = _parser().parse_args([a for a in arguments if a not in ("-m", "--multirun")])
    if options.command == "sweep":
        return _sweep(options)
    return _workspace(options)


def _parser() -> Parser:
    parser = command_parser(
        "copygym wandb",
        "Sweeps and workspaces of Weights & Biases as code. None of this is needed to track runs: "
        "`copygym run tracker=online|offline` does that.",
        _EXAMPLES,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="sweep|workspace")
    sweep = commands.add_parser("sweep", help="a W&B Sweep from the arguments of a multirun")
    sweep.add_argument("overrides", nargs="+", metavar="KEY=VALUES", help="as for copygym run -m")
    sweep.add_argument("--method", default="grid", help="grid (default), random or bayes")
    sweep.add_argument("--metric", metavar="NAME", help="key of the runs' summary to optimise")
    sweep.add_argument("--goal", default="maximize", help="maximize (default) or minimize")
    sweep.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")
    workspace = commands.add_parser("workspace", help="a view of runs and sweeps on the W&B site")
    add_wandb(workspace)
    workspace.add_argument("--name", help="of the view")
    add_json(workspace, "instead of saving the view; no account is needed")
    return parser


def _sweep(options: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from copygym.core.files.storage import write_text
    from copygym.experiments.commands.wandb_sweep import wandb_sweep
    from copygym.experiments.runs.outputs import check_output

    if options.output is not None:
        check_output(options.output, holds="program: copygym")
    sweep = wandb_sweep(
        options.overrides, method=options.method, metric=options.metric, goal=options.goal
    )
    # W&B's ${...} are not ours to fill in: OmegaConf leaves them as they are unless asked.
    text = OmegaConf.to_yaml(OmegaConf.create(sweep))
    if options.output is None:
        sys.stdout.write(text)
        return 0
    write_text(options.output, text)
    sys.stdout.write(
        f"written: {options.output}\nstart it by `wandb sweep {options.output}`, then run "
        "the agent that it names\n"
    )
    return 0


def _workspace(options: argparse.Namespace) -> int:
    from copygym.experiments.tracking.workspace import save, view

    place = (options.project, options.group, options.name)
    if options.json:
        print_result(view(options.entity or "ENTITY", *place), "", options)
        return 0
    if options.entity is None:
        raise UserError("--entity is missing: name the W&B team or user, or print by --json.")
    url = save(options.entity, *place)
    sys.stdout.write(f"saved: {url}\n")
    return 0
