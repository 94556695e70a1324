"""Peers that run in an environment of their own, made by ``benchmarks/make_peers.sh``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT, run_json

#: Environment of each peer script.
ENVIRONMENT = {
    "recsim_interest_evolution": "recsim",
    "recsim_ng_graph": "recsim-ng",
    "scope_rl_rec": "scope-rl",
}


@dataclass(frozen=True)
class PeerRate:
    """Steps per CPU second, or why there are none."""

    rate: float | None
    missing: str = ""


def peer_rate(script: str, steps: int, repeats: int, home: Path | None = None) -> PeerRate:
    """Return the best rate that ``benchmarks/peers/<script>.py`` reports.

    Args:
        script: a key of `ENVIRONMENT`.
        steps: environment steps per repeat.
        repeats: measurements, after one for warming up.
        home: folder of the environments; None is ``.venv-peers``.
    """
    name, home = ENVIRONMENT[script], home or ROOT / ".venv-peers"
    python = home / name / "bin" / "python"
    if not python.exists() or not (home / name / "ready").exists():
        failed = home / f"{name}.failed"
        if failed.exists():
            return PeerRate(None, f"{name} could not be installed: {failed.read_text().strip()}")
        return PeerRate(None, f"{name} is not installed: run benchmarks/make_peers.sh {name}")
    path = ROOT / "benchmarks" / "peers" / f"{script}.py"
    try:
        answer = run_json([python, path, str(steps), str(repeats)])
    except RuntimeError as error:
        return PeerRate(None, f"{name} failed: {error}")
    return PeerRate(max(answer["steps_per_cpu_second"]))
