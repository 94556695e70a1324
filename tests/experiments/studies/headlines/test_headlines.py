"""The study of headline bandits (E7), on a made archive where one word gets the clicks."""

import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, joined, number
from copygym.experiments import app
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.headlines import bandits as headlines
from copygym.experiments.studies.headlines.bandits import report
from copygym.rewards.ctr.data import CopyCounts, overlap
from copygym.rewards.ctr.model import load_ctr_model

NAMES = {"group": "g", "job_type": "j", "name": "n"}


def table(tests=160, clicks=None, arms=3):
    """Return an archive's rows; ``clicks`` overrides what was drawn."""
    rng = np.random.default_rng(0)
    rows = []
    for test in range(1, tests + 1):
        for word, rate in (("secret", 0.03), ("plain", 0.02), ("report", 0.01))[:arms]:
            drawn = int(rng.binomial(3000, rate)) if clicks is None else clicks
            rows.append((test, f"the {word} of story {test}", 3000, drawn))
    return pl.DataFrame(rows, schema=["test_id", "headline", "impressions", "clicks"], orient="row")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "content_experiments.csv"
    table().write_csv(path)
    return path


def config(archive, out, *overrides):
    return app.composed([
        "experiment=e7", "tiny=true", "tests=null", "tracker=disabled",
        "reward_model=tfidf", f"data.path={archive}", f"out={out}", *overrides,
    ])  # fmt: skip


def execute(archive, folder, *overrides):
    app.execute(config(archive, folder, *overrides), folder, ["run"], NAMES)
    return Records.read(folder)


