"""The house: which folder may import from which, in rooms without circles, none of them crowded."""

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Lowest first: a folder imports from itself and from those before it.
FOLDERS = ("core", "envs", "rewards", "agents", "interop", "evaluation", "experiments")
#: So many modules a room may have before a newcomer no longer sees which one to open.
ROOMY = 15


def _modules() -> dict[str, Path]:
    """Return module -> file of all code below the folders, fronts (``__init__``) aside."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py"
    }


def _imported(path: Path) -> set[str]:
    """Return what a file imports of ours, lazily and for types as well, without ``copygym.``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.removeprefix("copygym.") for n in names if n.startswith("copygym.")}
    return found


def _room(module: str) -> str:
    return module.rpartition(".")[0]


def _graph() -> dict[str, set[str]]:
    """Return room -> rooms that its modules import from."""
    modules = _modules()
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        wanted = {_room(name) for name in _imported(path) if name in modules}
        graph[_room(module)] |= wanted - {_room(module)}
    return graph


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_from_those_below_it_only(folder):
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in sorted((ROOT / folder).rglob("*.py")):
        above = {name.split(".")[0] for name in _imported(path)} - {*allowed, "conf"}
        assert not above, f"{path.relative_to(ROOT)} imports from {', '.join(sorted(above))}"


def test_no_rooms_import_from_each_other_in_a_circle():
    try:
        tuple(TopologicalSorter(_graph()).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_rule_sees_a_circle():
    with pytest.raises(CycleError):
        tuple(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


def test_a_study_imports_no_other_kind_of_study():
    """A campaign is copy and delivery together, so it may."""
    studies = "experiments.studies."
    for room, wanted in _graph().items():
        if room.startswith(studies) and room != f"{studies}campaign":
            assert not {other for other in wanted if other.startswith(studies)}, room


def test_no_room_is_crowded():
    rooms: dict[str, list[str]] = defaultdict(list)
    for module in _modules():
        rooms[_room(module)].append(module)
    crowded = {room: len(found) for room, found in rooms.items() if len(found) > ROOMY}
    assert crowded == {}


def test_evaluation_and_all_below_need_no_application_library():
    """A library that can be used from a notebook: no Hydra, no OmegaConf, no W&B."""
    banned = {"hydra", "omegaconf", "wandb"}
    for module, path in _modules().items():
        named = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert module.startswith("experiments") or not named & banned, module
    # TRL imports W&B itself where it is installed, so the modules that train with it are left out.
    modules = [
        m for m in _modules() if not m.startswith(("experiments", "agents.copywriter.algorithms"))
    ]
    lines = [f"import copygym.{m}" for m in FOLDERS[:-1]]
    lines += [f"import copygym.{m}" for m in modules]
    lines += [
        "import sys",
        "print([m for m in ('hydra', 'omegaconf', 'wandb', 'copygym.experiments')"
        " if m in sys.modules])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # transformers says a line of its own where W&B is offline.
    assert done.stdout.splitlines()[-1] == "[]"
