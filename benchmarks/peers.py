"""Peers that run in an environment of their own, made by ``benchmarks/make_peers.sh``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, run_json

#: Environment of each peer script.
ENVIRONMENT = {
    "ope_obp": "obp",
    "recsim_interest_evolution": "recsim",
    "recsim_ng_graph": "recsim-ng",
    "scope_rl_rec": "scope-rl",
    "sentence_transformers_encode": "sentence-transformers",
}


@dataclass(frozen=True)
class PeerRate:
    """Steps per CPU second, or why there are none."""

    rate: float | None
    missing: str = ""


def _python(script: str, home: Path | None) -> tuple[str, Path, str]:
    """Return a peer's name, its interpreter, and why it cannot be used (empty where it can)."""
    name, home = ENVIRONMENT[script], home or ROOT / ".venv-peers"
    python = home / name / "bin" / "python"
    if python.exists() and (home / name / "ready").exists():
        return name, python, ""
    failed = home / f"{name}.failed"
    if failed.exists():
        return name, python, f"{name} could not be installed: {failed.read_text().strip()}"
    return name, python, f"{name} is not installed: run benchmarks/make_peers.sh {name}"


def peer_answer(
    script: str, *arguments: object, home: Path | None = None
) -> tuple[dict[str, Any] | None, str]:
    """Return what ``benchmarks/peers/<script>.py`` answers, or None and why there is nothing.

    Args:
        script: a key of `ENVIRONMENT`.
        arguments: of the script.
        home: folder of the environments; None is ``.venv-peers``.
    """
    name, python, missing = _python(script, home)
    if missing:
        return None, missing
    path = ROOT / "benchmarks" / "peers" / f"{script}.py"
    try:
        return run_json([python, path, *(str(a) for a in arguments)]), ""
    except RuntimeError as error:
        return None, f"{name} failed: {error}"


def peer_texts(script: str, file: Path, repeats: int, home: Path | None = None) -> PeerRate:
    """Return the best texts per CPU second that ``benchmarks/peers/<script>.py`` reports.

    Args:
        script: a key of `ENVIRONMENT`.
        file: JSON with ``texts`` and the ``model`` folder.
        repeats: measurements, after one for warming up.
        home: folder of the environments; None is ``.venv-peers``.
    """
    name, python, missing = _python(script, home)
    if missing:
        return PeerRate(None, missing)
    path = ROOT / "benchmarks" / "peers" / f"{script}.py"
    try:
        answer = run_json([python, path, file, str(repeats)])
    except RuntimeError as error:
        return PeerRate(None, f"{name} failed: {error}")
    return PeerRate(max(answer["texts_per_cpu_second"]))


def peer_rate(script: str, steps: int, repeats: int, home: Path | None = None) -> PeerRate:
    """Return the best rate that ``benchmarks/peers/<script>.py`` reports.

    Args:
        script: a key of `ENVIRONMENT`.
        steps: environment steps per repeat.
        repeats: measurements, after one for warming up.
        home: folder of the environments; None is ``.venv-peers``.
    """
    name, python, missing = _python(script, home)
    if missing:
        return PeerRate(None, missing)
    path = ROOT / "benchmarks" / "peers" / f"{script}.py"
    try:
        answer = run_json([python, path, str(steps), str(repeats)])
    except RuntimeError as error:
        return PeerRate(None, f"{name} failed: {error}")
    return PeerRate(max(answer["steps_per_cpu_second"]))
