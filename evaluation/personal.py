"""Is copy personal, and does it pay? Pure functions of gold values of texts for readers.

Shapes: N tasks, each of which is one reader's; M pairs of a text and a reader; K candidate texts;
U people; P features of a person. A *group* is the tasks that ask for the same product, channel and
slot, so that the texts of a group could have been sent to any of its readers.

Intervals resample groups, and not readers one by one: a text that its own reader is given is also
what the other readers of the group are compared with, and whether it is a good text for everybody
cancels within the group only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from copygym.core.estimates import RESAMPLES, Estimate, ratio, resample_sums, with_interval
from copygym.rewards.copy.ngrams import words


class Pairs(NamedTuple):
    """Which text is judged by which reader; both are numbers of tasks."""

    text: np.ndarray  #: (M,) int64 task that the text was written for
    reader: np.ndarray  #: (M,) int64 task whose reader reads it


def grouped(*columns: np.ndarray | Sequence[str]) -> np.ndarray:
    """Return (N,) int64 codes of the combinations of columns (N,) each, such as product and slot.

    Codes are in the order in which combinations first occur.
    """
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, own = np.unique(np.asarray(column), return_inverse=True)
        _, code = np.unique(code * (own.max(initial=0) + 1) + own, return_inverse=True)
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[code]


def crossed(group: np.ndarray) -> Pairs:
    """Return every text with every reader of its group, own reader included.

    Args:
        group: (N,) int64 group of each task.
    """
    order = np.argsort(group, kind="stable")
    size = np.unique(group, return_counts=True)[1]
    start = np.cumsum(size) - size
    each = np.repeat(size, size)  # size of the group of each task in that order
    text = np.repeat(order, each)
    within = np.arange(len(text)) - np.repeat(np.cumsum(each) - each, each)
    return Pairs(text, order[np.repeat(np.repeat(start, size), each) + within])


def own_and_others(pairs: Pairs, gold: np.ndarray, tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what each reader makes of their own copy, and of that written for the others.

    Args:
        pairs: from `crossed`.
        gold: (M,) float64 value of each text for each reader.
        tasks: N.

    Returns:
        (N,) gold of the own copy and (N,) mean gold of the copies of the other readers of the
        group; NaN for a reader who has no others.
    """
    own = pairs.text == pairs.reader
    mine = np.full(tasks, np.nan)
    mine[pairs.reader[own]] = gold[own]
    total = np.bincount(pairs.reader[~own], gold[~own], tasks)
    return mine, ratio(total, np.bincount(pairs.reader[~own], minlength=tasks))


