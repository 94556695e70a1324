"""In-vehicle coupon recommendation: stated answers to offers in driving situations."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, RemoteFile, find_file
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.schema import Source, require_columns

CARD = Card(
    name="coupon",
    title="survey of coupons accepted while driving",
    source="UCI Machine Learning Repository, data set 603, from Amazon Mechanical Turk",
    licence="CC BY 4.0",
    size="12,684 answers from 567 distinct profiles",
    randomised="not documented: scenarios and offers were drawn for the survey, without a record",
    faults=(
        "answers are stated intentions in a survey, not clicks.",
        "there is no propensity, so no off-policy estimate is justified.",
        "there is no respondent id: user_id is made from the thirteen profile answers, so two "
        "people with equal answers count as one.",
        "car is empty for 99% of the answers; 74 rows repeat an earlier row exactly.",
        "the copy is described by the loader (offer and expiry in words), not quoted from the "
        "survey; brief has the same two facts.",
        "toCoupon_GEQ5min is 1 everywhere and is not loaded.",
    ),
    citation=(
        "Wang, T., Rudin, C., Doshi-Velez, F., Liu, Y., Klampfl, E. and MacNeille, P. (2017). A "
        "Bayesian Framework for Learning Rule Sets for Interpretable Classification. JMLR 18(70)"
    ),
    files=(
        RemoteFile(
            "in+vehicle+coupon+recommendation.zip",
            "https://archive.ics.uci.edu/static/public/603/in+vehicle+coupon+recommendation.zip",
        ),
    ),
    how_to_get="Run `copygym data get coupon`, or set data.path to the repository's CSV file",
)

#: Profile column of the file -> feature. (The file misspells one context column: passanger.)
PROFILE = {
    "gender": "user_gender",
    "age": "user_age",
    "maritalStatus": "user_marital_status",
    "has_children": "user_has_children",
    "education": "user_education",
    "occupation": "user_occupation",
    "income": "user_income",
    "car": "user_car",
    "Bar": "user_bar",
    "CoffeeHouse": "user_coffee_house",
    "CarryAway": "user_carry_away",
    "RestaurantLessThan20": "user_restaurant_under_20",
    "Restaurant20To50": "user_restaurant_20_to_50",
}
CONTEXT = {
    "destination": "context_destination",
    "passanger": "context_passenger",
    "weather": "context_weather",
    "temperature": "context_temperature",
    "toCoupon_GEQ15min": "context_at_least_15_min",
    "toCoupon_GEQ25min": "context_at_least_25_min",
    "direction_same": "context_same_direction",
}
_EXPIRY = {"1d": "valid for one day", "2h": "valid for two hours"}
#: Offers as people say them; the file's amounts are dollars a person.
_OFFERS = {
    "Bar": "a bar",
    "Carry out & Take away": "food to take away",
    "Coffee House": "a coffee house",
    "Restaurant(<20)": "a restaurant below 20 dollars a person",
    "Restaurant(20-50)": "a restaurant at 20 to 50 dollars a person",
}


def load(path: str | Path | None = None) -> ClickLog:
    """Load the survey: one row per answer, clicks = accepted.

    Args:
        path: the CSV, or the folder that holds it.

    Returns:
        A log with a pseudonymous user_id per profile, creative_id (offer and expiry), slot (hour)
        and the situation as ``context_*`` (temperature in degrees Fahrenheit).
    """
    file = find_file(CARD, path, ("in-vehicle-coupon-recommendation*.csv*", "*coupon*.csv*"))
    table = open_table(file)
    raw = table.frame
    source = Source(str(file), table.first_row, {"clicks": "Y", "slot": "time"})
    needed = ("coupon", "expiration", "time", "Y", *PROFILE, *CONTEXT)
    with readable(file):
        require_columns(raw.collect_schema().names(), {c: c for c in needed}, source)
    offer, expiry = pl.col("coupon"), pl.col("expiration")
    product = offer.str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "_").str.strip_chars("_")
    # Rank of the profile among the sorted profiles: the same file always gives the same ids.
    answers = [pl.col(c).fill_null("") for c in PROFILE]
    rank = pl.concat_str(answers, separator="\t").rank("dense")
    frame = raw.select(
        (pl.lit("profile_") + rank.cast(pl.String).str.zfill(4)).alias("user_id"),
        product.alias("product_id"),
        (product + pl.lit("_") + expiry).alias("creative_id"),
        pl.format("Coupon for {}, {}.", offer.replace(_OFFERS), expiry.replace(_EXPIRY)).alias(
            "text"
        ),
        pl.format(
            "The coupon is for {}. It is {}.", offer.replace(_OFFERS), expiry.replace(_EXPIRY)
        ).alias("brief"),
        pl.lit("e-commerce").alias("topic"),
        pl.lit("in_vehicle").alias("channel"),
        pl.col("time").alias("slot"),
        pl.lit(1).alias("impressions"),
        pl.col("Y").alias("clicks"),
        *(pl.col(column).alias(name) for column, name in (PROFILE | CONTEXT).items()),
    )
    log = ClickLog.from_frame(
        frame,
        name=CARD.name,
        notes=(*CARD.faults, *table.notes),
        source=source,
        infer_features=True,
    )
    # Of the file as published the card says that rows repeat, and its ages are groups.
    return log.without_notes("column user_age, row 411: value '50plus'", "74 rows repeat")
