"""Pages name files, folders and modules that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

from copygym.core.plugins import KINDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "agents|benchmarks|conf|core|docs|envs|evaluation|experiments|hydra_plugins|package|rewards"
    "|tests"
)
#: The log is dated: what it names existed on its day. The changelog is one, too.
PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")}
    - {ROOT / "docs/log.md"}
)
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*[\w*/]")
MODULE = re.compile(r"(?<![\w./:-])copygym\.[a-z_]\w*(?:\.\w+)*")
#: Parts of paths that stand for a name of yours, or for what only a run makes.
MADE = re.compile(r"[A-Z]{4,}|^evaluation/(?:wandb|report\.html)|^docs/results/")


def missing_paths(text: str) -> list[str]:
    """Return the paths in a page that the checkout lacks; a * stands for any name."""
    named = {path for path in PATH.findall(text) if not MADE.search(path)}
    return sorted(p for p in named if not (any(ROOT.glob(p)) if "*" in p else (ROOT / p).exists()))


def exists(name: str) -> bool:
    """Tell whether a dotted name is a module of copygym, in one, or a group of entry points."""
    parts = name.split(".")
    if len(parts) == 2 and parts[1] in KINDS:
        return True
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            continue
        if found is None:
            continue
        thing = importlib.import_module(module)
        for part in parts[length:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_and_modules_exist(page):
    text = page.read_text(encoding="utf-8")
    assert missing_paths(text) == []
    assert [name for name in sorted(set(MODULE.findall(text))) if not exists(name)] == []


def test_links_between_pages_lead_somewhere():
    dead = []
    for page in PAGES:
        links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        dead += [
            f"{page.name}: {link}"
            for link in links
            if "://" not in link and not (page.parent / link).exists()
        ]
    assert dead == []


def test_every_archived_result_is_in_the_archive_s_table_with_a_reason():
    page = (ROOT / "docs/archive.md").read_text(encoding="utf-8")
    row = r"^\| \[[^]]+\]\(archive/(\w+)/[^)]+\) \| ([^|]+) \| ([^|]+) \|$"
    rows = re.findall(row, page, re.MULTILINE)
    folders = sorted(path.parent.name for path in ROOT.glob("docs/archive/*/manifest.json"))
    assert sorted(name for name, _, _ in rows) == folders
    assert all(len(why.split()) > 3 for _, _, why in rows)


def test_the_map_has_every_room():
    text = (ROOT / "docs/how-it-fits.md").read_text(encoding="utf-8")
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in ("core", "envs", "rewards", "agents", "evaluation", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert sorted(room for room in rooms if f"`{room}/`" not in text) == []


def test_a_stale_name_is_seen():
    assert missing_paths("see `envs/users.py`, envs/delivery.py and `conf/agent/NAME.yaml`") == [
        "envs/users.py"
    ]
    assert exists("copygym.envs.delivery.DeliveryEnv") and exists("copygym.UserError")
    assert not exists("copygym.envs.users") and not exists("copygym.envs.delivery.Nothing")
