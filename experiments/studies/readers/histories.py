"""Study: which of the titles shown will this reader click, given the titles read before?

A model of history x title learns from slates of a news log and is judged on later ones, beside a
model of titles alone, the untrained likeness of title and history, and the model itself with
another reader's history.

Records: MIND's ranking metrics (``auc``, ``mrr``, ``ndcg_5``, ``ndcg_10``) by ``model``, ``versus``
titles alone on paired differences; ``loss`` of the validation slates by ``model`` and ``epoch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.readers.histories_report import (
    CHANCE,
    LIKENESS,
    MODEL,
    OTHERS,
    TITLES,
    report,
)
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.history.model import HistoryModel
from copygym.rewards.history.ranking import mean_metrics, slate_metrics
from copygym.rewards.history.slates import Slates, shuffled_readers

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

__all__ = ["check", "report", "seed_records"]

PARTS = ("train", "validation", "test")
#: Shares of the log's time where nothing else judges: MIND, too, judges on what came later.
_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_ASSUMPTIONS = (
    "what was shown was chosen by the site for the reader: the model tells which of the titles "
    "shown is clicked, not what showing another title would cause.",
    "the same readers stand in the training and the judging part, at other times, as in MIND.",
)
_ONE_SEED = (
    "intervals cover the judged readers, not the luck of the learning, of which there is one seed."
)
_OVER_SEEDS = "intervals are over {count} seeds of the learning on the same parts of the log."


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    from copygym.envs import datasets
    from copygym.experiments.runs.trust import reading

    instantiated(config["model"], "model")
    if not config["data"].get("history"):
        raise UserError(
            "data.history is not true: without it the log does not say what its readers read "
            "before (dataset=mind or pens, data.history=true)."
        )
    with reading(config):
        datasets.card(str(config["data"]["name"]))


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one seed of the learning.

    Config keys: ``data`` (with ``history: true``), ``judged_on`` (the dataset's options that give
    the part that judges; all null: the last tenth of the time), ``model``, ``longest`` (titles of
    a history) and ``evaluation.resamples``.
    """
    log = load_log(config["data"])
    data = same_data(folder, log)
    parts, slates = _parts(log, config)
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    seed = int(config["seed"])
    models = {
        MODEL: _fitted(MODEL, config, folder, slates, reads=True),
        TITLES: _fitted(TITLES, config, folder, slates, reads=False),
    }
    judged = slates["test"]
    others = judged.with_histories_of(shuffled_readers(judged, derived_seed(seed, "others")))
    chance = np.random.default_rng(derived_seed(seed, "chance")).random(len(judged.shown))
    scores = {
        CHANCE: chance,
        TITLES: models[TITLES].slate_scores(judged),
        LIKENESS: models[MODEL].likeness(judged),
        MODEL: models[MODEL].slate_scores(judged),
        OTHERS: models[MODEL].slate_scores(others),
    }
    tables = {name: slate_metrics(s, judged.clicks, judged.slate) for name, s in scores.items()}
    boot = (int(config["evaluation"]["resamples"]), derived_seed(seed, "bootstrap"))
    rows = Rows(seed)
    for name, table in tables.items():
        rows.add_all(mean_metrics(table, judged.reader, *boot), model=name)
        if name != TITLES:
            gain = mean_metrics(table - tables[TITLES], judged.reader, *boot)
            rows.add_all(gain, model=name, versus=TITLES)
    for name, model in models.items():
        losses = model.report["validation_loss"]
        rows.add_lines("loss", "epoch", range(len(losses)), losses, model=name)
    told = about(
        config,
        {
            "data": data,
            "rows_seen": rows_seen,
            "notes": list(log.notes),
            "assumptions": list(_ASSUMPTIONS),
        },
        synthetic=log.synthetic,
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        within_seed=("epoch",),
        log=log.name,
        slates={name: len(part) for name, part in slates.items()},
        readers={name: len(np.unique(part.reader)) for name, part in slates.items()},
        without_history=float((judged.lengths == 0).mean()),
        encoder=str(config["model"]["encoder"]),
    )
    return Records(rows.frame, {seed: told})


def _parts(
    log: ClickLog, config: Mapping[str, Any]
) -> tuple[dict[str, ClickLog], dict[str, Slates]]:
    """Return the parts of the log by time, and their slates."""
    from copygym.envs import datasets

    name, path = str(config["data"]["name"]), config["data"].get("path")
    other = {key: value for key, value in config["judged_on"].items() if value is not None}
    texts = datasets.articles(name, path)
    tables = dict.fromkeys(PARTS, texts)
    if other:
        judging = {**config["data"], **other}
        shares = {"train": _SHARES["train"] + _SHARES["test"], "validation": _SHARES["validation"]}
        parts = log.split_by_time(shares) | {"test": load_log(judging)}
        tables["test"] = datasets.articles(name, judging["path"])
    else:
        parts = log.split_by_time(_SHARES)
    longest = int(config["longest"])
    return parts, {key: Slates.from_log(parts[key], tables[key], longest) for key in PARTS}


def _fitted(
    name: str,
    config: Mapping[str, Any],
    folder: RunFolder,
    slates: Mapping[str, Slates],
    *,
    reads: bool,
) -> HistoryModel:
    """Return a trained model, from its stage; it lies in ``models/NAME``."""
    place = name.replace(" ", "_")

    def compute() -> Record:
        model = instantiated({**config["model"], "reads": reads}, "model")
        seed = derived_seed(config["seed"], "fit")
        model.fit(slates["train"], slates["validation"], seed=seed)
        with folder.new_folder("models", place) as draft:
            model.save(draft)
        return Record({"slates": len(slates["train"])})

    folder.stage(f"fit/{place}", compute)
    return HistoryModel.load(folder.file("models", place))
