"""Aggregates over seeds and tasks, with intervals (the definitions of rliable).

Agarwal, Schwarzer, Castro, Courville and Bellemare 2021, "Deep reinforcement learning at the edge
of the statistical precipice" (NeurIPS, arXiv 2108.13264), section 4. A learner's scores are a
matrix (R, T): R seeds of each of T tasks, on a scale that makes tasks comparable (`normalise`).

Statistics are pure functions of scores (..., R, T) that return (...), so that all resamples are
computed at once. The bootstrap is stratified: seeds are drawn anew within each task, tasks stay.
Its interval says how far another set of seeds could have led, not another set of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import RESAMPLES, Estimate, with_interval

Statistic = Callable[[np.ndarray], np.ndarray]
#: Scores in memory at a time.
_CELLS = 2_000_000


def score_matrix(scores_by_task: Mapping[str, Sequence[float]], name: str = "scores") -> np.ndarray:
    """Return scores by task as a matrix (R, T), tasks in the order of the mapping.

    Args:
        scores_by_task: task -> one score per seed, seeds in the same order.
        name: of the learner, for messages.

    Raises:
        UserError: there is no task, tasks have unequal numbers of seeds, or a score is no number.
    """
    if not scores_by_task:
        raise UserError(f"{name} has no task; give each task's scores over seeds.")
    seeds = {task: len(scores) for task, scores in scores_by_task.items()}
    first = next(iter(seeds))
    for task, count in seeds.items():
        if count != seeds[first]:
            raise UserError(
                f"{name} has {seeds[first]} seeds on task {first} and {count} on task {task}; run "
                "every task with the same seeds."
            )
    columns = [np.asarray(list(scores), dtype=np.float64) for scores in scores_by_task.values()]
    return check_scores(np.column_stack(columns), name, list(scores_by_task))


def check_scores(
    scores_RT: np.ndarray, name: str = "scores", tasks: Sequence[str] | None = None
) -> np.ndarray:
    """Return scores as (R, T) float64.

    Args:
        scores_RT: scores.
        name: of the learner, for messages.
        tasks: names of the tasks, for messages.

    Raises:
        UserError: no seed or no task, or a score is NaN or infinite.
    """
    scores = np.asarray(scores_RT, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise UserError(
            f"{name} has shape {scores.shape}; give one row per seed and one column per task."
        )
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        seed, task = wrong[0]
        place = tasks[task] if tasks is not None else task
        raise UserError(
            f"{name}, seed {seed}, task {place}: the score is {scores[seed, task]}; a run that "
            "failed must be repeated or given a score."
        )
    return scores


def normalise(scores_RT: np.ndarray, low_T: np.ndarray, high_T: np.ndarray) -> np.ndarray:
    """Return (scores - low) / (high - low) by task, (R, T).

    Args:
        scores_RT: raw scores.
        low_T: the score that counts as 0, such as a random policy's.
        high_T: the score that counts as 1, such as a reference's.

    Raises:
        UserError: a task's two reference scores are equal.
    """
    low, high = np.asarray(low_T, dtype=np.float64), np.asarray(high_T, dtype=np.float64)
    same = np.flatnonzero(np.broadcast_to(high == low, np.asarray(scores_RT).shape[-1:]))
    if len(same):
        raise UserError(
            f"task {same[0]}: the scores that count as 0 and 1 are equal, so that nothing can be "
            "measured between them; choose another reference."
        )
    return (np.asarray(scores_RT, dtype=np.float64) - low) / (high - low)


def mean(scores_RT: np.ndarray) -> np.ndarray:
    """Return the mean over tasks of the mean over seeds; (..., R, T) -> (...)."""
    return scores_RT.mean(axis=(-2, -1))


def median(scores_RT: np.ndarray) -> np.ndarray:
    """Return the median over tasks of the mean over seeds; (..., R, T) -> (...)."""
    return np.median(scores_RT.mean(axis=-2), axis=-1)


def iqm(scores_RT: np.ndarray) -> np.ndarray:
    """Return the interquartile mean over all runs, (..., R, T) -> (...).

    The mean without the lowest and the highest quarter of the R * T runs (section 4.3), each cut
    down to whole runs.
    """
    from scipy.stats import trim_mean

    runs = np.asarray(scores_RT).reshape(*np.shape(scores_RT)[:-2], -1)
    return np.asarray(trim_mean(runs, 0.25, axis=-1))


def optimality_gap(scores_RT: np.ndarray, threshold: float = 1.0) -> np.ndarray:
    """Return by how much the runs miss ``threshold`` on average, (..., R, T) -> (...).

    A run above it counts as if it were at it (section 4.3); lower is better.
    """
    return threshold - np.minimum(scores_RT, threshold).mean(axis=(-2, -1))


#: Statistics by name.
STATISTICS: dict[str, Statistic] = {
    "iqm": iqm,
    "mean": mean,
    "median": median,
    "optimality_gap": optimality_gap,
}


def probability_of_improvement(first_RT: np.ndarray, second_ST: np.ndarray) -> np.ndarray:
    """Return how likely a run of the first beats one of the second, mean over tasks.

    P(X > Y) + P(X = Y) / 2 on each task: the Mann-Whitney U over the number of pairs (section
    4.3).

    Args:
        first_RT: (..., R, T).
        second_ST: (..., S, T); S may differ from R.

    Returns:
        (...) in [0, 1].
    """
    first, second = first_RT[..., :, None, :], second_ST[..., None, :, :]
    return ((first > second) + 0.5 * (first == second)).mean(axis=(-3, -2, -1))


def performance_profile(scores_RT: np.ndarray, thresholds_K: np.ndarray) -> np.ndarray:
    """Return the share of runs above each threshold, (..., R, T) -> (..., K).

    The score distribution of section 4.2: it falls from 1 to 0, and a learner whose curve lies
    above another's is stochastically better.
    """
    # Sorted runs and a search cost less than a comparison with each threshold.
    runs = np.sort(np.asarray(scores_RT).reshape(*np.shape(scores_RT)[:-2], -1), axis=-1)
    flat = runs.reshape(-1, runs.shape[-1])
    below = np.stack([np.searchsorted(row, thresholds_K, side="right") for row in flat])
    share = 1.0 - below / runs.shape[-1]
    return share.reshape(*runs.shape[:-1], len(thresholds_K))


def stratified_bootstrap(
    scores_RT: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return stratified bootstrap samples, (N, R, T): seeds drawn anew within each task.

    Args:
        scores_RT: (R, T).
        resamples: N.
        rng: of the draws.
    """
    seeds, tasks = scores_RT.shape
    rows = rng.integers(0, seeds, size=(resamples, seeds, tasks))
    return scores_RT[rows, np.arange(tasks)]


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *scores_RT: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Return a statistic of stratified bootstrap samples, (N, ...).

    Args:
        statistic: of one (..., R, T) array or several; vectorised over the leading axis.
        scores_RT: (R, T) each, resampled independently of each other.
        resamples: N >= 2.
        seed: of the draws; the same for two statistics makes them of the same samples.

    Raises:
        UserError: a learner has one seed only, which says nothing about others.
    """
    for scores in scores_RT:
        if len(scores) < 2:
            raise UserError(
                "an interval over seeds needs at least 2 seeds and there is 1; run more seeds."
            )
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; an interval needs at least 2")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // sum(scores.size for scores in scores_RT))
    found = []
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        found.append(statistic(*(stratified_bootstrap(scores, count, rng) for scores in scores_RT)))
    return np.concatenate(found)


def aggregate(
    scores_RT: np.ndarray,
    statistics: Sequence[str] = tuple(STATISTICS),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Return statistics of a learner's scores with percentile intervals over seeds.

    Args:
        scores_RT: (R, T), R >= 2.
        statistics: names in `STATISTICS`.
        resamples: of the bootstrap; all statistics are of the same ones.
        seed: of the draws.
        level: coverage of the intervals.

    Raises:
        UserError: an unknown statistic, a score that is no number, or a single seed.
    """
    for name in statistics:
        if name not in STATISTICS:
            raise unknown_name("statistic", name, list(STATISTICS))
    scores = check_scores(scores_RT)

    def every(samples_NRT: np.ndarray) -> np.ndarray:
        return np.stack([STATISTICS[name](samples_NRT) for name in statistics], axis=-1)

    drawn = bootstrap(every, scores, resamples=resamples, seed=seed)
    return {
        name: with_interval(float(STATISTICS[name](scores)), drawn[:, i], level)
        for i, name in enumerate(statistics)
    }


def improvement(
    first_RT: np.ndarray,
    second_ST: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Return `probability_of_improvement` of the first over the second with its interval.

    Seeds of the two are resampled independently of each other.

    Raises:
        UserError: the two differ in their number of tasks, a score is no number, or one seed.
    """
    first, second = check_scores(first_RT), check_scores(second_ST)
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"the first has {first.shape[1]} tasks and the second {second.shape[1]}; compare on "
            "the same tasks."
        )
    drawn = bootstrap(probability_of_improvement, first, second, resamples=resamples, seed=seed)
    return with_interval(float(probability_of_improvement(first, second)), drawn, level)


def same_tasks(scores: Mapping[str, np.ndarray]) -> None:
    """Refuse learners that were not run on the same number of tasks.

    Raises:
        UserError: there is no learner, or two differ.
    """
    if not scores:
        raise UserError("there is no learner to aggregate; give each learner's scores.")
    tasks = {name: check_scores(matrix, name).shape[1] for name, matrix in scores.items()}
    first = next(iter(tasks))
    for name, count in tasks.items():
        if count != tasks[first]:
            raise UserError(
                f"{first} has {tasks[first]} tasks and {name} has {count}; compare on the same "
                "tasks."
            )
