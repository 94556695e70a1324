"""What a sweep costs beside its jobs, and what a second core gives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, Goal, Row

JOINT = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def sweep_rows(tiny: bool = False) -> list[Row]:
    """Measure the overhead per job of both launchers, and 200 short jobs on one and two cores."""
    few, many, work = (2, 4, 0.1) if tiny else (20, 200, 1.0)
    basic = _seconds(few, 0.0)
    rows = [_overhead("basic", basic, few, 1)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lacking = "this machine lends one core" if (cores or 1) < 2 else ""
    rows.append(
        Row("sweep with joblib: overhead of a job", "core seconds", None, missing=lacking)
        if lacking
        else _overhead("joblib", _seconds(few, 0.0, *JOINT), few, 2)
    )
    goal = Goal("ratio", ">=", 1.8)
    name, unit = f"sweep of {many} short jobs, two cores against one", "jobs per second"
    if lacking:
        return [*rows, Row(name, unit, None, goal=goal, missing=lacking)]
    one, two = _seconds(many, work), _seconds(many, work, *JOINT)
    note = (
        f"Each job keeps a core busy for {work:g} CPU s; start, imports, configs and reports "
        "included on both sides; one after the other."
    )
    return [*rows, Row(name, unit, many / two, many / one, "hydra/launcher=basic", goal, note)]


def _overhead(launcher: str, seconds: float, jobs: int, cores: int) -> Row:
    return Row(
        f"sweep with {launcher}: overhead of a job",
        "core seconds",
        cores * seconds / jobs,
        goal=Goal("ours", "<", 1.0),
        note=f"A sweep of {jobs} jobs that do nothing, on {cores} core{'s' * (cores > 1)}: wall "
        "time times cores by jobs, with the start of the program and its workers and all imports.",
    )


def _seconds(jobs: int, work: float, *options: str) -> float:
    """Return the wall time of a whole sweep in a fresh process and folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).parent / "copygym"), "run", "-m", *options,
            "job=benchmarks.sweep_job", "tracker=disabled", f"+work={work}",
            f"seed=range({jobs})", f"out={folder}/sweep",
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path}
        )
        return time.perf_counter() - start
