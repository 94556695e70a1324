"""Every experiment's tiny form runs; a killed run goes on and ends the same."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from public_columns import write_mind

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.evaluation.records import Records
from copygym.experiments import app
from copygym.experiments.commands.main import main
from copygym.experiments.report.page import Section, markdown
from copygym.experiments.report.tables import Table

CONF = Path(__file__).parents[3] / "conf"
NAMES = {"group": "g", "job_type": "j", "name": "n"}
#: Files by experiment: real ones where they are given, else made-up rows in their columns.
REAL = {
    "e10_hillstrom": "hillstrom/hillstrom.csv",
    "e1_hillstrom": "hillstrom/hillstrom.csv",
    "e5_hillstrom": "hillstrom/hillstrom.csv",
    "e8": "hillstrom/hillstrom.csv",
    "hillstrom": "hillstrom/hillstrom.csv",
    "signal": "hillstrom/hillstrom.csv",
    "e11_upworthy": "upworthy",
    "e7": "upworthy/content_experiments.csv.gz",
    "e2": "upworthy",
    "upworthy_reward": "upworthy",
    "e4_upworthy": "upworthy/exploratory.parquet",
    "upworthy_rlpf": "upworthy/exploratory.parquet",
    "e3_upworthy": "upworthy/exploratory.parquet",
}
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
#: Run by tests of their own.
ELSEWHERE = ("campaign", "closed_loop", "delivery", "quickstart", "storefront_rlpf")
SMALL = ["learn.steps=1500", "env.num_envs=32", "evaluation.timelines=1"]
#: Best-arm searches that do not need to find the best arm here.
QUICK = ["references.best_fixed.episodes=32", "references.best_fixed.finalists=1"]


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def config(*overrides):
    return app.composed(overrides)


def tiny(experiment, out, *overrides):
    small = SMALL
    if experiment in ("delivery", "headroom"):
        small = [*SMALL, *QUICK]
    if experiment == "headroom":
        small = [*small, "references.always.episodes=1"]
    if experiment in REAL:
        small = ["learn.steps=640", "env.num_envs=32"]
    if experiment == "e3_storefront":
        small = ["copywriter=tiny", "reward_model=tfidf"]
    if experiment.startswith("e10"):
        small = []
    if experiment in ("e2", "e7", "e11_upworthy"):
        # upworthy_reward has the sentence encoder.
        small = ["reward_model=tfidf"]
    if experiment in ("e12", "e13", "e13_sizes"):
        models = [f"reward_model{part}=tfidf" for part in ("", "@judge_model")]
        small = ["copywriter=tiny", *models]
    if experiment == "dtypes":
        small = ["copywriter=tiny", *SMALL]
    if experiment == "ppo_options":
        small = ["copywriter=tiny", "algorithms.fast.layers=1", "reward_model=tfidf"]
    if experiment in ("upworthy_rlpf", "e3_upworthy", "e4_upworthy"):
        models = [f"reward_model{part}=tfidf" for part in ("", "@judge_model", "@gold_model")]
        small = ["copywriter=tiny", *models]
    base = (f"experiment={experiment}", "tiny=true", "tracker=disabled", f"out={out}")
    has = config(*base)
    # An experiment has the keys of its base: not all learn, or draw timelines.
    small = [o for o in small if "." not in o or _has(has, o.partition("=")[0])]
    return config(*base, *small, *overrides)


def _has(config, key):
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def start(folder):
    """Start a tiny delivery run in a process of its own, as a user would."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "copygym.experiments.commands.main", "run", "experiment=delivery",
            "tiny=true", "tracker=disabled", f"out={folder}", *SMALL, *QUICK,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ},
    )  # fmt: skip


def finish(folder):
    process = start(folder)
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err.decode()


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """A finished tiny delivery run."""
    base = tmp_path_factory.mktemp("delivery")
    os.environ["COPYGYM_HOME"] = str(tmp_path_factory.getbasetemp() / "home")
    folder = base / "run"
    finish(folder)
    return folder


def read(folder, name="result.json"):
    return json.loads((folder / name).read_text())


def test_delivery_leaves_everything(delivered):
    result, records = read(delivered), Records.read(delivered)
    assert result["synthetic"]
    whole = records.where(versus=None, segment=None, step=None)
    assert whole.values("policy")[-1] == "upper"
    for policy in whole.values("policy"):
        for key in ("ctr", "profit_per_user", "unsubscribe_rate"):
            entry = whole.number(key, policy=policy)
            assert entry["low"] <= entry["value"] <= entry["high"]
            assert result["summary_numbers"][f"{policy}/{key}"] == entry["value"]
    clicks = {n: whole.number("clicks_per_user", policy=n)["value"] for n in ("upper", "random")}
    assert clicks["upper"] > clicks["random"]
    difference = records.number("clicks_per_user", policy="upper", versus="logging", segment=None)
    logging = whole.number("clicks_per_user", policy="logging")["value"]
    assert difference["value"] == pytest.approx(clicks["upper"] - logging)
    assert any("one seed" in text for text in result["assumptions"])
    report = (delivered / "report.html").read_text()
    assert "synthetic data" in report
    for expected in ("<svg", "Timelines", "How real are the simulated users?", "Manifest"):
        assert expected in report
    # Self-contained: nothing is fetched, nobody is named.
    assert not re.search(r"(src|href)=\"(?!#)", report)
    assert "user_id" not in report
    assert (
        "(synthetic" in (delivered / "table.md").read_text().lower()
        or "Synthetic" in (delivered / "table.md").read_text()
    )


