import json
import os
import re
import socket
import time

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Rows
from copygym.experiments.report.tables import Table
from copygym.experiments.tracking import wandb as tracking_wandb
from copygym.experiments.tracking.base import LocalFiles, make_trackers
from copygym.experiments.tracking.wandb import (
    WandbConfig,
    WandbMirror,
    answers,
    has_key,
    resolve_mode,
)

NAMES = {"group": "g", "job_type": "j", "name": "n"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture(autouse=True)
def no_account(tmp_path, monkeypatch):
    """Hide whatever W&B settings the machine has."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def report_everything(trackers, folder):
    trackers.begin("learn/a")
    trackers.log("learn/a", {"reward": 0.5, "bad": float("nan")}, 10)
    trackers.table("main", Table(("policy", "CTR"), (("a", "1"),), "caption"))
    trackers.image("figure", PNG)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "weights.json").write_text("{}")
    trackers.artifact("agent-a", "model", folder / "model")
    trackers.summary({"ctr": 1.0})
    trackers.finish()


def test_local_files_are_the_source_of_truth(tmp_path):
    trackers = make_trackers({"mode": "disabled"}, tmp_path, {}, NAMES)
    report_everything(trackers, tmp_path)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"stage": "learn/a", "step": 10, "reward": 0.5, "bad": None}
    assert (tmp_path / "tables" / "main.md").read_text().startswith("caption\n\n| policy | CTR |")
    assert (tmp_path / "figures" / "figure.png").read_bytes() == PNG
    assert not (tmp_path / "wandb").exists()


def test_a_stage_that_starts_again_forgets_its_old_lines(tmp_path):
    local = LocalFiles(tmp_path)
    local.log("a", {"x": 1.0}, 1)
    local.log("b", {"x": 2.0}, 1)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"stage": "b", "st')  # what a kill leaves
    local.begin("b")
    local.log("b", {"x": 3.0}, 1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["x"]) for line in lines] == [("a", 1.0), ("b", 3.0)]


def test_parts_of_a_run_do_not_touch_each_other(tmp_path):
    trackers = make_trackers({"mode": "disabled"}, tmp_path, {}, NAMES)
    for seed in ("1", "2"):
        part = trackers.within("seeds").within(seed)
        part.begin("learn")
        part.log("learn", {"x": float(seed)}, 1)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["seeds/1/learn", "seeds/2/learn"]


def test_wandb_offline_takes_everything_without_network(tmp_path, capfd):
    trackers = make_trackers({"mode": "offline"}, tmp_path, {"seed": 0}, NAMES)
    report_everything(trackers, tmp_path)
    runs = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 1
    expected = (b"learn/a/reward", b"agent-a", b"tables/main")
    # W&B's own process writes the file, and may still be at it when finish() has returned.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        missing = [part for part in expected if part not in runs[0].read_bytes()]
        if not missing:
            break
        time.sleep(0.1)
    assert missing == []
    # Nothing may cut through the progress bars, and nothing may have failed.
    assert capfd.readouterr().err == ""


def test_the_records_of_a_study_reach_wandb_as_one_table(tmp_path):
    rows = Rows(3)
    rows.add("ctr", {"value": 0.25, "low": 0.125, "high": 0.5}, policy="ppo")
    rows.add("ctr", 0.125, policy="ppo", versus="random")
    # What has no number, and columns that are not text.
    rows.add("regret", None, policy="random", step=100, epsilon=0.5)
    trackers = make_trackers({"mode": "offline"}, tmp_path, {}, NAMES)
    trackers.records(rows.frame)
    trackers.finish()
    # One table, and W&B copies it into its own folder: the run's holds `records.parquet` already.
    (table,) = (tmp_path / "wandb").glob("offline-run-*/files/media/table/**/*.table.json")
    assert table.name.startswith("records_")
    found = json.loads(table.read_text())
    assert found["columns"] == [
        "seed", "policy", "versus", "step", "epsilon", "metric", "value", "low", "high",
    ]  # fmt: skip
    assert found["data"] == [
        [3, "ppo", None, None, None, "ctr", 0.25, 0.125, 0.5],
        [3, "ppo", "random", None, None, "ctr", 0.125, None, None],
        [3, "random", None, 100, 0.5, "regret", None, None, None],
    ]
    assert not (tmp_path / "tables").exists()


def written_by_wandb(folder, expected):
    """Wait until the newest offline part holds what is expected; return what it lacks."""
    deadline = time.monotonic() + 30
    missing = list(expected)
    while missing and time.monotonic() < deadline:
        parts = sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=os.path.getmtime)
        missing = [part for part in expected if part not in parts[-1].read_bytes()]
        time.sleep(0.1)
    return missing


def test_an_interrupted_offline_run_goes_on_as_the_same_wandb_run(tmp_path):
    first = make_trackers({"mode": "offline"}, tmp_path, {}, NAMES)
    first.begin("learn/a")
    first.log("learn/a", {"early": 0.5}, 10)
    first.begin("learn/b")
    first.log("learn/b", {"half": 0.5}, 10)
    first.finish(failed=True)
    time.sleep(1.1)  # W&B names its folders by the second
    again = make_trackers({"mode": "offline"}, tmp_path, {}, NAMES)
    again.begin("learn/b")
    again.log("learn/b", {"whole": 0.7}, 20)
    again.finish()
    parts = sorted(path.parent.name for path in (tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(parts) == 2
    assert len({name.rpartition("-")[2] for name in parts}) == 1
    # The second part is whole, because W&B keeps the one that is synchronised last.
    assert written_by_wandb(tmp_path, [b"learn/a/early", b"learn/b/whole"]) == []


def test_what_wandb_would_refuse_for_its_length_is_cut(tmp_path, monkeypatch):
    import wandb

    asked = {}

    def init(**options):
        asked.update(options)
        raise RuntimeError

    monkeypatch.setattr(wandb, "init", init)
    names = {"group": "g" * 300, "job_type": "j" * 300, "name": "n" * 300}
    WandbMirror(WandbConfig(mode="offline"), tmp_path, {}, names)
    assert [len(asked[key]) for key in ("group", "name", "job_type")] == [128, 128, 64]
    other = {**names, "name": "n" * 301}
    before = asked["name"]
    WandbMirror(WandbConfig(mode="offline"), tmp_path, {}, other)
    assert asked["name"] != before


def test_an_agent_of_a_wandb_sweep_chooses_the_id(tmp_path, monkeypatch):
    import wandb

    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **options: asked.update(options) or 1 / 0)
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    make_trackers({"mode": "offline"}, tmp_path, {}, NAMES)
    assert asked["id"] == "abc123"
    # What is no run of copygym's, such as the summary of an evaluation, is new each time.
    monkeypatch.delenv("WANDB_RUN_ID")
    WandbMirror(WandbConfig(mode="offline"), tmp_path, {}, NAMES)
    assert asked["id"] is None


def test_an_empty_wandb_mode_is_as_if_unset(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")
    report_everything(make_trackers({"mode": "auto"}, tmp_path, {}, NAMES), tmp_path)
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert capfd.readouterr().err == ""


def test_auto_without_a_key_is_offline(tmp_path):
    assert resolve_mode(WandbConfig()) == ("offline", "no W&B key was found")


def test_auto_with_a_key_but_no_server_is_offline_within_the_probe(monkeypatch):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        mode, why = resolve_mode(WandbConfig())
    assert mode == "offline"
    assert "no answer" in why


def test_auto_with_key_and_server_is_online(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert resolve_mode(WandbConfig())[0] == "online"
        assert resolve_mode(WandbConfig(mode="disabled"))[0] == "disabled"


def test_name_resolution_that_hangs_is_not_waited_for(monkeypatch):
    def hang(*_, **__):
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(tracking_wandb.socket, "create_connection", hang)
    start = time.perf_counter()
    assert not answers("https://api.wandb.ai", 0.2)
    assert time.perf_counter() - start < 2


def test_a_key_in_netrc_counts(tmp_path):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_key("https://api.wandb.ai")
    assert not has_key("https://wandb.example.org")


def test_online_asked_for_but_not_to_be_had_is_told_once(tmp_path, capfd):
    mirror = WandbMirror(WandbConfig(mode="online"), tmp_path, {}, NAMES)
    mirror.finish()
    assert mirror.mode == "offline"
    assert "W&B stays offline: no W&B key was found" in capfd.readouterr().err


def test_a_server_that_takes_no_runs_leaves_the_run_offline(tmp_path, monkeypatch, capfd):
    import wandb

    start, modes = wandb.init, []

    def init(**options):
        modes.append(options["mode"])
        if options["mode"] == "online":
            raise wandb.errors.CommError("timed out; key abc")
        return start(**options)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        report_everything(make_trackers({"mode": "auto"}, tmp_path, {}, NAMES), tmp_path)
    assert modes == ["online", "offline"]
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1
    told = capfd.readouterr().err
    assert told == (
        "W&B stays offline: the server did not take the run (CommError); upload later with "
        "`wandb sync`.\n"
    )


def test_a_broken_wandb_never_costs_the_run(tmp_path, monkeypatch, capfd):
    import wandb

    def fail(**_):
        raise RuntimeError("no such service; key abc")

    monkeypatch.setattr(wandb, "init", fail)
    trackers = make_trackers({"mode": "offline"}, tmp_path, {}, NAMES)
    report_everything(trackers, tmp_path)
    err = capfd.readouterr().err
    assert err.count("W&B is off for the rest of this run (RuntimeError)") == 1
    assert "abc" not in err
    assert (tmp_path / "metrics.jsonl").exists()


def test_bad_options_are_refused():
    message = "unknown tracker.mode 'on': choose one of auto, disabled, offline, online."
    with pytest.raises(UserError, match=re.escape(message)):
        WandbConfig(mode="on")
    with pytest.raises(UserError, match=re.escape("tracker.probe_seconds is 0")):
        WandbConfig(probe_seconds=0)
