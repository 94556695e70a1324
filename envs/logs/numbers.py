"""Counts, amounts and probabilities of a log: read exactly, or refused with the row and value.

A whole number never passes through float64, which holds only those up to 2**53.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.columns import (
    COUNTS,
    SCHEMA,
    Check,
    Hint,
    Source,
    is_feature,
    is_text,
    strip,
)

#: A count that must not exceed another, and what to do where it does.
CEILINGS = {
    "clicks": (
        "impressions",
        "clicks are counted among the impressions: map a column of unique clicks, at most one for "
        "each impression, or cut them with {cap}",
    ),
    "conversions": (
        "clicks",
        "conversions are counted among the clicks: map a column of those that followed a click "
        "(not view-through ones), cut them with {cap}, or leave the column out with {ignore}",
    ),
    "unsubscribes": (
        "impressions",
        "unsubscribes are counted among the impressions, so cut them with {cap} or leave the "
        "column out with {ignore}",
    ),
}
#: Words for one and none, in lower case; spreadsheets write those of their user's language.
TRUE = ("true", "t", "yes", "y", "wahr", "ja", "vrai", "oui", "verdadero", "si", "sí", "vero")
FALSE = ("false", "f", "no", "n", "falsch", "nein", "faux", "non", "falso")
#: Whole numbers below this are exact in float64, so that 1e3 and 5.0 can be told to be whole.
EXACT = 2**53
#: The largest whole number of 64 bits, and the largest sum of a column that still adds up.
LARGEST = 2**63 - 1
#: No policy that logged its probabilities chose with one below this.
LEAST_PROPENSITY = 1e-12

#: What `parse_numbers` adds to a frame: text without blanks, Float64, and Int64 of counts.
TEXT, REAL, _COUNT = "__text__", "__real__", "__count__"
#: A number whose point may mark thousands.
_DOTTED = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_PLAIN = "write plain digits, without thousands marks, units or signs such as % and $"


def ignore_syntax(name: str) -> str:
    """Return how a column of the file is left out."""
    return f"`--ignore {name}` (`data.ignore=[{name}]` for runs)"


def cap_syntax(name: str) -> str:
    """Return how a count is cut to what it can be at most."""
    return f"`--cap {name}` (`data.cap=[{name}]` for runs)"


def empty_syntax(name: str, value: Any) -> str:
    """Return how it is said what an empty value of a column means."""
    return f"`--empty {name}={value}` (`+data.empty.{name}={value}` for runs)"


def real(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as Float64; null where it is no number."""
    raw = strip(name, dtype) if is_text(dtype) else pl.col(name)
    return raw.cast(pl.Float64, strict=False)