def test_the_report_is_markdown_too(delivered):
    page = (delivered / "report.md").read_text()
    assert page.startswith("# ")
    assert "**Synthetic data.**" in page
    assert (delivered / "table.md").read_text().splitlines()[-1] in page
    for name in re.findall(r"\]\((\w+\.svg)\)", page):
        assert (delivered / "figures" / name).exists()
    assert "policies.svg" in page
    assert "the largest segments. Segments are by user_" in page


def test_the_report_counts_organic_clicks_apart():
    from copygym.experiments.report.page import _closing

    manifest = {
        "command": "copygym run", "seed": 0, "config_sha256": "a" * 64,
        "code": {"version": "0", "sources_sha256": "b"},
        "machine": {"processor": "p", "cores": 1, "system": "s"},
        "wall_seconds": 1, "cpu_seconds": 1, "stages": {}, "packages": {},
        "rows_seen": {"test": {"rows": 9, "users": 3, "clicks": 5, "organic": 4}},
    }  # fmt: skip
    tables = [table for section in _closing({}, manifest) for table in section.tables]
    (parts,) = [table for table in tables if table.columns[0] == "part of the data"]
    assert parts.columns[3:] == ("clicks", "of these without a send")
    assert parts.rows == (("test", "9", "3", "5", "4"),)


def test_markdown_keeps_copy_inert():
    section = Section("Copy", tables=(Table(("text",), (("<img src=x> ![a](b) | c",),)),))
    page = markdown({"title": "T", "summary": "S"}, Table(("a",), ()), [section])
    assert "| &lt;img src=x> ![a]\\(b) \\| c |" in page


def test_the_manifest_is_complete_and_private(delivered):
    manifest = read(delivered, "manifest.json")
    for key in ("command", "config", "seed", "code", "packages", "data", "rows_seen", "machine"):
        assert manifest[key] is not None, key
    assert manifest["data"]["storefront"]["sha256"]
    assert set(manifest["rows_seen"]) == {"train", "test"}
    assert manifest["wall_seconds"] > 0
    text = (delivered / "manifest.json").read_text()
    assert str(Path.home()) + "/" not in text
    assert os.uname().nodename not in text or len(os.uname().nodename) < 4


def test_no_user_is_in_train_and_test(delivered):
    seen = read(delivered, "manifest.json")["rows_seen"]
    assert seen["train"]["users"] + seen["test"]["users"] == 200


def test_a_finished_run_is_reported_and_not_repeated(delivered, capsys):
    before = (delivered / "result.json").stat().st_mtime_ns
    app.execute(tiny("delivery", delivered), delivered, ["run"], NAMES)
    captured = capsys.readouterr()
    assert "this run is finished" in captured.err
    assert "policy" in captured.out
    assert (delivered / "result.json").stat().st_mtime_ns == before


def test_another_config_in_its_folder_is_refused(delivered):
    with pytest.raises(UserError, match=re.escape("another config (seed was 0, now 1)")):
        app.execute(tiny("delivery", delivered, "seed=1"), delivered, ["run"], NAMES)


def test_the_report_can_be_built_again(delivered, capsys):
    old = (delivered / "report.html").read_text()
    (delivered / "report.html").unlink()
    assert main(["report", str(delivered)]) == 0
    assert capsys.readouterr().out.strip() == str(delivered / "report.html")
    assert (delivered / "report.html").read_text() == old


def test_a_second_run_gives_the_same_numbers(delivered, tmp_path):
    folder = tmp_path / "again"
    finish(folder)
    assert read(folder) == read(delivered)


def test_results_can_be_published(delivered, tmp_path):
    app.execute(
        tiny("delivery", delivered, f"publish={tmp_path / 'docs'}"), delivered, ["run"], NAMES
    )
    found = {path.name for path in (tmp_path / "docs").iterdir()}
    assert {"result.json", "manifest.json", "table.md", "report.md"} <= found
    assert {"records.parquet", "about.json"} <= found
    assert {"policies.svg", "policies.png"} <= found


def test_publishing_writes_over_publications_alone(delivered, tmp_path):
    published, mine = tmp_path / "docs", tmp_path / "mine"
    mine.mkdir()
    (mine / "report.md").write_text("mine")
    for target in (published, published, mine):
        again = tiny("delivery", delivered, f"publish={target}")
        if target is mine:
            with pytest.raises(UserError, match=re.escape("mine holds 'report.md', which copygym")):
                app.execute(again, delivered, ["run"], NAMES)
        else:
            app.execute(again, delivered, ["run"], NAMES)
    assert [path.name for path in mine.iterdir()] == ["report.md"]
    # Refused before any work, too.
    fresh = tmp_path / "fresh"
    with pytest.raises(UserError, match="which copygym did not publish"):
        app.execute(tiny("delivery", fresh, f"publish={mine}"), fresh, ["run"], NAMES)
    assert not fresh.exists()


