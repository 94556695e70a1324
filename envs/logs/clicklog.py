"""ClickLog: one validated, columnar table of impressions and clicks, read lazily.

A row is a binomial observation: ``impressions`` n >= 1 of which ``clicks`` k <= n were clicked, so
per-impression logs (n = 1) and aggregated A/B tests share one schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable, resolve_log_path, write_frame
from copygym.core.tables.prepared import prepared_parts
from copygym.envs.logs import splits as logsplits
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.frames import as_lazy
from copygym.envs.logs.maps import arrange
from copygym.envs.logs.schema import SCHEMA, Source, is_feature, require_columns, validate

__all__ = ["SCHEMA", "ClickLog", "pseudonymise"]

#: A row as notes name it.
_ROW = re.compile(r"row \d+")


@dataclass(frozen=True)
class ClickLog:
    """An immutable view of a validated log; nothing is read until it is asked for.

    Columns (only ``impressions`` and ``clicks`` are required): ``user_id`` (pseudonym),
    ``timestamp`` (UTC, microseconds), ``product_id``, ``creative_id``, ``text``, ``brief``,
    ``topic``, ``channel``, ``slot``, ``test_id``, ``impression_id`` (all text), ``propensity`` in
    (0, 1], ``impressions`` >= 1, 0 <= ``clicks`` <= impressions, 0 <= ``conversions`` <= clicks,
    0 <= ``unsubscribes`` <= impressions, ``revenue`` (negative for a refund), and free ``user_*`` /
    ``context_*`` features. Counts are exact, and each adds up to less than 2^63. A row whose
    ``creative_id`` is "hold" is a decision at which nothing was sent: its impressions count
    decisions and its clicks are organic.

    Attributes:
        frame: the lazy table, canonical columns first.
        name: for reports.
        synthetic: True where the log does not come from real people.
        notes: known faults and assumptions that every report lists.
        source: the file, for messages.
    """

    frame: pl.LazyFrame
    name: str
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    source: str = ""

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        name: str = "frame",
        columns: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        synthetic: bool = False,
        notes: tuple[str, ...] = (),
        source: str | Source | None = None,
        infer_features: bool = False,
        time_zone: str | None = None,
    ) -> ClickLog:
        """Validate a data frame.

        Args:
            frame: of polars (lazy or not), pandas or pyarrow, or a dict of columns: canonical
                columns (text is cast) and features; other columns are dropped with a note.
            name: of the log.
            columns: as in `read`.
            constants: as in `read`.
            synthetic: see the class.
            notes: see the class.
            source: names the data in error messages; a `Source` also tells the file's own column
                names and the number of its first row.
            infer_features: read text features that hold only numbers as numbers.
            time_zone: IANA zone of timestamps that carry none; None reads them as UTC.

        Raises:
            UserError: the first rule that is broken, with file, row, column and value.
        """
        where = source if isinstance(source, Source) else Source(source or name)
        lazy = as_lazy(frame, where.label)
        mapped: list[str] = []
        with readable(where.label):
            if columns or constants:
                where = Source(where.label, where.first_row, dict(columns or {}))
                lazy, mapped = arrange(lazy, where, constants or {}, {}, ())
            typed, found = validate(lazy, where, infer_features=infer_features, time_zone=time_zone)
        return cls(typed, name, synthetic, (*notes, *mapped, *found), where.label)

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        name: str | None = None,
        separator: str | None = None,
        encoding: str = "utf-8",
        time_zone: str | None = None,
        empty: Mapping[str, Any] | None = None,
        ignore: Sequence[str] = (),
        time_format: str | None = None,
        cap: Sequence[str] = (),
        notes: tuple[str, ...] = (),
    ) -> ClickLog:
        """Read and validate a CSV, csv.gz, Parquet file or folder of Parquet (prepared or not).

        What a file is, its content says; every row of it is read, or it is refused with the row.

        Args:
            path: the file, or the folder that holds it.
            columns: canonical (or ``user_*`` / ``context_*``) name -> column of the file; columns
                that already have a canonical name need no entry.
            constants: canonical name -> one value for every row, such as ``impressions: 1``.
            name: of the log; None takes the file's.
            separator: of a CSV; None means comma, or tab for ``.tsv``.
            encoding: of a CSV without a byte order mark.
            time_zone: IANA zone of timestamps that carry none; None reads them as UTC.
            empty: canonical name -> what an empty value means, such as ``clicks: 0`` or
                ``creative_id: hold``.
            ignore: columns of the file that are left out.
            time_format: how the file writes times, where that is not ISO 8601: a pattern such as
                ``%d.%m.%Y %H:%M``, or ``epoch`` or ``epoch_ms``.
            cap: counts that are cut to what they can be at most: ``clicks`` and ``unsubscribes``
                to the impressions, ``conversions`` to the clicks.
            notes: faults and assumptions for the report.

        Raises:
            UserError: a fault of the file, with file, row (the header of a CSV is row 1; a
                Parquet row counts from 1), column, value and the way out.
        """
        file = resolve_log_path(path)
        table = open_table(file, separator=separator, encoding=encoding)
        named = {name: str(column) for name, column in dict(columns or {}).items()}
        source = Source(str(file), table.first_row, named)
        with readable(file, separator):
            told = constants or {}, empty or {}, ignore, time_format, cap
            frame, mapped = arrange(table.frame, source, *told)
            typed, found = validate(frame, source, infer_features=table.text, time_zone=time_zone)
        earlier = prepared_parts(file) if file.is_dir() else None
        before = earlier[1] if earlier else ()
        # The rows of a prepared log stand in another order; what was said of them is said once.
        said = {_ROW.sub("row", note) for note in before}
        found = [note for note in found if _ROW.sub("row", note) not in said]
        said_of = [*notes, *table.notes, *mapped, *found, *before]
        name = name or file.name.split(".")[0]
        return cls(typed, name, False, tuple(dict.fromkeys(said_of)), str(file))

    def __repr__(self) -> str:
        # The rows are not counted here: a log of a billion may lie behind it.
        synthetic = ", synthetic" if self.synthetic else ""
        return f"ClickLog({self.name!r}{synthetic}, {len(self.columns)} columns)"

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns, canonical ones first."""
        return self.frame.collect_schema().names()

    def has(self, column: str) -> bool:
        """Tell whether the log has this column."""
        return column in self.columns

    def collect(self) -> pl.DataFrame:
        """Read the whole log into memory."""
        return self.frame.collect(engine="streaming")

    @cached_property
    def height(self) -> int:
        """Number of rows, counted in a stream."""
        return int(self.frame.select(pl.len()).collect(engine="streaming").item())

    def user_features(self) -> list[str]:
        """Names of the ``user_*`` features."""
        return [c for c in self.columns if is_feature(c) and c.startswith("user_")]

    def context_features(self) -> list[str]:
        """Names of the ``context_*`` features."""
        return [c for c in self.columns if c.startswith("context_")]

    def require(self, *columns: str) -> None:
        """Raise a `UserError` unless the log has all these columns."""
        require_columns(self.columns, {c: c for c in columns}, Source(self.source or self.name))

    def with_frame(self, frame: pl.LazyFrame) -> ClickLog:
        """Return the same log over another frame, not validated again."""
        return ClickLog(frame, self.name, self.synthetic, self.notes, self.source)

    def with_notes(self, *notes: str) -> ClickLog:
        """Return the log with more notes for the report."""
        return ClickLog(self.frame, self.name, self.synthetic, (*self.notes, *notes), self.source)

    def without_notes(self, *beginnings: str) -> ClickLog:
        """Return the log without the notes that begin so: what a dataset's card says already."""
        notes = tuple(note for note in self.notes if not note.startswith(beginnings))
        return ClickLog(self.frame, self.name, self.synthetic, notes, self.source)

    def filter(self, condition: pl.Expr) -> ClickLog:
        """Return the rows where ``condition`` holds."""
        return self.with_frame(self.frame.filter(condition))

    def sends(self) -> ClickLog:
        """Return the rows in which something was sent (all, where no creative is recorded)."""
        return self.filter(pl.col("creative_id") != HOLD) if self.has("creative_id") else self

    def arms(self) -> int:
        """Return the number of distinct choices: creative and channel, with hold as one.

        Where the log consists of tests, it is the number of arms of the largest test.
        """
        keys = [c for c in ("creative_id", "channel") if self.has(c)] or (
            ["text"] if self.has("text") else []
        )
        if not keys:
            return 1
        frame = self.frame
        if keys == ["creative_id", "channel"]:
            # The channel of a row where nothing was sent makes no arm of its own.
            held = pl.col("creative_id") == HOLD
            frame = frame.with_columns(channel=pl.when(~held).then("channel"))
        groups = ["test_id"] if self.has("test_id") else []
        rows = frame.select(*groups, *keys).unique()
        counts = (rows.group_by(groups).len() if groups else rows.select(pl.len())).select(
            pl.col("len").max()
        )
        return int(counts.collect(engine="streaming").item())

    def require_arms(self, n: int = 2) -> None:
        """Raise a `UserError` unless the log offers a choice between at least ``n`` arms."""
        found = self.arms()
        if found < n:
            kind = "creative_id" if self.has("creative_id") else "text"
            raise UserError(
                f"{self.source or self.name}, column {kind}: the log has {found} "
                f"arm{'s' if found != 1 else ''} where at least {n} are needed to learn or judge a "
                "choice; use a log with more creatives or with 'hold' rows."
            )

    def require_outcomes(self) -> None:
        """Raise a `UserError` where every send was clicked: the others are missing."""
        sums = [pl.col(name).cast(pl.Int64).sum() for name in ("impressions", "clicks")]
        shown, clicked = self.sends().frame.select(sums).collect(engine="streaming").row(0)
        if shown and shown == clicked:
            raise UserError(f"{self.source or self.name}: {all_clicked(shown)}")

    def _parts(self, fractions: Mapping[str, float], frames: list[pl.LazyFrame]) -> dict:
        return {k: self.with_frame(f) for k, f in zip(fractions, frames, strict=True)}

    def split_by_user(self, fractions: Mapping[str, float], seed: int) -> dict[str, ClickLog]:
        """Split so that no user is in two parts; see `splits.by_user`."""
        self.require("user_id")
        return self._parts(fractions, logsplits.by_user(self.frame, fractions, seed))

    def split_by_time(self, fractions: Mapping[str, float]) -> dict[str, ClickLog]:
        """Split into consecutive periods, in the order of ``fractions``."""
        self.require("timestamp")
        return self._parts(fractions, logsplits.by_time(self.frame, fractions))

    def split_by_test(self, fractions: Mapping[str, float], seed: int) -> dict[str, ClickLog]:
        """Split so that tests with a common headline are in one part; see `splits.by_test`."""
        self.require("test_id", *(() if self.has("text") else ("creative_id",)))
        return self._parts(fractions, logsplits.by_test(self.frame, fractions, seed))

    def without_tests_sharing_text(self, other: ClickLog) -> ClickLog:
        """Return the tests that share no headline with ``other``, directly or through others."""
        self.require("test_id", "text")
        other.require("test_id", "text")
        return self.with_frame(logsplits.without_shared(self.frame, other.frame))

    def batches(
        self, size: int = 200_000, columns: list[str] | None = None
    ) -> Iterator[pl.DataFrame]:
        """Stream the rows in order, in frames of at most ``size``, in bounded memory."""
        frame = self.frame if columns is None else self.frame.select(columns)
        for batch in frame.collect_batches(
            chunk_size=size, maintain_order=True, lazy=True, engine="streaming"
        ):
            yield from batch.iter_slices(size)

    def checksum(self) -> str:
        """Return a hash of the content: same rows, order, columns and values, same hash.

        It does not depend on the file format, on how the rows are batched, or on library versions.
        """
        digests = {name: _ColumnHash() for name in sorted(self.columns)}
        for batch in self.batches():
            for name, digest in digests.items():
                digest.update(batch[name])
        total = hashlib.sha256()
        for name, digest in digests.items():
            total.update(f"{name}\0{digest.hexdigest()}\0".encode())
        return total.hexdigest()

    def write(self, path: str | Path) -> Path:
        """Stream the log to a .parquet, .csv or .csv.gz file, atomically; return the path."""
        return write_frame(self.frame, path)


