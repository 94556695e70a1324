"""A CTR model in the place of a user model's answer to free text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.visible import is_blank
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.model import Response, UserModel
from copygym.rewards.ctr.readers import reads_readers

#: Readers whose tastes tell how far readers differ on a text.
_READERS = 2000


class CtrScorer(Protocol):
    """What is asked of a CTR model: a calibrated logit of a click for each text.

    One that has learned which text suits which reader says so by ``reads_readers`` and answers all
    readers at once by ``table`` (see `CtrModel`).
    """

    def score(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 click logits of N texts, for profiles (N, P) where it knows them."""
        ...


@dataclass(frozen=True)
class Beside:
    """What a CTR model says of a text beside the others of its product, for each reader.

    Three things make of a score what a campaign may count on:

    - the difference is to the product's copies as they were sent, so that all of them together
      are clicked as often as they were;
    - a text's score over all readers is a rate of clicks. Likes and dislikes of single readers
      raise it by half their variance, which is taken off, or a text on which tastes differ would
      be counted twice (for rare clicks, log E exp(x) is half the variance of x);
    - of a text that was never sent, `caution` standard deviations of what the members of a
      committee say of it are taken off: a campaign takes what is best of many, and of many guesses
      the best is the one that is wrong in its favour (Smith and Winkler 2006, "The optimizer's
      curse").

    Args:
        model: a CTR model.
        catalogue: what was sent.
        features: (U, P) profile features for a model that reads readers, else None.
        caution: 0 takes the model at its word.
    """

    model: CtrScorer
    catalogue: Catalogue
    features: np.ndarray | None = None
    caution: float = 0.0

    @cached_property
    def own(self) -> np.ndarray:
        """(U, K) float64 differences of the catalogue's texts, or (1, K) for all readers alike."""
        return np.asarray(self._apart - self._spread(self._apart) + self._usual[self._product])

    def of(self, texts: Sequence[str], users: np.ndarray, creatives: np.ndarray) -> np.ndarray:
        """Return (N,) float64 differences of N texts in the place of N creatives, to N readers."""
        product = self._product[creatives]
        known: dict[str, Any] = {}
        if self.features is not None:
            known = {"profiles": self.features[users]}
        value = np.asarray(self.model.score(list(texts), **known), np.float64)
        value = value - self._reference[users if self.features is not None else 0, product]
        pairs = list(zip(texts, product.tolist(), strict=True))
        once = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        back = np.array([once[pair] for pair in pairs], np.int64)
        return np.asarray(value - self._taken_off(list(once))[back])

    def share_of(self, creatives: np.ndarray) -> np.ndarray:
        """Return (N, K) what each of the catalogue had of the sends of N creatives' products."""
        return np.asarray(self._share.T[self._product[creatives]])

    def _taken_off(self, pairs: list[tuple[str, int]]) -> np.ndarray:
        """Return (n,) float64 of n texts and their products."""
        texts = [text for text, _ in pairs]
        product = np.array([p for _, p in pairs], np.int64)
        off = np.zeros(len(pairs))
        if self.features is not None:
            rows = self._some
            table = self.model.table(texts, self.features[rows])  # type: ignore[attr-defined]
            off += self._spread(table - self._reference[rows][:, product]) - self._usual[product]
        new = np.array([pair not in self._sent for pair in pairs], bool)
        if self.caution and new.any() and hasattr(self.model, "member_scores"):
            scores = self.model.member_scores(
                [text for text, one in zip(texts, new, strict=True) if one]
            )
            off[new] += self.caution * (scores - self._members[:, product[new]]).std(axis=0)
        return off

    @cached_property
    def _product(self) -> np.ndarray:
        return np.unique(np.array(self.catalogue.product_ids), return_inverse=True)[1]

    @cached_property
    def _sent(self) -> set[tuple[str, int]]:
        return set(zip(self.catalogue.texts, self._product.tolist(), strict=True))

    @cached_property
    def _share(self) -> np.ndarray:
        """(K, products) share of a product's sends that each creative had."""
        # A product that the log never sent has no shares of its own.
        sent = np.maximum(self.catalogue.popularity, 1e-12)
        share = np.zeros((len(sent), int(self._product.max()) + 1))
        share[np.arange(len(sent)), self._product] = sent
        return np.asarray(share / share.sum(axis=0))

    @cached_property
    def _catalogue_scores(self) -> np.ndarray:
        texts = list(self.catalogue.texts)
        if self.features is None:
            scores = np.asarray(self.model.score(texts), np.float64)[None]
        else:
            scores = np.asarray(self.model.table(texts, self.features))  # type: ignore[attr-defined]
        return self._seen(scores)

    def _seen(self, scores: np.ndarray) -> np.ndarray:
        # A creative whose text the log does not hold was not empty: its score is an average one's.
        unknown = np.array([is_blank(text) for text in self.catalogue.texts], dtype=bool)
        mean = scores[..., ~unknown].mean(axis=-1, keepdims=True) if not unknown.all() else 0.0
        return np.where(unknown, mean, scores)

    @cached_property
    def _reference(self) -> np.ndarray:
        """(U, products) the mean score of what was sent of each product; (1, products)."""
        return np.asarray(self._catalogue_scores @ self._share)

    @cached_property
    def _apart(self) -> np.ndarray:
        """(U, K) scores less their product's mean; (1, K)."""
        return np.asarray(self._catalogue_scores - self._reference[:, self._product])

    @cached_property
    def _usual(self) -> np.ndarray:
        """(products,) what is taken off the copies of a product for their readers' tastes."""
        return np.asarray(self._spread(self._apart) @ self._share)

    @cached_property
    def _members(self) -> np.ndarray:
        """(M, products) the same of each member of a committee, for the average reader."""
        scores = self.model.member_scores(list(self.catalogue.texts))  # type: ignore[attr-defined]
        return np.asarray(self._seen(scores) @ self._share)

    @cached_property
    def _some(self) -> np.ndarray:
        """Readers whose tastes stand for all."""
        assert self.features is not None
        return np.unique(np.linspace(0, len(self.features) - 1, _READERS).astype(np.int64))

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Return (n,) half the variance over readers of ``values`` (U, n)."""
        rows = self._some if len(values) > _READERS else slice(None)
        return np.asarray(0.5 * values[rows].var(axis=0))


@dataclass(frozen=True)
class CtrResponse:
    """Answers free text with a CTR model: a `CopyResponse`.

    The click logit is the model's. Conversion, revenue and unsubscribe are those of the catalogue
    creative that the text replaces, for the same user and channel: clicks say nothing of them.
    Where the text stands ``beside`` the product's others, they are the mean of these.

    Args:
        model: a CTR model.
        base: users whose tables give the rest.
        beside: with it a text is clicked as the table says of the creative that it replaces, for
            this user, channel and slot, plus the difference between the two texts: a model of texts
            knows no channels, and little of who clicks often.
        profiles: hand the users' profile features to the model, which must have learned with them.

    Raises:
        UserError: ``profiles`` and a model that answers for all readers alike.
    """

    model: CtrScorer
    base: UserModel
    beside: Beside | None = None
    profiles: bool = False

    def __post_init__(self) -> None:
        if self.profiles and not reads_readers(self.model):
            raise UserError(
                "profiles: true, but the CTR model has learned no readers and answers for all of "
                "them alike: leave profiles out, or train it on a log that tells readers apart."
            )

    def __call__(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Score N texts; see `CopyResponse`."""
        base = self.base
        actions = 1 + creatives * base.catalogue.n_channels + channels
        if self.beside is None:
            known: dict[str, Any] = {}
            if self.profiles:
                known = {"profiles": base.profiles.features[users]}
            click = np.asarray(self.model.score(list(texts), **known), np.float64)
        else:
            own = self.beside.own[users if self.profiles else 0, creatives]
            click = self.beside.of(texts, users, creatives) - own
            click = click + base.click_logit[users, slots, actions]
        tables = (base.conversion_logit, base.expected_revenue, base.unsubscribe_offset)
        if self.beside is None:
            rest = [table[users, actions].astype(np.float64) for table in tables]
        else:
            share = self.beside.share_of(creatives)
            every = 1 + np.arange(base.catalogue.n_creatives) * base.catalogue.n_channels
            own = users[:, None], every + channels[:, None]
            rest = [(table[own] * share).sum(axis=1) for table in tables]
        return Response(click, *rest)


