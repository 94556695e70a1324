"""Text vectors on disk by content, for several processes at once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from copygym.core.errors import UserError


class VectorCache:
    """Vectors of texts on disk, by content hash; several processes may read and write at once.

    One SQLite file per model. Writers insert whole batches in one transaction, and a vector is
    never changed once written, so that a reader sees either a vector or nothing.

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
                found.update(
                    (by_hash[key], np.frombuffer(blob, self._dtype))
                    for key, blob in rows
                    # Half a number is damage: the text counts as not stored.
                    if blob and len(blob) % np.dtype(self._dtype).itemsize == 0
                )
        return found

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store one (E,) vector per text; texts that have one already keep it."""
        rows = [
            (_content_hash(text), vector.astype(self._dtype).tobytes())
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with self._connected() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)


def _content_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
