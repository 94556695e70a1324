"""The large catalogue: made from a seed, other in each world, and launches that no log shows."""

import re
from collections import Counter

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets import load, make_world
from copygym.envs.datasets.storefront_log import simulate_log
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.storefront.copies import copies, default_copy
from copygym.envs.storefront.copy import FIELDS
from copygym.envs.storefront.people import draw_people
from copygym.envs.storefront.products import TRADES, make_products
from copygym.envs.storefront.stakes import BLIND, DEMOGRAPHICS, EVERYTHING, WRITER_BLIND, stakes
from copygym.envs.storefront.world import StorefrontWorld

N = 120


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=0, n_users=N, catalogue="large")


@pytest.fixture(scope="module")
def users(world):
    return world.user_model()


# ------------------------------------------------------------------ products


def test_every_field_has_six_products_and_a_launch():
    logged, launched = make_products(0, 6, 1)
    assert [trade.field for trade in TRADES] == list(FIELDS)
    assert Counter(made.product.field for made in logged) == dict.fromkeys(FIELDS, 6)
    assert [made.product.field for made in launched] == list(FIELDS)
    names = [made.product.name for made in (*logged, *launched)]
    assert len(set(names)) == len(names)


def test_products_follow_the_seed_and_not_the_launches():
    logged = make_products(3, 4)[0]
    assert logged == make_products(3, 4, 2)[0]
    assert logged != make_products(4, 4)[0]


def test_more_products_than_kinds_and_brands_have_names_of_their_own():
    logged = make_products(0, 40)[0]
    names = [made.product.name for made in logged]
    assert len(set(names)) == len(names) == 320


def test_briefs_hold_a_price_and_five_or_six_typed_facts():
    for seed in range(4):
        for made in make_products(seed, 6)[0]:
            product = made.product
            assert 5 <= len(product.facts) <= 6
            assert product.facts == tuple(fact.text for fact in product.typed)
            assert Counter(fact.kind for fact in product.typed)["does"] == 3
            assert product.brief.startswith(f"Product: {product.name}. Field: {product.field}.")
            assert "{" not in product.brief and "|" not in product.brief
            assert all(re.fullmatch(r"[A-Z0-9].*\.", fact) for fact in product.facts), product.facts


def test_no_two_products_of_a_world_have_the_same_facts():
    facts = [frozenset(made.product.facts) for made in make_products(1, 6)[0]]
    assert max(len(a & b) for i, a in enumerate(facts) for b in facts[:i]) <= 2


# ------------------------------------------------------------------ copies


def test_a_product_has_three_to_five_copies_that_fit_the_channels(world):
    count = Counter(product.product_id for product in world.products)
    assert set(count.values()) <= {3, 4, 5}
    words = np.array([len(text.split()) for text in world.shelf.texts])
    assert len(set(world.shelf.texts)) == len(words)
    assert ((words >= 10) & (words <= 28)).mean() > 0.8
    assert 12 < np.median(words) < 22


def test_copies_differ_in_principle_and_one_in_eight_is_dishonest():
    features = []
    for seed in range(4):
        world = StorefrontWorld(seed, 1, catalogue="large")
        features += map(world.shelf.read, world.shelf.texts, world.products)
    used = np.array([f.principles for f in features]) > 0
    assert (used.mean(axis=0) > 0.05).all()
    assert used.sum(axis=1).max() <= 3
    false = np.mean([f.claims > 0 for f in features])
    assert 0.06 < false < 0.18
    assert np.quantile([f.fluency for f in features], 0.05) > 0.9


def test_copies_follow_the_seed():
    made = make_products(0, 1)[0][0]
    assert copies(made, 5) == copies(made, 5)
    assert copies(made, 5) != copies(made, 6)
    assert len(copies(made, 5, least=4, most=4)) == 4
    assert made.product.spoken in default_copy(made, 5)


# ------------------------------------------------------------------ the world


def test_gold_tables_are_the_truth(world, users):
    rng = np.random.default_rng(0)
    a = rng.integers(1, users.catalogue.n_actions, 60)
    u, s = rng.integers(0, N, 60), rng.integers(0, 4, 60)
    k, h = users.catalogue.creative_of_action[a], users.catalogue.channel_of_action[a]
    response = users.copy_response([users.catalogue.texts[i] for i in k], u, k, h, s)
    np.testing.assert_allclose(users.click_logit[u, s, a], response.click_logit, rtol=1e-5)
    np.testing.assert_allclose(users.conversion_logit[u, a], response.conversion_logit, rtol=1e-5)
    np.testing.assert_allclose(users.expected_revenue[u, a], response.expected_revenue, rtol=1e-5)


