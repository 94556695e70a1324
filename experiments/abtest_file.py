"""Reading an A/B test's file: who was in which arm, and what came of it.

A file holds either rows of users (or single impressions), or counts: one row per arm, or per arm
and look. What is randomised is the unit; a user with several rows is one unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from copygym.envs.errors import UserError
from copygym.experiments.abtest import Arms, arms_from_counts, arms_from_values
from copygym.experiments.abtest_table import Columns, Numbers, read_columns, row_number, texts
from copygym.experiments.abtest_values import Cuped, cuped, linearised

#: How a file's rows are to be read.
ROWS = ("auto", "users", "counts")


@dataclass(frozen=True)
class TestFile:
    """The rows of an A/B test, checked. N rows, A arms, L looks.

    Attributes:
        source: the file.
        names: of the arms, the control first where its name is known.
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
        values = outcome
        if shown is not None and (shown != 1).any():
            values = linearised(arm, outcome, shown, size)
        if past is None:
            return self._with_rare(arms_from_values(self.names, arm, values), arm, outcome), None
        adjusted = cuped(arm, values, past)
        arms = arms_from_values(self.names, arm, adjusted.value_N)
        return self._with_rare(arms, arm, outcome), adjusted

    def _with_rare(self, arms: Arms, arm: np.ndarray, outcome: np.ndarray) -> Arms:
        if not self.clicks or arms.rare_A is not None:
            return arms
        return replace(arms, rare_A=np.bincount(arm, outcome, len(self.names)).astype(np.int64))


def read_test(
    path: Path,
    columns: Columns,
    *,
    control: str | None,
    rows: str = "auto",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> TestFile:
    """Read the file of one A/B test.

    Args:
        path: CSV, csv.gz, Parquet, or a folder of Parquet files.
        columns: their names. ``impressions`` and ``user`` default to the columns "impressions"
            and "user_id" where the file has them.
        control: the arm to compare with; None takes one called "control", else the first.
        rows: one of `ROWS`.
        separator: of a CSV; None means comma, or tab for ``.tsv``.
        encoding: of a CSV without a byte order mark.

    Raises:
        UserError: a column is missing, a value cannot be, a user is in two arms, ...
    """
    table, columns = read_columns(path, columns, separator, encoding)
    arm, names = _arms(table, columns.arm, path, control)
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
    look, looks = _looks(table, columns.look, path)
    user = None
    if columns.user is not None and columns.propensity is None:
        user = _users(table, columns.user, path, arm, names)
    counts = _are_counts(rows, path, impressions, user, arm, look)
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
    return TestFile(
        str(path),
        names,
        arm,
        outcome,
        impressions,
        user,
        covariate,
        look,
        looks,
        propensity,
        counts,
        columns.value is None,
    )


def read_counts(
    path: Path, columns: Columns, separator: str | None = None, encoding: str = "utf-8"
) -> pl.DataFrame:
    """Return units by test and arm: ``test``, ``arm``, ``units``, in the order of the file.

    Units are users where there is a column of users, else impressions, else rows. An empty
    ``columns.arm`` takes the column "arm" or, in a file without one, every row as an arm.

    Raises:
        UserError: a column is missing or a value cannot be.
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
    return frame.group_by("test", "arm", maintain_order=True).agg(
        units.cast(pl.Int64).alias("units")
    )


def _arms(
    table: pl.DataFrame, name: str, path: Path, control: str | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return each row's arm and the names, the control first."""
    values = texts(table, name, path)
    names = values.unique(maintain_order=True).to_list()
    if control is None:
        control = next((n for n in names if n.lower() == "control"), names[0])
    if control not in names:
        raise UserError(
            f"{path} has no arm {control!r}; it has {', '.join(names[:12])}: name one by --control."
        )
    names = [control, *(n for n in names if n != control)]
    if len(names) < 2:
        raise UserError(f"{path}: column {name} holds one arm only ({names[0]!r}); a test has two.")
    if len(names) > 100:
        raise UserError(
            f"{path}: column {name} holds {len(names)} different values; name the column of the "
            "arms by --arm."
        )
    code = {n: index for index, n in enumerate(names)}
    return values.replace_strict(code, return_dtype=pl.Int64).to_numpy(), tuple(names)


def _users(
    table: pl.DataFrame, name: str, path: Path, arm: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Return codes of the users, each in one arm."""
    # Ranks, because numpy sorts texts slowly.
    ranks = texts(table, name, path).rank("dense").to_numpy()
    _, first, code = np.unique(ranks, return_index=True, return_inverse=True)
    other = np.flatnonzero(arm != arm[first][code])
    if len(other):
        row = other[0]
        raise UserError(
            f"{path}, row {row_number(path, row)}, column {name}: this user is in arm "
            f"{names[arm[row]]!r} and in arm {names[arm[first][code][row]]!r} "
            f"({len(np.unique(code[other]))} users are in two); drop them or mend the assignment."
        )
    return np.asarray(code, np.int64)


def _looks(
    table: pl.DataFrame, name: str | None, path: Path
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return each row's look, in order of number where all are numbers, else of text."""
    if name is None:
        return None, ()
    values = texts(table, name, path)
    names = (
        values.unique()
        .to_frame("name")
        .with_columns(number=pl.col("name").cast(pl.Float64, strict=False))
    )
    numbers = names["number"].null_count() == 0
    order = names.sort("number" if numbers else "name")["name"].to_list()
    if len(order) > 1000:
        raise UserError(f"{path}: column {name} holds {len(order)} looks; use days, not seconds.")
    code = {n: index for index, n in enumerate(order)}
    return values.replace_strict(code, return_dtype=pl.Int64).to_numpy(), tuple(order)


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
    cells = arm if look is None else arm * (look.max() + 1) + look
    return len(np.unique(cells)) == len(cells)
