"""What a benchmark row is, and how CPU time is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Goal:
    """A bound on a row's ratio, or on its own figure where there is no peer to compare with."""

    on: str  #: "ratio" or "ours"
    sense: str  #: ">=" or "<"
    value: float

    def __str__(self) -> str:
        return f"{self.on} {self.sense} {self.value:.3g}"

    def holds(self, value: float) -> bool:
        """Tell whether ``value`` meets the goal."""
        return value >= self.value if self.sense == ">=" else value < self.value


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ratio`` is ours / peer."""

    name: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str = ""
    goal: Goal | None = None
    note: str = ""
    missing: str = ""  #: why a figure could not be had

    @property
    def ratio(self) -> float | None:
        """Ours / peer, where both are there."""
        return None if self.ours is None or not self.peer else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none or a figure is missing."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.on == "ratio" else self.ours
        return None if value is None else self.goal.holds(value)

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain JSON."""
        document = asdict(self)
        document["goal"] = None if self.goal is None else str(self.goal)
        return {**document, "ratio": self.ratio, "met": self.met}


def rate(work: Callable[[], int]) -> float:
    """Return units of work per CPU second of this process; ``work`` returns how many it did."""
    start = time.process_time()
    done = work()
    return done / (time.process_time() - start)


def interleaved(
    ours: Callable[[], int], peer: Callable[[], int], repeats: int
) -> tuple[float, float]:
    """Return the best rates of both, measured in turns.

    A busy neighbour only ever slows a measurement, so the fastest of many is the one closest to
    what the code costs (the reason that `timeit` gives); both sides get the same number of tries.
    """
    rates = [(rate(ours), rate(peer)) for _ in range(repeats)]
    return max(pair[0] for pair in rates), max(pair[1] for pair in rates)


def run_json(command: Sequence[str | Path], timeout: float = 1800) -> dict[str, Any]:
    """Run a program that prints one JSON object as its last line of output, and return that.

    Raises:
        RuntimeError: it failed; the message is the last line of what it wrote to stderr.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {timeout:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def run_module(module: str, *arguments: object) -> dict[str, Any]:
    """Run ``python -m module`` in a fresh process; see `run_json`."""
    return run_json([sys.executable, "-m", module, *(str(a) for a in arguments)])
