"""Aggregates over a thousand finished runs: seconds of CPU time for `copygym evaluate --saved`.

The runs are made up, twenty agents by fifty seeds, with results as large as those of
`experiment=delivery`: five policies with all metrics and intervals, their differences and regret,
metrics by segment, and a learning curve of a hundred points.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Goal, Row
from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, Rows

GOAL = Goal("ours", "<", 5.0)
_POLICIES = ("random", "logging", "best_fixed", "AGENT (learned)", "upper")


def aggregation_rows(tiny: bool) -> list[Row]:
    """Return the row of aggregation over runs."""
    from copygym.experiments.commands.evaluate.saved import aggregated

    agents, seeds, repeats = (2, 3, 1) if tiny else (20, 50, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_sweep(folder, agents, seeds)
        times = []
        for _ in range(repeats):
            start = time.process_time()
            found = aggregated([folder], "clicks_per_user", 2000)
            times.append(time.process_time() - start)
    assert len(found["scores"]["agent-0 (learned)"]) == seeds
    return [
        Row(
            f"aggregates over {agents * seeds:,} finished runs",
            "CPU seconds",
            min(times),
            goal=GOAL,
            note=f"{agents} agents, {seeds} seeds, {size / 1e6:.0f} MB of results; IQM, mean, "
            "optimality gap and probabilities of improvement with 2,000 bootstrap resamples.",
        )
    ]


def write_sweep(folder: Path, agents: int, seeds: int) -> int:
    """Write made-up finished runs; return the bytes of their results."""
    rng = np.random.default_rng(0)
    size = 0
    for agent in range(agents):
        for seed in range(seeds):
            run = folder / f"agent={agent},seed={seed}"
            run.mkdir()
            config = _config(f"agent-{agent}", seed)
            state = {"state": "finished", "code": "made up", "config": config}
            (run / "run.json").write_text(json.dumps(state))
            (run / "result.json").write_text("{}")
            _records(f"agent-{agent}", seed, rng).write(run)
            size += sum(path.stat().st_size for path in run.iterdir())
    return size


def _config(agent: str, seed: int) -> dict[str, Any]:
    target = "copygym.agents.delivery.bandits.UniformAgent"
    return {
        "name": "delivery",
        "job": "copygym.experiments.studies.delivery.delivery",
        "seed": seed,
        "agent": {"_target_": target, "name": agent},
        "references": {n: {"_target_": target} for n in _POLICIES if n.islower()},
        "data": {"name": "storefront", "seed": 1},
        "evaluation": {"baseline": "logging", "users": 1500},
    }


def _records(agent: str, seed: int, rng: np.random.Generator) -> Records:
    policies = [name.replace("AGENT", agent) for name in _POLICIES]
    rows = Rows(seed)

    def add(keys: Sequence[str], **columns: str) -> None:
        for i, name in enumerate(policies):
            for key in keys:
                low, value, high = np.sort(rng.random(3)) + 2 * i
                rows.add(key, {"value": value, "low": low, "high": high}, policy=name, **columns)

    add(list(METRICS))
    for versus in ("random", "upper"):
        add(list(METRICS), versus=versus)
    for segment in range(12):
        add(["clicks_per_user", "profit_per_user"], segment=f"segment {segment}")
    for name in policies:
        rows.add_lines("learning_reward", "step", range(100), rng.random(100), policy=name)
    return Records(rows.frame, {seed: {"within_seed": ["segment", "step"]}})
