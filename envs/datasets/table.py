"""Any CSV or Parquet file, by a map from canonical columns to the file's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable, resolve_log_path
from copygym.envs.datasets.card import Card
from copygym.envs.datasets.events import sends_of
from copygym.envs.datasets.products import with_products
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.columns import Source
from copygym.envs.logs.maps import with_times

CARD = Card(
    name="table",
    title="your own log: any CSV or Parquet, by column map",
    source="you",
    licence="yours",
    size="any; read in a stream",
    randomised="what your logging policy randomised: record its propensity, or declare that it "
    "is unknown",
    faults=(
        "nothing is known of the logging policy beyond the columns you map: without propensity, "
        "off-policy estimates are not justified.",
    ),
    citation="none",
    files=(),
    how_to_get=(
        "Set data.path to your file and data.columns to a map from canonical columns to yours; "
        "`copygym data check FILE` tries it"
    ),
)


def load(
    path: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    label: str = "table",
    separator: str | None = None,
    encoding: str = "utf-8",
    time_zone: str | None = None,
    empty: Mapping[str, Any] | None = None,
    ignore: Sequence[str] | None = None,
    time_format: str | None = None,
    cap: Sequence[str] | None = None,
    events: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    products: str | Path | None = None,
) -> ClickLog:
    """Load a table.

    Args:
        path: CSV, csv.gz, Parquet, or a folder of (partitioned) Parquet.
        columns: canonical, ``user_*`` or ``context_*`` name -> column of the file.
        constants: canonical name -> one value for all rows (``impressions: 1``).
        label: of the log, in reports.
        separator: of a CSV; None means comma, or tab for ``.tsv``.
        encoding: of a CSV.
        time_zone: IANA zone of timestamps that carry none.
        empty: canonical name -> what an empty value means (``clicks: 0``).
        ignore: columns of the file that are left out.
        time_format: how the file writes times where that is not ISO 8601, such as
            ``%d.%m.%Y %H:%M``, or ``epoch`` or ``epoch_ms``.
        cap: counts (clicks, conversions, unsubscribes) that are cut to what they can be at most.
        events: where a row is an event (sent, clicked): ``column`` with the words and ``send``
            with the columns that name a send, see `events.sends_of`.
        synthetic: label results as synthetic.
        products: file of what is sold, from which briefs are made (`with_products`).

    Raises:
        UserError: no path, or a fault of a file.
    """
    if path is None:
        raise UserError("dataset table: data.path is not set; set it to your CSV or Parquet file.")
    read = partial(_read_events, events=events) if events else ClickLog.read
    log = read(
        path,
        columns=columns,
        constants=constants,
        name=label,
        separator=separator,
        encoding=encoding,
        time_zone=time_zone,
        empty=empty,
        ignore=ignore or (),
        time_format=time_format,
        cap=cap or (),
    )
    log = log if log.has("propensity") else log.with_notes(*CARD.faults)
    log = ClickLog(log.frame, log.name, synthetic, log.notes, log.source)
    return log if products is None else with_products(log, products)


def _read_events(path: str | Path, *, events: Mapping[str, Any], **reading: Any) -> ClickLog:
    """Return the log of a file whose rows are events.

    Raises:
        UserError: a fault of the file.
    """
    file = resolve_log_path(path)
    table = open_table(file, separator=reading["separator"], encoding=reading["encoding"])
    columns = {name: str(column) for name, column in (reading["columns"] or {}).items()}
    source = Source(str(file), table.first_row, columns)
    with readable(file, reading["separator"]):
        frame = table.frame
        if "timestamp" in columns:
            frame = frame.rename({columns.pop("timestamp"): "timestamp"})
        if "revenue" in columns:
            frame = frame.rename({columns.pop("revenue"): "revenue"})
        if "timestamp" in frame.collect_schema().names():
            frame = with_times(frame, reading["time_format"], source)
        frame, notes = sends_of(frame, source, events)
    return ClickLog.from_frame(
        frame,
        name=reading["name"],
        columns=columns,
        constants=reading["constants"],
        notes=(*table.notes, *notes),
        source=str(file),
        infer_features=table.text,
        time_zone=reading["time_zone"],
    )
