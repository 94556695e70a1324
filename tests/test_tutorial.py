"""docs/tutorial.md: every command of the page, as it stands there, at a smaller size."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest

from copygym.evaluation.records import Records
from copygym.experiments.commands import main as cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALL = ["--sends", "2500", "--customers", "250"]
TINY = ["tiny=true", "tracker=disabled"]
#: What the page's campaign becomes; the second is a delivery run in its place, which takes seconds.
CAMPAIGN = ["experiment=campaign", *TINY, "copywriter=tiny", "reward_model=tfidf",
            "reward_model@judge_model=tfidf"]  # fmt: skip
DELIVERY = ["experiment=delivery", *TINY, "~data.seed", "~data.n_users", "~data.n_slots",
            "learn.steps=500"]  # fmt: skip


def blocks():
    """Return (kind, text) of the page's blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """Return the commands of a block as lists of words."""
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]


def execute(words, job):
    """Run a command of the page in this process; return its exit code."""
    program, *arguments = words
    if program == "python":
        script = ROOT / arguments.pop(0)
        sys.path.insert(0, str(script.parent))
        sys.argv = [str(script), *arguments, *(SMALL if script.name == "newcomer.py" else [])]
        runpy.run_path(str(script), run_name="__main__")
        return 0
    assert program == "copygym"
    if arguments[0] == "run":
        arguments = ["run", *job, *(word for word in arguments[1:] if "experiment=" not in word)]
    return cli.main(arguments)


@pytest.fixture(
    params=[pytest.param(CAMPAIGN, marks=[pytest.mark.slow, pytest.mark.timeout(1200)],
                         id="campaign"),
            pytest.param(DELIVERY, id="delivery in its place")]
)  # fmt: skip
def job(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return request.param


def test_a_newcomer_gets_to_the_second_round_by_the_page_alone(job, tmp_path, capsys):
    for kind, text in blocks():
        if kind == "yaml":
            name = text.split("\n", 1)[0].removeprefix("# ")
            (tmp_path / name).write_text(text)
            continue
        assert kind == "sh"
        for words in commands(text):
            code = execute(words, job)
            # A monitor that rings is an answer, too.
            assert code == 0 or (words[1] == "monitor" and code == 1), " ".join(words)
    shown = capsys.readouterr().out
    assert "valid log" in shown and "messages are due" in shown

    # What was learned from is a real log, and the report says what nobody has measured.
    run = tmp_path / "runs" / "first"
    assert not json.loads((run / "result.json").read_text())["synthetic"]
    assert Records.read(run).first["log"] in ("spring", "table")
    report = (run / "report.md").read_text()
    if job is CAMPAIGN:
        assert "no experiment confirms it" in report and "eploy" in report.split("\n## ")[0]
    else:
        assert "no experiment has confirmed it" in report

    # Both plans have everybody, once and in order, and nobody of the control group is written to.
    people = pl.read_csv("shop/people.csv", separator=";")["Kundennummer"].to_list()
    for name in ("plan.parquet", "plan2.parquet"):
        plan = pl.read_parquet(name)
        sent = plan.filter(pl.col("creative") != "hold")
        assert plan["user"].to_list() == people
        assert sent.height and sent["copy"].null_count() == 0 and not sent["control"].any()
        assert set(sent["channel"]) <= {"email", "push"}

    # What was played came home, and the second run has learned from it.
    played, log = pl.read_csv("outcomes.csv"), pl.read_parquet("round1.parquet")
    assert log["clicks"].sum() == played["clicked"].sum()
    assert log["propensity"].is_between(0, 1).all()
    told = json.loads((tmp_path / "runs" / "second" / "update.json").read_text())
    assert told["people"]["after"] - told["people"]["before"] == len(people)
    assert told["rows"] == played.height


def test_the_page_s_commands_are_those_that_exist():
    names = {words[1] for kind, text in blocks() if kind == "sh" for words in commands(text)
             if words[0] == "copygym"}  # fmt: skip
    assert {"data", "fidelity", "run", "deliver", "monitor", "ingest", "update"} == names
