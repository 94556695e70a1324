"""Tables and words for the result of `copygym.evaluation.abtest.file.analysis.analyse`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.abtest.compare import METHODS
from copygym.evaluation.abtest.multiple import ADJUSTMENTS
from copygym.experiments.report.tables import Table, interval


def p_text(p: float) -> str:
    """Format a p-value."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def arms_table(result: Mapping[str, Any]) -> Table:
    """Return the arms with units, shares and means."""
    unit = "%" if result["rate"] else ""
    total = sum(row["units"] for row in result["arms"])
    rows = tuple(
        (
            row["arm"],
            f"{row['units']:,}",
            f"{100 * row['units'] / total:.2f}%",
            interval(row["mean"], unit),
        )
        for row in result["arms"]
    )
    heading = "click rate, %" if result["rate"] else "mean"
    return Table(("arm", result["unit"], "share", heading), rows)


def effects_table(result: Mapping[str, Any]) -> Table:
    """Return the comparisons with the control."""
    scale, name = ("%", "difference, points") if result["rate"] else ("", "difference")
    several = len(result["comparisons"]) > 1
    columns = ("arm", name, "lift, %", "p", *(("p, adjusted",) if several else ()), "verdict")
    rows = tuple(
        (
            f"{entry['arm']} against {result['control']}",
            interval(entry["difference"], scale),
            "-" if entry["lift"] is None else interval(entry["lift"], "%"),
            p_text(entry["p"]),
            *((p_text(entry["p_adjusted"]),) if several else ()),
            entry["verdict"],
        )
        for entry in result["comparisons"]
    )
    return Table(columns, rows)


def looks_table(result: Mapping[str, Any]) -> Table:
    """Return the differences at every look."""
    scale = "%" if result["rate"] else ""
    rows = tuple(
        (
            look["look"],
            f"{look['units']:,}",
            *(interval(entry["difference"], scale) for entry in look["comparisons"]),
        )
        for look in result["looks"]
    )
    names = tuple(entry["arm"] for entry in result["comparisons"])
    return Table(("look", result["unit"], *names), rows)


def ratio_text(ratio: Mapping[str, Any] | None) -> str:
    """Return the sample ratio's verdict in words."""
    if ratio is None:
        return "Sample ratio: not checked, as a bandit's shares are not planned."
    if ratio["mismatch"]:
        return (
            f"SAMPLE-RATIO MISMATCH (p {p_text(ratio['p'])}): units did not arrive in the planned "
            "shares, so something other than chance decided who was counted. Find out what before "
            "you believe any effect."
        )
    return f"Sample ratio: as planned (p {p_text(ratio['p'])})."


def control_text(result: Mapping[str, Any]) -> str:
    """Return which arm is the control, why, and how to name another."""
    why = result["control_why"]
    said = f"Control: {result['control']}" + (f", {why}" if why else "")
    return f"{said} (--control NAME takes another)."


def to_text(result: Mapping[str, Any]) -> str:
    """Return the whole answer for a terminal."""
    parts = [arms_table(result).to_text(), control_text(result), ratio_text(result["sample_ratio"])]
    parts += [f"WARNING: {warning}" for warning in result["warnings"]]
    parts.append(effects_table(result).to_text())
    if result["looks"]:
        parts.append("Differences at every look:\n\n" + looks_table(result).to_text())
    level = f"{100 * result['level']:g}%"
    lines = [f"{level} intervals; {METHODS[result['method']]}."]
    if result["planned"]:
        lines.append(
            f"The intervals are narrowest at {result['planned']:,} {result['unit']} (--planned; "
            "fix it before the test)."
        )
    if len(result["comparisons"]) > 1:
        lines.append(f"Several arms share the error level by {ADJUSTMENTS[result['adjust']]}.")
    lines += [f"Note: {e['arm']}: {e['note']}." for e in result["comparisons"] if e["note"]]
    lines += [f"Note: {note}" for note in result["notes"]]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


#: Mismatches that a terminal shows.
_SHOWN = 20


def audit_text(result: Mapping[str, Any]) -> str:
    """Return an audit for a terminal: one test in full, of many the mismatches."""
    if result["checked"] == 1:
        (entry,) = result["tests"]
        total = sum(entry["units"].values())
        rows = tuple(
            (
                arm,
                f"{units:,.0f}",
                f"{100 * units / total:.2f}%",
                f"{100 * entry['expected'][arm] / total:.2f}%",
            )
            for arm, units in entry["units"].items()
        )
        said = (
            "a sample-ratio mismatch: do not believe this test before you know why"
            if entry["mismatch"]
            else "no sample-ratio mismatch"
        )
        table = Table(("arm", "units", "share", "planned"), rows).to_text()
        return f"{table}\n\np {p_text(entry['p'])}: {said}.\n"
    worst = sorted((e for e in result["tests"] if e["mismatch"]), key=lambda e: e["p"])
    expected = result["checked"] * result["threshold"]
    lines = [
        f"{result['mismatches']:,} of {result['checked']:,} tests "
        f"({result['mismatches'] / result['checked']:.2%}) have a sample-ratio mismatch at p < "
        f"{result['threshold']:g}; chance alone would give about {expected:.2g}."
    ]
    if result["one_arm_only"]:
        lines.append(f"{result['one_arm_only']:,} tests with one arm were left out.")
    if worst:
        flagged = tuple(
            (e["test"], " : ".join(f"{n:,.0f}" for n in e["units"].values()), p_text(e["p"]))
            for e in worst[:_SHOWN]
        )
        lines.append(f"\n{Table(('test', 'units', 'p'), flagged).to_text()}")
        if len(worst) > _SHOWN:
            lines.append(f"... and {len(worst) - _SHOWN:,} more; --json prints all.")
    return "\n".join(lines) + "\n"
