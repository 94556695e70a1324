"""Stages whose files are damaged are made again, and only those."""

import json
import os

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.core.files.storage import write_arrays
from copygym.experiments.runs.folder import Record, open_run

CONFIG = {"name": "t", "seed": 0}


def learn(run, calls):
    def compute():
        calls.append("learn")
        with run.new_folder("agents", "a") as draft:
            (draft / "weights.bin").write_bytes(bytes(range(200)))
        return Record({"x": 1.25, "nan": float("nan")}, {"a": np.arange(20.0)})

    return run.stage("learn/a", compute)


def whole(record):
    return record.values == {"x": 1.25, "nan": None} and record.arrays["a"].sum() == 190


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turn_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def of_another_shape(path):
    if path.suffix == ".npz":
        write_arrays(path, {"a": np.arange(3.0)})
    elif path.suffix == ".json":
        path.write_text(json.dumps({"values": [], "arrays": 7}))
    else:
        path.write_bytes(b"x" * 7)


@pytest.mark.parametrize(
    "file", ["stages/learn/a.json", "stages/learn/a.npz", "agents/a/weights.bin"]
)
@pytest.mark.parametrize("damage", [cut, turn_a_bit, empty, remove, of_another_shape])
def test_a_damaged_file_is_made_again(file, damage, tmp_path, capsys):
    calls: list[str] = []
    run = open_run(tmp_path / "r", CONFIG)
    assert whole(learn(run, calls))
    run.stage("other", lambda: calls.append("other") or Record())
    assert run.damage() is None
    damage(run.path / file)
    if file.endswith(".json") and damage is remove:
        assert run.damage() is None  # a stage that has not run
    else:
        assert run.damage()
    again = open_run(tmp_path / "r", CONFIG)
    assert whole(learn(again, calls))
    again.stage("other", lambda: calls.append("other") or Record())
    assert calls == ["learn", "other", "learn"]
    if damage is not remove or not file.endswith(".json"):
        (line,) = capsys.readouterr().err.splitlines()
        assert "a.json" in line or file.rpartition("/")[2] in line
        assert line.endswith("The stage 'learn/a' is made again.")
    assert again.damage() is None
    assert (again.path / "agents/a/weights.bin").read_bytes() == bytes(range(200))


def test_a_changed_value_is_found(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    learn(run, [])
    record = run.path / "stages/learn/a.json"
    record.write_text(record.read_text().replace("1.25", "1.26"))
    with pytest.raises(UserError, match="is not as it was written"):
        run.read("learn/a")


def test_a_stage_without_checksums_is_read(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    learn(run, [])
    record = run.path / "stages/learn/a.json"
    stored = json.loads(record.read_text())
    del stored["files"], stored["values_sha256"]
    record.write_text(json.dumps(stored))
    calls: list[str] = []
    assert whole(learn(run, calls))
    assert calls == []


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_stage_that_names_files_elsewhere_is_made_again(name, tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    learn(run, [])
    record = run.path / "stages/learn/a.json"
    stored = json.loads(record.read_text())
    stored["files"][name] = {"bytes": 1, "sha256": "0"}
    record.write_text(json.dumps(stored))
    calls: list[str] = []
    learn(run, calls)
    assert calls == ["learn"]


def test_files_of_an_inner_stage_are_its_own(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)

    def outer():
        learn(run.child("seed-0"), [])
        return Record()

    run.stage("outer", outer)
    assert json.loads((run.path / "stages/outer.json").read_text())["files"] == {}
    inner = json.loads((run.path / "seed-0/stages/learn/a.json").read_text())["files"]
    assert set(inner) == {"agents/a/weights.bin", "stages/learn/a.npz"}


def test_a_pipe_in_a_stages_place_is_named(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    learn(run, [])
    (run.path / "stages/learn/a.npz").unlink()
    os.mkfifo(run.path / "stages/learn/a.npz")
    with pytest.raises(UserError, match=r"a\.npz is a pipe or a device"):
        open_run(tmp_path / "r", CONFIG)
