"""Audiences: groups that are there are found, named in plain words, and kept in JSON."""

import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.profiles.audiences import (
    EVERYBODY,
    AudienceModel,
    find_audiences,
    with_audiences,
)
from copygym.envs.profiles.builder import Profiles

BANDS = ("18-24", "25-34", "35-49", "50-64", "65+")
NAMES = (
    *(f"user_age_band={band}" for band in BANDS),
    "user_region=north",
    "user_region=south",
    "price_sensitivity",
    "slot_evening",
    "slot_morning",
)


def people(n=600, seed=0, odd=0):
    """Return the young who read in the evening, the old who mind the price, and ``odd`` others."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    band = np.where(kind == 0, rng.integers(0, 2, n), rng.integers(3, 5, n))
    region = rng.integers(0, 2, n)
    habits = 0.4 * rng.normal(size=(n, 3))
    habits[:, 0] += np.where(kind == 1, 1.0, -1.0)
    habits[:, 1] += np.where(kind == 0, 1.0, -1.0)
    habits[:, 2] -= np.where(kind == 0, 1.0, -1.0)
    habits[:odd] = 5.0
    features = np.hstack([np.eye(5)[band], np.eye(2)[region], habits])
    ids = np.array([f"person-{i}" for i in range(n)])
    return Profiles(ids, features, NAMES, np.full(n, "all")), kind


def test_groups_that_are_there_are_found_and_named():
    profiles, kind = people()
    model = AudienceModel.fit(profiles, counts=(2, 3, 4), seed=0)
    found = model.assign(profiles)
    assert len(model) == 2
    agreement = np.mean(found == kind)
    assert max(agreement, 1 - agreement) > 0.99
    old = model.names[int(np.bincount(found[kind == 1]).argmax())]
    young = model.names[int(np.bincount(found[kind == 0]).argmax())]
    assert old.startswith("over 50, ") and "minds the price" in old
    assert young.startswith("under 35, ") and "reads in the evening" in young
    assert "does not mind the price" in young


def test_the_seed_fixes_them_and_other_people_get_theirs():
    profiles, _ = people()
    model, again = (AudienceModel.fit(profiles, seed=3) for _ in range(2))
    np.testing.assert_array_equal(model.mean, again.mean)
    strangers, kind = people(n=100, seed=9)
    found = AudienceModel.fit(profiles, counts=(2,), seed=0).assign(strangers)
    assert abs(np.corrcoef(found, kind)[0, 1]) > 0.95
    assert found.dtype == np.int64


def test_the_number_is_that_of_the_best_held_out_likelihood():
    profiles, _ = people()
    model = AudienceModel.fit(profiles, counts=(1, 2), seed=0)
    assert model.held_out[2] > model.held_out[1] + 0.5
    assert len(model) == 2


def test_people_without_groups_are_one_audience():
    rng = np.random.default_rng(0)
    noise = Profiles(
        np.arange(500).astype(str), rng.normal(size=(500, 4)), tuple("abcd"), np.full(500, "all")
    )
    assert AudienceModel.fit(noise, counts=(1, 2, 3), seed=0).names == (EVERYBODY,)


@pytest.mark.parametrize("n", [1, 2, 500])
def test_profiles_that_are_all_equal_are_everybody(n):
    same = Profiles(np.arange(n).astype(str), np.ones((n, 3)), tuple("abc"), np.full(n, "all"))
    model = AudienceModel.fit(same, seed=0)
    assert model.names == (EVERYBODY,)
    assert model.assign(same).tolist() == [0] * n


def test_profiles_of_people_of_whom_nothing_is_known_are_everybody():
    nobody = Profiles(np.arange(50).astype(str), np.zeros((50, 0)), (), np.full(50, "all"))
    assert AudienceModel.fit(nobody, seed=0).names == (EVERYBODY,)


def test_an_audience_of_two_people_is_dissolved():
    profiles, _ = people(odd=2)
    model = AudienceModel.fit(profiles, counts=(3,), seed=0)
    assert np.bincount(model.assign(profiles)).min() >= 20


def test_names_are_distinct_and_name_nobody():
    profiles, _ = people(n=800)
    model = AudienceModel.fit(profiles, counts=(6,), seed=1)
    assert len(set(model.names)) == len(model.names) > 2
    assert "person" not in " ".join(model.names)


def test_json_keeps_them(tmp_path):
    profiles, _ = people()
    model = AudienceModel.fit(profiles, seed=0)
    model.save(tmp_path / "audiences.json")
    loaded = AudienceModel.load(tmp_path / "audiences.json")
    assert (loaded.names, loaded.held_out) == (model.names, model.held_out)
    np.testing.assert_array_equal(loaded.assign(profiles), model.assign(profiles))


def test_profiles_carry_and_keep_their_audiences(tmp_path):
    profiles, _ = people()
    assert profiles.audience is None
    assert profiles.audience_of(np.arange(3)).tolist() == [0, 0, 0]
    model = AudienceModel.fit(profiles, counts=(2,), seed=0)
    known = with_audiences(profiles, model)
    np.testing.assert_array_equal(known.take(np.array([5, 2])).audience, known.audience[[5, 2]])
    known.take(np.flatnonzero(known.audience == 1)).write(tmp_path / "p.parquet")
    read = Profiles.read(tmp_path / "p.parquet")
    assert read.audience_names == model.names
    assert set(read.audience.tolist()) == {1}
    assert read.names == profiles.names


def test_an_audience_without_a_name_is_refused():
    profiles, _ = people(n=40)
    with pytest.raises(UserError, match="an audience is none of the 1 that have a name"):
        replace(profiles, audience=np.arange(40) % 2, audience_names=("all",))


def test_other_features_are_refused():
    profiles, _ = people()
    model = AudienceModel.fit(profiles, counts=(2,), seed=0)
    with pytest.raises(UserError, match="other features than those that the audiences"):
        model.assign(replace(profiles, names=tuple(f"x{i}" for i in range(len(NAMES)))))


@pytest.mark.parametrize("audiences", [0, -1, 2.5, True, "many"])
def test_a_config_that_asks_for_no_number_is_refused(audiences):
    message = f"users.audiences is {audiences!r}; write auto, a whole number from 1, or null"
    with pytest.raises(UserError, match=re.escape(message)):
        find_audiences(people()[0], audiences, seed=0)


def test_a_config_may_ask_for_none_or_for_a_number():
    profiles, _ = people()
    assert find_audiences(profiles, None, seed=0) is None
    assert len(find_audiences(profiles, 1, seed=0)) == 1
    assert len(find_audiences(profiles, 2, seed=0)) == 2
