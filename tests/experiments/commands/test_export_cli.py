"""`copygym export`: a model folder for other programs, its card, and the way to the hub."""

import json
from dataclasses import replace

import polars as pl
import pytest

from copygym.agents.copywriter.export import ALLOWED
from copygym.agents.copywriter.tiny import TinyConfig, train_tiny
from copygym.experiments.commands import export
from copygym.experiments.commands import main as cli
from copygym.experiments.commands.write import brief_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as a run leaves it, with two writers."""
    folder = tmp_path_factory.mktemp("run")
    texts = ["The kettle boils in three minutes.", "Warm socks for cold days."] * 4
    rows = brief_rows(pl.DataFrame({"brief": texts}))
    config = TinyConfig(vocabulary=300, hidden=16, layers=1, heads=1, steps=2)
    writer = train_tiny(texts, rows, seed=0, config=config)
    writer.save(folder / "writers" / "sft")
    replace(writer, vocabulary=range(10, 60)).save(folder / "writers" / "ppo")
    (folder / "result.json").write_text(json.dumps({"synthetic": True, "log": "storefront"}))
    (folder / "run.json").write_text(json.dumps({"config": {"copywriter": {"name": "tiny"}}}))
    (folder / "table.md").write_text("| policy | CTR % |\n| --- | ---: |\n| ppo | 7 [6, 8] |\n")
    return folder


def test_the_trained_writer_is_exported_with_a_card(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.out == f"written: {tmp_path / 'out'}\n"
    assert "was trained to write 50 tokens only and those of its brief" in said.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| ppo | 7 [6, 8] |" in card
    assert "**The log is synthetic**" in card
    assert json.loads((tmp_path / "out" / ALLOWED).read_text())["adds_brief"] is True
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_another_writer_of_the_run(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "--writer", "sft", "--output", str(tmp_path / "s")]) == 0
    assert not (tmp_path / "s" / ALLOWED).exists()
    assert cli.main(["export", str(run), "--writer", "dpo", "--output", str(tmp_path / "d")]) == 2
    assert "has no writer 'dpo' (it has ppo, sft)" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_what_is_there_stays(run, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.main(["export", str(run), "--output", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_folder_without_a_writer_is_one_sentence(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), "--output", str(tmp_path / "o")]) == 2
    assert "holds no trained copywriter" in capsys.readouterr().err


def test_it_is_pushed_only_where_that_is_asked(run, tmp_path, monkeypatch, capsys):
    calls = []

    class Hub:
        def __init__(self, endpoint=None):
            calls.append(("endpoint", endpoint))

        def create_repo(self, repo, private, exist_ok):
            from huggingface_hub import RepoUrl

            calls.append(("create", repo, private))
            return RepoUrl(f"https://huggingface.co/{repo}")

        def upload_folder(self, folder_path, repo_id, commit_message):
            calls.append(("upload", repo_id, sorted(p.name for p in folder_path.iterdir())))

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert cli.main(["export", str(run), "--output", str(tmp_path / "a")]) == 0
    assert calls == []
    assert cli.main(["export", str(run), "--output", str(tmp_path / "b"), "--push", "me/w"]) == 0
    assert calls[1] == ("create", "me/w", True)
    assert calls[2][1] == "me/w" and "model.safetensors" in calls[2][2]
    assert "uploaded: https://huggingface.co/me/w" in capsys.readouterr().out


def test_a_hub_that_does_not_answer_is_one_sentence_and_the_folder_stays(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert cli.main(["export", str(run), "--output", str(tmp_path / "o"), "--push", "me/w"]) == 2
    error = capsys.readouterr().err
    assert "--push me/w: the hub refused" in error
    assert "hf_secret" not in error
    assert (tmp_path / "o" / "config.json").is_file()
    assert cli.main(["export", str(run), "--output", str(tmp_path / "p"), "--push", "a b"]) == 2


def test_the_card_of_smollm2_names_its_base_and_licence(run):
    class Writer:
        base, name, vocabulary = "smollm2", "smollm2", None

    card = export.card(Writer(), run)
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert "license: apache-2.0" in card
