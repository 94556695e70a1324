"""Who lives in the storefront: demographics, tastes and habits of made-up users."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from copygym.envs.storefront.copy import FIELDS, PRINCIPLES

CHANNELS: tuple[str, ...] = ("email", "push", "sms")
SLOTS: tuple[str, ...] = ("morning", "noon", "evening", "night")

#: demographic columns and their levels; shares are drawn once per level, not per world.
DEMOGRAPHICS: dict[str, dict[str, float]] = {
    "user_age_band": {"18-24": 0.16, "25-34": 0.24, "35-49": 0.28, "50-64": 0.2, "65+": 0.12},
    "user_region": {"north": 0.3, "south": 0.25, "east": 0.2, "west": 0.25},
    "user_device": {"android": 0.45, "ios": 0.3, "desktop": 0.25},
    "user_income": {"low": 0.35, "middle": 0.4, "high": 0.25},
}


@dataclass(frozen=True)
class People:
    """Who the users are; hidden from all but the judge, except the demographics."""

    demographics: pl.DataFrame  #: user_id and the columns of DEMOGRAPHICS
    interest: np.ndarray  #: (U, F) standard deviations
    susceptibility: np.ndarray  #: (U, 6) one per principle
    price_sensitivity: np.ndarray  #: (U,) standard deviations
    channel: np.ndarray  #: (U, H) standard deviations
    slot: np.ndarray  #: (U, S) standard deviations
    patience: np.ndarray  #: (U,) unsubscribe logit


def draw_people(seed: int, n_users: int, personal: bool = True) -> People:
    """Return the population of a world; demographics and tastes correlate.

    A taste is ``sqrt(share) * demographic part + sqrt(1 - share) * personal part``, each of unit
    variance; the demographic part adds an effect per level of every column, the same in all
    worlds, so that what is learned of a group holds for newcomers.

    Args:
        seed: of the world.
        n_users: size of the population.
        personal: False leaves out the personal part: what can be known of the same people from
            their demographics.
    """
    demographics = _draw_demographics(seed, n_users)
    rng = generator(seed, "people")

    def taste(name: str, width: int, share: float) -> np.ndarray:
        common = group_effects(demographics, name, width)
        own = rng.standard_normal((n_users, width))
        return np.sqrt(share) * common + (np.sqrt(1 - share) * own if personal else 0.0)

    return People(
        demographics=demographics,
        interest=taste("interest", len(FIELDS), 0.55),
        susceptibility=0.4 + 0.6 * taste("susceptibility", len(PRINCIPLES), 0.3),
        price_sensitivity=taste("price", 1, 0.4)[:, 0],
        channel=taste("channel", len(CHANNELS), 0.4),
        slot=taste("slot", len(SLOTS), 0.25),
        patience=0.4 * taste("patience", 1, 0.2)[:, 0],
    )


def _draw_demographics(seed: int, n_users: int) -> pl.DataFrame:
    rng = generator(seed, "demographics")
    columns: dict[str, list[str]] = {"user_id": [_pseudonym(seed, i) for i in range(n_users)]}
    # One latent rank ties income and device to age: the old earn more and sit at a desktop.
    rank = rng.standard_normal(n_users)
    for name, levels in DEMOGRAPHICS.items():
        tie = {"user_age_band": 1.0, "user_device": 0.4, "user_income": 0.3}.get(name, 0.0)
        score = tie * rank + np.sqrt(1 - tie**2) * rng.standard_normal(n_users)
        position = (np.argsort(np.argsort(score)) + 0.5) / n_users
        index = np.searchsorted(np.cumsum(list(levels.values())), position, side="right")
        names = list(levels)
        columns[name] = [names[min(i, len(names) - 1)] for i in index]
    return pl.DataFrame(columns)


def group_effects(demographics: pl.DataFrame, what: str, width: int) -> np.ndarray:
    """Return (U, width), mean 0 and variance 1: a normal effect per level of each column."""
    total, variance = np.zeros((demographics.height, width)), np.zeros(width)
    for column, levels in DEMOGRAPHICS.items():
        share = np.array(list(levels.values()))
        effects = generator(0, f"{what}/{column}").standard_normal((len(levels), width))
        effects -= share @ effects
        variance += share @ effects**2
        total += effects[[list(levels).index(level) for level in demographics[column]]]
    return total / np.sqrt(variance)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator of its own for each purpose, so that a new draw moves no other."""
    return np.random.default_rng([seed, *purpose.encode()])


def _pseudonym(seed: int, row: int) -> str:
    return hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8, key=b"storefront").hexdigest()
