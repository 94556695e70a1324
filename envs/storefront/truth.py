"""The storefront's truth: how people respond to a copy, by a rule that is made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from copygym.envs.people.model import Response
from copygym.envs.storefront.copy import PRINCIPLES
from copygym.envs.storefront.features import CopyFeatures
from copygym.envs.storefront.people import CHANNELS, People

#: words that a channel carries at no loss, lowest and highest.
_FITTING_WORDS = {"email": (14, 40), "push": (5, 18), "sms": (7, 24)}

#: click logit of a channel in a slot, the same for all users.
_CHANNEL_SLOT = np.array(
    [
        [0.30, 0.05, 0.00, -0.45],  # email
        [-0.10, 0.00, 0.35, -0.15],  # push
        [-0.20, 0.25, 0.25, -0.80],  # sms
    ]
)


@dataclass(frozen=True)
class Truth:
    """Constants of the response, click logit unless said otherwise."""

    base: float = -3.8
    interest: float = 1.0  #: per standard deviation of a user's interest in the field
    relevance: float = 1.0  #: from no fact told to all
    persuasion: float = 0.8  #: per unit of susceptibility, principle present
    pushing: float = 0.0  #: loss per principle present, whoever reads
    crowding: float = 0.35  #: loss per principle beyond the second
    price_talk: float = 0.3  #: per standard deviation of price sensitivity
    claim: float = 0.15  #: gain per unsupported claim
    fluency: float = 7.0  #: loss of a text that reads like noise
    shouting: float = 1.0
    heaviness: float = 0.5
    length: float = 1.2  #: loss per log-ratio of words outside what the channel carries
    channel: float = 0.5  #: per standard deviation of channel habit
    slot: float = 0.45  #: per standard deviation of slot habit
    conversion: float = -2.5  #: conversion logit given a click
    claim_conversion: float = 0.6  #: loss of conversion logit per unsupported claim
    claim_unsubscribe: float = 0.45  #: rise of unsubscribe logit per unsupported claim


#: of the large catalogue. A claim that the facts don't carry costs clicks too. Persuasion moves
#: people further apart and costs something with everybody, so that with four copies a product as
#: much is to be gained by knowing the reader as with forty in the small one (`stakes`).
STRICT = Truth(persuasion=2.0, pushing=0.7, price_talk=0.6, claim=-0.9)


class Goods(NamedTuple):
    """What is advertised, as arrays of one shape."""

    field: np.ndarray  #: int64 index into FIELDS
    price: np.ndarray  #: currency
    appeal: np.ndarray  #: click logit


@dataclass(frozen=True)
class Columns:
    """`CopyFeatures` of N texts as arrays (N,), principles (N, 6)."""

    relevance: np.ndarray
    principles: np.ndarray
    crowding: np.ndarray
    claims: np.ndarray
    fluency: np.ndarray
    shouting: np.ndarray
    heaviness: np.ndarray
    price_talk: np.ndarray
    words: np.ndarray

    def each(self) -> Columns:
        """Return the same with an axis of readers after that of texts: (N, 1) and (N, 1, 6)."""
        return Columns(**{name: value[:, None] for name, value in vars(self).items()})


def columns(features: list[CopyFeatures]) -> Columns:
    """Return features as arrays, with what principles lose when they crowd each other."""
    scalars = {
        name: np.array([getattr(f, name) for f in features], dtype=np.float64)
        for name in CopyFeatures._fields
        if name != "principles"
    }
    principles = np.array([f.principles for f in features]).reshape(-1, len(PRINCIPLES))
    used = (principles > 0).sum(axis=1)
    # More principles than two get in each other's way: the same persuasion is shared out.
    principles = principles * np.minimum(1.0, 2.0 / np.maximum(used, 1))[:, None]
    return Columns(principles=principles, crowding=np.maximum(used - 2.0, 0.0), **scalars)


def _misfit(words: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return (N,) log-ratio of the words to what the channel carries, 0 inside its range."""
    low, high = np.array([_FITTING_WORDS[name] for name in CHANNELS]).T
    count = np.maximum(words, 1.0)
    over = np.log(count / high[channels])
    under = np.log(low[channels] / count)
    return np.minimum(np.maximum(np.maximum(over, under), 0.0), 2.0)


def respond(
    truth: Truth,
    people: People,
    copy: Columns,
    goods: Goods,
    users: np.ndarray,
    channels: np.ndarray,
    slots: np.ndarray,
) -> Response:
    """Return the true response; arrays may have any shapes that fit together.

    Args:
        truth: constants.
        people: the population.
        copy: what is said.
        goods: of what.
        users: int64 rows of the population.
        channels: int64.
        slots: int64.
    """
    c, w = truth, people
    interest = w.interest[users, goods.field]
    sensitivity = w.price_sensitivity[users]
    swayed = (copy.principles * w.susceptibility[users]).sum(axis=-1)
    message = (
        c.relevance * copy.relevance
        + c.interest * interest * (0.5 + 0.5 * copy.relevance)
        + c.persuasion * swayed
        - c.pushing * copy.principles.sum(axis=-1)
        + c.price_talk * copy.price_talk * sensitivity
        + c.claim * copy.claims
    )
    style = (
        c.shouting * copy.shouting
        + c.heaviness * copy.heaviness
        + c.crowding * copy.crowding
        + c.length * _misfit(copy.words, channels)
        + c.fluency * (1 - copy.fluency)
    )
    habit = (
        c.channel * w.channel[users, channels]
        + c.slot * w.slot[users, slots]
        + _CHANNEL_SLOT[channels, slots]
    )
    click = c.base + goods.appeal + message - style + habit
    conversion = (
        c.conversion
        + 0.4 * copy.relevance
        + 0.25 * interest
        - c.claim_conversion * copy.claims
        - 0.25 * sensitivity * np.log(goods.price / 50.0)
    )
    leave = (
        w.patience[users]
        + np.array([0.0, 0.3, 0.6])[channels]
        + c.claim_unsubscribe * copy.claims
        + 0.5 * (copy.shouting + 1 - copy.fluency)
        - 0.3 * interest
    )
    spending = goods.price * np.exp(-0.1 * sensitivity)
    return Response(click, conversion, spending, leave)
