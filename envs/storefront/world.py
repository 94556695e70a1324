"""The storefront: an embedded synthetic world whose truth is known, so that claims can be judged.

It is made up. Its sizes were chosen so that the questions of the field have an answer here:
personalisation pays, repetition and fatigue cost, and a human-made logging policy is mediocre.
Nothing here was measured on people.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.people.model import Response, UserModel
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.envs.storefront.copy import FIELDS, PRINCIPLES, PRODUCTS, Product
from copygym.envs.storefront.features import CopyFeatures, copy_features
from copygym.envs.storefront.people import (
    CHANNELS,
    DEMOGRAPHICS,
    SLOTS,
    draw_people,
    generator,
    group_effects,
)
from copygym.envs.storefront.variants import variants

COST_PER_SEND = np.array([0.01, 0.02, 0.15])

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

ASSUMPTION = (
    "storefront is synthetic: users, responses, fatigue and unsubscribes are made up by a "
    "documented rule, not measured."
)


@dataclass(frozen=True)
class Truth:
    """Constants of the response, click logit unless said otherwise."""

    base: float = -3.8
    interest: float = 1.0  #: per standard deviation of a user's interest in the field
    relevance: float = 1.0  #: from no fact told to all
    persuasion: float = 0.8  #: per unit of susceptibility, principle present
    crowding: float = 0.35  #: loss per principle beyond the second
    price_talk: float = 0.3  #: per standard deviation of price sensitivity
    claim: float = 0.15  #: gain per unsupported claim, up to three
    fluency: float = 7.0  #: loss of a text that reads like noise
    shouting: float = 1.0
    heaviness: float = 0.5
    length: float = 1.2  #: loss per log-ratio of words outside what the channel carries
    channel: float = 0.5  #: per standard deviation of channel habit
    slot: float = 0.45  #: per standard deviation of slot habit
    conversion: float = -2.5  #: conversion logit given a click
    claim_conversion: float = 0.6  #: loss of conversion logit per unsupported claim
    claim_unsubscribe: float = 0.45  #: rise of unsubscribe logit per unsupported claim


DYNAMICS = Dynamics(
    fatigue_decay=0.8,
    fatigue_click=0.48,
    repetition_click=0.13,
    drift_persistence=0.97,
    drift_step=0.06,
    drift_click=0.05,
    unsubscribe_logit=-6.0,
    unsubscribe_fatigue=0.45,
    assumed=("all of them: storefront is synthetic",),
)


class StorefrontWorld:
    """A synthetic population with a known response to any text.

    The click logit of user u for a text x about product i (field f) on channel h in slot s is

        base + appeal[f] + interest[u, f] * (0.5 + 0.5 rel) + a * rel
        + p . susceptibility[u] - crowding + talk * price_sensitivity[u] + claims
        - noise - shouting - heaviness - length misfit[h]
        + channel habit[u, h] + slot habit[u, s] + channel-slot table[h, s]

    with the features of `copy_features` (all bounded). Unsupported claims raise clicks, lower
    conversions and raise unsubscribes. Fatigue, repetition and drift come on top (`DYNAMICS`).

    Args:
        seed: everything is derived from it.
        n_users: size of the population.
        truth: constants of the response.
        dynamics: state transition.
        n_variants: copies a product beyond its three creatives (`variants`), for copywriters to
            learn from; the first 24 creatives stay what they are.
        favourites: how much more the marketer sends what she likes: above 1 the logits of her
            favourites are multiplied by it, and what is spread evenly over all sends is divided
            by it, so that more creatives are rare.
        trend: standard deviation, logit, of a step per slot by which everybody's interest in a
            field drifts together in the log, on top of each person's own drift and with its
            persistence. 0: tastes of the population stand still.
    """

    def __init__(
        self,
        seed: int = 0,
        n_users: int = 3000,
        truth: Truth | None = None,
        dynamics: Dynamics = DYNAMICS,
        n_variants: int = 0,
        favourites: float = 1.0,
        trend: float = 0.0,
    ) -> None:
        for name, value, least in (("n_users", n_users, 1), ("n_variants", n_variants, 0)):
            if value < least:
                raise UserError(f"storefront: {name} is {value}; it must be at least {least}.")
        if not 1 <= favourites < np.inf:
            raise UserError(f"storefront: favourites is {favourites}; it must be at least 1.")
        if not 0 <= trend < np.inf:
            raise UserError(f"storefront: trend is {trend}; it must be at least 0.")
        self.seed, self.n_users = seed, n_users
        self.favourites, self.trend = favourites, trend
        self.truth = Truth() if truth is None else truth
        self.dynamics = dynamics
        written = [(p, f"{i}", t) for p in PRODUCTS for i, t in enumerate(p.creatives, 1)]
        written += [
            (p, f"v{i}", t)
            for p in PRODUCTS
            for i, t in enumerate(variants(p, n_variants, seed), 1)
        ]
        self.products: tuple[Product, ...] = tuple(product for product, _, _ in written)
        self._names = tuple(f"{product.product_id}-{label}" for product, label, _ in written)
        self._texts = tuple(text for _, _, text in written)
        self.people = draw_people(seed, n_users)
        self.user_ids = self.people.demographics["user_id"].to_numpy().astype(np.str_)

    @cached_property
    def catalogue(self) -> Catalogue:
        """24 creatives and the variants, 3 channels, 4 slots; popularity is the marketer's."""
        return Catalogue(
            creative_ids=self._names,
            texts=self._texts,
            product_ids=tuple(p.product_id for p in self.products),
            topics=FIELDS,
            topic_of_creative=np.array([FIELDS.index(p.field) for p in self.products]),
            channels=CHANNELS,
            slots=SLOTS,
            cost_per_send=COST_PER_SEND,
            popularity=_softmax(self._belief, axis=0),
            briefs=tuple(p.brief for p in self.products),
        )

    @cached_property
    def _belief(self) -> np.ndarray:
        """(K,) the marketer's favourites: a weak and noisy idea of what people like."""
        noise = generator(self.seed, "belief").normal(0.0, 0.5, len(self.products))
        return self.favourites * (noise + np.array([p.appeal for p in self.products]))

    # ---------------------------------------------------------------- the truth

    def response_to_text(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Return the true response to N texts, whether or not they are in the catalogue.

        Args:
            texts: N copies.
            users: (N,) int64 rows of the population.
            creatives: (N,) int64 catalogue creatives whose product the texts are for.
            channels: (N,) int64.
            slots: (N,) int64.
        """
        products = [self.products[k] for k in creatives]
        table = _columns([copy_features(t, p) for t, p in zip(texts, products, strict=True)])
        field = np.array([FIELDS.index(p.field) for p in products], dtype=np.int64)
        return self._respond(table, field, users, channels, slots)

    def _respond(
        self,
        copy: _Columns,
        field: np.ndarray,
        users: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Return the true response; the arguments may have any shapes that fit together."""
        c, w = self.truth, self.people
        interest = w.interest[users, field]
        sensitivity = w.price_sensitivity[users]
        price = np.array([p.price for p in PRODUCTS])[field]
        appeal = np.array([p.appeal for p in PRODUCTS])[field]
        swayed = (copy.principles * w.susceptibility[users]).sum(axis=-1)
        message = (
            c.relevance * copy.relevance
            + c.interest * interest * (0.5 + 0.5 * copy.relevance)
            + c.persuasion * swayed
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
        click = c.base + appeal + message - style + habit
        conversion = (
            c.conversion
            + 0.4 * copy.relevance
            + 0.25 * interest
            - c.claim_conversion * copy.claims
            - 0.25 * sensitivity * np.log(price / 50.0)
        )
        leave = (
            w.patience[users]
            + np.array([0.0, 0.3, 0.6])[channels]
            + c.claim_unsubscribe * copy.claims
            + 0.5 * (copy.shouting + 1 - copy.fluency)
            - 0.3 * interest
        )
        spending = price * np.exp(-0.1 * sensitivity)
        return Response(click, conversion, spending, leave)

    def user_model(
        self, profiles: Profiles | None = None, users: np.ndarray | None = None
    ) -> UserModel:
        """Return the gold simulated users: their response is the truth.

        Args:
            profiles: who, and what an agent may see of them; their ids must be of this world.
                None: profiles of demographics alone.
            users: (M,) rows of the population, where ``profiles`` is None; None is everybody.
        """
        if profiles is None:
            rows = np.arange(self.n_users) if users is None else np.asarray(users)
            people = self.people.demographics[rows]
            builder = _demographic_builder(self.people.demographics)
            profiles = builder.cold_start(people)
        rows = self.rows_of(profiles.user_ids)
        catalogue = self.catalogue
        shape = (len(rows), catalogue.n_slots, catalogue.n_actions)
        click = np.full(shape, -np.inf, dtype=np.float32)
        conversion, revenue, leave = (np.zeros(shape[::2], np.float32) for _ in range(3))
        slots = np.arange(catalogue.n_slots)
        for k, product in enumerate(self.products):
            actions = np.flatnonzero(catalogue.creative_of_action == k)
            # (M, H, S), where an axis along which nothing changes has length 1.
            response = self._respond(
                _columns([copy_features(catalogue.texts[k], product)]),
                np.array([FIELDS.index(product.field)]),
                rows[:, None, None],
                catalogue.channel_of_action[actions][:, None],
                slots,
            )
            click[:, :, actions] = response.click_logit.swapaxes(1, 2)
            conversion[:, actions] = response.conversion_logit[:, :, 0]
            revenue[:, actions] = response.expected_revenue[:, :, 0]
            leave[:, actions] = response.unsubscribe_logit[:, :, 0]
        return UserModel(
            catalogue=catalogue,
            profiles=profiles,
            click_logit=click,
            conversion_logit=conversion,
            expected_revenue=revenue,
            unsubscribe_offset=leave,
            dynamics=self.dynamics,
            logging_policy=self.logging_policy(rows),
            copy_response=_CopyTruth(self, rows),
            assumptions=(ASSUMPTION,),
            synthetic=True,
            name="storefront (synthetic, gold)",
        )

    def rows_of(self, user_ids: np.ndarray) -> np.ndarray:
        """Return (M,) int64 rows of the population; an id of another world is refused."""
        order = np.argsort(self.user_ids)
        place = np.searchsorted(self.user_ids, user_ids, sorter=order)
        rows = order[np.minimum(place, self.n_users - 1)]
        strange = self.user_ids[rows] != user_ids
        if strange.any():
            raise UserError(
                f"storefront: user '{np.asarray(user_ids)[strange][0]}' is not one of the "
                f"{self.n_users} users of world seed={self.seed}; use the seed and n_users that "
                "the log was written with."
            )
        return rows.astype(np.int64)

    # ---------------------------------------------------------------- logging policy

    def logging_policy(self, rows: np.ndarray) -> np.ndarray:
        """Return the marketer's probabilities (M, S, A) float64; rows sum to 1.

        Sends in about a third of the slots. Which creative: her favourites, nudged by a rule of
        thumb on who likes what (age and income only) and by habits of channel and time of day.
        A share of ``72 * 0.002 / favourites`` is spread evenly, so that every send can be learned
        from.
        """
        catalogue = self.catalogue
        floor = 0.002 * (72 / (catalogue.n_actions - 1)) / self.favourites
        guess = 0.45 * _rule_of_thumb(self.people.demographics)[rows]  # (M, F)
        creative = self._belief + guess[:, catalogue.topic_of_creative]  # (M, K)
        habit = np.array([[0.9, 0.5, -0.2, -0.8], [-0.4, 0.3, 0.6, 0.2], [-1.2, -0.6, -0.5, -1.5]])
        score = creative[:, None, :, None] + habit.T[None, :, None, :]  # (M, S, K, H)
        sends = score.reshape(len(rows), catalogue.n_slots, -1)
        share = np.array([0.32, 0.22, 0.32, 0.08])[None, :, None]
        out = np.empty((len(rows), catalogue.n_slots, catalogue.n_actions))
        out[:, :, 1:] = share * _softmax(sends, axis=-1) + floor
        out[:, :, 0] = 1.0 - out[:, :, 1:].sum(axis=-1)
        return out


class _CopyTruth:
    """`CopyResponse` of the world for the users of one user model."""

    def __init__(self, world: StorefrontWorld, rows: np.ndarray) -> None:
        self.world, self.rows = world, rows

    def __call__(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        return self.world.response_to_text(texts, self.rows[users], creatives, channels, slots)


@dataclass(frozen=True)
class _Columns:
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


def _columns(features: list[CopyFeatures]) -> _Columns:
    scalars = {
        name: np.array([getattr(f, name) for f in features], dtype=np.float64)
        for name in CopyFeatures._fields
        if name != "principles"
    }
    principles = np.array([f.principles for f in features]).reshape(-1, len(PRINCIPLES))
    used = (principles > 0).sum(axis=1)
    # More principles than two get in each other's way: the same persuasion is shared out.
    principles = principles * np.minimum(1.0, 2.0 / np.maximum(used, 1))[:, None]
    return _Columns(principles=principles, crowding=np.maximum(used - 2.0, 0.0), **scalars)


def _misfit(words: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return (N,) log-ratio of the words to what the channel carries, 0 inside its range."""
    low, high = np.array([_FITTING_WORDS[name] for name in CHANNELS]).T
    count = np.maximum(words, 1.0)
    over = np.log(count / high[channels])
    under = np.log(low[channels] / count)
    return np.minimum(np.maximum(np.maximum(over, under), 0.0), 2.0)


def _rule_of_thumb(demographics: pl.DataFrame) -> np.ndarray:
    """Return (U, F) what the marketer thinks that an age band or income likes: half right."""
    guess = generator(0, "rule of thumb")
    right = group_effects(
        demographics.with_columns(
            pl.lit("north").alias("user_region"), pl.lit("android").alias("user_device")
        ),
        "interest",
        len(FIELDS),
    )
    bands = list(DEMOGRAPHICS["user_age_band"])
    wrong = guess.standard_normal((len(bands), len(FIELDS)))
    index = [bands.index(band) for band in demographics["user_age_band"]]
    return 0.5 * right + wrong[index]


def _demographic_builder(demographics: pl.DataFrame) -> ProfileBuilder:
    from copygym.envs.logs.clicklog import ClickLog

    frame = demographics.with_columns(impressions=pl.lit(1), clicks=pl.lit(0))
    log = ClickLog.from_frame(frame, name="storefront", synthetic=True)
    return ProfileBuilder(history=False).fit(log)


# -------------------------------------------------------------------- helpers


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@lru_cache(maxsize=1)
def default_users() -> UserModel:
    """Return 256 gold users with demographic profiles, made once per process (synthetic)."""
    return StorefrontWorld(seed=0, n_users=256).user_model()
