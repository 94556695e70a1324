"""What docstrings and comments name exists: in backticks, a path of ours leads somewhere."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "envs", "rewards", "agents", "evaluation", "experiments")
#: Whose shorter names, without ``copygym.``, are looked up too.
LOOKED_UP = ("envs", "agents")
#: A name in single backticks; double ones hold code and values.
NAMED = re.compile(r"(?<!`)`([A-Za-z_][\w.]*\w)`(?!`)")


@cache
def parsed(path):
    return ast.parse(path.read_text())


def files(folders=FOLDERS):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def in_backticks(path):
    """Return line number and name of each name in single backticks; a path may be wrapped."""
    text = re.sub(r"(`copygym[\w.]*\.)\n\s*(?:#:? )?", r"\1", path.read_text())
    return [
        (number, name)
        for number, line in enumerate(text.splitlines(), 1)
        for name in NAMED.findall(line)
    ]


def defined(node):
    """Return what a module or class defines at its own level, attributes of self included."""
    found = set()
    for part in node.body:
        if isinstance(part, ast.ClassDef | ast.FunctionDef):
            found.add(part.name)
        for inner in ast.walk(part):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                found.add(inner.id)
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                found.add(inner.attr)
            if isinstance(inner, ast.alias):
                found.add((inner.asname or inner.name).split(".")[0])
    return found


def leads_somewhere(name):
    """Tell whether a dotted name of ours is a module, or something that a module defines."""
    place, parts = ROOT, name.split(".")[1:]
    while parts and (place / parts[0]).is_dir():
        place, parts = place / parts[0], parts[1:]
    if not parts:
        return True
    module = place / f"{parts[0]}.py"
    if module.is_file():
        parts = parts[1:]
    else:
        module = place / "__init__.py"
    if not module.is_file():
        return not parts
    node = parsed(module)
    for part in parts:
        if part not in defined(node):
            # The lazy exports of a front are words in its text.
            return module.name == "__init__.py" and f'"{part}"' in module.read_text()
        node = next((n for n in node.body if isinstance(n, ast.ClassDef) and n.name == part), node)
    return True


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("copygym.envs", True),
        ("copygym.envs.people.kernel", True),
        ("copygym.envs.people.kernel.UserBatch.observe", True),
        ("copygym.envs.people.kernel.UserBatch.nothing", False),
        ("copygym.envs.people.kernels", False),
        ("copygym.envs.CampaignEnv", True),
        ("copygym.nowhere", False),
    ],
)
def test_the_rule_sees_what_is_there(name, there):
    assert leads_somewhere(name) is there


def test_paths_of_ours_lead_somewhere():
    lost = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for path in files()
        for number, name in in_backticks(path)
        if name.startswith("copygym.") and not leads_somewhere(name)
    ]
    assert lost == []


@cache
def words():
    """Return every identifier of our code, and the names of its modules and folders."""
    found = set(FOLDERS) | {"copygym"}
    for path in files():
        found |= {path.stem, path.parent.name}
        for node in ast.walk(parsed(path)):
            for field in ("name", "id", "attr", "arg", "asname"):
                value = getattr(node, field, None)
                if isinstance(value, str):
                    found.add(value.rpartition(".")[2])
    return found


def test_other_names_are_names_in_the_code_or_of_a_library():
    lost = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for path in files(LOOKED_UP)
        for number, name in in_backticks(path)
        if not set(name.split(".")) <= words() and not importlib.util.find_spec(name.split(".")[0])
    ]
    assert lost == []
