"""Arms of copy tests as counts: what a CTR model learns from and is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.splits import normalised_text

#: Arms are compared only where these columns agree: another picture is another test of copy.
WITHIN = ("context_eyecatcher",)


@dataclass(frozen=True)
class CopyCounts:
    """N arms: a text in a test, shown and clicked so many times.

    Attributes:
        texts: N texts.
        test: (N,) int64, 0-based; arms with one number were randomised against each other.
        impressions: (N,) float64 >= 1.
        clicks: (N,) float64 in [0, impressions].
        experiment: (N,) int64; tests of one experiment (the same story with other pictures) have
            one number, so that a split keeps them together. Defaults to ``test``.
    """

    texts: tuple[str, ...]
    test: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    experiment: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.experiment) == 0:
            object.__setattr__(self, "experiment", self.test)
        arrays = [self.test, self.impressions, self.clicks, self.experiment]
        if any(len(a) != len(self.texts) for a in arrays):
            raise ValueError("texts, test, impressions, clicks and experiment differ in length")

    def __repr__(self) -> str:
        clicks, shown = self.clicks.sum(), self.impressions.sum()
        return (
            f"CopyCounts({len(self)} arms, {self.n_tests} tests, {clicks:g} of {shown:g} clicked)"
        )

    def __len__(self) -> int:
        """N."""
        return len(self.texts)

    @property
    def n_tests(self) -> int:
        """Number of distinct tests."""
        return len(np.unique(self.test))

    def take(self, index: np.ndarray) -> CopyCounts:
        """Return the arms at ``index`` (M,), integers or a mask of N; test numbers are kept."""
        index = np.asarray(index)
        rows = np.flatnonzero(index) if index.dtype == bool else index
        return CopyCounts(
            tuple(self.texts[i] for i in rows.tolist()),
            self.test[rows],
            self.impressions[rows],
            self.clicks[rows],
            self.experiment[rows],
        )

    @classmethod
    def from_log(
        cls,
        log: ClickLog,
        *,
        within: Sequence[str] = WITHIN,
    ) -> CopyCounts:
        """Aggregate a log to one row per test and text.

        A log without ``test_id`` was not a test of copy: texts are then compared within their
        product (else brief) and channel, which is as causal as the logging policy was random.

        Args:
            log: with ``text``; rows without a text and holds are left out.
            within: columns that split a test further, where the log has them.

        Raises:
            UserError: the log has no text, or no test with two texts.
        """
        name = log.source or log.name
        if not log.has("text"):
            raise UserError(
                f"{name}: the log has no column text, which a reward model of copy learns from; "
                "map one with columns or choose a log with texts."
            )
        names = log.columns
        whole = _test_columns(names)
        wanted = ["text", "impressions", "clicks", *whole, *(c for c in within if c in names)]
        if "creative_id" in names:
            wanted.append("creative_id")
        frame = log.frame.select(list(dict.fromkeys(wanted))).collect(engine="streaming")
        frame = frame.with_columns(
            __experiment__=_key(whole),
            __test__=_key([*whole, *(c for c in within if c in names)]),
        )
        frame = frame.filter(pl.col("text").fill_null("").str.strip_chars() != "")
        if "creative_id" in names:
            frame = frame.filter(pl.col("creative_id").fill_null("") != "hold")
        arms = (
            frame.group_by("__test__", "text", maintain_order=True)
            .agg(
                pl.col("impressions").sum(),
                pl.col("clicks").sum(),
                pl.col("__experiment__").first(),
            )
            .filter(pl.col("text").n_unique().over("__test__") > 1)
        )
        if arms.height == 0:
            raise UserError(
                f"{name}: no test has two different texts, so there is no choice of copy to learn "
                "from; use a log whose tests compare texts."
            )
        return cls(
            tuple(arms["text"].to_list()),
            _codes(arms["__test__"]),
            arms["impressions"].to_numpy().astype(np.float64),
            arms["clicks"].to_numpy().astype(np.float64),
            _codes(arms["__experiment__"]),
        )


def _test_columns(names: Sequence[str]) -> list[str]:
    if "test_id" in names:
        return ["test_id"]
    kind = [c for c in ("product_id", "brief", "topic") if c in names][:1]
    return [*kind, *(c for c in ("channel",) if c in names)]


def _key(columns: Sequence[str]) -> pl.Expr:
    """Return one text that differs wherever one of the columns does."""
    if not columns:
        return pl.lit("")
    parts = [pl.col(c).cast(pl.String).fill_null("") for c in columns]
    return pl.concat_str([p.str.len_bytes().cast(pl.String) + ":" + p for p in parts])


def _codes(column: pl.Series) -> np.ndarray:
    """Number the distinct values in the order in which they first occur."""
    return (column.rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.int64)


def merge_counts(parts: Sequence[CopyCounts]) -> CopyCounts:
    """Join logs that may hold the same tests under different ids.

    An arm with the text, impressions and clicks of an arm in an earlier part is the same
    observation: a later test that holds one is left out whole.
    """
    known: set[tuple[str, float, float]] = set()
    kept: list[CopyCounts] = []
    for part in parts:
        arms = list(zip(part.texts, part.impressions, part.clicks, strict=True))
        repeated = np.array([arm in known for arm in arms])
        known.update(arms)
        kept.append(part.take(~np.isin(part.test, part.test[repeated])))
    return concat_counts(kept)


def concat_counts(parts: Sequence[CopyCounts]) -> CopyCounts:
    """Put parts below each other; tests and experiments of different parts stay apart."""
    tests, experiments = [], []
    at_test = at_experiment = 0
    for part in parts:
        tests.append(part.test + at_test)
        experiments.append(part.experiment + at_experiment)
        if len(part):
            at_test = int(tests[-1].max()) + 1
            at_experiment = int(experiments[-1].max()) + 1
    return CopyCounts(
        tuple(text for part in parts for text in part.texts),
        np.concatenate(tests),
        np.concatenate([part.impressions for part in parts]),
        np.concatenate([part.clicks for part in parts]),
        np.concatenate(experiments),
    )


def text_components(counts: CopyCounts) -> np.ndarray:
    """Return the (N,) connected component of each arm in the graph of experiments and headlines.

    Headlines are compared in lower case without punctuation (`envs.logs.splits.normalised_text`).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    plain = pl.DataFrame({"text": list(counts.texts)}).select(t=normalised_text())["t"]
    _, experiment = np.unique(counts.experiment, return_inverse=True)
    offset = int(experiment.max(initial=-1)) + 1
    head = _codes(plain) + offset
    size = int(max(head.max(initial=-1) + 1, offset))
    ones = np.ones(len(counts), dtype=np.int8)
    graph = coo_matrix((ones, (experiment, head)), shape=(size, size))
    return connected_components(graph, directed=False)[1][experiment].astype(np.int64)


