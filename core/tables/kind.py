"""What a table file is, by its content: the suffix decides nothing where the content can.

Also where the text of a file comes from: unpacked, decoded, and spooled where polars needs a file.
"""

from __future__ import annotations

import atexit
import codecs
import gzip
import os
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, cast

from copygym.core.errors import UserError
from copygym.core.files.checksum import stamp

PARQUET_SUFFIXES = (".parquet", ".pq")
_HEAD = 1 << 16
_BLOCK = 1 << 22
#: Byte order marks; UTF-32's little-endian one begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
#: Beginnings of files that hold tables or text and are neither CSV nor Parquet.
_OTHERS = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\0": "an SQLite database",
    b"%PDF": "a PDF",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PARE": "an encrypted Parquet file",
}
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_JSON = re.compile(rb"\{\s*[\"}]|\[\s*[\[{\"\]]")
_MARKUP = re.compile(rb"<(\?xml|!doctype|html)\b", re.IGNORECASE)
_UTF8 = ("utf-8", "utf8", "utf_8", "u8", "utf-8-sig", "utf_8_sig")


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        kind: "csv" or "parquet".
        gzipped: whether the text is packed.
        mark: encoding that a byte order mark names; None where there is none.
    """

    kind: Literal["csv", "parquet"]
    gzipped: bool = False
    mark: str | None = None


def named_parquet(path: Path) -> bool:
    """Tell whether the file's name says Parquet."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def content_of(path: Path) -> Content:
    """Return what a file holds.

    Raises:
        UserError: the file is a workbook, an archive, JSON or anything else that is no table here.
    """
    return _content_of(path, stamp(path))


@lru_cache(maxsize=256)
def _content_of(path: Path, _: tuple[int, ...]) -> Content:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"PAR1"):
        return Content("parquet")
    _refuse_others(path, head)
    gzipped = head.startswith(b"\x1f\x8b")
    if gzipped:
        with gzip.open(path, "rb") as packed:
            head = packed.read(_HEAD)
        if head.startswith(b"PAR1"):
            raise UserError(f"{path} is a Parquet file in a gzip archive; unpack it with gunzip.")
        _refuse_others(path, head)
    if named_parquet(path) and not re.search(rb"^[^\r\n]*[,;\t|]", head):
        # Nothing speaks for a CSV that was given the wrong name.
        return Content("parquet")
    mark = next((name for begin, name in _MARKS.items() if head.startswith(begin)), None)
    return Content("csv", gzipped, mark)


def _refuse_others(path: Path, head: bytes) -> None:
    what = None
    # A header of text may begin like one of them: PARENT, BZh.
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    begins = (begin for begin in _OTHERS if head.startswith(begin))
    if (begin := next(begins, None)) and (_NO_TEXT.search(head) or not begin.isalnum()):
        what = _OTHERS[begin]
    if head.startswith(b"PK\x03\x04"):
        what = _zipped(path)
    if _JSON.match(text):
        what = "JSON"
    elif _MARKUP.match(text):
        what = "a page of HTML or XML"
    if what:
        raise UserError(
            f"{path} is {what}, neither CSV nor Parquet; "
            f"{'unpack it' if 'archive' in what else 'save it as CSV in UTF-8 or as Parquet'}."
        )


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as bundle:
            names = bundle.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a zip archive"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook"
    return "an OpenDocument table" if "content.xml" in names else "a zip archive"


def is_csv(path: Path) -> bool:
    """Tell whether a file holds text, as a CSV does; False for Parquet, folders and what is odd."""
    try:
        return path.is_file() and content_of(path).kind == "csv"
    except (UserError, OSError, EOFError, ValueError):
        return False


def open_bytes(path: Path) -> BinaryIO:
    """Open a file's bytes, unpacked where they are gzip's."""
    stream = path.open("rb")
    packed = stream.peek(2).startswith(b"\x1f\x8b")
    if not packed:
        return stream
    stream.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def is_utf8(encoding: str) -> bool:
    """Tell whether an encoding is UTF-8, with a mark or without."""
    return encoding.lower() in _UTF8


def to_utf8(path: Path, encoding: str) -> Path:
    """Return a private copy of a file in UTF-8, made block by block.

    Raises:
        UserError: the encoding is unknown, or a byte cannot be read in it.
    """
    return _to_utf8(path, encoding.lower(), stamp(path))


@lru_cache(maxsize=16)
def _to_utf8(path: Path, encoding: str, _: tuple[int, ...]) -> Path:
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
        "a".encode(encoding)
    except (LookupError, AttributeError, TypeError, UnicodeError, ValueError):
        raise UserError(
            f"unknown encoding {encoding!r}: use a Python codec name such as 'latin-1', 'cp1252' "
            "or 'utf-16'."
        ) from None
    handle, name = tempfile.mkstemp(suffix=".csv", dir=scratch())
    offset = 0
    with os.fdopen(handle, "wb") as sink, open_bytes(path) as stream:
        while True:
            block = stream.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
                sink.write(text.encode("utf-8"))
            except UnicodeError as error:
                place = offset + max(int(getattr(error, "start", 0)), 0)
                raise UserError(
                    f"{path}: byte {place} cannot be read as {encoding}; try another encoding."
                ) from None
            if not block:
                return Path(name)
            offset += len(block)


_folders: dict[int, str] = {}


def scratch() -> Path:
    """Return this process's private folder for copies; it goes when the process ends."""
    mine = os.getpid()
    if mine not in _folders:
        folder = tempfile.mkdtemp(prefix="copygym-")
        _folders[mine] = folder
        atexit.register(_remove, mine, folder)
    return Path(_folders[mine])


def _remove(process: int, folder: str) -> None:
    if os.getpid() == process:  # a forked child shares its parent's list
        shutil.rmtree(folder, ignore_errors=True)
