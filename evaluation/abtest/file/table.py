"""Columns of an A/B test's file, as texts and numbers; every fault names its row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import is_csv, open_table, readable
from copygym.envs.logs.columns import Source, is_text, refuse_types
from copygym.envs.logs.numbers import FALSE, TRUE
from copygym.evaluation.abtest.compare import MOST_COUNT

_WORDS = dict.fromkeys(TRUE, "1") | dict.fromkeys(FALSE, "0")


@dataclass(frozen=True)
class Columns:
    """Names of the columns; None where the file has none.

    Attributes:
        arm: which arm.
        clicks: clicks of the row.
        impressions: impressions of the row; None takes every row as one unit.
        value: any number of a unit, such as revenue, instead of clicks.
        user: whose row it is.
        covariate: something of the user from before the test, for CUPED; of a user with several
            rows the first counts.
        look: when the row came in, such as a day.
        propensity: with which the arm was drawn, for tests that a bandit allocates.
        test: which test, in a file of several.
    """

    arm: str = "arm"
    clicks: str = "clicks"
    impressions: str | None = None
    value: str | None = None
    user: str | None = None
    covariate: str | None = None
    look: str | None = None
    propensity: str | None = None
    test: str | None = None


def file_notes(
    path: Path, separator: str | None = None, encoding: str = "utf-8"
) -> tuple[str, ...]:
    """Return what was unusual about the file, for the user to read; it is not read once more."""
    return open_table(path, separator=separator, encoding=encoding).notes


def read_columns(
    path: Path, columns: Columns, separator: str | None = None, encoding: str = "utf-8"
) -> tuple[pl.DataFrame, Columns]:
    """Return the columns that are wanted, and their names with the defaults filled in."""
    raw = open_table(path, separator=separator, encoding=encoding).frame
    with readable(path, separator):
        held = raw.collect_schema().names()
        if columns.impressions is None and "impressions" in held:
            columns = replace(columns, impressions="impressions")
        if not columns.arm and "arm" in held:
            columns = replace(columns, arm="arm")
        if columns.user is None and "user_id" in held:
            columns = replace(columns, user="user_id")
        wanted = [getattr(columns, name) for name in columns.__dataclass_fields__]
        if columns.value is not None or columns.clicks not in held:
            wanted.remove(columns.clicks)
        table = raw.select([name for name in dict.fromkeys(wanted) if name in held]).collect()
        if not table.columns:
            table = raw.collect()
    mark = next((m for m in (";", "\t", "|") if len(held) == 1 and m in held[0]), None)
    if mark:
        raise UserError(f"{path}: columns are separated by {mark!r}; say so by --separator.")
    for field in columns.__dataclass_fields__:
        name = getattr(columns, field)
        if name and name not in held and field != "clicks":
            raise UserError(
                f"{path} has no column {name!r}; it has {', '.join(held)}: name the right one by "
                f"--{field}."
            )
    refuse_types(table.schema, Source(str(path)))
    if table.height == 0:
        raise UserError(f"{path} holds a header and no row.")
    return table, columns


def texts(table: pl.DataFrame, name: str, path: Path) -> pl.Series:
    """Return a column as text without empty cells."""
    values = table[name].cast(pl.String)
    empty = np.flatnonzero((values.fill_null("").str.strip_chars() == "").to_numpy())
    if len(empty):
        raise UserError(
            f"{path}, row {row_number(path, empty[0])}, column {name}: it is empty; fill it in or "
            "delete the row."
        )
    return values.str.strip_chars()


def row_number(path: Path, index: int) -> int:
    """Return the row that a table's index has in the file; a CSV's header is its first."""
    return int(index) + (2 if is_csv(path) else 1)


@dataclass(frozen=True)
class Numbers:
    """Columns of a table as numbers, or one sentence that says why not."""

    table: pl.DataFrame
    path: Path

    def place(self, index: int, name: str) -> str:
        """Return where a value stands."""
        return f"{self.path}, row {row_number(self.path, index)}, column {name}"

    def column(self, name: str, least: float | None = None, whole: bool = False) -> np.ndarray:
        """Return a column, (N,) float64, all finite."""
        if name not in self.table.columns:
            raise UserError(
                f"{self.path} has no column {name!r}; name the one with the clicks by --clicks, or "
                "any other outcome of a user by --value."
            )
        raw = self.table[name]
        kind = raw.dtype
        if kind.is_temporal():
            raise UserError(f"{self.path}, column {name}: type {kind} is no number; write numbers.")
        if is_text(kind):
            raw = raw.cast(pl.String)
            # Booleans are written as words by most tools.
            cast = raw.str.strip_chars().str.to_lowercase().replace(_WORDS)
            cast = cast.cast(pl.Float64, strict=False)
        else:
            cast = raw.cast(pl.Float64, strict=False)
        values = cast.fill_null(np.nan).to_numpy()
        good = np.isfinite(values)
        wanted = "a number"
        if least is not None:
            good, wanted = good & (values >= least), f"a number of {least:g} or more"
        if whole:
            good, wanted = good & (values == np.floor(values)), f"a whole {wanted[2:]}"
        bad = np.flatnonzero(~good)
        if len(bad):
            shown = raw[int(bad[0])]
            shown = "nothing" if shown in (None, "") else repr(shown)
            raise UserError(
                f"{self.place(bad[0], name)}: {shown} is not {wanted}; write plain digits, 0 where "
                "there was nothing."
            )
        if whole and values.sum() > MOST_COUNT:
            top = int(values.argmax())
            raise UserError(
                f"{self.place(top, name)}: {raw[top]!r} and the others add up to "
                f"{values.sum():.3g}, which is more than can be counted exactly (2^53); are these "
                "counts?"
            )
        return values
