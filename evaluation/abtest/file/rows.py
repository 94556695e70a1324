"""What an A/B test's rows leave out, and what is odd about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.users import rounded_ids

if TYPE_CHECKING:
    from copygym.evaluation.abtest.file.reader import TestFile
    from copygym.evaluation.abtest.file.table import Columns, Numbers

#: Rows without a user are parts of an arm rather than users where an arm has so few of them, or
#: where they have so many impressions each.
_FEW_ROWS = 10
_MANY_IMPRESSIONS = 50
#: Repeated rows are a fault of the export rather than of chance where an arm has more by so much.
_ODD_SHARE = 0.1
#: Where one unit makes more of an arm's variance, it is named.
_MOST_VARIANCE = 0.5


def refuse_missing_units(test: TestFile, columns: Columns, table: pl.DataFrame, rows: str) -> None:
    """Raise where the file leaves out what a rate or its error needs.

    Args:
        test: as it was read.
        columns: their names.
        table: the columns that are read, N rows.
        rows: "auto", "users" or "counts"; under "users" a row is a unit because the user says so.

    Raises:
        UserError: rows are parts of an arm, or only those that clicked are in the file.
    """
    if rows == "auto" and not test.counts and test.user_N is None and test.propensity_N is None:
        _refuse_parts(test, columns, table)
    if test.clicks:
        _refuse_only_clickers(test, columns)


def refuse_sum_rows(test: TestFile, number: Numbers, column: str | None) -> None:
    """Raise where one of an arm's rows is the sum of its others, such as a device called Total.

    Args:
        test: as it was read.
        number: the columns that are read, to name the row's place.
        column: of the impressions.

    Raises:
        UserError: names the row.
    """
    if not test.counts or test.impressions_N is None or column is None:
        return
    is_sum = _per_arm(test, test.arm_N)[test.arm_N] >= 3
    for values in (test.impressions_N, test.outcome_N):
        total = np.bincount(test.arm_N, values, len(test.names))
        is_sum &= (values > 0) & (2 * values == total[test.arm_N])
    for row in np.flatnonzero(is_sum)[:1]:
        raise UserError(
            f"{number.place(int(row), column)}: this row has as many impressions and clicks as all "
            f"other rows of arm {test.names[test.arm_N[row]]!r} together, so it is their sum; "
            "delete such rows."
        )


def _refuse_parts(test: TestFile, columns: Columns, table: pl.DataFrame) -> None:
    """Raise where rows are neither users nor the counts of an arm."""
    rows = np.bincount(test.arm_N)
    if test.impressions_N is not None:
        if rows.min() < _FEW_ROWS or test.impressions_N.mean() > _MANY_IMPRESSIONS:
            raise UserError(
                f"{test.source} has several rows per arm and no column of users, so that a row "
                "seems to be a part of an arm, such as a device or a day: say --rows counts to add "
                "the parts up where every impression was drawn anew, name the users by --user "
                "where they were, or say --rows users where a row is a user."
            )
        return
    if rows.max() == 1 and test.clicks:
        raise UserError(
            f"{test.source} has one row per arm, and nothing says of how many impressions its "
            "clicks are; name their column by --impressions, or give a row per user, also for "
            "those who did not click."
        )
    if rows.max() == 1:
        raise UserError(
            f"{test.source} has one row per arm, and nothing says how much {columns.value} varies "
            "from user to user; give a row per user."
        )
    if not test.clicks and columns.impressions in table.columns:
        shown = table[columns.impressions].cast(pl.Float64, strict=False).mean()
        if isinstance(shown, float) and shown > _MANY_IMPRESSIONS:
            raise UserError(
                f"{test.source} has {shown:,.0f} impressions a row and no column of users, so that "
                f"a row's {columns.value} seems to be that of many users; give a row per user, or "
                "say --rows users where a row is a user."
            )
    if test.clicks and rows.min() < _FEW_ROWS and (test.outcome_N > 1).any():
        raise UserError(
            f"{test.source} has a few rows per arm with several clicks each, and no column of "
            "impressions or of users; name one by --impressions or --user, or say --rows users "
            "where a row is a user."
        )


def _refuse_only_clickers(test: TestFile, columns: Columns) -> None:
    """Raise where everybody clicked: those that were shown the creative and did not are missing."""
    if test.impressions_N is not None:
        if not (test.outcome_N == test.impressions_N).all():
            return
        seen = f"column {columns.clicks} has as many clicks as impressions in every row"
    else:
        clicks = _by_unit(test)
        if clicks.min() < 1:
            return
        seen = f"every one of the {len(clicks):,} {test.unit} clicked"
    raise UserError(
        f"{test.source}: {seen}, so that those without a click are missing and there is no rate to "
        "compare; give a row for everyone who was shown a creative (clicks 0 where there was "
        "none), or the impressions of each arm."
    )


def remarks(test: TestFile, columns: Columns, table: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Return what a reader should know of the rows: notes, and warnings of what may be wrong.

    Args:
        test: as it was read.
        columns: their names.
        table: the columns that are read, N rows.
    """
    notes: list[str] = []
    warnings: list[str] = []
    if test.user_N is not None and columns.user is not None and not test.counts:
        _users(test, table, columns.user, notes, warnings)
        _covariate(test, columns, notes)
    elif test.counts and repeated_rows(table).any():
        warnings.append(
            f"{int(repeated_rows(table).sum()):,} rows repeat an earlier row in every column that "
            "is read, and were added up; remove them where the export wrote them twice."
        )
    if not test.clicks and (test.outcome_N > 0).all():
        notes.append(
            f"every row has a {columns.value} above 0; if only buyers are in the file, give the "
            "others a row of 0, because chance decided who was in which arm and not who bought."
        )
    if not test.clicks:
        _largest(test, columns, notes)
    if test.clicks and test.impressions_N is None:
        _all_clicked(test, warnings)
    return notes, warnings


