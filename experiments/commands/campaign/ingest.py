"""``copygym ingest``: what came of a plan, as the log of the next round."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from copygym.experiments.option_values import whole
from copygym.experiments.options import (
    add_people_options,
    add_value,
    command_parser,
    file_arguments,
    people_arguments,
)
from copygym.experiments.runs.outputs import check_output, check_suffix, write_table

_DESCRIPTION = (
    "Joins outcomes to the plan that they came of and writes a click log with propensities, from "
    "which the next round learns. Outcomes that are late, of nobody in the plan, from before the "
    "send, or there twice are counted and kept in a file beside the log."
)
_EXAMPLES = """a row of outcomes is a send (user, clicked, purchased, revenue, unsubscribed) or an
event (user, event, time, revenue). Without a row a message counts as not clicked.

examples:
  copygym ingest --plan plan.parquet --outcomes outcomes.csv --people people.csv --out log.parquet
  copygym ingest --plan plan.csv --outcomes week1.csv --outcomes week2.csv --window 7 --out log.csv
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, a file that is no plan, or outcomes that cannot be read.
    """
    parser = command_parser("copygym ingest", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--plan", required=True, type=Path, help="written by copygym deliver")
    parser.add_argument("--outcomes", required=True, action="append", type=Path, metavar="FILE",
                        help="what came of it; repeat for more")  # fmt: skip
    parser.add_argument("--policy", type=Path, metavar="RUN",
                        help="refuse a plan that this run did not make")  # fmt: skip
    parser.add_argument("--people", type=Path, help="adds the user_* columns of this file")
    add_value(parser, "--window", whole(1), default=7, metavar="DAYS",
              help="after a send in which outcomes are its (default 7)")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help=".csv, .csv.gz or .parquet")
    add_people_options(parser)
    options = parser.parse_args(arguments)
    from copygym.experiments.plans.outcomes import (
        as_log,
        check_policy,
        join,
        read_outcomes,
        read_plan,
    )
    from copygym.experiments.plans.people import read_people

    check_suffix(options.out, "--out")
    aside = options.out.with_name(options.out.name.split(".")[0] + ".aside.csv")
    check_output(options.out, reads=options.plan, columns=("user_id", "propensity"), holds="a log")
    plan = read_plan(options.plan)
    if options.policy is not None:
        check_policy(options.plan, plan, options.policy)
    outcomes, notes = read_outcomes(options.outcomes, **file_arguments(options))
    people = None
    if options.people is not None:
        people, more = read_people(options.people, **people_arguments(options))
        notes += more
    joined = join(plan, outcomes, timedelta(days=options.window))
    log, more = as_log(joined.plan, people)
    write_table(log, options.out)
    sent = int((log["creative_id"] != "hold").sum())
    sys.stdout.write(
        f"\n{plan.height:,} people of the plan, {outcomes.height:,} rows of outcomes\n"
        f"{sent:,} messages, {int(log['clicks'].sum()):,} clicked, "
        f"{int(log['conversions'].sum()):,} conversions, {float(log['revenue'].sum()):,.2f} "
        f"revenue, {int(log['unsubscribes'].sum()):,} unsubscribed\n"
    )
    for note in (*notes, *joined.notes, *more):
        sys.stderr.write(f"note: {note}\n")
    written = str(options.out)
    if joined.aside.height:
        write_table(joined.aside, aside)
        written += f", {aside}"
    sys.stdout.write(f"\nwritten: {written}\n")
    return 0
