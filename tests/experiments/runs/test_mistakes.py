"""Overrides that no experiment can use: one sentence before any folder is made."""

import subprocess
import sys

import pytest

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.experiments.app import composed
from copygym.experiments.commands import main as cli
from copygym.experiments.runs.validate import validate

BASE = ("experiment=delivery", "tiny=true", "tracker=disabled")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("references=7", "references=7: give"),
        ("references.random=7", "references.random=7: give null or"),
        ("++data.encoding=null", "data.encoding=null: give a name"),
        ("++data.time_zone=7", None),
        ("++data.constants=5", "data.constants=5: give null or"),
        ("++data.columns=[1]", "data.columns="),
        ("++data.ignore=5", "data.ignore=5: give null or a list of names"),
        ("++data.events=[1]", "data.events="),
        ("++data.synthetic=maybe", "data.synthetic=maybe: give true or false"),
        ("split=null", "split=null: give"),
        ("learn=7", "learn=7: give"),
        ("publish=7", None),
        ("evaluation=null", "evaluation=null: give"),
    ],
)
def test_a_section_or_value_of_another_kind_is_one_sentence(override, message):
    if message is None:  # a name, though it looks like a number
        validate(composed([*BASE, override]))
        return
    with pytest.raises(UserError) as refused:
        validate(composed([*BASE, override]))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "overrides", [("~learn",), ("job=''",), ("job=.x",), ("agent.device=warp9",),
                  ("agent.device=cuda",), ("agent.net_arch=[-1]",), ("references=7",)],
)  # fmt: skip
def test_a_run_of_a_mistake_leaves_nothing(overrides, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ("references.best_fixed=null", "references.upper=null", "learn.steps=500",
             "evaluation.users=10", "data.n_users=60")  # fmt: skip
    if overrides == ("references=7",):
        quick = ()
    assert cli.main(["run", *BASE, *quick, "out=run", *overrides]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and "copygym: " in error
    # What has learned already is kept, for the corrected command to go on from or to replace.
    kept = overrides[0].startswith("agent.")
    assert kept or not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("n_users", "abc", "n_users='abc' is not a whole number"),
        ("n_users", True, "n_users=True is not a whole number"),
        ("n_users", 2.5, "n_users=2.5 is not a whole number"),
        ("catalogue", 7, "catalogue=7 is not a text"),
    ],
)
def test_an_option_of_a_dataset_of_another_type(option, value, message):
    with pytest.raises(UserError, match=f"dataset storefront: {message}"):
        datasets.load("storefront", **{option: value})


def test_a_bug_of_ours_is_one_sentence_with_a_file(tmp_path):
    code = (
        "import sys; from copygym.experiments.commands import main as cli\n"
        "def broken(arguments): raise RuntimeError('deep\\x1b[2J inside')\n"
        "cli._dispatch = broken\nsys.argv = ['copygym', 'run', 'x=1']\nsys.exit(cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**__import__("os").environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("copygym: a bug of ours (RuntimeError: deep")
    (kept,) = tmp_path.glob("copygym-bug-*.txt")
    assert "Traceback" in kept.read_text() and "copygym run x=1" in kept.read_text()
    assert str(kept) in line
