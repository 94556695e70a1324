"""The catalogue that a click log shows: creatives, products, channels and slots in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog, creative_key


def catalogue_from_log(
    log: ClickLog,
    *,
    costs: Mapping[str, float] | float | None = None,
    slots: Sequence[str] | None = None,
    others: ClickLog | None = None,
) -> Catalogue:
    """Return the catalogue of everything that ``log`` shows.

    Creatives and channels are sorted by name; slots in the order in which they follow each other
    in the day where the times show one, else by name. What the log doesn't tell gets one value:
    channel and slot ``any``, topic and product ``all``.

    Args:
        log: the training log; popularity is the share of its sends.
        costs: cost of one send in currency, for all channels or by channel; None is 0.
        slots: names in their order in time.
        others: a log whose creatives are listed too (with popularity 0), so that it can be judged.

    Raises:
        UserError: no creative in the log, a channel without a cost, or wrong slot names.
    """
    table = _creative_table(log)
    if others is not None:
        extra = _creative_table(others).with_columns(sends=pl.lit(0, dtype=pl.Int64))
        table = pl.concat([table, extra], how="diagonal_relaxed").unique(
            "creative", keep="first", maintain_order=True
        )
    table = table.sort("creative")
    if not table.height:
        raise UserError(f"{log.source or log.name}: every row is 'hold'; there is nothing to send.")
    product = table["product"].fill_null("all").to_list()
    topic = table["topic"].fill_null("all").to_list()
    topics = sorted(set(topic))
    channels = _names(log, "channel")
    sends = table["sends"].to_numpy().astype(np.float64)
    return Catalogue(
        creative_ids=tuple(table["creative"]),
        texts=tuple(table["text"]),
        briefs=tuple(table["brief"].fill_null("")),
        product_ids=tuple(product),
        topics=tuple(topics),
        topic_of_creative=np.array([topics.index(t) for t in topic], dtype=np.int64),
        channels=tuple(channels),
        slots=_slot_order(log, slots),
        cost_per_send=_costs(costs, channels),
        popularity=sends / sends.sum(),
    )


def with_popularity(catalogue: Catalogue, log: ClickLog) -> Catalogue:
    """Return ``catalogue`` with the popularity that its creatives have in ``log`` alone.

    Raises:
        UserError: the log sends no creative of the catalogue.
    """
    table = (
        log.frame.group_by(creative=creative_key(log))
        .agg(sends=pl.col("impressions").sum().cast(pl.Int64))
        .collect(engine="streaming")
    )
    count = dict(table.iter_rows())
    sends = np.array([count.get(name, 0) for name in catalogue.creative_ids], dtype=np.float64)
    if not sends.sum():
        raise UserError(f"{log.source or log.name}: no row shows a creative of the catalogue.")
    return replace(catalogue, popularity=sends / sends.sum())


def creatives_with_several_texts(log: ClickLog) -> list[str]:
    """Return the sorted ids of creatives whose rows hold different texts."""
    if not (log.has("creative_id") and log.has("text")):
        return []
    # Least and greatest differ just where there are several; counting them would take memory.
    least, greatest = pl.col("text").min(), pl.col("text").max()
    table = log.sends().frame.group_by("creative_id").agg(several=least != greatest)
    return sorted(table.filter("several").collect(engine="streaming")["creative_id"])


def places(values: pl.Series, names: Sequence[str]) -> np.ndarray:
    """Return (N,) int64 where the values stand among the names; -1 for another, or none."""
    table = dict(zip(names, range(len(names)), strict=True))
    found = values.replace_strict(table, default=-1, return_dtype=pl.Int64)
    return found.fill_null(-1).to_numpy()


def _creative_table(log: ClickLog) -> pl.DataFrame:
    """Return creative, text, product, topic, brief and sends, one row per creative."""
    name = creative_key(log)
    described = {}
    for field, column in (("product", "product_id"), ("topic", "topic"), ("brief", "brief")):
        known = log.has(column)
        described[field] = pl.col(column).drop_nulls().first() if known else pl.lit(None, pl.String)
    if not log.has("topic") and log.has("product_id"):
        described["topic"] = pl.col("product_id").drop_nulls().first()
    # Where a creative has several texts, the least does not depend on the order of the rows.
    text = pl.col("text").min() if log.has("text") else pl.first("creative")
    frame = log.frame.with_columns(creative=name).filter(pl.col("creative") != HOLD)
    return (
        frame.group_by("creative")
        .agg(text=text, sends=pl.col("impressions").sum().cast(pl.Int64), **described)
        .with_columns(pl.col("text").fill_null(pl.col("creative")))
        .collect(engine="streaming")
    )


def _names(log: ClickLog, column: str) -> list[str]:
    if not log.has(column):
        return ["any"]
    names = log.sends().frame.select(pl.col(column).fill_null("any").unique())
    return sorted(names.collect(engine="streaming")[column])


def _slot_order(log: ClickLog, slots: Sequence[str] | None) -> tuple[str, ...]:
    if not log.has("slot"):
        return ("any",)
    found = sorted(log.frame.select(pl.col("slot").fill_null("any").unique()).collect()["slot"])
    if slots is not None:
        if missing := set(found) - set(slots):
            raise UserError(
                f"{log.source or log.name}, column slot: {sorted(missing)[0]!r} is not among the "
                f"configured slots {', '.join(slots)}; add it to users.slots."
            )
        return tuple(slots)
    if not log.has("timestamp"):
        return tuple(found)
    by_hour = (
        log.frame.group_by(
            slot=pl.col("slot").fill_null("any"), hour=pl.col("timestamp").dt.hour().cast(pl.Int64)
        )
        .agg(n=pl.len())
        .collect(engine="streaming")
    )
    count_SH = np.zeros((len(found), 24))
    index = [found.index(name) for name in by_hour["slot"]]
    count_SH[index, by_hour["hour"].to_numpy()] = by_hour["n"].to_numpy()
    order = _order_in_day(count_SH)
    return tuple(found) if order is None else tuple(found[i] for i in order)


def _order_in_day(count_SH: np.ndarray) -> list[int] | None:
    """Return the slots in the order of their hours; None where their hours overlap.

    The day may have to start at another hour than midnight, or a night would be split in two.
    """
    share_SH = count_SH / count_SH.sum(axis=1, keepdims=True)
    for start in range(24):
        passed_SH = np.cumsum(np.roll(share_SH, -start, axis=1), axis=1)
        low, high = (passed_SH > 0.05).argmax(axis=1), (passed_SH > 0.95).argmax(axis=1)
        order = np.argsort((passed_SH > 0.5).argmax(axis=1), kind="stable")
        if (low[order][1:] >= high[order][:-1]).all() and (low < high + 24 / len(order)).all():
            return [int(i) for i in order]
    return None


def _costs(costs: Mapping[str, float] | float | None, channels: list[str]) -> np.ndarray:
    if costs is None or isinstance(costs, int | float):
        return np.full(len(channels), float(costs or 0.0))
    if missing := [channel for channel in channels if channel not in costs]:
        raise UserError(
            f"users.costs names no cost for channel {missing[0]!r}; add it, or give one number."
        )
    return np.array([float(costs[channel]) for channel in channels])
