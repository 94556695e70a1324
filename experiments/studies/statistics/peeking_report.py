"""Tables and figures of E9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

_WEEKS = {"inside": "201325 to 201402 (suspect)", "outside": "all others"}


def main_table(result: Mapping[str, Any]) -> Table:
    """Return the type-I error by number of looks."""
    rows = tuple(
        (
            f"{entry['looks']}",
            interval(entry["naive"], "%"),
            f"{100 * entry['theory']:.1f}",
            interval(entry["always_valid"], "%"),
        )
        for entry in result["peeking"]
    )
    options = result["settings"]["peeking"]
    caption = (
        f"% of {options['replications']:,} simulated tests without any effect (click rate "
        f"{100 * options['ctr']:g}%) that claim one at the 5% level, with 95% intervals. Theory: "
        "numerical integration after Armitage, McPherson and Rowe (1969)."
    )
    columns = ("looks", "fixed-horizon test, peeked at", "theory", "always-valid test")
    return Table(columns, rows, caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    return [_peeking(result), _power(result), _cuped(result), _bandit(result), _audit(result)]


def _line(rows: list[Any], x: str, y: str, factor: float = 100.0) -> dict[str, list[float]]:
    return {
        "x": [float(row[x]) * (1.0 if x == "looks" else 100.0) for row in rows],
        **{
            axis: [factor * row[y][key] for row in rows]
            for axis, key in (("y", "value"), ("low", "low"), ("high", "high"))
        },
    }


def _peeking(result: Mapping[str, Any]) -> Section:
    rows = result["peeking"]
    picture = lines_figure(
        "type_1_error",
        "Share of simulated tests without any effect that claim one, by number of looks (5% level; "
        "95% bands).",
        {
            "fixed-horizon test, peeked at": _line(rows, "looks", "naive"),
            "always-valid test": _line(rows, "looks", "always_valid"),
            "5%": {"x": [row["looks"] for row in rows], "y": [5.0] * len(rows)},
        },
        "looks",
        "false claims, %",
        log_x=True,
    )
    return Section("False claims by number of looks", (), (), (picture,))


def _power(result: Mapping[str, Any]) -> Section:
    found, options = result["power"], result["settings"]["power"]
    rows = tuple(
        (
            f"{100 * row['lift']:g}%",
            interval(row["fixed"], "%"),
            f"{100 * row['formula']:.1f}",
            interval(row["always_valid_same_size"], "%"),
            interval(row["always_valid"], "%"),
            interval(row["used"], "%"),
        )
        for row in found["rows"]
    )
    size = found["users_per_arm"]
    table = Table(
        (
            "lift",
            "fixed horizon",
            "formula",
            "always valid, same size",
            "always valid, its own size",
            "users it took, % of fixed",
        ),
        rows,
        f"% of {options['replications']:,} tests that find the lift (without one: false claims). "
        f"Fixed: {size['fixed']:,} users per arm, planned for {100 * options['planned_lift']:g}% "
        f"with a power of {100 * options['planned_power']:g}%, one look. Always valid: "
        f"{found['looks']} looks, stopped at the first claim; its own size is at most "
        f"{size['always_valid']:,} users per arm.",
    )
    picture = lines_figure(
        "power",
        "Power by true lift, 95% bands.",
        {
            "fixed horizon": _line(found["rows"], "lift", "fixed"),
            "always valid, same size": _line(found["rows"], "lift", "always_valid_same_size"),
            "always valid, its own size": _line(found["rows"], "lift", "always_valid"),
        },
        "lift, %",
        "tests that find it, %",
    )
    return Section("Power", (), (table,), (picture,))


def _cuped(result: Mapping[str, Any]) -> Section:
    options = result["settings"]["cuped"]
    rows = tuple(
        (
            f"{row['correlation']:g}",
            interval(row["ratio"]),
            f"{row['theory']:.3f}",
            interval(row["covered"], "%"),
        )
        for row in result["cuped"]
    )
    table = Table(
        ("correlation", "variance ratio", "1 - correlation²", "intervals that hold the truth, %"),
        rows,
        f"Squared standard error of the effect with CUPED over that without, mean of "
        f"{options['replications']:,} tests of {options['users']:,} users per arm.",
    )
    return Section("CUPED", (), (table,))


def _bandit(result: Mapping[str, Any]) -> Section:
    options = result["settings"]["bandit"]
    rows = tuple(
        (
            f"{100 * row['lift']:g}%",
            interval(row["naive_end"], "%"),
            interval(row["naive_always"], "%"),
            interval(row["always_valid"], "%"),
        )
        for row in result["bandit"]
    )
    table = Table(
        ("lift", "usual interval, at the end", "usual, at every look", "always valid, every look"),
        rows,
        f"% of {options['replications']:,} tests in which the 95% interval of the effect holds the "
        f"truth. Thompson sampling of two arms, {options['batches']} batches of {options['size']} "
        f"decisions, least propensity {options['floor']:g}. The always-valid interval is that of "
        "inverse-propensity scores.",
    )
    return Section("Tests that a bandit allocates", (), (table,))


def _audit(result: Mapping[str, Any]) -> Section:
    audit = result["audit"]
    if audit is None:
        text = (
            "Not run: no log was given. Set data.path to the archive's exploratory release to "
            "audit its sample ratios.",
        )
        return Section("Sample-ratio audit of the Upworthy archive", text)
    rows = tuple(
        (_WEEKS[part], f"{entry['tests']:,}", interval(entry["flagged"], "%"))
        for part, entry in audit["parts"].items()
    )
    table = Table(
        ("test weeks", "tests of two arms or more", "flagged, %"),
        rows,
        f"Real data. Pearson's chi-square of impressions against equal shares, p < "
        f"{audit['threshold']:g}; 95% intervals over tests.",
    )
    return Section("Sample-ratio audit of the Upworthy archive", (), (table,))
