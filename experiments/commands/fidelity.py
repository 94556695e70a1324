"""``copygym fidelity``: fit users on logs and write the page with their fidelity cards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import unknown_name
from copygym.core.files.storage import write_text
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
_TITLE = "Fidelity cards"
_CAPTION = (
    "What a card cannot tell is measured by `copygym run experiment=e1`: whether policies keep "
    "what a simulator promises, whether simulators rank policies rightly, and whose clicks they "
    "get wrong."
)
#: Groups of each kind that a page shows.
_LARGEST = 12
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
        check_output(options.output, holds=f"# {_TITLE}")
    from copygym.core.progress import progress

    jobs = [(log, family) for log in options.logs for family in families]
    cards = []
    with progress(jobs, "fit users", unit="fit") as bar:
        for log, family in bar:
            bar.set_description(f"{log.partition('=')[0]}, {family}")
            cards.append(fidelity_card(named_log(log, options, "LOG"), family, options.seed))
    # Paths are where one machine keeps its logs; the command on the page names files only.
    names = [
        f"{name}={Path(path).name}" if path else Path(name).name
        for name, _, path in (log.partition("=") for log in options.logs)
    ]
    command = ["copygym fidelity", *names, *told(options)]
    if options.output is None:
        sys.stdout.write(fidelity_page(cards, " ".join(command)))
        return 0
    page = options.output.name if options.output.is_absolute() else options.output
    write_text(options.output, fidelity_page(cards, " ".join([*command, f"--output {page}"])))
    sys.stdout.write(f"{options.output}\n")
    return 0


def fidelity_page(cards: Sequence[FidelityCard], command: str) -> str:
    """Return the page with all cards as Markdown.

    Args:
        cards: one per fitted simulator.
        command: that makes the page again; printed on it.
    """
    from copygym.experiments.report.fidelity import card_section, cards_table
    from copygym.experiments.report.page import markdown

    summary = (
        "How far fitted users are from real ones, on users that the fit never saw. Every number "
        f"comes from one command: `{command}`."
    )
    sections = [
        card_section(card, f"{card.name} ({card.family})", largest=_LARGEST, drawn=False)
        for card in cards
    ]
    return markdown({"title": _TITLE, "summary": summary}, cards_table(cards, _CAPTION), sections)


def fidelity_card(log: ClickLog, family: str, seed: int) -> FidelityCard:
    """Return the card of one family fitted on a log."""
    from copygym.envs.simulator.fit import fit_users

    return fit_users(log, **users_options(family), seed=seed).fidelity


def users_options(family: str) -> dict[str, Any]:
    """Return the options of `fit_users` in ``conf/users/FAMILY.yaml``."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("copygym.conf", version_base="1.3"):
        options = OmegaConf.to_container(compose(f"users/{family}").users, resolve=True)
    assert isinstance(options, dict)
    return {str(key): value for key, value in options.items()}
