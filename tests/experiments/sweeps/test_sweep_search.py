"""Search by Optuna: the space it reads, trials that share a study, pruning, killed trials."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from copygym.core.errors import UserError
from copygym.experiments.commands import main as cli

optuna = pytest.importorskip("optuna", reason="hydra/sweeper=optuna needs Optuna")

from copygym.experiments.sweeps.search import distribution  # noqa: E402

HERE = Path(__file__).parent
SEARCH = (
    "-m", "hydra/sweeper=optuna", "job=sweep_job", "tracker=disabled", "name=quick", "out=s",
    "hydra.sweeper.objective=learned/score",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))


def call(*arguments):
    return cli.main(["run", *SEARCH, *arguments])


def study(folder="s"):
    return json.loads((Path(folder) / "sweep.json").read_text())["study"]


def space(line):
    (override,) = OverridesParser.create().parse_overrides([line])
    return distribution(override)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=interval(0,1)", optuna.distributions.FloatDistribution(0.0, 1.0)),
        ("a=int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("a=tag(log,interval(0.1,8))", optuna.distributions.FloatDistribution(0.1, 8.0, log=True)),
        (
            "a=tag(log,int(interval(1,64)))",
            optuna.distributions.IntDistribution(1, 64, log=True),
        ),
        ("a=range(1,10,3)", optuna.distributions.IntDistribution(1, 7, step=3)),
        ("a=range(0,0.9,0.3)", optuna.distributions.FloatDistribution(0.0, 0.9, step=0.3)),
        ("a=choice(x,2,[3])", optuna.distributions.CategoricalDistribution(["x", "2", "[3]"])),
        ("a=x,y", optuna.distributions.CategoricalDistribution(["x", "y"])),
    ],
)
def test_a_space_is_read_from_hydras_grammar(line, expected):
    assert space(line) == expected


@pytest.mark.parametrize("line", ["a=interval(1,0)", "a=range(3,3)", "a=tag(log,interval(0,1))"])
def test_a_space_without_values_is_refused(line):
    with pytest.raises(UserError, match="is no search space"):
        space(line)


def test_the_best_trial_is_the_one_with_the_largest_objective(capsys):
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=4") == 0
    found = study()
    values = {trial["number"]: trial["value"] for trial in found["trials"]}
    assert len(values) == 4
    # The job's score at seed 0 is x itself.
    assert all(t["value"] == pytest.approx(t["params"]["+x"]) for t in found["trials"])
    assert found["best"]["number"] == max(values, key=values.get)
    assert "best of 4 complete trials (0 pruned)" in capsys.readouterr().err
    # Nothing is missing, so that nothing is run.
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=4") == 0
    assert "nothing was missing" in capsys.readouterr().err
    assert study()["trials"] == found["trials"]


def test_a_search_that_goes_on_chooses_what_one_that_was_not_stopped_would():
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=3") == 0
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=5") == 0
    in_two = [trial["params"] for trial in study()["trials"]]
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=5", "out=t") == 0
    assert [trial["params"] for trial in study("t")["trials"]] == in_two
    assert len({str(params) for params in in_two}) == 5


def test_a_trial_that_is_bad_on_its_first_seed_is_pruned():
    arguments = ("+x=interval(0,1)", "hydra.sweeper.n_trials=5", "hydra.sweeper.seeds=[0,1]")
    assert call(*arguments, "hydra.sweeper.pruner.n_startup_trials=1") == 0
    trials = study()["trials"]
    pruned = [trial for trial in trials if trial["state"] == "pruned"]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert pruned
    assert complete
    assert {len(trial["means"]) for trial in pruned} == {1}
    for trial in complete:
        # The mean of x and x + 0.001.
        assert trial["value"] == pytest.approx(trial["params"]["+x"] + 0.0005)
    jobs = list(Path("s").glob("*/result.json"))
    assert len(jobs) == 2 * len(complete) + len(pruned)


def test_smaller_is_better_if_one_says_so():
    arguments = ("+x=choice(1,2,3)", "hydra.sweeper.n_trials=5", "hydra.sweeper.direction=minimize")
    assert call(*arguments) == 0
    found = study()
    assert found["best"]["value"] == min(t["value"] for t in found["trials"])


def test_a_failed_trial_is_listed_and_another_takes_its_place_next_time(capsys):
    Path("switch").touch()
    arguments = ("+x=interval(0,1)", "hydra.sweeper.n_trials=2", "+breaks=user", "+switch=switch")
    assert call(*arguments) == cli.USER_ERROR
    err = capsys.readouterr().err
    assert "2 of 2 jobs failed" in err
    assert "failed: the log has no clicks" in err
    Path("switch").unlink()
    assert call(*arguments) == 0
    assert study()["counts"]["complete"] == 2


def test_a_killed_trial_is_run_again_where_it_was():
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    arguments = ("+x=interval(0,1)", "hydra.sweeper.n_trials=2", "+breaks=killed", "+switch=switch")
    Path("switch").touch()
    done = subprocess.run(
        [sys.executable, "-m", "copygym.experiments.commands.main", "run", *SEARCH, *arguments],
        capture_output=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode < 0
    Path("switch").unlink()
    (begun,) = [p.parent.name for p in Path("s").glob("*/run.json")]
    assert call(*arguments) == 0
    assert study()["counts"]["complete"] == 2
    assert (Path("s") / begun / "result.json").exists()
    # Its finished stage has not been done again: one line for each of the two trials.
    assert (Path("s") / "worked").read_text().split() == ["0", "0"]


def test_two_processes_share_one_study():
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    both = [
        subprocess.Popen(
            [
                sys.executable, "-m", "copygym.experiments.commands.main", "run", *SEARCH,
                "+x=interval(0,1)", "+seconds=0.5", "hydra.sweeper.n_trials=6",
                f"hydra.sweeper.seed={seed}", "hydra.sweeper.storage=sqlite:///study.db",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for seed in (0, 1)
    ]  # fmt: skip
    errors = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    trials = optuna.load_study(study_name="quick", storage="sqlite:///study.db").trials
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert 6 <= len(complete) <= 7  # both may take the last one at the same moment
    assert len({str(t.params) for t in complete}) == len(complete)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "there is nothing to search: give hydra.sweeper.params"),
        (["+x=interval(0,1)", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: give a"),
        (["+x=interval(0,1)", "hydra.sweeper.n_jobs=x"], "hydra.sweeper.n_jobs=x: give a whole"),
        (["+x=interval(0,1)", "hydra.sweeper.direction=up"], "direction=up: give maximize or"),
        (["+x=interval(0,1)", "hydra.sweeper.seeds=[]"], "hydra.sweeper.seeds=[]: give null or"),
        (["seed=choice(0,1)", "hydra.sweeper.seeds=[0]"], "seed is searched over and in"),
        (["agent=choice(linucb,nobody)"], "unknown agent 'nobody': choose one of"),
        (
            ["+x=interval(0,1)", "hydra.sweeper.sampler._target_=optuna.samplers.CmaEsSampler"],
            "CmaEsSampler keeps its state pickled in the study",
        ),
        (["seed=int(interval(-1,3))"], "seed=-1: give a whole number of 0 or more."),
        (
            ["+x=interval(0,1)", "+hydra.sweeper.sed=1"],
            "unknown key of hydra.sweeper 'sed' (did you mean 'seed'?): choose one of direction,",
        ),
    ],
)
def test_a_mistake_is_one_sentence_before_any_trial_starts(arguments, expected, capsys, tmp_path):
    assert call(*arguments) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_objective_names_those_there_are_and_may_be_mended(capsys):
    arguments = ("+x=interval(0,1)", "hydra.sweeper.n_trials=1")
    assert call(*arguments, "hydra.sweeper.objective=nothing") == cli.USER_ERROR
    assert "choose one of other/score, ours (learned)/score." in capsys.readouterr().err
    assert call(*arguments) == 0
    assert (Path("s") / "worked").read_text().split() == ["0"]


def test_a_file_describes_a_search(capsys):
    search = [a for a in SEARCH if a not in ("-m", "hydra/sweeper=optuna", "out=s")]
    arguments = ["sweep=alpha", "hydra.sweeper.n_trials=1", "hydra.sweeper.seeds=[0,1]"]
    assert cli.main(["run", *search, *arguments]) == 0
    assert "best of 1 complete trials" in capsys.readouterr().err
    assert set(study("multirun/alpha")["best"]["params"]) == {
        "agent.alpha",
        "agent.ridge",
        "agent.gamma",
    }


def test_a_study_of_another_space_is_left_alone(capsys):
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=1") == 0
    assert call("+x=interval(0,2)", "hydra.sweeper.n_trials=1") == cli.USER_ERROR
    assert "has another space" in capsys.readouterr().err
    assert call("+x=interval(0,1)", "hydra.sweeper.n_trials=1") == 0