def test_price_and_appeal_are_of_the_product(world, users):
    first = {}
    for k, product in enumerate(world.products):
        first.setdefault(product.product_id, k)
    for product_id, k in first.items():
        price = next(p.price for p in world.products if p.product_id == product_id)
        revenue = users.expected_revenue[:, users.catalogue.action(k, 0)]
        np.testing.assert_allclose(
            revenue, price * np.exp(-0.1 * world.people.price_sensitivity), rtol=1e-5
        )
    assert len({p.appeal for p in world.products}) == 48


def test_each_false_claim_costs_clicks_conversions_and_subscribers(world):
    everyone = np.arange(N)
    for k in range(0, len(world.products), 11):
        product = world.products[k]
        text = f"{product.spoken[0].upper()}{product.spoken[1:]} {product.typed[0].parts['does']}."
        same = [np.full(N, v) for v in (k, 0, 0)]
        before = world.response_to_text([text] * N, everyone, *same)
        for claim in (" It is the best.", " It is number one.", " Delivery costs 7,777."):
            text += claim
            after = world.response_to_text([text] * N, everyone, *same)
            assert (after.click_logit < before.click_logit).all(), text
            assert (after.conversion_logit < before.conversion_logit).all(), text
            assert (after.unsubscribe_logit > before.unsubscribe_logit).all(), text
            before = after


def test_launches_are_sent_to_the_same_people_and_by_no_log(world, users):
    launches = world.launches
    assert launches.catalogue.n_creatives == 8
    assert not set(launches.catalogue.product_ids) & set(world.catalogue.product_ids)
    some = launches.user_model(users.profiles)
    assert some.profiles is users.profiles
    np.testing.assert_array_equal(launches.people.interest, world.people.interest)
    k = np.zeros(N, dtype=np.int64)
    texts = [launches.catalogue.texts[0]] * N
    answer = some.copy_response(texts, np.arange(N), k, k, k)
    np.testing.assert_allclose(some.click_logit[:, 0, 1], answer.click_logit, rtol=1e-5)
    assert launches.truth == world.truth
    small = StorefrontWorld(seed=0, n_users=2)
    with pytest.raises(UserError, match="the small catalogue has no launches"):
        _ = small.launches


def test_the_logging_policy_supports_every_action(world):
    policy = world.logging_policy(np.arange(N))
    np.testing.assert_allclose(policy.sum(axis=-1), 1.0)
    floor = 0.144 / (world.catalogue.n_actions - 1)
    assert policy.min() >= 0.999 * floor
    assert 0.3 <= 1 - policy[:, :, 0].mean() <= 0.42


def test_the_log_has_the_rates_of_a_plausible_campaign():
    world = StorefrontWorld(seed=1, n_users=500, catalogue="large", products_per_field=2)
    log = simulate_log(world, n_slots=28, seed=1)
    assert log.equals(simulate_log(world, n_slots=28, seed=1))
    sends = log.filter(pl.col("creative_id") != HOLD)
    assert 0.3 <= sends.height / log.height <= 0.42
    assert 0.04 <= sends["clicks"].mean() <= 0.09
    assert sends["product_id"].n_unique() == 16


def test_much_is_to_be_gained_by_knowing_the_reader():
    found = stakes(StorefrontWorld(0, 300, catalogue="large"))
    assert 0.12 < found[DEMOGRAPHICS] / found[BLIND] - 1 < 0.25
    assert 0.3 < found[EVERYTHING] / found[BLIND] - 1 < 0.5
    assert found[WRITER_BLIND] > found[BLIND]


def test_what_demographics_say_leaves_out_the_personal_part():
    known, people = draw_people(2, 2000, personal=False), draw_people(2, 2000)
    assert known.demographics.equals(people.demographics)
    for name, share in (("susceptibility", 0.3), ("interest", 0.55), ("slot", 0.25)):
        a, b = (getattr(p, name)[:, 0] for p in (known, people))
        assert np.corrcoef(a, b)[0, 1] ** 2 == pytest.approx(share, abs=0.06)


# ------------------------------------------------------------------ options


def test_the_small_catalogue_is_the_default_and_no_launch_is_logged(tmp_path):
    assert make_world("storefront", n_users=5).catalogue.n_creatives == 24
    load("storefront", tmp_path, n_users=20, n_slots=2)
    options = {"n_users": 20, "n_slots": 2, "catalogue": "large", "products_per_field": 1}
    log = load("storefront", tmp_path, **options)
    assert log.sends().collect()["product_id"].n_unique() <= 8
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert "-large1-" in names[1] or "-large1-" in names[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"catalogue": "huge"}, "huge"),
        ({"catalogue": "launches"}, "launches"),
        ({"catalogue": "large", "n_variants": 3}, "set n_variants=0, or catalogue=small."),
        ({"catalogue": "large", "products_per_field": 0}, "products_per_field is 0"),
        ({"catalogue": "large", "launches_per_field": -1}, "launches_per_field is -1"),
    ],
)
def test_a_bad_option_is_one_sentence(options, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        make_world("storefront", n_users=5, **options)
    assert "\n" not in str(error.value)
