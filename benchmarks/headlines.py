"""Headline replay: CPU seconds of E7's whole table on 3,000 made-up tests.

As many headlines, click rates and predictions as the archive's tests have, every policy of the
experiment under both truths, n_aux chosen among twelve values on 1,000 further tests; without the
reward model, whose cost is that of `scoring`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Goal, Row

GOAL = Goal("ours", "<", 120.0)
HORIZONS = [50, 100, 200, 400, 600, 800, 1000]
TUNING = [100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000, 20000]


def headline_rows(tiny: bool) -> list[Row]:
    """Return the row of the headline replay."""
    from copygym.evaluation.headlines.replay import POLICIES, TUNED, Prior, Settings
    from copygym.experiments.runs.folder import open_run
    from copygym.experiments.studies.headlines.bandits import Job, replay_all

    tests, tune = (20, 10) if tiny else (3000, 1000)
    horizons = [5] if tiny else HORIZONS
    names = [*POLICIES, *TUNED]
    made = [made_tests(count, seed) for seed, count in enumerate((tune, tests))]
    with tempfile.TemporaryDirectory() as folder:
        warm = Job([5], [1], Prior(0.014, 97), Settings(), 0, open_run(Path(folder, "warm"), {}))
        replay_all(warm, names, *made)
        job = Job(horizons, TUNING, warm.prior, warm.settings, 0, open_run(Path(folder, "run"), {}))
        start = time.process_time()
        replay_all(job, names, *made)
        seconds = time.process_time() - start
    arms = int(made[1].arms_B.sum())
    note = (
        f"{len(names)} policies, two truths, {arms:,} headlines in {tests:,} tests, up to "
        f"{horizons[-1]:,} impressions each, one at a time; compiling not counted."
    )
    return [Row("headline replay: E7's whole table", "CPU seconds", seconds, goal=GOAL, note=note)]


def made_tests(count: int, seed: int):  # type: ignore[no-untyped-def]
    """Return tests like Upworthy's: 2 to 6 headlines at 1.2%, predictions half right."""
    from copygym.evaluation.headlines.replay import pad_tests

    rng = np.random.default_rng(seed)
    arms = rng.choice([2, 3, 4, 5, 6], size=count, p=[0.13, 0.06, 0.42, 0.2, 0.19])
    test = np.repeat(np.arange(count), arms)
    level = np.repeat(rng.beta(1.4, 115, size=count) + 1e-3, arms)
    rate = np.minimum(level * rng.lognormal(0.0, 0.3, size=len(test)), 0.5)
    shown = np.full(len(test), 3000.0)
    clicks = rng.binomial(3000, rate).astype(np.float64)
    return pad_tests(test, shown, clicks, 0.012 * (rate / level) ** 0.5)
