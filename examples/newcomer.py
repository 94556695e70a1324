"""A made-up log as an e-mail team would export it, with a planted effect: who likes which tone.

    python examples/newcomer.py FOLDER [--warts] [--sends N] [--customers N]

writes log.csv (a row a send), products.csv and people.csv (who was never written to); with --warts
as a German spreadsheet exports them: semicolons, other names, days first, ja and nein, empty cells,
opens, e-mail addresses, clicks that were counted twice.

Sends are at random; younger people click on playful subjects five times as often as on sober ones,
older people the reverse. So a model that is any good finds an AUC of about .70.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

#: name, field, price, facts (of which the copies below speak).
PRODUCTS = (
    ("Alto kettle", "kitchen", 49, "It boils 1.7 litres in three minutes. It is made of steel."),
    ("Pepper pan", "kitchen", 39, "It needs only a spoon of oil. It heats evenly in 90 seconds."),
    ("Corran blanket", "home", 79, "It is woven from wool. It keeps you warm down to 5 degrees."),
    ("Lumen lamp", "home", 59, "It dims in ten steps. The bulb lasts 15,000 hours."),
    ("Bramble backpack", "travel", 89, "It holds 28 litres. It is waterproof."),
    ("Tern suitcase", "travel", 129, "It weighs 2.1 kilos. It fits under the seat."),
    ("Stride shoes", "sport", 99, "They weigh 210 grams. They come in nine colours."),
    ("Haven mat", "sport", 35, "It is 6 millimetres thick. It rolls up small."),
    ("Maple chair", "garden", 69, "It carries 120 kilos. It folds flat."),
    ("Clover shears", "garden", 25, "They cut branches of 2 centimetres. They weigh 300 grams."),
    ("Tribune atlas", "books", 45, "It has 320 maps. It was printed in spring."),
    ("Harbour novel", "books", 18, "It has 412 pages. It plays in a small port."),
)  # fmt: skip
TONES = ("sober", "playful", "warm")
CITIES = ("Bern", "Graz", "Ulm", "Köln")


def copies(name: str, facts: str) -> list[str]:
    """Return a sober, a playful and a warm copy."""
    one, two = (part.strip(" .") for part in facts.split(". ")[:2])
    return [
        f"The {name}. {one}.",
        f"Psst! Meet the {name}. {two}. Go on, treat yourself.",
        f"Dear friend, we would love to show you the {name}. {one}.",
    ]


def tastes() -> np.ndarray:
    """Return how much each product is liked, the same in every log of these products."""
    return np.random.default_rng(7).normal(0, 0.35, len(PRODUCTS))


def click_chance(
    age: np.ndarray, tone: np.ndarray, taste: np.ndarray, push: np.ndarray
) -> np.ndarray:
    """Return the true chance of a click: who likes which tone, the product, the channel."""
    young = age < 40
    liking = np.where(tone == 1, np.where(young, 1.1, -0.9), np.where(young, -0.8, 0.7))
    liking = np.where(tone == 2, 0.0, liking)
    return 1 / (1 + np.exp(-(-2.5 + liking + taste - 0.3 * push)))


def make(folder: Path, sends: int = 30_000, customers: int = 2_000, seed: int = 0) -> None:
    """Write log.csv, products.csv and people.csv."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, 2 * customers)
    city = rng.choice(CITIES, 2 * customers)
    texts = [text for name, _, _, facts in PRODUCTS for text in copies(name, facts)]
    who = rng.integers(customers, size=sends)
    copy = rng.integers(len(texts), size=sends)
    product, tone = copy // 3, copy % 3
    channel = rng.choice(["email", "push"], sends, p=[0.7, 0.3])
    taste = tastes()
    chance = click_chance(age[who], tone, taste[product], channel == "push")
    clicked = rng.random(sends) < chance
    bought = clicked & (rng.random(sends) < 0.12)
    gone = rng.random(sends) < 0.002
    start = datetime(2026, 1, 5, 8)
    minutes = np.sort(rng.integers(0, 60 * 24 * 90, sends))
    price = np.array([p for _, _, p, _ in PRODUCTS], float)
    log = pl.DataFrame(
        {
            "customer_id": [f"c{i:05d}" for i in who],
            "sent_at": [start + timedelta(minutes=int(m)) for m in minutes],
            "sku": [f"sku-{p + 1:02d}" for p in product],
            "campaign": [TONES[t] for t in tone],
            "subject_line": [texts[c] for c in copy],
            "channel": channel,
            "clicked": clicked.astype(int),
            "purchased": bought.astype(int),
            "revenue": np.where(bought, price[product], 0.0),
            "unsubscribed": gone.astype(int),
            "age": age[who],
            "city": city[who],
            "probability": 1 / len(texts) * np.where(channel == "email", 0.7, 0.3),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    log.write_csv(folder / "log.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
    pl.DataFrame(
        {
            "sku": [f"sku-{i + 1:02d}" for i in range(len(PRODUCTS))],
            **{key: [p[i] for p in PRODUCTS] for i, key in enumerate(("name", "category", "price",
                                                                      "facts"))},
        }
    ).write_csv(folder / "products.csv")  # fmt: skip
    new = np.arange(customers, 2 * customers)
    pl.DataFrame(
        {"user": [f"c{i:05d}" for i in new], "user_age": age[new], "user_city": city[new]}
    ).write_csv(folder / "people.csv")


#: What a German export calls the columns.
GERMAN = {
    "customer_id": "Kundennummer", "sent_at": "Versendet am", "sku": "Artikelnummer",
    "campaign": "Kampagne", "subject_line": "Betreffzeile", "channel": "Kanal",
    "clicked": "Geklickt", "purchased": "Gekauft", "revenue": "Umsatz",
    "unsubscribed": "Abgemeldet", "age": "Alter", "city": "Ort",
    "probability": "Wahrscheinlichkeit",
}  # fmt: skip


def roughen(folder: Path, seed: int = 0) -> None:
    """Write log.csv and people.csv again as a spreadsheet would export them."""
    rng = np.random.default_rng(seed)
    log = pl.read_csv(folder / "log.csv", try_parse_dates=True)
    n, yes = log.height, pl.lit("ja")
    opened = log["clicked"].to_numpy().astype(bool) | (rng.random(n) < 0.3)
    log = log.with_columns(
        pl.col("sent_at").dt.strftime("%d.%m.%Y %H:%M"),
        pl.Series("Geöffnet", np.where(opened, "ja", "nein")),
        # Some programs count each click, and some leave empty what did not happen.
        pl.when(pl.col("clicked") == 0).then(pl.Series(np.where(rng.random(n) < 0.5, "", "0")))
        .otherwise(pl.Series(rng.choice(["1", "2"], n, p=[0.9, 0.1]))).alias("clicked"),
        pl.when(pl.col("purchased") == 1).then(yes).otherwise(pl.lit("nein")).alias("purchased"),
        pl.when(pl.col("revenue") > 0).then(pl.col("revenue").cast(pl.String))
        .otherwise(pl.lit("")).alias("revenue"),
        pl.when(pl.col("unsubscribed") == 1).then(yes).otherwise(pl.lit("nein"))
        .alias("unsubscribed"),
        pl.format("{}@example.org", "customer_id").alias("E-Mail"),
    ).rename(GERMAN)  # fmt: skip
    log.write_csv(folder / "log.csv", separator=";")
    people = pl.read_csv(folder / "people.csv")
    names = {"user": "Kundennummer", "user_age": "Alter", "user_city": "Ort"}
    people.rename(names).write_csv(folder / "people.csv", separator=";")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--warts", action="store_true", help="as a German spreadsheet exports it")
    parser.add_argument("--sends", type=int, default=30_000)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    make(given.folder, given.sends, given.customers, given.seed)
    if given.warts:
        roughen(given.folder, given.seed)
