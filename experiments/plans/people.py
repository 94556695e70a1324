"""A file of people, read whole: nobody is lost without a word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.own import named
from copygym.experiments.plans.saved import SavedPolicy


def read_people(
    path: Path,
    user: str = "user",
    columns: Mapping[str, str] | None = None,
    like: str | None = None,
    **how: Any,
) -> tuple[pl.DataFrame, list[str]]:
    """Return a row a person with the column ``user``, and notes.

    Args:
        path: CSV or Parquet.
        user: its column of ids.
        columns: ``user``, ``user_*`` or a column that rules name -> column of the file.
        like: a log of `copygym data map`, whose map of people's columns this file shares.
        how: of the file, as for `open_table`; what is None is as in that log.

    Raises:
        UserError: no such file, log or column, an empty file, an empty id, or an id twice.
    """
    given = dict(columns or {})
    if like is not None:
        of_log = named.read(like)
        how = {**how, **{k: of_log[k] for k in ("separator", "encoding")
                         if k in of_log and how.get(k) in (None, "utf-8")}}  # fmt: skip
    opened = open_table(path, **how)
    with readable(path):
        frame = opened.frame.collect()
    if like is not None:
        theirs = of_log.get("columns") or {}
        known = {k: v for k, v in theirs.items() if k.startswith("user_") and v in frame.columns}
        ids = {"user": known.pop("user_id")} if "user_id" in known else {}
        given = {**known, **ids, **given}
    frame, user = _renamed(frame, path, given, user)
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


def _renamed(
    frame: pl.DataFrame, path: Path, columns: Mapping[str, str], user: str
) -> tuple[pl.DataFrame, str]:
    """Return people under the names of a map, and the name of their ids.

    Raises:
        UserError: a column that is not there, or a name that would be there twice.
    """
    for name, column in columns.items():
        if column not in frame.columns:
            raise unknown_name(f"column of {path}", column, frame.columns)
        if name != column and name in frame.columns and name not in columns.values():
            raise UserError(
                f"{path} has a column {name} beside {column!r}, which is mapped onto it; leave one "
                "of them out."
            )
    if len(set(columns.values())) < len(columns):
        raise UserError(f"{path}: a column is mapped twice; give each one name.")
    frame = frame.rename({column: name for name, column in columns.items()})
    return frame, "user" if "user" in columns else user


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
