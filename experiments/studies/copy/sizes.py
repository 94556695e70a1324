"""Experiment E13, by the size of the log: from how many clicks does choosing by the reader pay?

Nothing is written. Each size of a world has its own people, who click for the same products: the
models of clicks are fitted on their log and choose among its honest copy for people whom they never
saw, and the world judges.

Records: by ``size`` (users of the log) ``clicks`` of its training part, and by ``writer`` those of
`copygym.experiments.studies.copy.personal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from copygym.agents.copywriter.drafts import sent_of
from copygym.core.errors import UserError
from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import score_copy
from copygym.evaluation.personal import crossed, gain_over, personal_gain
from copygym.evaluation.records import Records, Rows, filtered, number
from copygym.experiments.report.blocks import Shown, by_seed, curve, estimates_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import interval
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.judging import copy_origin, worth_of
from copygym.experiments.studies.copy.readers import (
    LOG_ALL,
    cross_judge,
    honest_copy,
    logged_choices,
)
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.learning import ONE_SEED
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

#: The log's copy that proxy and judge together like best for each reader.
LOG_SENT = "log, sent"
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with its own products, people, logs and fits."
)
_SHOWN = {
    "gold_ctr": Shown("gold CTR, %", "%"),
    "personal_gain": Shown("personal gain, %", "%"),
    "gain": Shown("gain over one for all, %", "%"),
}


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: the size of its log is what it is; choose a "
            "synthetic world, such as dataset=storefront."
        )
    if not config["sizes"]:
        raise UserError("sizes is empty; give the log's sizes in users, such as sizes=[1600,8000].")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records; the fits and choices of each size are stages.

    Config keys: ``sizes`` (users of the logs) and those of the copywriting setting.
    """
    rows = Rows(int(config["seed"]))
    origin: dict[str, Any] = {}
    for size in sorted(map(int, config["sizes"])):
        child = folder.child(f"users-{size}")
        part = {**config, "data": {**config["data"], "n_users": size}}
        setting = make_setting(part, child)
        # A copywriter that must yet be trained is what the proxy asks for fluency.
        copywriting.with_base(part, child, setting)
        _add(rows, config, setting, _values(child, setting), size)
        rows.add("clicks", setting.rows_seen["proxy"]["clicks"], size=size)
        origin = copy_origin(setting, child)
    facts = about(
        config,
        origin,
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        log=str(config["data"]["name"]),
        tasks=int(config["tasks"]["test"]),
    )
    return Records(rows.frame, {rows.seed: facts})


def _values(folder: RunFolder, setting: CopySetting) -> dict[str, dict[str, np.ndarray]]:
    """Return gold of what each way to choose sends, for its reader and for those of its group."""

    def compute() -> Record:
        known, tasks = honest_copy(setting), setting.test
        sent = sent_of([[]] * len(tasks), known, tasks, worth_of(setting), with_log=True)
        gold, _ = score_copy(setting.gold, sent.texts, tasks)
        return Record({}, {"gold": gold, "crossed": cross_judge(setting, sent.texts)})

    return {LOG_SENT: folder.stage("judge/sent", compute).arrays} | logged_choices(folder, setting)


def _add(
    rows: Rows,
    config: Mapping[str, Any],
    setting: CopySetting,
    values: Mapping[str, Mapping[str, np.ndarray]],
    size: int,
) -> None:
    group = setting.groups
    assert group is not None
    how: dict[str, Any] = {
        "resamples": int(config["evaluation"]["resamples"]),
        "seed": derived_seed(0, "bootstrap"),
    }
    for name, part in values.items():
        cell = {"writer": name, "size": size}
        rows.add("gold_ctr", mean_estimate(part["gold"], unit=group, **how), **cell)
        rows.add(
            "personal_gain", personal_gain(crossed(group), part["crossed"], group, **how), **cell
        )
        if name != LOG_ALL:
            gain = gain_over(part["gold"], values[LOG_ALL]["gold"], group, **how)
            rows.add("gain", gain, versus=LOG_ALL, **cell)


def report(records: Records) -> Report:
    """Return from how many clicks choosing by the reader pays."""
    # All gains are over the same, so that no column need say so.
    records = Records(records.frame.drop("versus"), records.about)
    frame, told = records.estimates, records.first
    worlds = f"{len(records.seeds)} worlds" if len(records.seeds) > 1 else "one world"
    clicks = filtered(frame, metric="clicks").select("size", clicks="value").sort("size")
    said = [
        f"{interval(number(frame, 'gain', writer=LOG_SENT, size=size), '%')}% from {seen:,.0f}"
        for size, seen in clicks.iter_rows()
    ]
    table = estimates_table(
        frame.filter(frame["writer"].is_not_null()),
        ["size", "writer"],
        _SHOWN,
        f"{worlds}, {told['tasks']:,} held-out tasks each, in groups of readers who are asked for "
        "the same product, channel and slot; by users of the log, half of whom the proxy learns "
        "from and three tenths the judge. One for all: the honest copy that the proxy likes best "
        "on average; chosen for each: the one that it likes best for the reader; sent: the one "
        "that proxy and judge together do. Attainable: the truth's choices.",
    )
    picture = curve(
        filtered(frame, metric="gain").join(clicks, on="size"),
        "clicks",
        "writer",
        "gain",
        "personal_by_clicks",
        "Gain over the log's best honest copy for everybody by the clicks that the proxy learned "
        "from, with 95% intervals.",
        "clicks (training part)",
        "gain over one for all, %",
        unit="%",
        log_x=True,
    )
    sections = [Section("By the size of the log", (), (), (picture,))]
    if len(records.seeds) > 1:
        own = records.where(writer=LOG_SENT)
        named = Records(own.frame.cast({"size": pl.String}), own.about)
        sections.append(by_seed(named, "size", _SHOWN, unit="world"))
    return Report(
        f"From how many clicks does copy for each reader pay? {worlds} of {told['log']}",
        f"In {worlds} of {told['log']}, the log's honest copy chosen for each held-out reader is "
        f"clicked more than its best one for everybody, without any writing, by {'; '.join(said)} "
        "clicks in the training part. The world's own response judges.",
        table,
        sections,
    )
