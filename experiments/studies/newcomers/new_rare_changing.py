"""Study E11: new users, rare products, changing tastes.

A simulator is easy to fit to people, creatives and times of which the log knows much. Here it is
asked for the others: people after their first few sends (`cold_start`), creatives by how rare they
are (`long_tail`), and tastes that move on, with and without updates (`drift`). Storefront worlds,
whose truth judges.

Records: by ``question`` (cold_start, long_tail, drift) scores of predictions against the truth, and
their paired differences, ``versus`` a baseline. New users are predicted by a ``profile`` after
``n_sends``, creatives of a popularity ``group`` by a ``model``, and a ``period`` of moving
``tastes`` with an ``update``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

from copygym.core.errors import UserError
from copygym.envs.storefront.world import ASSUMPTION
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.newcomers import cold_start, drift, long_tail
from copygym.experiments.studies.newcomers.new_rare_changing_report import report
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

#: Question, also the config's part -> its module.
PARTS: dict[str, ModuleType] = {
    "cold_start": cold_start,
    "long_tail": long_tail,
    "drift": drift,
}
_ONE_SEED = (
    "there is one world with one seed of its people, log, split and fits: nothing here says how "
    "much of it is luck."
)
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, split and fits."
)
_CHOSEN = (
    "sizes, skew and speed of change are chosen, not measured: they decide how much there is "
    "to win."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if config["data"]["name"] != "storefront":
        raise UserError(
            f"dataset={config['data']['name']}: new, rare and changing are measured in storefront, "
            "whose truth is known; real drift is experiment=e11_upworthy."
        )
    if not _parts(config):
        raise UserError(f"all of {', '.join(PARTS)} are null: leave at least one.")
    for part in _parts(config):
        PARTS[part].check(config)


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records, each question's from a stage of its own.

    Config keys: ``cold_start``, ``long_tail``, ``drift`` (null leaves a part out), ``users``
    (options of the fits), ``reward_model`` (of the texts, in the long tail) and
    ``evaluation.resamples``.
    """

    def compute(part: str) -> Record:
        return Record(PARTS[part].measure(config, folder))

    found = {part: folder.stage(part, partial(compute, part)).values for part in _parts(config)}
    rows = Rows(int(config["seed"]))
    for part, values in found.items():
        add_scores(rows, part, values["scores"])
    told = about(
        config,
        {
            "data": {name: d for values in found.values() for name, d in values["data"].items()},
            "rows_seen": {
                f"{part}, {name}": entry
                for part, values in found.items()
                for name, entry in values["rows_seen"].items()
            },
            "assumptions": [ASSUMPTION, _CHOSEN],
        },
        synthetic=True,
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        **{part: values["about"] for part, values in found.items()},
    )
    return Records(rows.frame, {rows.seed: told})


def _parts(config: Mapping[str, Any]) -> list[str]:
    return [part for part in PARTS if config.get(part) is not None]


def add_scores(rows: Rows, part: str, scores: list[list[dict[str, Any]]]) -> None:
    """Add a question's scores and, after them, their differences within the world.

    Args:
        rows: get the records.
        part: the question.
        scores: `known_log.Scored` as read from a stage.
    """
    # A stage gives keys back in the order of the alphabet.
    by_cell = {frozenset(cell.items()): values for cell, values in scores}
    for cell, values in scores:
        rows.add_all(values, question=part, **cell)
    for cell, values in scores:
        for versus, other in PARTS[part].baselines(cell):
            base = by_cell.get(frozenset(other.items()), {})
            less = {key: value - base[key] for key, value in values.items() if key in base}
            rows.add_all(less, question=part, **cell, versus=versus)
