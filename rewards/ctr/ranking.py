"""How well scores rank the arms of tests: pairs, best of K, lift, and what noise allows.

All numbers are per test first, then summed, so that intervals are over tests (the independent
units), by the Poisson bootstrap of Chamandy et al. (2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copygym.core.estimates import ratio, resample_sums, with_interval
from copygym.rewards.ctr.data import CopyCounts

#: Two-sided 5 % of the normal distribution: what makes a pair significant.
Z_SIGNIFICANT = 1.96
_COLUMNS = (
    "pairs",
    "right",
    "significant_pairs",
    "significant_right",
    "tests",
    "best_right",
    "best_random",
    "threes",
    "best_of_three",
    "three_random",
    "random_ctr",
    "pick_ctr",
    "oracle_ctr",
    "ceiling",
)


@dataclass(frozen=True)
class Pairs:
    """M pairs of arms of one test with different observed click rates, the better arm first.

    Attributes:
        better: (M,) int64 rows of the arms.
        worse: (M,) int64.
        z: (M,) two-proportion z statistic with pooled variance, >= 0.
        test: (M,) int64 index of the test in ``np.unique(counts.test)``.
    """

    better: np.ndarray
    worse: np.ndarray
    z: np.ndarray
    test: np.ndarray


def within_test_pairs(counts: CopyCounts) -> Pairs:
    """Return every pair of arms within tests whose click rates differ."""
    _, test = np.unique(counts.test, return_inverse=True)
    return _ordered(counts, test, *_arm_pairs(test))


def _arm_pairs(test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every two arms of one test once: (P,) int64 rows of the one and of the other."""
    order = np.argsort(test, kind="stable")
    bounds = np.searchsorted(test[order], np.arange(test.max(initial=-1) + 2))
    firsts, seconds = [], []
    for size in np.unique(np.diff(bounds)):
        if size < 2:
            continue
        rows = bounds[:-1][np.diff(bounds) == size][:, None] + np.arange(size)
        i, j = np.triu_indices(size, 1)
        firsts.append(order[rows[:, i]].ravel())
        seconds.append(order[rows[:, j]].ravel())
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *firsts]), np.concatenate([empty, *seconds])


def _ordered(counts: CopyCounts, test: np.ndarray, a: np.ndarray, b: np.ndarray) -> Pairs:
    """Return the pairs of arms ``a``, ``b`` with different click rates, the better arm first."""
    rate = counts.clicks / counts.impressions
    keep = rate[a] != rate[b]
    a, b = a[keep], b[keep]
    better, worse = np.where(rate[a] > rate[b], a, b), np.where(rate[a] > rate[b], b, a)
    n, k = counts.impressions, counts.clicks
    pooled = (k[a] + k[b]) / (n[a] + n[b])
    variance = pooled * (1 - pooled) * (1 / n[a] + 1 / n[b])
    z = (rate[better] - rate[worse]) / np.sqrt(np.maximum(variance, 1e-300))
    return Pairs(better, worse, z, test[a])