def gain_over(
    values: np.ndarray,
    other: np.ndarray,
    unit: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return mean / mean of the other - 1 with its 95% interval, paired by task.

    Args:
        values: (N,) float64, one a task.
        other: (N,) float64 of the same tasks. A task that has no number in one of the two is left
            out of both.
        unit: (N,) int64 what is drawn as one; None: each task by itself.
        resamples: of the Poisson bootstrap over units.
        seed: of the draws.
    """
    known = np.isfinite(values) & np.isfinite(other)
    if not known.any():
        return Estimate(np.nan, np.nan, np.nan)
    columns = np.column_stack([values, other])[known]
    if unit is not None:
        code = np.unique(unit[known], return_inverse=True)[1]
        columns = np.column_stack([np.bincount(code, column) for column in columns.T])
    sums = resample_sums(columns, resamples, seed)
    value = ratio(*columns.sum(axis=0)) - 1.0
    return with_interval(float(value), ratio(sums[:, 0], sums[:, 1]) - 1.0)


def personal_gain(
    pairs: Pairs,
    gold: np.ndarray,
    group: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return by how much own copy is worth more than the same writer's copy for other readers.

    0 for a writer who writes the same for everybody of a group, whatever it is worth; 0.1 where
    own copy is clicked a tenth more. A writer whose texts differ for no reason has 0 on average.

    Args:
        pairs: from `crossed`.
        gold: (M,) float64 value of each text for each reader.
        group: (N,) int64 group of each task.
        resamples: of the bootstrap over groups.
        seed: of the draws.
    """
    own, others = own_and_others(pairs, gold, len(group))
    return gain_over(own, others, group, resamples=resamples, seed=seed)


# ------------------------------------------------------------------ choosing among known texts


def choose_each(value: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return (N,) int64 the candidate that each task's reader likes best.

    Args:
        value: (N, K) of each candidate for each task.
        allowed: (N, K) bool, whether a candidate may be sent: it advertises the task's product.
    """
    return np.where(allowed, value, -np.inf).argmax(axis=1)


def choose_for_all(value: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return (N,) int64 the candidate that people like best on average, for each task.

    Args:
        value: (U, K) of each candidate for each of U people, who need not be the tasks' readers.
        allowed: (N, K) bool, see `choose_each`.
    """
    return choose_each(np.broadcast_to(value.mean(axis=0), allowed.shape), allowed)


def told_by(features: np.ndarray, gold: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the gold of K texts that features of a person tell, (N, K) float64.

    Least squares of the log of gold on the features of U people who are not judged; the mean of
    what is lognormal about it is ``exp(fit + variance of the rest / 2)``. With demographics as
    features this says what could be known of a reader without a past.

    Args:
        features: (U, P) float64 of the people.
        gold: (U, K) float64 > 0 of each text for each of them.
        of: (N, P) float64 features of the readers of N tasks.
    """
    design = np.column_stack([np.ones(len(features)), features])
    log_gold = np.log(gold)
    weight, *_ = np.linalg.lstsq(design, log_gold, rcond=None)
    rest = (log_gold - design @ weight).var(axis=0)
    return np.exp(np.column_stack([np.ones(len(of)), of]) @ weight + rest / 2)


# ------------------------------------------------------------------ how copy differs


def distances(texts: Sequence[str], pairs: Pairs) -> np.ndarray:
    """Return the Jaccard distance between the words of both texts of M pairs, (M,) in [0, 1].

    0 for the same set of words, 1 where none is shared; two texts without a word are the same.
    """
    known = [frozenset(words(text)) for text in texts]
    return np.array(
        [
            1.0 - len(known[i] & known[j]) / max(len(known[i] | known[j]), 1)
            if known[i] != known[j]
            else 0.0
            for i, j in zip(pairs.text.tolist(), pairs.reader.tolist(), strict=True)
        ]
    )


def difference_by_audience(
    texts: Sequence[str],
    group: np.ndarray,
    audience: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return how much the texts of a group differ within an audience and between audiences.

    Args:
        texts: N texts.
        group: (N,) int64; only texts of one group are compared.
        audience: (N,) int64 of the readers.
        resamples: of the bootstrap over groups.
        seed: of the draws.

    Returns:
        ``other_within`` and ``other_between``, shares of pairs whose texts are not the same, and
        ``distance_within`` and ``distance_between``, their mean `distances`; NaN without a pair.
    """
    pairs = crossed(group)
    apart = pairs.text < pairs.reader
    pairs = Pairs(pairs.text[apart], pairs.reader[apart])
    other = np.array(
        [texts[i] != texts[j] for i, j in zip(*(part.tolist() for part in pairs), strict=True)]
    )
    measured = {"other": other.astype(np.float64), "distance": distances(texts, pairs)}
    across = audience[pairs.text] != audience[pairs.reader]
    code = np.unique(group[pairs.text], return_inverse=True)[1]
    found = {}
    for side, which in (("within", ~across), ("between", across)):
        for name, values in measured.items():
            if not which.any():
                found[f"{name}_{side}"] = Estimate(np.nan, np.nan, np.nan)
                continue
            columns = np.column_stack(
                [np.bincount(code, values * which), np.bincount(code, which.astype(np.float64))]
            )
            sums = resample_sums(columns, resamples, seed)
            mean = float(ratio(*columns.sum(axis=0)))
            found[f"{name}_{side}"] = with_interval(mean, ratio(sums[:, 0], sums[:, 1]))
    return found


def means_by_audience(
    features: np.ndarray, audience: np.ndarray, product: np.ndarray, count: int
) -> np.ndarray:
    """Return the mean of each feature by audience as if all had the same products, (A, F).

    Least squares with an effect of each product and one of each audience.

    Args:
        features: (N, F) float64 of N texts.
        audience: (N,) int64 in 0..A-1 of their readers.
        product: (N,) int64.
        count: A. An audience without a text has NaN.
    """
    code = np.unique(product, return_inverse=True)[1]
    of_product = np.eye(code.max(initial=0) + 1)[code]
    design = np.column_stack([of_product, np.eye(count)[audience]])
    weight = np.linalg.lstsq(design, features, rcond=None)[0]
    found: np.ndarray = (of_product @ weight[: of_product.shape[1]]).mean(axis=0) + weight[-count:]
    found[np.bincount(audience, minlength=count) == 0] = np.nan
    return found


class TellingWord(NamedTuple):
    """A word that one audience's copy has more often, or less often, than the others'."""

    word: str
    share: float  #: of the audience's texts that hold it
    elsewhere: float  #: of the other audiences' texts
    z: float  #: of Cochran, Mantel and Haenszel, by product; above 0: more often


def telling_words(
    texts: Sequence[str],
    audience: np.ndarray,
    product: np.ndarray,
    *,
    count: int = 6,
    least: int = 3,
) -> dict[int, list[TellingWord]]:
    """Return the words that tell most by how often an audience's copy holds them.

    A word is compared within each product (Cochran 1954; Mantel and Haenszel 1959), so that an
    audience that happens to be told of more kettles is not the one that is told "kettle". Of many
    words some differ by chance: a z says which would be odd alone.

    Args:
        texts: N texts.
        audience: (N,) int64 of their readers.
        product: (N,) int64.
        count: words an audience at most.
        least: texts that must hold a word.

    Returns:
        audience -> its words, the largest z first, of those with z > 0.
    """
    held = [frozenset(words(text)) for text in texts]
    every, number = np.unique([w for own in held for w in sorted(own)], return_counts=True)
    known = every[number >= least]
    place = {word: i for i, word in enumerate(known.tolist())}
    has = np.zeros((len(texts), len(known)))
    for i, own in enumerate(held):
        has[i, [place[word] for word in own if word in place]] = 1.0
    code = np.unique(product, return_inverse=True)[1]
    stratum = np.eye(code.max(initial=0) + 1)[code]  # (N, S)
    size, hits = stratum.sum(axis=0)[:, None], stratum.T @ has  # (S, 1), (S, W)
    found = {}
    for name in np.unique(audience).tolist():
        own_N = audience == name
        mine = stratum.T @ own_N[:, None]  # (S, 1)
        excess = has[own_N].sum(axis=0) - (mine * hits / size).sum(axis=0)
        spread = mine * (size - mine) * hits * (size - hits) / (size**2 * np.maximum(size - 1, 1))
        z = np.where(spread.sum(0) > 0, excess / np.sqrt(np.maximum(spread.sum(0), 1e-12)), 0.0)
        best = [w for w in np.argsort(-z, kind="stable")[:count].tolist() if z[w] > 0]
        rest = has[~own_N].mean(axis=0) if (~own_N).any() else np.full(len(known), np.nan)
        found[int(name)] = [
            TellingWord(str(known[w]), float(has[own_N, w].mean()), float(rest[w]), float(z[w]))
            for w in best
        ]
    return found


__all__ = [
    "Pairs",
    "TellingWord",
    "choose_each",
    "choose_for_all",
    "crossed",
    "difference_by_audience",
    "distances",
    "gain_over",
    "grouped",
    "means_by_audience",
    "own_and_others",
    "personal_gain",
    "telling_words",
    "told_by",
]
