"""What a study leaves in a folder: records, what they rest on, and a report made of both.

A run's folder holds the records of one seed, a multirun's those of all of them; both are written,
shown and published by the same few functions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copygym.core.text.plain import printable
from copygym.evaluation.records import ABOUT, TABLE, Records
from copygym.experiments.report.evidence import cautioned
from copygym.experiments.report.page import Report
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.outputs import write_result
from copygym.experiments.runs.publish import publish
from copygym.experiments.studies.study import Study

#: Files that `published` copies, under the same names.
PUBLISHED = ("result.json", "manifest.json", TABLE, ABOUT, "table.md", "report.md")


def result_of(records: Records, report: Report) -> dict[str, Any]:
    """Return a study's result, JSON types: what it says, and what its numbers rest on.

    Of several seeds, data and counts of rows carry the seed where they differ.
    """
    first = records.first
    several = len(records.about) > 1
    assumptions = list(first.get("assumptions", ()))
    own = first.get("over_seeds") if several else first.get("one_seed")
    if own:
        assumptions.append(str(own).format(count=len(records.about)))
    return {
        "title": report.title,
        "summary": report.summary,
        "answers": list(report.answers),
        "synthetic": any(bool(about.get("synthetic")) for about in records.about.values()),
        "data": _by_seed(records, "data"),
        "rows_seen": _by_seed(records, "rows_seen"),
        "notes": list(first.get("notes", ())),
        "assumptions": assumptions,
        "seeds": list(records.seeds),
        "learned": first.get("learned"),
        "summary_numbers": records.numbers(),
    }


def _by_seed(records: Records, key: str) -> dict[str, Any]:
    """Return a mapping of the seeds' ``about``; entries that differ are told apart by seed."""
    found = {seed: dict(about.get(key) or {}) for seed, about in records.about.items()}
    whole = list(found.values())
    if all(entry == whole[0] for entry in whole):
        return whole[0] if whole else {}
    return {
        f"seed {seed}: {name}": entry
        for seed, entries in sorted(found.items())
        for name, entry in entries.items()
    }


def write_records(folder: Path, records: Records, study: Study, **more: Any) -> dict[str, Any]:
    """Write records and result of a study to ``folder``; return the result.

    Args:
        folder: of a run or a multirun.
        records: of its seeds.
        study: that reports them.
        more: further entries of the result, such as its ``name``.
    """
    result = result_of(records, study.report(records)) | more
    records.write(folder)
    write_result(folder / "result.json", result)
    return result


def show(result: Mapping[str, Any], table: Table, page: Path) -> None:
    """Print a result's title and main table, and where its report is."""
    title = f"{result['title']} (synthetic)" if result.get("synthetic") else result["title"]
    table = cautioned(table, result)
    sys.stdout.write(f"\n{printable(title)}\n\n{table.to_text()}\n\n")
    if table.caption:
        sys.stdout.write(f"{printable(table.caption)}\n\n")
    for answer in result.get("answers", ()):
        sys.stdout.write(f"{printable(answer)}\n\n")
    sys.stdout.write(f"report: {page}\n")
    sys.stdout.flush()


def published_names(folder: Path) -> dict[str, str]:
    """Return file in a run's or multirun's folder -> its name where it is published."""
    names = {name: name for name in PUBLISHED if (folder / name).is_file()}
    for ending in ("svg", "png"):
        for path in sorted((folder / "figures").glob(f"*.{ending}")):
            names[f"figures/{path.name}"] = path.name
    return names


def publish_results(folder: Path, target: Path) -> None:
    """Copy results, records, table, figures and manifest to ``target``.

    Raises:
        UserError: a file of another origin would be lost.
    """
    publish(folder, target, published_names(folder))
    sys.stdout.write(f"published: {target}\n")