def pair_accuracy(scores: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return (M,) 1 where the better arm has the higher score, 0.5 for equal scores, else 0."""
    gap = scores[pairs.better] - scores[pairs.worse]
    return np.where(gap == 0, 0.5, gap > 0)


def best_of_three(scores: np.ndarray, rate: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N,) in how many threes of its test an arm is the favourite and no other is better.

    Summed over a test's arms and divided by its number of threes this is how often the favourite
    of three arms is the best of them, which compares logs whose tests differ in their numbers of
    arms. Nothing is enumerated: arm i is the favourite of as many threes as there are pairs of
    arms below it. Of equal scores each is the favourite equally often.

    Args:
        scores: (N,) of the arms.
        rate: (N,) observed click rates.
        a: (P,) int64, one arm of every two arms of a test.
        b: (P,) int64, the other.

    Returns:
        (N,) float64; a three whose favourites are tied counts by the share of them.
    """
    one, other = np.concatenate([a, b]), np.concatenate([b, a])
    no_better = rate[other] <= rate[one]

    def count(where: np.ndarray) -> np.ndarray:
        return np.bincount(one[no_better & where], minlength=len(scores)).astype(np.float64)

    below, equal = count(scores[other] < scores[one]), count(scores[other] == scores[one])
    return below * (below - 1) / 2 + below * equal / 2 + equal * (equal - 1) / 6


def table_by_test(scores: np.ndarray, counts: CopyCounts) -> np.ndarray:
    """Return (tests, columns) sums that every metric is a ratio of; see `_COLUMNS`.

    Single-arm tests, and tests without a click, are left out. Ties are shared out: of equal best
    scores each is picked equally often. Rates of a picked arm are its observed ones, so the
    oracle's is optimistic: it picks noise too.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(counts),) or not np.isfinite(scores).all():
        raise ValueError(f"scores must be {len(counts)} finite numbers, not {scores.shape}")
    _, test, size = np.unique(counts.test, return_inverse=True, return_counts=True)
    tests = len(size)
    a, b = _arm_pairs(test)
    pairs = _ordered(counts, test, a, b)
    right = pair_accuracy(scores, pairs)
    strong = pairs.z > Z_SIGNIFICANT
    rate = counts.clicks / counts.impressions

    def total(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.bincount(where, weights=values, minlength=tests)

    def is_top(values: np.ndarray) -> np.ndarray:
        top = np.full(tests, -np.inf)
        np.maximum.at(top, test, values)
        return (values == top[test]).astype(np.float64)

    threes = np.maximum(size * (size - 1) * (size - 2) / 6, 1)
    picked, best = is_top(scores), is_top(rate)
    picks = total(picked, test)
    table = np.column_stack(
        [
            np.bincount(pairs.test, minlength=tests),
            total(right, pairs.test),
            total(strong.astype(np.float64), pairs.test),
            total(right * strong, pairs.test),
            np.ones(tests),
            total(picked * best, test) / picks,
            total(best, test) / size,
            size > 2,
            total(best_of_three(scores, rate, a, b), test) / threes,
            total(best_of_three(np.zeros(len(counts)), rate, a, b), test) / threes,
            total(rate, test) / size,
            total(rate * picked, test) / picks,
            total(rate * best, test) / total(best, test),
            total(sign_ceiling(counts, pairs), pairs.test),
        ]
    )
    return table[(size > 1) & (total(counts.clicks, test) > 0)]


def sign_ceiling(counts: CopyCounts, pairs: Pairs) -> np.ndarray:
    """Return (M,) the chance that a model which knew the true click rates would call a pair right.

    Observed = true difference d + noise of variance v; with d ~ N(0, s2), s2 being the mean of
    the observed squared differences less v (method of moments, on the log-rate scale), the chance
    that the observed sign is the true one is Phi(|posterior mean| / posterior sd). Over 83 % on
    all pairs of Upworthy means leakage.
    """
    from scipy.special import ndtr

    if len(pairs.z) == 0:
        return np.zeros(0)
    rate = (counts.clicks + 0.5) / (counts.impressions + 1.0)
    variance = (1 - rate) / (counts.clicks + 0.5)
    gap = np.log(rate[pairs.better] / rate[pairs.worse])
    noise = variance[pairs.better] + variance[pairs.worse]
    precision = 1 / noise**2
    spread = max(float((precision * (gap**2 - noise)).sum() / precision.sum()), 1e-9)
    mean = gap * spread / (spread + noise)
    deviation = np.sqrt(spread * noise / (spread + noise))
    return ndtr(np.abs(mean) / deviation)


def ratios(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Map sums of `table_by_test` (..., columns) to metrics (...); NaN where nothing divides."""
    column = {name: sums[..., i] for i, name in enumerate(_COLUMNS)}

    return {
        "pairwise": ratio(column["right"], column["pairs"]),
        "pairwise_significant": ratio(column["significant_right"], column["significant_pairs"]),
        "best_of_k": ratio(column["best_right"], column["tests"]),
        "best_of_k_random": ratio(column["best_random"], column["tests"]),
        "best_of_3": ratio(column["best_of_three"], column["threes"]),
        "best_of_3_random": ratio(column["three_random"], column["threes"]),
        "lift": ratio(column["pick_ctr"], column["random_ctr"]) - 1,
        "lift_oracle": ratio(column["oracle_ctr"], column["random_ctr"]) - 1,
        "noise_ceiling": ratio(column["ceiling"], column["pairs"]),
    }


def ranking_metrics(
    scores: np.ndarray,
    counts: CopyCounts,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Return how well scores rank the arms within tests, with intervals over tests.

    Args:
        scores: (N,) any monotone score; higher is better.
        counts: N arms.
        resamples: of the bootstrap over tests; 0 for none (intervals are then NaN).
        seed: of the bootstrap.
        level: coverage.

    Returns:
        ``pairwise`` (pairs of arms in the right order), ``pairwise_significant`` (of those with
        |z| > 1.96), ``best_of_k`` (tests whose favourite is the observed best) and
        ``best_of_k_random``, ``best_of_3`` (threes of a test's arms whose favourite is their
        observed best, the mean over tests of three arms or more) and ``best_of_3_random``,
        ``lift`` (click rate of the favourite over that of a random arm, less 1) and
        ``lift_oracle``, ``noise_ceiling``: each ``{"value", "low", "high"}``. And
        ``pairs``, ``significant_pairs``, ``tests``: ``{"value"}``.
    """
    table = table_by_test(scores, counts)
    values = ratios(table.sum(axis=0))
    drawn: dict[str, np.ndarray] = {}
    if resamples > 1 and len(table):
        drawn = ratios(resample_sums(table, resamples, seed))
    metrics = {
        name: with_interval(float(value), drawn.get(name, np.zeros(0)), level).to_dict()
        for name, value in values.items()
    }
    for name in ("pairs", "significant_pairs", "tests"):
        metrics[name] = {"value": float(table[:, _COLUMNS.index(name)].sum())}
    return metrics


def headline_metrics(scores: np.ndarray, counts: CopyCounts) -> dict[str, float]:
    """Return the metrics' values alone, without intervals: for early stopping and logs."""
    metrics = ranking_metrics(scores, counts, resamples=0)
    return {name: entry["value"] for name, entry in metrics.items()}
