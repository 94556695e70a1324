"""The free ``user_*`` and ``context_*`` features of a log: what is a number, what a category.

What turns a column of numbers into categories, or a value into a missing one, is always said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.columns import (
    MISSING_WORDS,
    Check,
    Hint,
    Source,
    is_feature,
    is_text,
    strip,
)
from copygym.envs.logs.numbers import (
    EXACT,
    REAL,
    TEXT,
    count_points,
    dotted_note,
    ignore_syntax,
    real,
    whole,
)

#: Numbers as people write them: with thousands marks, currency, percent, or minus by brackets.
_DRESSED = r"^[(]?\s*[+-]?\s*[$€£¥]?\s*[+-]?\d[\d.,'’_\s]*\s*(?:%|‰|[$€£¥]|EUR|USD|GBP)?\s*[)]?$"
#: A number with a leading zero is a code, such as a postcode.
_CODE = r"^[+-]?0\d"
_WHOLE = r"^[+-]?\d+$"
#: From this share of numbers on, a column that is read as categories is worth a word.
_MOSTLY_ENOUGH = 0.1
#: Rows that tell how a column writes its numbers.
_SAMPLE = 10_000
_DAY = 86_400_000_000  # microseconds


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a text feature without blanks; null where nothing is left."""
    text = strip(name, dtype)
    return pl.when(text != "").then(text).alias(name)


def _word_for_missing(name: str, dtype: pl.DataType) -> pl.Expr:
    return strip(name, dtype).str.to_lowercase().is_in(MISSING_WORDS).fill_null(False)


def _is_number(name: str, dtype: pl.DataType) -> pl.Expr:
    number = real(name, dtype)
    return (number.is_not_null() & ~number.is_nan()).fill_null(False)


def _too_large(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return whether a whole number does not fit into 64 bits."""
    if not is_text(dtype):
        return pl.col(name).is_not_null() & whole(name, dtype).is_null()
    digits = strip(name, dtype).str.contains(_WHOLE).fill_null(False)
    return digits & whole(name, dtype).is_null()


def _is_whole(dtype: pl.DataType) -> bool:
    """Tell whether a column holds whole numbers, as databases' NUMBER(38, 0) does as well."""
    return dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)


def _texts(schema: Mapping[str, pl.DataType]) -> list[str]:
    return [name for name, dtype in schema.items() if is_feature(name) and is_text(dtype)]


