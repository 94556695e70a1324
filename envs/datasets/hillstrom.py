"""Hillstrom's randomised e-mail experiment: whom to send which e-mail, or none."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, RemoteFile, find_file
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.schema import Source, first_row, require_columns

_URL = (
    "http://www.minethatdata.com/"
    "Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv"
)

CARD = Card(
    name="hillstrom",
    title="randomised e-mail test with profiles, visits, conversions and spend",
    source="Kevin Hillstrom, MineThatData E-Mail Analytics and Data Mining Challenge, 2008",
    licence="offered to the public for the challenge; no licence text",
    size="64,000 customers, one row each; 21,307 men's, 21,387 women's, 21,306 no e-mail",
    randomised=(
        "the arm (men's e-mail, women's e-mail, no e-mail), each with probability 1/3; send time "
        "and channel were not varied"
    ),
    faults=(
        "the e-mails' copy was not published: text is a description of the merchandise they show, "
        "and brief says in plain facts what is known of the e-mail.",
        "channel in the file is the channel of past purchases, so it is loaded as "
        "user_past_channel; the delivery channel is always e-mail.",
        "clicks are visits to the site within two weeks, with or without an e-mail; a visit is "
        "not known to have come from the e-mail.",
        "the file spells Surburban; the loader writes Suburban.",
        "user_id is the row number, since the file has no customer id.",
    ),
    citation=(
        "Hillstrom, K. (2008). The MineThatData E-Mail Analytics and Data Mining Challenge. "
        "blog.minethatdata.com"
    ),
    files=(
        RemoteFile(
            "hillstrom.csv",
            _URL,
            sha256="0e5893329d8b93cefecc571777672028290ab69865718020c78c7284f291aece",
            size=3_964_977,
        ),
    ),
    how_to_get="Run `copygym data get hillstrom`, or set data.path to the challenge's CSV file",
)

ARMS = {"Mens E-Mail": "mens_email", "Womens E-Mail": "womens_email", "No E-Mail": HOLD}
_TEXTS = {
    "mens_email": "Men's merchandise e-mail: new arrivals and offers in men's clothing.",
    "womens_email": "Women's merchandise e-mail: new arrivals and offers in women's clothing.",
}
_BRIEFS = {
    "mens_email": "An online shop sells clothing. The e-mail shows its men's merchandise.",
    "womens_email": "An online shop sells clothing. The e-mail shows its women's merchandise.",
}
_PRODUCTS = {"mens_email": "mens_merchandise", "womens_email": "womens_merchandise"}
_COLUMNS = (
    "recency",
    "history_segment",
    "history",
    "mens",
    "womens",
    "zip_code",
    "newbie",
    "channel",
    "segment",
)


def load(path: str | Path | None = None) -> ClickLog:
    """Load the experiment: one decision per customer, two creatives or hold.

    Args:
        path: the CSV (as published, or re-saved), or the folder that holds it.

    Returns:
        A log whose clicks are visits, with conversions, revenue (dollars), propensity 1/3 and the
        profile as ``user_*`` features. Rows with creative ``hold`` got no e-mail.
    """
    file = find_file(CARD, path, ("hillstrom*.csv*", "Kevin_Hillstrom*.csv*"))
    named = {"clicks": "visit", "conversions": "conversion", "revenue": "spend"}
    table = open_table(file)
    source = Source(str(file), table.first_row, named)
    raw = table.frame
    with readable(file):
        present = raw.collect_schema().names()
        require_columns(present, {c: c for c in _COLUMNS} | named, source)
        unknown = first_row(raw, ~pl.col("segment").is_in(list(ARMS)), ("segment",))
    if unknown:
        raise UserError(
            f"{source.at(unknown['__row__'], 'segment')}: value {unknown['segment']!r} is not an "
            f"arm; expected one of {', '.join(ARMS)}."
        )
    arm = pl.col("segment").replace_strict(ARMS, default=None)
    frame = raw.with_row_index("__customer__").select(
        pl.format("customer_{}", pl.col("__customer__").cast(pl.String).str.zfill(6)).alias(
            "user_id"
        ),
        arm.alias("creative_id"),
        arm.replace_strict(_PRODUCTS, default=None).alias("product_id"),
        arm.replace_strict(_TEXTS, default=None).alias("text"),
        arm.replace_strict(_BRIEFS, default=None).alias("brief"),
        pl.lit("e-commerce").alias("topic"),
        pl.lit("email").alias("channel"),
        pl.lit(1 / 3).alias("propensity"),
        pl.lit(1).alias("impressions"),
        *(pl.col(column).alias(name) for name, column in named.items()),
        pl.col("recency", "history", "mens", "womens", "newbie").name.prefix("user_"),
        pl.col("history_segment").str.replace(r"^\d+\) ", "").alias("user_history_segment"),
        pl.col("zip_code").replace({"Surburban": "Suburban"}).alias("user_zip_code"),
        pl.col("channel").alias("user_past_channel"),
    )
    notes = (*CARD.faults, *table.notes)
    return ClickLog.from_frame(
        frame,
        name=CARD.name,
        notes=notes,
        source=source,
        infer_features=True,
    )
