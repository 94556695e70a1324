"""The users of an A/B test's file: one arm each, with ids that are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.arms import is_total
from copygym.evaluation.abtest.file.table import row_number, texts

#: Digits that a spreadsheet keeps of a number.
_SPREADSHEET_DIGITS = 15
_WHOLE_IN_DOUBLE = 2**53


def user_codes(
    table: pl.DataFrame, name: str, path: Path, arm: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Return codes of the users, each in one arm, (N,) int64.

    Raises:
        UserError: a user is in two arms, or is a row of sums.
    """
    values = texts(table, name, path)
    _refuse_totals(values, name, path)
    # Ranks, because numpy sorts texts slowly.
    _, first, code = np.unique(
        values.rank("dense").to_numpy(), return_index=True, return_inverse=True
    )
    other = np.flatnonzero(arm != arm[first][code])
    if len(other):
        row = other[0]
        rounded = rounded_ids(table[name])
        raise UserError(
            f"{path}, row {row_number(path, row)}, column {name}: this user is in arm "
            f"{names[arm[row]]!r} and in arm {names[arm[first][code][row]]!r} "
            f"({len(np.unique(code[other]))} users are in two); "
            + (
                f"{rounded}, so export them as text."
                if rounded
                else "drop them or mend the assignment."
            )
        )
    return np.asarray(code, np.int64)


def _refuse_totals(values: pl.Series, name: str, path: Path) -> None:
    likely = values.str.contains("(?i)tot|sum|som|gesamt|ergebnis|итого|合計|总计")
    for index in np.flatnonzero(likely.to_numpy()):
        if is_total(values[int(index)]):
            raise UserError(
                f"{path}, row {row_number(path, int(index))}, column {name}: "
                f"{values[int(index)]!r} is a row of sums by its name, and no user; delete it."
            )


def rounded_ids(values: pl.Series) -> str:
    """Return how many ids lost digits on their way, as part of a sentence; empty for none."""
    if values.dtype.is_float():
        large = int((values.abs() >= _WHOLE_IN_DOUBLE).sum())
        if large:
            return (
                f"ids beyond 2^53 in a column of decimals, which holds them rounded: {large:,}; "
                "different users may have become one"
            )
        return ""
    ids = values.cast(pl.String).str.strip_chars().unique()
    # 1.2E+15, or 1234567890123450000: what is behind the 15th digit is gone.
    short = ids.filter(ids.str.contains(r"(?i)^\d([.,]\d+)?e\+?\d+$"))
    if len(short):
        return (
            f"ids rounded as a spreadsheet does it (such as {short[0]}): {len(short):,}; different "
            "users may have become one"
        )
    long = ids.filter(ids.str.contains(rf"^\d{{{_SPREADSHEET_DIGITS + 1},}}$"))
    cut = long.filter(long.str.contains(rf"^\d{{{_SPREADSHEET_DIGITS}}}0+$"))
    if len(cut) >= 5 and len(cut) == len(long):
        return (
            f"ids of more than {_SPREADSHEET_DIGITS} digits that all end in zeros, as spreadsheets "
            f"round them (such as {cut[0]}): {len(cut):,}; different users may have become one"
        )
    return ""
