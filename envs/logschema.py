"""Schema of a click log and its checks: one aggregated pass, then a search for the first bad row.

Every check is a boolean polars expression that is true where a row is wrong. All of them are
summed in one streaming pass, so a good log of any size is validated in bounded memory; only when
a sum is positive does a second pass look up the first offending row to name it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from copygym.envs.errors import UserError
from copygym.envs.logtime import UTC_TIME, TimestampPlan

#: Canonical columns and their types; only impressions and clicks are required.
SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "timestamp": UTC_TIME,
    "product_id": pl.String(),
    "creative_id": pl.String(),
    "text": pl.String(),
    "brief": pl.String(),
    "topic": pl.String(),
    "channel": pl.String(),
    "slot": pl.String(),
    "test_id": pl.String(),
    "impression_id": pl.String(),
    "propensity": pl.Float64(),
    "impressions": pl.Int64(),
    "clicks": pl.Int64(),
    "conversions": pl.Int64(),
    "unsubscribes": pl.Int64(),
    "revenue": pl.Float64(),
}
REQUIRED = ("impressions", "clicks")
COUNTS = ("impressions", "clicks", "conversions", "unsubscribes")
IDS = ("user_id", "creative_id", "test_id", "impression_id")
#: A count that must not exceed another: clicks <= impressions and so on.
CEILINGS = {"clicks": "impressions", "conversions": "clicks", "unsubscribes": "impressions"}
FEATURE_PREFIXES = ("user_", "context_")

_ROW = "__row__"
#: So many hashes of ids are compared at a time: about half a gigabyte.
_HASHES = 20_000_000


@dataclass(frozen=True)
class Source:
    """Where a log comes from, for error messages.

    Attributes:
        label: the file as the user named it.
        first_row: number of the first data row: 2 in a CSV, whose header is row 1; else 1.
        columns: canonical name -> name in the file, where they differ.
    """

    label: str
    first_row: int = 1
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """Return the file's own name of a canonical column."""
        return self.columns.get(name, name)

    def at(self, row: int, column: str) -> str:
        """Return ``FILE, row R, column C`` for the zero-based data row ``row``."""
        return f"{self.label}, row {row + self.first_row}, column {self.column(column)}"


@dataclass(frozen=True)
class Check:
    """One rule: ``bad`` is true where a row breaks it.

    Attributes:
        column: the column to blame.
        bad: boolean expression on the raw frame, never null.
        problem: what is wrong, a template over the raw values of ``show``.
        way_out: what to do.
        show: columns whose values the message quotes; user ids are never among them.
    """

    column: str
    bad: pl.Expr
    problem: str
    way_out: str
    show: tuple[str, ...] = ()


def is_feature(name: str) -> bool:
    """Tell whether a column is a free ``user_*`` or ``context_*`` feature."""
    return name.startswith(FEATURE_PREFIXES) and name not in SCHEMA


def require_columns(present: list[str], wanted: Mapping[str, str], source: Source) -> None:
    """Raise for the first of ``wanted`` (canonical -> file column) that is not ``present``."""
    for canonical, column in wanted.items():
        if column in present:
            continue
        close = difflib.get_close_matches(column, present, n=1, cutoff=0.6)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        extra = ""
        if len(present) == 1 and any(mark in present[0] for mark in ";\t|"):
            extra = " (one column only: is another separator needed?)"
        elif canonical == "impressions" and not close:
            extra = (
                "; where each row is one impression, set the constant impressions=1 (`--set "
                "impressions=1` for `data check`, `+data.constants.impressions=1` for runs)"
            )
        syntax = ""
        if canonical in REQUIRED:
            syntax = (
                f" (`--map {canonical}=COLUMN` for `data check`, "
                f"`+data.columns.{canonical}=COLUMN` for runs)"
            )
        name = f"{canonical!r}" if canonical == column else f"{column!r} (for {canonical!r})"
        listed = ", ".join(repr(c) for c in present[:20]) + (", ..." if len(present) > 20 else "")
        raise UserError(
            f"{source.label}: column {name} is missing{hint}; the columns there are {listed}"
            f"{extra}; map a column of another name onto {canonical!r}{syntax}."
        )


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as a stripped string."""
    column = pl.col(name)
    return (column if dtype == pl.String else column.cast(pl.String)).str.strip_chars()


def _number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as Float64; null where it is no number."""
    raw = _text(name, dtype) if dtype in (pl.String, pl.Categorical) else pl.col(name)
    return raw.cast(pl.Float64, strict=False)


