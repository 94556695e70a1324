"""Names on the command line stay as they are spelt; what cannot be read says how to write it."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.commands.wandb_sweep import wandb_sweep
from copygym.experiments.sweeps.job import quoted
from copygym.experiments.sweeps.overrides import as_spelt, how_to_write


def read(argument):
    (override,) = OverridesParser.create().parse_overrides(as_spelt([argument]))
    if override.is_sweep_override():
        return [text.strip("'") for text in override.sweep_string_iterator()]
    return override.value()


@pytest.mark.parametrize(
    "spelt", ["2024", "007", "1_000", "1e3", "+7", ".5", "1.50", "true", "inf"]
)
@pytest.mark.parametrize("key", ["data.path", "out", "publish", "+data.columns.clicks", "name"])
def test_a_name_keeps_its_spelling(key, spelt):
    assert read(f"{key}={spelt}") == spelt
    assert read(f"{key}='{spelt}'") == spelt
    assert read(f"{key}={spelt},a.csv") == [spelt, "a.csv"]
    assert read(f"{key}=choice({spelt},b)") == [spelt, "b"]


@pytest.mark.parametrize("spelt", ["true", "True", "TRUE"])
def test_tiny_chooses_a_file_however_it_is_spelt(spelt):
    assert read(f"tiny={spelt}") == "true"
    assert read(f"tiny={spelt},False") == ["true", "false"]
    assert read(f"tiny=choice({spelt},false)") == ["true", "false"]


def test_null_stands_for_nothing_but_in_the_name_of_a_column():
    assert read("data.path=null") is None
    assert read("publish=null") is None
    assert read("+data.columns.clicks=null") == "null"


def test_a_map_of_columns_keeps_the_spelling_of_each():
    found = read("data.columns={clicks: 007, user_id: 2024, text: a, brief: null}")
    assert found == {"clicks": "007", "user_id": "2024", "text": "a", "brief": "null"}


def test_constants_are_numbers_where_they_are_written_as_such():
    assert read("+data.constants.impressions=1") == 1
    assert read("+data.constants.revenue=0.5") == 0.5
    assert read("+data.constants.creative_id=007") == "007"
    assert read("data.constants={impressions: 1, creative_id: 007}") == {
        "impressions": 1,
        "creative_id": "007",
    }


@pytest.mark.parametrize(
    "argument", ["seed=007", "learn.steps=1e3", "resume=true", "-m", "data.n=1"]
)
def test_what_is_no_name_is_left_to_hydra(argument):
    assert as_spelt([argument]) == [argument]


@pytest.mark.parametrize(
    "value",
    [
        "Clicks (all)", "log[1].csv", "a=b", "proj [v2]/a.csv", "it's", 'say "hi" (a)', "größe",
        "#1", "C:\\x\\y (1).csv", "a;b&c", "CTR (%), all", "a{b}",
    ],
)  # fmt: skip
def test_the_advice_on_quotes_can_be_pasted_into_a_shell(value):
    advice = how_to_write(f"+data.columns.clicks={value}")
    (argument,) = shlex.split(advice.rpartition(" as in ")[2].removesuffix("."))
    assert read(argument) == value


def test_the_command_line_gives_that_advice():
    with pytest.raises(UserError, match=re.escape("""'+data.columns.clicks="Clicks (all)"'.""")):
        app.run_app(["+data.columns.clicks=Clicks (all)"])
    with pytest.raises(UserError, match=re.escape("""'+data.columns.clicks="Clicks, all"', or""")):
        app.run_app(["+data.columns.clicks=Clicks, all"])
    with pytest.raises(UserError, match=r"'seed=1,,': write KEY=VALUE\."):
        app.run_app(["seed=1,,"])


@pytest.mark.parametrize("argument", ["data.path=[a]", "publish=[a]", "data.path={a: b}"])
def test_a_list_is_no_path(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="give null or one path, which needs quotes"):
        app.run_app(["dataset=table", argument, "out=run"])
    assert not (tmp_path / "run").exists()


def test_a_quoted_folder_has_its_own_letters():
    for name in ("größe", "é", "名"):
        assert read(f"out={quoted(name)}") == name


def test_a_wandb_sweep_keeps_names_as_they_are_spelt():
    sweep = wandb_sweep(["dataset=table", "data.path=007,2024", "seed=0"])
    assert sweep["parameters"] == {"data.path": {"values": ["007", "2024"]}}


def test_runs_that_start_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "_began", [0.0])
    monkeypatch.setattr(app, "_made", {})
    first = app._reserved("outputs/a/now")
    assert app._reserved("outputs/a/now") == first == "outputs/a/now"
    for number in (2, 3):
        monkeypatch.setattr(app, "_made", {})  # as in another process
        assert app._reserved("outputs/a/now") == f"outputs/a/now-{number}"
    monkeypatch.setattr(app, "_began", [])
    assert app._reserved("outputs/b/now") == "outputs/b/now"
    assert not (tmp_path / "outputs" / "b").exists()


def test_a_separator_on_the_command_line_is_shown_in_its_quotes():
    assert how_to_write("data.separator=;").endswith("""as in 'data.separator=";"'.""")