def text_folds(counts: CopyCounts, n_folds: int, seed: int) -> np.ndarray:
    """Return (N,) int64 folds of the arms; all arms of a text are in one.

    Texts that share a first test go to a fold in twos (threes where one would be left over), and
    these are spread evenly: a text that is alone of its test in a fold has nothing there to be
    compared with, and a penalty would be chosen by luck.

    Args:
        counts: arms.
        n_folds: at most; fewer where there are fewer texts.
        seed: of the order.
    """
    texts, first, back = np.unique(np.array(counts.texts), return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(texts))
    order = order[np.argsort(counts.test[first[order]], kind="stable")]
    test = counts.test[first[order]]
    _, start, size = np.unique(test, return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, size)
    together = np.minimum(place // 2, np.repeat(np.maximum(size // 2 - 1, 0), size))
    new = np.diff(np.stack([test, together]), prepend=-1).any(axis=0)
    groups = np.cumsum(new) - 1
    if groups[-1] == 0:
        # One group alone: a fold must leave something to learn from.
        groups = np.arange(len(order))
    fold = np.empty(len(texts), np.int64)
    fold[order] = groups % n_folds
    return fold[back]


def split_counts(
    counts: CopyCounts | ClickLog, fractions: Mapping[str, float], seed: int
) -> dict[str, CopyCounts]:
    """Split so that tests which share a headline, even through others, are all in one part.

    Args:
        counts: arms, or a log to make them of.
        fractions: part name -> share of the tests; positive, adding up to 1.
        seed: of the assignment of components to parts.

    Raises:
        UserError: the fractions are wrong, or there are fewer components than parts.
    """
    from copygym.envs.logs.splits import assign_parts

    if isinstance(counts, ClickLog):
        counts = CopyCounts.from_log(counts)
    component = text_components(counts)
    _, first = np.unique(counts.test, return_index=True)
    sizes = np.bincount(component[first])
    used = np.flatnonzero(sizes)
    part = np.full(len(sizes), -1)
    part[used] = assign_parts(sizes[used], fractions, seed, "connected component of test")
    return {name: counts.take(part[component] == k) for k, name in enumerate(fractions)}


def some_tests(counts: CopyCounts, number: int | None, seed: int) -> CopyCounts:
    """Return ``number`` random tests of ``counts``; all where it is None or there are no more."""
    if number is None or number >= counts.n_tests:
        return counts
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.unique(counts.test), size=int(number), replace=False)
    return counts.take(np.isin(counts.test, chosen))


def part_sizes(parts: Mapping[str, CopyCounts]) -> dict[str, dict[str, int]]:
    """Return the numbers of tests, rows, headlines, impressions and clicks of each part."""
    return {
        name: {
            "tests": part.n_tests,
            "rows": len(part),
            "headlines": len(set(part.texts)),
            "impressions": int(part.impressions.sum()),
            "clicks": int(part.clicks.sum()),
        }
        for name, part in parts.items()
    }


def overlap(counts: CopyCounts, other: CopyCounts) -> int:
    """Return how many arms of ``counts`` have a headline that ``other`` holds too."""

    def plain(texts: Sequence[str]) -> pl.Series:
        return pl.DataFrame({"text": list(texts)}).select(t=normalised_text())["t"]

    return int(plain(counts.texts).is_in(plain(other.texts).unique().implode()).sum())
