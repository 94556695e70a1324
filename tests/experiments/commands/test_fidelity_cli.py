"""``copygym fidelity``: the page of cards, and the mistakes it names."""

import re

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets.storefront_log import simulate_log
from copygym.envs.storefront.world import StorefrontWorld
from copygym.experiments.commands.fidelity import FAMILIES, main, users_options


@pytest.fixture(scope="module")
def log_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    simulate_log(StorefrontWorld(seed=1, n_users=150), n_slots=28, seed=1).write_parquet(path)
    return path


def test_writes_the_page_with_its_command(log_file, tmp_path, capsys):
    page = tmp_path / "fidelity.md"
    arguments = [f"table={log_file}", "--families", "logistic", "--output", str(page)]
    assert main(arguments) == 0
    text = page.read_text()
    assert "`copygym fidelity table=log.parquet --output fidelity.md`" in text
    assert "(logistic)" in text
    assert re.search(r"log loss skill \| -?\d", text)
    assert str(tmp_path) not in text  # a page names no path of the machine that wrote it


def test_prints_without_an_output(log_file, capsys):
    assert main([f"table={log_file}", "--families", "logistic"]) == 0
    assert "| AUC |" in capsys.readouterr().out


def test_a_file_of_ones_own_is_read_with_the_options_of_a_log(log_file, tmp_path, capsys):
    frame = pl.read_parquet(log_file).rename({"clicks": "opened"}).drop("impressions")
    frame.write_csv(tmp_path / "mine.csv", separator=";")
    page = tmp_path / "page.md"
    mine = [str(tmp_path / "mine.csv"), "--map", "clicks=opened", "--set", "impressions=1"]
    options = ["--separator", ";", "--families", "logistic", "--output", str(page)]
    assert main([*mine, *options]) == 0
    command = "copygym fidelity mine.csv --map clicks=opened --set impressions=1 --separator ';'"
    assert command in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "unknown dataset 'nope': choose one of coupon,"),
        (["storefront", "--families", "cnn"], "unknown response family 'cnn': choose one of boost"),
        (["hillstrom=/no/such.csv"], "/no/such.csv"),
    ],
)
def test_mistakes_are_sentences(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_options_are_those_of_the_config_group(family):
    assert users_options(family)["family"] == family
