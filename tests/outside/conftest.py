"""A small package of somebody else's, installed into a folder of its own."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "package"


def install(source: Path, target: Path) -> None:
    """Install a pure package without pip: its modules, and what importlib.metadata reads."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    for package in ("parcels",):
        shutil.copytree(source / package, target / package)
    name = project["name"].replace("-", "_")
    info = target / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"]
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The folder that holds the installed package."""
    target = tmp_path_factory.mktemp("site")
    install(PACKAGE, target)
    return target


@pytest.fixture(scope="session")
def copygym(installed, tmp_path_factory):
    """A caller of the command line in a process that has the package."""
    home = tmp_path_factory.getbasetemp() / "home"

    def call(*arguments, cwd, outside=True):
        path = [str(installed)] * outside + [os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [sys.executable, "-m", "copygym", *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "COPYGYM_HOME": str(home),
                 "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return call
