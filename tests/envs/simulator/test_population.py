import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs import datasets, fit_users
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.envs.simulator.population import align_to_catalogue, held_out_users, simulate
from copygym.envs.storefront.world import StorefrontWorld
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies import people


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
    moved = align_to_catalogue(users, shuffled(users, (2, 0, 1), (1, 0), (1, 0)))
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
    back = align_to_catalogue(
        align_to_catalogue(users, shuffled(users, (2, 0, 1), (1, 0), (1, 0))), users.catalogue
    )
    np.testing.assert_array_equal(back.click_logit, users.click_logit)
    np.testing.assert_array_equal(back.logging_policy, users.logging_policy)


def test_creatives_that_one_part_never_saw_do_not_stop_the_judge(tmp_path):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(150), 12)
    creative = np.array(["a", "b"])[rng.integers(0, 2, len(users))].astype("U8")
    late = np.arange(len(users)) % 12 >= 6
    first = np.flatnonzero(users == 0)
    # Each of a hundred people alone gets a creative of his own: no part of the log has them all.
    for u in range(0, 100):
        creative[first[0] + 12 * u + 7] = f"rare-{u:02}"
    start = datetime(2025, 3, 3, 8, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u:03}" for u in users],
            "timestamp": [start + timedelta(hours=24 * (i % 12)) for i in range(len(users))],
            "creative_id": creative,
            "impressions": 1,
            "clicks": (rng.random(len(users)) < np.where(late, 0.6, 0.2)).astype(int),
        }
    )
    log = ClickLog.from_frame(frame, name="toy")
    config = {
        "data": {"name": "table"},
        "seed": 0,
        "split": {"train": 0.5, "test": 0.25, "judge": 0.25},
        "users": {"n_users": 20, "text_encoder": None},
    }
    parts = people.split_users(log, config)
    folder = RunFolder(tmp_path, tmp_path, config, finished=False)
    catalogue = people.whole_catalogue(log, config)
    proxy = people.fit(folder, "proxy", parts["train"], parts["test"], config, catalogue)
    judge = people.make_judge(folder, proxy, parts, config).users
    assert judge.catalogue.creative_ids == tuple(sorted(set(creative.tolist())))
    # The judged people's profiles know as little as those that the agents learned with.
    test = parts["test"].collect()
    assert judge.profiles.user_ids.tolist() == sorted(set(test["user_id"].to_list()))
    np.testing.assert_array_equal(
        judge.profiles.features, proxy.profiles_of(parts["test"]).features
    )
    place = judge.profiles.names.index("frequency")
    shift = (
        judge.profiles.features[:, place].mean() - proxy.users.profiles.features[:, place].mean()
    )
    assert abs(shift) < 0.5


def test_other_names_are_refused(make_user_model):
    users = make_user_model()
    other = replace(users.catalogue, channels=("channel-0", "pigeon"))
    with pytest.raises(UserError, match=re.escape("channel 'channel-1' is not in both parts")):
        align_to_catalogue(users, other)


def test_answers_to_text_follow_the_new_order():
    world = StorefrontWorld(seed=0, n_users=5)
    users = world.user_model()
    backwards = shuffled(users, range(23, -1, -1), (2, 0, 1), (3, 2, 1, 0))
    moved = align_to_catalogue(users, backwards)
    texts = [moved.catalogue.texts[k] for k in (0, 9)]
    people, creative, channel, slot = (np.array(x) for x in ([1, 4], [0, 9], [2, 1], [0, 3]))
    answer = moved.copy_response(texts, people, creative, channel, slot).click_logit
    actions = 1 + creative * 3 + channel
    np.testing.assert_allclose(answer, moved.click_logit[people, slot, actions], rtol=1e-5)


@pytest.fixture(scope="module")
def two_fits():
    """The log's people in three parts, and fits on two of them that count the same actions."""
    log = datasets.load("storefront", n_users=150, n_slots=20)
    parts = log.split_by_user({"learn": 0.4, "judge": 0.4, "people": 0.2}, seed=0)
    options = {"catalogue": catalogue_from_log(log), "text_encoder": None}
    return parts, *(fit_users(parts[name], **options) for name in ("learn", "judge"))


def test_held_out_people_look_as_the_agents_know_them_and_respond_as_the_judge_says(two_fits):
    parts, fitted, judge = two_fits
    people = held_out_users(fitted, parts["people"], judge=judge)
    assert set(people.profiles.user_ids) == set(parts["people"].collect()["user_id"])
    own = fitted.profiles_of(parts["people"])
    np.testing.assert_array_equal(people.profiles.features, own.features)
    assert people.catalogue.action_names == fitted.users.catalogue.action_names
    ids = own.user_ids
    wanted = simulate(judge, judge.profiles_of(parts["people"], users=ids))
    np.testing.assert_array_equal(people.click_logit, wanted.click_logit)
    without = held_out_users(fitted, parts["people"])
    np.testing.assert_array_equal(without.click_logit, simulate(fitted, own).click_logit)
    assert not np.allclose(without.click_logit, people.click_logit)


def test_fits_of_other_creatives_judge_nobody(two_fits):
    parts, fitted, _ = two_fits
    some = parts["judge"].filter(pl.col("creative_id") != fitted.users.catalogue.creative_ids[0])
    other = fit_users(some, text_encoder=None)
    with pytest.raises(UserError, match="is not in both parts of the log"):
        held_out_users(fitted, parts["people"], judge=other)
