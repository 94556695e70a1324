"""Experiment E2: a CTR reward model judged on tests that nobody trained on.

Question: given the headlines of a randomised test that it has never seen, how often does the model
rank two of them as the clicks did, how often is its favourite the best, and what is picking its
favourite worth? Beside it: simpler models on the same tests, published numbers, and what the noise
of the clicks allows at most.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.scores import calibration_curve, expected_calibration_error
from copygym.core.seeds import derived_seed
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import describe, load_log, same_data
from copygym.experiments.studies.headlines import reward_model_report as reward_report
from copygym.experiments.studies.learning import ONE_SPLIT, file_name
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

main_table = reward_report.main_table
sections = reward_report.sections

#: Parts of the tests, in the order in which they are drawn.
PARTS = ("train", "validation", "test")
#: Folder of the main model in the run's folder, where `copygym score` looks for it.
MODEL = "reward_model"
#: Groups of the calibration curve.
_BINS = 10
#: Above this share of right pairs a model must have seen what it is judged on.
LEAKAGE = 0.83
MAIN, RANDOM = "model", "random"
#: Stands among the models for the most that any could get.
CEILING = "at most"
#: Numbers of a model on test tests.
NUMBERS = {
    "pairwise": "share of pairs in the order of their clicks",
    "pairwise_significant": "the same of pairs that differ by |z| > 1.96",
    "best_of_3": "share of favourites of three arms of a test that are the best of the three",
    "best_of_k": "share of favourites that are the best of their test",
    "lift": "CTR of its favourite over that of a random arm, less 1; at most: the arm that was "
    "clicked most, noise included",
}


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Train the main model and the baselines, judge them, and return the result (JSON types).

    Config keys: ``reward_model`` (the main model), ``baselines`` (name -> model or null),
    ``split`` (shares of tests), ``tests`` (how many tests to use, or null) and
    ``evaluation.resamples``.
    """
    logs = load_releases(config["data"])
    data = same_data(folder, load_log(config["data"]))
    files = _same_files(folder, logs)
    counts = merge_counts([CopyCounts.from_log(log) for log in logs.values()])
    parts = split_parts(counts, config)
    seen = folder.stage("split", lambda: Record(part_sizes(parts))).values
    models = {MAIN: config["reward_model"], **(config.get("baselines") or {})}
    models = {name: entry for name, entry in models.items() if entry is not None}
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name, entry in models.items():
        training[name] = _train(name, entry, parts, config, folder)
        metrics[name] = {
            part: _judge(name, part, parts[part], config, folder) for part in PARTS[1:]
        }
        value = metrics[name]["test"]["ranking"]["pairwise"]["value"]
        trackers.log(f"reward/{name}", {"pairwise": value}, 0)
    metrics[RANDOM] = {part: _random(parts[part], config) for part in PARTS[1:]}
    test = metrics[MAIN]["test"]["ranking"]
    return {
        "title": "Reward model: which headline will be clicked?",
        "synthetic": any(log.synthetic for log in logs.values()),
        "summary": _summary(parts, test, config),
        "models": [*models, RANDOM],
        "names": {name: _title(name, models.get(name)) for name in [*models, RANDOM]},
        "metrics": metrics,
        "training": training,
        "leakage": bool(test["pairwise"]["value"] > LEAKAGE),
        "data": {next(iter(logs.values())).name: data},
        "files": files,
        "rows_seen": {name: seen[name] for name in PARTS},
        "notes": list(dict.fromkeys(note for log in logs.values() for note in log.notes)),
        "assumptions": _assumptions(seen),
        "summary_numbers": {
            f"{key}/{name}": metrics[name]["test"]["ranking"][key]["value"]
            for name in metrics
            for key in NUMBERS
        }
        | {
            f"pairwise/{CEILING}": test["noise_ceiling"]["value"],
            f"lift/{CEILING}": test["lift_oracle"]["value"],
        },
    }


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


def _judge(
    name: str, part: str, counts: CopyCounts, config: Mapping[str, Any], folder: RunFolder
) -> dict[str, Any]:
    def compute() -> Record:
        model = load_ctr_model(folder.file(*_place(name)))
        return Record(arrays={"score": model.score(counts.texts, counts.profile)})

    score = folder.stage(f"score/{file_name(name)}/{part}", compute).arrays["score"]
    return judged(score, counts, config)


def judged(
    score: np.ndarray, counts: CopyCounts, config: Mapping[str, Any], *, calibrated: bool = True
) -> dict[str, Any]:
    """Return ranking metrics with intervals, best of K by K, and calibration."""
    seed, resamples = derived_seed(config["seed"], "boot"), int(config["evaluation"]["resamples"])
    result: dict[str, Any] = {
        "ranking": ranking_metrics(score, counts, resamples=resamples, seed=seed),
        "by_arms": _by_arms(score, counts, resamples, seed),
    }
    if calibrated:
        from scipy.special import expit

        row = (expit(score), counts.impressions, counts.clicks)
        curve = calibration_curve(*row, unit=np.arange(len(score)), bins=_BINS)
        result["calibration"] = [asdict(entry) for entry in curve]
        result["calibration_error"] = expected_calibration_error(*row, bins=_BINS)
    return result


def _by_arms(
    score: np.ndarray, counts: CopyCounts, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return best of K and its random value by the number of arms: K decides how hard it is."""
    _, test, size = np.unique(counts.test, return_inverse=True, return_counts=True)
    arms = size[test]
    found: dict[str, dict[str, Any]] = {}
    for label, inside in (
        ("2", arms == 2),
        ("3", arms == 3),
        ("4", arms == 4),
        ("5", arms == 5),
        ("6 or more", arms >= 6),
    ):
        if inside.any():
            chosen = counts.take(inside)
            metrics = ranking_metrics(score[inside], chosen, resamples=resamples, seed=seed)
            found[label] = {
                key: metrics[key] for key in ("best_of_k", "best_of_k_random", "pairwise", "tests")
            }
    return found


def _random(counts: CopyCounts, config: Mapping[str, Any]) -> dict[str, Any]:
    """Judge equal scores for all arms: ties are shared out, which is chance without its luck."""
    return judged(np.zeros(len(counts)), counts, config, calibrated=False)


def _title(name: str, entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "a random arm"
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


def _summary(
    parts: Mapping[str, CopyCounts], test: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    return (
        f"{parts['train'].n_tests:,} randomised tests with {len(parts['train']):,} headlines "
        f"trained each model, {parts['validation'].n_tests:,} chose its settings and calibrated "
        f"it, and {int(test['tests']['value']):,} others with {len(parts['test']):,} headlines "
        "judged it. No headline of those is in another part, directly or through a chain of "
        "shared headlines; arms are compared under the same picture only. Intervals (95%) are "
        f"over tests ({int(config['evaluation']['resamples']):,} bootstrap resamples)."
    )


def _assumptions(seen: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    return [
        ONE_SPLIT,
        "the lift of a picked arm is taken at its observed click rate; the oracle picks by the "
        "same rates, noise included, so its lift is more than any model could get.",
        "the noise ceiling takes true log click rates of a pair to differ normally, by the spread "
        "that the observed differences leave after sampling noise.",
        f"click rates of the training tests ({seen['train']['clicks']:,} clicks) are of a news "
        "site in 2013-2015; calibrated probabilities hold for such headlines there.",
    ]
