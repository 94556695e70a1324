"""Which code a run's numbers rest on: the modules that its job reaches, without their comments.

The import graph is read from the sources with `ast`, so that nothing is imported for it, and a name
in a stranger's folder cannot make anything run. It starts at the module that the config's ``job``
names and follows every import, those inside of functions too. What stands under ``_target_`` in the
config's sections joins in where the job names the section. Left out is what only shows or stores a
result (reports, tracking, commands, sweeps), and whatever the job does not reach: another study.

A config key at the top level counts if a reached module above `copygym.core` names it anywhere, as
a string, a variable or an argument. Reads are not recorded while a run goes on, because configs are
copied (``{**config}``), sent to other processes and turned into objects, where a recorder is lost.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from copygym.experiments.runs.source import IN_TEXT, Source, is_dotted, read_source

_OURS = "copygym"
#: Modules and packages that show, store or start a run: they cannot change a number of a stage.
_NO_NUMBERS = (
    "copygym.conf",
    "copygym.experiments.app",
    "copygym.experiments.commands",
    "copygym.experiments.options",
    "copygym.experiments.report",
    "copygym.experiments.runs",
    "copygym.experiments.sweeps",
    "copygym.experiments.tracking",
)
#: Those among them whose numbers end up in results all the same.
_NUMBERS = (
    "copygym.experiments.report.aggregates",
    "copygym.experiments.report.evidence",
    "copygym.core.seeds",
)
_STUDIES = "copygym.experiments.studies."
#: It lies below every config; its words, such as the kinds of plug-ins, are no keys of one.
_CORE = "copygym.core"
#: Config keys that `app` reads for every job.
_ALWAYS = ("name", "job", "seed")


@dataclass(frozen=True)
class Code:
    """The code behind a job's numbers.

    Attributes:
        modules: module -> hash of its code, comments, docstrings and layout aside.
        words: names and strings in those modules, `copygym.core` aside; None where the job's source
            is not to be had.
    """

    modules: Mapping[str, str]
    words: frozenset[str] | None

    @property
    def id(self) -> str:
        """Return one hash of all modules."""
        lines = (f"{name} {value}\n" for name, value in sorted(self.modules.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def reads(self, section: str) -> bool:
        """Return whether the job may read a config key of the top level."""
        return self.words is None or section in _ALWAYS or section in self.words


def job_code(config: Mapping[str, Any]) -> Code:
    """Return the code that decides what the job of a resolved config computes.

    Args:
        config: of a run; ``job`` names the experiment's module. Without it every config key counts.
    """
    graph = _Graph()
    if not graph.add(module for key, module in _named(config, "") if key == "job"):
        return Code({}, None)
    size = -1
    # A part's code may read sections that name parts in their turn.
    while size != len(graph.modules):
        size = len(graph.modules)
        words = graph.words()
        graph.add(module for key, module in _named(config, "") if key in words)
    return Code({name: module.hash for name, module in graph.modules.items()}, graph.words())


def outside_packages(config: Mapping[str, Any]) -> list[str]:
    """Return the top-level packages that a config names beside copygym, such as a plug-in's."""
    tops = {module.partition(".")[0] for _, module in _named(config, "")}
    return sorted(tops - {_OURS, "hydra_plugins"})


def changed_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the modules that differ, changed ones before those that are new or gone."""
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    return changed or sorted(before.keys() ^ now.keys())


def _named(value: Any, section: str, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (section, dotted name) of all code that a config names.

    A section is a key of the top level; that of the job itself is ``job``. Code is what stands
    under ``_target_`` or ``job``, is written ``module:attribute``, or is the name of an entry point
    of copygym's.
    """
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _named(entry, section or str(name), str(name))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _named(entry, section, key)
    elif isinstance(value, str):
        module, colon, attribute = value.partition(":")
        # A term of a reward is ``NAME:SUFFIX`` where it is used twice.
        entries = _entry_points().get(value) or _entry_points().get(module, [])
        section = "job" if key == "job" else section
        if entries:
            yield from ((section, entry.replace(":", ".")) for entry in entries)
        elif key in ("_target_", "job") and is_dotted(value):
            yield section, value
        elif colon and is_dotted(module):
            # An environment's id has no attribute's name: which module has it is not written here.
            name = attribute.partition(":")[0]
            yield section, f"{module}.{name}" if is_dotted(name) else f"{module}.*"


@cache
def _entry_points() -> dict[str, list[str]]:
    """Return name -> ``module:attribute`` of the parts that installed packages offer to copygym."""
    found: dict[str, list[str]] = {}
    for group in metadata.entry_points().groups:
        if group.startswith(f"{_OURS}."):
            for entry in metadata.entry_points(group=group):
                found.setdefault(entry.name, []).append(entry.value)
    return found


def _counts(module: str) -> bool:
    """Return whether a module can change a number."""
    if module.startswith(_STUDIES) and module.endswith("_report"):
        return False
    return module in _NUMBERS or not any(
        module == name or module.startswith(f"{name}.") for name in _NO_NUMBERS
    )


