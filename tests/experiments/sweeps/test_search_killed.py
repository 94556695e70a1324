"""A search that was killed makes the choices of one that was not, wherever the kill met it."""

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

optuna = pytest.importorskip("optuna", reason="hydra/sweeper=optuna needs Optuna")

from optuna.storages.journal import JournalFileBackend  # noqa: E402

from copygym.experiments.sweeps import search  # noqa: E402
from copygym.experiments.sweeps.job import Job, Outcome  # noqa: E402

SPACE = ("x=interval(0,1)", "y=choice(a,b,c)")


class Killed(BaseException):
    """Stands for SIGKILL: nothing is done after it."""


class Runner:
    """Runs jobs in no time, and fails those that it is told to."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.failing = set()
        self.ran = []
        self.study = None

    def check(self, overrides):
        pass

    def begin(self):
        self.folder.mkdir(exist_ok=True)

    def job(self, overrides, swept):
        return Job(tuple(overrides), self.folder / str(len(self.ran)))

    def run(self, jobs):
        outcomes = []
        for job in jobs:
            self.ran.append(job)
            failed = len(self.ran) in self.failing
            outcomes.append(Outcome("failed", "broken") if failed else Outcome("finished"))
        return outcomes

    def finish(self, study):
        self.study = study


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)

    def value(self, job):
        words = dict(o.split("=") for o in job.overrides)
        return float(words["x"]) + 0.1 * "abc".index(words["y"]) + 0.01 * int(words["seed"])

    monkeypatch.setattr(search._Search, "_objective", value)


def run(runner, n_trials=8, n_jobs=2, storage=None, sampler="TPESampler", **sampler_options):
    options = search.Options(
        objective="score",
        direction="maximize",
        n_trials=n_trials,
        n_jobs=n_jobs,
        seeds=[0, 1],
        seed=0,
        study_name="s",
        storage=storage,
        sampler={
            "_target_": f"optuna.samplers.{sampler}",
            "_partial_": True,
            **({"n_startup_trials": 2} if sampler == "TPESampler" else {}),
            **sampler_options,
        },
        pruner={"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2},
    )
    overrides = OverridesParser.create().parse_overrides(list(SPACE))
    search._Search(runner, overrides, options).run()
    return [(t["state"], t["params"], t["value"]) for t in runner.study["trials"]]


def killed_after(monkeypatch, writes, work):
    """Do ``work`` until the study's journal has been written to so often; tell whether it ended."""
    left = [writes]
    append = JournalFileBackend.append_logs

    def dying(self, logs):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        append(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", dying)
    try:
        work()
    except Killed:
        return False
    finally:
        monkeypatch.setattr(JournalFileBackend, "append_logs", append)
    return True


def ended(trials):
    """Return the trials that count, in the order of their places."""
    return [trial for trial in trials if trial[0] in ("complete", "pruned")]


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_kill_at_any_write_to_the_study_changes_no_choice(n_jobs, tmp_path, monkeypatch):
    whole = run(Runner(tmp_path / "whole"), n_jobs=n_jobs)
    assert {trial[0] for trial in whole} == {"complete", "pruned"}
    writes = 0
    while True:
        folder = tmp_path / f"killed-{writes}"

        def work(folder=folder):
            run(Runner(folder), n_jobs=n_jobs)

        if killed_after(monkeypatch, writes, work):
            break
        assert ended(run(Runner(folder), n_jobs=n_jobs)) == whole, writes
        writes += 1
    assert writes > 30


def test_many_kills_of_one_search_change_no_choice(tmp_path, monkeypatch):
    whole = run(Runner(tmp_path / "whole"))
    kills = 0
    while not killed_after(monkeypatch, 7, lambda: run(Runner(tmp_path / "killed"))):
        kills += 1
    assert kills > 5
    assert ended(run(Runner(tmp_path / "killed"))) == whole


def test_half_a_line_of_the_journal_is_cut_off(tmp_path):
    whole = run(Runner(tmp_path / "a"))
    run(Runner(tmp_path / "b"), n_trials=4)
    journal = tmp_path / "b/study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"work')
    assert run(Runner(tmp_path / "b")) == whole


def test_a_failed_trial_moves_no_other_and_is_tried_again_with_its_values(tmp_path):
    random = {"sampler": "RandomSampler", "n_jobs": 1}
    whole = run(Runner(tmp_path / "whole"), **random)
    broken = Runner(tmp_path / "broken")
    broken.failing = {2}  # the second job of the first trial
    first = run(broken, **random)
    assert first[0][0] == "fail"
    assert [t[1] for t in first[1:]] == [t[1] for t in whole[1:]]
    again = run(Runner(tmp_path / "broken"), **random)
    assert again[-1][1:] == whole[0][1:]
    assert len(ended(again)) == len(whole)


def test_values_that_fail_twice_give_way_to_others(tmp_path):
    tried = []
    for _ in range(3):
        broken = Runner(tmp_path / "broken")
        broken.failing = {1}
        tried.append(run(broken, n_trials=1, n_jobs=1)[-1][1])
    assert tried[0] == tried[1] != tried[2]


def test_a_study_without_places_goes_on(tmp_path):
    """One of an earlier version, which asked for a killed trial's values again."""
    whole = run(Runner(tmp_path / "whole"))
    run(Runner(tmp_path / "old"), n_trials=4)
    journal = tmp_path / "old/study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"place"' not in line))
    assert run(Runner(tmp_path / "old")) == whole


def test_a_journal_behind_a_link_is_refused(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "sweep/study.journal").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(search.UserError, match="is a link"):
        run(Runner(tmp_path / "sweep"))
    assert (tmp_path / "thesis.txt").read_text() == "mine"
