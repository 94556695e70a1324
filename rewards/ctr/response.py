"""A CTR model in the place of a user model's answer to free text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.visible import is_blank
from copygym.envs.people.model import Response, UserModel
from copygym.rewards.ctr.readers import reads_readers


class CtrScorer(Protocol):
    """What is asked of a CTR model: a calibrated logit of a click for each text.

    One that has learned which text suits which reader says so by ``reads_readers`` and answers all
    readers at once by ``table`` (see `CtrModel`).
    """

    def score(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 click logits of N texts, for profiles (N, P) where it knows them."""
        ...


@dataclass(frozen=True)
class CtrResponse:
    """Answers free text with a CTR model: a `CopyResponse`.

    The click logit is the model's. Conversion, revenue and unsubscribe are those of the catalogue
    creative that the text replaces, for the same user and channel: clicks say nothing of them.

    Args:
        model: a CTR model.
        base: users whose tables give the rest.
        scores: (K,) float64 the model's logits of the catalogue's texts, or (U, K) for each user.
            With them a text is clicked as the table says of the creative that it replaces, for
            this user, channel and slot, plus the difference that the model sees between the two
            texts: a model of texts knows no channels, and little of who clicks often.
        profiles: hand the users' profile features to the model, which must have learned with them.

    Raises:
        UserError: ``profiles`` and a model that answers for all readers alike.
    """

    model: CtrScorer
    base: UserModel
    scores: np.ndarray | None = None
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
        known: dict[str, Any] = {"profiles": base.profiles.features[users]} if self.profiles else {}
        click = np.asarray(self.model.score(list(texts), **known), np.float64)
        if self.scores is not None:
            place = creatives if self.scores.ndim == 1 else (users, creatives)
            click = click - self.scores[place] + base.click_logit[users, slots, actions]
        return Response(
            click,
            base.conversion_logit[users, actions].astype(np.float64),
            base.expected_revenue[users, actions].astype(np.float64),
            base.unsubscribe_offset[users, actions].astype(np.float64),
        )


def answered_by(users: UserModel, model: CtrScorer, *, profiles: bool = False) -> UserModel:
    """Return ``users`` whose free text is answered by a CTR model alone; see `CtrResponse`."""
    return _answered(users, CtrResponse(model, users, profiles=profiles))


def texts_answered_by(users: UserModel, model: CtrScorer) -> UserModel:
    """Return ``users`` to whom a CTR model says how the texts of one product differ.

    How often a product is clicked, by whom, on which channel and in which slot stays with the
    users' own tables. What its creatives differ in on average becomes the model's answer, and by
    reader too where the model reads them: it has shown on other readers that it knows, and the
    tables' own differences by reader would count the same clicks twice. Free text is then answered
    on the same scale: a text of the catalogue gets what its table says.
    """
    texts = list(users.catalogue.texts)
    by_reader = reads_readers(model)
    if by_reader:
        scores = np.asarray(model.table(texts, users.profiles.features))  # type: ignore[attr-defined]
    else:
        scores = np.asarray(model.score(texts), np.float64)
    # A creative whose text the log does not hold was not empty: its score is an average one's.
    unknown = np.array([is_blank(text) for text in texts], dtype=bool)
    mean = scores[..., ~unknown].mean(axis=-1, keepdims=True) if not unknown.all() else 0.0
    scores = np.where(unknown, mean, scores)
    tables = _with_scores(users, scores)
    return _answered(tables, CtrResponse(model, tables, scores=scores, profiles=by_reader))


def _answered(users: UserModel, response: CtrResponse) -> UserModel:
    whose = ", who reads it included" if response.profiles else ""
    sentence = (
        f"clicks on written copy are those of the CTR model{whose}; conversion, revenue and "
        "unsubscribe are those of the creative that it replaces."
    )
    return replace(users, copy_response=response, assumptions=(*users.assumptions, sentence))


def _with_scores(users: UserModel, scores: np.ndarray) -> UserModel:
    """Return ``users`` with differences between a product's creatives from ``scores``.

    Args:
        users: U people.
        scores: (K,) the mean differences are replaced; (U, K) those of each user are.
    """
    catalogue = users.catalogue
    k, h, s = catalogue.n_creatives, catalogue.n_channels, catalogue.n_slots
    _, product_K = np.unique(np.array(catalogue.product_ids), return_inverse=True)
    # A product that the log never sent has no shares of its own.
    sent = np.maximum(catalogue.popularity, 1e-12)
    click = users.click_logit.copy()
    table_USKH = click[:, :, 1:].reshape(len(click), s, k, h)
    for product in range(int(product_K.max()) + 1):
        own = np.flatnonzero(product_K == product)
        share = sent[own] / sent[own].sum()
        of_model = scores[..., own] - (scores[..., own] @ share)[..., None]
        of_users = table_USKH[:, :, own]
        if scores.ndim == 1:
            mean_SKH = of_users.mean(axis=0, dtype=np.float64)
            shift = of_model[None, :, None] - _apart(mean_SKH, share)
        else:
            shift = of_model[:, None, :, None] - _apart(of_users, share)
        table_USKH[:, :, own] = of_users + shift.astype(np.float32)
    click[:, :, 1:] = table_USKH.reshape(len(click), s, k * h)
    return replace(users, click_logit=click)


def _apart(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return ``values`` (..., K, H) less their mean over the K creatives with weights (K,)."""
    mean = np.einsum("k,...kh->...h", share, values)
    return np.asarray(values - mean[..., None, :])
