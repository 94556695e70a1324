"""A log with a row an event (sent, opened, clicked, bought), read as one with a row a send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.columns import Source, strip
from copygym.envs.logs.schema import require_columns

#: What an event may mean; ``sent`` makes no column, but says when a send was.
MEANINGS = ("sent", "clicks", "conversions", "unsubscribes")
#: Words that exports use, in lower case; what is in none of them (opens, bounces) counts for none.
WORDS: dict[str, tuple[str, ...]] = {
    "sent": ("sent", "send", "delivered", "delivery", "processed", "impression", "gesendet",
             "versendet", "zugestellt"),
    "clicks": ("click", "clicked", "clicks", "link_click", "klick", "geklickt"),
    "conversions": ("purchase", "purchased", "order", "ordered", "conversion", "converted", "sale",
                    "kauf", "gekauft", "bestellung"),
    "unsubscribes": ("unsubscribe", "unsubscribed", "unsub", "opt_out", "optout", "opt-out",
                     "spam_report", "complaint", "abmeldung", "abgemeldet"),
}  # fmt: skip


def sends_of(
    frame: pl.LazyFrame, source: Source, events: Mapping[str, Any]
) -> tuple[pl.LazyFrame, list[str]]:
    """Return a row for each send, with ``impressions``, ``clicks`` and what else is counted.

    Every row of the file is part of a send: a click whose send is not in the file makes one, at its
    own time. A send is clicked once or not at all, and bought only where it was clicked.

    Args:
        frame: the file's rows; ``timestamp`` is read already, where there is one.
        source: of the file.
        events: ``column``, with the words; ``send``, one or more columns that together name a
            send; and for each of `MEANINGS` its words (None: `WORDS`).

    Returns:
        The frame, and what must be said of it.

    Raises:
        UserError: a column that is not there, or no row that means a send or a click.
    """
    column, send = events.get("column"), events.get("send")
    by = [send] if isinstance(send, str) else list(send or [])
    if not isinstance(column, str) or not by:
        raise UserError(
            f"{source.label}: events needs column, with the words, and send, which names a send."
        )
    schema = frame.collect_schema()
    require_columns(schema.names(), {name: name for name in (column, *by)}, source)
    word = strip(column, schema[column]).str.to_lowercase().str.replace_all(r"[\s-]", "_")
    words = {one: tuple(_spelt(events.get(one) or WORDS[one])) for one in MEANINGS}
    means = {one: word.is_in(words[one]).fill_null(False) for one in MEANINGS}
    counted = {one: int(n) for one, n in frame.select(
        [means[one].sum().alias(one) for one in MEANINGS]
    ).collect(engine="streaming").row(0, named=True).items()}  # fmt: skip
    if not counted["sent"] and not counted["clicks"]:
        found = frame.select(word.alias("w")).head(1000).unique().head(5).collect()["w"].to_list()
        raise UserError(
            f"{source.label}, column {column}: no word means a send or a click (it holds "
            f"{', '.join(map(repr, found))}); name them by events.sent and events.clicks."
        )
    time = "timestamp" in schema.names()
    rest = [name for name in schema.names() if name not in (*by, column, "timestamp", "revenue")]
    at = pl.col("timestamp").filter(means["sent"]).min()
    gathered = frame.group_by(by, maintain_order=True).agg(
        *(pl.col(name).drop_nulls().first() for name in rest),
        *((at.fill_null(pl.col("timestamp").min()).alias("timestamp"),) if time else ()),
        *((pl.col("revenue").filter(means["conversions"]).cast(pl.Float64, strict=False).sum(),)
          if "revenue" in schema.names() else ()),
        *(means[one].any().cast(pl.Int64).alias(one) for one in MEANINGS[1:]),
        means["sent"].any().alias("__sent__"),
    )  # fmt: skip
    # Mail programs that fetch pictures do not buy; a purchase without a click is another's.
    gathered = gathered.with_columns(
        pl.lit(1, pl.Int64).alias("impressions"),
        pl.min_horizontal("conversions", "clicks").alias("conversions"),
    )
    told = gathered.select(pl.len().alias("n"), (~pl.col("__sent__")).sum().alias("unsent"))
    n, unsent = told.collect(engine="streaming").row(0)
    rows = int(frame.select(pl.len()).collect(engine="streaming").item())
    notes = [f"{rows:,} events are read as {n:,} sends, by {', '.join(by)}."]
    if unsent:
        notes.append(f"{unsent:,} sends have events but none that says that they were sent.")
    return gathered.drop("__sent__"), notes


def _spelt(words: str | Sequence[str]) -> list[str]:
    many = [words] if isinstance(words, str) else words
    return [str(word).strip().lower().replace(" ", "_").replace("-", "_") for word in many]
