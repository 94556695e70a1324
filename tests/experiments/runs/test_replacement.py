"""``overwrite=true``: killed at any step it loses no run, and it touches nothing of the user's."""

import os
import re
import shutil

import pytest

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import write_text
from copygym.experiments.runs.folder import Record, open_run, read_run
from copygym.experiments.runs.outputs import write_result

OLD = {"name": "t", "seed": 0}
NEW = {"name": "t", "seed": 1}
CALLS = ("replace", "rename", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """Stands for SIGKILL: nothing is done after it."""


def play(target, config, overwrite=False):
    """Run to the end as `copygym run` does; returns the number of stages that were computed."""
    run = open_run(target, config, overwrite=overwrite)
    computed = []
    for name in ("fit", "learn/a"):
        run.stage(name, lambda name=name: computed.append(name) or Record({"x": 1}))
    with run.new_folder("agents", "a") as draft:
        write_text(draft / "agent.json", "{}")
    write_result(run.path / "result.json", {"seed": config["seed"]})
    run.mark_finished()
    return len(computed)


def killed_after(monkeypatch, steps, work):
    """Do work, killed before it changes the disk once more after ``steps``; returns whether."""
    done = 0

    def counted(call):
        def step(*args, **kwargs):
            nonlocal done
            if done >= steps:
                raise Killed
            done += 1
            return call(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except Killed:
            return True
    return False


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path):
    """A folder with a finished run ``r`` and folders of the user's with names like ours."""
    for name in ("r.old", "r.new", ".r.old", ".r.abcdefgh.old", ".r.abcdefgh.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
    play(tmp_path / "r", OLD)
    return tmp_path


def test_a_run_that_is_killed_at_any_step_of_a_replacement_loses_nothing(place, monkeypatch):
    before = names(place)
    steps, seen = 0, set()
    while True:
        play(place / "r", OLD, overwrite=True)
        if not killed_after(monkeypatch, steps, lambda: play(place / "r", NEW, overwrite=True)):
            break
        # Whoever looks next finds the old run or the new one, whole.
        for config in (OLD, NEW):
            try:
                assert open_run(place / "r", config).finished
            except UserError as error:
                assert "another config" in str(error)
            else:
                seen.add(read_run(place / "r")[1]["seed"])
        play(place / "r", NEW, overwrite=True)
        assert read_run(place / "r") == (NEW, {"seed": 1})
        assert names(place) == before
        assert written.foreign(place / "r") == []
        steps += 1
    assert steps > 20
    assert seen == {0, 1}
    assert all((place / n / "thesis.txt").read_text() == "mine" for n in before if n != "r")


def test_a_plain_run_that_is_killed_at_any_step_goes_on(tmp_path, monkeypatch):
    for steps in range(200):
        target = tmp_path / f"r{steps}"
        if not killed_after(monkeypatch, steps, lambda target=target: play(target, OLD)):
            break
        play(target, OLD)
        assert read_run(target) == (OLD, {"seed": 0})
        assert written.foreign(target) == []
        assert [p.name for p in target.rglob(".*") if p.name != written.LIST] == []
    assert 10 < steps < 199


def test_a_killed_replacement_keeps_its_stages(place, monkeypatch):
    run = open_run(place / "r", NEW, overwrite=True)
    run.stage("fit", lambda: Record({"x": 1}))
    assert play(place / "r", NEW, overwrite=True) == 1


def test_a_replacement_of_another_config_drops_the_one_before(place):
    before = names(place)
    open_run(place / "r", NEW, overwrite=True).stage("fit", lambda: Record({"x": 1}))
    assert play(place / "r", NEW | {"seed": 2}, overwrite=True) == 2
    assert names(place) == before


@pytest.mark.parametrize("name", ["notes.txt", "figures/mine.png", "agents/a/notes.txt", "sub/"])
def test_a_run_that_holds_files_of_the_user_s_is_not_replaced(place, name):
    if name.endswith("/"):
        (place / "r" / name).mkdir()
    else:
        write_mine(place / "r" / name)
    before = names(place)
    shown = re.escape(repr(name.rstrip("/")))
    with pytest.raises(UserError, match=f"holds {shown}, which no copygym run wrote: move it"):
        open_run(place / "r", NEW, overwrite=True)
    assert names(place) == before
    assert (place / "r" / name).exists()


def test_what_the_user_adds_while_the_new_run_runs_is_kept_and_so_is_the_new_run(place):
    run = open_run(place / "r", NEW, overwrite=True)
    write_mine(place / "r" / "notes.txt")
    with pytest.raises(UserError, match=re.escape("holds 'notes.txt'")):
        run.mark_finished()
    assert (place / "r" / "notes.txt").read_text() == "mine"
    assert read_run(place / "r")[1] == {"seed": 0}
    (place / "r" / "notes.txt").unlink()
    play(place / "r", NEW, overwrite=True)
    assert read_run(place / "r")[1] == {"seed": 1}


def test_a_run_without_a_list_is_not_replaced(place):
    (place / "r" / written.LIST).unlink()
    with pytest.raises(UserError, match="remove the folder yourself, or choose another out="):
        open_run(place / "r", NEW, overwrite=True)
    assert read_run(place / "r")[1] == {"seed": 0}


def test_a_refused_run_leaves_what_the_user_put_beside_it(tmp_path):
    run = open_run(tmp_path / "r", OLD)
    run.stage("data", lambda: Record({"x": 1}))
    write_mine(run.path / "stages" / "notes.txt")
    run.discard()
    assert [p.name for p in (tmp_path / "r").rglob("*") if p.is_file()] == ["notes.txt"]


def test_the_folder_in_which_one_works_is_not_replaced(place, monkeypatch):
    monkeypatch.chdir(place / "r" / "agents")
    for target in (place / "r", place / "r" / "agents" / ".."):
        with pytest.raises(UserError, match="is the current folder or around it"):
            open_run(target, NEW, overwrite=True)


def test_a_link_to_a_run_stays_a_link(place):
    (place / "link").symlink_to("r")
    play(place / "link", NEW, overwrite=True)
    assert (place / "link").is_symlink()
    assert read_run(place / "r")[1] == {"seed": 1}


def test_drafts_of_killed_saves_go_when_the_run_ends(tmp_path):
    run = open_run(tmp_path / "r", OLD)
    (run.file("models", "judge").parent / ".judge.0tx5ovi9.tmp").mkdir()
    (run.path / "models" / ".judge.0tx5ovi9.tmp" / "weights").write_text("half")
    (run.path / ".run.json.abcdefgh.tmp").write_text("half")
    write_mine(run.path / ".mine.abcdefgh.tmp")
    play(tmp_path / "r", OLD)
    assert names(run.path / "models") == []
    assert [n for n in names(run.path) if n.endswith(".tmp")] == [".mine.abcdefgh.tmp"]


def test_a_run_killed_as_it_wrote_its_first_file_starts_again(tmp_path):
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".run.json.abcdefgh.tmp").touch()
    written.keep_list(tmp_path / "with")
    for name in ("with", "without"):
        play(tmp_path / name, OLD)
        assert read_run(tmp_path / name)[1] == {"seed": 0}
        assert not (tmp_path / name / ".run.json.abcdefgh.tmp").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".thesis.txt.abcdefgh.tmp").write_text("mine")
    with pytest.raises(UserError, match="holds files that no copygym run wrote"):
        open_run(tmp_path / "mine", OLD)


def write_mine(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


def test_a_hidden_copy_of_a_run_that_the_user_named_by_its_day_stays(tmp_path):
    play(tmp_path / "r", OLD)
    copies = [f".r.20240102.{ending}" for ending in ("old", "new", "gone")]
    for name in copies:
        shutil.copytree(tmp_path / "r", tmp_path / name)
    play(tmp_path / "r", NEW, overwrite=True)
    play(tmp_path / "r", NEW)
    assert names(tmp_path) == [*sorted(copies), "r"]
    assert all(read_run(tmp_path / name)[1]["seed"] == 0 for name in copies)
