"""From a file's columns to canonical ones: maps, constants, empty values, columns left out.

What a map or a constant contradicts in the file is refused or noted, never overridden in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.envs.logs.columns import (
    COUNTS,
    ROW,
    SCHEMA,
    Source,
    first_row,
    is_feature,
    is_missing,
    is_text,
    shorten,
    strip,
    such_rows,
)
from copygym.envs.logs.numbers import CEILINGS, count, ignore_syntax
from copygym.envs.logs.schema import require_columns
from copygym.envs.logs.times import read_format

#: Columns whose empty values may be given a meaning; an id or a time that is empty has none.
MAY_BE_EMPTY = (
    "clicks", "conversions", "unsubscribes", "revenue", "creative_id", "product_id", "topic",
    "channel", "slot",
)  # fmt: skip


def arrange(
    raw: pl.LazyFrame,
    source: Source,
    constants: Mapping[str, Any],
    empty: Mapping[str, Any],
    ignore: Sequence[str],
    time_format: str | None = None,
    cap: Sequence[str] = (),
) -> tuple[pl.LazyFrame, list[str]]:
    """Return the columns under their canonical names, and what must be said of them.

    Args:
        raw: the file's columns.
        source: of the file; its ``columns`` are the map.
        constants: canonical name -> one value for every row.
        empty: canonical name -> what an empty value means.
        ignore: columns of the file that are left out.
        time_format: how the file writes times, see `times.read_format`.
        cap: counts that are cut to what they can be at most, see `_capped`.

    Raises:
        UserError: a name that is no column, a constant that contradicts the file, or a time that
            is not written as told.
    """
    left_out = [ignore] if isinstance(ignore, str) else ignore
    raw, notes = _without(raw, left_out, source)
    present = raw.collect_schema().names()
    for column in present:
        if column == "*" or re.fullmatch(r"\^.*\$", column):
            raise UserError(
                f"{source.label}: column {column!r} has a name that stands for any number of "
                "columns; rename it in the file."
            )
    for name in (*source.columns, *constants):
        if name not in SCHEMA and not is_feature(name):
            raise UserError(
                f"{source.label}: cannot map onto {name!r}; canonical columns are "
                f"{', '.join(SCHEMA)}, and features start with user_ or context_."
            )
        if name in source.columns and name in constants:
            raise UserError(
                f"{source.label}: {name!r} is mapped to column {source.columns[name]!r} and has "
                f"the constant {constants[name]!r}; leave one of them out."
            )
    require_columns(present, source.columns, source)
    used = set(source.columns.values())
    for name, value in constants.items():
        if name in present and name not in used:
            _refuse_contradiction(raw, name, value, source)
    taken = set(source.columns) | set(constants)
    notes += _shadow_notes(raw, source, present) + _read_twice(source, taken)
    same = [c for c in present if c not in taken and (c not in used or c in SCHEMA)]
    frame = raw.select(
        *same,
        *(pl.col(column).alias(name) for name, column in source.columns.items()),
        *(pl.lit(value).alias(name) for name, value in constants.items()),
    )
    frame = with_times(frame, time_format, source)
    frame, notes = _fill_empty(frame, empty, source, notes)
    return _capped(frame, cap, source, notes)


def with_times(frame: pl.LazyFrame, fmt: str | None, source: Source) -> pl.LazyFrame:
    """Return the frame with the times that a format reads; None leaves them as they are.

    Raises:
        UserError: there are none, or one is not written so.
    """
    if fmt is None:
        return frame
    schema = frame.collect_schema()
    require_columns(schema.names(), {"timestamp": "timestamp"}, source)
    read = read_format(fmt, schema["timestamp"])
    missing = is_missing("timestamp", schema["timestamp"])
    row = first_row(frame, read.is_null() & ~missing, ("timestamp",))
    if row is not None:
        raise UserError(
            f"{source.at(row[ROW], 'timestamp')}: value {shorten(row['timestamp'])!r} is no time "
            f"as {fmt!r} reads it; correct the row, or state another format "
            "(`--time-format`, data.time_format for runs)."
        )
    return frame.with_columns(read.alias("timestamp"))


def _capped(
    frame: pl.LazyFrame, cap: Sequence[str], source: Source, notes: list[str]
) -> tuple[pl.LazyFrame, list[str]]:
    """Return the frame with clicks, conversions or unsubscribes cut to what they are counted among.

    A send that was clicked three times is one send that was clicked; a purchase that no click
    came before is none that the send has earned. No row is lost, and what changed is noted.
    """
    for name in [cap] if isinstance(cap, str) else cap:
        if name not in CEILINGS:
            raise unknown_name("column to cap", name, list(CEILINGS))
    schema = frame.collect_schema()
    for name, (among, _) in CEILINGS.items():
        if name not in cap:
            continue
        require_columns(schema.names(), {name: name, among: among}, source)
        own, most = count(name, schema[name]), count(among, schema[among])
        above = (own > most).fill_null(False)
        number = int(frame.select(above.sum()).collect(engine="streaming").item())
        if number:
            rows = "1 row has" if number == 1 else f"{number:,} rows have"
            notes.append(f"column {source.column(name)}: {rows} more {name} than {among}; "
                         f"each is read as its {among}, as told.")  # fmt: skip
            kept = pl.col(name).cast(pl.String) if is_text(schema[name]) else pl.col(name)
            cut = most.cast(pl.String) if is_text(schema[name]) else most
            frame = frame.with_columns(pl.when(above).then(cut).otherwise(kept).alias(name))
            schema = frame.collect_schema()
    return frame, notes


def _without(
    raw: pl.LazyFrame, ignore: Sequence[str], source: Source
) -> tuple[pl.LazyFrame, list[str]]:
    if not ignore:
        return raw, []
    present = raw.collect_schema().names()
    for name in ignore:
        if name in source.columns.values():
            raise UserError(
                f"{source.label}: column {name!r} is mapped and left out; decide for one of them."
            )
        if name not in present:
            raise unknown_name(f"column to ignore in {source.label}", name, present)
    listed = ", ".join(repr(name) for name in ignore)
    return raw.drop(*ignore), [f"columns left out, as told: {listed}."]


def _text(frame: pl.LazyFrame, name: str) -> pl.Expr:
    return strip(name, frame.collect_schema()[name]).fill_null("")


def _refuse_contradiction(raw: pl.LazyFrame, name: str, value: Any, source: Source) -> None:
    """Raise where the file's own column of that name holds something else than the constant."""
    own = _text(raw, name)
    differs = own != str(value)
    with_number = pl.lit(str(value)).cast(pl.Float64, strict=False)
    same_number = (own.cast(pl.Float64, strict=False) == with_number).fill_null(False)
    row = first_row(raw, differs & ~same_number, (name,))
    if row is None:
        return
    raise UserError(
        f"{source.label}, row {row[ROW] + source.first_row}, column {name}: the file says "
        f"{shorten(row[name])!r} where the constant {name}={value} would override it; leave the "
        f"constant out, or the file's column with {ignore_syntax(name)}."
    )


