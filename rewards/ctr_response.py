"""A CTR model in the place of a user model's answer to free text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from copygym.envs.users import Response, UserModel


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
        per_user: add how much more or less than the average user this user's table says of the
            replaced creative on this channel in this slot; a model of texts alone knows no users.
        profiles: hand the users' profile features to the model, which must have learned with them.
    """

    model: CtrScorer
    base: UserModel
    per_user: bool = False
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
        if self.per_user:
            click = click + self._offset(users, slots, actions)
        return Response(
            click,
            base.conversion_logit[users, actions].astype(np.float64),
            base.expected_revenue[users, actions].astype(np.float64),
            base.unsubscribe_offset[users, actions].astype(np.float64),
        )

    def _offset(self, users: np.ndarray, slots: np.ndarray, actions: np.ndarray) -> np.ndarray:
        table = self.base.click_logit
        cells, back = np.unique(np.stack([slots, actions]), axis=1, return_inverse=True)
        mean = table[:, cells[0], cells[1]].mean(axis=0, dtype=np.float64)
        return table[users, slots, actions] - mean[back.ravel()]


def answered_by(
    users: UserModel, model: CtrScorer, *, per_user: bool = False, profiles: bool = False
) -> UserModel:
    """Return ``users`` whose free text is answered by a CTR model; see `CtrResponse`."""
    response = CtrResponse(model, users, per_user=per_user, profiles=profiles)
    sentence = (
        "clicks on written copy are those of the CTR model; conversion, revenue and unsubscribe "
        "are those of the creative that it replaces."
    )
    return replace(users, copy_response=response, assumptions=(*users.assumptions, sentence))


__all__ = ["CtrResponse", "CtrScorer", "answered_by"]
