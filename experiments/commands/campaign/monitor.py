"""``copygym monitor``: a running campaign against what its plan promised."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from copygym.core.errors import UserError
from copygym.experiments.option_values import share, whole
from copygym.experiments.options import (
    add_file_options,
    add_json,
    add_output_folder,
    add_value,
    command_parser,
    file_arguments,
    print_result,
)
from copygym.experiments.runs.outputs import check_output_folder

if TYPE_CHECKING:
    from copygym.experiments.plans.monitoring import Monitored

FILES = ("result.json", "table.md", "report.html")
_DESCRIPTION = (
    "Compares a running campaign with what its plan promised: clicks, unsubscribes, the control "
    "group's share, what sending adds to purchases, silent channels and, with --earlier, drift. "
    "Its intervals hold however often one looks. The exit code is 1 where somebody should look, "
    "0 where all is well."
)
_EXAMPLES = """examples:
  copygym monitor --plan plan.parquet --outcomes outcomes.csv
  copygym monitor --plan plan.parquet --outcomes outcomes.csv --now 2026-12-03T12:00 --output seen
  copygym monitor --plan week2.parquet --outcomes o2.csv --earlier week1.parquet o1.csv
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns 1 where there is an alarm.

    Raises:
        UserError: wrong arguments, or files that cannot be read.
    """
    parser = command_parser("copygym monitor", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--plan", required=True, type=Path, help="written by copygym deliver")
    parser.add_argument("--outcomes", required=True, action="append", type=Path, metavar="FILE",
                        help="what came of it so far; repeat for more")  # fmt: skip
    parser.add_argument("--now", metavar="TIME", help="UTC (default: now)")
    add_value(parser, "--window", whole(1), default=7, metavar="DAYS",
              help="after a send in which outcomes are its (default 7)")  # fmt: skip
    add_value(parser, "--control", share, default=0.1, metavar="SHARE",
              help="that the control group was to have (default 0.1)")  # fmt: skip
    add_value(parser, "--most-unsubscribes", share, default=0.01, metavar="SHARE",
              help="of messages after which somebody may unsubscribe (default 0.01)")  # fmt: skip
    parser.add_argument("--earlier", nargs=2, action="append", type=Path, default=[],
                        metavar=("PLAN", "OUTCOMES"), help="a round before this one, of the same "
                        "policy; repeat, oldest first: rings where clicks drift away")  # fmt: skip
    add_json(parser)
    add_output_folder(parser, FILES)
    add_file_options(parser)
    options = parser.parse_args(arguments)
    from copygym.experiments.plans.monitoring import monitor
    from copygym.experiments.plans.outcomes import join, read_outcomes, read_plan

    if options.output is not None:
        check_output_folder(options.output, FILES, "checks")
    now = _time(options.now)
    plan = read_plan(options.plan)
    outcomes, notes = read_outcomes(options.outcomes, **file_arguments(options))
    joined = join(plan, outcomes, timedelta(days=options.window))
    window = timedelta(days=options.window)
    earlier = []
    for plan_file, outcomes_file in options.earlier:
        before, more = read_outcomes([outcomes_file], **file_arguments(options))
        earlier.append(join(read_plan(plan_file), before, window).plan)
        notes += more
    seen = monitor(
        joined.plan, now, control=options.control, most_unsubscribes=options.most_unsubscribes,
        earlier=earlier,
    )  # fmt: skip
    result = {**seen.to_dict(), "now": now.isoformat(), "notes": [*notes, *joined.notes]}
    print_result(result, text(seen), options)
    for note in result["notes"]:
        sys.stderr.write(f"note: {note}\n")
    if options.output is not None:
        _write(seen, result, options.output)
    return int(seen.alarm)


def text(seen: Monitored) -> str:
    """Return what is printed."""
    from copygym.experiments.report.tables import Table

    rows = tuple((c.name, "ALARM" if c.alarm else "fine", c.found) for c in seen.checks)
    table = Table(("", "", f"{seen.due:,} of {seen.planned:,} messages are due"), rows)
    return "\n" + table.to_text() + "\n"


def _write(seen: Monitored, result: dict[str, object], folder: Path) -> None:
    from copygym.experiments.report.page import Section, write_short
    from copygym.experiments.report.tables import Table
    from copygym.experiments.runs.outputs import write_result

    write_result(folder / "result.json", result)
    rows = tuple((c.name, "ALARM" if c.alarm else "fine", c.found) for c in seen.checks)
    table = Table(("what", "state", "found"), rows)
    verdict = "Somebody should look." if seen.alarm else "The campaign does as promised."
    page = {
        "title": "A running campaign",
        "synthetic": False,
        "summary": f"{verdict} {seen.clicks:,} clicks where {seen.promised:,.0f} were promised, of "
        f"{seen.due:,} messages that are due.",
    }
    notes = [str(note) for note in result["notes"]]  # type: ignore[attr-defined]
    write_short(folder, page, table, [Section("Notes", points=tuple(notes))] if notes else [])


def _time(given: str | None) -> datetime:
    if given is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(given)
    except ValueError:
        raise UserError(f"--now={given}: give a time such as 2026-12-03T12:00.") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