def repeated_rows(table: pl.DataFrame) -> np.ndarray:
    """Return the rows that an earlier row has in every column that is read, (N,) bool."""
    return np.asarray(~table.hash_rows().is_first_distinct().to_numpy())


def _users(
    test: TestFile, table: pl.DataFrame, column: str, notes: list[str], warnings: list[str]
) -> None:
    """Say how many users have several rows, repeated ones, or rounded ids."""
    assert test.user_N is not None
    rounded = rounded_ids(table[column])
    if rounded:
        warnings.append(f"column {column}: {rounded}, so export them as text.")
    ids = table[column].cast(pl.String).str.strip_chars()
    alike = ids.n_unique() - ids.str.to_lowercase().n_unique()
    if alike:
        notes.append(
            f"column {column}: {alike:,} ids differ from another in case only and are taken for "
            "users of their own; write them in one way where they are one user's."
        )
    several = int((np.bincount(test.user_N) > 1).sum())
    if not several:
        return
    rows, users = _per_arm(test, test.arm_N), _per_arm(test, _first_arm(test))
    average = ", ".join(
        f"{name} {r / max(u, 1):.2f}" for name, r, u in zip(test.names, rows, users, strict=True)
    )
    notes.append(
        f"{len(test.arm_N):,} rows are of {int(users.sum()):,} users: {several:,} of them with "
        f"more than one, which were added up (rows per user: {average})."
    )
    again = _per_arm(test, test.arm_N[repeated_rows(table)])
    if not again.any():
        return
    counts = ", ".join(f"{name} {n:,}" for name, n in zip(test.names, again, strict=True))
    odd = np.ptp(again / np.maximum(rows, 1)) > _ODD_SHARE
    (warnings if odd else notes).append(
        f"{int(again.sum()):,} rows repeat an earlier row in every column that is read ({counts}), "
        "as rows of single impressions may; remove them where the export wrote them twice."
    )


def _covariate(test: TestFile, columns: Columns, notes: list[str]) -> None:
    if test.covariate_N is None or test.user_N is None:
        return
    _, first, code = np.unique(test.user_N, return_index=True, return_inverse=True)
    changed = np.unique(code[test.covariate_N != test.covariate_N[first][code]])
    if len(changed):
        notes.append(
            f"{len(changed):,} users have several values of {columns.covariate}; that of their "
            "first row counts."
        )


def _largest(test: TestFile, columns: Columns, notes: list[str]) -> None:
    """Say where one unit makes most of an arm's variance, such as one giant order."""
    value, arm = _by_unit(test), _first_arm(test)
    for index, name in enumerate(test.names):
        own = value[arm == index]
        if len(own) < _FEW_ROWS or (own != np.median(own)).sum() < 2:
            continue
        scaled = own / np.abs(own).max()  # squares of large numbers have no room
        apart = (scaled - scaled.mean()) ** 2
        largest = int(apart.argmax())
        share = apart[largest] / apart.sum()
        if share > _MOST_VARIANCE:
            notes.append(
                f"one of the {len(own):,} {test.unit} of arm {name!r} has a {columns.value} of "
                f"{own[largest]:,.6g}, which makes {share:.0%} of the variance there: mean and "
                "interval say little of the others; see whether it is a mistake."
            )


def _all_clicked(test: TestFile, warnings: list[str]) -> None:
    units = _per_arm(test, _first_arm(test))
    clicked = _per_arm(test, _first_arm(test)[_by_unit(test) > 0])
    for index in np.flatnonzero((clicked == units) & (units >= _FEW_ROWS)):
        warnings.append(
            f"everyone in arm {test.names[index]!r} clicked; see whether those without a click are "
            "missing."
        )


def _by_unit(test: TestFile) -> np.ndarray:
    """Return the outcome of every unit, (U,)."""
    if test.user_N is None:
        return test.outcome_N
    codes = np.unique(test.user_N, return_inverse=True)[1]
    return np.bincount(codes, test.outcome_N)


def _first_arm(test: TestFile) -> np.ndarray:
    """Return the arm of every unit, (U,), in the order of `_by_unit`."""
    if test.user_N is None:
        return test.arm_N
    return test.arm_N[np.unique(test.user_N, return_index=True)[1]]


def _per_arm(test: TestFile, arm: np.ndarray) -> np.ndarray:
    return np.bincount(arm, minlength=len(test.names))
