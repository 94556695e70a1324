"""``copygym abtest``: judge an A/B test, check its sample ratio, or plan one."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.experiments.option_values import number, share, whole
from copygym.experiments.options import (
    add_file_options,
    add_json,
    add_number,
    add_texts,
    add_value,
    command_parser,
    file_arguments,
    print_result,
)

if TYPE_CHECKING:
    from copygym.evaluation.abtest.planning import Plan

_DESCRIPTION = """\
Judge an A/B test from a file: click rates, differences and lifts with intervals, a sample-ratio
check, and p-values adjusted for several arms.

commands:
  copygym abtest FILE ...    judge a test
  copygym abtest srm ...     check sample ratios alone, of one test or of many
  copygym abtest plan ...    how many users a test needs, or what it can find

The file has one row per user (or per impression), or one row per arm with counts.
A fixed-horizon test is valid for one look, at the planned number of users. If you look more than
once, or stop when it looks good, use --always-valid.
"""
_USER = "column of users (default user_id, if there is one)"
_EXAMPLES = """examples:
  copygym abtest arms.csv                                  columns arm, impressions, clicks
  copygym abtest users.csv --user customer --clicks opened --covariate opened_before
  copygym abtest users.csv --value revenue --control old
  copygym abtest daily.csv --always-valid --look day --planned 40000
  copygym abtest bandit.csv --propensity propensity --always-valid
"""
_SRM_EXAMPLES = """examples:
  copygym abtest srm --counts 50000,50912
  copygym abtest srm --counts 9000,1020 --ratio 9:1
  copygym abtest srm users.csv --ratio control=9,new=1
  copygym abtest srm tests.parquet --test test_id
"""
_PLAN_EXAMPLES = """examples:
  copygym abtest plan --baseline 2% --lift 10% --power .8
  copygym abtest plan --baseline .02 --lift 10% --arms 4 --daily 5000
  copygym abtest plan --baseline .02 --users 40000          the least lift that this finds
  copygym abtest plan --baseline 12.5 --deviation 40 --lift 5% --correlation .6 --always-valid
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, or a file that is no A/B test.
    """
    arguments = _joined(arguments)
    if arguments and arguments[0] == "plan":
        return _plan(arguments[1:])
    if arguments and arguments[0] == "srm":
        return _srm(arguments[1:])
    return _judge(arguments)


def _joined(arguments: list[str]) -> list[str]:
    """Join an option and a negative value, as argparse takes -5% for an option of its own."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.match(r"-[0-9.]", argument) and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] = f"{joined[-1]}={argument}"
        else:
            joined.append(argument)
    return joined


