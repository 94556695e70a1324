"""A file of people, read whole: nobody is lost without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.tables.files import open_table, readable
from copygym.experiments.plans.saved import SavedPolicy


def read_people(path: Path, user: str = "user", **how: Any) -> tuple[pl.DataFrame, list[str]]:
    """Return a row a person with the column ``user``, and notes.

    Args:
        path: CSV or Parquet.
        user: its column of ids.
        how: of the file, as for `open_table`.

    Raises:
        UserError: no such file or column, an empty file, an empty id, or an id twice.
    """
    opened = open_table(path, **how)
    with readable(path):
        frame = opened.frame.collect()
    if user not in frame.columns:
        raise unknown_name(f"column of {path}", user, frame.columns)
    if user != "user" and "user" in frame.columns:
        raise UserError(f"{path} has a column user beside {user!r}; rename one of them.")
    frame = frame.rename({user: "user"}).with_columns(pl.col("user").cast(pl.String))
    if frame.is_empty():
        raise UserError(f"{path} holds no people; give a row a person.")
    empty = frame["user"].is_null() | (frame["user"].str.strip_chars() == "")
    if empty.any():
        raise UserError(
            f"{path}, row {int(empty.arg_true()[0]) + 1}: the {user} is empty; give everybody one."
        )
    twice = ~frame["user"].is_first_distinct()
    if twice.any():
        raise UserError(
            f"{path}, row {int(twice.arg_true()[0]) + 1}: this {user} stands in an earlier row "
            f"already ({int(twice.sum()):,} such rows); give a row a person."
        )
    return frame, list(opened.notes)


def check_people(path: Path, people: pl.DataFrame, policy: SavedPolicy) -> list[str]:
    """Return what to know of people as a policy sees them.

    Raises:
        UserError: a number is none.
    """
    known = policy.fitted.profile_builder.demographics
    for name in known.numeric:
        if name not in people.columns:
            continue
        text = people[name].cast(pl.String).str.strip_chars()
        odd = text.is_not_null() & (text != "") & text.cast(pl.Float64, strict=False).is_null()
        if odd.any():
            row = int(odd.arg_true()[0])
            raise UserError(
                f"{path}, row {row + 1}: {name} is {people[name][row]!r}, which is no number; "
                "correct it, or leave it empty."
            )
    lost = [name for name in known.columns if name not in people.columns]
    return [f"the people have no column {', '.join(lost)}: it counts as unknown."] if lost else []
