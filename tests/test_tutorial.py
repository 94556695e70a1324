"""docs/tutorial.md, command by command, in its smallest form."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from copygym.experiments.commands import main as cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
#: What makes a run tiny; the page's own is minutes long.
TINY = ("tiny=true", "tracker=disabled", "reward_model=tfidf", "reward_model@judge_model=tfidf")


def commands():
    return re.findall(r"^    ((?:python|copygym) .*)$", PAGE.read_text(), re.MULTILINE)


def call(line):
    """Run a command of the page; returns its exit code."""
    program, *words = shlex.split(line)
    if program == "python":
        script = ROOT / words[0]
        code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); import newcomer as n\n"
        if script.name == "newcomer.py":
            code += "from pathlib import Path; p = Path('shop'); "
            code += "n.make(p, sends=6000, customers=400); n.roughen(p)"
            return subprocess.run([sys.executable, "-c", code], check=True).returncode
        return subprocess.run([sys.executable, str(script), *words[1:]], check=True).returncode
    return cli.main([*words, *TINY] if words[0] == "run" else words)


@pytest.mark.timeout(900)
def test_every_command_of_the_page_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for line in commands():
        code, said = call(line), capsys.readouterr()
        # A campaign that few people have answered may well be worth a look.
        assert code == 0 or (code == 1 and line.startswith("copygym monitor")), said.err
    (campaign,) = tmp_path.glob("outputs/first/report.md")
    assert re.search(r"Do not deploy|Nothing here speaks against", campaign.read_text())
    plans = [pl.read_parquet(tmp_path / name) for name in ("plan.parquet", "plan2.parquet")]
    people = pl.read_csv(tmp_path / "shop" / "people.csv", separator=";")
    assert plans[0]["user"].to_list() == people["Kundennummer"].to_list()
    assert plans[1].height == people.height
    log = pl.read_parquet(tmp_path / "second.parquet")
    outcomes = pl.read_csv(tmp_path / "outcomes.csv")
    assert int(log["clicks"].sum()) == int(outcomes["clicked"].sum()) > 0
    assert log["user_age"].null_count() == 0


def test_the_page_says_how_it_is_tested():
    assert "tests/test_tutorial.py" in PAGE.read_text()
    assert len(commands()) == 12


@pytest.mark.parametrize("name", ["newcomer.py", "customers.py"])
def test_an_example_without_its_files_says_what_it_needs(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "give " in done.stderr
