"""What editable installs hide: folders missing from the wheel, and wheels without their data."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("core", "envs", "rewards", "agents", "interop", "evaluation", "experiments", "conf")


def _packages() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(settings["tool"]["setuptools"]["packages"])


def test_every_package_is_in_the_wheel():
    folders = {
        "copygym." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert folders | {"copygym", "hydra_plugins.copygym_sweeps"} == _packages()


def test_no_folder_shadows_the_installed_package():
    assert not (ROOT / "copygym").exists()


@pytest.mark.slow
def test_the_wheel_holds_code_configs_and_templates(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "copygym/__init__.py",
        "copygym/__main__.py",
        "copygym/conf/config.yaml",
        "copygym/conf/experiment/quickstart.yaml",
        "copygym/experiments/report/report.html.j2",
        "copygym/envs/people/kernel.py",
        "copygym/py.typed",
        "copygym/conf/hydra/sweeper/optuna.yaml",
        "hydra_plugins/copygym_sweeps/grid_sweeper.py",
    ):
        assert name in names
    assert not [name for name in names if name.split("/")[0] in (*TOP, "package")]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_links_every_folder_for_type_checkers_and_cleans_up(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in (*TOP, "package", "hydra_plugins/copygym_sweeps"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "py.typed"):
        shutil.copy(ROOT / "package" / name, tmp_path / "package")
    before = sorted(tmp_path.iterdir())
    make = ["make", "-s", "-C", str(tmp_path)]
    subprocess.run([*make, ".typing/stamp"], check=True)
    links = tmp_path / ".typing" / "copygym"
    wanted = {top: tmp_path / top for top in TOP}
    wanted |= {path.name: path for path in (tmp_path / "package").iterdir()}
    assert {link.name: link.resolve() for link in links.iterdir()} == wanted
    plugin = tmp_path / ".typing" / "hydra_plugins" / "copygym_sweeps"
    assert plugin.resolve() == tmp_path / "hydra_plugins" / "copygym_sweeps"
    subprocess.run([*make, "clean"], check=True)
    assert sorted(tmp_path.iterdir()) == before
