"""``copygym report``: a run's or a multirun's report, made again from its saved files alone."""

from __future__ import annotations

import sys
from pathlib import Path

from copygym.experiments.options import add_trust, command_parser


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: nothing has finished there, it names other code, or its files are damaged.
    """
    parser = command_parser(
        "copygym report", "Rebuilds report.html from saved results: nothing is run again.", ""
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="of a finished run, or of a multirun"
    )
    add_trust(parser)
    options = parser.parse_args(arguments)
    from copygym.core.components import trust
    from copygym.experiments.report.page import write_report

    trust(options.trust)
    path, _ = write_report(options.folder)
    sys.stdout.write(f"{path}\n")
    return 0
