"""E13 by the size of the log: what its report makes of records, and mistakes in the config."""

from functools import partial

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.studies.copy import sizes
from copygym.experiments.studies.copy.readers import LOG_ALL


@pytest.fixture
def config(composed):
    return partial(composed, "experiment=e13_sizes", "tiny=true", "copywriter=tiny")


def world(seed, gains):
    rows = Rows(seed)
    for size, gain in gains.items():
        rows.add("clicks", size / 4, size=size)
        for name, own in ((sizes.LOG_SENT, gain), (LOG_ALL, 0.0)):
            rows.add("gold_ctr", 0.1 * (1 + own), writer=name, size=size)
            rows.add("personal_gain", own, writer=name, size=size)
        rows.add("gain", gain, writer=sizes.LOG_SENT, versus=LOG_ALL, size=size)
    told = {"log": "made up", "tasks": 4, "synthetic": True, "statistics": {"default": "mean"}}
    return Records(rows.frame, {seed: told})


def test_the_report_says_what_each_size_gains():
    both = joined([world(1, {400: 0.0, 4000: 0.1}), world(2, {400: 0.1, 4000: 0.3})])
    page = sizes.report(both)
    assert "5 [0, 10]% from 100; 20 [10, 30]% from 1,000 clicks" in page.summary
    assert [section.heading for section in page.sections] == ["By the size of the log", "By world"]
    assert "one world" in sizes.report(world(1, {400: 0.2})).title


def test_mistakes_are_one_sentence(config):
    sizes.check(config())
    with pytest.raises(UserError, match="sizes is empty"):
        sizes.check(config("sizes=[]"))
    with pytest.raises(UserError, match="the size of its log is what it is"):
        sizes.check(config("data.name=upworthy"))
