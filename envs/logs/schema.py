"""Schema of a click log and its checks: one aggregated pass, then a search for the first bad row.

Every check is a boolean polars expression that is true where a row is wrong. All of them are
summed in one streaming pass, so a good log of any size is validated in bounded memory; only when
a sum is positive does a second pass look up the first offending row to name it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.columns import (
    COUNTS,
    FEATURE_PREFIXES,
    HASHES,
    IDS,
    REQUIRED,
    ROW,
    SCHEMA,
    Check,
    Hint,
    Source,
    first_row,
    is_feature,
    is_missing,
    is_text,
    refuse_types,
    shorten,
)
from copygym.envs.logs.features import FeaturePlan, feature_counts
from copygym.envs.logs.ids import (
    distinct_notes,
    id_checks,
    id_counts,
    id_notes,
    label_cast,
    refuse_totals,
)
from copygym.envs.logs.numbers import (
    ceiling_checks,
    count_points,
    dotted_note,
    largest_impressions,
    number_cast,
    number_checks,
    number_hints,
    parse_numbers,
    refuse_large_sums,
    sums,
    typed_fault,
)
from copygym.envs.logs.times import TimestampPlan

__all__ = [
    "COUNTS",
    "FEATURE_PREFIXES",
    "IDS",
    "REQUIRED",
    "SCHEMA",
    "Check",
    "Source",
    "first_row",
    "is_feature",
    "require_columns",
    "validate",
]

#: So many hashes of ids are compared at a time.
_HASHES = HASHES


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
        listed = ", ".join(repr(shorten(c)) for c in present[:20]) + (
            ", ..." if len(present) > 20 else ""
        )
        raise UserError(
            f"{source.label}: column {name} is missing{hint}; the columns there are {listed}"
            f"{extra}; map a column of another name onto {canonical!r}{syntax}."
        )


def _timestamp_checks(plan: TimestampPlan | None) -> list[Check]:
    if plan is None:
        return []
    missing, show = is_missing("timestamp", plan.dtype), ("timestamp",)
    checks = [Check("timestamp", missing, "the value is empty", "write the time of the row")]
    skipped = plan.skipped()
    if skipped is not None:
        problem = f"value {{0!s}} does not exist in {plan.zone}, whose clocks skip that hour"
        way_out = "are the times of another zone, such as UTC? Name it with `--time-zone`"
        way_out += " (`data.time_zone` for runs)"
        checks.append(Check("timestamp", skipped, problem, way_out, show))
        missing = missing | skipped
    return [
        *checks,
        Check(
            "timestamp",
            ~missing & plan.expression().is_null(),
            "value {0!r} is not a time",
            "write ISO 8601, as in 2024-05-01T13:30:00+00:00 (dates that begin with the day or "
            "month, and seconds since 1970, are not read)",
            show,
        ),
        Check(
            "timestamp",
            plan.outside(),
            "value {0!s} is read as a year before 1900 or after 2199",
            "write the year first and in full, as in 2024-05-01T13:30:00+00:00",
            show,
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


def _refuse_mixed_zones(frame: pl.LazyFrame, plan: TimestampPlan, source: Source) -> None:
    rows = [
        first_row(frame, plan.offset == "none", ("timestamp",)),
        first_row(frame, plan.offset != "none", ("timestamp",)),
    ]
    if rows[0] is None or rows[1] is None:
        return
    one, other = sorted((rows[0], rows[1]), key=lambda row: row[ROW])
    raise UserError(
        f"{source.at(one[ROW], 'timestamp')}: value {one['timestamp']!r} and row "
        f"{other[ROW] + source.first_row} value {other['timestamp']!r} are in different time "
        "zones, as one of them has no offset; write every timestamp with its offset, best in UTC."
    )


def _casts(
    schema: Mapping[str, pl.DataType],
    plan: TimestampPlan | None,
    features: FeaturePlan,
    words: bool,
) -> list[pl.Expr]:
    out = []
    for name, dtype in schema.items():
        if name == "timestamp" and plan is not None:
            expr = plan.expression()
        elif name not in SCHEMA:
            expr = features.cast(name)
        elif SCHEMA[name] == pl.String:
            expr = label_cast(name, dtype)
        else:
            expr = number_cast(name, dtype, words)
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
        .with_row_index(ROW)
        .filter(where)
        .group_by(keys)
        .agg(pl.col(ROW).min().alias("first"), pl.col(ROW).sort().get(1, null_on_oob=True))
        .filter(pl.col(ROW).is_not_null())
        .sort(ROW)
        .head(1)
        .collect(engine="streaming")
    )
    if twice.height == 0:
        return
    row = twice.row(0, named=True)
    blamed = "impression_id" if keys == ["impression_id"] else "creative_id"
    values = ", ".join(f"{source.column(k)} {shorten(row[k])!r}" for k in keys)
    raise UserError(
        f"{source.at(row[ROW], blamed)}: {values} is already in row "
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
    refuse_types(schema, source)
    for name, dtype in schema.items():
        if name in SCHEMA and (fault := typed_fault(name, dtype)):
            raise UserError(f"{source.label}, column {source.column(name)}: type {dtype} {fault}.")


def _measure(
    frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], plan: TimestampPlan | None
) -> tuple[list[Check], list[Hint], dict[str, Any]]:
    """Return the rules and hints, and one streaming pass's counts of the rows of each.

    Args:
        frame: with what `parse_numbers` adds.
        schema: of the log's own columns.
        plan: of the times.
    """
    numeric = [n for n in schema if n in SCHEMA and SCHEMA[n].is_numeric()]
    checks = [c for n in numeric for c in number_checks(n, schema[n])]
    checks += ceiling_checks(schema) + id_checks(schema) + _timestamp_checks(plan)
    hints = number_hints(schema) + _timestamp_hints(plan)
    wanted = [c.bad.sum().alias(f"check:{i}") for i, c in enumerate(checks)]
    wanted += [h.seen.sum().alias(f"hint:{i}") for i, h in enumerate(hints)]
    wanted += [largest_impressions().alias("largest")]
    wanted += sums(schema) + id_counts(schema) + feature_counts(schema)
    # Counting the bytes of free text makes the reader decode it, so bad encoding shows up here.
    free = [n for n in schema if schema[n] == pl.String]
    wanted += [pl.col(n).str.len_bytes().sum().alias(f"bytes:{n}") for n in free]
    wanted += plan.aggregates() if plan else []
    if is_text(schema.get("revenue", pl.Null())):
        wanted += [e.alias(key) for key, e in count_points("revenue", schema["revenue"]).items()]
    found = frame.select(pl.len().alias("rows"), *wanted).collect(engine="streaming")
    return checks, hints, found.row(0, named=True)


def _timestamp_hints(plan: TimestampPlan | None) -> list[Hint]:
    doubled = plan.doubled() if plan else None
    if plan is None or doubled is None:
        return []
    said = f"value {{0!s}} lies in an hour that the clocks of {plan.zone} repeat, and is read as "
    return [Hint("timestamp", doubled, said + "the earlier of the two", ("timestamp",))]


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
    whole_frame, frame = frame, frame.select(kept)
    schema = {name: present[name] for name in kept}
    _column_types(schema, source)
    plan = _timestamp_plan(schema, source, time_zone)

    if plan:
        plan.settle(frame)

    words, rows = False, parse_numbers(frame, schema, words=False)
    checks, hints, measured = _measure(rows, schema, plan)
    bad = {c.column for i, c in enumerate(checks) if measured[f"check:{i}"]}
    # What the first rows did not show, and what is rare, is tried only where something is wrong.
    wider = plan is not None and "timestamp" in bad and plan.widen()
    if wider or bad & set(COUNTS):
        words, rows = True, parse_numbers(frame, schema, words=True)
        checks, hints, measured = _measure(rows, schema, plan)
    if measured["rows"] == 0:
        raise UserError(f"{source.label} has columns and no rows; a log needs at least one row.")
    for i, check in enumerate(checks):
        if measured[f"check:{i}"]:
            raise check.refusal(rows, measured[f"check:{i}"], source)
    refuse_large_sums(measured, source)
    refuse_totals(frame, schema, measured, source)
    if plan and plan.mixed(measured):
        _refuse_mixed_zones(frame, plan, source)
    features = FeaturePlan(frame, schema, measured, infer_features)
    features.refuse(source)
    typed = frame.select(_casts(schema, plan, features, words))
    if keys := _duplicate_keys(kept, measured["largest"]):
        _refuse_duplicates(typed, keys, measured["rows"], source)
    notes = _notes(dropped, plan, measured, time_zone)
    hinted = [hint.note(rows, measured[f"hint:{i}"], source) for i, hint in enumerate(hints)]
    hinted.append(dotted_note("revenue", measured, source))
    notes += [note for note in hinted if note]
    notes += id_notes(frame, schema, measured, source) + features.notes(source)
    identified = "user_id" in kept or measured["largest"] > 1
    identified = identified and "impression_id" not in kept
    return typed, notes + distinct_notes(whole_frame, schema, measured, source, identified)


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
    elif plan and plan.several(found):
        least, greatest = found["time:least"], found["time:greatest"]
        notes.append(
            f"timestamps carry several offsets ({least}, {greatest}); all are read to UTC."
        )
    return notes
