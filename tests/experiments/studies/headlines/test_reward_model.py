import json
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.studies.headlines.reward_model import judged, load_releases
from copygym.experiments.studies.headlines.reward_model_report import main_table
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


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_every_test_of_the_folder_is_used_once(finished):
    result = read(finished)
    assert set(result["files"]) == {"content_experiments", "exploratory"}
    assert sum(part["tests"] for part in result["rows_seen"].values()) == 160
    assert sum(part["rows"] for part in result["rows_seen"].values()) == 480


def test_the_model_ranks_tests_that_it_has_not_seen(finished):
    result = read(finished)
    ranking = result["metrics"]["model"]["test"]["ranking"]
    assert ranking["pairwise_significant"]["value"] > 0.95
    assert ranking["lift"]["value"] > 0.3
    chance = result["metrics"]["random"]["test"]["ranking"]
    assert chance["pairwise"]["value"] == 0.5
    assert chance["best_of_k"]["value"] == pytest.approx(1 / 3, abs=0.05)
    # The planted order is nearly certain, so that being right this often is flagged.
    assert result["leakage"] == (ranking["pairwise"]["value"] > 0.83)


def test_the_saved_model_gives_the_figures(finished, archive):
    result = read(finished)
    model = load_ctr_model(finished)
    texts = ["the secret of story 7", "the report of story 7"]
    high, low = model.score(texts)
    assert high > low + 0.5
    assert result["training"]["model"]["report"] == model.report


def test_the_table_has_the_published_rows_and_the_ceiling(finished):
    table = main_table(read(finished))
    names = [row[0] for row in table.rows]
    assert names[0] == "tfidf (main)" and "a random arm" in names
    assert [name.startswith("published") for name in names][-2:] == [True, True]
    assert "46.9" in table.rows[-1]
    assert any("noise allows" in name for name in names)
    assert (finished / "figures" / "calibration.svg").exists()
    assert (finished / "figures" / "ranking.svg").exists()


def test_a_second_run_gives_the_same_numbers(finished, archive, tmp_path):
    app.execute(config(archive, tmp_path / "r"), tmp_path / "r", ["run"], NAMES)
    again, first = read(tmp_path / "r"), read(finished)
    assert again == first


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
    found = judged(
        np.array([0.0, 1.0, 2.0, 1.0, 0.0]), counts, {"seed": 0, "evaluation": {"resamples": 10}}
    )["by_arms"]
    assert found["2"]["best_of_k"]["value"] == 1 and found["3"]["best_of_k"]["value"] == 0
    assert found["3"]["best_of_k_random"]["value"] == pytest.approx(1 / 3)
