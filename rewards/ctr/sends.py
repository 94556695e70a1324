"""Sends of texts to readers who are known by a profile: what text x reader is learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.builder import Profiles, user_key
from copygym.rewards.ctr.data import _codes, _key

#: Columns that say which texts stand for the same thing, the first that a log has.
_PRODUCT = ("test_id", "product_id", "brief", "topic")
#: Columns that say which products have the same readers.
_FIELD = ("topic", "product_id", "test_id", "brief")


@dataclass(frozen=True)
class ReaderSends:
    """N sends: this text of a product, to this reader, in this context.

    Attributes:
        texts: T texts; one that stands for two products is there twice.
        product: (T,) int64 the product of each text, 0-based.
        field: (T,) int64 the field (topic) of each text, 0-based.
        text: (N,) int64 which text.
        user: (N,) int64 which row of ``profiles``.
        context: (N,) int64 channel and slot, 0-based.
        known: (N,) bool whether the profile's history was over before the send; otherwise only
            its demographics may be used, because the history tells the click.
        impressions: (N,) float64 >= 1.
        clicks: (N,) float64 in [0, impressions].
        profiles: U readers.
    """

    texts: tuple[str, ...]
    product: np.ndarray
    field: np.ndarray
    text: np.ndarray
    user: np.ndarray
    context: np.ndarray
    known: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    profiles: Profiles

    def __repr__(self) -> str:
        return (
            f"ReaderSends({len(self)} rows, {len(self.texts)} texts, {len(self.profiles)} readers, "
            f"{self.clicks.sum():g} clicks)"
        )

    def __len__(self) -> int:
        """N."""
        return len(self.text)

    @property
    def demographic(self) -> np.ndarray:
        """(P,) bool: which features of a profile are no history."""
        return np.array([name.startswith("user_") for name in self.profiles.names], dtype=bool)

    @classmethod
    def from_log(
        cls, log: ClickLog, profiles: Profiles, *, history_until: int | None = None
    ) -> ReaderSends:
        """Return the sends of a log to the readers of ``profiles``.

        Args:
            log: with ``text``; holds, rows without a text and other readers are left out.
            profiles: of its users.
            history_until: microseconds at which the profiles' history ends. None: it knows all of
                the log, or nothing of it, so that only demographics may be used.

        Raises:
            UserError: the log has no text, or none was sent to these readers.
        """
        name = log.source or log.name
        if not log.has("text"):
            raise UserError(
                f"{name}: the log has no column text, so that nothing can be learned of who likes "
                "which; map one with columns or choose a log with texts."
            )
        known = pl.lit(False)
        if history_until is not None and log.has("timestamp"):
            known = pl.col("timestamp").cast(pl.Int64) >= history_until
        frame = (
            log.sends()
            .frame.select(
                user_key(log).alias("user"),
                pl.col("text").fill_null("").alias("text"),
                _first_of(_PRODUCT, log).alias("product"),
                _first_of(_FIELD, log).alias("field"),
                _key([c for c in ("channel", "slot") if log.has(c)]).alias("context"),
                known.fill_null(False).alias("known"),
                "impressions",
                "clicks",
            )
            .filter(pl.col("text").str.strip_chars() != "")
            .group_by("user", "text", "product", "field", "context", "known")
            .agg(pl.col("impressions").sum(), pl.col("clicks").sum())
            .sort("product", "text", "user", "context", "known", "field")
            .collect(engine="streaming")
        )
        rows = profiles.index_of(frame["user"].fill_null("").to_numpy().astype(np.str_))
        frame, rows = frame.filter(pl.Series(rows >= 0)), rows[rows >= 0]
        if not frame.height:
            raise UserError(
                f"{name}: no text was sent to a reader with a profile, so that nothing can be "
                "learned of who likes which."
            )
        arms = frame.select("product", "text", "field").unique(
            subset=["product", "text"], keep="first", maintain_order=True
        )
        arm = frame.select(pl.struct("product", "text").rank("dense") - 1).to_series()
        return cls(
            tuple(arms["text"].to_list()),
            _codes(arms["product"]),
            _codes(arms["field"]),
            arm.cast(pl.Int64).to_numpy(),
            rows.astype(np.int64),
            _codes(frame["context"]),
            frame["known"].to_numpy(),
            frame["impressions"].to_numpy().astype(np.float64),
            frame["clicks"].to_numpy().astype(np.float64),
            profiles,
        )


def _first_of(columns: tuple[str, ...], log: ClickLog) -> pl.Expr:
    found = [c for c in columns if log.has(c)]
    return pl.col(found[0]).cast(pl.String).fill_null("") if found else pl.lit("")
