"""``copygym deliver``: a saved policy applied to a file of people, as a plan."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from copygym.core.components import trust
from copygym.core.errors import UserError
from copygym.experiments.option_values import share
from copygym.experiments.options import (
    add_number,
    add_people_options,
    add_seed,
    add_trust,
    add_value,
    command_parser,
    people_arguments,
)
from copygym.experiments.runs.outputs import FORMULAS, check_output, check_suffix, write_table

_DESCRIPTION = (
    "Applies the policy of a finished run to a file of people and writes a plan: for everybody "
    "what is sent when and on which channel, the copy of their audience, how likely the policy was "
    "to choose it, the predicted click probability and the reason; or that nothing is sent, and "
    f"why. A control group gets nothing. No plan breaks the rules of --rules. {FORMULAS}"
)
_EXAMPLES = """the people file has a column user (or --user NAME), the user_* columns of the log
(user_age, user_city; one that is missing counts as unknown), and what --rules name (consent, time
zone). People whom the run knows keep their history; others are new.

examples:
  copygym deliver --policy outputs/quickstart/RUN --people people.csv --out plan.parquet
  copygym deliver --policy RUN --people people.csv --rules rules.yaml --start 2026-12-01T08:00 \\
      --control 0.1 --explore 0.05 --out plan.csv
  copygym deliver --policy RUN --people people.csv --like spring --out plan.csv
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, a run without a policy, or people that cannot be read.
    """
    parser = command_parser("copygym deliver", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--policy", required=True, type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--agent", metavar="NAME", help="its agent (default: the learned one)")
    parser.add_argument(
        "--copy", choices=("new", "logged"), help="of a campaign: new copy (default) or the log's"
    )
    parser.add_argument("--people", required=True, type=Path, help="CSV, csv.gz or Parquet")
    parser.add_argument(
        "--rules", type=Path, metavar="FILE", help="YAML or JSON; see docs/rules.md"
    )
    parser.add_argument("--start", metavar="TIME", help="of the first decision, UTC (default: now)")
    parser.add_argument("--first-slot", metavar="SLOT", help="the slot of --start")
    add_number(parser, "decisions", "slots to look ahead (default: each once)", 1)
    add_value(parser, "--control", share, default=0.1, help="share of people to whom nothing is "
              "sent (default 0.1)", metavar="SHARE")  # fmt: skip
    add_value(parser, "--explore", share, default=0.1, help="share of decisions at random, from "
              "which the next round learns (default 0.1)", metavar="SHARE")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help=".csv, .csv.gz or .parquet")
    add_seed(parser, "of the policy's draws")
    add_trust(parser)
    add_people_options(parser)
    options = parser.parse_args(arguments)
    trust(options.trust)
    from copygym.envs.rules.rules import Rules
    from copygym.experiments.plans.people import check_people, read_people
    from copygym.experiments.plans.plan import COLUMNS, make_plan
    from copygym.experiments.plans.saved import read_policy
    from copygym.experiments.plans.summary import plan_summary

    check_suffix(options.out, "--out")
    check_output(options.out, reads=options.people, columns=COLUMNS, holds="a plan")
    rules = None if options.rules is None else Rules.read(options.rules)
    start = _time(options.start)
    side = {None: None, "new": "with_new_copy", "logged": "logged_copy"}[options.copy]
    people, notes = read_people(options.people, **people_arguments(options))
    policy = read_policy(options.policy, options.agent, side)
    notes += check_people(options.people, people, policy)
    from copygym.core.progress import progress

    with progress(total=people.height, what="ask the policy", unit="person") as bar:
        plan = make_plan(
            policy, people, start, rules=rules, decisions=options.decisions,
            first_slot=options.first_slot, control=options.control, explore=options.explore,
            seed=options.seed, on_people=bar.update,
        )  # fmt: skip
    write_table(plan.table, options.out)
    sys.stdout.write(plan_summary(plan.table, policy.synthetic, rules.costs if rules else None))
    for note in (*notes, *plan.notes):
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(f"\nwritten: {options.out}\n")
    return 0


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--start={text}: give a time such as 2026-12-01T08:00.") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
