"""PENS, Personalized News Headlines: user histories with dwell times, and slates of headlines."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import OpenedTable, open_table, readable
from copygym.envs.datasets.card import Card, find_file
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.columns import Source, first_row, is_missing
from copygym.envs.logs.schema import require_columns

CARD = Card(
    name="pens",
    title="user histories with dwell times, and news headlines",
    source="Microsoft News, msnews.github.io/pens.html",
    licence="Microsoft Research License Terms: research only, no redistribution",
    size=(
        "113,762 articles with bodies; 500,000 impressions of 445,765 users, 13 June to 3 July 2019"
    ),
    randomised="nothing: the site's own ranking chose and ordered the articles",
    faults=(
        "no propensity is recorded, and what was shown depends on predicted interest: a model of "
        "clicks is fine, a causal claim is not.",
        "a user's list of clicks may hold those of the impression itself: of the history only "
        "clicks with an exposure time before the start of the impression are kept.",
        "the articles of an impression are listed by click, so their position is unknown.",
        "times carry no zone and are read as UTC.",
        "the headlines that people rewrote for the test part have no clicks and are not loaded.",
    ),
    citation=(
        "Ao, X. et al. (2021). PENS: A Dataset and Generic Framework for Personalized News "
        "Headline Generation. ACL 2021. doi:10.18653/v1/2021.acl-long.7"
    ),
    files=(),
    how_to_get=(
        "Accept the licence on msnews.github.io/pens.html, unpack PENS.zip and set data.path to "
        "the folder with train.tsv (or valid.tsv) and news.tsv"
    ),
)

#: Columns of news.tsv that are read -> ours.
NEWS = {
    "News ID": "news_id",
    "Category": "topic",
    "Topic": "subcategory",
    "Headline": "text",
    "News body": "brief",
}
#: Columns of train.tsv and valid.tsv that are read.
SHOWN = ("UserID", "ClicknewsID", "exposure_time", "pos", "neg", "start")
_TIME = "%m/%d/%Y %I:%M:%S %p"
_BETWEEN = "#TAB#"


def load(path: str | Path | None = None, history: bool = False, part: str = "train") -> ClickLog:
    """Load one part of PENS: a row per headline shown, clicks from the list that it stands in.

    Args:
        path: the folder that holds ``news.tsv`` and the part's file.
        history: keep the ids of the articles clicked before as ``user_history`` (blank-separated).
        part: ``train`` or ``valid``.

    Returns:
        A log with text (headline), brief (body), topic (category), user_history_length,
        context_impression (the slate) and context_subcategory.

    Raises:
        UserError: a file or column is missing, a time is none, an article shown is not there.
    """
    if part not in ("train", "valid"):
        raise UserError(f"pens: part={part!r} has no clicks; choose train or valid.")
    file = find_file(CARD, path, (f"{part}.tsv*",))
    news = find_file(CARD, file.parent, ("news.tsv*", "docs.tsv*"))
    table = open_table(file, separator="\t")
    shown = table.frame.with_row_index("__slate__", 1)
    _check(table, file)
    texts = articles(news)
    rows = _rows(shown)
    _check_articles(rows, texts, file, news)
    joined = rows.join(texts.lazy(), on="news_id", how="left", maintain_order="left")
    joined = joined.join(_before(shown), on="__slate__", how="left", maintain_order="left")
    clicked = pl.col("history").fill_null("")
    frame = joined.select(
        pl.col("UserID").alias("user_id"),
        pl.col("start").str.to_datetime(_TIME, time_zone="UTC").alias("timestamp"),
        pl.col("news_id").alias("product_id"),
        pl.col("news_id").alias("creative_id"),
        "text",
        "brief",
        "topic",
        pl.lit("feed").alias("channel"),
        pl.lit(1).alias("impressions"),
        pl.col("label").alias("clicks"),
        pl.col("length").fill_null(0).alias("user_history_length"),
        *([clicked.alias("user_history")] if history else []),
        pl.col("__slate__").cast(pl.String).alias("context_impression"),
        pl.col("subcategory").alias("context_subcategory"),
    )
    log = ClickLog.from_frame(
        frame, name=CARD.name, notes=(*CARD.faults, *table.notes), source=str(file)
    )
    return log.without_notes("column context_impression: its type is text")  # the slate's id


def articles(path: str | Path | None = None) -> pl.DataFrame:
    """Return the articles: ``news_id``, ``text`` (headline), ``brief``, ``topic``, subcategory.

    Raises:
        UserError: a column is missing, or a headline is empty.
    """
    news = find_file(CARD, path, ("news.tsv*", "docs.tsv*"))
    table = open_table(news, separator="\t")
    source = Source(str(news), table.first_row)
    with readable(news):
        require_columns(table.frame.collect_schema().names(), {c: c for c in NEWS}, source)
        bad = first_row(table.frame, is_missing("Headline", pl.String()), ())
        frame = table.frame.select(pl.col(old).alias(new) for old, new in NEWS.items())
        found = frame.unique("news_id", keep="first", maintain_order=True).collect()
    if bad:
        raise UserError(
            f"{source.at(bad['__row__'], 'Headline')}: the headline is empty; use the file as "
            "published."
        )
    return found


def _rows(shown: pl.LazyFrame) -> pl.LazyFrame:
    """Return a row for each article shown: those that were clicked, then the others."""
    parts = []
    for label, column in ((1, "pos"), (0, "neg")):
        ids = pl.col(column).fill_null("").str.strip_chars().str.split(" ")
        part = shown.select("__slate__", "UserID", "start", ids.alias("news_id"))
        part = part.explode("news_id").filter(pl.col("news_id") != "")
        parts.append(part.with_columns(label=pl.lit(label, dtype=pl.Int64)))
    return pl.concat(parts).sort("__slate__", maintain_order=True)


def _before(shown: pl.LazyFrame) -> pl.LazyFrame:
    """Return by impression the ids clicked before it began, in the order of the file, joined."""
    clicks = shown.select(
        "__slate__",
        "start",
        id=pl.col("ClicknewsID").fill_null("").str.strip_chars().str.split(" "),
        when=pl.col("exposure_time").fill_null("").str.split(_BETWEEN),
    ).explode("id", "when")
    earlier = pl.col("when").str.to_datetime(_TIME, strict=False) < pl.col("start").str.to_datetime(
        _TIME
    )
    known = clicks.filter(earlier & (pl.col("id") != ""))
    return known.group_by("__slate__", maintain_order=True).agg(
        history=pl.col("id").str.join(" "), length=pl.len().cast(pl.Int64)
    )


def _check(table: OpenedTable, file: Path) -> None:
    source = Source(str(file), table.first_row)
    with readable(file):
        require_columns(table.frame.collect_schema().names(), {c: c for c in SHOWN}, source)
        bad = first_row(table.frame, is_missing("UserID", pl.String()), ())
        if bad:
            raise UserError(
                f"{source.at(bad['__row__'], 'UserID')}: the id is empty; use the file as "
                "published."
            )
        time = pl.col("start").str.to_datetime(_TIME, strict=False)
        bad = first_row(table.frame, time.is_null(), ("start",))
        if bad:
            raise UserError(
                f"{source.at(bad['__row__'], 'start')}: value {bad['start']!r} is not a time like "
                "'7/3/2019 6:43:49 AM'; use the file as published."
            )
        ids = pl.col("ClicknewsID").fill_null("").str.strip_chars().str.split(" ").list.len()
        times = pl.col("exposure_time").fill_null("").str.split(_BETWEEN).list.len()
        bad = first_row(table.frame, ids != times, ())
        if bad:
            raise UserError(
                f"{source.at(bad['__row__'], 'exposure_time')}: there is not one time for each "
                "article of ClicknewsID; use the file as published."
            )


def _check_articles(rows: pl.LazyFrame, texts: pl.DataFrame, file: Path, news: Path) -> None:
    with readable(file):
        lost = rows.select("news_id").unique().join(texts.lazy(), on="news_id", how="anti")
        number, first = lost.select(pl.len(), pl.col("news_id").min()).collect().row(0)
    if number:
        raise UserError(
            f"{file}: {number:,} of the articles shown ({first!r} first) "
            f"{'is' if number == 1 else 'are'} not in {news.name}; use both as published."
        )
