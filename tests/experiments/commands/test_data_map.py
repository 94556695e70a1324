"""`copygym data map`, and the commands that take a log by its name."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from copygym.envs.datasets.own import named
from copygym.experiments.app import composed
from copygym.experiments.commands import main as cli

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    import newcomer

    newcomer.make(tmp_path / "nc", sends=600, customers=60)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "map", "nc/log.csv", "--name", "spring",
                     "--products", "nc/products.csv"]) == 0  # fmt: skip


def test_it_shows_what_it_would_read_and_names_nobody(newcomer, capsys):
    cli.main(["data", "map", "nc/log.csv", "--name", "again"])
    shown = capsys.readouterr().out
    assert "customer_id   user_id" in shown
    assert "person 1 | person 2" in shown
    ids = pl.read_csv("nc/log.csv")["customer_id"].to_list()
    assert not any(one in shown for one in ids)
    assert named.read("spring")["products"] == "nc/products.csv"


def test_every_command_takes_the_name(newcomer, capsys):
    assert cli.main(["data", "check", "spring"]) == 0
    assert "nc/log.csv: a valid log" in capsys.readouterr().out
    assert cli.main(["ope", "--log", "spring", "--json", "--resamples", "20", "--no-model"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "uniform" in result["policies"]
    assert cli.main(["data", "prepare", "spring", "--out", "parts"]) == 0
    capsys.readouterr()
    assert cli.main(["data", "check", "parts"]) == 0
    assert "rows 600" in capsys.readouterr().out


def test_a_run_takes_the_name_and_keeps_the_settings_themselves(newcomer):
    data = composed(["dataset=spring", "data.time_zone=Europe/Berlin"])["data"]
    assert data["name"] == "table"
    assert data["path"] == "nc/log.csv"
    assert data["columns"]["user_id"] == "customer_id"
    assert data["constants"] == {"impressions": 1}
    assert data["time_zone"] == "Europe/Berlin"


def test_a_name_that_is_taken_is_not_written_over(newcomer, capsys):
    before = named.place("spring").read_text()
    assert cli.main(["data", "map", "nc/log.csv", "--name", "spring"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert named.place("spring").read_text() == before
    assert cli.main(["data", "map", "nc/log.csv", "--name", "hillstrom"]) == 2
    assert "a dataset of copygym is called so" in capsys.readouterr().err
    assert cli.main(["data", "map", "nc/log.csv", "--name", "spring", "--overwrite"]) == 0


def test_options_win_over_what_is_proposed(newcomer, capsys):
    assert cli.main(["data", "map", "nc/log.csv", "--name", "other", "--map", "user_place=city",
                     "--ignore", "campaign"]) == 0  # fmt: skip
    settings = named.read("other")
    assert settings["columns"]["user_place"] == "city"
    assert "campaign" not in settings["columns"].values()


def test_a_log_that_cannot_be_read_yet_is_kept_to_be_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(
        "user,subject,clicked,probability\na,Hi,1,0.5\nb,Ho,maybe,0.5\n" * 60
    )
    assert cli.main(["data", "map", "log.csv"]) == 2
    error = capsys.readouterr().err
    assert "cannot be read yet" in error and "copygym-logs/log.yaml" in error
    assert named.place("log").is_file()


def test_a_name_that_nothing_has_lists_those_that_are(newcomer, capsys):
    assert cli.main(["ope", "--log", "sprint"]) == 2
    assert "spring" in capsys.readouterr().err
