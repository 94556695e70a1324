"""Reading an A/B test's file: who was in which arm, and what came of it.

A file holds either rows of users (or single impressions), or counts: one row per arm, or per arm
and look. What is randomised is the unit; a user with several rows is one unit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.evaluation.abtest.compare import Arms, arms_from_counts, arms_from_values
from copygym.evaluation.abtest.exact import events_of
from copygym.evaluation.abtest.file.arms import choose, is_total, refuse_totals
from copygym.evaluation.abtest.file.order import Order, find_order
from copygym.evaluation.abtest.file.rows import refuse_missing_units, refuse_sum_rows, remarks
from copygym.evaluation.abtest.file.table import Columns, Numbers, read_columns, row_number, texts
from copygym.evaluation.abtest.file.users import user_codes
from copygym.evaluation.abtest.values import Cuped, cuped, linearise

#: How a file's rows are to be read.


@dataclass(frozen=True)
class TestFile:
    """The rows of an A/B test, checked. N rows, A arms, L looks.

    Attributes:
        source: the file.
        names: of the arms, the control first.
        arm_N: (N,) int64 index of the arm.
        outcome_N: (N,) float64 clicks or value.
        impressions_N: (N,) float64, or None.
        user_N: (N,) int64 codes of users, or None.
        covariate_N: (N,) float64, or None.
        look_N: (N,) int64 index of the look, or None.
        looks: names of the looks, in order.
        propensity_N: (N,) float64, or None.
        counts: rows are counts of independent impressions.
        clicks: the outcome is clicks, so that means are rates where there are impressions.
        control_why: what made the first arm the control.
        look_order: by what the looks were ordered; empty without looks.
        notes: what a reader should know of the file.
        warnings: what speaks against believing any effect.
    """

    source: str
    names: tuple[str, ...]
    arm_N: np.ndarray
    outcome_N: np.ndarray
    impressions_N: np.ndarray | None
    user_N: np.ndarray | None
    covariate_N: np.ndarray | None
    look_N: np.ndarray | None
    looks: tuple[str, ...]
    propensity_N: np.ndarray | None
    counts: bool
    clicks: bool
    control_why: str = ""
    look_order: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What is counted as independent, in the plural."""
        if self.counts:
            return "impressions"
        return "rows" if self.user_N is None else "users"

    @property
    def rate(self) -> bool:
        """Whether means are shares of units (or impressions) that clicked."""
        if not self.clicks or self.impressions_N is not None:
            return self.clicks
        by_unit = (
            self.outcome_N if self.user_N is None else np.bincount(self.user_N, self.outcome_N)
        )
        return bool(by_unit.max() <= 1)

    def arms(self, look: int | None = None) -> tuple[Arms, Cuped | None]:
        """Return the arms, up to and with a look, and what CUPED did where there is a covariate.

        Raises:
            UserError: what there is so far cannot be compared.
        """
        keep = slice(None) if look is None or self.look_N is None else self.look_N <= look
        arm, outcome = self.arm_N[keep], self.outcome_N[keep]
        shown = None if self.impressions_N is None else self.impressions_N[keep]
        size = len(self.names)
        if self.counts:
            assert shown is not None
            units = np.bincount(arm, shown, size)
            return arms_from_counts(self.names, units, np.bincount(arm, outcome, size)), None
        past = None if self.covariate_N is None else self.covariate_N[keep]
        if self.user_N is not None:
            _, first, code = np.unique(self.user_N[keep], return_index=True, return_inverse=True)
            arm, outcome = arm[first], np.bincount(code, outcome)
            shown = None if shown is None else np.bincount(code, shown)
            past = None if past is None else past[first]
        ratio = shown is not None and bool((shown != 1).any())
        values = linearise(arm, outcome, shown, size) if ratio else outcome
        adjusted = None if past is None else cuped(arm, values, past)
        arms = arms_from_values(self.names, arm, values if adjusted is None else adjusted.value_N)
        if ratio or adjusted is not None:
            # What is rare is counted before the values were changed.
            before = events_of(arm, outcome, size)
            what = before.words if before is not None and not self.clicks else arms.rare_what
            rare = rare_units(arm, outcome, shown if ratio else None, size)
            arms = replace(arms, rare_A=rare, binary=False, events=None, rare_what=what)
        return arms, adjusted


