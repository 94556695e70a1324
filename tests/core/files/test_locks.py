"""Locks: one process in a run's folder, and nobody else's hand on them."""

import os
import re
import stat
import tempfile

import pytest

from copygym.core.errors import UserError
from copygym.core.files import locks
from copygym.experiments.sweeps.job import held


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "home"


def test_two_processes_cannot_share_a_folder(tmp_path):
    with (
        locks.locked(tmp_path / "r"),
        pytest.raises(UserError, match=re.escape("another copygym process is running in")),
        locks.locked(tmp_path / "r"),
    ):
        pass
    with locks.locked(tmp_path / "r"), locks.locked(tmp_path / "other"):
        pass


def test_locks_lie_in_a_folder_that_is_the_users_alone(tmp_path, home):
    with locks.locked(tmp_path / "r"):
        pass
    assert stat.S_IMODE((home / "locks").lstat().st_mode) == 0o700
    assert list((tmp_path / "tmp").iterdir()) == []
    # One that was left open to others is closed.
    (home / "locks").chmod(0o777)
    with locks.locked(tmp_path / "r"):
        pass
    assert stat.S_IMODE((home / "locks").lstat().st_mode) == 0o700


def test_a_lock_that_is_a_link_to_a_file_leaves_the_file_as_it_is(tmp_path, home):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("nine chars")
    with locks.locked(tmp_path / "r"):
        pass
    (lock,) = (home / "locks").iterdir()
    lock.unlink()
    lock.symlink_to(thesis)
    with locks.locked(tmp_path / "r"):
        pass
    assert thesis.read_text() == "nine chars"


def test_a_sweeps_lock_that_is_a_link_leaves_the_file_as_it_is(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("nine chars")
    (tmp_path / "job.lock").symlink_to(thesis)
    with held(tmp_path / "job.lock"):
        pass
    (tmp_path / "job.lock").unlink()
    os.link(thesis, tmp_path / "job.lock")
    with held(tmp_path / "job.lock"):
        pass
    assert thesis.read_text() == "nine chars"


@pytest.mark.parametrize("planted", ["link", "file"])
def test_a_folder_that_somebody_planted_is_not_used(tmp_path, home, planted):
    home.mkdir()
    if planted == "link":
        (tmp_path / "elsewhere").mkdir()
        (home / "locks").symlink_to(tmp_path / "elsewhere")
    else:
        (home / "locks").write_text("")
    with locks.locked(tmp_path / "r"), pytest.raises(locks.Busy), locks.locked(tmp_path / "r"):
        pass
    assert not list((tmp_path / "elsewhere").iterdir() if planted == "link" else [])
    fallback = tmp_path / "tmp" / f"copygym-locks-{os.geteuid()}"
    assert len(list(fallback.iterdir())) == 1


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="no folder of this user"):
        locks.own_folder(tmp_path / "theirs")


def test_where_no_lock_can_be_made_the_run_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "_candidates", lambda: iter([tmp_path / "file" / "locks"]))
    (tmp_path / "file").write_text("")
    with locks.locked(tmp_path / "r"):
        pass
    assert "no folder for locks could be made" in capsys.readouterr().err


def test_a_sweeps_locks_are_made_in_no_folder_that_a_link_leads_to(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / ".jobs").symlink_to(tmp_path / "mine")
    with held(tmp_path / "sweep" / ".jobs" / "seed=0.lock"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []
