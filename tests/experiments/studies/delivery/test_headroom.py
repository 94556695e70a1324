from itertools import pairwise

import numpy as np

from copygym.evaluation.metrics import TOTALS, Episodes
from copygym.experiments.studies.delivery.headroom import _step, _table_order


def played(clicks):
    totals = np.zeros((len(clicks), len(TOTALS)))
    totals[:, TOTALS.index("clicks")] = clicks
    return Episodes(np.arange(len(clicks)), totals, np.ones((len(clicks), 1)))


def test_a_step_is_clear_where_neither_value_is_in_the_others_interval():
    luck = np.random.default_rng(0).poisson(2.0, size=400)
    worse, better, same = played(luck), played(luck + 1), played(luck + 0.01)
    runs = [{"a": worse, "b": better}, {"a": better, "b": worse}]
    step = _step({"a": worse, "b": better}, runs, "a", "b", 300, 0)
    assert step["clear"]
    assert step["gain"]["value"] == 1.0
    assert (step["worlds_better"], step["worlds"]) == (1, 2)
    assert not _step({"a": worse, "b": same}, runs, "a", "b", 300, 0)["clear"]
    # Each value must lie outside the other's interval: here only the narrow one's is missed.
    wide, narrow = played(np.tile([0.0, 40.0], 200)), played(np.full(400, 20.5))
    assert not _step({"a": wide, "b": narrow}, runs, "a", "b", 300, 0)["clear"]


def test_the_table_goes_from_worst_to_best():
    names = ["random", "logging", "fixed", "always", "learned", "upper"]
    ladder = ["random", "logging", "fixed", "learned", "upper"]
    pairs = [*pairwise(ladder), ("always", "fixed")]
    order = _table_order(names, pairs)
    assert order == ["random", "logging", "always", "fixed", "learned", "upper"]
