"""A CTR model in the place of a user model's answer to free text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from copygym.core.text.visible import is_blank
from copygym.envs.people.model import Response, UserModel


class CtrScorer(Protocol):
    """What is asked of a CTR model: a calibrated logit of a click for each text."""

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
        scores: (K,) float64 the model's logits of the catalogue's texts. With them a text is
            clicked as the table says of the creative that it replaces, for this user, channel and
            slot, plus the difference that the model sees between the two texts: a model of texts
            alone knows no users and no channels.
        profiles: hand the users' profile features to the model, which must have learned with them.
    """

    model: CtrScorer
    base: UserModel
    scores: np.ndarray | None = None
    profiles: bool = False

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
            click = click - self.scores[creatives] + base.click_logit[users, slots, actions]
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
    users' own tables; what its creatives differ in on average becomes the model's answer. Free
    text is then answered on the same scale: a text of the catalogue gets what its table says.
    """
    scores = np.asarray(model.score(list(users.catalogue.texts)), np.float64)
    # A creative whose text the log does not hold was not empty: its score is an average one's.
    unknown = np.array([is_blank(text) for text in users.catalogue.texts], dtype=bool)
    scores = np.where(unknown, scores[~unknown].mean() if not unknown.all() else 0.0, scores)
    tables = _with_scores(users, scores)
    return _answered(tables, CtrResponse(model, tables, scores=scores))


def _answered(users: UserModel, response: CtrResponse) -> UserModel:
    sentence = (
        "clicks on written copy are those of the CTR model; conversion, revenue and unsubscribe "
        "are those of the creative that it replaces."
    )
    return replace(users, copy_response=response, assumptions=(*users.assumptions, sentence))


def _with_scores(users: UserModel, scores: np.ndarray) -> UserModel:
    """Return ``users`` with the mean differences between a product's creatives from ``scores``."""
    catalogue = users.catalogue
    k, h, s = catalogue.n_creatives, catalogue.n_channels, catalogue.n_slots
    mean_SKH = users.click_logit[:, :, 1:].mean(axis=0, dtype=np.float64).reshape(s, k, h)
    _, product_K = np.unique(np.array(catalogue.product_ids), return_inverse=True)
    same = product_K[:, None] == product_K[None, :]
    # A product that the log never sent has no shares of its own.
    sent = same * np.maximum(catalogue.popularity, 1e-12)[None, :]
    share_KK = sent / sent.sum(axis=1, keepdims=True)
    of_model = (scores - share_KK @ scores)[None, :, None]
    of_table = mean_SKH - np.einsum("kj,sjh->skh", share_KK, mean_SKH)
    shift = np.zeros((s, 1 + k * h), np.float32)
    shift[:, 1:] = (of_model - of_table).reshape(s, k * h)
    return replace(users, click_logit=users.click_logit + shift)
