"""What E9 says: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import curve
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

_WEEKS = {"inside": "201325 to 201402 (suspect)", "outside": "all others"}
_PEEKED = {"naive": "fixed-horizon test, peeked at", "always_valid": "always-valid test"}
_POWER = {
    "fixed": "fixed horizon",
    "always_valid_same_size": "always valid, same size",
    "always_valid": "always valid, its own size",
}
_COVERED = {
    "naive_end": "usual interval, at the end",
    "naive_always": "usual, at every look",
    "always_valid": "always valid, every look",
}


def report(records: Records) -> Report:
    """Return how often each method errs, by looks, lifts and correlations."""
    return Report(
        "A/B statistics under peeking",
        _summary(records),
        _main_table(records),
        [_peeking(records), _power(records), _cuped(records), _bandit(records), _audit(records)],
    )


def _of(records: Records, question: str) -> pl.DataFrame:
    return filtered(records.estimates, question=question)


def _summary(records: Records) -> str:
    frame = _of(records, "peeking")
    looks = max(records.values("looks"))
    naive, valid = (number(frame, "rejected", method=m, looks=looks)["value"] for m in _PEEKED)
    tests = records.first["data"]["simulated tests"]["rows"]
    text = (
        f"In {tests:,} simulated tests without any effect, a 5% test that was looked at {looks} "
        f"times found one in {naive:.1%} of them; the always-valid test did in {valid:.1%}."
    )
    weeks = records.values("weeks") if "weeks" in records.compared else []
    if not weeks:
        return f"{text} No log was given (data.path), so no sample ratio was audited."
    audit = _of(records, "audit")
    said = " and ".join(
        f"{number(audit, 'flagged', weeks=part)['value']:.1%} of "
        f"{number(audit, 'tests', weeks=part)['value']:,.0f} tests {part} the broken weeks"
        for part in weeks
    )
    return f"{text} Real data: the sample-ratio check flags {said}."


def _rows(
    frame: pl.DataFrame, column: str, cells: Mapping[tuple[str, str], str], label: str
) -> tuple[tuple[str, ...], ...]:
    """Return a row for each value of a column; cells are (metric, method) -> unit."""
    values = frame[column].drop_nulls().unique(maintain_order=True).to_list()
    return tuple(
        (
            label.format(100 * value if "%" in label else value),
            *(
                _cell(number(frame, metric, method=method, **{column: value}), unit)
                for (metric, method), unit in cells.items()
            ),
        )
        for value in values
    )


def _cell(entry: Mapping[str, float | None], unit: str) -> str:
    """Return an estimate with its interval, or what a formula says with digits enough."""
    value = entry["value"]
    if entry["low"] is None and value is not None:
        return f"{100 * value:.1f}" if unit == "%" else f"{value:.3f}"
    return interval(entry, unit)


def _main_table(records: Records) -> Table:
    """Return the type-I error by number of looks."""
    frame, options = _of(records, "peeking"), records.first["settings"]["peeking"]
    methods = ("naive", "theory", "always_valid")
    rows = _rows(frame, "looks", {("rejected", method): "%" for method in methods}, "{}")
    caption = (
        f"% of {options['replications']:,} simulated tests without any effect (click rate "
        f"{100 * options['ctr']:g}%) that claim one at the 5% level, with 95% intervals. Theory: "
        "numerical integration after Armitage, McPherson and Rowe (1969)."
    )
    columns = ("looks", _PEEKED["naive"], "theory", _PEEKED["always_valid"])
    return Table(columns, rows, caption)


def _renamed(frame: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    return filtered(frame, method=list(names)).with_columns(pl.col("method").replace(names))


def _peeking(records: Records) -> Section:
    frame = _of(records, "peeking")
    looks = sorted(records.values("looks"))
    level = pl.DataFrame(
        {"looks": looks, "method": ["5%"] * len(looks), "metric": ["rejected"] * len(looks)}
    ).with_columns(value=pl.lit(0.05))
    drawn = pl.concat([_renamed(frame, _PEEKED), level], how="diagonal_relaxed")
    picture = curve(
        drawn,
        "looks",
        "method",
        "rejected",
        "type_1_error",
        "Share of simulated tests without any effect that claim one, by number of looks (5% level; "
        "95% bands).",
        "looks",
        "false claims, %",
        unit="%",
        log_x=True,
    )
    return Section("False claims by number of looks", (), (), (picture,))


def _power(records: Records) -> Section:
    about, frame = records.first, _of(records, "power")
    options, size = about["settings"]["power"], about["users_per_arm"]
    cells = {
        ("rejected", "fixed"): "%",
        ("rejected", "theory"): "%",
        ("rejected", "always_valid_same_size"): "%",
        ("rejected", "always_valid"): "%",
        ("users_of_fixed", "always_valid"): "%",
    }
    table = Table(
        (
            "lift",
            "fixed horizon",
            "formula",
            "always valid, same size",
            "always valid, its own size",
            "users it took, % of fixed",
        ),
        _rows(frame, "lift", cells, "{:g}%"),
        f"% of {options['replications']:,} tests that find the lift (without one: false claims). "
        f"Fixed: {size['fixed']:,} users per arm, planned for {100 * options['planned_lift']:g}% "
        f"with a power of {100 * options['planned_power']:g}%, one look. Always valid: "
        f"{options['looks']} looks, stopped at the first claim; its own size is at most "
        f"{size['always_valid']:,} users per arm.",
    )
    picture = curve(
        _renamed(frame, _POWER).with_columns(pl.col("lift") * 100),
        "lift",
        "method",
        "rejected",
        "power",
        "Power by true lift, 95% bands.",
        "lift, %",
        "tests that find it, %",
        unit="%",
    )
    return Section("Power", (), (table,), (picture,))


def _cuped(records: Records) -> Section:
    options = records.first["settings"]["cuped"]
    cells = {
        ("variance_ratio", "cuped"): "",
        ("variance_ratio", "theory"): "",
        ("covered", "cuped"): "%",
    }
    table = Table(
        ("correlation", "variance ratio", "1 - correlation²", "intervals that hold the truth, %"),
        _rows(_of(records, "cuped"), "correlation", cells, "{:g}"),
        f"Squared standard error of the effect with CUPED over that without, mean of "
        f"{options['replications']:,} tests of {options['users']:,} users per arm.",
    )
    return Section("CUPED", (), (table,))


def _bandit(records: Records) -> Section:
    options: dict[str, Any] = records.first["settings"]["bandit"]
    cells = {("covered", method): "%" for method in _COVERED}
    table = Table(
        ("lift", *_COVERED.values()),
        _rows(_of(records, "bandit"), "lift", cells, "{:g}%"),
        f"% of {options['replications']:,} tests in which the 95% interval of the effect holds the "
        f"truth. Thompson sampling of two arms, {options['batches']} batches of {options['size']} "
        f"decisions, least propensity {options['floor']:g}. The always-valid interval is that of "
        "inverse-propensity scores.",
    )
    return Section("Tests that a bandit allocates", (), (table,))


def _audit(records: Records) -> Section:
    heading = "Sample-ratio audit of the Upworthy archive"
    weeks = records.values("weeks") if "weeks" in records.compared else []
    if not weeks:
        text = (
            "Not run: no log was given. Set data.path to the archive's exploratory release to "
            "audit its sample ratios.",
        )
        return Section(heading, text)
    frame = _of(records, "audit")
    table = Table(
        ("test weeks", "tests of two arms or more", "flagged, %"),
        tuple(
            (
                _WEEKS[part],
                f"{number(frame, 'tests', weeks=part)['value']:,.0f}",
                interval(number(frame, "flagged", weeks=part), "%"),
            )
            for part in weeks
        ),
        f"Real data. Pearson's chi-square of impressions against equal shares, p < "
        f"{records.first['threshold']:g}; 95% intervals over tests.",
    )
    return Section(heading, (), (table,))
