"""Text vectors on disk by content, for several processes at once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError

#: Bytes at the end of each row that say whether the rest is what was stored.
_CHECKSUM = 8


class VectorCache:
    """Vectors of texts on disk, by content hash; several processes may read and write at once.

    One SQLite file per model. Writers insert whole batches in one transaction, so that a reader
    sees either a vector or nothing, and each vector has a checksum: a damaged one is made anew.

    Args:
        path: the SQLite file; made with its folder where absent.
        dtype: of the stored numbers; one file holds one type.

    Raises:
        UserError: here or later, the file cannot be made, read or written.
    """

    def __init__(self, path: str | Path, dtype: type[np.floating] = np.float32) -> None:
        self.path, self._dtype = Path(path), np.dtype(dtype)
        with self._connected() as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL)"
            )

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=120)) as connection:
                connection.text_factory = bytes  # a row that holds a text is damaged
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"the cache {self.path} cannot be used ({error}): delete it, or name a folder that "
                "can be written to by COPYGYM_HOME."
            ) from None

    def get(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the stored vectors ((E,) of the file's type) of those ``texts`` that have one."""
        by_hash = {_content_hash(text): text for text in texts}
        found: dict[str, np.ndarray] = {}
        keys = list(by_hash)
        with self._connected() as connection:
            for start in range(0, len(keys), 500):
                chunk = keys[start : start + 500]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(
                    f"SELECT hash, vector FROM vectors WHERE hash IN ({marks})", chunk
                )
                for key, blob in rows:
                    # Damaged, or of a version that stored no checksum: as if not stored.
                    content = _checked(blob)
                    if content is not None:
                        found[by_hash[key]] = np.frombuffer(content, self._dtype)
        return found

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store one (E,) vector per text."""
        rows = [
            (_content_hash(text), _with_checksum(vector.astype(self._dtype).tobytes()))
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with self._connected() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)


def _with_checksum(content: bytes) -> bytes:
    return content + hashlib.blake2b(content, digest_size=_CHECKSUM).digest()


def _checked(blob: Any) -> bytes | None:
    """Return the content of a row; None where it is not what was stored."""
    if not isinstance(blob, bytes) or len(blob) <= _CHECKSUM:
        return None
    content = blob[:-_CHECKSUM]
    return content if _with_checksum(content) == blob else None


def _content_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
