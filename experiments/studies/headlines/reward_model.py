"""Study E2: which headline of a test will be clicked?

Given the headlines of a randomised test that it has never seen, how often does the model rank two
of them as the clicks did, how often is its favourite the best, and what is picking its favourite
worth? Beside it: simpler models on the same tests, published numbers, and what the noise of the
clicks allows at most.

Records: the ranking metrics by ``model`` and ``part`` (validation or test), also by the number of
``arms`` of a test; ``predicted`` and ``observed`` click rate and ``impressions`` of each ``bin`` of
the calibration curve, and ``calibration_error``. Model `CEILING` is the most that any could get.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.scores import calibration_curve, expected_calibration_error
from copygym.core.seeds import derived_seed
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import describe, load_log
from copygym.experiments.studies.headlines.reward_model_report import (
    CEILING,
    MAIN,
    RANDOM,
    SHOWN,
    report,
)
from copygym.experiments.studies.learning import ONE_SPLIT, file_name
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.ctr.data import (
    CopyCounts,
    merge_counts,
    overlap,
    part_sizes,
    some_tests,
    split_counts,
)
from copygym.rewards.ctr.model import load_ctr_model
from copygym.rewards.ctr.ranking import ranking_metrics

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

__all__ = ["check", "report", "seed_records"]

#: Parts of the tests, in the order in which they are drawn.
PARTS = ("train", "validation", "test")
#: Folder of the main model in the run's folder, where `copygym score` looks for it.
MODEL = "reward_model"
#: Groups of the calibration curve.
_BINS = 10
_OVER_SEEDS = (
    "intervals are over {count} splits, each with one seed of its fit and learning; all are of the "
    "same log, whose own luck no split can show."
)
_ASSUMPTIONS = (
    "the lift of a picked arm is taken at its observed click rate; the oracle picks by the "
    "same rates, noise included, so its lift is more than any model could get.",
    "the noise ceiling takes true log click rates of a pair to differ normally, by the spread "
    "that the observed differences leave after sampling noise.",
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    for name in config["split"]:
        if name not in PARTS:
            raise unknown_name("part of split", str(name), list(PARTS))
    missing = [name for name in PARTS if name not in config["split"]]
    if missing:
        raise UserError(f"split lacks {missing[0]}; give each of {', '.join(PARTS)} a share.")
    for name, entry in _models(config).items():
        if name in (CEILING, RANDOM):
            raise UserError(f"baselines.{name}: the table has a row of this name; choose another.")
        instantiated(entry, f"reward model {name}")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one split of the tests.

    Config keys: ``reward_model`` (the main model), ``baselines`` (name -> model or null),
    ``split`` (shares of tests), ``tests`` (how many tests to use, or null) and
    ``evaluation.resamples``.
    """
    logs = load_releases(config["data"])
    files = _same_files(folder, logs)
    counts = merge_counts([CopyCounts.from_log(log) for log in logs.values()])
    parts = split_parts(counts, config)
    seen = folder.stage("split", lambda: Record(part_sizes(parts))).values
    models = _models(config)
    rows = Rows(int(config["seed"]))
    training: dict[str, Any] = {}
    for name, entry in models.items():
        training[name] = _train(name, entry, parts, config, folder)
        for part in ("test", "validation"):
            score = _score(name, part, parts[part], folder)
            found = add_judged(rows, score, parts[part], config, model=name, part=part)
            if part == "test":
                trackers.log(f"reward/{name}", {"pairwise": found["pairwise"]["value"]}, 0)
    judged: dict[str, int] = {}
    for part in ("test", "validation"):
        # Equal scores of all arms: ties are shared out, which is chance without its luck.
        tied = np.zeros(len(parts[part]))
        where = {"part": part}
        found = add_judged(rows, tied, parts[part], config, calibrated=False, model=RANDOM, **where)
        rows.add("pairwise", found["noise_ceiling"], model=CEILING, **where)
        rows.add("lift", found["lift_oracle"], model=CEILING, **where)
        for key in ("tests", "pairs", "significant_pairs"):
            judged[f"{key}_of_{part}"] = int(found[key]["value"])
    told = about(
        config,
        {
            "data": files,
            "rows_seen": {name: seen[name] for name in PARTS},
            "notes": list(dict.fromkeys(note for log in logs.values() for note in log.notes)),
            "assumptions": [
                *_ASSUMPTIONS,
                f"click rates of the training tests ({seen['train']['clicks']:,} clicks) are of a "
                "news site in 2013-2015; calibrated probabilities hold for such headlines there.",
            ],
        },
        synthetic=any(log.synthetic for log in logs.values()),
        one_seed=ONE_SPLIT,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        # Another split has tests of other numbers of arms, and bins at other rates.
        within_seed=("arms", "bin"),
        titles={name: _title(name, entry) for name, entry in models.items()},
        judged=judged,
        training=training,
    )
    return Records(rows.frame, {rows.seed: told})


