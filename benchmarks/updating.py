"""100,000 new rows onto a model of 10 million: what an update costs of a refit, and what it loses.

The log is that of `biglog` (synthetic): its last hundredth by time is what is new. Both models then
predict the later half of people whom neither has seen.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks.biglog import ROWS, SLOTS, cached
from benchmarks.measure import Goal, Row, run_module

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers

#: Share of the log, by time, that is new; a world that is not in the log, to judge by.
_NEW, _JUDGE_SEED, _JUDGE_USERS = 0.01, 10_007, 10_000


def update_rows(tiny: bool = False) -> list[Row]:
    """Measure the CPU time of an update against a fit on everything, and the loss of both."""
    rows = 20_000 if tiny else ROWS
    path = cached(rows)
    name = "100,000 rows onto a model of 10 million"
    try:
        if not path.exists():
            run_module("benchmarks.biglog", "write", path, rows)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            run_module("benchmarks.updating", "fit", path, folder)
            refit = run_module("benchmarks.updating", "refit", path, folder)
            update = run_module("benchmarks.updating", "update", path, folder)
    except RuntimeError as error:
        return [Row(f"{name}: {what}", "", None, missing=str(error)) for what in ("time", "loss")]
    return [
        Row(
            f"{name}: time",
            "CPU seconds",
            update["cpu"],
            refit["cpu"],
            "a fit on all rows",
            Goal("ratio", "<", 0.05),
            note=f"{update['rows']:,} new rows; profiles by their sums, the click model from its "
            "old posterior; reading and writing the model's folder included.",
        ),
        Row(
            f"{name}: held-out log loss above that of a fit on all rows",
            "nats an impression",
            update["loss"] - refit["loss"],
            goal=Goal("ours", "<", 0.001),
            note=f"{update['loss']:.5f} against {refit['loss']:.5f}, of people whom neither saw.",
        ),
    ]


def _parts(path: Path) -> tuple[ClickLog, ClickLog, ClickLog]:
    """Return the whole log, its old part, and the new rows."""
    from copygym.envs.logs.clicklog import ClickLog

    log = ClickLog.read(path)
    time_us = pl.col("timestamp").cast(pl.Int64)
    edge = log.frame.select(time_us.quantile(1 - _NEW)).collect().item()
    return log, log.filter(time_us < edge), log.filter(time_us >= edge)


def _loss(fitted: FittedUsers) -> float:
    """Return the log loss of a model on the later half of people whom it never saw."""
    from copygym.core.scores import log_losses
    from copygym.envs.datasets.storefront_log import simulate_log
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.update import People, read_new
    from copygym.envs.storefront.world import StorefrontWorld

    world = StorefrontWorld(seed=_JUDGE_SEED, n_users=_JUDGE_USERS)
    log = ClickLog.from_frame(simulate_log(world, SLOTS, _JUDGE_SEED), synthetic=True)
    middle = log.frame.select(pl.col("timestamp").median()).collect().item()
    before = People.of(fitted.profile_builder, log.filter(pl.col("timestamp") < middle))
    new = read_new(fitted, before, log.filter(pl.col("timestamp") >= middle))
    chance = 1 / (1 + np.exp(-new.logit(fitted.response)))
    clicks, trials = new.rows.clicks.astype(np.float64), new.rows.trials.astype(np.float64)
    return float(log_losses(chance, trials, clicks).sum() / trials.sum())


def main(task: str, path: str, folder: str) -> None:
    """Do one task and print its CPU seconds, and the loss of its model."""
    from copygym.envs.simulator.fit import fit_users
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.envs.simulator.update import People, update_users

    whole, old, new = _parts(Path(path))
    kept, cpu = Path(folder) / "old", time.process_time()
    answer: dict[str, Any] = {}
    if task == "update":
        update = update_users(FittedUsers.load(kept), People.load(kept), new)
        update.users.save(Path(folder) / "new")
        update.people.save(Path(folder) / "new")
        fitted, answer["rows"] = update.users, new.height
    else:
        fitted = fit_users(old if task == "fit" else whole, family="logistic")
    answer["cpu"] = time.process_time() - cpu
    if task == "fit":
        fitted.save(kept)
        People.of(fitted.profile_builder, old).save(kept)
    else:
        answer["loss"] = _loss(fitted)
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
