"""Features of a person depend on that person and on what is declared, on nobody else."""

import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.rewards.private.data import people_encoder, private_data

PEOPLE = {"user_region": ["north", "south"], "user_age": {"centre": 40, "scale": 10}}


def log(users, region="north", age=50.0):
    """Users with as many rows as said, the first of each person a hold."""
    rows = []
    for name, count in users.items():
        for i in range(count):
            creative = "hold" if i == 0 and count > 1 else f"c{i % 2}"
            rows.append(
                {
                    "user_id": name,
                    "creative_id": creative,
                    "text": None if creative == "hold" else f"text number {i % 2} of the shop",
                    "channel": "email",
                    "impressions": 1,
                    "clicks": int(i == 2),
                    "user_region": region,
                    "user_age": age,
                }
            )
    return ClickLog.from_frame(pl.DataFrame(rows), name="shop")


def both(train, test, **options):
    catalogue = catalogue_from_log(train)
    chosen = {"people": PEOPLE, "sends": ["text", "channel"], **options}
    return private_data(train, test, catalogue, **chosen)


def test_people_have_their_rows_and_nothing_else():
    data = both(log({"a": 4, "b": 2}), log({"c": 3}))
    train = data.train
    assert train.ids.tolist() == ["a", "b"]
    assert data.test.ids.tolist() == ["c"]
    # Holds are left out; b has one send and two paddings.
    assert train.impressions_UT.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert train.clicks_UT.sum(1).tolist() == [1, 0]
    user, cell, n, k = train.flat()
    assert user.tolist() == [0, 0, 0, 1]
    assert (n.sum(), k.sum()) == (4, 1)
    assert (cell > 0).all()
    # north, and ten years above the declared centre.
    np.testing.assert_allclose(train.people_UP[0], [1.0, 1.0, 0.0])


def test_a_person_looks_the_same_whoever_else_is_there():
    alone = both(log({"a": 4}), log({"z": 3}))
    frames = [log({"a": 4}).collect(), log({"b": 9}, region="south", age=90.0).collect()]
    crowd = both(ClickLog.from_frame(pl.concat(frames), name="shop"), log({"z": 3}))
    np.testing.assert_array_equal(alone.train.people_UP[0], crowd.train.people_UP[0])
    np.testing.assert_array_equal(alone.train.cells_ME, crowd.train.cells_ME)


def test_what_was_not_declared_says_nothing():
    data = both(log({"a": 3}, region="east", age=1e6), log({"z": 3}))
    # An unknown level is no level; a number is cut at three scales.
    np.testing.assert_allclose(data.train.people_UP[0], [3.0, 0.0, 0.0])


def test_rows_beyond_the_limit_are_left_out():
    data = both(log({"a": 9, "b": 3}), log({"z": 3}), max_rows=4)
    assert data.train.impressions_UT.sum(1).tolist() == [4, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sends": ["words"]}, "unknown block of features.sends 'words'"),
        ({"people": {"user_zip": ["1"]}}, "unknown column of features.people 'user_zip'"),
        ({"people": {"user_age": "number"}}, "features.people.user_age is 'number'"),
        ({"people": {"user_age": {"centre": 1, "scale": 0}}}, "features.people.user_age"),
        ({"people": {"user_region": []}}, "features.people.user_region is []"),
    ],
)
def test_mistakes_are_one_sentence(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        both(log({"a": 3}), log({"z": 3}), **options)


def test_a_log_without_sends_to_learn_from_is_refused():
    whole = log({"a": 3})
    holds = whole.filter(pl.col("creative_id") == "hold")
    with pytest.raises(UserError, match="nobody to learn from was sent anything"):
        private_data(holds, whole, catalogue_from_log(whole), people=PEOPLE, sends=["text"])


def test_a_declared_encoder_is_a_plain_one():
    assert people_encoder(PEOPLE).names == ("user_age", "user_region=north", "user_region=south")
