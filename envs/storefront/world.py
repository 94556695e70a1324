"""The storefront: an embedded synthetic world whose truth is known, so that claims can be judged.

It is made up. Its sizes were chosen so that the questions of the field have an answer here:
personalisation pays, repetition and fatigue cost, and a human-made logging policy is mediocre.
Nothing here was measured on people.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.dynamics import Dynamics, Tastes
from copygym.envs.people.model import Response, UserModel
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.envs.storefront.copy import FIELDS, Product
from copygym.envs.storefront.people import (
    CHANNELS,
    DEMOGRAPHICS,
    SLOTS,
    draw_people,
    generator,
    group_effects,
)
from copygym.envs.storefront.shelf import CATALOGUES, LAUNCHES, SMALL, make_shelf
from copygym.envs.storefront.truth import Columns, Goods, Truth, columns, respond

COST_PER_SEND = np.array([0.01, 0.02, 0.15])

ASSUMPTION = (
    "storefront is synthetic: users, responses, fatigue and unsubscribes are made up by a "
    "documented rule, not measured."
)


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

        base + appeal[i] + interest[u, f] * (0.5 + 0.5 rel) + a * rel
        + p . susceptibility[u] - crowding + talk * price_sensitivity[u] + claims
        - noise - shouting - heaviness - length misfit[h]
        + channel habit[u, h] + slot habit[u, s] + channel-slot table[h, s]

    with the features of `copy_features` (all bounded). Unsupported claims lower conversions and
    raise unsubscribes; in the small catalogue they raise clicks, in the large one they lower them,
    as do claims that bind a true fact to the wrong thing (`read_copy`). Fatigue, repetition and
    drift come on top (`DYNAMICS`).

    Args:
        seed: everything is derived from it.
        n_users: size of the population.
        truth: constants of the response; None: those of the catalogue.
        dynamics: state transition.
        n_variants: copies a product beyond its three creatives (`variants`), for copywriters to
            learn from; the first 24 creatives stay what they are. Of the small catalogue alone.
        favourites: how much more the marketer sends what she likes: above 1 the logits of her
            favourites are multiplied by it, and what is spread evenly over all sends is divided
            by it, so that more creatives are rare.
        trend: standard deviation, logit, of a step per slot by which everybody's interest in a
            field drifts together in the log, on top of each person's own drift and with its
            persistence. 0: tastes of the population do not walk.
        tastes: how else they move together: in seasons, or all at once.
        catalogue: "small" has eight products, each with three creatives, and is the same in all
            worlds. "large" has other products in each world (`make_products`), three to five
            copies each (`copies`), a truth that reads what a text claims (`read_copy`) and
            `launches`; "launches" is what those sell.
        products_per_field: of the large catalogue, in the log.
        launches_per_field: products beside them that the log never sends.
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
        catalogue: str = SMALL,
        products_per_field: int = 6,
        launches_per_field: int = 1,
        tastes: Tastes = Tastes(),  # noqa: B008 - frozen
    ) -> None:
        _check(
            n_users=(n_users, 1),
            n_variants=(n_variants, 0),
            products_per_field=(products_per_field, 1),
            launches_per_field=(launches_per_field, 0 if catalogue != LAUNCHES else 1),
        )
        if not 1 <= favourites < np.inf:
            raise UserError(f"storefront: favourites is {favourites}; it must be at least 1.")
        if not 0 <= trend < np.inf:
            raise UserError(f"storefront: trend is {trend}; it must be at least 0.")
        if catalogue not in CATALOGUES:
            raise unknown_name("catalogue of storefront", str(catalogue), list(CATALOGUES))
        if n_variants and catalogue != SMALL:
            raise UserError(
                f"storefront: n_variants is {n_variants}, and the {catalogue} catalogue has copies "
                "enough of its own; set n_variants=0, or catalogue=small."
            )
        self.seed, self.n_users = seed, n_users
        self.favourites, self.trend, self.tastes = favourites, trend, tastes
        self.dynamics = dynamics
        self._sizes = (products_per_field, launches_per_field)
        self.shelf = make_shelf(catalogue, seed, n_variants, *self._sizes)
        self.products: tuple[Product, ...] = self.shelf.products
        self.truth = self.shelf.truth if truth is None else truth
        self.people = draw_people(seed, n_users)
        self.user_ids = self.people.demographics["user_id"].to_numpy().astype(np.str_)

    @cached_property
    def launches(self) -> StorefrontWorld:
        """The same people, and products that this world's log never sends, one copy each.

        The copy is the marketer's default (`default_copy`), for new copy to be measured against.

        Raises:
            UserError: the catalogue is small, or `launches_per_field` is 0.
        """
        if self.shelf.catalogue == SMALL:
            raise UserError(
                "storefront: the small catalogue has no launches; choose catalogue=large."
            )
        per_field, launches = self._sizes
        return StorefrontWorld(
            self.seed,
            self.n_users,
            self.truth,
            self.dynamics,
            favourites=self.favourites,
            trend=self.trend,
            catalogue=LAUNCHES,
            products_per_field=per_field,
            launches_per_field=launches,
            tastes=self.tastes,
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The creatives of the shelf, 3 channels, 4 slots; popularity is the marketer's."""
        return Catalogue(
            creative_ids=self.shelf.names,
            texts=self.shelf.texts,
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
        read = self.shelf.read
        copy = columns([read(t, p) for t, p in zip(texts, products, strict=True)])
        return self._respond(copy, np.asarray(creatives), users, channels, slots)

    def _respond(
        self,
        copy: Columns,
        creatives: np.ndarray,
        users: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        goods = Goods(*(column[creatives] for column in self._goods))
        return respond(self.truth, self.people, copy, goods, users, channels, slots)

    @cached_property
    def _goods(self) -> Goods:
        """(K,) what each creative is of."""
        return Goods(
            np.array([FIELDS.index(p.field) for p in self.products], dtype=np.int64),
            np.array([p.price for p in self.products]),
            np.array([p.appeal for p in self.products]),
        )

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
                columns([self.shelf.read(catalogue.texts[k], product)]),
                np.array([k]),
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


def _check(**values: tuple[int, int]) -> None:
    """Refuse an option below its least value; ``values`` are (value, least)."""
    for name, (value, least) in values.items():
        if value < least:
            raise UserError(f"storefront: {name} is {value}; it must be at least {least}.")


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
