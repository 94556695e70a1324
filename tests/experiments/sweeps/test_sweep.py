"""Sweeps: what fails fails alone, what is there stays, what is wrong is said before a job runs."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from copygym.evaluation.records import Records
from copygym.experiments.commands import main as cli
from copygym.experiments.sweeps import job as sweep
from copygym.experiments.sweeps.job import Job, Outcome, attempt, held, job_folder, job_name, quoted

HERE = Path(__file__).parent
QUICK = ("job=sweep_job", "tracker=disabled", "name=quick")


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))


def call(*arguments):
    """Run `copygym run` in this process."""
    return cli.main(["run", *arguments, *QUICK])


def start(*arguments):
    """Start `copygym run` in a process group of its own."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "copygym.experiments.commands.main", "run", *arguments, *QUICK],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def finish(*arguments, timeout=200):
    process = start(*arguments)
    _, err = process.communicate(timeout=timeout)
    return process.returncode, err


def listed(folder="multirun/quick"):
    return json.loads((Path(folder) / "sweep.json").read_text())


def statuses(folder="multirun/quick"):
    return {job["folder"].split(",")[0]: job["status"] for job in listed(folder)["jobs"]}


def worked(folder="multirun/quick"):
    return sorted((Path(folder) / "worked").read_text().split())


def test_a_failing_job_stops_no_other_and_is_run_again_alone(tmp_path, capsys):
    Path("switch").touch()
    sweeping = ("-m", "+breaks=null,user,bug,disk", f"+switch={tmp_path / 'switch'}")
    assert call(*sweeping) == cli.USER_ERROR
    err = capsys.readouterr().err
    assert "4 jobs in multirun/quick: 1 finished, 3 failed" in err
    assert "failed: the log has no clicks; give another." in err
    assert "failed: RuntimeError: two lines" in err
    assert "failed: no space is left for " in err
    assert "Traceback" not in err
    assert statuses() == {
        "+breaks=null": "finished",
        "+breaks=user": "failed",
        "+breaks=bug": "failed",
        "+breaks=disk": "failed",
    }
    assert 'raise RuntimeError("two\\nlines")' in listed()["jobs"][2]["trace"]

    # The command that is printed mends its job, without the others.
    Path("switch").unlink()
    (command,) = [j["command"] for j in listed()["jobs"] if "breaks=user" in j["folder"]]
    assert cli.main(shlex.split(command)[1:]) == 0
    capsys.readouterr()

    assert call(*sweeping) == 0
    assert "4 jobs in multirun/quick: 2 finished, 2 finished earlier" in capsys.readouterr().err
    # Of a job that a mistake or a bug ended after a moment nothing is kept, so that the corrected
    # one is not refused; what the full disk ended goes on from its finished stage.
    assert worked() == ["0"] * 6


def test_the_same_call_runs_what_is_missing_and_other_values_share_the_folder(capsys):
    assert call("-m", "seed=0,1") == 0
    assert call("-m", "seed=0,1") == 0
    assert "2 jobs in multirun/quick: 2 finished earlier" in capsys.readouterr().err
    assert call("-m", "seed=1,2") == 0
    assert "1 finished, 1 finished earlier" in capsys.readouterr().err
    assert worked() == ["0", "1", "2"]


