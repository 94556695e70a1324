"""Catalogues of chosen creatives and of new copy."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.people.creatives import NewCopy, keep_creatives, with_copy
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


def test_new_copy_that_is_old_copy_gets_the_old_answers(world):
    users = world.user_model()
    source = np.array([0, 7, 20])
    texts = tuple(users.catalogue.texts[k] for k in source)
    written = with_copy(users, NewCopy(("a", "b", "c"), texts, source))
    assert written.catalogue.creative_ids == ("a", "b", "c")
    same = keep_creatives(users, source)
    for name in ("click_logit", "conversion_logit", "expected_revenue", "unsubscribe_offset"):
        np.testing.assert_allclose(getattr(written, name), getattr(same, name), rtol=1e-6)


def test_kept_creatives_stay_as_they_were_before_the_new_ones(world):
    users = world.user_model()
    kept, new = [2, 9], NewCopy(("x", "y"), ("Kettles, cheap.", "A loan."), np.array([0, 4]))
    both, alone = with_copy(users, new, kept), with_copy(users, new)
    old = keep_creatives(users, kept)
    assert both.catalogue.texts == (*old.catalogue.texts, *new.texts)
    assert both.catalogue.creative_ids == (*old.catalogue.creative_ids, "x", "y")
    n = old.click_logit.shape[2]
    for name in ("click_logit", "conversion_logit", "expected_revenue", "unsubscribe_offset"):
        table = getattr(both, name)
        np.testing.assert_array_equal(table[..., :n], getattr(old, name))
        np.testing.assert_array_equal(table[..., n:], getattr(alone, name)[..., 1:])
    np.testing.assert_allclose(both.logging_policy.sum(axis=-1), 1.0, atol=1e-6)


def test_new_copy_is_read(world):
    users = world.user_model()
    noise = with_copy(users, NewCopy(("x",), ("zxq wvut kettle kettle kettle",), np.array([0])))
    good = with_copy(users, NewCopy(("x",), (users.catalogue.texts[0],), np.array([0])))
    assert (noise.click_logit[:, :, 1:] < good.click_logit[:, :, 1:] - 0.5).all()


def test_users_without_a_response_to_text_are_refused(world):
    users = replace(world.user_model(), copy_response=None, name="shop users")
    expected = "shop users cannot answer free text: fit users with a text encoder"
    with pytest.raises(UserError, match=re.escape(expected)):
        with_copy(users, NewCopy(("x",), ("A text.",), np.array([0])))