class _ColumnHash:
    """Running hash of a column that doesn't see how the rows are cut into batches."""

    def __init__(self) -> None:
        self._mask, self._size, self._data = (hashlib.blake2b(digest_size=32) for _ in range(3))

    def update(self, column: pl.Series) -> None:
        self._mask.update(column.is_null().cast(pl.UInt8).to_numpy().tobytes())
        if column.dtype == pl.Boolean:
            column = column.cast(pl.UInt8)
        elif column.dtype.is_temporal():
            column = column.to_physical()
        if column.dtype.is_numeric():
            # One width, so that an int column hashes alike whether it was stored in 8 or 64 bits.
            wide = column.cast(pl.Float64 if column.dtype.is_float() else pl.Int64)
            self._data.update(wide.fill_null(0).to_numpy().tobytes())
            return
        text = column.cast(pl.String).fill_null("")
        self._size.update(text.str.len_bytes().to_numpy().tobytes())
        self._data.update((text.str.join("").item() or "").encode())

    def hexdigest(self) -> str:
        return self._mask.hexdigest() + self._size.hexdigest() + self._data.hexdigest()


def all_clicked(shown: int) -> str:
    """Return the sentence on a log whose ``shown`` impressions were all clicked."""
    return (
        f"every impression was clicked ({shown:,} of {shown:,}), so this is a log of clicks alone; "
        "add the impressions that were not clicked."
    )