def answered_by(users: UserModel, model: CtrScorer, *, profiles: bool = False) -> UserModel:
    """Return ``users`` whose free text is answered by a CTR model alone; see `CtrResponse`."""
    return _answered(users, CtrResponse(model, users, profiles=profiles))


def texts_answered_by(users: UserModel, model: CtrScorer, *, caution: float = 0.0) -> UserModel:
    """Return ``users`` to whom a CTR model says how the texts of one product differ.

    How often a product is clicked, by whom, on which channel and in which slot stays with the
    users' own tables. What its creatives differ in on average becomes the model's answer, and by
    reader too where the model reads them: it has shown on other readers that it knows, and the
    tables' own differences by reader would count the same clicks twice. Free text is then answered
    on the same scale (`Beside`): a text of the catalogue gets what its table says.

    Args:
        users: with tables of their own.
        model: a CTR model.
        caution: standard deviations that are taken off what a committee says of a text which was
            never sent.
    """
    by_reader = reads_readers(model)
    features = users.profiles.features if by_reader else None
    beside = Beside(model, users.catalogue, features, caution)
    tables = _with_differences(users, beside.own)
    return _answered(tables, CtrResponse(model, tables, beside, profiles=by_reader))


def _answered(users: UserModel, response: CtrResponse) -> UserModel:
    whose = ", who reads it included" if response.profiles else ""
    sentence = (
        f"clicks on written copy are those of the CTR model{whose}; conversion, revenue and "
        "unsubscribe are those of the creative that it replaces."
    )
    assumptions = tuple(dict.fromkeys((*users.assumptions, sentence)))
    return replace(users, copy_response=response, assumptions=assumptions)