def feature_counts(schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return per feature of a `parsed` frame the counts of the first pass.

    `FeaturePlan` asks for more where something is found.
    """
    out = []
    for name in _texts(schema):
        text, number = pl.col(TEXT + name), pl.col(REAL + name)
        counted = {
            "filled": text.fill_null("") != "",
            "numbers": (number.is_not_null() & ~number.is_nan()).fill_null(False),
            "codes": text.str.contains(_CODE).fill_null(False),
            "fractions": (number != number.floor()).fill_null(False),
            "large": (number.abs() >= EXACT).fill_null(False),
        }
        out += [expr.sum().alias(f"{name}:{key}") for key, expr in counted.items()]
    for name, dtype in schema.items():
        if is_feature(name) and not is_text(dtype):
            checks = _typed_checks(name, dtype)
            out += [check.bad.sum().alias(f"{name}:bad:{i}") for i, check in enumerate(checks)]
            if _is_whole(dtype) or dtype.is_decimal():
                inexact = ~pl.col(name).is_between(-EXACT, EXACT)
                out.append(inexact.fill_null(False).sum().alias(f"{name}:inexact"))
    return out


def _more_counts(name: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    """Return what is asked of a text feature in which numbers and something else are found."""
    text, number = strip(name, dtype), real(name, dtype)
    digits = text.str.contains(_WHOLE).fill_null(False)
    counted = {
        "words": _word_for_missing(name, dtype),
        "infinite": number.is_infinite().fill_null(False),
        "beyond": _too_large(name, dtype),
        "inexact": digits & (number.abs() >= EXACT).fill_null(False),
        "whole": whole(name, dtype).is_not_null(),
    }
    return {f"{name}:{key}": expr.sum() for key, expr in counted.items()}


def _typed_checks(name: str, dtype: pl.DataType) -> list[Check]:
    if dtype.is_float():
        infinite = pl.col(name).is_infinite().fill_null(False)
        return [Check(name, infinite, "the value is infinite", "cap it")]
    if _is_whole(dtype):
        return [_large_check(name, dtype)]
    return []


def _large_check(name: str, dtype: pl.DataType) -> Check:
    return Check(
        name,
        _too_large(name, dtype),
        "value {0} is beyond the whole numbers of 64 bits",
        f"write a code as text (with a letter in front), or leave the column out with "
        f"{ignore_syntax(name)}",
        (name,),
    )


class FeaturePlan:
    """How each feature is read, settled by what the first pass counted."""

    def __init__(
        self,
        frame: pl.LazyFrame,
        schema: Mapping[str, pl.DataType],
        found: Mapping[str, Any],
        infer: bool,
    ) -> None:
        self.frame, self.infer = frame, infer
        self.schema = {n: t for n, t in schema.items() if is_feature(n)}
        self.found = dict(found)
        self._look_closer()

    def _look_closer(self) -> None:
        """Count more where a text feature is no plain column of numbers or of categories."""
        wanted: dict[str, pl.Expr] = {}
        sampled: dict[str, pl.Expr] = {}
        for name in _texts(self.schema):
            numbers, filled = self._count(name, "numbers"), self._count(name, "filled")
            if numbers and (numbers < filled or self._count(name, "large")):
                wanted |= _more_counts(name, self.schema[name])
            if self._count(name, "fractions"):
                sampled |= count_points(name, self.schema[name])
            if numbers < filled:
                text = strip(name, self.schema[name])
                looks = text.str.contains(_DRESSED) & ~_is_number(name, self.schema[name])
                sampled[f"{name}:dressed"] = looks.fill_null(False).sum()
                sampled[f"{name}:sampled"] = (text.fill_null("") != "").sum()
        for frame, exprs in ((self.frame, wanted), (self.frame.head(_SAMPLE), sampled)):
            if exprs:
                asked = frame.select(**exprs).collect(engine="streaming")
                self.found |= asked.row(0, named=True)

    def _count(self, name: str, key: str) -> int:
        return int(self.found.get(f"{name}:{key}") or 0)

    def all_numbers(self, name: str) -> bool:
        """Tell whether a text feature holds numbers alone, words for missing values apart."""
        values = self._count(name, "filled") - self._count(name, "words")
        return 0 < values == self._count(name, "numbers") and not self._count(name, "codes")

    def is_number(self, name: str) -> bool:
        """Tell whether a text feature is read as numbers."""
        return self.infer and self.all_numbers(name)

    def _is_whole(self, name: str) -> bool:
        if f"{name}:whole" in self.found:
            return self._count(name, "whole") == self._count(name, "numbers")
        return not self._count(name, "fractions")

    def cast(self, name: str) -> pl.Expr:
        """Return the feature as it is read."""
        dtype = self.schema[name]
        if is_text(dtype):
            if not self.is_number(name):
                return _text(name, dtype)
            return whole(name, dtype) if self._is_whole(name) else real(name, dtype).fill_nan(None)
        column = pl.col(name)
        if dtype.is_float():
            return column.fill_nan(None)
        if dtype in (pl.UInt64, pl.Int128, pl.UInt128) or (dtype.is_decimal() and _is_whole(dtype)):
            return column.cast(pl.Int64)
        if dtype.is_decimal():
            return column.cast(pl.Float64)
        if dtype.is_temporal():
            kind = pl.Duration("us") if isinstance(dtype, pl.Duration) else pl.Datetime("us")
            naive = column
            if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
                naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return naive.cast(kind).cast(pl.Int64) / _DAY
        return column.cast(pl.String) if dtype == pl.Null else column

    def refuse(self, source: Source) -> None:
        """Raise for the first value of a feature that cannot be read."""
        for name, dtype in self.schema.items():
            if isinstance(dtype, pl.Time):
                raise UserError(
                    f"{source.label}, column {source.column(name)}: type {dtype} cannot be a "
                    f"feature; write hours as a number, or leave it out with {ignore_syntax(name)}."
                )
            if not is_text(dtype):
                for i, check in enumerate(_typed_checks(name, dtype)):
                    if bad := self._count(name, f"bad:{i}"):
                        raise check.refusal(self.frame, bad, source)
            elif self.is_number(name):
                self._refuse_text(name, source)

    def _refuse_text(self, name: str, source: Source) -> None:
        dtype = self.schema[name]
        if bad := self._count(name, "infinite"):
            where = real(name, dtype).is_infinite().fill_null(False)
            check = Check(name, where, "the value {0!r} is infinite", "cap it", (name,))
            raise check.refusal(self.frame, bad, source)
        if bad := self._count(name, "beyond"):
            raise _large_check(name, dtype).refusal(self.frame, bad, source)

    def notes(self, source: Source) -> list[str]:
        """Return what must be said of how the features are read."""
        out: list[str | None] = []
        for name, dtype in self.schema.items():
            where = f"column {source.column(name)}"
            if is_text(dtype):
                out.append(self._text_note(name, source))
            elif dtype.is_temporal():
                what = "" if isinstance(dtype, pl.Duration) else " since 1970-01-01"
                out.append(f"{where}: type {dtype} is read as a number, days{what}.")
            counts_as_number = self.is_number(name) if is_text(dtype) else not dtype.is_temporal()
            if counts_as_number and (large := self._count(name, "inexact")):
                out.append(
                    f"{where}: {large:,} value{'s' if large > 1 else ''} beyond 2^53, which models "
                    "round; if they are codes, write them as text (with a letter in front)."
                )
            out.append(dotted_note(name, self.found, source))
        return [note for note in out if note]

    def _text_note(self, name: str, source: Source) -> str | None:
        frame, dtype = self.frame, self.schema[name]
        values = self._count(name, "filled") - self._count(name, "words")
        numbers, codes = self._count(name, "numbers"), self._count(name, "codes")
        word = _word_for_missing(name, dtype)
        if self.is_number(name):
            said = "value {0!r} is read as missing in a column of numbers"
            return Hint(name, word, said, (name,)).note(frame, self._count(name, "words"), source)
        if self.all_numbers(name):
            return (
                f"column {source.column(name)}: its type is text, so its numbers are read as "
                "categories; give it a type of numbers if they are amounts."
            )
        if numbers == values:
            # Every value is a number, some with a leading zero: codes, unless they are the few.
            if not 0 < codes < _MOSTLY_ENOUGH * numbers:
                return None
            code = strip(name, dtype).str.contains(_CODE).fill_null(False)
            said = (
                "value {0!r} has a leading zero, so the column is read as categories, not numbers"
            )
            return Hint(name, code, said, (name,)).note(frame, codes, source)
        dressed = 2 * self._count(name, "dressed") >= self._count(name, "sampled") > 0
        if numbers < _MOSTLY_ENOUGH * values and not dressed:
            return None
        other = (strip(name, dtype).fill_null("") != "") & ~_is_number(name, dtype) & ~word
        said = "value {0!r} is no plain number, so the column is read as categories"
        if numbers:
            said += f", though {numbers:,} of its {values:,} values are numbers"
        return Hint(name, other, said, (name,)).note(frame, values - numbers, source)
