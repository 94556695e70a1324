"""A click log as integer arrays: what every fit and every report reads, 10 million rows at once.

Strings become indices in one streaming pass (about 70 bytes a row), rows are sorted by user and
time, and each row gets its fatigue and repetitions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog, creative_key
from copygym.envs.logs.replay import (
    fatigue_before,
    length_of_slot,
    repetitions_before,
    steps_between,
)
from copygym.envs.profiles.builder import user_key
from copygym.envs.simulator.response.design import Counts


@dataclass(frozen=True)
class EncodedRows:
    """N log rows, sorted by user, then time; every field is (N,) or None where the log has none."""

    user: np.ndarray  #: int32 index into the sorted user ids
    unit: np.ndarray  #: int32 what is independent of the others: user, else test, else row
    action: np.ndarray  #: int32
    slot: np.ndarray  #: int32
    trials: np.ndarray  #: int64
    clicks: np.ndarray  #: int64
    held_out: np.ndarray  #: bool, from the holdout log
    time: np.ndarray | None = None  #: int64 microseconds
    conversions: np.ndarray | None = None  #: int64
    revenue: np.ndarray | None = None  #: float64
    unsubscribes: np.ndarray | None = None  #: int64
    propensity: np.ndarray | None = None  #: float64, NaN where unknown
    fatigue: np.ndarray | None = None  #: float64 before the row's send
    repetitions: np.ndarray | None = None  #: int64 earlier sends of the row's creative

    def __len__(self) -> int:
        """N."""
        return len(self.user)

    @property
    def sent(self) -> np.ndarray:
        """(N,) bool."""
        return self.action > 0

    def take(self, index: np.ndarray) -> EncodedRows:
        """Return rows ``index``."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[index] for k, v in present.items() if v is not None})

    def counts(
        self, profiles: np.ndarray, n_actions: int, offset: np.ndarray | None = None
    ) -> Counts:
        """Return click counts per (user, cell); with an ``offset`` (N,) rows stay apart."""
        cell = self.slot * n_actions + self.action
        if offset is not None:
            trials, clicks = self.trials.astype(np.float64), self.clicks.astype(np.float64)
            return Counts(profiles, self.user, cell, trials, clicks, offset.astype(np.float32))
        return _added_up(profiles, self.user, cell, self.trials, self.clicks)

    def conversion_counts(self, profiles: np.ndarray) -> Counts:
        """Return conversion counts per (user, action): clicks are the trials."""
        assert self.conversions is not None
        clicked = self.clicks > 0
        columns = (self.user, self.action, self.clicks, self.conversions)
        return _added_up(profiles, *(column[clicked] for column in columns))


def _added_up(
    profiles: np.ndarray, user: np.ndarray, cell: np.ndarray, n: np.ndarray, k: np.ndarray
) -> Counts:
    frame = pl.DataFrame({"user": user, "cell": cell, "n": n, "k": k}).lazy()
    added = frame.group_by("cell", "user").agg(pl.col("n", "k").sum()).sort("cell", "user")
    table = added.collect()
    columns = (table[c].to_numpy() for c in ("user", "cell"))
    sums = (table[c].cast(pl.Float64).to_numpy() for c in ("n", "k"))
    return Counts(profiles, *columns, *sums)


def encode(
    log: ClickLog, holdout: ClickLog | None, catalogue: Catalogue
) -> tuple[EncodedRows, pl.Series]:
    """Return the rows of both logs and the sorted user ids that ``rows.user`` points into."""
    logs = [log] if holdout is None else [log, holdout]
    frame = pl.concat(
        [_select_rows(part, held_out=i == 1) for i, part in enumerate(logs)], how="diagonal_relaxed"
    )
    users = frame.select("user").unique().collect(engine="streaming")["user"].sort()
    indexed = (
        frame.join(_index(users, "user"), on="user", how="left")
        .join(_index(pl.Series(catalogue.creative_ids), "creative"), on="creative", how="left")
        .join(_index(pl.Series(catalogue.channels), "channel"), on="channel", how="left")
        .join(_index(pl.Series(catalogue.slots), "slot"), on="slot", how="left")
    )
    held = pl.col("creative") == HOLD
    action = 1 + pl.col("creative_index") * catalogue.n_channels + pl.col("channel_index")
    extra = [c for c in _OPTIONAL if c in frame.collect_schema().names()]
    table = indexed.select(
        user=pl.col("user_index"),
        unit=pl.col("unit"),
        action=pl.when(held).then(0).otherwise(action).cast(pl.Int32),
        slot=pl.col("slot_index"),
        **{name: pl.col(name) for name in ("trials", "clicks", "held_out", *extra)},
    ).collect(engine="streaming")
    table = _without_strangers(table, log)
    if table["unit"].dtype == pl.String:
        table = table.with_columns(unit=pl.col("unit").rank("dense").cast(pl.Int32))
    # The order of a streamed join is not fixed; this one is, ties included.
    order = [c for c in ("user", "time", "unit", "action", "slot", "clicks") if c in table.columns]
    table = table.sort(order)
    return EncodedRows(**{name: table[name].to_numpy() for name in table.columns}), users


_OPTIONAL = ("time", "conversions", "revenue", "unsubscribes", "propensity")


def _select_rows(log: ClickLog, *, held_out: bool) -> pl.LazyFrame:
    frame = log.frame
    if log.has("user_id"):
        unit = pl.lit(None, dtype=pl.Int32)  # filled with the user's index below
    elif log.has("test_id"):
        unit = pl.col("test_id")
    else:
        frame = frame.with_row_index("__row__")
        unit = pl.col("__row__").cast(pl.Int32) + (1 << 30 if held_out else 0)
    optional = {
        "time": ("timestamp", pl.Int64),
        "conversions": ("conversions", pl.Int64),
        "revenue": ("revenue", pl.Float64),
        "unsubscribes": ("unsubscribes", pl.Int64),
        "propensity": ("propensity", pl.Float64),
    }
    channel = pl.col("channel") if log.has("channel") else pl.lit("any")
    slot = pl.col("slot") if log.has("slot") else pl.lit("any")
    kept = {k: pl.col(c).cast(t) for k, (c, t) in optional.items() if log.has(c)}
    for name in ("conversions", "unsubscribes", "revenue"):
        if name in kept:
            kept[name] = kept[name].fill_null(0)
    if "propensity" in kept:
        kept["propensity"] = kept["propensity"].fill_null(float("nan"))
    return frame.select(
        user=user_key(log).fill_null("?"),
        unit=unit,
        creative=creative_key(log),
        channel=channel.fill_null("any"),
        slot=slot.fill_null("any"),
        trials=pl.col("impressions").cast(pl.Int64),
        clicks=pl.col("clicks").cast(pl.Int64),
        held_out=pl.lit(held_out),
        **kept,
    )


def _index(names: pl.Series, key: str) -> pl.LazyFrame:
    codes = pl.Series(range(len(names)), dtype=pl.Int32)
    return pl.LazyFrame({key: names.cast(pl.String), f"{key}_index": codes})


def _without_strangers(table: pl.DataFrame, log: ClickLog) -> pl.DataFrame:
    table = table.with_columns(unit=pl.coalesce("unit", pl.col("user").cast(table["unit"].dtype)))
    known = table.drop_nulls(["action", "slot"])
    if not known.height:
        raise UserError(f"{log.source or log.name}: no row shows a creative of the catalogue.")
    if "time" in known.columns and known["time"].null_count():
        known = known.drop_nulls("time")
    return known


def with_state(
    rows: EncodedRows, catalogue: Catalogue, decay: float, slot_hours: float | None
) -> tuple[EncodedRows, float]:
    """Return rows with fatigue and repetitions, and the length of a slot in hours.

    The length is ``slot_hours`` where given, else as `length_of_slot` finds it.
    """
    assert rows.time is not None
    hours = slot_hours
    if hours is None:
        hours = length_of_slot(rows.user, rows.time, rows.sent, catalogue.n_slots)
    steps = steps_between(rows.user, rows.time, rows.slot, hours * 3600, catalogue.n_slots)
    creative = catalogue.creative_of_action[rows.action]  # on any channel
    repetitions = repetitions_before(rows.user, creative, rows.sent)
    fatigue = fatigue_before(rows.user, steps, rows.sent, decay)
    return replace(rows, fatigue=fatigue, repetitions=repetitions), hours