@pytest.fixture(scope="module")
def finished(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("e7") / "run"
    execute(archive, folder)
    return folder


@pytest.fixture(scope="module")
def records(finished):
    return Records.read(finished)


def of(records, metric, truth, policy, horizon=10):
    versus = "ucb" if metric == "lift" else None
    cell = {"truth": truth, "policy": policy, "horizon": horizon, "tried": None}
    return number(records.estimates, metric, **cell, versus=versus)


def test_a_prediction_from_other_tests_speeds_up_these(records):
    about = records.first
    assert sum(part["tests"] for part in about["rows_seen"].values()) == 160
    assert about["tests"] == about["rows_seen"]["replay"]["tests"]
    for truth in headlines.RATES:
        early = {name: of(records, "lift", truth, name) for name in about["policies"]}
        assert early["lola"]["low"] > 0.05
        assert early["prediction"]["low"] > 0.05
        assert early["best_fixed"]["value"] >= early["lola"]["value"]
        assert early["ucb"] == {"value": 0, "low": 0, "high": 0}
    assert records.number("prediction_best_of_k")["value"] > 0.9


def test_a_lift_is_that_of_the_clicks(records):
    for truth in headlines.RATES:
        clicks = {name: of(records, "clicks", truth, name)["value"] for name in ("lola", "ucb")}
        lift = of(records, "lift", truth, "lola")["value"]
        assert lift == pytest.approx(clicks["lola"] / clicks["ucb"] - 1)


def test_uniform_gets_the_mean_click_rates(records):
    for truth in headlines.RATES:
        early, late = (of(records, "clicks", truth, "uniform", h) for h in (10, 50))
        # Three headlines of 1, 2 and 3%, whatever the traffic.
        assert early == late
        assert early["value"] == pytest.approx(0.06, rel=0.05)
        # The lift is over a ucb that learns.
        lifts = [of(records, "lift", truth, "uniform", h) for h in (10, 50)]
        assert lifts[0] != lifts[1]


def test_tuned_policies_take_the_best_n_aux_at_each_horizon(records):
    frame = records.frame
    chosen = frame.filter(pl.col("metric") == "n_aux")
    assert chosen.height == len(headlines.RATES) * 2 * 2
    assert set(chosen["policy"]) == {"lola_tuned", "prior_thompson_tuned"}
    for row in chosen.iter_rows(named=True):
        cell = {key: row[key] for key in ("truth", "policy", "horizon")}
        tried = records.where(metric="tuning_clicks", **cell).frame
        assert sorted(tried["tried"]) == [100, 1000]
        assert row["value"] == tried.row(tried["value"].arg_max(), named=True)["tried"]
    assert records.first["tuning_tests"] == records.first["rows_seen"]["tune"]["tests"]


def test_a_tuned_policy_is_the_plain_one_with_its_n_aux(archive, tmp_path):
    found = execute(archive, tmp_path / "run", "replay.tuning=[1000]", "replay.n_aux=1000")
    for truth in headlines.RATES:
        for metric in ("clicks", "lift"):
            tuned, plain = (of(found, metric, truth, p) for p in ("lola_tuned", "lola"))
            assert tuned == plain


def test_parts_share_no_headline_and_cover_all(archive, finished):
    parts = headlines.split_parts(
        CopyCounts.from_log(headlines.load_log({"name": "upworthy", "path": str(archive)})),
        config(archive, "x"),
    )
    assert list(parts) == list(headlines.PARTS)
    for name, part in parts.items():
        for other, rest in parts.items():
            assert name == other or overlap(part, rest) == 0
    # The model is where `copygym score` looks for it, and knows the word.
    high, low = load_ctr_model(finished).probability(["the secret of it", "the report of it"])
    assert high > low


def test_both_truths_have_a_table_and_a_figure(records):
    page = report(records)
    assert [row[1] for row in page.table.rows] == ["observed"] * 12 + ["shrunken"] * 12
    rows = {row[:2]: row[2:] for row in page.table.rows}
    for truth in headlines.RATES:
        shown = tuple(interval(of(records, "clicks", truth, "lola", h), "%") for h in (10, 50))
        assert rows["lola", truth] == shown
    assert "shrunken: observed rates shrunk to their test's mean" in page.table.caption
    assert [part.heading for part in page.sections] == [
        "Truth: observed", "Truth: shrunken", "Beside the paper", "The prediction",
        "How n_aux was chosen", "Policies and priors",
    ]  # fmt: skip
    for truth, part in zip(headlines.RATES, page.sections, strict=False):
        assert len(part.pictures) == 1
        (table,) = part.tables
        lifts = {row[0]: row[1:] for row in table.rows}
        assert "ucb" not in lifts
        assert lifts["lola"][0] == interval(of(records, "lift", truth, "lola"), "%")
    everything = [cell for p in page.sections for t in p.tables for row in t.rows for cell in row]
    assert not any("nan" in cell for cell in everything)


def test_over_splits_intervals_are_over_them(archive, records, tmp_path):
    other = execute(archive, tmp_path / "run", "seed=1")
    two = joined([records, other])
    page = report(two)
    each = [of(one, "clicks", "observed", "lola")["value"] for one in (records, other)]
    entry = of(two, "clicks", "observed", "lola")
    assert entry["value"] == pytest.approx(sum(each) / 2)
    row = next(row for row in page.table.rows if row[:2] == ("lola", "observed"))
    assert row[2] == interval(entry, "%")
    assert "over 2 splits" in page.table.caption


def section_of(records, heading):
    return next(part for part in report(records).sections if part.heading == heading)


def test_the_papers_figures_stand_beside_ours(records):
    section = section_of(records, "Beside the paper")
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    # 50 impressions per headline is the only horizon that both have.
    assert rows["thompson, paper"] == (f"{100 * (0.0488 / 0.0497 - 1):.1f}",)
    assert rows["lola, paper"] == ("7.0",)
    assert rows["lola"] == (interval(of(records, "lift", "observed", "lola", 50), "%"),)
    # The order of the policies is compared.
    assert re.search(r"is the paper's at [01] of 1 horizons", section.text[1])


def test_a_run_at_other_horizons_says_that_it_has_none_of_the_papers(archive, tmp_path):
    found = execute(archive, tmp_path / "run", "replay.horizons=[10,20]")
    section = section_of(found, "Beside the paper")
    assert not section.tables
    assert section.text[0].endswith("none is in this run.")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["replay.horizons=[0,50]"], "replay.horizons=[0, 50]: give a list of whole numbers of 1"),
        (
            ["replay.policies=[ucb,ucb2]"],
            "unknown replay.policies entry 'ucb2' (did you mean 'ucb'?): choose one of",
        ),
        (["replay.policies=[uniform,lola]"], "replay.policies lacks ucb, with which the others"),
        (["replay.z=-1"], "replay.z=-1: give a number of 0 or more."),
        (["~split.tune"], "split lacks tune; give each of train, validation, tune, replay a share"),
        (["+split.rest=0.1"], "unknown part of split 'rest': choose one of"),
    ],
)
def test_mistakes_in_the_config_are_told_in_a_sentence(archive, tmp_path, overrides, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        execute(archive, tmp_path / "run", *overrides)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (table(20, clicks=0), "the log has no test with two arms and a click"),
        (table(20, arms=1), "no test has two different texts"),
    ],
    ids=["no click", "one-arm tests"],
)
def test_a_log_without_a_choice_is_refused(tmp_path, rows, sentence):
    rows.write_csv(tmp_path / "content_experiments.csv")
    with pytest.raises(UserError, match=re.escape(sentence)):
        execute(tmp_path / "content_experiments.csv", tmp_path / "run")


def test_a_log_without_tests_is_refused(tmp_path):
    rows = table(20).select(pl.col("headline").alias("text"), "impressions", "clicks")
    rows.write_csv(tmp_path / "log.csv")
    with pytest.raises(UserError, match=r"log\.csv.*test_id"):
        execute(tmp_path / "log.csv", tmp_path / "run", "dataset=table")


def test_without_tuned_policies_nothing_is_tuned(archive, tmp_path):
    found = execute(archive, tmp_path / "run", "replay.policies=[uniform,ucb,lola]")
    assert found.where(metric=["n_aux", "tuning_clicks"]).frame.is_empty()
    assert "How n_aux was chosen" not in [part.heading for part in report(found).sections]