class _Graph:
    """The modules reached so far, from any number of roots."""

    def __init__(self) -> None:
        self.modules: dict[str, Source] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        self._tops = {_OURS}

    def words(self) -> frozenset[str]:
        """Return the names and strings of all modules that may read a config."""
        return frozenset().union(
            *(
                module.words
                for name, module in self.modules.items()
                if name != _CORE and not name.startswith(f"{_CORE}.")
            )
        )

    def add(self, names: Iterable[str]) -> bool:
        """Reach modules, or attributes of modules; return whether all have a source."""
        complete = True
        found = False
        for name in names:
            found = True
            module, _ = self._split(name)
            spec = self._spec(module)
            if spec is None or _file(spec) is None:
                complete = False
                continue
            if not _installed(spec):
                self._tops.add(module.partition(".")[0])
            self._reach(self._resolve(name))
        return found and complete

    def _split(self, name: str) -> tuple[str, str]:
        """Return the longest beginning of a dotted name that is a module, and the next part."""
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            if self._spec(".".join(parts[:count])) is not None:
                return ".".join(parts[:count]), ".".join(parts[count : count + 1])
        return name, ""

    def _resolve(self, name: str) -> set[str]:
        """Return the module of a dotted name, and that from which a front takes it."""
        module, attribute = self._split(name)
        spec = self._spec(module)
        if attribute in ("*", "**") and spec is not None:
            return {module, *_inside(module, spec, deep=attribute == "**")}
        return {module, *self._exported(module, attribute)}

    def _reach(self, roots: Iterable[str]) -> None:
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name in self.modules:
                continue
            spec = self._spec(name)
            path = None if spec is None else _file(spec)
            if spec is None or path is None:
                continue
            module = self.modules[name] = _read(path, name, spec)
            # A package's front runs before what is inside.
            parent = name.rpartition(".")[0]
            wanted = {parent} if parent else set()
            for target, attribute in module.imports:
                wanted |= self._targets(target, attribute, module.words)
            waiting += [w for w in wanted if w.partition(".")[0] in self._tops and _counts(w)]

    def _targets(self, module: str, attribute: str | None, words: frozenset[str]) -> set[str]:
        """Return the modules that an import runs."""
        if module.partition(".")[0] not in self._tops:
            return set()
        if attribute == IN_TEXT:
            return self._resolve(module)
        spec = self._spec(module)
        if spec is None:
            return set()
        if spec.submodule_search_locations is None:
            return {module}
        if attribute is None:
            return {module, *(m for w in words for m in self._exported(module, w))}
        inner = f"{module}.{attribute}"
        if self._spec(inner) is None:
            return {module, *self._exported(module, attribute)}
        return {module, *self._targets(inner, None, words)}

    def _exported(self, module: str, attribute: str) -> list[str]:
        """Return the module from which a front takes a name on first use, if it does."""
        spec = self._spec(module)
        path = None if spec is None else _file(spec)
        if spec is None or path is None or spec.submodule_search_locations is None:
            return []
        home = _read(path, module, spec).exports.get(attribute)
        return [] if home is None else [home]

    def _spec(self, name: str) -> ModuleSpec | None:
        """Return where a module is, without importing it or its parents."""
        if name not in self._specs:
            parent = name.rpartition(".")[0]
            above = self._spec(parent) if parent else None
            if parent and (above is None or above.submodule_search_locations is None):
                self._specs[name] = None
            else:
                places = list(above.submodule_search_locations or ()) if above else None
                self._specs[name] = _find_spec(name, places)
        return self._specs[name]


def _find_spec(name: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, places) if find else None
        if spec is not None:
            return spec
    return None


def _file(spec: ModuleSpec) -> Path | None:
    path = Path(spec.origin) if spec.origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _inside(package: str, spec: ModuleSpec, deep: bool) -> Iterator[str]:
    """Yield the modules of a package; those of packages in it only where ``deep``."""
    for place in map(Path, spec.submodule_search_locations or ()):
        for path in place.glob("**/*.py" if deep else "*.py"):
            parts = path.relative_to(place).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")])


def _installed(spec: ModuleSpec) -> bool:
    """Return whether a module belongs to Python or to an installed package."""
    places = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    path = Path(spec.origin or "").resolve()
    return any(path.is_relative_to(Path(place).resolve()) for place in places)


def _read(path: Path, name: str, spec: ModuleSpec) -> Source:
    status = path.stat()
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    version = ""
    if name.partition(".")[0] != _OURS and _installed(spec):
        version = _version(name.partition(".")[0])
    return read_source(path, status.st_mtime_ns, status.st_size, package, version)


@cache
def _version(top: str) -> str:
    """Return the versions of the distributions that hold a top-level package."""
    names = metadata.packages_distributions().get(top, ())
    return " ".join(sorted(f"{name} {metadata.version(name)}" for name in set(names)))


__all__ = ["Code", "changed_modules", "job_code", "outside_packages"]
