"""What one source says: a hash of what its code does, what it imports, and its words."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

#: Stands for the name in an import that is a text: ``module.attribute`` or ``package.**``, which
#: is all below.
IN_TEXT = "a text"
#: Fields of syntax trees that say nothing about what the code does.
_MUTE = ("ctx", "kind", "type_comment", "type_ignores")
#: The function (`copygym.core.lazy`) whose argument says from where a front takes its names.
_LAZY = "lazy_names"


@dataclass(frozen=True)
class Source:
    """What a source says.

    Attributes:
        hash: of its code.
        imports: (module, name in it or None), or (dotted name, `IN_TEXT`).
        words: names and strings in it.
        exports: name -> module, of a front that imports names on first use.
    """

    hash: str
    imports: tuple[tuple[str, str | None], ...] = ()
    words: frozenset[str] = frozenset()
    exports: Mapping[str, str] = field(default_factory=dict)


@cache
def read_source(path: Path, changed: int, size: int, package: str, version: str) -> Source:
    """Return what a source says; ``changed`` and ``size`` tell one state of a file from the next.

    Args:
        path: of the source.
        changed: when, in nanoseconds.
        size: bytes.
        package: from which relative imports start.
        version: of an installed package, of which only this module is hashed.
    """
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Source(hashlib.sha256(source).hexdigest()[:16])
    pieces: list[str] = [version]
    words: set[str] = set()
    _canonical(tree, pieces, words)
    digest = hashlib.sha256(" ".join(pieces).encode(errors="surrogatepass")).hexdigest()[:16]
    exports = _exports(tree) if path.name == "__init__.py" else {}
    return Source(digest, tuple(_imports(tree, package)), frozenset(words), exports)


def _canonical(node: Any, pieces: list[str], words: set[str]) -> None:
    """Add a syntax tree as text that is the same in every version of Python, and its words.

    Empty fields are left out: newer versions have more of them.
    """
    if isinstance(node, ast.AST):
        pieces.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if name in _MUTE or value is None or value == []:
                continue
            pieces.append(name)
            _canonical(value, pieces, words)
        pieces.append(")")
    elif isinstance(node, list):
        pieces.append("[")
        for entry in node:
            if not _is_text(entry):
                _canonical(entry, pieces, words)
        pieces.append("]")
    else:
        pieces.append(repr(node))
        if isinstance(node, str):
            words.add(node)


def _is_text(node: Any) -> bool:
    """Return whether a statement is a docstring, or another string that nothing uses."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str | None]]:
    """Yield what a source imports, or names in a text from which it may import.

    A front that imports on first use names everything that is in its package; what is taken from
    it is in `_exports`.
    """
    lazy = any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in tree.body)
    lazy = lazy or any(_is_lazy(node) for node in ast.walk(tree))
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for node in _run_time(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = _home(node, package)
            yield from ((home, None if alias.name == "*" else alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and not lazy:
            name = _module_in(node, texts)
            if name:
                yield name, IN_TEXT


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, without what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _name_of(child.test) == "TYPE_CHECKING":
            for entry in child.orelse:
                yield from _run_time(entry)
        else:
            yield from _run_time(child)


def _home(node: ast.ImportFrom, package: str) -> str:
    """Return the module from which an import takes its names."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _module_in(node: ast.AST, texts: Mapping[str, str]) -> str | None:
    """Return the dotted name in a text such as ``module:attribute``; None where there is none.

    Of a text that ends in something computed (``f"package.{name}"``) it is ``package.**``.
    """
    start, whole = _beginning(node, texts)
    name, colon, attribute = start.partition(":")
    if whole and name.count(".") and is_dotted(name):
        return f"{name}.{attribute}" if colon and is_dotted(attribute) else name
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.FormattedValue):
        package = start.removesuffix(".")
        return f"{package}.**" if package != start and is_dotted(package) else None
    return None


def _beginning(node: ast.AST, texts: Mapping[str, str]) -> tuple[str, bool]:
    """Return how a text begins that an expression makes, and whether that is all of it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, True
    if isinstance(node, ast.Name):
        return texts.get(node.id, ""), node.id in texts
    if isinstance(node, ast.FormattedValue):
        return _beginning(node.value, texts)
    if isinstance(node, ast.JoinedStr):
        start = ""
        for part in node.values:
            text, whole = _beginning(part, texts)
            start += text
            if not whole:
                return start, False
        return start, True
    return "", False


def _is_lazy(node: ast.AST) -> bool:
    """Return whether a node is the call by which a front of copygym's takes names on first use."""
    return isinstance(node, ast.Call) and _name_of(node.func) == _LAZY


def _exports(tree: ast.Module) -> dict[str, str]:
    """Return name -> module of the tables by which a front finds names on first use.

    A table is ``{name: module}`` anywhere in the front, or ``{module: (name, ...)}`` in a call of
    `copygym.core.lazy.lazy_names`.
    """
    exports = {
        name: home
        for node in ast.walk(tree)
        for key, value in _entries(node)
        if (name := _text_of(key)) and (home := _text_of(value)) and is_dotted(home)
    }
    tables = [part for call in ast.walk(tree) if _is_lazy(call) for part in ast.walk(call)]
    for key, value in (entry for table in tables for entry in _entries(table)):
        if (home := _text_of(key)) and isinstance(value, ast.Tuple | ast.List):
            exports |= {name: home for part in value.elts if (name := _text_of(part))}
    return exports


def _entries(node: ast.AST) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    """Yield the keys and values of a literal mapping; nothing of another node."""
    if isinstance(node, ast.Dict):
        yield from zip(node.keys, node.values, strict=True)


def _text_of(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def is_dotted(name: str) -> bool:
    """Return whether a text has the form of a module's name; one without a dot has it, too."""
    return all(part.isidentifier() for part in name.split("."))


__all__ = ["IN_TEXT", "Source", "is_dotted", "read_source"]
