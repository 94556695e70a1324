"""Text vectors on disk by content, for several processes at once."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np


class VectorCache:
    """Vectors of texts on disk, by content hash; several processes may read and write at once.

    One SQLite file per model. Writers insert whole batches in one transaction, and a vector is
    never changed once written, so that a reader sees either a vector or nothing.

    Args:
        path: the SQLite file; made with its folder where absent.
        dtype: of the stored numbers; one file holds one type.
    """

    def __init__(self, path: str | Path, dtype: type[np.floating] = np.float32) -> None:
        self.path, self._dtype = Path(path), np.dtype(dtype)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL)"
            )

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=120)

    def get(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the stored vectors ((E,) of the file's type) of those ``texts`` that have one."""
        by_hash = {_content_hash(text): text for text in texts}
        found: dict[str, np.ndarray] = {}
        keys = list(by_hash)
        with closing(self._connect()) as connection:
            for start in range(0, len(keys), 500):
                chunk = keys[start : start + 500]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(
                    f"SELECT hash, vector FROM vectors WHERE hash IN ({marks})", chunk
                )
                found.update((by_hash[key], np.frombuffer(blob, self._dtype)) for key, blob in rows)
        return found

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store one (E,) vector per text; texts that have one already keep it."""
        rows = [
            (_content_hash(text), vector.astype(self._dtype).tobytes())
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)


def _content_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
