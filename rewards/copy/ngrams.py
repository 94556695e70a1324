"""Words, n-grams and the overlap of texts: what the copy terms and the text measures count with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

_WORD = re.compile(r"[^\W_]+(?:['’.,\-][^\W_]+)*%?")
_SPACE = re.compile(r"\s+")
_GRAM = 4  # characters
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64
)


@lru_cache(maxsize=100_000)
def words(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` in lower case; numbers keep their points, commas and %."""
    return tuple(w.lower().replace("’", "'") for w in _WORD.findall(text))


def plain(text: str) -> str:
    """Return ``text`` as copies of it are compared: words in lower case, one blank between."""
    return " ".join(words(text))


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield the ``len(tokens) - n + 1`` n-grams of ``tokens``; none where there are fewer."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


@lru_cache(maxsize=100_000)
def _cached_grams(text: str) -> bytes:
    letters = f" {_SPACE.sub(' ', text.strip().lower())} "
    codes = np.frombuffer(letters.encode("utf-32-le", "surrogatepass"), np.uint32)
    if len(codes) < _GRAM:
        return b""
    windows = np.lib.stride_tricks.sliding_window_view(codes, _GRAM).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = ((windows + np.uint64(1)) * _MULTIPLIERS).sum(axis=1, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MULTIPLIERS[1]
    return np.unique(mixed).tobytes()


def character_grams(text: str) -> np.ndarray:
    """Return the distinct character 4-grams of ``text`` as sorted hashes (G,) uint64.

    Letters are compared in lower case, runs of blanks as one, with a blank at both ends. A text
    of fewer than two characters has none.
    """
    return np.frombuffer(_cached_grams(text), np.uint64)


class NearestText:
    """The overlap of a text with the most similar of R references, by character 4-grams.

    An inverted index: for each 4-gram the references that hold it. A query adds up the lists of
    its own grams, so its cost grows with their length and not with R times the text's length.
    Broder 1997, "On the resemblance and containment of documents": with A the grams of the text
    and B those of a reference, resemblance (Jaccard) = |A and B| / |A or B| and containment =
    |A and B| / |A|.

    Args:
        references: R texts; equal ones count once.
        measure: ``jaccard``, or ``containment`` of the text in the reference.
    """

    def __init__(self, references: Sequence[str], measure: str = "jaccard") -> None:
        self.measure = measure
        grams = [character_grams(text) for text in sorted(set(references))]
        self._sizes = np.array([len(g) for g in grams], np.int64)
        owner = np.repeat(np.arange(len(grams), dtype=np.int32), self._sizes)
        flat = np.concatenate(grams) if grams else np.zeros(0, np.uint64)
        order = np.argsort(flat, kind="stable")
        self._owner = owner[order]
        self._grams, starts = np.unique(flat[order], return_index=True)
        self._bounds = np.append(starts, len(flat))
        self._known: dict[str, float] = {}

    def __len__(self) -> int:
        """R, distinct."""
        return len(self._sizes)

    def similarity(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64 in [0, 1]: the largest overlap; 0 without references."""
        if len(self._known) > 200_000:
            self._known.clear()
        for text in texts:
            if text not in self._known:
                self._known[text] = self._nearest(text)
        return np.array([self._known[text] for text in texts], dtype=np.float64)

    def _nearest(self, text: str) -> float:
        grams = character_grams(text)
        if not len(grams) or not len(self._grams):
            return 0.0
        place = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
        place = place[self._grams[place] == grams]
        lists = [self._owner[self._bounds[i] : self._bounds[i + 1]] for i in place]
        if not lists:
            return 0.0
        shared = np.bincount(np.concatenate(lists), minlength=len(self._sizes))
        either = len(grams) + self._sizes - shared if self.measure == "jaccard" else len(grams)
        return float((shared / either).max())


def pairwise_jaccard(texts: Sequence[str]) -> np.ndarray:
    """Return (N, N) float64 Jaccard similarities of the texts' character 4-grams.

    Two texts without any gram are equal (1); a text without grams shares nothing with others.
    """
    from scipy.sparse import csr_array

    grams = [character_grams(text) for text in texts]
    sizes = np.array([len(g) for g in grams], np.int64)
    if not sizes.sum():
        return np.ones((len(texts), len(texts)))
    _, column = np.unique(np.concatenate(grams), return_inverse=True)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    holds = csr_array((np.ones(len(column)), column, bounds), shape=(len(texts), column.max() + 1))
    shared = (holds @ holds.T).toarray()
    either = sizes[:, None] + sizes[None, :] - shared
    return np.where(either > 0, shared / np.maximum(either, 1), 1.0)
