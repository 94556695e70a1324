"""The table of a benchmark run: on the terminal, as JSON and as a page of the documentation."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

_PACKAGES = (
    "copygym",
    "gymnasium",
    "stable-baselines3",
    "torch",
    "numpy",
    "numba",
    "polars",
)
_COLUMNS = ("name", "ours", "peer", "ratio", "goal", "met")


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, memory, system and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def document(rows: Sequence[Row], command: str) -> dict[str, Any]:
    """Return the run as JSON."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "rows": [row.as_json() for row in rows],
    }


def merged(earlier: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the earlier run with the rows that ``run`` measured again, which say so.

    Both sides of a row were always measured together, so rows of two runs can stand in one table.

    Raises:
        ValueError: the earlier run was on another machine, or with other versions.
    """
    if earlier["machine"] != run["machine"]:
        raise ValueError("the earlier run was on another machine or with other versions")
    again = f"Measured again by `{run['command']}` on {run['date']}."
    new = {row["name"]: {**row, "again": again} for row in run["rows"]}
    rows = [new.pop(row["name"], row) for row in earlier["rows"]]
    return {**earlier, "rows": [*rows, *new.values()]}


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cells(row: dict[str, Any]) -> list[str]:
    met = {True: "yes", False: "NO", None: "-"}[row["met"]]
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
    return [
        row["name"],
        _number(row["ours"]),
        _number(row["peer"]),
        ratio,
        row["goal"] or "-",
        met,
    ]


def text_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table for a terminal; a row without figures is followed by its reason."""
    cells = [list(_COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_COLUMNS))]
    lines = []
    for line, row in zip(cells, [None, *rows], strict=True):
        first, *rest = (
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]))
        if row and row["missing"]:
            lines.append(f"  ({row['missing']})")
    return "\n".join(lines)


def page(run: dict[str, Any]) -> str:
    """Return the run as a Markdown page."""
    m = run["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{run['command']}` on {run['date']}; the same figures are in the JSON file "
        "beside this page. Peers that need old libraries run in environments that "
        "`benchmarks/make_peers.sh` makes.",
        "",
        f"Machine: {m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, {m['system']}. "
        f"Python {m['python']}, {versions}.",
        "",
        "Rates are per CPU second of the process (`time.process_time`), not per second of wall "
        "time, unless the unit says otherwise. They are the fastest of several turns, for both "
        "sides alike: other work on a machine only ever slows them.",
        "",
        "| benchmark | unit | ours | peer | ratio | goal | met |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for row in run["rows"]:
        name, ours, peer, ratio, goal, met = _cells(row)
        lines.append(f"| {name} | {row['unit']} | {ours} | {peer} | {ratio} | {goal} | {met} |")
    lines += ["", "## Notes", ""]
    for row in run["rows"]:
        peer = row["peer_name"] and f"Peer: {row['peer_name']}."
        parts = [peer, row["note"], row.get("again")]
        if row["missing"]:
            parts.append(f"Not measured: {row['missing']}.")
        lines.append(f"- **{row['name']}**. {' '.join(part for part in parts if part)}")
    return "\n".join(lines) + "\n"


def write(run: dict[str, Any], path: Path) -> None:
    """Write ``path`` (JSON) and the page beside it, each at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, text in (
        (path, json.dumps(run, indent=2) + "\n"),
        (path.with_suffix(".md"), page(run)),
    ):
        temporary = target.with_name(f".{target.name}.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
