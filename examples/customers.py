"""Plays the customers of a plan: who clicks, buys and leaves, as examples/newcomer.py's people do.

    python examples/customers.py PLAN PEOPLE OUTCOMES

reads a plan of `copygym deliver` and the people's file (as written by examples/newcomer.py, with
warts or without), and writes a row a message. Copy that is not the log's own is taken by its words:
"Psst", "treat yourself" and exclamations are playful, "Dear" is warm, everything else sober.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
from newcomer import PRODUCTS, click_chance, tastes

_AGE, _USER = ("user_age", "Alter"), ("user", "Kundennummer")


def tone_of(copies: list[str]) -> np.ndarray:
    """Return the tone of each copy, as newcomer.TONES numbers them."""
    low = [text.lower() for text in copies]
    playful = [any(sign in text for sign in ("psst", "treat yourself", "!")) for text in low]
    warm = [text.startswith("dear") for text in low]
    return np.where(warm, 2, np.where(playful, 1, 0))


def play(plan_file: Path, people_file: Path, out: Path, seed: int = 1) -> None:
    """Write what came of a plan: a row a message, with what happened and when."""
    rng = np.random.default_rng(seed)
    plan = pl.read_parquet(plan_file)
    first = people_file.read_text(encoding="utf-8").partition("\n")[0]
    people = pl.read_csv(people_file, separator=";" if ";" in first else ",")
    user = next(name for name in _USER if name in people.columns)
    age = next(name for name in _AGE if name in people.columns)
    ages = dict(zip(people[user].cast(pl.String), people[age], strict=True))
    sent = plan.filter(pl.col("creative") != "hold")
    product = np.array([int(sku.rpartition("-")[2]) - 1 for sku in sent["product"]])
    chance = click_chance(
        np.array([ages[str(one)] for one in sent["user"]]),
        tone_of(sent["copy"].to_list()),
        tastes()[product],
        (sent["channel"] == "push").to_numpy(),
    )
    clicked = rng.random(len(chance)) < chance
    bought = clicked & (rng.random(len(chance)) < 0.12)
    price = np.array([one[2] for one in PRODUCTS], float)[product]
    pl.DataFrame(
        {
            "user": sent["user"],
            "time": sent["send_at"].dt.offset_by("2h").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "clicked": clicked.astype(int),
            "purchased": bought.astype(int),
            "revenue": np.where(bought, price, 0.0),
            "unsubscribed": (rng.random(len(chance)) < 0.002).astype(int),
        }
    ).write_csv(out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("give three files: python examples/customers.py PLAN PEOPLE OUTCOMES")
    play(*(Path(word) for word in sys.argv[1:]))
