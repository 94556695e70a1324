"""``copygym fidelity``: fit users on logs and write the page with their fidelity cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.experiments.options import add_log_options, add_seed, command_parser, named_log, told
from copygym.experiments.runs.outputs import check_output

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fidelity import FidelityCard

FAMILIES = ("logistic", "boosting", "two_tower")

_DESCRIPTION = (
    "How far are simulated users from real ones? Fits each response family on a part of each "
    "log's users and scores it on the rest: log loss and Brier against the base rate, AUC, "
    "calibration, and click rates by segment, arm, channel and slot."
)
_EXAMPLES = """examples:
  copygym fidelity storefront
  copygym fidelity storefront hillstrom=hillstrom.csv --output docs/fidelity.md
  copygym fidelity coupon --families boosting
  copygym fidelity mylog.csv --map clicks=opened --set impressions=1
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, an unknown dataset or family, or a log that cannot be read or
            fitted.
    """
    parser = command_parser("copygym fidelity", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "logs",
        nargs="+",
        metavar="FILE|NAME[=PATH]",
        help="a CSV or Parquet log, or a dataset of `copygym data list`, with its file where "
        "`data get` did not put it",
    )
    parser.add_argument("--families", default=",".join(FAMILIES), help="comma-separated families")
    parser.add_argument("--output", type=Path, help="write the page here instead of printing it")
    add_seed(parser, "of the split and the fit")
    add_log_options(parser)
    options = parser.parse_args(arguments)
    families = options.families.split(",")
    for family in families:
        if family not in FAMILIES:
            raise unknown_name("response family", family, list(FAMILIES))

    if options.output is not None:
        check_output(options.output, holds="# Fidelity cards")
    from tqdm import tqdm

    from copygym.envs.simulator.fidelity import write_fidelity_page

    jobs = [(log, family) for log in options.logs for family in families]
    cards = []
    with tqdm(jobs, unit="fit", disable=None) as bar:
        for log, family in bar:
            bar.set_description(f"{log.partition('=')[0]}, {family}")
            cards.append(fidelity_card(named_log(log, options, "LOG"), family, options.seed))
    if options.output is None:
        sys.stdout.write("\n".join(card.to_markdown() for card in cards))
        return 0
    # Paths are where one machine keeps its logs; the command on the page names files only.
    names = [
        f"{name}={Path(path).name}" if path else Path(name).name
        for name, _, path in (log.partition("=") for log in options.logs)
    ]
    page = options.output.name if options.output.is_absolute() else options.output
    shown = ["copygym fidelity", *names, *told(options), f"--output {page}"]
    write_fidelity_page(cards, options.output, " ".join(shown))
    sys.stdout.write(f"{options.output}\n")
    return 0


def fidelity_card(log: ClickLog, family: str, seed: int) -> FidelityCard:
    """Return the card of one family fitted on a log."""
    from copygym.envs.simulator.fit import fit_users

    return fit_users(log, **users_options(family), seed=seed).fidelity


def users_options(family: str) -> dict[str, Any]:
    """Return the options of `fit_users` in ``conf/users/FAMILY.yaml``."""
    from importlib.resources import files

    from omegaconf import OmegaConf

    text = (files("copygym.conf") / "users" / f"{family}.yaml").read_text(encoding="utf-8")
    options = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    if not isinstance(options, dict):
        raise UserError(f"conf/users/{family}.yaml holds no options.")
    return {str(key): value for key, value in options.items() if key != "_target_"}
