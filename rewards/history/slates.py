"""Slates: what was shown together to a reader, what was clicked, and what was read before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog

#: Of a history the last so many titles count, as in NRMS (Wu et al. 2019).
LONGEST = 50


@dataclass(frozen=True)
class Slates:
    """N titles shown in S slates to readers with histories; A titles in all.

    Attributes:
        titles: A texts.
        shown: (N,) int64 title of each row.
        slate: (N,) int64 in [0, S), ascending.
        clicks: (N,) float64, 0 or 1.
        reader: (S,) int64 who saw the slate.
        read: (H,) int64 titles read before, slate by slate, the latest last.
        ends: (S,) int64 where each slate's part of ``read`` ends.
    """

    titles: tuple[str, ...]
    shown: np.ndarray
    slate: np.ndarray
    clicks: np.ndarray
    reader: np.ndarray
    read: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """S."""
        return len(self.reader)

    def __repr__(self) -> str:
        return (
            f"Slates({len(self)} slates of {len(np.unique(self.reader))} readers, "
            f"{int(self.clicks.sum())} of {len(self.shown)} titles clicked)"
        )

    @property
    def lengths(self) -> np.ndarray:
        """(S,) int64 titles read before each slate."""
        return np.diff(self.ends, prepend=0)

    @classmethod
    def from_log(cls, log: ClickLog, articles: pl.DataFrame, longest: int = LONGEST) -> Slates:
        """Read a log of slates.

        Args:
            log: with ``user_id``, ``user_history`` (ids, blank-separated, the latest last),
                ``context_impression`` (the slate) and ``creative_id``, a click or none a row.
            articles: ``news_id`` and ``text`` of all that was shown or read; read ids that it
                lacks are left out.
            longest: titles of a history that count.

        Returns:
            The slates with a click and a miss: the others say nothing of a choice.

        Raises:
            UserError: a column is missing, or no slate is left.
        """
        log.require("user_id", "creative_id")
        name = log.source or log.name
        for column in ("user_history", "context_impression"):
            if not log.has(column):
                raise UserError(
                    f"{name} has no column {column}: a model of histories learns from slates of "
                    "readers whose past is known (dataset=mind or pens with data.history=true)."
                )
        columns = ["user_id", "creative_id", "user_history", "context_impression", "clicks"]
        frame = log.frame.select(columns).collect(engine="streaming")
        frame = frame.with_columns(
            pl.col("context_impression").rank("dense").cast(pl.Int64).alias("slate"),
            pl.col("clicks").clip(upper_bound=1),
        )
        some = pl.col("clicks").sum().over("slate")
        frame = frame.filter((some > 0) & (some < pl.len().over("slate")))
        if not frame.height:
            raise UserError(f"{name}: no impression has a click and a miss; there is no choice.")
        frame = frame.sort("slate", maintain_order=True)
        place = articles.select("news_id", pl.int_range(pl.len()).alias("title"))
        titles = tuple(articles["text"].fill_null("").to_list())
        rows = frame.join(
            place, left_on="creative_id", right_on="news_id", how="left", maintain_order="left"
        )
        codes, first, slate = np.unique(
            frame["slate"].to_numpy(), return_index=True, return_inverse=True
        )
        who = frame[first.tolist()]
        past = who.select(
            pl.int_range(pl.len()).alias("slate"),
            pl.col("user_history").fill_null("").str.split(" ").alias("news_id"),
        ).explode("news_id")
        past = past.join(place, on="news_id", how="inner", maintain_order="left")
        past = past.group_by("slate", maintain_order=True).tail(longest).sort("slate")
        ends = np.cumsum(np.bincount(past["slate"].to_numpy(), minlength=len(codes)))
        return cls(
            titles,
            rows["title"].to_numpy().astype(np.int64),
            slate.astype(np.int64),
            rows["clicks"].to_numpy().astype(np.float64),
            who["user_id"].rank("dense").to_numpy().astype(np.int64) - 1,
            past["title"].to_numpy().astype(np.int64),
            ends.astype(np.int64),
        )

    def with_histories_of(self, other: np.ndarray) -> Slates:
        """Return the slates with other readers' pasts.

        Args:
            other: (S,) int64 slate whose history each slate gets.
        """
        starts, lengths = (self.ends - self.lengths)[other], self.lengths[other]
        ends = np.cumsum(lengths)
        place = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            starts - ends + lengths, lengths
        )
        return Slates(
            self.titles, self.shown, self.slate, self.clicks, self.reader, self.read[place], ends
        )


def shuffled_readers(slates: Slates, seed: int) -> np.ndarray:
    """Return (S,) int64: for each slate one of another reader's, each reader's for one other's.

    Readers are permuted among themselves, and a slate gets the first history of the reader who
    stands in its own reader's place.
    """
    readers, first, code = np.unique(slates.reader, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(readers))
    # A cycle over the permuted readers leaves nobody in place, where there are two or more.
    given = np.empty(len(readers), np.int64)
    given[order] = np.roll(order, 1)
    return np.asarray(first[given][code], dtype=np.int64)
