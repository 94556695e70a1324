"""Tables of texts: every column is kept as it stands, the texts are checked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import is_csv, open_table, readable
from copygym.core.text.plain import as_written


def read_texts(
    path: Path,
    column: str,
    *,
    kind: str = "text",
    optional: Collection[str] = (),
    adds: Collection[str] = (),
    way_out: str = "rename the one that holds them",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return a table as it stands (a CSV's columns as text), and notes on how it was read.

    Args:
        path: CSV, csv.gz or Parquet.
        column: of the texts, none of which may be empty.
        kind: what a text is, for messages.
        optional: columns that hold texts too where they are there.
        adds: columns of the output, which the table must not have.
        way_out: what to do where there is no such column.
        separator: of `open_table`.
        encoding: of `open_table`.

    Raises:
        UserError: no such file, neither CSV nor Parquet, no such column, no row, a text that is
            missing or empty, or a column that the output would overwrite.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give a .csv, .csv.gz or .parquet file.")
    opened = open_table(path, separator=separator, encoding=encoding)
    with readable(path):
        table = opened.frame.collect()
    if is_csv(path):
        table = as_written(table)
    if column not in table.columns:
        raise UserError(
            f"{path} has no column {column!r}; it has {', '.join(table.columns)}: {way_out}."
        )
    if taken := [name for name in adds if name in table.columns]:
        raise UserError(
            f"{path} already has a column {taken[0]!r}, which the output adds; rename it first."
        )
    if table.height == 0:
        raise UserError(f"{path} holds a header and no row; add a {kind}.")
    for name in (column, *optional):
        if name in table.columns and table[name].dtype != pl.String:
            raise UserError(
                f"{path}, column {name}: it holds {table[name].dtype}, not text; write it as text, "
                "or name another column."
            )
    empty = np.flatnonzero((table[column].fill_null("").str.strip_chars() == "").to_numpy())
    if len(empty):
        row = int(empty[0]) + opened.first_row
        raise UserError(
            f"{path}, row {row}, column {column}: the {kind} is empty; fill it in or delete the "
            "row."
        )
    return table, tuple(opened.notes)


__all__ = ["read_texts"]
