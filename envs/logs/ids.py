"""Names in a log: ids, creatives, channels and the like, and rows that are no rows of it.

The first pass only asks whether a column holds anything suspicious (one pattern a column); what
it is gets looked up afterwards, in the columns where there is something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.columns import (
    BLANKS,
    HASHES,
    IDS,
    LABELS,
    MISSING_WORDS,
    ROW,
    Check,
    Hint,
    Source,
    first_row,
    is_missing,
    is_text,
    shorten,
    strip,
)
from copygym.envs.logs.numbers import count, empty_syntax

#: Names of a row that adds up the others, whatever its counts.
TOTAL = (
    r"(?i)^[\s–—=_*-]*(?:grand |sub[- ]?|overall )?(?:totals?|sums?|overall|summe|insgesamt|totale"
    r"|gesamt(?:summe|ergebnis)?|zwischensumme|teilergebnis|suma|somme|totaal|total g[eé]n[eé]ral"
    r"|итого|合計|总计)[\s–—=_*.:-]*$"
)
#: A total that says of what, as "Total: campaigns"; a creative may be called so, too.
TOTAL_OF = r"(?i)^(?:grand )?totals?\s*[:(–—-]\s*\S"
#: What people write for "nothing was sent", in lower case, ...
UNSENT = (
    "held", "withheld", "suppressed", "unsent", "untreated", "control", "none", "nothing", "null",
    "nil", "nan", "na", "n/a", "-", "--", "keine", "kein versand",
)  # fmt: skip
#: ... and in many spellings: on-hold, HOLD_1, hold out group; no_mail, not sent, do not contact.
_NEAR_HOLD = (
    r"(?i)^[\W\d_]*(?:on[\W_]*)?h[o0]ld(?:s|[\W_]*(?:out)?[\W_]*(?:group|arm|control)?)[\W\d_]*$"
)
_NOT_SENT = (
    r"(?i)^(?:no|not|nothing|do[\W_]*n[o']?t)[\W_]*(?:sen[dt]|(?:e[\W_]*)?mails?|messages?|push|sms"
    r"|contact(?:ed)?|treatment|treated|action)$"
)
#: An id that a spreadsheet has turned into a number: 1.2033E+17.
_SCIENTIFIC = r"^[+-]?(?:\d[.,]\d+[eE]\+?\d{1,3}|\dE\+\d{1,3})$"
_DECIMAL = r"^\d+\.0+$"
#: Spreadsheets keep 15 digits of a number; the others of a longer id become 0.
_FIFTEEN = r"^\d{15}0+$"
_LONG = r"^\d{16,}$"
#: An unnamed column that equals the others' sum from here on is no chance.
_LARGE_TOTAL, _LEAST_CLICKS = 100, 20


def _alternatives(words: Sequence[str]) -> str:
    escaped = (w.replace("\\", "\\\\") for w in words)
    return "|".join("".join(f"\\{c}" if c in ".?()-#[]*+" else c for c in w) for w in escaped)


_WORDS = (*UNSENT, *MISSING_WORDS)
_PATTERN = (
    rf"(?i)^[{BLANKS}]|[{BLANKS}]$|^(?:{_alternatives(_WORDS)})$|{TOTAL}|{TOTAL_OF}|{_NEAR_HOLD}"
    rf"|{_NOT_SENT}|{_SCIENTIFIC}|{_DECIMAL}|{_FIFTEEN}"
)


def label_columns(schema: Mapping[str, pl.DataType]) -> list[str]:
    """Return the columns whose values name something, ``text`` too where it names the creative."""
    names = [name for name in LABELS if name in schema]
    return names if "creative_id" in schema or "text" not in schema else [*names, "text"]


def _raw(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name) if dtype == pl.String else pl.col(name).cast(pl.String)


def _fold(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a name as it would be without capital letters and ways to encode a letter."""
    return label_cast(name, dtype).str.normalize("NFKC").str.to_lowercase()


