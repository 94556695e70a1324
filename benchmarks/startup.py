"""How long ``copygym --help`` takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import Goal, Row


def help_rows(tiny: bool = False) -> list[Row]:
    """Measure the wall time of ``copygym --help`` in a fresh process."""
    command = [str(Path(sys.executable).parent / "copygym"), "--help"]
    seconds = []
    for _ in range(1 if tiny else 5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return [
        Row(
            "copygym --help",
            "wall seconds",
            median(seconds),
            goal=Goal("ours", "<", 0.5),
            note=f"Median of {len(seconds)} fresh processes; the best took {min(seconds):.2f} s.",
        )
    ]
