from functools import partial

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.studies.delivery import headroom

LADDER = [
    ["random", "logging"],
    ["logging", "learned"],
    ["learned", "upper"],
    ["always", "logging"],
]


def world(seed, values, gains=None):
    """Return records of a world in which policies have these clicks, each within 0.5."""
    rows = Rows(seed)
    for name, value in values.items():
        for metric in ("ctr", "profit_per_user", "unsubscribe_rate", "sends_per_user"):
            rows.add(metric, 0.1, policy=name)
        entry = {"value": value, "low": value - 0.5, "high": value + 0.5}
        rows.add("clicks_per_user", entry, policy=name)
    for worse, better in LADDER:
        gain = values[better] - values[worse] if gains is None else gains
        rows.add("gain", gain, policy=better, versus=worse)
    about = {
        "ladder": LADDER, "learned": "learned", "baseline": "logging", "upper": "upper",
        "users": 40, "horizon": 8, "judge": "The truth judges.", "assumptions": [],
        "statistics": {"default": "mean"}, "within_seed": ["segment", "step"], "resamples": 50,
    }  # fmt: skip
    return Records(rows.frame, {seed: about})


VALUES = {"random": 1.0, "logging": 2.0, "always": 1.2, "learned": 2.8, "upper": 9.0}


def steps(records, cells_of):
    return cells_of(headroom.report(records).sections[0].tables[0])


def test_a_step_is_clear_where_neither_value_is_in_the_others_interval(cells_of):
    found = steps(world(1, VALUES), cells_of)
    assert found["random < logging"] == {
        "gain in clicks per user": "1.0", "clear": "yes", "worlds in which it holds": "1 of 1",
    }  # fmt: skip
    # 2.8 lies beyond 2.5, and 2.0 below 2.3.
    assert found["logging < learned"]["clear"] == "yes"
    near = steps(world(1, {**VALUES, "learned": 2.4}), cells_of)
    assert near["logging < learned"]["clear"] == "no"


def test_worlds_are_counted_in_which_a_step_holds(cells_of):
    records = joined([world(1, VALUES), world(2, {**VALUES, "learned": 1.0})])
    found = steps(records, cells_of)["logging < learned"]
    assert found["worlds in which it holds"] == "1 of 2"
    # 0.8 and -1.0: the mean over worlds.
    assert found["gain in clicks per user"].startswith("-0.1 ")
    assert found["clear"] == "no"


def test_the_table_goes_from_worst_to_best(cells_of):
    report = headroom.report(joined([world(1, VALUES), world(2, VALUES)]))
    assert list(cells_of(report.table)) == ["random", "always", "logging", "learned", "upper"]
    assert report.table.rows[report.table.strong][0] == "learned"
    assert cells_of(report.table)["learned"]["clicks/user"] == "2.8 [2.8, 2.8]"


@pytest.fixture(scope="module")
def config(small_worlds):
    return partial(small_worlds, "experiment=headroom", "references.always.episodes=1")


def test_a_policy_that_no_run_has_is_refused(config):
    fixed = "ladder=[random,logging,learned,upper]"
    with pytest.raises(UserError, match="ladder: 'best_fixed' is no policy of this run"):
        headroom.check(config(fixed))
    with pytest.raises(UserError, match="headroom is measured in a synthetic world"):
        headroom.check({**config(fixed, "below=[]"), "data": {"name": "hillstrom"}})
    headroom.check(config(fixed, "below=[]"))
