"""Ranking metrics of slates, as MIND's leaderboard has them: AUC, MRR, nDCG@5 and nDCG@10.

Wu et al. (2020), "MIND: A Large-scale Dataset for News Recommendation", section 5.1: each metric is
of one impression and then averaged over impressions. Axes: N rows, S slates.
"""

from __future__ import annotations

import numpy as np

from copygym.core.estimates import Estimate, ratio, resample_sums, with_interval

#: Metrics by name.
METRICS = ("auc", "mrr", "ndcg_5", "ndcg_10")


def slate_metrics(scores: np.ndarray, clicks: np.ndarray, slate: np.ndarray) -> np.ndarray:
    """Return (S, 4) float64, each slate's `METRICS`.

    Equal scores share their click-or-miss pairs in the AUC; in the other metrics the row that comes
    first in the data goes last, so that no order of the file is rewarded.

    Args:
        scores: (N,) float64, finite.
        clicks: (N,) 0 or 1; every slate has both.
        slate: (N,) int64, ascending from 0.
    """
    size = np.bincount(slate)
    starts = np.cumsum(size) - size
    order = np.lexsort((-np.arange(len(scores)), -scores, slate))
    rank = np.empty(len(scores), np.int64)
    rank[order] = np.arange(len(scores)) - starts[slate[order]] + 1
    hits = np.bincount(slate, clicks)
    gain = clicks / np.log2(rank + 1.0)
    mrr = np.bincount(slate, clicks / rank) / hits
    columns = [_auc(scores, clicks, slate, order, size, hits), mrr]
    for top in (5, 10):
        ideal = np.cumsum(1.0 / np.log2(np.arange(top) + 2.0))
        best = ideal[np.minimum(hits.astype(np.int64), top) - 1]
        columns.append(np.bincount(slate, gain * (rank <= top)) / best)
    return np.column_stack(columns)


def _auc(
    scores: np.ndarray,
    clicks: np.ndarray,
    slate: np.ndarray,
    order: np.ndarray,
    size: np.ndarray,
    hits: np.ndarray,
) -> np.ndarray:
    """Return (S,) Mann-Whitney AUCs, ties counting half."""
    s, g = scores[order], slate[order]
    new = np.ones(len(s), bool)
    new[1:] = (s[1:] != s[:-1]) | (g[1:] != g[:-1])
    run = np.cumsum(new) - 1
    # Mean place of each run of equal scores, counted from the lowest score of the slate.
    place = np.arange(len(s), dtype=np.float64)
    mean = np.bincount(run, place) / np.bincount(run)
    starts = np.cumsum(size) - size
    from_below = size[g] - (mean[run] - starts[g])
    ranks = np.bincount(g, clicks[order] * from_below)
    found = (ranks - hits * (hits + 1) / 2) / (hits * (size - hits))
    return np.asarray(found, dtype=np.float64)


def mean_metrics(
    table: np.ndarray, reader: np.ndarray, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Return the mean of each metric over slates, with its 95% interval over readers.

    Args:
        table: (S, 4) from `slate_metrics`, or the difference of two such tables.
        reader: (S,) int64.
        resamples: of the bootstrap.
        seed: of the draws; equal ones make two calls' intervals paired.
    """
    code = np.unique(reader, return_inverse=True)[1]
    columns = np.column_stack(
        [*(np.bincount(code, column) for column in table.T), np.bincount(code)]
    )
    sums = resample_sums(columns, resamples, seed)
    total = columns.sum(axis=0)
    found = {}
    for at, name in enumerate(METRICS):
        value = float(total[at] / total[-1])
        found[name] = with_interval(value, ratio(sums[:, at], sums[:, len(METRICS)]))
    return found
