"""What an off-policy evaluation says: its tables, report and rows for a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.sequential.estimators import ESTIMATORS as SEQUENTIAL
from copygym.experiments.report.figures import interval_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number


def _unit(result: Mapping[str, Any]) -> str:
    return "" if result["outcome"] == "revenue" else "%"


def _heading(result: Mapping[str, Any]) -> str:
    unit = " %" if _unit(result) else ""
    return f"{result['outcome']} per impression{unit}"


def main_table(result: Mapping[str, Any]) -> Table:
    """Return one row a policy: its value, what it gains over logging and whether that holds."""
    rows = []
    for name, policy in result["policies"].items():
        best = policy["headline"]
        entry = policy["estimates"].get(best) if best else None
        rows.append(
            (
                name,
                best or "-",
                _shown(entry, "bootstrap", result),
                interval(entry["lift"], _unit(result)) if entry and "lift" in entry else "-",
                f"{policy['support']['ess']:,.0f}",
                number(policy["support"]["max_weight"]),
                policy["verdict"],
            )
        )
    columns = (
        "policy", "estimator", _heading(result), "gain over logging", "effective rows",
        "largest weight", "log",
    )  # fmt: skip
    over = "users" if result["users"] else "rows"
    caption = (
        f"{result['rows']:,} rows, {result['arms']} arms, {result['propensities']} propensities; "
        f"95% intervals by bootstrap over {over}."
    )
    return Table(columns, tuple(rows), caption)


def _shown(entry: Mapping[str, Any] | None, kind: str, result: Mapping[str, Any]) -> str:
    if entry is None:
        return "-"
    return interval({"value": entry["value"], **entry[kind]}, _unit(result))


def episode_table(result: Mapping[str, Any]) -> Table:
    """Return what each policy would have earned in a whole episode, by every estimator."""
    names = list(dict.fromkeys(n for one in result["episodes"].values() for n in one["estimates"]))
    rows = tuple(
        (
            policy,
            *(interval(one["estimates"][n]) if n in one["estimates"] else "-" for n in names),
            f"{one['ess'][-1]:,.0f}",
            f"{one['supported']} of {result['horizon']}",
            one["verdict"],
        )
        for policy, one in result["episodes"].items()
    )
    columns = ("policy", *names, "effective episodes", "decisions supported", "log")
    caption = (
        f"{result['outcome']} per episode of up to {result['horizon']} decisions of a user in the "
        "log's order; 95% intervals by bootstrap over users. "
        + " ".join(f"{name}: {SEQUENTIAL[name]}." for name in names)
    )
    return Table(columns, rows, caption)


def estimator_table(result: Mapping[str, Any], policy: str) -> Table:
    """Return all estimators of one policy with both intervals."""
    entry = result["policies"][policy]
    rows = []
    for name in ESTIMATORS:
        found = entry["estimates"].get(name)
        if found is None:
            continue
        constant = found.get("constant")
        rows.append(
            (
                name,
                _shown(found, "bootstrap", result),
                _shown(found, "normal", result),
                constant if isinstance(constant, str) else number(constant),
            )
        )
    left_out: dict[str, list[str]] = {}
    for name, reason in entry["missing"].items():
        left_out.setdefault(reason, []).append(name)
    caption = " ".join(f"No {', '.join(names)}: {why}." for why, names in left_out.items())
    columns = (policy, f"{_heading(result)}, bootstrap", "normal interval", "constant")
    return Table(columns, tuple(rows), caption)


def support_table(result: Mapping[str, Any]) -> Table:
    """Return how much of the log speaks for each policy."""
    rows = tuple(
        (
            name,
            f"{s['ess']:,.0f}",
            f"{100 * s['ess'] / s['n']:.1f}",
            number(s["max_weight"]),
            f"{s['mean_weight']:.3f}",
            f"{100 * s['used']:.1f}",
            f"{100 * s['top_share']:.0f}",
            f"{100 * s['outside']:.1f}",
            f"{s['events']:,.0f}",
        )
        for name, s in ((name, p["support"]) for name, p in result["policies"].items())
    )
    columns = (
        "policy", "effective rows", "% of rows", "largest weight", "mean weight", "used rows %",
        "top 1% carry %", "outside the log %", f"effective {result['outcome']}",
    )  # fmt: skip
    caption = (
        "The mean weight should be near 1. Used rows have a weight above 0. Effective "
        f"{result['outcome']}: how many of equal weight a value rests on."
    )
    return Table(columns, rows, caption)


def warning_lines(result: Mapping[str, Any]) -> list[str]:
    """Return every warning once, with the policies that it is about in front."""
    about: dict[str, list[str]] = {}
    for name, policy in result["policies"].items():
        for text in policy["warnings"]:
            about.setdefault(text, []).append(name)
    for name, episode in result.get("episodes", {}).items():
        for text in episode["warnings"]:
            about.setdefault(f"episodes: {text}", []).append(name)
    several = len(result["policies"]) > 2
    return [
        # Logging itself is never warned of.
        f"{'all' if several and len(n) == len(result['policies']) - 1 else ', '.join(n)}: {text}"
        for text, n in about.items()
    ]


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    shown = {
        name: _ends(entry["estimates"][entry["headline"]], result)
        for name, entry in result["policies"].items()
        if entry["headline"]
    }
    picture = interval_figure(
        "policies", "Value of each policy with its 95% interval.", {_heading(result): shown}
    )
    whole = (
        [Section("Whole episodes", tables=(episode_table(result),))] if "episodes" in result else []
    )
    return [
        Section("Policies", pictures=(picture,)),
        *whole,
        Section("What to know", points=tuple(warning_lines(result)))
        if warning_lines(result)
        else Section("What to know", ("The log supports every policy here.",)),
        Section("Support", tables=(support_table(result),)),
        Section(
            "Estimators",
            tables=tuple(estimator_table(result, name) for name in result["policies"]),
            points=tuple(f"{name}: {text}." for name, text in ESTIMATORS.items()),
        ),
        Section(
            "Assumptions",
            points=(
                "the logged choice depended on nothing but what the propensity was computed from.",
                "one decision does not change what another one leads to: in a log of many "
                "decisions a user, a value is that of the next decision in the states that "
                "logging led to (but for whole episodes, by --horizon).",
                *result["remarks"],
                *result["notes"],
            ),
        ),
    ]


def _ends(entry: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, float | None]:
    return scaled({"value": entry["value"], **entry["bootstrap"]}, _unit(result))


def csv_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per policy and estimator, for a table file."""
    rows = []
    for name, policy in result["policies"].items():
        s = policy["support"]
        for estimator, entry in policy["estimates"].items():
            lift = entry.get("lift", {})
            constant = entry.get("constant")
            rows.append(
                {
                    "policy": name,
                    "estimator": estimator,
                    "value": entry["value"],
                    "bootstrap_low": entry["bootstrap"]["low"],
                    "bootstrap_high": entry["bootstrap"]["high"],
                    "normal_low": entry["normal"]["low"],
                    "normal_high": entry["normal"]["high"],
                    "gain": lift.get("value"),
                    "gain_low": lift.get("low"),
                    "gain_high": lift.get("high"),
                    "constant": constant if isinstance(constant, float) else None,
                    "effective_rows": s["ess"],
                    "largest_weight": s["max_weight"],
                    "mean_weight": s["mean_weight"],
                    "outside": s["outside"],
                    "rows": s["n"],
                    "verdict": policy["verdict"],
                }
            )
    return rows
