import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.envs.errors import UserError
from copygym.experiments.population import aligned


def shuffled(users, creatives, channels, slots):
    """Return a catalogue that lists the same things in another order."""
    c = users.catalogue
    return replace(
        c,
        creative_ids=tuple(c.creative_ids[k] for k in creatives),
        texts=tuple(c.texts[k] for k in creatives),
        briefs=tuple(c.briefs[k] for k in creatives),
        product_ids=tuple(c.product_ids[k] for k in creatives),
        topic_of_creative=c.topic_of_creative[list(creatives)],
        popularity=c.popularity[list(creatives)],
        channels=tuple(c.channels[h] for h in channels),
        slots=tuple(c.slots[s] for s in slots),
        cost_per_send=np.zeros(len(channels)),
    )


def numbered(make_user_model):
    """Users whose tables tell which cell they are."""
    users = make_user_model(n_users=4)
    shape = users.click_logit.shape
    click = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    policy = np.random.default_rng(0).dirichlet(np.ones(shape[2]), size=shape[:2])
    return replace(users, click_logit=click, logging_policy=policy)


def test_every_cell_keeps_its_name(make_user_model):
    users = numbered(make_user_model)
    moved = aligned(users, shuffled(users, (2, 0, 1), (1, 0), (1, 0)))
    for k, creative in enumerate(moved.catalogue.creative_ids):
        for h, channel in enumerate(moved.catalogue.channels):
            for s, slot in enumerate(moved.catalogue.slots):
                old = users.catalogue.action(
                    users.catalogue.creative_ids.index(creative),
                    users.catalogue.channels.index(channel),
                )
                old_slot = users.catalogue.slots.index(slot)
                new = moved.catalogue.action(k, h)
                np.testing.assert_array_equal(
                    moved.click_logit[:, s, new], users.click_logit[:, old_slot, old]
                )
                np.testing.assert_array_equal(
                    moved.logging_policy[:, s, new], users.logging_policy[:, old_slot, old]
                )
    # The judge knows what a send costs; hold stays first.
    np.testing.assert_array_equal(moved.catalogue.cost_per_send, [0.05, 0.01])
    np.testing.assert_array_equal(moved.click_logit[:, 0, 0], users.click_logit[:, 1, 0])


def test_there_and_back_is_the_same(make_user_model):
    users = numbered(make_user_model)
    back = aligned(aligned(users, shuffled(users, (2, 0, 1), (1, 0), (1, 0))), users.catalogue)
    np.testing.assert_array_equal(back.click_logit, users.click_logit)
    np.testing.assert_array_equal(back.logging_policy, users.logging_policy)


def test_other_names_are_refused(make_user_model):
    users = make_user_model()
    other = replace(users.catalogue, channels=("channel-0", "pigeon"))
    with pytest.raises(UserError, match=re.escape("channel 'channel-1' is not in both parts")):
        aligned(users, other)