@pytest.mark.parametrize(
    "experiment",
    [
        # Options of PPO have tests of their own, E3 runs the same study; dtypes is the quickstart.
        pytest.param(e, marks=pytest.mark.slow) if e in ("ppo_options", "dtypes") else e
        for e in EXPERIMENTS
        if e not in ELSEWHERE
    ],
)
def test_every_experiment_runs_in_its_tiny_form(experiment, tmp_path, log_folder, capsys):
    extra = []
    if experiment in REAL:
        extra.append(f"data.path={log_folder / REAL[experiment]}")
    if experiment == "mind_reader":  # nobody may pass MIND's rows on
        (tmp_path / "mind").mkdir()
        extra.append(f"data.path={write_mind(tmp_path / 'mind', n=400)}")
    folder = tmp_path / "run"
    report = app.execute(tiny(experiment, folder, *extra), folder, ["run"], NAMES)
    assert report.exists()
    assert "report: " in capsys.readouterr().out
    assert read(folder, "manifest.json")["data"]
    result = read(folder)
    assert any("one seed" in text for text in result["assumptions"])
    if experiment == "hillstrom":
        users = Records.read(folder).first["users"]
        assert f"on {users:,} customers that nothing had seen" in result["summary"]
        assert "Segments are by user_mens | user_womens." in (folder / "report.md").read_text()
    # Whatever an experiment writes is noted, or overwrite=true would take it for the user's.
    assert written.foreign(folder) == []


def test_a_refused_run_leaves_its_folder_to_the_corrected_one(tmp_path):
    folder = tmp_path / "run"
    wrong = config(
        "dataset=table", f"data.path={tmp_path / 'log.csv'}", "tiny=true", "tracker=disabled"
    )
    with pytest.raises(UserError, match=re.escape("log.csv")):
        app.execute(wrong, folder, ["run"], NAMES)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(UserError, match=re.escape("log.csv")):
        app.execute(wrong, folder, ["run"], NAMES)
    assert list(folder.iterdir()) == []


def test_real_logs_are_judged_by_a_second_simulator(tmp_path):
    """Any log but storefront's is treated as real: here storefront's file under another name."""
    from copygym.envs.datasets import load

    path = tmp_path / "log.parquet"
    load("storefront", n_users=400).write(path)
    folder = tmp_path / "run"
    plain = config(
        "dataset=table", f"data.path={path}", "tiny=true", "tracker=disabled", f"out={folder}",
        *SMALL, *QUICK, "users.text_encoder=null", "users.costs=0.02",
    )  # fmt: skip
    app.execute(plain, folder, ["run"], NAMES)
    result = read(folder)
    assert "no experiment has confirmed it" in Records.read(folder).first["judge"]
    assert set(read(folder, "manifest.json")["rows_seen"]) == {"train", "test", "judge"}
    assert any(text.startswith("the judge: ") for text in result["assumptions"])
    # The result of a finished run is not shown for a file that has changed since.
    load("storefront", n_users=401).write(path)
    with pytest.raises(UserError, match=r"has changed since this run began.*overwrite=true"):
        app.execute(plain, folder, ["run"], NAMES)
    assert read(folder) == result


def test_a_killed_run_goes_on_and_ends_the_same(delivered, tmp_path):
    folder = tmp_path / "killed"
    process = start(folder)
    deadline = time.monotonic() + 200
    # In the middle: the fit is done, an agent is learning.
    while not (folder / "stages" / "fit" / "proxy.json").exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "result.json").exists()
    fitted = (folder / "stages" / "fit" / "proxy.json").read_text()
    finish(folder)
    assert (folder / "stages" / "fit" / "proxy.json").read_text() == fitted
    assert (folder / "result.json").read_bytes() == (delivered / "result.json").read_bytes()


def test_ctrl_c_exits_130_and_keeps_what_is_done(tmp_path):
    folder = tmp_path / "stopped"
    process = start(folder)
    deadline = time.monotonic() + 200
    while not (folder / "stages" / "split.json").exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted; what was finished is kept" in err
    assert b"Traceback" not in err
    assert (folder / "stages" / "split.json").exists()


def test_a_multirun_shares_a_group_and_keeps_its_jobs_apart(tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "copygym.experiments.commands.main", "run", "-m",
            "experiment=delivery",
            "tiny=true", "tracker=offline", f"out={tmp_path / 'sweep'}", "agent=uniform,linucb",
            *SMALL, "references.best_fixed=null", "references.upper=null",
        ],
        capture_output=True, text=True, timeout=250, env={**os.environ}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/result.json"))
    assert len(jobs) == 2
    for job, agent in zip(jobs, ("linucb", "uniform"), strict=True):
        assert f"agent={agent}" in job.name
        assert read(job)["learned"] == f"{agent} (learned)"
        (mirror,) = job.glob("wandb/offline-run-*/*.wandb")
        assert b"sweep" in mirror.read_bytes()
