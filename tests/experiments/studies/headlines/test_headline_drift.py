"""E11 on headlines: who may be learned from when, and that updates help where tastes change."""

import datetime as dt
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.records import Records, Rows, joined, number
from copygym.experiments.report.tables import interval
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.headlines import drift as headline_drift
from copygym.experiments.studies.headlines.drift import (
    Dated,
    add_compared,
    dated,
    first_periods,
    training_rows,
)
from copygym.rewards.ctr.data import overlap
from copygym.rewards.ctr.ranking import table_by_test

WORDS = ("secret", "plain", "report")
UPDATES = headline_drift.UPDATES


def log_of_tests(months=6, per_month=60, change=None, *, order=False, seed=0) -> ClickLog:
    """Return tests of three headlines; from month ``change`` on readers like the other word."""
    rng = np.random.default_rng(seed)
    rows = []
    for month in range(months):
        rates = (0.06, 0.03, 0.015) if change is None or month < change else (0.015, 0.03, 0.06)
        for index in range(per_month):
            test = month * per_month + index
            # Every tenth test's headlines come again a month later.
            story = test if index % 10 else index
            for word, rate in zip(WORDS, rates, strict=True):
                text = f"the {word} of story {story}"
                clicks = int(rng.binomial(2000, rate))
                rows.append((f"{test:05d}", text, 2000, clicks, month, test))
    names = ["test_id", "text", "impressions", "clicks", "month", "context_test_order"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    if order:
        return ClickLog.from_frame(frame.drop("month"), name="tests")
    start = dt.datetime(2014, 1, 5, tzinfo=dt.UTC)
    days = pl.col("month") * 31
    frame = frame.with_columns(timestamp=pl.lit(start) + pl.duration(days=days))
    return ClickLog.from_frame(frame.drop("month", "context_test_order"), name="tests")


@pytest.fixture
def config(composed):
    def make(*more):
        return composed(
            "experiment=e11_upworthy", "tiny=true", "tracker=disabled", "reward_model=tfidf",
            "tests=null", "periods.least=50", "periods.parts=6", "first=0.3", *more,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("order", [False, True])
def test_tests_fall_into_periods_in_their_order(config, order):
    found = dated(log_of_tests(order=order), config())
    assert len(found.labels) == 6
    assert found.labels == tuple(sorted(found.labels)) or order
    assert [found.size(found.period == p) for p in range(6)] == [60] * 6
    # No test is in two periods.
    pairs = set(zip(found.counts.test.tolist(), found.period.tolist(), strict=True))
    assert len(pairs) == found.counts.n_tests


def test_a_month_of_few_tests_is_joined_with_the_next(config):
    found = dated(log_of_tests(per_month=30), config("periods.least=50"))
    assert len(found.labels) == 3
    assert " to " in found.labels[0]
    odd = dated(log_of_tests(months=5, per_month=30), config("periods.least=50"))
    assert [odd.size(odd.period == p) for p in range(2)] == [60, 90]


@pytest.mark.parametrize("update", UPDATES)
def test_nothing_later_and_no_shared_headline_is_learned_from(config, update):
    tests = dated(log_of_tests(), config())
    first = first_periods(tests, 0.3)
    assert first == 2
    for p in range(first, 6):
        rows = training_rows(tests, update, p, first)
        judged = tests.counts.take(tests.period == p)
        assert rows.any()
        assert overlap(judged, tests.counts.take(rows)) == 0
        if update == "hindsight":
            assert (tests.period[rows] != p).all()
            continue
        assert (tests.period[rows] < p).all()
        number = tests.size(training_rows(tests, "once", p, first))
        if update == "window":
            assert tests.size(rows) == number
        if update == "once":
            assert (tests.period[rows] < first).all()


def released(log, settings, place, seed=0):
    """Return a log's records as the study makes them, whatever file it came from."""
    settings = {**settings, "seed": seed}
    tests = dated(log, settings)
    folder = RunFolder(place, place, settings, False)
    rows = Rows(seed)
    headline_drift._add_release(rows, "made", tests, settings, folder)
    first = first_periods(tests, settings["first"])
    periods = {"learned": tests.labels[:first], "judged": tests.labels[first:]}
    return Records(rows.frame, {seed: {"periods": {"made": periods}}})


@pytest.fixture(scope="module")
def found(composed, tmp_path_factory):
    """Records of tests in which tastes stand, and in which they change; the last of two seeds."""
    settings = composed(
        "experiment=e11_upworthy", "tiny=true", "tracker=disabled", "reward_model=tfidf",
        "tests=null", "periods.least=50", "first=0.3", "updates=[once,window]",
    )  # fmt: skip
    place = tmp_path_factory.mktemp("drift")
    changing = log_of_tests(change=3)
    return {
        "standing": released(log_of_tests(), settings, place / "standing"),
        "changing": released(changing, settings, place / "changing"),
        "other seed": released(changing, settings, place / "other", seed=1),
    }


def gain(records, metric="pairwise", period=None):
    cell = {"release": "made", "update": "window", "versus": "once", "period": period}
    return records.number(metric, **cell)


def test_updates_help_where_tastes_change_and_do_no_harm_where_they_stand(found):
    for records in found.values():
        assert records.values("period") == [1, 2, 3, 4]
        change = records.number("pairwise_change", release="made", update="once")
        assert change["low"] <= change["high"]
    assert gain(found["changing"])["low"] > 0.2
    assert abs(gain(found["standing"])["value"]) < 0.03


@pytest.mark.parametrize("several", [False, True])
def test_the_page_shows_the_records(found, several):
    one = found["changing"]
    records = joined([one, found["other seed"]]) if several else one
    page = headline_drift.report(records)
    rows = {row[0]: dict(zip(page.table.columns, row, strict=True)) for row in page.table.rows}
    once, window = (rows[f"made, {words}"] for words in
                    ("once: the first tests", "window: as many of the latest tests"))  # fmt: skip
    assert window["gain in pairs %"] == interval(gain(records), "%")
    assert window["gain in lift %"] == interval(gain(records, "lift"), "%")
    assert once["gain in pairs %"] == "-"
    assert interval(gain(records), "%") in page.summary
    by_period, changes = page.sections[0].tables
    assert [row[0] for row in by_period.rows] == list(one.first["periods"]["made"]["judged"])
    for period, row in enumerate(by_period.rows, 1):
        shown = dict(zip(by_period.columns, row, strict=True))
        assert shown["window - once"] == interval(gain(records, period=period), "%")
        assert int(shown["tests"]) == 60
    for row, update in zip(changes.rows, ("once", "window"), strict=True):
        entry = records.number("pairwise_change", release="made", update=update)
        assert row[1] == interval(entry, "%")


def test_gains_are_paired_by_test(config):
    tests = dated(log_of_tests(), config())
    rate = tests.counts.clicks / tests.counts.impressions
    table = table_by_test(rate, tests.counts)
    upside_down = table_by_test(-rate, tests.counts)
    for other, value in ((table, 0), (upside_down, -1)):
        rows = Rows(0)
        add_compared(rows, {"once": table, "window": other}, config(), 0)
        entry = number(rows.frame, "pairwise", update="window", versus="once")
        assert entry["value"] == pytest.approx(value)
        assert value or entry == {"value": 0, "low": 0, "high": 0}


def test_the_first_model_leaves_something_to_judge():
    counts = dated(log_of_tests(), {"periods": {"least": 50}, "tests": None, "seed": 0})
    assert isinstance(counts, Dated)
    assert first_periods(counts, 0.01) == 1
    assert first_periods(counts, 0.99) == 5


def test_logs_in_which_nothing_can_change_are_refused(config):
    log = log_of_tests()
    with pytest.raises(UserError, match="nobody knows which test came first"):
        dated(log.with_frame(log.frame.drop("timestamp")), config())
    with pytest.raises(UserError, match="all tests are of one period"):
        dated(log_of_tests(months=1), config())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["updates=[never]"], "'never'"),
        (["updates=[window]"], "add once"),
        (["first=1"], "first=1"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(config, overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        headline_drift.check(config(*overrides))
