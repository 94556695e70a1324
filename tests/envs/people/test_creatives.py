"""Catalogues of chosen creatives and of new copy."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.people.creatives import NewCopy, keep_creatives, own_creatives
from copygym.envs.storefront.world import StorefrontWorld


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=1, n_users=30, n_variants=2)


def test_chosen_creatives_keep_their_answers_and_the_sends_of_their_product(world):
    users = world.user_model()
    kept = keep_creatives(users, np.arange(3, 6))
    np.testing.assert_array_equal(kept.click_logit[:, :, 1:], users.click_logit[:, :, 10:19])
    assert set(kept.catalogue.product_ids) == {"savings"}
    policy, old = kept.logging_policy, users.logging_policy
    np.testing.assert_allclose(policy.sum(axis=-1), 1.0, atol=1e-6)
    savings = [k for k, p in enumerate(users.catalogue.product_ids) if p == "savings"]
    sends = [users.catalogue.action(k, h) for k in savings for h in range(3)]
    np.testing.assert_allclose(
        policy[:, :, 1:].sum(axis=-1), old[:, :, sends].sum(axis=-1), atol=1e-5
    )
    # The same share on each channel as before.
    email = [users.catalogue.action(k, 0) for k in savings]
    np.testing.assert_allclose(
        policy[:, :, 1::3].sum(axis=-1), old[:, :, email].sum(axis=-1), atol=1e-5
    )


TABLES = ("click_logit", "conversion_logit", "expected_revenue", "unsubscribe_offset")


def with_audiences(users, audience, names):
    """Return users whose profiles have audiences."""
    profiles = replace(users.profiles, audience=np.asarray(audience), audience_names=names)
    return replace(users, profiles=profiles)


def test_new_copy_that_is_old_copy_gets_the_old_answers(world):
    users = world.user_model()
    source = np.array([0, 7, 20])
    texts = tuple(users.catalogue.texts[k] for k in source)
    k = users.catalogue.n_creatives
    written = own_creatives(users, [[k, k + 1, k + 2]], NewCopy(("a", "b", "c"), texts, source))
    assert written.catalogue.texts == texts
    same = keep_creatives(users, source)
    for name in TABLES:
        np.testing.assert_allclose(getattr(written, name), getattr(same, name), rtol=1e-6)


def test_every_audience_sees_its_own_copy_in_a_place(world):
    users = world.user_model()
    audience = np.arange(len(users)) % 2
    users = with_audiences(users, audience, ("the even", "the odd"))
    own = own_creatives(users, [[0, 4], [2, 3]])
    assert own.catalogue.n_creatives == 2
    for a, creatives in enumerate(([0, 4], [2, 3])):
        readers = audience == a
        for name in TABLES:
            expected = getattr(keep_creatives(users, creatives), name)[readers]
            np.testing.assert_array_equal(getattr(own, name)[readers], expected)
    np.testing.assert_allclose(own.logging_policy.sum(axis=-1), 1.0, atol=1e-6)


def test_new_copy_reaches_its_audience_alone(world):
    users = world.user_model()
    audience = np.arange(len(users)) % 2
    users = with_audiences(users, audience, ("the even", "the odd"))
    new = NewCopy(("x",), ("zxq wvut kettle kettle kettle",), np.array([0]))
    own = own_creatives(users, [[0], [users.catalogue.n_creatives]], new)
    good = keep_creatives(users, [0]).click_logit[:, :, 1:]
    assert (own.click_logit[audience == 0][:, :, 1:] == good[audience == 0]).all()
    assert (own.click_logit[audience == 1][:, :, 1:] < good[audience == 1] - 0.5).all()


def test_a_place_is_of_one_product_and_copy_is_for_the_audiences_that_there_are(world):
    users = with_audiences(world.user_model(), np.arange(30) % 2, ("the even", "the odd"))
    with pytest.raises(ValueError, match="one product"):
        own_creatives(users, [[0], [5]])
    with pytest.raises(UserError, match="has 2 audiences, and there is copy for 1"):
        own_creatives(users, [[0]])


def test_users_without_a_response_to_text_are_refused(world):
    users = replace(world.user_model(), copy_response=None, name="shop users")
    expected = "shop users cannot answer free text: fit users with a text encoder"
    with pytest.raises(UserError, match=re.escape(expected)):
        own_creatives(users, [[24]], NewCopy(("x",), ("A text.",), np.array([0])))
