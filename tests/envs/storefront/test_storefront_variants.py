"""Variants of copy: distinct, stable, as good and as bad as marketers' copy is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets.storefront import load
from copygym.envs.storefront.copy import PRODUCTS
from copygym.envs.storefront.features import copy_features
from copygym.envs.storefront.variants import variants
from copygym.envs.storefront.world import StorefrontWorld


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.product_id)
def test_variants_are_distinct_and_more_of_them_keep_the_first(product):
    many = variants(product, 40, seed=3)
    assert len(set(many)) == 40
    assert variants(product, 10, seed=3) == many[:10]
    assert variants(product, 10, seed=4) != many[:10]


def test_variants_read_like_copy_and_differ_in_what_the_truth_looks_at():
    features = [copy_features(t, p) for p in PRODUCTS for t in variants(p, 40, seed=0)]
    assert np.quantile([f.fluency for f in features], 0.1) > 0.8
    assert {f.claims > 0 for f in features} == {True, False}
    assert np.ptp([f.relevance for f in features]) > 0.5
    used = np.array([f.principles for f in features]) > 0
    assert used.any(axis=0).all()


def test_a_world_with_variants_keeps_its_first_creatives():
    plain = StorefrontWorld(seed=2, n_users=20).user_model()
    rich = StorefrontWorld(seed=2, n_users=20, n_variants=5).user_model()
    assert rich.catalogue.n_creatives == 24 + 8 * 5
    assert rich.catalogue.texts[:24] == plain.catalogue.texts
    first = slice(0, plain.catalogue.n_actions)
    np.testing.assert_array_equal(rich.click_logit[:, :, first], plain.click_logit)
    assert rich.logging_policy is not None
    assert rich.logging_policy[:, :, 1:].min() >= 0.002 * 72 / (rich.catalogue.n_actions - 1)


def test_the_log_shows_variants_and_a_negative_number_is_refused(tmp_path):
    log = load(tmp_path, n_users=60, n_slots=12, n_variants=3)
    names = set(log.sends().collect()["creative_id"])
    assert any(re.fullmatch(r"kettle-v\d", name) for name in names)
    expected = "storefront: n_variants is -1; it must be at least 0."
    with pytest.raises(UserError, match=re.escape(expected)):
        load(tmp_path, n_users=60, n_variants=-1)