def _models(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the main model and its baselines, those that are left out (null) aside."""
    models = {MAIN: config["reward_model"], **(config.get("baselines") or {})}
    return {name: entry for name, entry in models.items() if entry is not None}


def load_releases(data: Mapping[str, Any]) -> dict[str, ClickLog]:
    """Return the logs behind ``data``: of a folder, every release that is in it.

    Args:
        data: ``name``, ``path`` and options of a dataset.

    Raises:
        UserError: none can be read.
    """
    from pathlib import Path

    from copygym.envs.datasets.upworthy import RELEASES

    path = data.get("path")
    whole = path is not None and Path(path).expanduser().is_dir() and data["name"] == "upworthy"
    if not whole or data.get("release") is not None:
        log = load_log(data)
        return {log.source or log.name: log}
    root = Path(str(path)).expanduser()
    found = {}
    # The order decides which of two equal tests is kept, hence who is in which part.
    for release in sorted(RELEASES):
        if any(file for pattern in RELEASES[release] for file in root.rglob(pattern)):
            found[release] = load_log({**data, "release": release})
    if not found:
        load_log(data)  # says what is missing
    return found


def _same_files(folder: RunFolder, logs: Mapping[str, ClickLog]) -> dict[str, Any]:
    """Store what is known of each file; a resumed run must find the same ones."""
    names = {name: name.rpartition("/")[2] for name in logs}
    now = {names[name]: describe(log) for name, log in logs.items()}
    stored = folder.stage("files", lambda: Record(now)).values
    if stored != now:
        raise UserError(
            "the log files have changed since this run began; choose another out= or add "
            "overwrite=true."
        )
    return stored


def split_parts(counts: CopyCounts, config: Mapping[str, Any]) -> dict[str, CopyCounts]:
    """Return the tests' parts; a headline, even by a chain of tests, is in one part only."""
    counts = some_tests(counts, config.get("tests"), derived_seed(config["seed"], "tests"))
    shares = {name: float(config["split"][name]) for name in PARTS}
    parts = split_counts(counts, shares, int(config["seed"]))
    for first, second in (("test", "train"), ("test", "validation"), ("validation", "train")):
        # The split makes this impossible; a figure on shared headlines would be worthless.
        assert overlap(parts[first], parts[second]) == 0
    return parts


def _place(name: str) -> tuple[str, ...]:
    return (MODEL,) if name == MAIN else ("baselines", file_name(name))


def _train(
    name: str,
    entry: Mapping[str, Any],
    parts: Mapping[str, CopyCounts],
    config: Mapping[str, Any],
    folder: RunFolder,
) -> dict[str, Any]:
    """Train a model and save it, in a stage of its own; return what it cost and chose."""

    def compute() -> Record:
        wall, cpu = time.perf_counter(), time.process_time()
        model = instantiated(entry, f"reward model {name}")
        # One seed for all, so that a baseline's number does not depend on its name.
        model.fit(
            parts["train"], parts["validation"], seed=derived_seed(config["seed"], "reward model")
        )
        cost = {
            "wall_seconds": round(time.perf_counter() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
        model.save(folder.file(*_place(name)))
        return Record({"report": model.report, **cost})

    values = folder.stage(f"train/{file_name(name)}", compute).values
    # What differs from run to run has no place in a result that a resumed run must equal.
    return {"report": values["report"]}


def _score(name: str, part: str, counts: CopyCounts, folder: RunFolder) -> np.ndarray:
    """Return (N,) scores of a part's arms by a trained model, from its stage."""

    def compute() -> Record:
        model = load_ctr_model(folder.file(*_place(name)))
        return Record(arrays={"score": model.score(counts.texts)})

    return folder.stage(f"score/{file_name(name)}/{part}", compute).arrays["score"]


def add_judged(
    rows: Rows,
    score: np.ndarray,
    counts: CopyCounts,
    config: Mapping[str, Any],
    *,
    calibrated: bool = True,
    **cell: Any,
) -> dict[str, Any]:
    """Add ranking metrics with intervals, the same by number of arms, and calibration.

    Args:
        rows: get the records.
        score: (N,) of the arms, logits if ``calibrated``.
        counts: N arms of tests.
        config: ``seed`` and ``evaluation.resamples``.
        calibrated: whether scores stand for click rates.
        cell: columns of the records.

    Returns:
        Every metric of `ranking_metrics`.
    """
    seed, resamples = derived_seed(config["seed"], "boot"), int(config["evaluation"]["resamples"])
    whole = ranking_metrics(score, counts, resamples=resamples, seed=seed)
    rows.add_all({key: whole[key] for key in SHOWN}, **cell)
    for arms, inside in _groups(counts).items():
        found = ranking_metrics(score[inside], counts.take(inside), resamples=resamples, seed=seed)
        by_arms = {key: found[key] for key in ("tests", "best_of_k", "pairwise")}
        rows.add_all(by_arms, **cell, arms=arms)
    if calibrated:
        from scipy.special import expit

        row = (expit(score), counts.impressions, counts.clicks)
        curve = calibration_curve(*row, unit=np.arange(len(score)), bins=_BINS)
        for index, entry in enumerate(curve):
            rows.add("predicted", entry.predicted, **cell, bin=index + 1)
            rows.add("observed", entry.real, **cell, bin=index + 1)
            rows.add("impressions", entry.impressions, **cell, bin=index + 1)
        rows.add("calibration_error", expected_calibration_error(*row, bins=_BINS), **cell)
    return dict(whole)


def _groups(counts: CopyCounts) -> dict[str, np.ndarray]:
    """Return number of arms -> (N,) bool: K decides how hard the best of K is to find."""
    _, test, size = np.unique(counts.test, return_inverse=True, return_counts=True)
    arms = size[test]
    groups = {str(n): arms == n for n in (2, 3, 4, 5)} | {"6 or more": arms >= 6}
    return {label: inside for label, inside in groups.items() if inside.any()}


def _title(name: str, entry: Mapping[str, Any]) -> str:
    encoder = _short(entry)
    tuning = "" if encoder == "tfidf" else f", {entry.get('tuning', 'frozen')!s}"
    companions = entry.get("companions") or ()
    more = "".join(f" + {k if isinstance(k, str) else _short(k)}" for k in companions)
    members = int(entry.get("members") or 1)
    several = f", {members} members" if members > 1 else ""
    title = f"{encoder}{tuning}{more}{several}"
    return f"{title} (main)" if name == MAIN else title


def _short(entry: Mapping[str, Any]) -> str:
    """Return an encoder's name without the folder or the organisation that it lies in."""
    return str(entry.get("encoder", "")).rpartition("/")[2]
