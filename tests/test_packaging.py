"""What editable installs hide: folders missing from the wheel, heavy or double imports."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("envs", "agents", "rewards", "conf", "experiments")

#: Which folders a folder may import from: data flows one way.
ALLOWED = {
    "envs": set(),
    "rewards": {"envs"},
    "agents": {"envs", "rewards"},
    "experiments": {"envs", "rewards", "agents"},
    "conf": set(),
}


def _packages() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return set(settings["tool"]["setuptools"]["packages"])


def test_every_package_is_in_the_wheel():
    folders = {
        "copygym." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert folders | {"hydra_plugins.copygym_sweeps"} == _packages()


def _imported_folders(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("copygym.")}
    return found


@pytest.mark.parametrize("top", TOP)
def test_imports_point_one_way(top):
    wrong = {
        str(path.relative_to(ROOT)): sorted(_imported_folders(path) - ALLOWED[top] - {top})
        for path in (ROOT / top).rglob("*.py")
        if _imported_folders(path) - ALLOWED[top] - {top}
    }
    assert wrong == {}


def test_no_folder_shadows_the_installed_package():
    assert not (ROOT / "copygym").exists()


@pytest.mark.slow
def test_the_wheel_holds_code_configs_and_templates(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "copygym/conf/config.yaml",
        "copygym/conf/experiment/quickstart.yaml",
        "copygym/experiments/report.html.j2",
        "copygym/envs/kernel.py",
        "copygym/envs/py.typed",
        "copygym/conf/hydra/sweeper/optuna.yaml",
        "hydra_plugins/copygym_sweeps/grid_sweeper.py",
    ):
        assert name in names
    assert not [name for name in names if name.split("/")[0] in TOP]
