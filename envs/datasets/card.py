"""Dataset cards, and where a dataset's files are looked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from copygym.core.errors import UserError
from copygym.core.files.checksum import verify_checksum
from copygym.core.files.storage import cache_home


@dataclass(frozen=True)
class RemoteFile:
    """A file that ``copygym data get`` fetches.

    Attributes:
        name: file name in the dataset's folder.
        url: where the publisher offers it.
        sha256: hex digest of the published file; None where it is not known for certain.
        size: bytes, None where unknown.
    """

    name: str
    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Card:
    """What one must know of a dataset before believing a number from it.

    Attributes:
        name: as in ``dataset=NAME``.
        title: one line.
        source: who made it, where it is published.
        licence: of the data.
        size: rows and units.
        randomised: what was assigned at random, and what was not.
        faults: what is known to be wrong, and the assumptions the loader makes.
        citation: what to cite.
        files: what ``copygym data get`` fetches; empty where nothing can be fetched.
        how_to_get: one sentence for those who don't have it.
        synthetic: True where the log is simulated.
    """

    name: str
    title: str
    source: str
    licence: str
    size: str
    randomised: str
    faults: tuple[str, ...]
    citation: str
    files: tuple[RemoteFile, ...]
    how_to_get: str
    synthetic: bool = False

    def to_markdown(self) -> str:
        """Return the card as a section of a page."""
        lines = [f"## {self.name}: {self.title}", ""]
        if self.synthetic:
            lines += ["**Synthetic**: no real person is in this log.", ""]
        lines += ["| | |", "|---|---|"]
        facts = {
            "source": self.source,
            "licence": self.licence,
            "size": self.size,
            "randomised": self.randomised,
            "how to get it": self.how_to_get,
            "cite": self.citation,
        }
        lines += [f"| {key} | {value.replace('|', '/')} |" for key, value in facts.items()]
        lines += [f"| file | {_describe(file)} |" for file in self.files]
        if self.faults:
            lines += ["", "Known faults and assumptions:", ""]
            lines += [f"- {fault}" for fault in self.faults]
        return "\n".join(lines) + "\n"


def _describe(file: RemoteFile) -> str:
    size = f", {file.size:,} bytes" if file.size else ""
    digest = f"SHA-256 `{file.sha256}`" if file.sha256 else "no published checksum"
    return f"[`{file.name}`]({file.url}){size}, {digest}"


def data_home() -> Path:
    """Return the folder of downloaded data: ``$COPYGYM_HOME/data``, else under ``~/.cache``."""
    return cache_home() / "data"


def default_folder(name: str) -> Path:
    """Return the folder into which ``copygym data get NAME`` puts a dataset."""
    return data_home() / name


def is_here(name: str) -> bool:
    """Return whether anything lies in a dataset's default folder."""
    folder = default_folder(name)
    return folder.is_dir() and any(folder.iterdir())


def find_file(card: Card, path: str | Path | None, patterns: tuple[str, ...]) -> Path:
    """Return the dataset's file.

    Args:
        card: of the dataset.
        path: the file itself, or a folder that holds it at any depth; None means the default
            folder.
        patterns: glob patterns, the preferred first.

    Raises:
        UserError: nothing fits (says how to get the dataset), or the file is not the one whose
            checksum was noted when it was fetched.
    """
    place = Path(path).expanduser() if path is not None else default_folder(card.name)
    if place.is_file():
        return check_unchanged(card, place)
    if place.is_dir():
        for pattern in patterns:
            found = sorted(p for p in place.rglob(pattern) if p.suffix not in _BESIDE)
            if found:
                return check_unchanged(card, found[0])
    raise missing(card, place, path is None, patterns)


#: Files that a download leaves beside those that it fetched.
_BESIDE = (".sha256", ".part", ".json", ".bad")


def check_unchanged(card: Card, path: Path) -> Path:
    """Return a dataset's file if it is still the one that was fetched; see `verify_checksum`."""
    return verify_checksum(path, f"delete it and run `copygym data get {card.name}` again")


def missing(card: Card, place: Path, default: bool, patterns: tuple[str, ...]) -> UserError:
    """Return the error for a dataset that is not at ``place``, with the way to get it."""
    if place.exists():
        what = f"{place} holds no {' or '.join(patterns)}"
    else:
        what = f"{place} does not exist"
    where = " (where data.path is not set)" if default else ""
    how = card.how_to_get.rstrip(".")
    return UserError(f"dataset {card.name}: {what}{where}; {how[0].lower()}{how[1:]}.")
