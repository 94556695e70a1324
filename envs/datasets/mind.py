"""MIND, the Microsoft News Dataset: user histories and slates of news titles."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, find_file
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.columns import Source, first_row, is_missing

CARD = Card(
    name="mind",
    title="user histories and news titles",
    source="Microsoft News, msnews.github.io",
    licence="Microsoft Research License Terms: research only, no redistribution",
    size="15 million impression logs of 1 million users, 160,000 articles; small: 50,000 users",
    randomised="nothing: the site's own ranking chose and ordered the articles",
    faults=(
        "no propensity is recorded, and what was shown depends on predicted interest: a model of "
        "clicks is fine, a causal claim is not.",
        "only users with at least five clicks in six weeks were sampled.",
        "the articles of an impression are shuffled, so their position is unknown.",
        "times carry no zone and are read as UTC.",
    ),
    citation=(
        "Wu, F. et al. (2020). MIND: A Large-scale Dataset for News Recommendation. ACL 2020. "
        "doi:10.18653/v1/2020.acl-main.331"
    ),
    files=(),
    how_to_get=(
        "Accept the licence on msnews.github.io, unpack MINDsmall_train.zip (or another labelled "
        "part) and set data.path to the folder with behaviors.tsv and news.tsv"
    ),
)

BEHAVIORS = ["impression_id", "user_id", "time", "history", "impressions"]
NEWS = [
    "news_id",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title_entities",
    "abstract_entities",
]


def load(path: str | Path | None = None, history: bool = False) -> ClickLog:
    """Load one part of MIND: a row per article shown, clicks from its label.

    Args:
        path: the folder that holds ``behaviors.tsv`` and ``news.tsv``.
        history: keep the ids of the articles clicked before as ``user_history`` (blank-separated).

    Returns:
        A log with text (title), brief (abstract), topic (category), user_history_length,
        context_impression (the slate) and context_subcategory.

    Raises:
        UserError: a file is missing, or a row has no labels, as in the test part.
    """
    behaviors = find_file(CARD, path, ("behaviors.tsv*",))
    news = find_file(CARD, behaviors.parent, ("news.tsv*",))
    tables = [
        open_table(file, separator="\t", header=names, quote=None)
        for file, names in ((behaviors, BEHAVIORS), (news, NEWS))
    ]
    shown, articles = (table.frame for table in tables)
    _check(shown, articles, behaviors, news)
    _check_articles(shown, articles, behaviors, news)
    clicked_before = pl.col("history").fill_null("").str.strip_chars()
    length = clicked_before.str.split(" ").list.len().cast(pl.Int64)
    rows = shown.with_columns(shown=pl.col("impressions").str.split(" ")).explode("shown")
    rows = rows.with_columns(
        news_id=pl.col("shown").str.head(-2), label=pl.col("shown").str.tail(1).cast(pl.Int64)
    )
    joined = rows.join(
        articles.unique("news_id", keep="first"), on="news_id", how="left", maintain_order="left"
    )
    frame = joined.select(
        "user_id",
        pl.col("time").str.to_datetime("%m/%d/%Y %I:%M:%S %p", time_zone="UTC").alias("timestamp"),
        pl.col("news_id").alias("product_id"),
        pl.col("news_id").alias("creative_id"),
        pl.col("title").alias("text"),
        pl.col("abstract").alias("brief"),
        pl.col("category").alias("topic"),
        pl.lit("feed").alias("channel"),
        pl.lit(1).alias("impressions"),
        pl.col("label").alias("clicks"),
        pl.when(clicked_before == "").then(0).otherwise(length).alias("user_history_length"),
        *([clicked_before.alias("user_history")] if history else []),
        pl.col("impression_id").alias("context_impression"),
        pl.col("subcategory").alias("context_subcategory"),
    )
    notes = (*CARD.faults, *(note for table in tables for note in table.notes))
    log = ClickLog.from_frame(frame, name=CARD.name, notes=notes, source=str(behaviors))
    return log.without_notes("column context_impression: its type is text")  # the slate's id


def articles(path: str | Path | None = None) -> pl.DataFrame:
    """Return the articles: ``news_id``, ``text`` (title), ``brief`` (abstract), ``topic``."""
    news = find_file(CARD, path, ("news.tsv*",))
    table = open_table(news, separator="\t", header=NEWS, quote=None)
    ours = {"news_id": "news_id", "title": "text", "abstract": "brief", "category": "topic"}
    with readable(news):
        frame = table.frame.select(pl.col(old).alias(new) for old, new in ours.items())
        return frame.unique("news_id", keep="first", maintain_order=True).collect()


def _check(shown: pl.LazyFrame, articles: pl.LazyFrame, behaviors: Path, news: Path) -> None:
    """Check row by row of the file, before an impression becomes many rows."""
    source = Source(str(behaviors))
    with readable(behaviors):
        bad = first_row(shown, is_missing("user_id", pl.String()), ())
        if bad:
            raise UserError(
                f"{source.at(bad['__row__'], 'user_id')}: the id is empty; use the file as "
                "published."
            )
        labelled = pl.col("impressions").fill_null("").str.contains(r"^\S+-[01]( \S+-[01])*$")
        bad = first_row(shown, ~labelled, ("impressions",))
        if bad:
            value = (bad["impressions"] or "")[:40]
            raise UserError(
                f"{source.at(bad['__row__'], 'impressions')}: value {value!r} is not a list like "
                "'N1-0 N2-1'; the test part has no labels, so use the train or dev part."
            )
        time = pl.col("time").str.to_datetime("%m/%d/%Y %I:%M:%S %p", strict=False)
        bad = first_row(shown, time.is_null(), ("time",))
        if bad:
            raise UserError(
                f"{source.at(bad['__row__'], 'time')}: value {bad['time']!r} is not a time like "
                "'11/13/2019 8:36:57 AM'; use the file as published."
            )
    with readable(news):
        bad = first_row(articles, pl.col("title").is_null(), ())
        if bad:
            raise UserError(
                f"{Source(str(news)).at(bad['__row__'], 'title')}: the title is empty; use the "
                "file as published, with eight tab-separated columns."
            )


def _check_articles(
    shown: pl.LazyFrame, articles: pl.LazyFrame, behaviors: Path, news: Path
) -> None:
    """Refuse articles that were shown and have no title, or several."""
    way_out = "use behaviors.tsv and news.tsv of the same part, as published"
    with readable(behaviors):
        titles = articles.group_by("news_id").agg(titles=pl.col("title").n_unique())
        ids = shown.select(pl.col("impressions").str.split(" ").explode().str.head(-2).unique())
        lost = ids.join(titles, left_on="impressions", right_on="news_id", how="anti")
        missing = lost.select(pl.len(), pl.col("impressions").min()).collect(engine="streaming")
        twice = titles.filter(pl.col("titles") > 1).select(pl.col("news_id").min())
        several = twice.collect(engine="streaming").item()
    number, first = missing.row(0)
    if number:
        raise UserError(
            f"{behaviors}: {number:,} of the articles shown ({first!r} first) "
            f"{'is' if number == 1 else 'are'} not in {news.name}; {way_out}."
        )
    if several is not None:
        raise UserError(f"{news}: article {several!r} has two titles; {way_out}.")
