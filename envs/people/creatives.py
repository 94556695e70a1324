"""Catalogues for delivery: a choice of logged creatives, and new copy beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.model import UserModel


@dataclass(frozen=True)
class NewCopy:
    """K' creatives that a copywriter wrote.

    Attributes:
        names: creative ids.
        texts: copies.
        source: (K',) int64 creatives of the old catalogue whose product and brief they are for.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    source: np.ndarray


def keep_creatives(users: UserModel, creatives: np.ndarray | Sequence[int]) -> UserModel:
    """Return ``users`` with some creatives only; what was logged of a product goes to the rest.

    Args:
        users: a population.
        creatives: (K',) int64 creatives to keep, in this order.
    """
    source = np.asarray(creatives, dtype=np.int64)
    old = users.catalogue
    actions = _actions(source, old)
    assert users.allowed is not None
    return replace(
        users,
        catalogue=_catalogue(
            old,
            tuple(old.creative_ids[k] for k in source),
            tuple(old.texts[k] for k in source),
            source,
        ),
        click_logit=users.click_logit[:, :, actions],
        conversion_logit=users.conversion_logit[:, actions],
        expected_revenue=users.expected_revenue[:, actions],
        unsubscribe_offset=users.unsubscribe_offset[:, actions],
        allowed=users.allowed[:, actions],
        logging_policy=_shared_out(users, source),
        copy_response=None,
    )


def with_copy(users: UserModel, copy: NewCopy, kept: np.ndarray | Sequence[int] = ()) -> UserModel:
    """Return ``users`` with new copy in the catalogue, answered by their response to free text.

    The logging policy sends as often, on the same channels and for the same products as before,
    and chooses evenly among a product's copies.

    Args:
        users: a population.
        copy: the new creatives, which come last.
        kept: creatives of the old catalogue that stay; none by default.

    Raises:
        UserError: the users cannot answer free text.
    """
    if users.copy_response is None:
        raise UserError(
            f"{users.name} cannot answer free text: fit users with a text encoder "
            "(users.text_encoder=lsa)."
        )
    old = np.asarray(kept, dtype=np.int64)
    # New copies take the place of the creatives that their briefs are from.
    joined = keep_creatives(users, np.concatenate([old, copy.source]))
    u, n_slots, n_actions = joined.click_logit.shape
    tables: dict[str, Any] = {
        "click_logit": joined.click_logit.copy(),
        "conversion_logit": joined.conversion_logit.copy(),
        "expected_revenue": joined.expected_revenue.copy(),
        "unsubscribe_offset": joined.unsubscribe_offset.copy(),
    }
    people = np.arange(u)
    catalogue = joined.catalogue
    first = int(catalogue.action(len(old), 0))
    actions = range(first, n_actions)
    for action in tqdm(actions, desc="answers to new copy", disable=None, leave=False):
        k = int(catalogue.creative_of_action[action]) - len(old)
        h = int(catalogue.channel_of_action[action])
        for s in range(n_slots):
            response = users.copy_response(
                [copy.texts[k]] * u,
                people,
                np.full(u, copy.source[k]),
                np.full(u, h),
                np.full(u, s),
            )
            tables["click_logit"][:, s, action] = response.click_logit
        # These depend on the slot in no user model, so that the last slot's answer is theirs.
        tables["conversion_logit"][:, action] = response.conversion_logit
        tables["expected_revenue"][:, action] = response.expected_revenue
        tables["unsubscribe_offset"][:, action] = response.unsubscribe_logit
    catalogue = replace(
        catalogue,
        creative_ids=catalogue.creative_ids[: len(old)] + copy.names,
        texts=catalogue.texts[: len(old)] + copy.texts,
    )
    return replace(joined, catalogue=catalogue, **tables)


def _actions(source: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """Return (A',) int64 old actions behind hold and every channel of ``source``."""
    sends = 1 + source[:, None] * catalogue.n_channels + np.arange(catalogue.n_channels)[None, :]
    return np.concatenate([[0], sends.ravel()])


def _catalogue(
    old: Catalogue, names: tuple[str, ...], texts: tuple[str, ...], source: np.ndarray
) -> Catalogue:
    popularity = old.popularity[source]
    total = popularity.sum()
    return replace(
        old,
        creative_ids=names,
        texts=texts,
        briefs=tuple(old.briefs[k] for k in source),
        product_ids=tuple(old.product_ids[k] for k in source),
        topic_of_creative=old.topic_of_creative[source],
        popularity=popularity / total if total > 0 else np.full(len(source), 1 / len(source)),
    )


def _shared_out(users: UserModel, source: np.ndarray) -> np.ndarray | None:
    """Return (U, S, A') propensities: a product's old sends, shared evenly by its creatives.

    What was sent of products that have no creative any more becomes hold.
    """
    if users.logging_policy is None:
        return None
    old = users.catalogue
    u, n_slots, _ = users.logging_policy.shape
    sends = users.logging_policy[:, :, 1:].astype(np.float64)
    sends_USKH = sends.reshape(u, n_slots, old.n_creatives, old.n_channels)
    products, product_K = np.unique(np.array(old.product_ids), return_inverse=True)
    share = np.zeros((len(source), old.n_creatives))
    for p in range(len(products)):
        new = product_K[source] == p
        if new.any():
            share[np.ix_(new, product_K == p)] = 1.0 / new.sum()
    spread = np.einsum("usoh,no->usnh", sends_USKH, share).reshape(u, n_slots, -1)
    return np.concatenate([1.0 - spread.sum(axis=-1, keepdims=True), spread], axis=-1)
