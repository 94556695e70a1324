"""Drafts of killed processes go, those of living ones and of the user's stay; all is flushed."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from copygym.core.files import durable, written
from copygym.core.files.storage import atomic, whole_folder, write_text


def _killed_in(make, path):
    with make(path) as draft:
        (draft / "half" if draft.is_dir() else draft).write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def _kill(make, path):
    process = multiprocessing.get_context("fork").Process(target=_killed_in, args=(make, path))
    process.start()
    process.join()


@pytest.mark.parametrize("make", [atomic, whole_folder])
@pytest.mark.parametrize("listed", [False, True])
def test_what_a_killed_save_leaves_goes_with_the_next(make, listed, tmp_path):
    if listed:
        written.keep_list(tmp_path)
    path = tmp_path / "out"
    _kill(make, path)
    (left,) = (p for p in tmp_path.iterdir() if p.name != written.LIST)
    assert written.is_draft_of(left.name, "out")
    with make(path) as draft:
        (draft / "whole" if draft.is_dir() else draft).write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != written.LIST) == ["out"]


def test_drafts_of_the_living_and_files_of_the_users_stay(tmp_path):
    mine = [".out.abcdefgh.tmp", ".out.swp", ".other.abcdefgh.copygym.tmp", "out.copygym.tmp"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".out.linked00.copygym.tmp").symlink_to(tmp_path / "out.copygym.tmp")
    with atomic(tmp_path / "out") as first:
        first.write_text("first")
        write_text(tmp_path / "out", "second")
        assert first.read_text() == "first"
    assert (tmp_path / "out").read_text() == "first"
    for name in mine:
        assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_was_killed_between_its_renames_is_put_back(tmp_path):
    path = tmp_path / "model"
    with whole_folder(path) as draft:
        (draft / "weights").write_text("old")
    path.rename(tmp_path / ".model.0a1b2c3d.old")
    with pytest.raises(RuntimeError), whole_folder(path):
        raise RuntimeError
    assert (path / "weights").read_text() == "old"
    # And one that was killed before the old folder had gone.
    path.rename(tmp_path / ".model.0a1b2c3d.old")
    with whole_folder(tmp_path / "other") as draft:
        (draft / "weights").write_text("new")
    (tmp_path / "other").rename(path)
    with whole_folder(path) as draft:
        (draft / "weights").write_text("newer")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    flushed = []

    def fsync(handle):
        name = str(Path(f"/proc/self/fd/{handle}").readlink())
        flushed.append((name, (tmp_path / "a").exists()))

    monkeypatch.setenv(durable.OPTION, "on")
    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "x")
    draft, folder = flushed
    assert draft[0].endswith(".copygym.tmp")
    assert not draft[1]
    assert folder == (str(tmp_path), True)
    flushed.clear()
    with whole_folder(tmp_path / "f") as new:
        write_text(new / "sub/x", "x")
    names = [name.replace(str(tmp_path), "") for name, _ in flushed]
    assert any(name.endswith("/sub/x") for name in names)
    assert names[-1] == ""
    monkeypatch.setenv(durable.OPTION, "off")
    flushed.clear()
    write_text(tmp_path / "b", "x")
    assert not flushed


def test_a_full_disk_that_says_so_when_flushed_keeps_the_old_file(tmp_path, monkeypatch):
    monkeypatch.setenv(durable.OPTION, "on")
    write_text(tmp_path / "a", "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_list_of_which_a_full_disk_kept_half_a_name_goes_on(tmp_path):
    written.keep_list(tmp_path)
    written.note(tmp_path / "first")
    with (tmp_path / written.LIST).open("a") as stream:
        stream.write("seco")
    written.note(tmp_path / "second")
    assert {"first", "second"} <= written.read_list(tmp_path)
