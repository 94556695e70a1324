import re
import time

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, write_arrays, write_bytes, write_text
from copygym.experiments.runs import folder
from copygym.experiments.runs.folder import Record, open_run, read_run
from copygym.experiments.runs.outputs import write_result

CONFIG = {"name": "t", "seed": 0, "learn": {"steps": 10}, "out": "x", "tracker": {"mode": "auto"}}


def finish(run, result):
    write_result(run.path / "result.json", result)
    run.mark_finished()


def test_a_stage_is_computed_once_and_comes_back_the_same(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    calls = []

    def compute():
        calls.append(1)
        return Record({"x": 1.5, "nan": float("nan")}, {"a": np.arange(3.0)})

    first = run.stage("fit/a", compute)
    again = open_run(tmp_path / "r", CONFIG).stage("fit/a", compute)
    assert len(calls) == 1
    assert first.values == again.values == {"x": 1.5, "nan": None}
    np.testing.assert_array_equal(again.arrays["a"], [0.0, 1.0, 2.0])
    assert set(run.stage_times()) == {"fit/a"}


def test_the_time_of_a_stage_inside_another_is_counted_once(tmp_path):
    run = open_run(tmp_path / "run", CONFIG)

    def outer():
        run.child("seed-0").stage("learn", lambda: time.sleep(0.05) or Record())
        return Record()

    run.stage("write", outer)
    times = run.stage_times()
    assert times["seed-0/learn"]["wall_seconds"] >= 0.05
    assert times["write"]["wall_seconds"] < 0.05


def test_a_stage_that_fails_leaves_nothing_and_runs_again(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    with pytest.raises(ZeroDivisionError):
        run.stage("s", lambda: Record({"x": 1 / 0}))
    assert not run.has_stage("s")
    assert run.stage("s", lambda: Record({"x": 2})).values == {"x": 2}


def test_a_stage_is_read_as_it_was_stored(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    run.stage("fit/a", lambda: Record({"x": 1}, {"a": np.arange(2)}))
    stored = run.read("fit/a")
    assert stored.values == {"x": 1}
    np.testing.assert_array_equal(stored.arrays["a"], [0, 1])


def test_a_stage_that_has_not_run_cannot_be_read_and_is_not_made_by_the_attempt(tmp_path):
    child = open_run(tmp_path / "r", CONFIG).child("seeds/1")
    message = f"the stage 'values' is missing in {tmp_path / 'r' / 'seeds' / '1'}, where later"
    with pytest.raises(UserError, match=re.escape(message)):
        child.read("values")
    assert not child.has_stage("values")


def test_keys_that_do_not_change_the_result_do_not_change_the_run(tmp_path):
    open_run(tmp_path / "r", CONFIG)
    other = CONFIG | {"out": "y", "tracker": {"mode": "disabled"}, "publish": "z"}
    assert not open_run(tmp_path / "r", other).finished


def test_another_config_is_refused_and_named(tmp_path):
    open_run(tmp_path / "r", CONFIG)
    message = "another config (learn.steps was 10, now 20); choose another out=, or add overwrite"
    with pytest.raises(UserError, match=re.escape(message)):
        open_run(tmp_path / "r", CONFIG | {"learn": {"steps": 20}})


def test_foreign_files_are_never_touched(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=re.escape("holds files that no copygym run wrote")):
            open_run(tmp_path, CONFIG, overwrite=overwrite)
    with pytest.raises(UserError, match=re.escape("is a file; name a folder")):
        open_run(tmp_path / "letter.txt", CONFIG)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_resume_can_be_forbidden(tmp_path):
    open_run(tmp_path / "r", CONFIG)
    with pytest.raises(UserError, match=re.escape("already holds this run (started)")):
        open_run(tmp_path / "r", CONFIG, resume=False)


def test_a_finished_run_is_found_finished(tmp_path):
    finish(open_run(tmp_path / "r", CONFIG), {"value": 1})
    assert open_run(tmp_path / "r", CONFIG).finished
    assert read_run(tmp_path / "r") == (CONFIG, {"value": 1})


def test_overwriting_keeps_the_old_run_until_the_new_one_has_ended(tmp_path):
    target = tmp_path / "r"
    finish(open_run(target, CONFIG), {"value": "old"})
    other = CONFIG | {"seed": 1}
    new = open_run(target, other, overwrite=True)
    new.stage("s", lambda: Record({"x": 1}))
    # Killed here: the old result stands, and the same command goes on with the new one.
    assert read_run(target)[1] == {"value": "old"}
    again = open_run(target, other, overwrite=True)
    assert again.has_stage("s")
    finish(again, {"value": "new"})
    assert read_run(target)[1] == {"value": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert again.path == target


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    target = tmp_path / "r"
    finish(open_run(target, CONFIG), {"value": "old"})
    target.rename(tmp_path / ".r.0a1b2c3d.old")
    assert open_run(target, CONFIG).finished
    assert read_run(target)[1] == {"value": "old"}


def test_a_new_folder_appears_only_when_it_is_whole(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    with pytest.raises(RuntimeError), run.new_folder("agents", "a") as draft:
        (draft / "half").write_text("x")
        raise RuntimeError
    assert not (run.path / "agents" / "a").exists()
    with run.new_folder("agents", "a") as draft:
        (draft / "whole").write_text("x")
    assert [p.name for p in (run.path / "agents").iterdir() if not p.name.startswith(".")] == ["a"]


def test_files_are_whole_strict_and_readable_by_others(tmp_path):
    path = tmp_path / "a" / "x.json"
    write_result(path, {"b": float("inf"), "a": np.float32(0.5), "c": np.arange(2)})
    assert read_json(path) == {"a": 0.5, "b": None, "c": [0, 1]}
    assert path.stat().st_mode & 0o044
    with pytest.raises(TypeError):
        write_bytes(path, "text")
    assert read_json(path)["a"] == 0.5
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def stages(run, *names):
    for name in names:
        run.stage(name, lambda: Record({"x": 1}))


def test_a_refused_run_leaves_nothing(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "multirun.yaml").write_text("hydra's")
    run = open_run(tmp_path / "r", CONFIG)
    stages(run, "data", "split", "fit/proxy")
    stages(run.child("worlds/1"), "data")
    write_text(run.path / "config.yaml", "x")
    run.discard()
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["multirun.yaml"]
    assert not open_run(tmp_path / "r", CONFIG | {"seed": 1}).finished


@pytest.mark.parametrize("name", ["learn/a", "off_policy", "replay/shrunken/ucb1", "evaluate/a"])
def test_a_refused_run_keeps_what_took_effort(tmp_path, name, monkeypatch):
    run = open_run(tmp_path / "r", CONFIG)
    stages(run.child("worlds/1"), "data", name)
    monkeypatch.setattr(folder, "_LITTLE", -1.0)  # seconds
    run.discard()
    assert (tmp_path / "r" / "run.json").exists()
    assert run.child("worlds/1").has_stage(name)


def test_a_run_that_was_refused_after_some_seconds_leaves_nothing(tmp_path):
    run = open_run(tmp_path / "r", CONFIG)
    stages(run, "data", "learn/logging")
    run.discard()
    assert not list((tmp_path / "r").iterdir())


def test_a_refused_run_keeps_what_another_process_began(tmp_path):
    stages(open_run(tmp_path / "r", CONFIG), "data")
    again = open_run(tmp_path / "r", CONFIG)
    again.discard()
    assert again.has_stage("data")
    finish(again, {"value": 1})
    open_run(tmp_path / "r", CONFIG).discard()
    assert read_run(tmp_path / "r")[1] == {"value": 1}


def test_a_refused_replacement_goes_and_the_old_run_stays(tmp_path):
    finish(open_run(tmp_path / "r", CONFIG), {"value": "old"})
    open_run(tmp_path / "r", CONFIG | {"seed": 1}, overwrite=True).discard()
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert read_run(tmp_path / "r")[1] == {"value": "old"}


def test_arrays_of_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="holds Python objects"):
        write_arrays(tmp_path / "x.npz", {"o": np.array([{}], dtype=object)})
