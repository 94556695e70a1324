"""What copygym writes over, renames or removes is what it wrote; all else is the user's."""

import os
import re
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import whole_folder, write_text


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def save(folder, *names, text="ours"):
    with whole_folder(folder) as draft:
        for name in names:
            write_text(draft / name, text)


@pytest.fixture
def ours(tmp_path):
    """A folder that keeps a list, with two files of ours."""
    folder = tmp_path / "ours"
    written.keep_list(folder)
    write_text(folder / "a.json", "{}")
    write_text(folder / "deep" / "b.json", "{}")
    return folder


def test_a_file_of_the_user_s_is_never_written_over(ours):
    (ours / "table.md").write_text("mine")
    with pytest.raises(UserError, match=re.escape("table.md was not written by copygym")):
        write_text(ours / "table.md", "ours")
    assert (ours / "table.md").read_text() == "mine"
    write_text(ours / "a.json", "again")
    assert (ours / "a.json").read_text() == "again"


def test_everything_that_is_not_in_the_list_is_foreign(ours, tmp_path):
    assert written.foreign(ours) == []
    (ours / "deep" / "notes.txt").write_text("mine")
    (ours / "empty").mkdir()
    (tmp_path / "thesis.txt").write_text("mine")
    (ours / "link").symlink_to(tmp_path / "thesis.txt")
    (ours / "folder").symlink_to(tmp_path)
    assert written.foreign(ours) == ["deep/notes.txt", "empty", "folder", "link"]
    assert written.remove_ours(ours) is False
    assert tree(ours) == ["deep", "deep/notes.txt", "empty", "folder", "link"]
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(ours, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (ours / "a.json").unlink()
    (ours / "a.json").symlink_to(tmp_path / "thesis.txt")
    assert written.foreign(ours) == ["a.json"]
    assert written.remove_ours(ours) is False
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_list_from_elsewhere_reaches_no_file_outside(ours, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with (ours / written.LIST).open("a") as stream:
        stream.write(f"../thesis.txt\n{tmp_path / 'thesis.txt'}\n..\n/\n")
    assert written.remove_ours(ours)
    assert tree(tmp_path) == ["thesis.txt"]


def test_a_folder_without_a_list_is_all_the_user_s(tmp_path):
    for name in (".a.json.abcdefgh.tmp", "wandb/run-1/x", "a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    assert len(written.foreign(tmp_path)) == 3
    assert written.remove_ours(tmp_path) is False
    written.remove_drafts(tmp_path)
    assert tree(tmp_path) == before


def test_drafts_of_killed_saves_go_and_only_those(ours):
    written.note(ours / "models" / "judge")
    drafts = (
        ".a.json.abcdefgh.tmp",
        "deep/.b.json.k07ipxu3.tmp",
        "models/.judge.0tx5ovi9.tmp/weights",
        "models/..judge.0tx5ovi9.tmp.0a1b2c3d.tmp/weights",
        "models/.judge.0a1b2c3d.old/weights",
    )
    mine = (".mine.abcdefgh.tmp", "a.json.tmp", ".a.json.tmp", "deep/.a.json.abcdefgh.tmp")
    for name in (*drafts, *mine):
        (ours / name).parent.mkdir(parents=True, exist_ok=True)
        (ours / name).write_text("x")
    written.remove_drafts(ours)
    left = [name for name in tree(ours) if (ours / name).is_file()]
    assert left == sorted([written.LIST, *mine, "a.json", "deep/b.json"])


def test_a_folder_that_holds_files_of_the_user_s_does_not_give_way(tmp_path):
    save(tmp_path / "model", "weights")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    began = False
    with (
        pytest.raises(UserError, match=re.escape("model holds 'notes.txt'")),
        whole_folder(tmp_path / "model"),
    ):
        began = True
    assert not began
    documents = tmp_path / "Documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape("Documents holds 'thesis.txt'")):
        save(documents, "weights")
    with pytest.raises(UserError, match="is a file where a folder is to be written"):
        save(documents / "thesis.txt", "weights")
    assert (documents / "thesis.txt").read_text() == "mine"


def test_what_the_user_adds_while_a_folder_is_made_stays(tmp_path):
    save(tmp_path / "model", "weights")
    with (
        pytest.raises(UserError, match=re.escape("'notes.txt'")),
        whole_folder(tmp_path / "model") as draft,
    ):
        write_text(draft / "weights", "new")
        (tmp_path / "model" / "notes.txt").write_text("mine")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "model" / "weights").read_text() == "ours"
    assert tree(tmp_path) == ["model", *(f"model/{n}" for n in tree(tmp_path / "model"))]


def test_a_folder_inside_of_one_that_keeps_a_list_is_told_by_that(ours):
    for text in ("first", "second"):
        save(ours / "agents" / "a", "agent.json", text=text)
    assert (ours / "agents" / "a" / "agent.json").read_text() == "second"
    assert written.foreign(ours) == []
    assert tree(ours / "agents") == ["a", "a/agent.json"]
    (ours / "agents" / "a" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape("'notes.txt'")):
        save(ours / "agents" / "a", "agent.json")


def test_a_link_to_a_folder_stays_one(tmp_path):
    save(tmp_path / "real", "weights", text="old")
    (tmp_path / "link").symlink_to("real")
    save(tmp_path / "link", "weights", text="new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "weights").read_text() == "new"


def test_hidden_names_are_new_and_found_again(tmp_path):
    run = tmp_path / "run [1]"
    draft = written.sibling(run, "new")
    draft.mkdir()
    for other in ("run [1].new", ".run [1].new", ".run 1.abcdefgh.new", ".run [1].abcdefgh.old"):
        (tmp_path / other).mkdir()
    assert list(written.siblings(run, "new")) == [draft]
    (tmp_path / ".run [1].zzzzzzzz.new").symlink_to(tmp_path)
    assert list(written.siblings(run, "new")) == [draft]


def test_a_list_that_is_a_link_or_a_pipe_is_none(tmp_path):
    """Else what is written into a stranger's folder would be noted in a file of the user's."""
    mine = tmp_path / "notes.txt"
    mine.write_text("mine\n")
    for make in (lambda path: path.symlink_to(mine), os.mkfifo, lambda path: path.mkdir()):
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        make(folder / written.LIST)
        (folder / "notes.txt").write_text("theirs")
        write_text(folder / "a.json", "{}")
        assert not written.read_list(folder)
        assert "notes.txt" in written.foreign(folder)
        with pytest.raises(UserError, match="is a link, a pipe or a folder"):
            written.keep_list(folder)
    assert mine.read_text() == "mine\n"


def test_nothing_is_written_through_a_link_in_a_folder_of_ours(ours, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "b.json").write_text("mine")
    (ours / "deep" / "b.json").unlink()
    (ours / "deep").rmdir()
    (ours / "deep").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="deep is a link"):
        write_text(ours / "deep" / "b.json", "ours")
    with pytest.raises(UserError, match="deep is a link"):
        save(ours / "deep" / "model", "x.json")
    assert tree(tmp_path / "mine") == ["b.json"]
    assert (tmp_path / "mine" / "b.json").read_text() == "mine"


def test_a_folder_of_the_user_s_with_a_draft_s_name_is_theirs(tmp_path):
    for name in (".thesis.abcdefgh.tmp", ".thesis.0a1b2c3d.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("mine")
        with pytest.raises(UserError, match="holds 'x', which copygym did not write"):
            save(tmp_path / name, "model.json")
        assert (tmp_path / name / "x").read_text() == "mine"


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    for folder in (Path(), Path(), Path(".."), tmp_path / "model", tmp_path):
        with pytest.raises(UserError, match="is the current folder or around it"):
            save(folder, "model.json")
    assert tree(tmp_path) == ["model"]
    save(Path("inside"), "model.json")
    assert tree(tmp_path / "model" / "inside") == [written.LIST, "model.json"]