def rare_units(
    arm: np.ndarray, outcome: np.ndarray, shown: np.ndarray | None, size: int
) -> np.ndarray | None:
    """Return the rarer of units with a click and units without, of each arm, (A,).

    Units, and not their clicks, because one user's clicks depend on each other. Of a ratio, a unit
    is without where it has an impression without a click. None for values that are not mostly one.
    """
    if shown is not None:
        clicked = np.bincount(arm[outcome > 0], minlength=size)
        return np.minimum(clicked, np.bincount(arm[outcome < shown], minlength=size))
    units = np.bincount(arm, minlength=size)
    if ((outcome == 0) | (outcome == 1)).all():
        ones = np.bincount(arm[outcome == 1], minlength=size)
        return np.minimum(ones, units - ones)
    events = events_of(arm, outcome, size)
    return None if events is None else events.rare_A(units)


def read_test(
    path: Path,
    columns: Columns,
    *,
    control: str | None,
    rows: str = "auto",
    separator: str | None = None,
    encoding: str = "utf-8",
    planned: Collection[str] = (),
) -> TestFile:
    """Read the file of one A/B test.

    Args:
        path: CSV, csv.gz, Parquet, or a folder of Parquet files.
        columns: their names. ``impressions`` and ``user`` default to the columns "impressions"
            and "user_id" where the file has them.
        control: the arm to compare with; None takes one called so, else the first in order
            (`abtest_arms.choose`).
        rows: what a row is: "users", "counts", or "auto" to go by the columns.
        separator: of a CSV; None means comma, or tab for ``.tsv``.
        encoding: of a CSV without a byte order mark.
        planned: arms that the planned ratio names, which are arms even if they look like sums.

    Raises:
        UserError: a column is missing, a value cannot be, a user is in two arms, an arm is a row
            of sums, rows are no users and no counts of an arm, ...
    """
    table, columns = read_columns(path, columns, separator, encoding)
    arm, names, why = _arms(table, columns.arm, path, control)
    number = Numbers(table, path)
    if columns.value is None:
        outcome = number.column(columns.clicks, least=0, whole=True)
    else:
        outcome = number.column(columns.value)
    impressions = None
    if columns.value is None and columns.impressions is not None:
        impressions = number.column(columns.impressions, least=0, whole=True)
        over = np.flatnonzero(outcome > impressions)
        if len(over):
            raise UserError(
                f"{number.place(over[0], columns.clicks)}: {outcome[over[0]]:g} clicks in "
                f"{impressions[over[0]]:g} impressions; a click needs an impression of its own."
            )
    look, order = _looks(table, columns.look, path)
    user = None
    if columns.user is not None and columns.propensity is None:
        user = user_codes(table, columns.user, path, arm, names)
    counts = _are_counts(rows, path, impressions, user, arm, look)
    summed = {} if impressions is None else {"impressions": impressions, "clicks": outcome}
    refuse_totals(
        names,
        {what: np.bincount(arm, n, len(names)) for what, n in summed.items()},
        lambda name: number.place(int(np.argmax(arm == names.index(name))), columns.arm),
        planned,
    )
    covariate = None
    if columns.covariate is not None:
        if counts:
            raise UserError(f"{path} holds counts by arm; --covariate needs a row per user.")
        covariate = number.column(columns.covariate)
    propensity = None
    if columns.propensity is not None:
        propensity = number.column(columns.propensity)
        bad = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
        if len(bad):
            raise UserError(
                f"{number.place(bad[0], columns.propensity)}: {propensity[bad[0]]:g} is no "
                "probability above 0; give the one with which this arm was drawn."
            )
    test = TestFile(
        str(path),
        names,
        arm,
        outcome,
        impressions,
        user,
        covariate,
        look,
        () if order is None else order.names,
        propensity,
        counts,
        columns.value is None,
        why,
        "" if order is None else order.by,
        (order.caution,) if order is not None and order.caution else (),
    )
    refuse_missing_units(test, columns, table, rows)
    refuse_sum_rows(test, number, columns.impressions)
    notes, warnings = remarks(test, columns, table)
    return replace(test, notes=(*notes, *test.notes), warnings=tuple(warnings))


