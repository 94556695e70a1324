import subprocess

import pytest

from copygym.experiments.runs import manifest
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.manifest import public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("copygym run data.path=/home/ann/logs/a.csv seed=0", "copygym run data.path=a.csv seed=0"),
        ("~/logs/a.csv", "a.csv"),
        ("out='/tmp/my run'", "out='my run'"),
        ("[/a/b,/c/d]", "[b,d]"),
        ("outputs/quickstart/2026", "outputs/quickstart/2026"),
        ("https://api.example.org/a/b", "https://api.example.org/a/b"),
        ("C:\\Users\\ann\\a.csv", "a.csv"),
        (
            "copygym.experiments.studies.delivery.delivery",
            "copygym.experiments.studies.delivery.delivery",
        ),
    ],
)
def test_paths_say_nothing_of_the_machine(text, public):
    assert public_text(text) == public


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A clean checkout whose manifest code takes for its own."""

    def git(*arguments):
        own = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", tmp_path, *own, *arguments], check=True, capture_output=True)

    (tmp_path / "experiments").mkdir()
    (tmp_path / "docs" / "results" / "E1").mkdir(parents=True)
    for name in ("pyproject.toml", "experiments/a.py", "docs/results/E1/table.md", "docs/page.md"):
        (tmp_path / name).write_text("old\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(
        manifest, "__file__", str(tmp_path / "experiments" / "runs" / "manifest.py")
    )
    return tmp_path


def code_of(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return manifest._code(RunFolder(folder, folder, {}, finished=False), "1"), folder


def test_published_results_do_not_make_a_checkout_dirty(checkout, tmp_path_factory):
    (checkout / "docs/results/E1/table.md").write_text("new\n")
    (checkout / "docs/results/E2").mkdir()
    (checkout / "docs/results/E2/table.md").write_text("new\n")
    code, folder = code_of(checkout, tmp_path_factory)
    assert code["dirty"] is False
    assert not (folder / "code.diff").exists()


@pytest.mark.parametrize(
    ("name", "known"),
    [("experiments/a.py", True), ("experiments/b.py", False), ("docs/page.md", True)],
)
def test_any_other_change_does(checkout, tmp_path_factory, name, known):
    (checkout / "docs/results/E1/table.md").write_text("new\n")
    (checkout / name).write_text("new\n")
    code, folder = code_of(checkout, tmp_path_factory)
    assert code["dirty"] is True
    diff = (folder / "code.diff").read_text()
    assert "table.md" not in diff
    # The difference holds what git knows; of a new file there is the name.
    assert (name in diff) is known
    assert code.get("untracked", []) == ([] if known else [name])
