import gzip
import re
import shutil

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.experiments.commands.main import main as cli
from copygym.experiments.commands.score import main
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.model import load_ctr_model, make_ctr_model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run's folder with a model that has learned that 'secret' is clicked."""
    rng = np.random.default_rng(0)
    texts, clicks = [], []
    for index in range(120):
        for word, rate in (("secret", 0.04), ("report", 0.01)):
            texts.append(f"the {word} of number {index}")
            clicks.append(float(rng.binomial(2000, rate)))
    test = np.repeat(np.arange(120), 2)
    counts = CopyCounts(tuple(texts), test, np.full(240, 2000.0), np.array(clicks))
    model = make_ctr_model("tfidf", tfidf={"words": 300, "characters": 0})
    folder = tmp_path_factory.mktemp("run")
    model.fit(counts.take(test < 90), counts.take(test >= 90), seed=0)
    model.save(folder / "reward_model")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))


def score(run_folder, source, target, *more):
    return main(
        ["--model", str(run_folder), "--input", str(source), "--output", str(target), *more]
    )


def test_it_keeps_every_column_and_row_and_adds_two(run_folder, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out" / "out.csv"
    source.write_text(
        'id,headline,note\n007,the secret of tea,"a, b"\n8,the report of tea,\n'
        "007,the secret of tea,x\n"
    )
    assert score(run_folder, source, target) == 0
    lines = target.read_text().splitlines()
    assert lines[0] == "id,headline,note,score,probability"
    assert lines[1].startswith('007,the secret of tea,"a, b",-')
    table = pl.read_csv(target)
    assert table["score"][0] == table["score"][2] > table["score"][1] + 0.8
    expected = load_ctr_model(run_folder).score(["the secret of tea", "the report of tea"])
    np.testing.assert_array_equal(table["score"][:2].to_numpy(), expected)
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-table["score"])))


def test_formats_agree_and_parquet_keeps_its_types(run_folder, tmp_path):
    frame = pl.DataFrame({"n": [1, 2], "copy": ["the secret", "the report"]})
    frame.write_parquet(tmp_path / "in.parquet")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    column = ("--text-column", "copy")
    score(run_folder, tmp_path / "in.parquet", tmp_path / "out.parquet", *column)
    score(run_folder, tmp_path / "in.csv.gz", tmp_path / "out.csv.gz", *column)
    typed = pl.read_parquet(tmp_path / "out.parquet")
    assert typed.schema["n"] == pl.Int64
    plain = pl.read_csv(gzip.decompress((tmp_path / "out.csv.gz").read_bytes()))
    assert plain.equals(typed)


def test_cached_scores_are_the_same_as_computed_ones(run_folder, tmp_path):
    (tmp_path / "in.csv").write_text("headline\nthe secret\nthe report\n")
    for name, more in (("a", []), ("b", []), ("c", ["--no-cache"])):
        score(run_folder, tmp_path / "in.csv", tmp_path / f"{name}.csv", *more)
    first = (tmp_path / "a.csv").read_bytes()
    assert first == (tmp_path / "b.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    assert list((tmp_path / "home" / "scores").glob("*.sqlite"))


def test_a_run_that_trained_a_copywriter_has_its_proxy(run_folder, tmp_path):
    shutil.copytree(run_folder / "reward_model", tmp_path / "run" / "models" / "proxy")
    (tmp_path / "in.csv").write_text("headline\nthe secret\n")
    score(tmp_path / "run", tmp_path / "in.csv", tmp_path / "out.csv")
    assert pl.read_csv(tmp_path / "out.csv").height == 1


def test_what_a_csv_cannot_hold_is_said_before_any_work(run_folder, tmp_path):
    frame = pl.DataFrame({"headline": ["the secret"], "tags": [["a", "b"]]})
    frame.write_parquet(tmp_path / "in.parquet")
    message = "column tags: a CSV cannot hold List(String); name a .parquet file by --output"
    with pytest.raises(UserError, match=re.escape(message)):
        score("nowhere", tmp_path / "in.parquet", tmp_path / "out.csv")
    score(run_folder, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["tags"].to_list() == [["a", "b"]]


def test_a_damaged_cache_says_which_file_to_delete(run_folder, tmp_path):
    (tmp_path / "in.csv").write_text("headline\nthe secret\n")
    score(run_folder, tmp_path / "in.csv", tmp_path / "a.csv")
    (cache,) = (tmp_path / "home" / "scores").glob("*.sqlite")
    cache.write_text("no database, whatever its name says " * 100)
    with pytest.raises(UserError, match=re.escape(f"the cache {cache} cannot be used")):
        score(run_folder, tmp_path / "in.csv", tmp_path / "b.csv")
    score(run_folder, tmp_path / "in.csv", tmp_path / "b.csv", "--no-cache")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\nhello\n", "has no column 'headline'; it has text"),
        ("headline\n", "holds a header and no row"),
        ("headline,n\nhello,1\n  ,2\n", "row 3, column headline: the text is empty"),
        ("headline,score\nhello,1\n", "already has a column 'score'"),
        ("", "is empty"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_written(
    run_folder, tmp_path, content, message
):
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        score(run_folder, tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"headline;n\na;1\nb;2\n", ["--separator", ";"], ""),
        ("headline,n\ncaf\u00e9,1\nb,2\n".encode("latin-1"), ["--encoding", "latin-1"], ""),
        ("headline,n\na,1\nb,2\n".encode("utf-16"), [], "is UTF-16 by its byte order mark"),
        (b'n,headline\n1,"Say \\" hello"\n2,"Say \\" bye"\n', [], "escaped by backslashes"),
        (b'n,headline\n1,a 12" screen\n2,b\n', [], "1 value holds quote marks"),
    ],
)
def test_every_text_of_any_file_is_scored(run_folder, tmp_path, capsys, content, options, said):
    (tmp_path / "texts").write_bytes(content)
    score(run_folder, tmp_path / "texts", tmp_path / "out.csv", *options)
    assert pl.read_csv(tmp_path / "out.csv").height == 2
    assert said in capsys.readouterr().err


def test_an_output_never_replaces_the_input(run_folder, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("headline;x\nthe secret;=1\n")
    with pytest.raises(UserError, match="is the file that is read"):
        score(run_folder, source, source, "--separator", ";")
    assert source.read_text() == "headline;x\nthe secret;=1\n"


def test_wrong_paths_are_named(run_folder, tmp_path):
    (tmp_path / "in.csv").write_text("headline\nhello\n")
    pl.DataFrame({"headline": [1, 2]}).write_parquet(tmp_path / "in.parquet")
    for source, target, message in (
        ("absent.csv", "out.csv", "does not exist"),
        ("in.parquet", "out.csv", "it holds Int64, not text"),
        ("in.csv", "out.xlsx", "ends in .csv, .csv.gz or .parquet"),
        ("in.csv", "", "ends in .csv, .csv.gz or .parquet"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            score(run_folder, tmp_path / source, tmp_path / target)
    with pytest.raises(UserError, match=re.escape("holds no CTR reward model")):
        score(tmp_path, tmp_path / "in.csv", tmp_path / "out.csv")


def test_the_command_line_says_it_in_one_sentence(tmp_path, capsys):
    arguments = ["--model", str(tmp_path), "--input", str(tmp_path / "no.csv")]
    assert cli(["score", *arguments, "--output", str(tmp_path / "out.csv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("copygym: ") and error.count("\n") == 1