def read_counts(
    path: Path, columns: Columns, separator: str | None = None, encoding: str = "utf-8"
) -> tuple[pl.DataFrame, bool]:
    """Return units by test and arm (``test``, ``arm``, ``units``), and whether these are sums.

    Units are users where there is a column of users, else impressions, else rows. An empty
    ``columns.arm`` takes the column "arm" or, in a file without one, every row as an arm. Tests are
    in the order of the file, and a test's arms in that of `abtest_arms.choose`.

    Raises:
        UserError: a column is missing, a value cannot be, or an arm is none.
    """
    table, columns = read_columns(path, columns, separator, encoding)
    rows = pl.Series([f"row {row_number(path, index)}" for index in range(table.height)])
    arm = texts(table, columns.arm, path) if columns.arm else rows
    test = pl.lit("") if columns.test is None else texts(table, columns.test, path)
    if columns.user is not None and columns.arm:
        units = pl.col("user").n_unique()
        user = texts(table, columns.user, path)
    else:
        units, user = pl.col("units").sum(), arm
    shown: np.ndarray | pl.Expr = pl.lit(1.0)
    if columns.impressions is not None:
        shown = Numbers(table, path).column(columns.impressions, least=0, whole=True)
    frame = pl.DataFrame({"arm": arm}).with_columns(test=test, user=user, units=shown)
    if columns.user is not None and columns.arm:
        _refuse_two_arms(frame, path)
    grouped = frame.group_by("test", "arm", maintain_order=True).agg(
        units.cast(pl.Int64).alias("units")
    )
    summed = columns.user is None and columns.impressions is not None
    if columns.arm:
        grouped = _in_order(grouped, f"{path}, column {columns.arm}")
    return grouped, summed


def _in_order(grouped: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return units by test and arm with every test's control first."""
    parts = []
    for part in grouped.partition_by("test", maintain_order=True):
        names = part["arm"].to_list()
        place = {name: index for index, name in enumerate(choose(names, None, where).names)}
        parts.append(part[sorted(range(len(names)), key=lambda index: place[names[index]])])
    return pl.concat(parts)


def _refuse_two_arms(frame: pl.DataFrame, path: Path) -> None:
    arms = frame.group_by("test", "user").agg(pl.col("arm").unique().sort())
    both = arms.filter(pl.col("arm").list.len() > 1).sort("test", "user")
    if both.height:
        one = both.row(0, named=True)
        raise UserError(
            f"{path}: user {one['user']!r} is in arm {one['arm'][0]!r} and in arm "
            f"{one['arm'][1]!r} ({both.height} users are in two); drop them or mend the assignment."
        )


def _arms(
    table: pl.DataFrame, name: str, path: Path, control: str | None
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Return each row's arm, the names, the control first, and why it is."""
    values = texts(table, name, path)
    names = values.unique(maintain_order=True).to_list()
    if len(names) > 100:
        raise UserError(
            f"{path}: column {name} holds {len(names)} different values; name the column of the "
            "arms by --arm."
        )
    chosen = choose(names, control, f"{path}, column {name}")
    if len(names) < 2:
        raise UserError(f"{path}: column {name} holds one arm only ({names[0]!r}); a test has two.")
    code = {n: index for index, n in enumerate(chosen.names)}
    arm = values.replace_strict(code, return_dtype=pl.Int64).to_numpy()
    return arm, chosen.names, chosen.why


def _looks(
    table: pl.DataFrame, name: str | None, path: Path
) -> tuple[np.ndarray | None, Order | None]:
    """Return each row's look and the looks in their own order."""
    if name is None:
        return None, None
    values = texts(table, name, path)
    names = values.unique(maintain_order=True).to_list()
    if len(names) > 1000:
        raise UserError(f"{path}: column {name} holds {len(names)} looks; use days, not seconds.")
    total = next((n for n in names if is_total(n) or n.lower() in ("all", "overall")), None)
    if total is not None:
        raise UserError(
            f"{path}, column {name}: {total!r} is a row of sums by its name, and no look; delete "
            "such rows."
        )
    order = find_order(names, f"{path}, column {name}")
    return values.replace_strict(order.place, return_dtype=pl.Int64).to_numpy(), order


def _are_counts(
    rows: str,
    path: Path,
    impressions: np.ndarray | None,
    user: np.ndarray | None,
    arm: np.ndarray,
    look: np.ndarray | None,
) -> bool:
    """Return whether rows are counts: one per arm (and look), where nobody says."""
    if rows == "users" or (rows == "auto" and (impressions is None or user is not None)):
        return False
    if rows == "counts":
        if impressions is None:
            raise UserError(f"{path}: counts need a column of impressions; name it.")
        return True
    return one_row_each(arm, look)


def one_row_each(arm: np.ndarray, look: np.ndarray | None) -> bool:
    """Return whether no two rows have the same arm and look."""
    cells = arm if look is None else arm * (look.max() + 1) + look
    return len(np.unique(cells)) == len(cells)
