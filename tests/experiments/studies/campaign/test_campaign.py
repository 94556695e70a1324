"""Which copies get the catalogue's places."""

from types import SimpleNamespace

import numpy as np
import pytest

from copygym.envs.storefront.world import StorefrontWorld
from copygym.experiments.runs.folder import Record
from copygym.experiments.studies.campaign import campaign

CONFIG = {
    "seed": 3,
    "creatives": {"per_product": 2, "candidates": 4},
    "evaluation": {"temperature": 1.0, "top_p": 1.0},
}


def shouted(texts, rows):
    """A reward that likes exclamation marks."""
    return np.array([text.count("!") + 0.001 * len(text) for text in texts], float)


@pytest.fixture
def setting():
    users = StorefrontWorld(seed=1, n_users=30, n_variants=2).user_model()
    return SimpleNamespace(readers=users, reward=shouted)


def written(setting, monkeypatch, write):
    """Return what `best_creatives` makes of a writer."""
    writer = SimpleNamespace(write=lambda rows, **options: write(rows))
    monkeypatch.setattr(campaign.copywriting, "improved_writer", lambda *given: (writer, None))
    folder = SimpleNamespace(stage=lambda name, compute: checked(compute()))
    return campaign.best_creatives(CONFIG, folder, None, setting, "ppo")


def checked(record):
    assert isinstance(record, Record)
    return record


def test_the_log_s_best_are_the_training_reward_s(setting):
    kept = campaign.logged_creatives(CONFIG, setting)
    catalogue = setting.readers.catalogue
    assert len(kept) == 2 * len(set(catalogue.product_ids))
    values = shouted(catalogue.texts, None)
    products = np.array(catalogue.product_ids)
    for product in set(catalogue.product_ids):
        own = np.flatnonzero(products == product)
        assert set(kept[products[kept] == product]) == set(own[np.argsort(-values[own])][:2])


def test_new_copy_gets_a_place_where_it_is_liked_better(setting, monkeypatch):
    def write(rows):
        return [
            "Buy the kettle now!!!" if product == "kettle" else "It is there."
            for product in rows.products
        ]

    kept, new = written(setting, monkeypatch, write)
    logged = campaign.logged_creatives(CONFIG, setting)
    products = setting.readers.catalogue.product_ids
    assert new.texts == ("Buy the kettle now!!!",)
    assert products[int(new.source[0])] == "kettle"
    assert len(kept) + len(new.texts) == len(logged)
    assert set(logged) - set(kept) == {[k for k in logged if products[k] == "kettle"][1]}


def test_a_logged_copy_that_is_written_again_is_not_new(setting, monkeypatch):
    catalogue = setting.readers.catalogue

    def write(rows):
        return [catalogue.texts[catalogue.product_ids.index(p)] for p in rows.products]

    kept, new = written(setting, monkeypatch, write)
    assert new.texts == ()
    assert sorted(kept) == sorted(campaign.logged_creatives(CONFIG, setting))
