"""Which copy each audience gets in which place of the catalogue."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from copygym.envs.storefront.world import StorefrontWorld
from copygym.experiments.runs.folder import Record
from copygym.experiments.studies.campaign import creatives
from copygym.rewards.copy.grounding import grounded

CONFIG = {
    "seed": 3,
    "creatives": {"per_product": 2, "candidates": 4, "readers": 3, "caution": 0.0},
    "evaluation": {"temperature": 1.0, "top_p": 1.0},
}
#: True of the kettle, by its brief.
GOOD = "The Alto kettle keeps water warm for an hour."


def liked(texts, rows):
    """A reward by which the first audience likes long texts, and the second short ones."""
    sign = np.where(rows.audience == 0, 1.0, -1.0)
    return sign * np.array([len(text) for text in texts], float)


@pytest.fixture
def setting():
    users = StorefrontWorld(seed=1, n_users=30, n_variants=2).user_model()
    profiles = replace(
        users.profiles, audience=np.arange(30) % 2, audience_names=("the even", "the odd")
    )
    users = replace(users, profiles=profiles)
    return SimpleNamespace(readers=users, gold_users=users, reward=liked)


def written(setting, monkeypatch, write):
    """Return the places that a writer's copy and the log's get."""
    writer = SimpleNamespace(write=lambda rows, **options: write(rows))
    monkeypatch.setattr(creatives.copywriting, "improved_writer", lambda *given: (writer, None))
    folder = SimpleNamespace(stage=lambda name, compute: checked(compute()))
    return creatives.written_places(CONFIG, folder, None, setting, "ppo")


def checked(record):
    assert isinstance(record, Record)
    return record


def test_each_audience_gets_what_it_likes_best_of_each_product(setting):
    places = creatives.logged_places(CONFIG, setting)
    catalogue = setting.readers.catalogue
    products = creatives.by_product(catalogue.product_ids)
    assert places.choice_AK.shape == (2, 2 * len(products))
    lengths = np.array([len(text) for text in catalogue.texts])
    briefs = [catalogue.brief_of(k) for k in range(catalogue.n_creatives)]
    passed = grounded(catalogue.texts, briefs)
    for n, own in enumerate(products.values()):
        # What fails the check is not sent, whoever likes it.
        own = own[passed[own]]
        longest_first = own[np.argsort(-lengths[own], kind="stable")]
        assert set(places.choice_AK[0, 2 * n : 2 * n + 2]) == set(longest_first[:2])
        assert set(places.choice_AK[1, 2 * n : 2 * n + 2]) == set(longest_first[-2:])


def test_new_copy_gets_a_place_where_its_audience_likes_it_better(setting, monkeypatch):
    kettle = setting.readers.catalogue.product_ids[0]

    def write(rows):
        return [GOOD if product == kettle else "It is free for life." for product in rows.products]

    places = written(setting, monkeypatch, write)
    shown = places.texts(setting.readers.catalogue)
    assert GOOD in shown[1][:2]
    assert GOOD not in shown[0]
    assert places.copy.texts == (GOOD,)
    proxy, gold = places.sides(setting)
    assert proxy.catalogue.n_creatives == gold.catalogue.n_creatives == places.choice_AK.shape[1]


def test_what_fails_the_check_is_never_sent(setting, monkeypatch):
    places = written(setting, monkeypatch, lambda rows: ["It is free for life."] * len(rows))
    assert places.copy.texts == ()
    assert places.passed == 0.0
    logged = creatives.logged_places(CONFIG, setting)
    np.testing.assert_array_equal(places.choice_AK, logged.choice_AK)


def test_a_logged_copy_that_is_written_again_is_not_new(setting, monkeypatch):
    catalogue = setting.readers.catalogue

    def write(rows):
        return [catalogue.texts[catalogue.product_ids.index(p)] for p in rows.products]

    places = written(setting, monkeypatch, write)
    assert places.copy.texts == ()


def test_a_campaign_is_for_some_products_of_every_field(setting):
    catalogue = setting.readers.catalogue
    fields = len(set(catalogue.topic_of_creative.tolist()))
    products = len(set(catalogue.product_ids))

    def chosen(number):
        config = {**CONFIG, "creatives": {**CONFIG["creatives"], "products": number}}
        places = creatives.logged_places(config, setting)
        return {catalogue.product_ids[k] for k in places.choice_AK.ravel().tolist()}

    assert len(chosen(None)) == len(chosen(products)) == len(chosen(products + 5)) == products
    few = chosen(fields)
    assert len(few) == fields
    assert len({catalogue.topic_of_creative[catalogue.product_ids.index(p)] for p in few}) == fields
    assert len(chosen(1)) == 1


def test_one_reader_who_is_won_over_counts_more_than_many_who_are_pleased_a_little(setting):
    catalogue = setting.readers.catalogue
    own = [k for k, p in enumerate(catalogue.product_ids) if p == catalogue.product_ids[0]]
    loved, liked = (catalogue.texts[k] for k in own[:2])

    def reward(texts, rows):
        first = rows.user == rows.user.min()
        love = np.array([text == loved for text in texts])
        like = np.array([text == liked for text in texts])
        return np.where(love & first, 6.0, np.where(like, 0.5, 0.0))

    pools = {(a, catalogue.product_ids[0]): [(loved, 0), (liked, 1)] for a in (0, 1)}
    told = SimpleNamespace(**{**vars(setting), "reward": reward})
    assert (creatives._chosen(CONFIG, told, pools)[:, 0] == 0).all()


def test_the_share_of_places_that_pass_the_check(setting, monkeypatch):
    places = creatives.logged_places(CONFIG, setting)
    catalogue = setting.readers.catalogue
    texts = [text for row in places.texts(catalogue) for text in row]
    briefs = [catalogue.brief_of(k) for k in places.choice_AK.ravel().tolist()]
    assert creatives.sendable_share(places, catalogue) == np.mean(grounded(texts, briefs))


def test_the_writer_before_ppo_may_write_too(setting, monkeypatch):
    kettle = setting.readers.catalogue.product_ids[0]
    asked = []

    def writer(text):
        def write(rows, **options):
            asked.append(rows.products.count(kettle))
            return [text if product == kettle else "It is free." for product in rows.products]

        return SimpleNamespace(write=write)

    short = "The Alto kettle is here."
    monkeypatch.setattr(creatives.copywriting, "improved_writer", lambda *_: (writer(GOOD), None))
    monkeypatch.setattr(creatives.copywriting, "sft_writer", lambda *_: writer(short))
    folder = SimpleNamespace(stage=lambda name, compute: checked(compute()))
    config = {**CONFIG, "creatives": {**CONFIG["creatives"], "candidates": 1, "imitated": 3}}
    places = creatives.written_places(config, folder, None, setting, "ppo")
    # Of each of two audiences.
    assert asked == [2, 6]
    assert set(places.copy.texts) <= {GOOD, short} and GOOD in places.copy.texts
    assert 0 < places.passed < 1
