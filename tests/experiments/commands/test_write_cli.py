"""``copygym write``: copy for a table of briefs, and one sentence for what is wrong with it."""

import csv
import gzip
import io
import os
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.experiments.commands.main import main as cli_main
from copygym.experiments.commands.write import brief_rows, load_trained, main, read_briefs
from copygym.experiments.commands.write_judged import RunJudge, best_of, judged, remarks
from copygym.experiments.runs.outputs import check_output


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny copywriter that nobody trained."""
    import numpy as np

    from copygym.agents.copywriter.tiny import TinyConfig, make_tiny
    from copygym.envs.tasks import copy_rows
    from tests.conftest import make_users

    index = np.zeros(1, np.int64)
    rows = copy_rows(make_users(), index, index, index, index)
    config = TinyConfig(vocabulary=300, hidden=32, layers=1, heads=2, max_new_tokens=8)
    folder = tmp_path_factory.mktemp("run") / "writers" / "best"
    make_tiny(["the best offer"], rows, seed=0, config=config).save(folder)
    return folder


@pytest.fixture
def briefs(tmp_path):
    """A table with every column and one of its own."""
    path = tmp_path / "briefs.csv"
    path.write_text(
        "id,brief,product,channel,reader\n"
        '7,"A warm coat, for winter",Coat,email,runners\n'
        "8,Fresh coffee,,,\n"
    )
    return path


def table(text, separator=","):
    return list(csv.DictReader(io.StringIO(text), delimiter=separator))


def test_copy_stands_beside_its_brief(model, briefs, capsys):
    assert main(["--model", str(model), "--briefs", str(briefs)]) == 0
    rows = table(capsys.readouterr().out)
    assert [row["id"] for row in rows] == ["7", "8"]
    assert rows[0]["brief"] == "A warm coat, for winter"
    assert all("\n" not in row["copy"] for row in rows)
    assert list(rows[0]) == [
        "id", "brief", "product", "channel", "reader", "copy", "may_be_sent", "why_not",
    ]  # fmt: skip


def test_samples_seed_and_output(model, briefs, tmp_path):
    texts = []
    for seed in (1, 1, 2):
        out = tmp_path / "out" / "copy.csv"
        arguments = ["--model", str(model), "--briefs", str(briefs), "--output", str(out)]
        main([*arguments, "--samples", "3", "--seed", str(seed), "--temperature", "1"])
        texts.append(out.read_text())
    assert texts[0] == texts[1] != texts[2]
    assert [row["sample"] for row in table(texts[0])] == ["1", "2", "3"] * 2
    assert [path.name for path in out.parent.iterdir()] == ["copy.csv"]


def test_a_run_folder_is_searched(model, briefs, capsys):
    assert main(["--model", str(model.parents[1]), "--briefs", str(briefs)]) == 0
    assert len(table(capsys.readouterr().out)) == 2


def test_prompts_have_the_lines_that_the_table_fills(briefs):
    rows = brief_rows(read_briefs(briefs)[0])
    assert rows.prompts == (
        "Brief: Product: Coat. A warm coat, for winter\nReader: runners\nChannel: email",
        "Brief: Fresh coffee",
    )
    assert rows.briefs == ("A warm coat, for winter", "Fresh coffee")


def test_a_table_with_originals_asks_to_rewrite_them(tmp_path):
    path = tmp_path / "originals.csv"
    path.write_text("brief,original\nof dogs,See The Dog\nof cats,See The Cat\n")
    rows = brief_rows(read_briefs(path)[0])
    assert rows.originals == ("See The Dog", "See The Cat")
    assert rows.prompts[0] == "Brief: of dogs\nOriginal: See The Dog"
    path.write_text("brief,original,product\nof dogs,See The Dog,\nof cats,,tom\n")
    with pytest.raises(UserError, match=r"task 1 \(tom\) has no original to rewrite"):
        brief_rows(read_briefs(path)[0])


def test_cells_of_several_lines_become_one(tmp_path):
    path = tmp_path / "briefs.csv"
    path.write_text('brief,reader\n"one\nReader: forged\nChannel: forged",real\n')
    rows = brief_rows(read_briefs(path)[0])
    assert rows.prompts == ("Brief: one Reader: forged Channel: forged\nReader: real",)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"brief;id\nA coat;1\nTea;2\n", {"separator": ";"}, ()),
        ("brief,id\nA coat,1\nTea,2\n".encode("utf-16"), {}, ("is UTF-16 by its",)),
        (b'brief,id\nA 12" screen,1\nTea,2\n', {}, ("1 value holds quote marks",)),
    ],
)
def test_every_brief_of_any_file_is_read(model, tmp_path, capsys, content, options, said):
    path = tmp_path / "briefs"
    path.write_bytes(content)
    assert read_briefs(path, **options)[0]["id"].to_list() == ["1", "2"]
    given = [f"--{name}={value}" for name, value in options.items()]
    assert main(["--model", str(model), "--briefs", str(path), *given]) == 0
    printed = capsys.readouterr()
    assert [row["id"] for row in table(printed.out)] == ["1", "2"]
    assert all(note in printed.err for note in said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("brief\nA coat\n   \n", "row 3, column brief: the brief is empty"),
        ("brief,x\n,1\n", "row 2, column brief: the brief is empty"),
        ("text,id\nA coat,1\n", "has no column 'brief'; it has text, id"),
        ("brief\n", "holds a header and no row"),
        ("", "is empty; it needs a header"),
        ("brief,brief\nA coat,A hat\n", "row 1: column 'brief' occurs twice"),
        ("brief,copy\nA coat,mine\n", "already has a column 'copy'"),
    ],
)
def test_a_table_without_briefs_is_refused(model, tmp_path, content, message, capsys):
    path = tmp_path / "briefs.csv"
    path.write_text(content)
    out = tmp_path / "copy.csv"
    arguments = ["write", "--model", str(model), "--briefs", str(path), "--output", str(out)]
    assert cli_main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "holds no weights"),
        ("tokenizer.json", "holds no tokenizer"),
        ("copywriter.json", None),
    ],
)
def test_a_folder_without_weights_or_tokenizer_is_refused(
    model, briefs, tmp_path, missing, message, capsys
):
    import shutil

    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    arguments = ["--model", str(tmp_path / "model"), "--briefs", str(briefs)]
    if message is None:  # then it is a model of somebody else's, which will do
        assert main(arguments) == 0
        return
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)


def test_a_run_without_or_with_several_copywriters_is_refused(model, briefs, tmp_path):
    import shutil

    run = tmp_path / "run"
    run.mkdir()
    arguments = ["--model", str(run), "--briefs", str(briefs)]
    with pytest.raises(UserError, match=re.escape(f"{run} holds no trained copywriter")):
        main(arguments)
    for name in ("base", "sft", "a", ".c.tmp"):
        shutil.copytree(model, run / name)
    # Beside the algorithm's writer a run keeps those that it began from.
    assert load_trained(run).style.tokenizer.name_or_path.startswith(str(run / "a"))
    (run / "a" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=re.escape(f"{run / 'a'} holds no weights")):
        main(arguments)
    shutil.copytree(model, run / "b")
    with pytest.raises(UserError, match=re.escape("holds several copywriters (a, b)")):
        main(arguments)


def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_read(briefs, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for output, message in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "file" / "copy.csv", f"{tmp_path / 'file'} cannot be written to"),
    ):
        arguments = ["--model", "nowhere", "--briefs", str(briefs), "--output", str(output)]
        with pytest.raises(UserError, match=re.escape(message)):
            main(arguments)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_never_replaces_the_briefs(model, briefs):
    before = briefs.read_bytes()
    twin = briefs.parent / "." / "twin.csv"
    twin.symlink_to(briefs)
    for output in (briefs, twin):
        with pytest.raises(UserError, match="is the file that is read"):
            main(["--model", str(model), "--briefs", str(briefs), "--output", str(output)])
    assert briefs.read_bytes() == before


def test_an_output_is_what_its_name_says(model, briefs, tmp_path):
    import gzip

    import polars as pl

    arguments = ["--model", str(model), "--briefs", str(briefs), "--output"]
    for name in ("o.csv", "o.csv.gz", "o.parquet"):
        main([*arguments, str(tmp_path / name)])
    text = (tmp_path / "o.csv").read_text()
    assert gzip.decompress((tmp_path / "o.csv.gz").read_bytes()).decode() == text
    packed = pl.read_parquet(tmp_path / "o.parquet")
    assert [row["copy"].removeprefix("'") for row in table(text)] == packed["copy"].to_list()


def test_columns_that_a_csv_cannot_hold_are_refused_before_the_model_is_read(tmp_path):
    import polars as pl

    path = tmp_path / "briefs.parquet"
    pl.DataFrame({"brief": ["A coat"], "tags": [["a", "b"]]}).write_parquet(path)
    with pytest.raises(UserError, match=r"column tags: a CSV cannot hold List.*name a \.parquet"):
        main(["--model", str(tmp_path), "--briefs", str(path)])


def test_empty_texts_and_briefs_that_are_cut_are_counted(model, tmp_path, capsys, monkeypatch):
    from copygym.agents.copywriter.writer import Copywriter

    monkeypatch.setattr(Copywriter, "write", lambda self, rows, **options: ["", "Warm.", "", ""])
    path = tmp_path / "briefs.csv"
    path.write_text(f"brief\nA coat\n{'warm and long ' * 400}\n")
    assert main(["--model", str(model), "--briefs", str(path), "--samples", "2"]) == 0
    error = capsys.readouterr().err
    assert "3 of 4 texts are empty" in error
    assert "1 of 2 briefs" in error
    assert "(brief 2 first)" in error


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--samples", "0", "--samples=0: give"),
        ("--temperature", "-1", "--temperature=-1: give 0, or"),
        ("--temperature", "nan", "--temperature=nan"),
        ("--temperature", "inf", "--temperature=inf"),
        ("--temperature", "1e-320", "--temperature=1e-320"),
        ("--seed", "-1", "--seed=-1: give"),
        ("--briefs", "nowhere.csv", "nowhere.csv does not exist"),
        ("--model", "nowhere", "--model nowhere is no folder"),
    ],
)
def test_wrong_arguments_are_named(model, briefs, option, value, message):
    arguments = {"--model": str(model), "--briefs": str(briefs)} | {option: value}
    with pytest.raises(UserError, match=re.escape(message)):
        main([part for pair in arguments.items() for part in pair])


def test_an_output_takes_the_place_of_nothing_but_an_earlier_output(model, briefs, tmp_path):
    mine = tmp_path / "thesis.csv"
    mine.write_text("chapter,words\n1,5000\n")
    (tmp_path / "link.csv").symlink_to(mine)
    before = briefs.read_bytes()
    os.mkfifo(tmp_path / "pipe.csv")
    told = {
        mine: "is no earlier output of this command",
        tmp_path / "link.csv": "is no earlier output of this command",
        briefs: "is the file that is read",
        tmp_path / "pipe.csv": "is a pipe or a device",
    }
    arguments = ["--model", str(model), "--briefs", str(briefs), "--output"]
    for path, message in told.items():
        with pytest.raises(UserError, match=message):
            main([*arguments, str(path)])
    assert mine.read_text() == "chapter,words\n1,5000\n"
    assert briefs.read_bytes() == before
    (tmp_path / "empty.csv").touch()
    for name in ("copy.csv", "copy.csv", "empty.csv"):  # the same command twice is no mistake
        assert main([*arguments, str(tmp_path / name)]) == 0


def test_every_command_knows_its_own_outputs(tmp_path):
    outputs = {
        "scored.csv": (b"text,score,probability\na,1,0.5\n", {"columns": ("score", "probability")}),
        "scored.csv.gz": (gzip.compress(b"score,probability\n"), {"columns": ("score",)}),
        "sweep.yaml": (b"name: x\nprogram: copygym\n", {"holds": "program: copygym"}),
        "fidelity.md": (b"# Fidelity cards\n\n", {"holds": "# Fidelity cards"}),
    }
    for name, (content, signs) in outputs.items():
        path = tmp_path / name
        path.write_bytes(content)
        check_output(path, **signs)
        for other in (b"my notes", gzip.compress(b"my notes"), b"\x1f\x8b damaged"):
            path.write_bytes(other)
            with pytest.raises(UserError, match="is no earlier output"):
                check_output(path, **signs)


class Scorer:
    """A reward model that likes long texts, and young readers of them."""

    reads_readers = True

    def table(self, texts, profiles):
        return np.array([[0.1 * len(text) * p for text in texts] for p in profiles[:, 0]]) - 3

    def probability(self, texts):
        return np.array([0.01 * len(text) for text in texts])


def readers():
    from copygym.envs.profiles.builder import Profiles

    young = np.array([1, 1, 0, 0], np.float32)
    return Profiles(
        np.array(list("abcd")), young[:, None], ("young",), np.array(["all"] * 4),
        1 - young.astype(np.int64), ("young people", "old people"),
    )  # fmt: skip


def test_each_audience_has_its_click_probability():
    judge = RunJudge(Scorer(), readers(), ())
    columns = judge.columns(["short", "a longer one", "short"])
    assert list(columns) == [
        "click_probability", "click_probability: young people", "click_probability: old people",
    ]  # fmt: skip
    young = columns["click_probability: young people"]
    assert young[1] > young[0] == young[2] == pytest.approx(1 / (1 + np.exp(3 - 0.5)))
    assert columns["click_probability: old people"] == pytest.approx(1 / (1 + np.exp(3)))
    mean = (young + columns["click_probability: old people"]) / 2
    assert columns["click_probability"] == pytest.approx(mean)


BRIEF = "Product: Alto kettle. Facts: It boils 1.7 litres in three minutes."
TRUE = "It boils 1.7 litres in three minutes."
FALSE = "It boils 9 litres in one minute, and it is free."


def test_what_may_not_be_sent_says_why():
    rows = brief_rows(pl.DataFrame({"brief": [BRIEF, BRIEF]}))
    nobody = RunJudge(None, None, ())
    beside = judged(pl.DataFrame({"copy": [TRUE, FALSE]}), [TRUE, FALSE], rows, nobody)
    assert beside["may_be_sent"].to_list() == [True, False]
    assert beside["why_not"][0] == "" and beside["why_not"][1].startswith("false:")
    (first, *_) = remarks([TRUE, FALSE], rows, [BRIEF, BRIEF], nobody)
    assert first.startswith("1 of 2 texts may not be sent as it stands")


def test_the_best_may_be_sent_though_others_are_clicked_more():
    rows = brief_rows(pl.DataFrame({"brief": [BRIEF] * 3}))
    judge = RunJudge(Scorer(), None, ())
    assert best_of([FALSE, "It boils.", TRUE], rows, judge, 3) == [2]


def test_briefs_of_other_products_are_told_of():
    known = tuple(f"Product: kettle {c}. Facts: boils water, {c} litres, steel." for c in "abcdef")
    judge = RunJudge(None, None, known)
    assert judge.unlike([known[0], "Mortgage rates fall for first buyers"]) == [1]
    assert RunJudge(None, None, ()).unlike(["anything"]) == []


def test_best_of_needs_draws_that_differ(model, briefs):
    with pytest.raises(UserError, match="--best-of needs draws that differ"):
        main(["--model", str(model), "--briefs", str(briefs), "--best-of", "3",
              "--temperature", "0"])  # fmt: skip


def test_best_of_keeps_one_text_a_sample(model, briefs, capsys):
    arguments = ["--model", str(model), "--briefs", str(briefs), "--temperature", "1"]
    assert main([*arguments, "--best-of", "3", "--samples", "2"]) == 0
    assert len(table(capsys.readouterr().out)) == 4
