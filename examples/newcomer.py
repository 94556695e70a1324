"""A made-up log as an e-mail team would export it, with a planted effect: who likes which tone.

    python examples/newcomer.py FOLDER

writes log.csv (a row a send), products.csv and people.csv (who was never written to). Sends are at
random; younger people click on playful subjects five times as often as on sober ones, older people
the reverse. So a model that is any good finds an AUC of about .70.
"""

from __future__ import annotations

import sys
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


def make(folder: Path, sends: int = 30_000, customers: int = 2_000, seed: int = 0) -> None:
    """Write log.csv, products.csv and people.csv."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, 2 * customers)
    city = rng.choice(CITIES, 2 * customers)
    texts = [text for name, _, _, facts in PRODUCTS for text in copies(name, facts)]
    who = rng.integers(customers, size=sends)
    copy = rng.integers(len(texts), size=sends)
    product, tone = copy // 3, copy % 3
    young = age[who] < 40
    liking = np.where(tone == 1, np.where(young, 1.1, -0.9), np.where(young, -0.8, 0.7))
    liking = np.where(tone == 2, 0.0, liking)
    channel = rng.choice(["email", "push"], sends, p=[0.7, 0.3])
    taste = rng.normal(0, 0.35, len(PRODUCTS))[product]
    chance = 1 / (1 + np.exp(-(-2.5 + liking + taste - 0.3 * (channel == "push"))))
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


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give a folder: python examples/newcomer.py FOLDER")
    make(Path(sys.argv[1]))
