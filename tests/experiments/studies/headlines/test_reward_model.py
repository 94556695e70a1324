import json
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows, joined, number
from copygym.experiments import app
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.headlines.reward_model import (
    add_judged,
    check,
    load_releases,
    report,
)
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.model import load_ctr_model

NAMES = {"group": "g", "job_type": "j", "name": "n"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A folder with two releases that share half of their tests under other ids."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("archive")
    rows = []
    for test in range(1, 161):
        for word, rate in (("secret", 0.03), ("plain", 0.02), ("report", 0.01)):
            text = f"the {word} of story {test}"
            rows.append((test, text, 3000, int(rng.binomial(3000, rate))))
    table = pl.DataFrame(
        rows, schema=["test_id", "headline", "impressions", "clicks"], orient="row"
    )
    table.filter(pl.col("test_id") <= 120).write_csv(folder / "content_experiments.csv")
    later = table.filter(pl.col("test_id") > 60)
    later.select(
        pl.format("x{}", "test_id").alias("clickability_test_id"),
        "headline",
        "impressions",
        "clicks",
        pl.lit("<p>a brief</p>").alias("lede"),
        pl.lit("picture").alias("eyecatcher_id"),
        pl.lit(201440).alias("test_week"),
    ).write_parquet(folder / "exploratory.parquet")
    return folder


def config(archive, out, *overrides):
    return app.composed([
        "experiment=upworthy_reward", "tiny=true", "tests=null", "tracker=disabled",
        "reward_model=tfidf", "baselines.minilm_frozen=null", "evaluation.resamples=50",
        f"data.path={archive}", f"out={out}", *overrides,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def finished(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("e2") / "run"
    app.execute(config(archive, folder), folder, ["run"], NAMES)
    return folder


@pytest.fixture(scope="module")
def records(finished):
    return Records.read(finished)


@pytest.fixture(scope="module")
def two(finished, archive, tmp_path_factory):
    """Records of two splits."""
    folder = tmp_path_factory.mktemp("e2") / "other"
    app.execute(config(archive, folder, "seed=1"), folder, ["run"], NAMES)
    return joined([Records.read(finished), Records.read(folder)])


def test_every_test_of_the_folder_is_used_once(records):
    about = records.first
    assert set(about["data"]) == {"content_experiments", "exploratory"}
    assert sum(part["tests"] for part in about["rows_seen"].values()) == 160
    assert sum(part["rows"] for part in about["rows_seen"].values()) == 480


def test_the_model_ranks_tests_that_it_has_not_seen(records):
    def value(metric, model="model"):
        return records.number(metric, model=model, part="test", arms=None)["value"]

    assert value("pairwise_significant") > 0.95
    assert value("lift") > 0.3
    assert value("pairwise", "random") == 0.5
    assert value("best_of_k", "random") == pytest.approx(1 / 3, abs=0.05)
    assert value("lift", "at most") >= value("lift")
    # The planted order is nearly certain, so that being right this often is flagged.
    headings = [section.heading for section in report(records).sections]
    assert ("Leakage" in headings) == (value("pairwise") > 0.83)


def test_the_saved_model_gives_the_figures(finished, records):
    model = load_ctr_model(finished)
    high, low = model.score(["the secret of story 7", "the report of story 7"])
    assert high > low + 0.5
    assert records.first["training"]["model"]["report"] == model.report


def test_the_table_shows_the_records_published_rows_and_the_ceiling(finished, records):
    table = report(records).table
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.rows[table.strong][0] == "tfidf (main)"
    entry = records.number("pairwise", model="model", part="test", arms=None)
    assert rows["tfidf (main)"][0] == interval(entry, "%")
    assert rows["a random arm"][0] == "50 [50, 50]"
    ceiling = rows["the most that noise allows (oracle for lift)"]
    assert ceiling[0] == interval(records.number("pairwise", model="at most", part="test"), "%")
    assert ceiling[1] == "-"
    assert table.rows[-1][0].startswith("published") and "46.9" in table.rows[-1]
    assert (finished / "figures" / "calibration.svg").exists()
    assert (finished / "figures" / "ranking.svg").exists()


def test_over_splits_numbers_are_means_and_sections_are_of_the_first(two):
    page = report(two)
    each = two.by_seed("best_of_k", model="tfidf", part="test", arms=None, bin=None)
    entry = two.number("best_of_k", model="tfidf", part="test")
    assert entry["value"] == pytest.approx(each.mean())
    rows = {row[0]: row[1:] for row in page.table.rows}
    assert rows["tfidf"][3] == interval(entry, "%")
    assert page.title.endswith("2 splits")
    sections = {section.heading: section for section in page.sections}
    shown = sections["By split"].tables[3]
    place = shown.columns.index("tfidf")
    assert [row[0] for row in shown.rows] == ["0", "1"]
    assert [float(row[place]) for row in shown.rows] == pytest.approx(100 * each, abs=6e-4)
    (arms,) = sections["By number of arms"].tables
    (row,) = arms.rows
    first = two.only(0).number("best_of_k", model="model", part="test", arms="3")
    assert row[2] == interval(first, "%")


def test_the_calibration_curve_is_that_of_the_main_model(records):
    bins = records.where(model="model", part="test", metric="predicted").frame
    assert bins["bin"].to_list() == list(range(1, bins.height + 1))
    assert bins["value"].is_sorted()
    text = next(s for s in report(records).sections if s.heading == "Calibration").text[0]
    error = records.number("calibration_error", model="model", part="test")["value"]
    assert f"{100 * error:.2g} percentage points" in text


def test_a_second_run_gives_the_same_numbers(finished, records, archive, tmp_path):
    app.execute(config(archive, tmp_path / "r"), tmp_path / "r", ["run"], NAMES)
    again = Records.read(tmp_path / "r")
    assert again.frame.equals(records.frame)
    assert again.about == records.about


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["~split.test"], "split lacks test; give each of train, validation, test a share"),
        (["+split.rest=0.1"], "unknown part of split 'rest'"),
        (["+reward_model@baselines.random=tfidf"], "baselines.random: the table has a row"),
    ],
)
def test_mistakes_in_the_config_are_told_in_a_sentence(archive, overrides, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        check(config(archive, "x", *overrides))


def test_changed_files_are_not_mixed_into_a_run(archive, tmp_path):
    import shutil

    copy, out = tmp_path / "archive", tmp_path / "run"
    shutil.copytree(archive, copy)
    app.execute(config(copy, out), out, ["run"], NAMES)
    (out / "result.json").unlink()
    state = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(state | {"state": "started"}))
    path = copy / "content_experiments.csv"
    path.write_text(path.read_text().replace(",3000,", ",3001,"))
    with pytest.raises(UserError, match=re.escape("changed since this run began")):
        app.execute(config(copy, out), out, ["run"], NAMES)


def test_one_file_or_release_is_one_log(archive):
    data = {"name": "upworthy", "path": str(archive / "exploratory.parquet"), "release": None}
    assert len(load_releases(data)) == 1
    assert len(load_releases(data | {"path": str(archive)})) == 2
    chosen = data | {"path": str(archive), "release": "exploratory"}
    assert len(load_releases(chosen)) == 1


def test_without_the_archive_it_says_where_to_get_it(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=re.escape("copygym data get upworthy")):
        app.execute(config(empty, tmp_path / "run"), tmp_path / "run", ["run"], NAMES)


def test_best_of_k_is_told_apart_by_k():
    counts = CopyCounts(
        tuple("abcde"),
        np.array([0, 0, 1, 1, 1]),
        np.full(5, 1000.0),
        np.array([10.0, 20.0, 10.0, 20.0, 30.0]),
    )
    rows = Rows(0)
    score = np.array([0.0, 1.0, 2.0, 1.0, 0.0])
    add_judged(rows, score, counts, {"seed": 0, "evaluation": {"resamples": 10}}, model="m")
    found = {arms: number(rows.frame, "best_of_k", arms=arms)["value"] for arms in ("2", "3")}
    assert found == {"2": 1, "3": 0}
    assert number(rows.frame, "tests", arms="3")["value"] == 1
