"""``copygym data``: what it prints, and one sentence for every mistake."""

import argparse
import re
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.envs.datasets.card import RemoteFile
from copygym.experiments.commands.data import main
from copygym.experiments.options import add_log_options, told

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,opened,arm\nann,1,a\nbob,0,hold\n", encoding="utf-8")
    return path


def test_list_says_what_is_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path))
    (tmp_path / "data" / "coupon").mkdir(parents=True)
    (tmp_path / "data" / "coupon" / "x.csv").touch()
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == datasets.available()
    assert " here " in lines["coupon"] and " not here " in lines["hillstrom"]
    assert "synthetic" in lines["storefront"]


def test_card(capsys):
    assert main(["card", "hillstrom"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("## hillstrom: ") and "1/3" in out and "Surburban" in out
    with pytest.raises(UserError, match="unknown dataset 'hillstorm': choose one of"):
        main(["card", "hillstorm"])
    with pytest.raises(UserError, match="the name of one dataset, or --all"):
        main(["card"])


def test_the_committed_page_is_what_the_command_prints(capsys):
    main(["card", "--all", "--markdown"])
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "run `copygym data card --all --markdown > docs/datasets.md`"
    )


def test_check_of_a_good_file(capsys, log):
    argv = ["--map", "clicks=opened", "--map", "creative_id=arm", "--map", "user_id=user"]
    assert main(["check", str(log), *argv, "--set", "impressions=1"]) == 0
    out = capsys.readouterr().out
    assert f"{log}: a valid log" in out
    assert "rows 2, impressions 1, clicks 1, CTR 100.0000%, arms 2" in out
    assert "hold (nothing sent): 1 decisions, 0 organic clicks" in out
    assert "users: 2" in out and "no propensity" in out
    assert "ann" not in out and "bob" not in out


def test_the_rate_is_that_of_what_was_sent(capsys, tmp_path):
    path = tmp_path / "organic.csv"
    rows = ["a,1,1", "a,1,0", "b,1,0", "b,1,0", *["hold,1,1"] * 12]
    path.write_text("\n".join(["creative_id,impressions,clicks", *rows]), encoding="utf-8")
    main(["check", str(path)])
    out = capsys.readouterr().out
    assert "rows 16, impressions 4, clicks 1, CTR 25.0000%, arms 3" in out
    assert "hold (nothing sent): 12 decisions, 12 organic clicks" in out


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a,5,5", "b,2,2"], "every impression was clicked (7 of 7), so this is a log of clicks"),
        (["a,5,0", "b,2,0"], "not supported: no clicks on sends in 2 rows"),
        (["hold,5,1", "hold,2,1"], "every row is 'hold', so nothing was sent"),
        (["a,3000000000,1", "b,5,1"], "clicks 2, CTR 6.7e-08%"),
        (["a,9223372036854775806,1", "b,1,1"], "impressions 9,223,372,036,854,775,807"),
    ],
)
def test_check_says_what_a_valid_log_cannot_tell(capsys, tmp_path, rows, said):
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["creative_id,impressions,clicks", *rows]), encoding="utf-8")
    assert main(["check", str(path)]) == 0
    assert said in capsys.readouterr().out


def test_empty_values_and_columns_left_out_are_told(capsys, tmp_path):
    path = tmp_path / "x.csv"
    rows = ["a,5,1,3", "b,2,,0"]
    header = "creative_id,impressions,clicks,conversions"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    told = ["--empty", "clicks=0", "--ignore", "conversions"]
    assert main(["check", str(path), *told]) == 0
    out = capsys.readouterr().out
    assert "rows 2, impressions 7, clicks 1" in out
    assert "1 empty value is read as 0" in out and "columns left out, as told: 'conv" in out
    assert main(["prepare", str(path), "--out", str(tmp_path / "parts"), *told]) == 0
    assert main(["check", str(tmp_path / "parts")]) == 0
    assert "1 empty value is read as 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--map", "clicks=opened", "--map", "clicks=arm"],
            "--map 'clicks=arm': clicks is 'opened' already; give it once",
        ),
        ([], "'impressions' is missing; the columns there are 'user', 'opened', 'arm'; where each"),
        (["--set", "impressions=1"], "'clicks' is missing"),
        (["--map", "clicks"], "--map 'clicks': write canonical=column"),
        (
            ["--map", "click=opened"],
            "unknown canonical column 'click' (did you mean 'clicks'?): choose one of",
        ),
        (
            ["--set", "impressions=one", "--map", "clicks=opened"],
            "row 2, column impressions: value",
        ),
        (["--encoding", "klingon"], "unknown encoding 'klingon'"),
    ],
)
def test_check_of_a_bad_call_or_file(log, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(["check", str(log), *argv])


def test_mistakes_on_the_command_line(tmp_path):
    with pytest.raises(UserError, match=re.escape("invalid choice: 'fetch'")):
        main(["fetch"])
    with pytest.raises(UserError, match="arguments are required: COMMAND"):
        main([])
    with pytest.raises(UserError, match="there is no such file"):
        main(["check", str(tmp_path / "x.csv")])


def test_get_of_what_cannot_be_fetched(capsys, tmp_path):
    assert main(["get", "storefront"]) == 0
    assert "nothing to download" in capsys.readouterr().out
    with pytest.raises(UserError, match="mind cannot be downloaded: Accept the licence"):
        main(["get", "mind"])
    with pytest.raises(UserError, match="cannot be reached"):
        main(["get", "hillstrom", "--url", "http://127.0.0.1:9", "--to", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="unknown dataset 'nope'"):
        main(["get", "nope"])


def test_get_prints_and_records_an_unknown_checksum(capsys, monkeypatch, tmp_path):
    from copygym.envs.datasets import download

    file = RemoteFile("x.csv", "https://nowhere.invalid/x.csv")
    path = tmp_path / "x.csv"
    path.write_text("impressions,clicks\n1,0\n")
    found = download.Fetched(path, "ab" * 32, True)
    monkeypatch.setattr(download, "fetch", lambda url, target, **kw: found)
    card = datasets.card("coupon")
    monkeypatch.setattr(
        datasets, "card", lambda name: type(card)(**{**vars(card), "files": (file,)})
    )
    assert main(["get", "coupon", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "downloaded, SHA-256 " + "ab" * 32 in out and "no checksum is published" in out


def test_reading_options_are_repeated_as_a_shell_takes_them():
    given = ["--map", "clicks=Clicks (all)", "--empty", "clicks=0", "--ignore", "a b"]
    parser = argparse.ArgumentParser()
    add_log_options(parser)
    assert told(parser.parse_args([*given, "--separator", ";"])) == [
        "--map 'clicks=Clicks (all)'",
        "--empty clicks=0",
        "--ignore 'a b'",
        "--separator ';'",
    ]