def _with_differences(users: UserModel, own: np.ndarray) -> UserModel:
    """Return ``users`` with differences between a product's creatives from ``own``.

    Args:
        users: U people.
        own: (1, K) the mean differences are replaced; (U, K) those of each user are.
    """
    catalogue = users.catalogue
    k, h, s = catalogue.n_creatives, catalogue.n_channels, catalogue.n_slots
    _, product_K = np.unique(np.array(catalogue.product_ids), return_inverse=True)
    # A product that the log never sent has no shares of its own.
    sent = np.maximum(catalogue.popularity, 1e-12)
    click = users.click_logit.copy()
    table_USKH = click[:, :, 1:].reshape(len(click), s, k, h)
    for product in range(int(product_K.max()) + 1):
        mine = np.flatnonzero(product_K == product)
        share = sent[mine] / sent[mine].sum()
        of_users = table_USKH[:, :, mine]
        apart = of_users if len(own) > 1 else of_users.mean(axis=0, dtype=np.float64)
        shift = own[:, None, mine, None] - _apart(apart, share)
        table_USKH[:, :, mine] = of_users + shift.astype(np.float32)
    click[:, :, 1:] = table_USKH.reshape(len(click), s, k * h)
    return replace(users, click_logit=click)


def _apart(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return ``values`` (..., K, H) less their mean over the K creatives with weights (K,)."""
    mean = np.einsum("k,...kh->...h", share, values)
    return np.asarray(values - mean[..., None, :])
