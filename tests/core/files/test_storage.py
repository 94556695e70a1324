"""Folders that are whole or not there."""

import multiprocessing
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.core.files.storage import cache_home, whole_folder
from copygym.core.files.written import LIST


def _build(path: Path, number: int, barrier) -> None:
    with whole_folder(path, replace=False) as temporary:
        for part in range(5):
            (temporary / f"part{part}").write_text(str(number))
        barrier.wait(60)  # both are ready before either moves


def test_two_processes_that_race_leave_one_whole_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    path = tmp_path / "models" / "model"
    racers = [context.Process(target=_build, args=(path, i, barrier)) for i in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    written = {file.read_text() for file in path.iterdir()}
    assert len(written) == 1
    assert len(list(path.iterdir())) == 5
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    with whole_folder(path) as temporary:
        (temporary / "old").write_text("")
    with whole_folder(path) as temporary:
        (temporary / "new").write_text("")
        assert (path / "old").exists()
    assert sorted(p.name for p in path.iterdir()) == [LIST, "new"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "cache"))
    assert cache_home() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COPYGYM_HOME", "~/mine")
    assert cache_home() == tmp_path / "mine"
    monkeypatch.delenv("COPYGYM_HOME")
    assert cache_home() == tmp_path / ".cache" / "copygym"


def test_saving_file_by_file_writes_over_nothing_but_an_earlier_save(tmp_path, users):
    """``users.json`` and ``model.json`` are names that anybody's file may have."""
    from copygym.core.text.encoders import LsaEncoder, SentenceEncoder
    from copygym.envs.simulator.fitted import load_users, save_users

    saves = {
        "users.json": lambda folder: save_users(users, folder),
        "tables.npz": lambda folder: save_users(users, folder),
        "population.parquet": lambda folder: save_users(users, folder),
        "text.json": LsaEncoder(4).save,
        "text.npz": LsaEncoder(4).save,
    }
    for name, save in saves.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match=rf"holds '{name}', which copygym did not save there"):
            save(folder)
        assert [p.name for p in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"
    (tmp_path / "text-json" / "text.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match=r"holds 'text\.json'"):
        SentenceEncoder("a/b").save(tmp_path / "text-json")
    for _ in range(2):
        save_users(users, tmp_path / "users")
    assert len(load_users(tmp_path / "users")) == len(users)
