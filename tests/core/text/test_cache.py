"""Vectors on disk: what is damaged counts as not stored, and is made anew."""

import sqlite3

import numpy as np
import pytest

from copygym.core.text.cache import VectorCache


@pytest.mark.parametrize(
    "damage",
    [
        "update vectors set vector = x'00'",
        "update vectors set vector = x'00000000'",
        "update vectors set vector = x''",
        "update vectors set vector = 'text'",
        "update vectors set vector = 7",
        "update vectors set vector = substr(vector, 1, length(vector) - 4)",
        "update vectors set vector = x'01' || substr(vector, 2)",
        "update vectors set vector = (select vector from vectors limit 1) || x'00'",
    ],
)
def test_a_damaged_row_is_made_anew(damage, tmp_path):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3) + 0.25
    cache.put(["a", "b"], vectors)
    assert set(cache.get(["a", "b", "c"])) == {"a", "b"}
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        connection.execute(damage)
    assert cache.get(["a", "b"]) == {}
    cache.put(["a", "b"], vectors)
    found = cache.get(["a", "b"])
    np.testing.assert_array_equal(found["a"], vectors[0])
    np.testing.assert_array_equal(found["b"], vectors[1])