def test_a_file_describes_a_sweep_and_the_command_line_wins(capsys):
    assert call("sweep=agents_rewards", "agent=uniform,linucb", "reward=click", "seed=3") == 0
    assert "2 jobs in multirun/agents_rewards: 2 finished" in capsys.readouterr().err
    job = listed("multirun/agents_rewards")["jobs"][0]
    assert job["folder"] == "agent=uniform,job=sweep_job,name=quick,reward=click,seed=3," + QUICK[1]
    # The command of a job is a run, though its file asks for a sweep.
    assert cli.main(shlex.split(job["command"])[1:]) == 0
    assert "this run is finished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["agent=linucb,nobody"], "unknown agent 'nobody': choose one of a2c,"),
        (["reward=click,nothing"], "unknown reward 'nothing': choose one of balanced,"),
        (["agent="], "unknown agent '': choose one of a2c,"),
        (["agent=[]"], "agent=[] is not one option"),
        (["seed=0,a"], "seed=a: give a whole number of 0 or more."),
        (["seed=0,1.5"], "seed=1.5: give a whole number of 0 or more."),
        (["seed="], "seed=: give a whole number of 0 or more."),
        (["seed=range(3,3)"], "seed=range(3,3) is a sweep over nothing"),
        (["seed=choice()"], "cannot read the override 'seed=choice()'"),
        (["seed=interval(0,1)"], "seed=interval(0,1) has no end of values"),
        (["hydra.sweeper.params={seed: []}"], "hydra.sweeper.params.seed=[]: write the values"),
        (["hydra.sweeper.params={seed: null}"], "hydra.sweeper.params.seed=None: write the"),
        (["out=a,b"], "out has several values, but a sweep has one folder"),
        (["sweep=nothing"], "unknown sweep 'nothing': choose one of agents_rewards,"),
        (["hydra/launcher=nothing"], "unknown hydra/launcher 'nothing': choose one of basic,"),
        (["job=sweep_job,nojob"], "job=nojob is no module"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_job_starts(arguments, expected, capsys, tmp_path):
    # The job is named last, so that a sweep over jobs can be a mistake, too.
    quick = [q for q in QUICK if q.split("=")[0] not in {a.split("=")[0] for a in arguments}]
    assert cli.main(["run", "-m", *quick, *arguments]) == cli.USER_ERROR
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_hydras_own_sweeper_hides_no_failure(capsys):
    assert call("-m", "hydra/sweeper=basic", "+breaks=null,user") == cli.USER_ERROR
    assert "the log has no clicks" in capsys.readouterr().err


def test_a_folder_of_another_version_stops_the_sweep_before_it_begins(capsys):
    assert call("-m", "seed=0,1") == 0
    (state,) = Path("multirun/quick").glob("*seed=1*/run.json")
    state.write_text(state.read_text().replace('"code": "', '"code": "0'))
    capsys.readouterr()
    assert call("-m", "seed=2,1") == cli.USER_ERROR
    assert "made by another version of the code; choose another out=" in capsys.readouterr().err
    assert worked() == ["0", "1"]


@pytest.mark.parametrize("name", ["result.json", "manifest.json"])
def test_a_half_written_file_of_a_finished_job_is_made_again(name, capsys):
    assert call("-m", "seed=0,1") == 0
    (file,) = Path("multirun/quick").glob(f"*seed=1*/{name}")
    whole = json.loads(file.read_text())
    file.write_text(file.read_text()[:30])
    assert call("-m", "seed=0,1") == 0
    assert "1 finished, 1 finished earlier" in capsys.readouterr().err
    assert json.loads(file.read_text()).keys() == whole.keys()
    assert worked() == ["0", "1"]


def test_a_damaged_state_fails_its_job_and_touches_nothing(capsys):
    assert call("-m", "seed=0") == 0
    (state,) = Path("multirun/quick").glob("*seed=0*/run.json")
    state.write_text(state.read_text()[:30])
    assert call("-m", "seed=0,1") == cli.USER_ERROR
    err = capsys.readouterr().err
    assert "1 finished, 1 failed" in err
    assert "run.json is damaged, so that nobody can tell whose run this is: remove" in err
    assert len(state.read_text()) == 30


def test_a_full_disk_costs_the_note_and_not_the_outcome(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(sweep, "write_result", full)
    assert attempt(lambda: None, tmp_path / "job") == Outcome("finished")
    failed = attempt(lambda: full(tmp_path / "x", 0), tmp_path / "job")
    assert failed.status == "failed"
    assert failed.error == (
        f"no space is left for {tmp_path / 'x'}; make room and repeat the command, which goes on "
        "where it was."
    )


def test_a_job_that_another_process_holds_is_left_to_it(tmp_path):
    job = Job((), tmp_path / "job")
    with held(job.lock):
        assert attempt(lambda: pytest.fail("it ran"), job.folder) == Outcome("held")
    assert attempt(lambda: None, job.folder) == Outcome("finished")


def test_two_sweeps_in_one_folder_share_the_jobs():
    sweeping = ("-m", "seed=0,1,2,3", "+seconds=1")
    both = [start(*sweeping), start(*sweeping)]
    errors = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert worked() == ["0", "1", "2", "3"]
    assert len(list(Path("multirun/quick").glob("*/result.json"))) == 4


def test_a_killed_sweep_loses_what_was_in_flight_at_most():
    sweeping = ("-m", "seed=0,1,2", "+seconds=2")
    process = start(*sweeping)
    limit = time.monotonic() + 100
    while not list(Path("multirun/quick").glob("*seed=1*/run.json")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    code, err = finish(*sweeping)
    assert code == 0, err
    assert "finished earlier" in err
    assert worked().count("0") == 1
    assert len(list(Path("multirun/quick").glob("*/result.json"))) == 3


LAUNCHERS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": [],
    "ray": [
        "hydra.launcher.init.num_cpus=2",
        "hydra.launcher.init.object_store_memory=100000000",
    ],
}
NEEDS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "ray",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_worker_costs_its_jobs_and_the_next_call_runs_them(launcher, tmp_path, ray_token):
    pytest.importorskip(NEEDS[launcher], reason=f"hydra/launcher={launcher} is not installed")
    Path("switch").touch()
    sweeping = (
        "-m", f"hydra/launcher={launcher}", *LAUNCHERS[launcher],
        "+breaks=null,user,killed", f"+switch={tmp_path / 'switch'}",
    )  # fmt: skip
    code, err = finish(*sweeping)
    assert code == cli.USER_ERROR, err
    found = statuses()
    assert found["+breaks=killed"] == "failed", err
    assert found["+breaks=user"] == "failed"
    assert "failed: the log has no clicks; give another." in err or "without a word" in err
    Path("switch").unlink()
    code, err = finish(*sweeping)
    assert code == 0, err
    told = [next(iter(Records.read(p.parent).about.values())) for p in _results()]
    assert len(told) == 3
    if launcher == "ray":
        assert {about["address"] for about in told} == {"127.0.0.1"}


def _results():
    return list(Path("multirun/quick").glob("*/result.json"))


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
import ray
from copygym.experiments.commands import main as cli

node = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
try:
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    code = cli.main(["run", *sys.argv[1:], f"hydra.launcher.init.address={cluster.address}"])
finally:
    ray.shutdown()
    cluster.shutdown()
sys.exit(code)
"""


def test_ray_runs_jobs_on_the_nodes_of_a_cluster(ray_token):
    pytest.importorskip("ray", reason="hydra/launcher=ray needs Ray")
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            sys.executable, "-c", CLUSTER, "-m", "hydra/launcher=ray",
            "seed=0,1,2,3", "+seconds=3", *QUICK,
        ],
        capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, "PYTHONPATH": path, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [next(iter(Records.read(p.parent).about.values())) for p in _results()]
    assert len(told) == 4
    # Each node has one core, and so works through its share in a process of its own.
    assert len({about["node"] for about in told}) == 2


def test_a_bandits_job_imports_no_torch():
    code = (
        "import sys; from copygym.experiments.commands.main import main;"
        "code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'stable_baselines3', 'trl', 'ray', 'optuna'};"
        "found = heavy & set(sys.modules);"
        "sys.exit(code or (repr(found) if found else 0))"
    )
    done = subprocess.run(
        [
            sys.executable, "-c", code, "run", "-m", "experiment=delivery", "tiny=true",
            "tracker=disabled", "agent=linucb", "data.n_users=60", "learn.steps=500",
            "references.best_fixed=null", "references.upper=null",
        ],
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 finished" in done.stderr


def test_other_jobs_have_other_folders_and_names_that_files_can_have():
    assert job_name(["seed=1", "agent=ppo"], []) == "agent=ppo,seed=1"
    assert job_name(["out=x", "data.path=a.csv", "seed=1"], ["seed"]) == "seed=1"
    assert job_name(["data.path=a.csv"], ["data.path"]) == "data.path=a.csv"
    odd = {job_name([f"x={v}"], []) for v in ("a/b", "a_b", "a b", "y" * 300, "y" * 301)}
    assert len(odd) == 5
    assert all(len(name.encode()) <= 128 and "/" not in name for name in odd)


def test_a_name_holds_nothing_that_a_shell_or_a_glob_reads():
    values = ("[64,64]", "[32,32]", "'a*b?'", '"$(x) {1,2}"', "~a", "a;b&c|d<e>f", "`x`!", "\n")
    names = [
        job_name([f"agent.net_arch={value}", "seed=1"], ["agent.net_arch"]) for value in values
    ]
    assert len(set(names)) == len(values)
    assert all(re.fullmatch(r"[\w.,=+@-]+", name) for name in names)
    assert names[0].startswith("agent.net_arch=64,64,seed=1-")
    # Lists that differ in their brackets alone are others.
    assert job_name(["x=[1,2]"], ["x"]) != job_name(["x=[[1],2]"], ["x"])


def test_a_long_name_shows_what_is_swept_and_the_seed(tmp_path):
    fixed = [f"experiment.with.long.keys.part{i}={'v' * 20}" for i in range(7)]
    swept = ["copywriter.sft.steps=600", "agent.net_arch=[64,64]"]
    jobs = [[*fixed, *swept, f"seed={seed}"] for seed in (0, 1)]
    names = [job_name(job, ["seed", "copywriter.sft.steps", "agent.net_arch"]) for job in jobs]
    assert names[0].startswith("agent.net_arch=64,64,copywriter.sft.steps=600,seed=0,")
    assert names[1].startswith("agent.net_arch=64,64,copywriter.sft.steps=600,seed=1,")
    assert all(len(name) <= 128 for name in names)
    assert names[0] == job_name(
        list(reversed(jobs[0])), ["agent.net_arch", "seed", "copywriter.sft.steps"]
    )
    nine = [f"some.group.of.keys.number{i}=value{i}" for i in range(5)]
    name = job_name([*nine, "seed=7"], [*(o.partition("=")[0] for o in nine), "seed"])
    assert name.startswith("number0=value0,number1=value1,") and ",seed=7-" in name
    # A sweep that goes over other keys meets the same job in the same folder.
    (tmp_path / names[0]).mkdir()
    (tmp_path / names[0] / "run.json").touch()
    assert job_folder(tmp_path, jobs[0], ["seed"]) == tmp_path / names[0]
    assert job_folder(tmp_path, jobs[1], ["seed"]).name == job_name(jobs[1], ["seed"])
    # The seed stays to be seen where the swept values alone are too long.
    long = job_name([f"a.b={'w' * 300}", "seed=12345"], ["a.b", "seed"])
    assert ",seed=12345-" in long and len(long.encode()) <= 128


@pytest.mark.parametrize("value", ["a/b.c", "x=1,y=[2]", 'say "hi"', "it's", "back\\slash", "a b"])
def test_a_quoted_value_is_read_as_it_was(value):
    (override,) = OverridesParser.create().parse_overrides([f"out={quoted(value)}"])
    read = override.value()
    assert read == value