def pseudonymise(log: ClickLog, key: str | bytes) -> ClickLog:
    """Replace user ids by a keyed hash (BLAKE2b, 128 bits, RFC 7693).

    Without the key the ids cannot be recomputed from a list of customers; with the same key the
    same user gets the same pseudonym in every log. Runs once over the distinct ids.

    Args:
        log: with ``user_id``.
        key: secret of 16 to 64 bytes; keep it out of configs and logs.

    Raises:
        UserError: the key is too short or too long, or the log has no users.
    """
    secret = key.encode() if isinstance(key, str) else key
    if not 16 <= len(secret) <= 64:
        raise UserError(
            f"the pseudonymisation key has {len(secret)} bytes; give 16 to 64 random bytes."
        )
    log.require("user_id")
    ids = log.frame.select("user_id").unique().collect(engine="streaming")["user_id"].sort()
    hashed = [hashlib.blake2b(i.encode(), key=secret, digest_size=16).hexdigest() for i in ids]
    table = pl.LazyFrame({"user_id": ids, "__hashed__": hashed})
    frame = log.frame.join(table, on="user_id", how="left", maintain_order="left")
    frame = frame.with_columns(user_id="__hashed__").drop("__hashed__")
    return log.with_frame(frame.select(log.columns))


def creative_key(log: ClickLog) -> pl.Expr:
    """Return the expression that names the creative of a row: its id, else its text."""
    for column in ("creative_id", "text"):
        if log.has(column):
            return pl.col(column)
    raise UserError(
        f"{log.source or log.name}: a simulator needs column creative_id or text to tell what "
        "was shown; map one of them."
    )