def id_counts(schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return per name column how many values are suspicious, and how many have capitals."""
    out = []
    for name in label_columns(schema):
        raw = _raw(name, schema[name])
        suspicious = raw.str.contains(_PATTERN) & (raw != HOLD)
        out.append(suspicious.fill_null(False).sum().alias(f"{name}:suspicious"))
        if is_text(schema[name]):
            foldable = raw.str.contains(r"[A-Z]|[^\x00-\x7F]").fill_null(False)
            out.append(foldable.sum().alias(f"{name}:foldable"))
    return out


def id_checks(schema: Mapping[str, pl.DataType]) -> list[Check]:
    """Return the rules of ids: none is empty."""
    hints = {
        "creative_id": "; write 'hold' where nothing was sent, or say so once with "
        + empty_syntax("creative_id", "hold")
    }
    return [
        Check(
            name,
            is_missing(name, schema[name]),
            "the id is empty",
            f"give every row an id or leave the column out{hints.get(name, '')}",
        )
        for name in IDS
        if name in schema
    ]


def label_cast(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a name without blanks around it; "Hold" as a creative means hold."""
    if name not in LABELS:
        return _raw(name, dtype)
    text = strip(name, dtype)
    if name == "creative_id":
        return pl.when(text.str.to_lowercase() == HOLD).then(pl.lit(HOLD)).otherwise(text)
    return pl.when(text != "").then(text)


def _total_checks(name: str, schema: Mapping[str, pl.DataType]) -> list[Check]:
    text, shown = strip(name, schema[name]), count("impressions", schema["impressions"])
    total_of = text.str.contains(TOTAL_OF).fill_null(False)
    total = text.str.contains(TOTAL) | (total_of & (shown >= shown.filter(~total_of).sum()))
    # A row of one impression adds nothing up, whatever it is called.
    several = shown > 1
    quoted = () if name == "user_id" else (name,)
    said = "the row adds up others" if name == "user_id" else "{0!r} is a row that adds up others"
    way_out = "remove that row, or give it another name if it is not their sum"
    return [Check(name, (total & several).fill_null(False), said, way_out, quoted)]


def _name_hints(name: str, schema: Mapping[str, pl.DataType]) -> list[Hint]:
    dtype = schema[name]
    raw, text = _raw(name, dtype), strip(name, dtype)
    word = text.str.to_lowercase()
    quoted = () if name == "user_id" else (name,)
    value = "a value" if name == "user_id" else "value {0!r}"

    def hint(seen: pl.Expr, says: str) -> None:
        hints.append(Hint(name, seen.fill_null(False), says, quoted))

    hints: list[Hint] = []
    if name in LABELS:
        hint((raw != text) & (text != ""), f"{value} has blanks around it, which were taken off")
    shown = count("impressions", schema["impressions"])
    hint(
        text.str.contains(TOTAL_OF) & (shown > 1),
        f"{value} is called like a row that adds up others; remove it if it does",
    )
    if name == "creative_id":
        hint((word == HOLD) & (text != HOLD), f"{value} is read as 'hold': nothing was sent")
        near = text.str.contains(_NEAR_HOLD) & (word != HOLD)
        hint(
            word.is_in(UNSENT) | near | text.str.contains(_NOT_SENT),
            f"{value} counts as a creative that was sent; write 'hold' if nothing was sent there",
        )
    hint(
        text.str.contains(_SCIENTIFIC),
        f"{value} looks like an id that a spreadsheet has rounded, so several ids may have become "
        "one; export the column as text",
    )
    hint(
        text.str.contains(_DECIMAL),
        f"{value} looks like a whole number that became a decimal one; the id without .0 is "
        "another id",
    )
    if name in IDS:
        unsaid = word.is_in(MISSING_WORDS)
        unsaid = unsaid & ~word.is_in(UNSENT) if name == "creative_id" else unsaid
        hint(unsaid, f"{value} stands where an id is missing, and counts as an id of its own")
    return hints


def refuse_totals(
    frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], found: Mapping[str, Any], source: Source
) -> None:
    """Raise for a row that adds up the others, by its name or by its counts."""
    names = [name for name in label_columns(schema) if found[f"{name}:suspicious"]]
    checks = [check for name in names for check in _total_checks(name, schema)]
    if checks:
        bad = [check.bad.sum().alias(str(i)) for i, check in enumerate(checks)]
        counts = frame.select(bad).collect(engine="streaming").row(0)
        for check, number in zip(checks, counts, strict=True):
            if number:
                raise check.refusal(frame, number, source)
    _refuse_unnamed_total(frame, schema, found, source)


def _refuse_unnamed_total(
    frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], found: Mapping[str, Any], source: Source
) -> None:
    shown, clicked = found["sum:impressions"], found["sum:clicks"]
    largest, rows = found["largest"], found["rows"]
    if 2 * largest != shown or rows < 3 or largest < _LARGE_TOTAL or clicked < 2 * _LEAST_CLICKS:
        return
    half = (count("impressions", schema["impressions"]) == largest) & (
        count("clicks", schema["clicks"]).cast(pl.Int128) * 2 == clicked
    )
    if "creative_id" in schema:
        half &= label_cast("creative_id", schema["creative_id"]) != HOLD
    row = first_row(frame, half.fill_null(False), ())
    if row is not None and row[ROW] in (0, rows - 1):
        raise UserError(
            f"{source.at(row[ROW], 'impressions')}: the row has just as many impressions and "
            f"clicks as all others together ({largest:,} and {clicked // 2:,}), so it is a total; "
            "remove it, or write it as two rows if it is not."
        )


