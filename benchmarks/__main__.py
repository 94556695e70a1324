"""``python -m benchmarks``: runs the benchmarks, prints a table, writes docs/benchmarks.*."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks import (
    aggregation,
    biglog,
    copywriter,
    environments,
    grounding,
    headlines,
    learning,
    ope,
    planning,
    report,
    scoring,
    startup,
    sweeps,
    updating,
)
from benchmarks.measure import ROOT, Row

BENCHMARKS: dict[str, Callable[[bool], list[Row]]] = {
    "vector": environments.vector_rows,
    "single": environments.single_rows,
    "ppo": learning.ppo_rows,
    "biglog": biglog.biglog_rows,
    "prepare": biglog.prepare_rows,
    "update": updating.update_rows,
    "plan": planning.plan_rows,
    "copywriter": copywriter.ppo_copy_rows,
    "scoring": scoring.scoring_rows,
    "grounding": grounding.grounding_rows,
    "headlines": headlines.headline_rows,
    "ope": ope.ope_rows,
    "sweeps": sweeps.sweep_rows,
    "aggregation": aggregation.aggregation_rows,
    "help": startup.help_rows,
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME",
        help=f"run these alone and write no file unless --json is given: {', '.join(BENCHMARKS)}",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="PATH",
        help="write the results here and a page beside it (default: docs/benchmarks.json); with "
        "--only, the other rows of a file that is there are kept",
    )  # fmt: skip
    parser.add_argument(
        "--tiny", action="store_true",
        help="smallest sizes, to see that everything runs; the figures mean nothing",
    )  # fmt: skip
    return parser.parse_args(argv)


def _command(arguments: argparse.Namespace) -> str:
    words = [f"--only {' '.join(arguments.only)}"] if arguments.only else []
    words += ["--tiny"] if arguments.tiny else []
    return " ".join(["python -m benchmarks", *words]) if words else "make bench"


def main(argv: Sequence[str] | None = None) -> int:
    """Run and report; a missed goal is shown in the table and is no error."""
    arguments = parse(argv)
    names = arguments.only or list(BENCHMARKS)
    rows: list[Row] = []
    for name in tqdm(names, "benchmarks", disable=None):
        rows += BENCHMARKS[name](arguments.tiny)
    run = report.document(rows, _command(arguments))
    sys.stdout.write(report.text_table(run["rows"]) + "\n")
    path = arguments.json
    if path is None and not arguments.only and not arguments.tiny:
        path = ROOT / "docs" / "benchmarks.json"
    if path is not None:
        if arguments.only and path.exists():
            try:
                run = report.merged(json.loads(path.read_text()), run)
            except ValueError as error:
                sys.stderr.write(f"{path} is left as it is: {error}; name another --json.\n")
                return 1
        report.write(run, path)
        sys.stdout.write(f"\nwritten: {path} and {path.with_suffix('.md')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