def _missing(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype in (pl.String, pl.Categorical):
        return _text(name, dtype).fill_null("") == ""
    return pl.col(name).is_null()


def _number_checks(name: str, dtype: pl.DataType) -> list[Check]:
    """Return the rules of one numeric canonical column, most basic first."""
    number, missing = _number(name, dtype), _missing(name, dtype)
    whole = name in COUNTS
    kind = "a whole number" if whole else "a number"
    write = f"write {kind} or remove the row"
    checks = [
        Check(name, missing, "the value is empty", f"{write}"),
        Check(name, ~missing & number.is_null(), "value {0!r} is not a number", write, (name,)),
        Check(name, number.is_nan().fill_null(False), "the value is NaN", write),
        Check(name, number.is_infinite().fill_null(False), "the value is infinite", write),
    ]
    finite = number.is_finite().fill_null(False)

    def rule(condition: pl.Expr, problem: str, way_out: str) -> None:
        checks.append(Check(name, finite & condition, problem, way_out, (name,)))

    if whole:
        rule(number != number.floor(), "value {0} is not a whole number", "counts are whole")
    if name == "impressions":
        rule(number < 1, "value {0} is below 1", "a row counts one impression or decision at least")
    elif name == "propensity":
        rule(
            (number <= 0) | (number > 1),
            "value {0} lies outside (0, 1]",
            "write the probability with which the logged choice was made",
        )
    else:
        rule(number < 0, "value {0} is negative", "counts and amounts start at 0")
    return checks


def _ceiling_checks(schema: Mapping[str, pl.DataType]) -> list[Check]:
    checks = []
    for name, ceiling in CEILINGS.items():
        if name not in schema or ceiling not in schema:
            continue
        over = _number(name, schema[name]) > _number(ceiling, schema[ceiling])
        checks.append(
            Check(
                name,
                over.fill_null(False),
                f"value {{0}} exceeds {ceiling} {{1}}",
                f"{name} are counted among the {ceiling}, so correct or remove the row",
                (name, ceiling),
            )
        )
    return checks


def _id_checks(schema: Mapping[str, pl.DataType]) -> list[Check]:
    hints = {"creative_id": "; write 'hold' where nothing was sent"}
    return [
        Check(
            name,
            _missing(name, schema[name]),
            "the id is empty",
            f"give every row an id or leave the column out{hints.get(name, '')}",
        )
        for name in IDS
        if name in schema
    ]


def _feature_checks(schema: Mapping[str, pl.DataType]) -> list[Check]:
    return [
        Check(name, pl.col(name).is_infinite().fill_null(False), "the value is infinite", "cap it")
        for name, dtype in schema.items()
        if is_feature(name) and dtype.is_float()
    ]


def _timestamp_checks(plan: TimestampPlan | None) -> list[Check]:
    if plan is None:
        return []
    missing = _missing("timestamp", plan.dtype)
    return [
        Check("timestamp", missing, "the value is empty", "write a time or remove the row"),
        Check(
            "timestamp",
            ~missing & plan.expression().is_null(),
            "value {0!r} is not a time",
            "write ISO 8601, as in 2024-05-01T13:30:00+00:00",
            ("timestamp",),
        ),
    ]


def _timestamp_plan(
    schema: Mapping[str, pl.DataType], source: Source, zone: str | None
) -> TimestampPlan | None:
    dtype = schema.get("timestamp")
    if dtype is None:
        return None
    if not (dtype in (pl.String, pl.Date) or isinstance(dtype, pl.Datetime)):
        raise UserError(
            f"{source.label}, column {source.column('timestamp')}: type {dtype} is not a time; "
            "write ISO 8601 text or a datetime column."
        )
    return TimestampPlan(dtype, zone)


def first_row(frame: pl.LazyFrame, where: pl.Expr, show: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the first row (zero-based, key ``__row__``) where ``where`` holds, or None."""
    found = (
        frame.with_row_index(_ROW)
        .filter(where)
        .select(_ROW, *dict.fromkeys(show))
        .head(1)
        .collect(engine="streaming")
    )
    return found.row(0, named=True) if found.height else None


def _shorten(value: Any) -> Any:
    return value[:40] + "..." if isinstance(value, str) and len(value) > 40 else value


def _fail(frame: pl.LazyFrame, check: Check, count: int, source: Source) -> UserError:
    row = first_row(frame, check.bad, check.show)
    if row is None:  # the file changed between the two passes
        return UserError(f"{source.label} changed while it was read; run again.")
    values = [_shorten(row[name]) for name in check.show]
    more = f" ({count:,} such rows)" if count > 1 else ""
    where = source.at(row[_ROW], check.column)
    return UserError(f"{where}: {check.problem.format(*values)}; {check.way_out}{more}.")


def _refuse_mixed_zones(frame: pl.LazyFrame, plan: TimestampPlan, source: Source) -> None:
    first = frame.select(plan.offset).head(1).collect(engine="streaming").item()
    rows = [
        first_row(frame, plan.offset == first, ("timestamp",)),
        first_row(frame, plan.offset != first, ("timestamp",)),
    ]
    if rows[0] is None or rows[1] is None:
        return
    one, other = rows[0], rows[1]
    raise UserError(
        f"{source.at(one[_ROW], 'timestamp')}: value {one['timestamp']!r} and row "
        f"{other[_ROW] + source.first_row} value {other['timestamp']!r} are in different time "
        "zones; write every timestamp in one zone, best UTC."
    )


def _inferred(schema: Mapping[str, pl.DataType]) -> dict[str, list[pl.Expr]]:
    """Return, per text feature, counts of: values, numbers, whole numbers, codes like 007."""
    out = {}
    for name, dtype in schema.items():
        if not is_feature(name) or dtype != pl.String:
            continue
        text = _text(name, dtype)
        filled = text.fill_null("") != ""
        number = _number(name, dtype)
        out[name] = [
            filled.sum().alias(f"{name}:filled"),
            number.is_not_null().sum().alias(f"{name}:numbers"),
            ((number == number.floor()) & number.is_finite())
            .fill_null(False)
            .sum()
            .alias(f"{name}:whole"),
            text.str.contains(r"^[+-]?0\d").fill_null(False).sum().alias(f"{name}:codes"),
        ]
    return out


def _feature_cast(name: str, dtype: pl.DataType, found: Mapping[str, Any]) -> pl.Expr:
    if f"{name}:filled" not in found:
        if dtype.is_float():
            return pl.col(name).fill_nan(None)
        return pl.col(name).cast(pl.String) if dtype == pl.Categorical else pl.col(name)
    text = _text(name, dtype)
    text = pl.when(text != "").then(text).alias(name)
    filled = found[f"{name}:filled"]
    if filled == 0 or found[f"{name}:numbers"] < filled or found[f"{name}:codes"]:
        return text
    if found[f"{name}:whole"] == filled:
        return _number(name, dtype).cast(pl.Int64)
    return _number(name, dtype).fill_nan(None)


def _casts(
    schema: Mapping[str, pl.DataType], plan: TimestampPlan | None, found: Mapping[str, Any]
) -> list[pl.Expr]:
    out = []
    for name, dtype in schema.items():
        if name == "timestamp" and plan is not None:
            expr = plan.expression()
        elif name not in SCHEMA:
            expr = _feature_cast(name, dtype, found)
        elif SCHEMA[name] == pl.String:
            expr = pl.col(name).cast(pl.String)
        else:
            expr = _number(name, dtype).cast(SCHEMA[name])
        out.append(expr.alias(name))
    return out


def _refuse_duplicates(frame: pl.LazyFrame, keys: list[str], rows: int, source: Source) -> None:
    """Raise when two of the ``rows`` of ``frame`` agree in all ``keys`` (the last one is blamed).

    The first look counts 64-bit hashes, so many at a time that memory is bounded; the exact search
    only follows a clash.
    """
    hashed = pl.struct(keys).hash()
    slices = 1 + rows // _HASHES
    for number in range(slices):
        mine = hashed.filter(hashed % slices == number)
        counted = frame.select(rows=mine.len(), distinct=mine.n_unique()).collect(
            engine="streaming"
        )
        if counted["distinct"][0] < counted["rows"][0]:
            _refuse_twice(frame, keys, hashed % slices == number, source)


def _refuse_twice(frame: pl.LazyFrame, keys: list[str], where: pl.Expr, source: Source) -> None:
    twice = (
        frame.select(keys)
        .with_row_index(_ROW)
        .filter(where)
        .group_by(keys)
        .agg(pl.col(_ROW).min().alias("first"), pl.col(_ROW).sort().get(1, null_on_oob=True))
        .filter(pl.col(_ROW).is_not_null())
        .sort(_ROW)
        .head(1)
        .collect(engine="streaming")
    )
    if twice.height == 0:
        return
    row = twice.row(0, named=True)
    blamed = "impression_id" if keys == ["impression_id"] else "creative_id"
    values = ", ".join(f"{source.column(k)} {_shorten(row[k])!r}" for k in keys)
    raise UserError(
        f"{source.at(row[_ROW], blamed)}: {values} is already in row "
        f"{row['first'] + source.first_row}; give every row its own id or add the counts up."
    )


def _duplicate_keys(names: list[str], largest_impressions: float) -> list[str]:
    """Return the columns that must be unique together; [] where rows may repeat.

    An ``impression_id`` names a row. Without one, an aggregated log (a test and a creative, no
    user, some row with more than one impression) has one row per arm, time, channel, slot and
    context.
    """
    if "impression_id" in names:
        return ["impression_id"]
    aggregated = {"test_id", "creative_id"} <= set(names) and "user_id" not in names
    if not aggregated or largest_impressions <= 1:
        return []
    extra = [n for n in names if n in ("timestamp", "channel", "slot") or n.startswith("context_")]
    return ["test_id", "creative_id", *extra]


def _column_types(schema: Mapping[str, pl.DataType], source: Source) -> None:
    for name, dtype in schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise UserError(
                f"{source.label}, column {source.column(name)}: type {dtype} cannot be used; "
                "write text, numbers or times."
            )


def _measure(
    frame: pl.LazyFrame,
    schema: Mapping[str, pl.DataType],
    plan: TimestampPlan | None,
    infer_features: bool,
) -> tuple[list[Check], dict[str, Any]]:
    """Return the rules, and one streaming pass's counts of rows that break each of them."""
    numeric = [n for n in schema if n in SCHEMA and SCHEMA[n].is_numeric()]
    checks = [c for n in numeric for c in _number_checks(n, schema[n])]
    checks += _ceiling_checks(schema) + _id_checks(schema) + _timestamp_checks(plan)
    checks += _feature_checks(schema)
    wanted = [c.bad.sum().alias(f"check:{i}") for i, c in enumerate(checks)]
    wanted += [_number("impressions", schema["impressions"]).max().alias("largest")]
    # Counting the bytes of free text makes the reader decode it, so bad encoding shows up here.
    free = [n for n in schema if schema[n] == pl.String]
    wanted += [pl.col(n).str.len_bytes().sum().alias(f"bytes:{n}") for n in free]
    wanted += plan.aggregates() if plan else []
    if infer_features:
        wanted += [e for exprs in _inferred(schema).values() for e in exprs]
    found = frame.select(pl.len().alias("rows"), *wanted).collect(engine="streaming")
    return checks, found.row(0, named=True)


def validate(
    frame: pl.LazyFrame, source: Source, *, infer_features: bool, time_zone: str | None = None
) -> tuple[pl.LazyFrame, list[str]]:
    """Check a raw log and return it with canonical types.

    Args:
        frame: raw columns under canonical names; canonical columns may be text, features are
            free. Columns that are neither are dropped (and noted).
        source: names the file in error messages.
        infer_features: read text features that hold only numbers as numbers; codes with a
            leading zero stay text.
        time_zone: IANA zone of timestamps that carry none; None reads them as UTC.

    Returns:
        The typed lazy frame (not collected), canonical columns first, and notes for the report.

    Raises:
        UserError: names file, row, column, value and the way out of the first rule broken.
    """
    present = frame.collect_schema()
    require_columns(present.names(), {name: name for name in REQUIRED}, source)
    kept = [n for n in SCHEMA if n in present] + [n for n in present.names() if is_feature(n)]
    dropped = [n for n in present.names() if n not in kept]
    frame = frame.select(kept)
    schema = {name: present[name] for name in kept}
    _column_types(schema, source)
    plan = _timestamp_plan(schema, source, time_zone)

    if plan:
        plan.settle(frame)

    checks, measured = _measure(frame, schema, plan, infer_features)
    unreadable = [i for i, c in enumerate(checks) if c.column == "timestamp"]
    if plan and any(measured[f"check:{i}"] for i in unreadable) and plan.widen():
        checks, measured = _measure(frame, schema, plan, infer_features)
    if measured["rows"] == 0:
        raise UserError(f"{source.label} has columns and no rows; a log needs at least one row.")
    for i, check in enumerate(checks):
        if measured[f"check:{i}"]:
            raise _fail(frame, check, measured[f"check:{i}"], source)
    if plan and plan.is_text and measured["time:least"] != measured["time:greatest"]:
        _refuse_mixed_zones(frame, plan, source)
    typed = frame.select(_casts(schema, plan, measured))
    if keys := _duplicate_keys(kept, measured["largest"]):
        _refuse_duplicates(typed, keys, measured["rows"], source)
    return typed, _notes(dropped, plan, measured, time_zone)


def _notes(
    dropped: list[str], plan: TimestampPlan | None, found: Mapping[str, Any], zone: str | None
) -> list[str]:
    notes = []
    if any(dropped):
        named = []
        for column in filter(None, dropped):  # a column without a name is a row index
            close = difflib.get_close_matches(column, list(SCHEMA), n=1, cutoff=0.75)
            named.append(f"{column!r} (is it {close[0]}?)" if close else repr(column))
        more = f" and {len(named) - 12} more" if len(named) > 12 else ""
        notes.append(f"columns not used: {', '.join(named[:12])}{more}.")
    if plan and plan.naive(found):
        notes.append(f"timestamps carry no time zone and are read as {zone or 'UTC'}.")
    return notes