def id_notes(
    frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], found: Mapping[str, Any], source: Source
) -> list[str]:
    """Return what must be said of names: blanks, near misses of hold, rounded and missing ids."""
    names = [name for name in label_columns(schema) if found[f"{name}:suspicious"]]
    if not names:
        return []
    hints = [hint for name in names for hint in _name_hints(name, schema)]
    wanted = [hint.seen.sum().alias(f"{i}") for i, hint in enumerate(hints)]
    for name in names:
        text = strip(name, schema[name])
        for key, pattern in (("long", _LONG), ("fifteen", _FIFTEEN)):
            wanted.append(text.str.contains(pattern).fill_null(False).sum().alias(f"{key}:{name}"))
    counts = frame.select(wanted).collect(engine="streaming").row(0, named=True)
    notes = [hint.note(frame, counts[f"{i}"], source) for i, hint in enumerate(hints)]
    for name in names:
        rounded = counts[f"fifteen:{name}"]
        # One in ten ids of 16 digits ends in 0 by chance.
        if rounded >= 2 and 2 * rounded >= counts[f"long:{name}"]:
            seen = strip(name, schema[name]).str.contains(_FIFTEEN).fill_null(False)
            value = "a value" if name == "user_id" else "value {0!r}"
            said = f"{value} has no digits but 0 after the 15th, as in a spreadsheet"
            said += ", so several ids may have become one; export the column as text"
            quoted = () if name == "user_id" else (name,)
            notes.append(Hint(name, seen, said, quoted).note(frame, rounded, source))
    return [note for note in notes if note]


def distinct_notes(
    frame: pl.LazyFrame,
    schema: Mapping[str, pl.DataType],
    found: Mapping[str, Any],
    source: Source,
    identified: bool,
) -> list[str]:
    """Return what must be said of names that differ in capitals alone, and of repeated rows.

    Args:
        frame: the raw log, with the columns that are not used.
        schema: of the columns that are used.
        found: what the first pass has counted.
        source: of the log.
        identified: whether equal rows are the same row; rows without a user, one for each
            impression, may well be equal.
    """
    folds = [name for name in label_columns(schema) if found.get(f"{name}:foldable")]
    folds = [name for name in folds if name != "impression_id"]
    every = [name for name in frame.collect_schema().names() if name]
    identified = identified and found["rows"] > 1
    if not folds and not identified:
        return []
    row_hash = pl.struct(every).hash()
    slices = 1 + found["rows"] * (len(folds) + 1) // HASHES
    total = dict.fromkeys(folds, 0) | {ROW: 0}
    for k in range(slices):
        wanted = []
        for name in folds:
            exact, folded = label_cast(name, schema[name]), _fold(name, schema[name])
            mine = folded.hash() % slices == k
            variants = exact.hash().filter(mine).n_unique().cast(pl.Int64)
            wanted.append((variants - folded.hash().filter(mine).n_unique()).alias(name))
        if identified:
            wanted.append(row_hash.filter(row_hash % slices == k).n_unique().alias(ROW))
        counts = frame.select(wanted).collect(engine="streaming").row(0, named=True)
        total = {name: n + counts.get(name, 0) for name, n in total.items()}
    notes = [_variant_note(frame, name, schema[name], n, source) for name, n in total.items()
             if name != ROW and n > 0]  # fmt: skip
    repeated = found["rows"] - total[ROW]
    if identified and repeated > 0:
        notes.append(_repeat_note(frame, row_hash, repeated, source))
    return notes


def _variant_note(
    frame: pl.LazyFrame, name: str, dtype: pl.DataType, differing: int, source: Source
) -> str:
    alone = "in nothing but capital letters or how a letter is encoded"
    if name == "user_id":
        ids = "1 id differs" if differing == 1 else f"{differing:,} ids differ"
        return f"column {source.column(name)}: {ids} from another {alone}: are they the same users?"
    table = (
        frame.select(folded=_fold(name, dtype), value=label_cast(name, dtype))
        .group_by("folded")
        .agg(least=pl.col("value").min(), greatest=pl.col("value").max())
        .filter(pl.col("least") != pl.col("greatest"))
        .sort("folded")
        .head(1)
        .collect(engine="streaming")
    )
    _, one, other = table.row(0)
    return (
        f"column {source.column(name)}: {shorten(one)!r} and {shorten(other)!r} differ {alone}, "
        f"and count as two ({differing:,} such value{'s' if differing > 1 else ''})."
    )


def _repeat_note(frame: pl.LazyFrame, row_hash: pl.Expr, repeated: int, source: Source) -> str:
    twice = (
        frame.select(hash=row_hash)
        .with_row_index(ROW)
        .group_by("hash")
        .agg(first=pl.col(ROW).min(), last=pl.col(ROW).max())
        .filter(pl.col("first") < pl.col("last"))
        .select(pl.all().sort_by("first").first())
        .collect(engine="streaming")
    )
    first, last = twice["first"][0] + source.first_row, twice["last"][0] + source.first_row
    rows, counts = ("row repeats", "counts") if repeated == 1 else ("rows repeat", "count")
    return (
        f"{repeated:,} {rows} an earlier one in every column (row {last} is row {first} again) "
        f"and {counts} too; if an export wrote rows twice, remove the repeats."
    )
