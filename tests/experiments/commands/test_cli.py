"""The command line as a user meets it: what it prints, how it fails, with which code."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from copygym.experiments.commands import main as cli


def call(*arguments, timeout=240, cwd=None, **environment):
    """Run `copygym` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", **environment}
    return subprocess.run(
        [sys.executable, "-m", "copygym.experiments.commands.main", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=cwd,
        check=False,
    )


def one_sentence(code, errors):
    """Return the one line that a refused command says."""
    assert code == 2, errors
    assert "Traceback" not in errors
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("copygym: ")
    return lines[0]


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from copygym.experiments.commands.main import main; main(['--help']);"
        "heavy = {'torch', 'polars', 'hydra', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "usage: copygym COMMAND" in done.stdout
    # CPU time, which a busy machine does not stretch.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_version_and_unknown_command(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("copygym ")
    assert cli.main(["fly"]) == 2
    assert capsys.readouterr().err == (
        "copygym: unknown command 'fly': choose one of abtest, completion, data, deliver, doctor, "
        "evaluate, export, fidelity, ingest, monitor, ope, report, reproduce, run, score, update, "
        "wandb, write.\n"
    )


def test_an_output_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "inside", tmp_path / ("x" * 300)):
        done = call("run", "experiment=delivery", "tiny=true", f"out={out}")
        assert "choose another out=" in one_sentence(done.returncode, done.stderr)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_place_where_no_folder_can_be_made_is_one_sentence(tmp_path):
    places = ["/proc/copygym", "/proc/copygym/run"]
    if Path("/sys/kernel").is_dir():
        places.append("/sys/copygym")
    for place in places:
        done = call("run", "experiment=delivery", "tiny=true", f"out={place}")
        assert "choose another out=" in one_sentence(done.returncode, done.stderr)


def test_an_empty_folder_that_was_there_stays(tmp_path):
    (tmp_path / "o").mkdir()
    done = call("run", "experiment=delivery", "seed=-1", f"out={tmp_path / 'o'}")
    assert "seed=-1: give a whole number of 0 or more" in one_sentence(done.returncode, done.stderr)
    assert list((tmp_path / "o").iterdir()) == []


def test_fidelity_of_nothing_is_one_sentence():
    expected = "copygym fidelity: the following arguments are required: FILE|NAME[=PATH]; see"
    done = call("fidelity")
    assert expected in one_sentence(done.returncode, done.stderr)


def test_report_of_nothing(capsys, tmp_path):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "holds no finished copygym run" in capsys.readouterr().err
    assert cli.main(["report"]) == 2


def test_run_help_lists_groups_and_experiments():
    done = call("run", "--help")
    assert done.returncode == 0
    for expected in ("agent: ", "dataset: ", "experiment: ", "experiment=hillstrom", "tiny=true"):
        assert expected in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["agent=alphazero"], "unknown agent 'alphazero': choose one of a2c, best_fixed,"),
        (
            ["experiment=nope"],
            "unknown experiment 'nope': choose one of campaign, closed_loop, delivery,",
        ),
        (["learn.stepz=3"], "there is no config key or group 'learn.stepz'"),
        (["colour=red"], "there is no config key or group 'colour'"),
        (["seed=abc"], "seed=abc: give a whole number of 0 or more"),
        (["seed=["], "cannot read the override 'seed=[': write KEY=VALUE"),
        (["job=copygym.experiments.nothing"], "is no module"),
        (["job=copygym.experiments.report.tables"], "has no function check()"),
        (["tracker.mode=sometimes"], "unknown tracker.mode 'sometimes'"),
        (["experiment=hillstrom", "data.path=missing.csv"], "missing.csv"),
        (["split.judge=-1"], "split.judge=-1: give a number of 0 or more."),
        (["split.judge=0"], "split.judge=0: give a share of users above 0."),
        (["+split.spare=1"], "unknown part of split 'spare'"),
        (["agent=[linucb,uniform]"], "agent=[linucb,uniform] is not one option: choose one of a2c"),
        (["agent=null"], "agent=null is not one option: choose one of a2c"),
        (["experiment=[quickstart,nope]"], "unknown experiment 'nope': choose one of campaign,"),
        (["learn.steps=abc"], "learn.steps=abc: give a whole number of 1 or more."),
        (["users.dynamics.fatigue_click=abc"], "users.dynamics.fatigue_click=abc: give a number."),
        (["tiny=maybe"], "unknown tiny 'maybe': choose one of false, true."),
        (["data.n_users=0"], "data.n_users=0: give a whole number of 1 or more."),
        (["reward=click", "reward.terms.likes=1"], "key or group 'reward.terms.likes'"),
        (["reward=click", "+reward.terms.likes=1"], "unknown reward term 'likes'"),
        (["agent=linucb", "+agent.depth=3"], "agent linucb (learned)"),
        (["evaluation.baseline=luck"], "evaluation.baseline=luck is no policy of this run"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(arguments, expected, tmp_path, capsys):
    given = arguments if "experiment=" in arguments[0] else ["experiment=delivery", *arguments]
    # In this process: what a process of its own adds is seen by the tests above.
    code = cli.main(["run", "tiny=true", "learn.steps=300", *given, f"out={tmp_path / 'o'}"])
    assert expected in one_sentence(code, capsys.readouterr().err)
    # Nothing is left: neither what was written nor the empty folder.
    assert not (tmp_path / "o").exists()
