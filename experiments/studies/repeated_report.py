"""Tables, figures and sections of an experiment over seeds, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from copygym.experiments.report.figures import Picture, interval_figure, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number
from copygym.experiments.runs.trust import stored_job

#: Panels that fit beside each other.
_PANELS = 4
_NOTHING = {"value": None, "low": None, "high": None}


def _seeds(result: Mapping[str, Any]) -> list[str]:
    """Return the seeds in order, the one that is shown in full first; JSON sorts them as words."""
    return sorted(result["seeds"], key=int)


def place_of(name: str) -> tuple[str, str]:
    """Return column and row of a number; a column's name may have slashes."""
    column, _, row = name.rpartition("/")
    return column, row


def summary(result: Mapping[str, Any]) -> str:
    """Return the first paragraph: what was repeated."""
    unit, count = result["unit"], len(result["seeds"])
    anew = (
        "each with its own people, log, split, fits and luck"
        if unit == "world"
        else "of the same log, each with its own fits and luck"
    )
    seed = _seeds(result)[0]
    return (
        f"The experiment was done in {count} {unit}s, {anew}; intervals (95%) are over them. What "
        f"{unit} {seed} showed stands below in full."
    )


def main_table(result: Mapping[str, Any]) -> Table:
    """Return means over seeds: of the rows that share columns with the first row."""
    return _tables(result)[0]


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections: over all seeds, seed by seed, and the lowest one's own."""
    unit, seed = result["unit"], _seeds(result)[0]
    job = stored_job(result["job"], "the result")
    first = result["first"]
    heading = f"{unit.capitalize()} {seed}"
    own = Section(heading, (str(first["summary"]),), (job.main_table(first),))
    return [
        _over_all(result),
        _each(result),
        own,
        *(replace(part, heading=f"{heading}: {part.heading}") for part in job.sections(first)),
    ]


def _blocks(result: Mapping[str, Any]) -> list[tuple[list[str], list[str]]]:
    """Return (rows, columns) of each table: rows with a column in common stand together."""
    table: dict[str, list[str]] = {}
    for column, row in map(place_of, result["order"]):
        table.setdefault(row, []).append(column)
    blocks: list[tuple[list[str], list[str]]] = []
    for row, columns in table.items():
        joined = [block for block in blocks if set(block[1]) & set(columns)]
        rows = [r for block in joined for r in block[0]] + [row]
        every = [c for block in joined for c in block[1]] + columns
        at = blocks.index(joined[0]) if joined else len(blocks)
        blocks = [block for block in blocks if block not in joined]
        blocks.insert(at, (rows, list(dict.fromkeys(every))))
    return blocks


def _tables(result: Mapping[str, Any]) -> list[Table]:
    words = getattr(stored_job(result["job"], "the result"), "NUMBERS", {})
    tables = []
    for rows, columns in _blocks(result):
        told = " ".join(f"{c}: {words[c]}." for c in columns if c in words)
        tables.append(
            Table(
                ("", *columns),
                tuple(
                    (row, *(interval(result["estimates"][row].get(c, _NOTHING)) for c in columns))
                    for row in rows
                ),
                f"Means over {len(result['seeds'])} {result['unit']}s with 95% bootstrap "
                f"intervals over them; a dash: no such number, or not in every {result['unit']}. "
                + told,
            )
        )
    return tables


def _over_all(result: Mapping[str, Any]) -> Section:
    pictures: list[Picture] = []
    for index, (rows, columns) in enumerate(_blocks(result)):
        for start in range(0, len(columns), _PANELS):
            shown = columns[start : start + _PANELS]
            kept = [row for row in rows if any(c in result["estimates"][row] for c in shown)]
            pictures.append(
                interval_figure(
                    f"over_{result['unit']}s_{index + 1}_{start // _PANELS + 1}",
                    f"Means over {len(result['seeds'])} {result['unit']}s with 95% intervals over "
                    f"them; small dots: each {result['unit']}.",
                    {
                        column: {
                            row: result["estimates"][row].get(column, _NOTHING) for row in kept
                        }
                        for column in shown
                    },
                    points={
                        column: {row: _values(result, column, row) for row in kept}
                        for column in shown
                    },
                )
            )
    for name, figure in result["curves"].items():
        caption = (
            f"{figure['caption']} Means over {len(result['seeds'])} {result['unit']}s with 95% "
            "intervals over them."
        )
        pictures.append(
            lines_figure(
                f"mean_{name}", caption, figure["lines"], figure["x_label"], figure["y_label"]
            )
        )
    # The first table stands at the top of the page.
    return Section(
        f"Over {len(result['seeds'])} {result['unit']}s",
        tables=tuple(_tables(result)[1:]),
        pictures=tuple(pictures),
    )


def _values(result: Mapping[str, Any], column: str, row: str) -> list[float]:
    found = [numbers.get(f"{column}/{row}") for numbers in result["seeds"].values()]
    return [value for value in found if value is not None]


def _each(result: Mapping[str, Any]) -> Section:
    seeds = _seeds(result)
    rows = tuple(
        (
            ": ".join(place_of(name)),
            *(number(result["seeds"][seed].get(name)) for seed in seeds),
        )
        for name in result["order"]
    )
    table = Table(("", *(f"{result['unit']} {seed}" for seed in seeds)), rows)
    return Section(f"Each {result['unit']}", tables=(table,), folded=True)