def _judge(arguments: list[str]) -> int:
    parser = command_parser("copygym abtest", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("file", type=Path, help="CSV, csv.gz or Parquet")
    parser.add_argument("--arm", default="arm", help="column of the arms (default arm)")
    parser.add_argument(
        "--control",
        help="the arm to compare with (default: one called control, baseline, original, ..., or "
        "the first in order: 0 before 1, A before B)",
    )
    parser.add_argument("--clicks", default="clicks", help="column of clicks (default clicks)")
    add_texts(
        parser,
        impressions="column of impressions (default impressions, if there is one)",
        value="a number per user instead of clicks, such as revenue",
        user=_USER,
        covariate="a number per user from before the test, for CUPED",
        look="column that says when a row came in, such as a day",
        propensity="column of propensities, where a bandit chose the arms",
    )
    parser.add_argument(
        "--rows",
        choices=("auto", "users", "counts"),
        default="auto",
        help="users: a row is a unit; counts: rows of impressions and clicks are added up "
        "(default auto: counts where there is one row per arm and look)",
    )
    parser.add_argument("--always-valid", action="store_true", help="valid at every look")
    add_number(
        parser,
        "planned",
        "units of all arms at which an always-valid interval is narrowest (default 20000)",
        1,
    )
    add_value(parser, "--level", share, default="95%", help="of the intervals (default 95%%)")
    parser.add_argument(
        "--adjust",
        default="holm",
        help="for several arms: holm, dunnett, bh or none (default holm)",
    )
    add_value(
        parser,
        "--ratio",
        named_ratio,
        help="planned ratio, as in control=9,new=1 (default: the same for all)",
    )
    add_file_options(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.planned is not None and not options.always_valid:
        raise UserError("--planned belongs to --always-valid; add it or leave --planned out.")

    from copygym.evaluation.abtest.compare import PLANNED
    from copygym.evaluation.abtest.file.analysis import Question, analyse
    from copygym.evaluation.abtest.file.reader import read_test
    from copygym.evaluation.abtest.file.table import Columns, file_notes
    from copygym.experiments.commands.statistics.abtest_report import to_text

    names = ("arm", "clicks", "impressions", "value", "user", "covariate", "look", "propensity")
    columns = Columns(**{name: getattr(options, name) for name in names})
    question = Question(
        method="always_valid" if options.always_valid else "fixed",
        level=options.level,
        adjust=options.adjust,
        planned=PLANNED if options.planned is None else options.planned,
        ratio=options.ratio,
    )
    reading = file_arguments(options)
    test = read_test(
        options.file,
        columns,
        control=options.control,
        rows=options.rows,
        **reading,
        planned=tuple(question.ratio or ()),
    )
    result = analyse(test, question)
    result["notes"] = [*file_notes(options.file, **reading), *result["notes"]]
    print_result(result, to_text(result), options)
    return 0


def _srm(arguments: list[str]) -> int:
    parser = command_parser(
        "copygym abtest srm",
        "Check whether units arrived in the planned shares (a sample-ratio mismatch says that the "
        "randomisation or the counting is broken). Count what was randomised: users where users "
        "were, not their impressions.",
        _SRM_EXAMPLES,
    )
    parser.add_argument("file", type=Path, nargs="?", help="CSV, csv.gz or Parquet")
    add_value(
        parser, "--counts", counts, help="units per arm, as in 50000,50912, instead of a file"
    )
    add_value(
        parser,
        "--ratio",
        any_ratio,
        help="planned ratio, as in control=9,new=1, or 9:1 in the order of the arms",
    )
    add_texts(
        parser,
        arm="column of the arms (default arm; without one every row is an arm)",
        test="column of the test, in a file of many",
        impressions="column of units (default impressions, if there is one)",
        user=_USER,
    )
    add_value(parser, "--threshold", share, default="0.001", help="of the p-value (default .001)")
    add_file_options(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    if (options.file is None) == (options.counts is None):
        raise UserError("copygym abtest srm: give a file or --counts, one of them.")

    from copygym.evaluation.abtest.file.audit import audit, audited_file
    from copygym.evaluation.abtest.file.table import file_notes
    from copygym.experiments.commands.statistics.abtest_report import audit_text

    notes: list[str] = []
    if options.file is None:
        tests = {"": {f"arm {i + 1}": float(n) for i, n in enumerate(options.counts)}}
    else:
        reading = file_arguments(options)
        columns = (options.arm, options.test, options.impressions, options.user)
        tests = audited_file(options.file, *columns, **reading, weights=options.ratio)
        notes = list(file_notes(options.file, **reading))
    result = audit(tests, options.ratio, options.threshold) | {"notes": notes}
    said = "".join(f"Note: {note}\n" for note in notes)
    print_result(result, audit_text(result) + said, options)
    return 0


def _plan(arguments: list[str]) -> int:
    parser = command_parser(
        "copygym abtest plan",
        "How many users does a test need to find a lift? Or, with --users, what lift can it find?",
        _PLAN_EXAMPLES,
    )
    add_value(
        parser,
        "--baseline",
        number,
        required=True,
        help="the control's click rate (2%% or .02), or its mean",
    )
    add_value(
        parser,
        "--lift",
        number,
        help="the least relative lift that matters: 10%%, .1 or -5%%",
    )
    add_number(parser, "users", "users of all arms, to learn what they can find", 1)
    add_value(parser, "--power", share, default="80%", help="chance to find it (default 80%%)")
    add_value(parser, "--level", share, default="95%", help="1 - the error level (default 95%%)")
    add_number(parser, "arms", "with the control (default 2)", 1, 2)
    add_value(parser, "--share", share, help="of the control (default: the same for all arms)")
    add_value(
        parser, "--deviation", number, help="standard deviation of a mean that is no click rate"
    )
    add_value(
        parser,
        "--correlation",
        number,
        default="0",
        help="of outcome and covariate, where CUPED will be used",
    )
    parser.add_argument(
        "--always-valid", action="store_true", help="for a test that may be looked at any time"
    )
    add_number(parser, "daily", "users a day, to learn how long it takes", 1)
    add_json(parser, "instead of words")
    options = parser.parse_args(arguments)
    if options.lift is None and options.users is None:
        raise UserError("copygym abtest plan: give --lift or --users.")

    from copygym.evaluation.abtest.planning import Plan

    plan = Plan(
        baseline=options.baseline,
        # With --users the lift is what is asked for; only its sign is used.
        lift=1e-6 if options.lift is None else options.lift,
        deviation=options.deviation,
        level=options.level,
        comparisons=options.arms - 1,
        share=options.share,
        correlation=options.correlation,
        always_valid=options.always_valid,
    )
    result = planned(plan, options.power, options.users, options.lift is None)
    if options.daily is not None:
        result["days"] = -(-result["users"] // options.daily)
    print_result(result, plan_text(result), options)
    return 0


def planned(plan: Plan, wanted: float, users: int | None, solve_lift: bool) -> dict[str, Any]:
    """Return users per arm, lift and power of a plan, JSON types.

    Args:
        plan: of the test.
        wanted: power that is wanted.
        users: of all arms; None works out how many are needed.
        solve_lift: work out the least lift instead of the power.
    """
    from dataclasses import replace

    from copygym.evaluation.abtest.planning import least_lift, power, sample_size

    if users is not None and solve_lift:
        plan = replace(plan, lift=least_lift(plan, users, wanted))
    total = sample_size(plan, wanted) if users is None else users
    control, other = plan.shares
    return {
        "baseline": plan.baseline,
        "lift": plan.lift,
        "expected": plan.treated,
        "rate": plan.deviation is None,
        "power": power(plan, total),
        "level": plan.level,
        "arms": plan.comparisons + 1,
        "users_control": math.ceil(total * control),
        "users_other": math.ceil(total * other),
        "users": math.ceil(total * control) + plan.comparisons * math.ceil(total * other),
        "always_valid": plan.always_valid,
        "correlation": plan.correlation,
        "few": _few(plan, total),
    }


def _few(plan: Plan, users: int) -> int | None:
    """Return users with whom every arm may expect enough clicks, where these are too few."""
    if plan.deviation is not None:
        return None
    from copygym.evaluation.abtest.sequential import FIRST_LOOK

    rates = (plan.baseline, 1 - plan.baseline), (plan.treated, 1 - plan.treated)
    rarest = min(s * min(both) for s, both in zip(plan.shares, rates, strict=True))
    return math.ceil(FIRST_LOOK / rarest) if users * rarest < FIRST_LOOK else None


def plan_text(result: dict[str, Any]) -> str:
    """Return a plan in words."""

    def show(mean: float) -> str:
        return f"{100 * mean:.4g}%" if result["rate"] else f"{mean:.4g}"

    kind = "an always-valid" if result["always_valid"] else "a fixed-horizon"
    lines = [
        f"{result['users']:,} users in {result['arms']} arms: {result['users_control']:,} in the "
        f"control and {result['users_other']:,} in "
        + ("the other." if result["arms"] == 2 else "each other."),
        f"With them {kind} test at level {100 * result['level']:g}% finds a lift of "
        f"{100 * result['lift']:+.3g}% ({show(result['baseline'])} to {show(result['expected'])}) "
        f"with a power of {100 * result['power']:.3g}%.",
    ]
    if "days" in result:
        lines.append(f"That takes {result['days']:,} days; take whole weeks.")
    if result["few"]:
        rule = "makes no claim then" if result["always_valid"] else "is Fisher's then, with less"
        lines.append(
            "Fewer than 10 clicks (or users without one) are expected in an arm; the test "
            f"{rule}{'' if result['always_valid'] else ' power'}. {result['few']:,} users are "
            "enough for that."
        )
    if result["arms"] > 2:
        lines.append("The error level is shared out among the comparisons with the control.")
    if result["correlation"]:
        lines.append(f"CUPED with a correlation of {result['correlation']:g} is counted on.")
    if result["always_valid"]:
        lines.append(
            f"Give --planned {result['users']} when you judge it. That many are needed at most: "
            "such a test often ends sooner."
        )
    return "\n".join(lines) + "\n"


def counts(text: str, option: str) -> list[int]:
    """Return counts such as 50000,50912.

    Raises:
        UserError: one is no whole number, or commas seem to part thousands.
    """
    parts = [part.strip() for part in text.split(",")]
    if any(re.fullmatch(r"0\d+", part) for part in parts):
        raise UserError(
            f"{option} is {text!r}; commas stand between the arms, so write a number without them, "
            "as in 50000,50912."
        )
    return [whole(0)(part, option) for part in parts]


def any_ratio(text: str, option: str) -> list[float] | dict[str, float]:
    """Return a ratio by name, or such as 9:1."""
    if "=" in text:
        return named_ratio(text, option)
    return [number(part, option) for part in text.split(":")]


def named_ratio(text: str, option: str) -> dict[str, float]:
    """Return a ratio by name, such as control=9,new=1.

    Raises:
        UserError: a part has no name.
    """
    pairs: dict[str, float] = {}
    for part in text.split(","):
        name, mark, value = part.rpartition("=")
        if not mark:
            raise UserError(f"{option} is {text!r}; name the arms, as in control=9,new=1.")
        if name.strip() in pairs:
            raise UserError(f"{option} is {text!r}; it names {name.strip()!r} twice.")
        pairs[name.strip()] = number(value, option)
    return pairs
