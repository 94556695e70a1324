"""Catalogues for delivery: a choice of logged creatives, and of new copy, for each audience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.progress import progress
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


def own_creatives(
    users: UserModel, choice_AK: np.ndarray, copy: NewCopy | None = None
) -> UserModel:
    """Return ``users`` to whom each place of the catalogue shows the copy of their audience.

    A place is what an agent chooses: "this product's copy, whichever is yours". So the copy depends
    on the reader (F(P)) while the agent decides of products, channels and moments (G), among no
    more actions than a catalogue for everybody has. The catalogue's texts are the first audience's.

    Args:
        users: a population whose profiles have audiences; without any, all are one audience.
        choice_AK: (A, K') int64 creative that audience a sees in place k: one of the catalogue's K,
            or K + i for new copy i. The creatives of a place are of one product.
        copy: the new copy.

    Raises:
        UserError: the profiles have other audiences than ``choice_AK`` is for, or there is new copy
            and the users cannot answer free text.
    """
    choice_AK = np.asarray(choice_AK, dtype=np.int64)
    old, audience, count = users.catalogue, users.profiles.audience, 1
    if audience is None:
        audience = np.zeros(len(users), np.int64)
    else:
        count = len(users.profiles.audience_names)
    if count != len(choice_AK):
        raise UserError(
            f"{users.name} has {count} audiences, and there is copy for {len(choice_AK)}: give "
            "profiles the audiences that the copy was chosen for."
        )
    if copy is not None and users.copy_response is None:
        raise UserError(
            f"{users.name} cannot answer free text: fit users with a text encoder "
            "(users.text_encoder=lsa)."
        )
    source = np.concatenate([np.arange(old.n_creatives), [] if copy is None else copy.source])
    source_AK = source.astype(np.int64)[choice_AK]
    products_AK = np.array(old.product_ids)[source_AK]
    if (products_AK != products_AK[0]).any():
        raise ValueError("a place shows one product to every audience")
    joined = keep_creatives(users, source_AK[0])
    own_UA = np.stack([_actions(row, old) for row in source_AK])[audience]
    tables: dict[str, Any] = {
        "click_logit": np.take_along_axis(users.click_logit, own_UA[:, None, :], axis=2),
        "conversion_logit": np.take_along_axis(users.conversion_logit, own_UA, axis=1),
        "expected_revenue": np.take_along_axis(users.expected_revenue, own_UA, axis=1),
        "unsubscribe_offset": np.take_along_axis(users.unsubscribe_offset, own_UA, axis=1),
    }
    new = np.argwhere(choice_AK >= old.n_creatives).tolist()
    for a, place in progress(new, what="answers to new copy", leave=False):
        assert copy is not None
        i = int(choice_AK[a, place]) - old.n_creatives
        readers = np.flatnonzero(audience == a)
        _answer(users, tables, place, copy.texts[i], int(copy.source[i]), readers)
    names = joined.catalogue.product_ids
    texts = (*old.texts, *(() if copy is None else copy.texts))
    catalogue = replace(
        joined.catalogue,
        creative_ids=tuple(
            f"{name}-own-{names[:k].count(name) + 1}" for k, name in enumerate(names)
        ),
        texts=tuple(texts[k] for k in choice_AK[0]),
    )
    assert users.allowed is not None
    allowed = np.take_along_axis(users.allowed, own_UA, axis=1)
    return replace(joined, catalogue=catalogue, allowed=allowed, **tables)


def _answer(
    users: UserModel,
    tables: dict[str, Any],
    place: int,
    text: str,
    source: int,
    readers: np.ndarray,
) -> None:
    """Write into ``tables`` what ``readers`` (M,) int64 answer to a text in a place.

    Args:
        users: who answers.
        tables: of the new catalogue.
        place: of the text there.
        text: what they read.
        source: creative of the users' catalogue whose product it is about.
        readers: rows of the users.
    """
    if not len(readers):
        return
    assert users.copy_response is not None
    n_channels, n_slots = users.catalogue.n_channels, users.catalogue.n_slots
    shape = (n_channels, n_slots, len(readers))
    channel, slot, reader = (part.ravel() for part in np.indices(shape))
    response = users.copy_response(
        [text] * len(reader), readers[reader], np.full(len(reader), source), channel, slot
    )
    actions = 1 + place * n_channels + np.arange(n_channels)
    click = np.asarray(response.click_logit).reshape(shape)
    tables["click_logit"][readers[:, None, None], np.arange(n_slots)[:, None], actions] = (
        click.transpose(2, 1, 0)
    )
    # These depend on the slot in no user model, so that the last slot's answer is theirs.
    for name, values in (
        ("conversion_logit", response.conversion_logit),
        ("expected_revenue", response.expected_revenue),
        ("unsubscribe_offset", response.unsubscribe_logit),
    ):
        tables[name][readers[:, None], actions] = np.asarray(values).reshape(shape)[:, -1].T


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
