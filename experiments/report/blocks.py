"""Blocks of reports: tables and figures that filter records, the same for every study.

Each takes a table of records without seeds (`Records.estimates`, perhaps filtered) or, where seeds
are shown one by one, the `Records` themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from copygym.evaluation.records import NUMBER, Records, cells, filtered
from copygym.experiments.report.figures import Picture, interval_figure, lines_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

if TYPE_CHECKING:
    import polars as pl

#: Shown where there is no number.
NONE = "-"


@dataclass(frozen=True)
class Shown:
    """How a metric is shown.

    Attributes:
        label: heading, with its unit.
        unit: "%" for a share, which is shown times 100; "" for a plain number.
        alone: whether its interval is left out, as of a cost or of what was set.
    """

    label: str
    unit: str = ""
    alone: bool = False


Metrics = Mapping[str, Any]


def shown(metrics: Metrics | Sequence[str]) -> dict[str, Any]:
    """Return metric -> what has its ``label`` and ``unit``.

    Args:
        metrics: such a mapping, or names of delivery metrics.
    """
    if isinstance(metrics, Mapping):
        return dict(metrics)
    from copygym.evaluation.metrics import METRICS

    return {name: METRICS[name] for name in metrics}


def _row_numbers(frame: pl.DataFrame, columns: Sequence[str]) -> dict[tuple[Any, ...], dict]:
    """Return (cell, metric) -> ``{value, low, high}``."""
    found: dict[tuple[Any, ...], dict] = {}
    for row in frame.iter_rows(named=True):
        key = (*(row[name] for name in columns), row["metric"])
        found[key] = {name: row[name] for name in NUMBER}
    return found


def label_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's values in a row, null aside."""
    return ", ".join(_text(value) for value in cell.values() if value is not None)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def estimates_table(
    frame: pl.DataFrame,
    rows: str | Sequence[str],
    metrics: Metrics | Sequence[str],
    caption: str = "",
    *,
    heading: str | None = None,
    strong: str | None = None,
    beside: Sequence[str] = (),
) -> Table:
    """Return a table with a row for each cell and a column for each metric.

    Args:
        frame: records without seeds.
        rows: compared columns; together they name a row.
        metrics: what to show, in this order.
        caption: says what is shown and how intervals were made.
        heading: of the first column; None: the names of ``rows``.
        strong: label of the row to stress.
        beside: further columns that tell rows apart, each in a column of its own.
    """
    columns = [rows] if isinstance(rows, str) else list(rows)
    known = shown(metrics)
    frame = filtered(frame, metric=list(known))
    numbers = _row_numbers(frame, [*columns, *beside])
    lines, labels = [], []
    for cell in cells(frame, [*columns, *beside]):
        labels.append(label_of({name: cell[name] for name in columns}))
        entries = [numbers.get((*cell.values(), name)) for name in known]
        lines.append(
            (
                labels[-1],
                *(NONE if cell[name] is None else _text(cell[name]) for name in beside),
                *(
                    NONE if entry is None else _cell_text(entry, metric)
                    for entry, metric in zip(entries, known.values(), strict=True)
                ),
            )
        )
    labelled = (metric.label for metric in known.values())
    headings = (heading or ", ".join(columns), *beside, *labelled)
    place = labels.index(strong) if strong in labels else None
    return Table(headings, tuple(lines), caption, place)


def _cell_text(entry: Mapping[str, float | None], metric: Any) -> str:
    if getattr(metric, "alone", False):
        return number(scaled(entry, metric.unit)["value"])
    return interval(entry, metric.unit)


def pivot_table(
    frame: pl.DataFrame,
    rows: str,
    columns: str,
    metric: str,
    caption: str = "",
    *,
    unit: str = "",
    heading: str | None = None,
) -> Table:
    """Return one metric as a table: a row for each value of one column, a column for another's."""
    frame = filtered(frame, metric=metric)
    across = [cell[columns] for cell in cells(frame, [columns]) if cell[columns] is not None]
    numbers = _row_numbers(frame, [rows, columns])
    lines = []
    for cell in cells(frame, [rows]):
        entries = [numbers.get((cell[rows], value, metric)) for value in across]
        shown_cells = (NONE if entry is None else interval(entry, unit) for entry in entries)
        lines.append((_text(cell[rows]), *shown_cells))
    return Table((heading or rows, *map(_text, across)), tuple(lines), caption)


def by_seed(
    records: Records,
    column: str,
    metrics: Metrics | Sequence[str],
    *,
    unit: str = "seed",
    heading: str | None = None,
) -> Section:
    """Return the folded section with every seed's value: a table for each metric.

    Args:
        records: of all seeds, filtered to what is wanted.
        column: compared column that makes the columns of the tables.
        metrics: one table each.
        unit: what a seed is: "seed", "world", "split".
        heading: of the section; None: "By UNIT".
    """
    tables = []
    for name, metric in shown(metrics).items():
        frame = filtered(records.frame, metric=name).filter(_plain(records.frame))
        own = set(frame[column].to_list())
        names = [value for value in records.values(column) if value in own]
        values = {(row["seed"], row[column]): row["value"] for row in frame.iter_rows(named=True)}
        scale = 100.0 if metric.unit == "%" else 1.0
        lines = tuple(
            (str(seed), *(_digits(values.get((seed, n)), scale) for n in names))
            for seed in records.seeds
        )
        tables.append(Table((unit, *names), lines, metric.label))
    return Section(heading or f"By {unit}", (), tuple(tables), folded=True)


