"""Study E11 on real headlines: do readers' tastes change, and does updating a model help?

A reward model learns from the first tests of the archive and is asked, period by period, which
headline of a later test will be clicked. Others learn again before each period: from everything so
far, or from as many of the latest tests as the first model had. The difference of those two from
the first one tells fresher data from more data.

Records: ranking metrics by ``release``, ``update`` (what the model learned from) and ``period``
(from 1, in order of time; null for all judged tests), ``versus`` the model that is never updated on
paired gains; ``tests`` judged and ``tests_learned`` from; ``pairwise_change`` from the first judged
period to the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import Estimate, ratio, resample_sums, with_interval
from copygym.core.progress import progress
from copygym.core.seeds import derived_seed
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import same_data
from copygym.experiments.studies.headlines.drift_report import METRICS, ONCE, report
from copygym.experiments.studies.headlines.reward_model import load_releases
from copygym.experiments.studies.learning import file_name
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.ctr.data import (
    CopyCounts,
    concat_counts,
    part_sizes,
    some_tests,
    split_counts,
    text_components,
)
from copygym.rewards.ctr.ranking import ratios, table_by_test

__all__ = ["check", "report", "seed_records"]

#: What a model learns from before a period: the first tests, as many of the latest, all so far,
#: and, as a reference that nobody can have, the later ones too.
WINDOW, EVERYTHING, HINDSIGHT = "window", "everything", "hindsight"
UPDATES = (ONCE, WINDOW, EVERYTHING, HINDSIGHT)
_LEFT_OUT = 0.1
_ONE_SEED = "intervals are over tests; the split of validation tests has one seed."
_OVER_SEEDS = (
    "intervals are over {count} seeds of the split of validation tests; all judge the same tests "
    "of the same log, whose own luck no seed can show."
)
_ASSUMPTIONS = (
    "releases overlap (about half of the exploratory tests are in content_experiments), so "
    "that they do not confirm each other independently.",
    "content_experiments has no dates: its periods are equal parts of its tests in their "
    "order, which runs in time.",
    "no row tells why a later test is harder: readers, writers and pictures may all have changed.",
)


@dataclass(frozen=True)
class Dated:
    """Arms of tests, and when.

    Attributes:
        counts: N arms.
        period: (N,) int64 from 0, in order of time.
        labels: P names of the periods.
        component: (N,) int64 of tests that share a headline, even through others.
    """

    counts: CopyCounts
    period: np.ndarray
    labels: tuple[str, ...]
    component: np.ndarray

    def size(self, keep: np.ndarray) -> int:
        """Return the number of tests among the arms ``keep`` (N,) bool."""
        return len(np.unique(self.counts.test[keep]))


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of every release.

    Config keys: ``reward_model``, ``updates`` (of `UPDATES`), ``periods`` (see `dated`), ``first``
    (share of the tests that the first model may see), ``tests`` (of each release, or null) and
    ``evaluation.resamples``.
    """
    logs = load_releases(config["data"])
    rows = Rows(int(config["seed"]))
    data: dict[str, Any] = {}
    rows_seen: dict[str, Any] = {}
    periods: dict[str, Any] = {}
    for source, log in logs.items():
        name = source.rpartition("/")[2].split(".")[0]
        child = folder.child(f"releases/{file_name(name)}")
        data[name] = same_data(child, log)
        tests = dated(log, config)
        first = first_periods(tests, float(config["first"]))
        periods[name] = {"learned": tests.labels[:first], "judged": tests.labels[first:]}
        _add_release(rows, name, tests, config, child)
        rows_seen |= {f"{name}, {label}": entry for label, entry in _seen(tests).items()}
    told = about(
        config,
        {
            "data": data,
            "rows_seen": rows_seen,
            "notes": list(dict.fromkeys(note for log in logs.values() for note in log.notes)),
            "assumptions": list(_ASSUMPTIONS),
        },
        synthetic=any(log.synthetic for log in logs.values()),
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS,
        periods={name: {k: list(v) for k, v in entry.items()} for name, entry in periods.items()},
    )
    return Records(rows.frame, {rows.seed: told})


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    for name in config["updates"]:
        if name not in UPDATES:
            raise unknown_name("entry of updates", str(name), list(UPDATES))
    if ONCE not in config["updates"]:
        raise UserError(f"updates={config['updates']}: add {ONCE}, which the others are held to.")
    if not 0 < float(config["first"]) < 1:
        raise UserError(f"first={config['first']}: give a share of the tests between 0 and 1.")


def dated(log: ClickLog, config: Mapping[str, Any]) -> Dated:
    """Return a log's tests in periods.

    Args:
        log: with ``timestamp``, whose months become periods, or ``context_test_order``, which is
            cut into ``periods.parts`` of equal numbers of tests.
        config: ``periods.least``: months with fewer tests are joined with the next;
            ``periods.parts``; ``tests``: how many to use, or null.

    Raises:
        UserError: nobody knows which test came first, or all are of one period.
    """
    log.require("test_id", "text")
    settings = config["periods"]
    if log.has("timestamp"):
        found = _months(log, int(settings["least"]))
    elif log.has("context_test_order"):
        found = _parts(log, int(settings["parts"]))
    else:
        raise UserError(
            f"{log.source or log.name}: without timestamp or context_test_order nobody knows which "
            "test came first; use a log that says."
        )
    if len(found) < 2:
        raise UserError(
            f"{log.source or log.name}: all tests are of one period, so that nothing can change; "
            "lower periods.least or use a log of more time."
        )
    parts = [CopyCounts.from_log(part) for _, part in found]
    counts = concat_counts(parts)
    period = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    if config.get("tests") is not None:
        chosen = some_tests(counts, int(config["tests"]), derived_seed(config["seed"], "tests"))
        keep = np.isin(counts.test, chosen.test)
        counts, period = counts.take(keep), period[keep]
    return Dated(counts, period, tuple(label for label, _ in found), text_components(counts))


def _months(log: ClickLog, least: int) -> list[tuple[str, ClickLog]]:
    month = pl.col("timestamp").dt.strftime("%Y-%m")
    table = log.frame.group_by(month.alias("month")).agg(pl.col("test_id").n_unique().alias("n"))
    groups: list[list[str]] = []
    size = least
    for name, n in table.drop_nulls("month").collect().sort("month").iter_rows():
        if size >= least:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += n
    if size < least and len(groups) > 1:
        # What is left at the end is too little to be judged alone.
        last = groups.pop()
        groups[-1] += last
    return [
        (g[0] if len(g) == 1 else f"{g[0]} to {g[-1]}", log.filter(month.is_in(g))) for g in groups
    ]


def _parts(log: ClickLog, parts: int) -> list[tuple[str, ClickLog]]:
    order = pl.col("context_test_order")
    values = log.frame.select(order.drop_nulls().unique().sort()).collect().to_series().to_numpy()
    pieces = [piece for piece in np.array_split(values, parts) if len(piece)]
    return [
        (f"{piece[0]} to {piece[-1]}", log.filter(order.is_between(int(piece[0]), int(piece[-1]))))
        for piece in pieces
    ]


def _seen(tests: Dated) -> dict[str, dict[str, int]]:
    return part_sizes(
        {label: tests.counts.take(tests.period == p) for p, label in enumerate(tests.labels)}
    )


def first_periods(tests: Dated, share: float) -> int:
    """Return how many periods the first model sees: at least 1, and 1 is left to judge."""
    last = np.searchsorted(
        np.cumsum([tests.size(tests.period == p) for p in range(len(tests.labels))]),
        share * tests.counts.n_tests,
    )
    return int(np.clip(last + 1, 1, len(tests.labels) - 1))


def training_rows(tests: Dated, update: str, p: int, first: int) -> np.ndarray:
    """Return (N,) bool: the arms that a model may learn from before period ``p``.

    No test that shares a headline with the judged period, directly or through others, is among
    them, nor (but for hindsight) a test of that period or later.

    Args:
        tests: all arms.
        update: one of `UPDATES`.
        p: the judged period.
        first: periods that the first model sees.
    """
    judged = tests.period == p
    clean = ~np.isin(tests.component, tests.component[judged])
    early = tests.period < first
    if update == HINDSIGHT:
        return clean & ~judged
    if update == ONCE:
        return clean & early
    past = clean & (tests.period < p)
    if update == EVERYTHING:
        return past
    # As many of the latest tests as the first model has, whole tests in their order.
    number = tests.size(clean & early)
    latest = np.unique(tests.counts.test[past])[-number:]
    return past & np.isin(tests.counts.test, latest)


def _add_release(
    rows: Rows, name: str, tests: Dated, config: Mapping[str, Any], folder: RunFolder
) -> None:
    """Add one release's records: by period and pooled, each model and its gain over `ONCE`."""
    first = first_periods(tests, float(config["first"]))
    judged = range(first, len(tests.labels))
    tables: dict[str, list[np.ndarray]] = {update: [] for update in config["updates"]}
    total = len(judged) * len(tables)
    with progress(total=total, what=f"models of {folder.path.name}") as bar:
        for period, p in enumerate(judged, 1):
            counts = tests.counts.take(tests.period == p)
            cell = {"release": name, "period": period}
            for update in tables:
                learned = training_rows(tests, update, p, first)
                score = _scores(tests, learned, counts, config, folder, f"{update}/{p}")
                tables[update].append(table_by_test(score, counts))
                rows.add("tests_learned", tests.size(learned), **cell, update=update)
                bar.update()
            here = {update: each[-1] for update, each in tables.items()}
            rows.add("tests", len(here[ONCE]), **cell)
            add_compared(rows, here, config, p, **cell)
    pooled = {update: np.concatenate(each) for update, each in tables.items()}
    rows.add("tests", len(pooled[ONCE]), release=name)
    add_compared(rows, pooled, config, -1, release=name)
    for update, change in _changes(tables, config).items():
        rows.add("pairwise_change", change, release=name, update=update)


def _scores(
    tests: Dated,
    rows: np.ndarray,
    counts: CopyCounts,
    config: Mapping[str, Any],
    folder: RunFolder,
    stage: str,
) -> np.ndarray:
    """Return (M,) float64 scores of ``counts`` by a model trained on the arms ``rows``."""

    def compute() -> Record:
        seed = derived_seed(config["seed"], "headline drift")
        shares = {"train": 1 - _LEFT_OUT, "validation": _LEFT_OUT}
        parts = split_counts(tests.counts.take(rows), shares, seed)
        model = instantiated(config["reward_model"], "reward_model")
        model.fit(parts["train"], parts["validation"], seed=seed)
        return Record(arrays={"score": model.score(counts.texts)})

    return folder.stage(f"score/{stage}", compute).arrays["score"]


def add_compared(
    rows: Rows,
    tables: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    purpose: int,
    **cell: Any,
) -> None:
    """Add every model's metrics, and what it gains over `ONCE`, paired by test.

    Args:
        rows: get the records.
        tables: update -> (T, columns) of `table_by_test`, of the same tests.
        config: ``evaluation.resamples`` and ``seed``.
        purpose: tells the draws of one period from those of another.
        cell: columns of the records.
    """
    width = tables[ONCE].shape[1]
    columns = np.concatenate(list(tables.values()), axis=1)
    seed = derived_seed(config["seed"], "boot", purpose)
    drawn = resample_sums(columns, int(config["evaluation"]["resamples"]), seed)[:, :-1]
    values, draws = {}, {}
    for i, update in enumerate(tables):
        part = slice(i * width, (i + 1) * width)
        values[update] = ratios(columns[:, part].sum(axis=0))
        draws[update] = ratios(drawn[:, part])
    for update in tables:
        for key in METRICS:
            value, resampled = float(values[update][key]), draws[update][key]
            rows.add(key, with_interval(value, resampled), **cell, update=update)
            if update != ONCE:
                gain = with_interval(float(value - values[ONCE][key]), resampled - draws[ONCE][key])
                rows.add(key, gain, **cell, update=update, versus=ONCE)


def _changes(
    tables: Mapping[str, Sequence[np.ndarray]], config: Mapping[str, Any]
) -> dict[str, Estimate]:
    """Return by update the change of pairwise accuracy from the first to the last period.

    The weighted least-squares line of the share of right pairs on time (0 the first judged period,
    1 the last), each pair counting once; intervals over tests, resampled within all periods.
    """
    found = {}
    for name, each in tables.items():
        if len(each) < 2:
            continue
        time = np.repeat(np.linspace(0, 1, len(each)), [len(table) for table in each])
        pairs, right = np.concatenate(each)[:, :2].T
        columns = np.column_stack(
            [pairs, right, pairs * time, right * time, pairs * time**2]
        )  # fmt: skip

        def slope(sums: np.ndarray) -> np.ndarray:
            n, y, x, xy, xx = np.moveaxis(sums[..., :5], -1, 0)
            return ratio(n * xy - x * y, n * xx - x**2)

        seed = derived_seed(config["seed"], "slope")
        drawn = resample_sums(columns, int(config["evaluation"]["resamples"]), seed)
        value = float(slope(columns.sum(axis=0)[None])[0])
        found[name] = with_interval(value, slope(drawn))
    return found