def _shadow_notes(raw: pl.LazyFrame, source: Source, present: Sequence[str]) -> list[str]:
    """Return notes on columns with a canonical name that another column is read for."""
    notes, used = [], set(source.columns.values())
    for name, column in source.columns.items():
        if name not in present or name in used or name == column:
            continue
        differs = _text(raw, name) != _text(raw, column)
        number = int(raw.select(differs.sum()).collect(engine="streaming").item())
        row = first_row(raw, differs, (name, column)) if number else None
        said = (
            f"column {column!r} is read as {name}, and the file's own column {name!r} is not used"
        )
        if row is None:
            notes.append(f"{said}; both hold the same.")
        else:
            quoted = "" if name == "user_id" else f": {row[column]!r} for {row[name]!r}"
            where = row[ROW] + source.first_row
            notes.append(f"{said}; they differ, first in row {where}{quoted}{such_rows(number)}.")
    return notes


def _read_twice(source: Source, taken: set[str]) -> list[str]:
    """Return notes on columns that are read under two names; their own may be one of them."""
    notes = []
    for column in dict.fromkeys(source.columns.values()):
        names = [column] if column in SCHEMA and column not in taken else []
        names += [name for name, mapped in source.columns.items() if mapped == column]
        if len(names) > 1:
            notes.append(f"column {column!r} is read as {' and as '.join(names)}.")
    return notes


def _fill_empty(
    frame: pl.LazyFrame, empty: Mapping[str, Any], source: Source, notes: list[str]
) -> tuple[pl.LazyFrame, list[str]]:
    schema = frame.collect_schema()
    filled: list[pl.Expr] = []
    for name, value in empty.items():
        if name not in MAY_BE_EMPTY:
            raise unknown_name("column that may be empty", name, list(MAY_BE_EMPTY))
        require_columns(schema.names(), {name: name}, source)
        dtype = schema[name]
        if SCHEMA[name].is_numeric():
            _check_number(name, value, source)
        missing = is_missing(name, dtype)
        number = int(frame.select(missing.sum()).collect(engine="streaming").item())
        if not number:
            continue
        as_text = is_text(dtype) or dtype == pl.Null
        meant = pl.lit(str(value)) if as_text else pl.lit(_as_type(name, value))
        kept = pl.col(name).cast(pl.String) if is_text(dtype) else pl.col(name)
        filled.append(pl.when(missing).then(meant).otherwise(kept).alias(name))
        values = "1 empty value is" if number == 1 else f"{number:,} empty values are"
        notes.append(f"column {source.column(name)}: {values} read as {value}, as told.")
    return frame.with_columns(filled), notes


def _as_type(name: str, value: Any) -> Any:
    if not SCHEMA[name].is_numeric():
        return str(value)
    return int(float(value)) if name in COUNTS else float(value)


def _check_number(name: str, value: Any, source: Source) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < 1e15 or (name in COUNTS and number != int(number)):
        kind = "a whole number" if name in COUNTS else "a number"
        raise UserError(
            f"{source.label}: an empty {name} cannot mean {value!r}; give {kind} from 0, as in "
            f"{name}=0."
        )