def _plain(frame: pl.DataFrame) -> pl.Expr:
    """Return the expression that leaves out paired differences."""
    import polars as pl

    return pl.col("versus").is_null() if "versus" in frame.columns else pl.lit(True)


def _digits(value: float | None, scale: float) -> str:
    return NONE if value is None else f"{value * scale:.3f}"


def differences(
    frame: pl.DataFrame,
    rows: str | Sequence[str],
    metrics: Metrics | Sequence[str],
    caption: str = "",
    **options: Any,
) -> Table:
    """Return the table of paired differences: records whose ``versus`` says from what.

    Args:
        frame: records without seeds.
        rows: as of `estimates_table`.
        metrics: as of `estimates_table`.
        caption: as of `estimates_table`.
        options: further ones of `estimates_table`.
    """
    import polars as pl

    return estimates_table(
        frame.filter(pl.col("versus").is_not_null()), rows, metrics, caption, **options
    )


def forest(
    frame: pl.DataFrame,
    rows: str | Sequence[str],
    metrics: Metrics | Sequence[str],
    name: str,
    caption: str,
    *,
    strong: str | None = None,
) -> Picture:
    """Draw a panel for each metric with each cell's value and interval.

    Args:
        frame: records without seeds.
        rows: compared columns; together they name a row.
        metrics: panels.
        name: of the picture's file.
        caption: below it.
        strong: label of the row to stress.
    """
    columns = [rows] if isinstance(rows, str) else list(rows)
    known = shown(metrics)
    frame = filtered(frame, metric=list(known))
    numbers = _row_numbers(frame, columns)
    panels: dict[str, dict[str, Any]] = {metric.label: {} for metric in known.values()}
    nothing = dict.fromkeys(NUMBER)
    for cell in cells(frame, columns):
        key = tuple(cell[column] for column in columns)
        for metric_name, metric in known.items():
            entry = numbers.get((*key, metric_name), nothing)
            panels[metric.label][label_of(cell)] = scaled(entry, metric.unit)
    return interval_figure(name, caption, panels, strong)


def curve(
    frame: pl.DataFrame,
    x: str,
    line: str | Sequence[str] | None,
    metric: str,
    name: str,
    caption: str,
    x_label: str,
    y_label: str,
    *,
    unit: str = "",
    log_x: bool = False,
) -> Picture:
    """Draw a metric along a numeric column, a line for each cell, bands where there are intervals.

    Args:
        frame: records without seeds.
        x: numeric compared column; rows without it are left out.
        line: compared columns that name a line; None: one line.
        metric: what is drawn.
        name: of the picture's file.
        caption: below it.
        x_label: with its unit.
        y_label: with its unit.
        unit: "%" for a share.
        log_x: logarithmic axis.
    """
    import polars as pl

    columns = [] if line is None else [line] if isinstance(line, str) else list(line)
    frame = filtered(frame, metric=metric).filter(pl.col(x).is_not_null())
    lines: dict[str, dict[str, list[float | None]]] = {}
    for cell in cells(frame, columns) if columns else [{}]:
        part = filtered(frame, **cell).sort(x)
        rows = [scaled({n: row[n] for n in NUMBER}, unit) for row in part.iter_rows(named=True)]
        entry = {"x": part[x].to_list(), "y": [row["value"] for row in rows]}
        if any(row["low"] is not None for row in rows):
            entry |= {edge: [row[edge] for row in rows] for edge in ("low", "high")}
        lines[label_of(cell) or metric] = entry
    return lines_figure(name, caption, lines, x_label, y_label, log_x)


def against(
    frame: pl.DataFrame,
    along: str,
    line: str | Sequence[str],
    metrics: tuple[str, str],
    name: str,
    caption: str,
    labels: tuple[str, str],
) -> Picture:
    """Draw one metric against another, both of which were measured along a numeric column.

    Args:
        frame: records without seeds.
        along: numeric compared column that pairs the two metrics.
        line: compared columns that name a line.
        metrics: across and up; up has a band where there are intervals.
        name: of the picture's file.
        caption: below it.
        labels: of the axes, with their units.
    """
    columns = [line] if isinstance(line, str) else list(line)
    across, up = metrics
    lines: dict[str, dict[str, list[float | None]]] = {}
    for cell in cells(filtered(frame, metric=up), columns):
        x = filtered(frame, **cell, metric=across).select(along, x="value")
        rows = filtered(frame, **cell, metric=up).join(x, on=along).sort(along)
        entry = {"x": rows["x"].to_list(), "y": rows["value"].to_list()}
        if rows["low"].is_not_null().any():
            entry |= {edge: rows[edge].to_list() for edge in ("low", "high")}
        lines[label_of(cell)] = entry
    return lines_figure(name, caption, lines, *labels)


def texts_table(
    rows: Sequence[Mapping[str, str]], columns: Mapping[str, str], caption: str = ""
) -> Table:
    """Return texts side by side, in columns that wrap.

    Args:
        rows: column -> text, one mapping a row.
        columns: column -> heading; the first names the row.
        caption: says what the texts are.
    """
    lines = tuple(tuple(str(row.get(name, NONE)) for name in columns) for row in rows)
    return Table(tuple(columns.values()), lines, caption, texts=tuple(range(len(columns))))