def whole(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as Int64, exactly; null where that cannot be."""
    raw = strip(name, dtype) if is_text(dtype) else pl.col(name)
    return _whole(raw, real(name, dtype), dtype)


def _whole(raw: pl.Expr, number: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_decimal():
        # Databases export whole numbers as such; they are exact, whatever their size.
        exact = raw.cast(pl.Int64, strict=False)
        return pl.when(raw == exact).then(exact)
    if not (is_text(dtype) or dtype.is_float()):
        return raw.cast(pl.Int64, strict=False)
    exact = (number == number.floor()) & (number.abs() < EXACT)
    rounded = pl.when(exact).then(number).cast(pl.Int64, strict=False)
    return pl.coalesce(raw.cast(pl.Int64, strict=False), rounded) if is_text(dtype) else rounded


def _truth(text: pl.Expr) -> pl.Expr:
    """Return 1 for words like True, 0 for words like False, else null."""
    word = text.str.to_lowercase()
    return pl.when(word.is_in(TRUE)).then(1).when(word.is_in(FALSE)).then(0).cast(pl.Int64)


def count(name: str, dtype: pl.DataType, words: bool = True) -> pl.Expr:
    """Return a column of counts as Int64; null where it is none.

    Args:
        name: of the column.
        dtype: its type in the file.
        words: read True and False as 1 and 0; where there are none, it only takes time.
    """
    number = whole(name, dtype)
    if not (words and is_text(dtype)):
        return number
    return pl.coalesce(number, _truth(strip(name, dtype)))


def parse_numbers(
    frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], words: bool
) -> pl.LazyFrame:
    """Return the frame with what the rules of numbers read, parsed once for all of them.

    Text features are parsed, too: they may be numbers.
    """
    names = [name for name in schema if name in SCHEMA and SCHEMA[name].is_numeric()]
    names += [name for name in schema if is_feature(name) and is_text(schema[name])]
    texts = [name for name in names if is_text(schema[name])]

    def raw(name: str) -> pl.Expr:
        return pl.col(TEXT + name) if name in texts else pl.col(name)

    frame = frame.with_columns(strip(name, schema[name]).alias(TEXT + name) for name in texts)
    frame = frame.with_columns(
        raw(name).cast(pl.Float64, strict=False).alias(REAL + name) for name in names
    )
    counts = []
    for name in (n for n in names if n in COUNTS):
        number = _whole(raw(name), pl.col(REAL + name), schema[name])
        if words and name in texts:
            number = pl.coalesce(number, _truth(raw(name)))
        counts.append(number.alias(_COUNT + name))
    return frame.with_columns(counts)


def number_cast(name: str, dtype: pl.DataType, words: bool) -> pl.Expr:
    """Return a numeric canonical column in its type; ``words`` as for `count`."""
    return count(name, dtype, words) if name in COUNTS else real(name, dtype)


def number_checks(name: str, dtype: pl.DataType) -> list[Check]:
    """Return the rules of one numeric column of a `parse_numbers` frame, most basic first."""
    number = pl.col(REAL + name)
    missing = pl.col(name).is_null()
    if is_text(dtype):
        missing = pl.col(TEXT + name).fill_null("") == ""
    whole_only = name in COUNTS
    write = f"write {'a whole number' if whole_only else 'a number'}"
    empty = write
    if name not in ("impressions", "propensity"):
        empty = f"write 0 where there was nothing, or say so once with {empty_syntax(name, 0)}"
    is_number = number.is_not_null()
    if whole_only:
        is_number = is_number | pl.col(_COUNT + name).is_not_null()
    checks = [
        Check(name, missing, "the value is empty", empty),
        Check(name, ~missing & ~is_number, "value {0!r} is not a number", _PLAIN, (name,)),
        Check(name, number.is_nan().fill_null(False), "the value is NaN", write),
        Check(name, number.is_infinite().fill_null(False), "the value is infinite", write),
    ]
    finite = number.is_finite().fill_null(False)

    def rule(condition: pl.Expr, problem: str, way_out: str) -> None:
        checks.append(Check(name, condition.fill_null(False), problem, way_out, (name,)))

    if whole_only:
        rule(
            finite & (number != number.floor()),
            "value {0} is not a whole number",
            "counts are whole",
        )
        rule(
            finite & pl.col(_COUNT + name).is_null(),
            "value {0} is too large to be a whole number of 64 bits, or has an exponent and is too "
            "large to be exact",
            f"write plain digits, {LARGEST} at most",
        )
    if whole_only and is_text(dtype):
        rule(
            pl.col(TEXT + name).str.contains(r"^[+-]?\d{1,3}\.000$"),
            "value {0} may mean a number or a thousand times it",
            "write plain digits, without a thousands mark or a fraction",
        )
    value = pl.col(_COUNT + name) if whole_only else number
    if name == "impressions":
        rule(value < 1, "value {0} is below 1", "a row counts one impression or decision at least")
    elif whole_only:
        rule(value < 0, "value {0} is negative", "counts start at 0")
    elif name == "propensity":
        rule(
            finite & ((number <= 0) | (number > 1)),
            "value {0} lies outside (0, 1]",
            "write the probability with which the logged choice was made",
        )
        rule(
            finite & (number < LEAST_PROPENSITY),
            "value {0} is too small for a choice that was made",
            "write the probability with which the logged choice was made, or leave the column out "
            f"with {ignore_syntax(name)}",
        )
    return checks


def ceiling_checks(schema: Mapping[str, pl.DataType]) -> list[Check]:
    """Return the rules by which one count bounds another."""
    checks = []
    for name, (ceiling, way_out) in CEILINGS.items():
        if name not in schema or ceiling not in schema:
            continue
        over = pl.col(_COUNT + name) > pl.col(_COUNT + ceiling)
        problem = f"value {{0}} exceeds {ceiling} {{1}}"
        way_out = way_out.format(ignore=ignore_syntax(name), cap=cap_syntax(name))
        checks.append(Check(name, over.fill_null(False), problem, way_out, (name, ceiling)))
    return checks


def number_hints(schema: Mapping[str, pl.DataType]) -> list[Hint]:
    """Return what is said of numbers of a `parse_numbers` frame that are read."""
    hints = []
    for name, dtype in schema.items():
        if name in COUNTS and (is_text(dtype) or dtype == pl.Boolean):
            word = pl.lit(True)
            if is_text(dtype):
                word = pl.col(_COUNT + name).is_not_null() & pl.col(REAL + name).is_null()
            said = "words such as {0!r} are read as 1 (true) and 0 (false)"
            hints.append(Hint(name, word, said, (name,)))
        if name == "revenue":
            lost = (pl.col(REAL + name) < 0).fill_null(False)
            said = "value {0} is negative, so it is read as a refund and lowers the mean revenue"
            hints.append(Hint(name, lost, said, (name,)))
    return hints


def count_points(name: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    """Return how many values of a text column have a point, and how many one as in 1.234."""
    text = strip(name, dtype)
    point = text.str.contains(".", literal=True)
    return {
        f"{name}:pointed": point.fill_null(False).sum(),
        f"{name}:dotted": text.str.contains(_DOTTED).fill_null(False).sum(),
    }


def dotted_note(name: str, found: Mapping[str, Any], source: Source) -> str | None:
    """Return what is said where every point could be a thousands mark; `count_points` counts."""
    pointed = found.get(f"{name}:pointed") or 0
    if not pointed or pointed != found[f"{name}:dotted"]:
        return None
    return (
        f"column {source.column(name)}: every point has three digits after it, as in 1.234, and is "
        "read as a decimal point; if it marks thousands, write plain digits."
    )


def largest_impressions() -> pl.Expr:
    """Return the most impressions of a row of a `parse_numbers` frame."""
    return pl.col(_COUNT + "impressions").max()


def sums(schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return the sum of each count of a `parse_numbers` frame, in 128 bits so that it cannot wrap.

    Also the size of all revenue together, be it refunds.
    """
    out = [
        pl.col(_COUNT + name).cast(pl.Int128).sum().alias(f"sum:{name}")
        for name in COUNTS
        if name in schema
    ]
    if "revenue" in schema:
        out.append(pl.col(REAL + "revenue").abs().sum().alias("sum:revenue"))
    return out


def refuse_large_sums(found: Mapping[str, Any], source: Source) -> None:
    """Raise where a column of counts adds up to more than 64 bits hold, or revenue to no number."""
    if math.isinf(found.get("sum:revenue") or 0):
        raise UserError(
            f"{source.label}, column {source.column('revenue')}: the values add up to more than a "
            "number holds; are they amounts? Map the column that holds the revenue."
        )
    for name in COUNTS:
        total = found.get(f"sum:{name}") or 0
        if total > LARGEST:
            raise UserError(
                f"{source.label}, column {source.column(name)}: the counts add up to {total:,}, "
                f"more than the {LARGEST:,} that can be added exactly; are they ids or amounts? "
                "Map the column that holds the counts."
            )


def typed_fault(name: str, dtype: pl.DataType) -> str | None:
    """Return why a column of this type cannot be a canonical column, None where it can."""
    if name == "timestamp":
        return None
    if SCHEMA[name].is_numeric() and dtype.is_temporal():
        return "is no number; write numbers"
    if SCHEMA[name] == pl.String and isinstance(dtype, pl.Duration | pl.Time):
        return "is no name; write text or whole numbers"
    return None
