"""The manifest: everything that is needed to get the same numbers again.

It names no host, no user and no home folder: a manifest is made to be published.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from copygym.core.files.storage import write_text
from copygym.experiments.runs.folder import RunFolder, config_hash
from copygym.experiments.runs.outputs import write_result

_PACKAGES = (
    "copygym",
    "gymnasium",
    "hydra-core",
    "numba",
    "numpy",
    "omegaconf",
    "polars",
    "pyarrow",
    "sb3-contrib",
    "scikit-learn",
    "scipy",
    "stable-baselines3",
    "torch",
    "transformers",
    "wandb",
)


def write_manifest(folder: RunFolder, argv: list[str], stages: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` (and ``code.diff`` for a checkout with changes) to the run folder.

    Args:
        folder: the run's folder; the times of all its finished stages are added up.
        argv: the command line after ``copygym``.
        stages: what the stages saw: data checksums, rows and users by split.
    """
    times = folder.stage_times()
    code = _code(folder)
    manifest = {
        "command": public_text(shlex.join(["copygym", *argv])),
        "config": _public(folder.config),
        "config_sha256": config_hash(folder.config),
        "seed": folder.config.get("seed"),
        "code": code,
        "packages": packages(),
        "data": stages.get("data"),
        "rows_seen": stages.get("rows_seen"),
        "machine": machine(),
        "stages": times,
        "wall_seconds": round(sum(t["wall_seconds"] for t in times.values()), 1),
        "cpu_seconds": round(sum(t["cpu_seconds"] for t in times.values()), 1),
    }
    write_result(folder.path / "manifest.json", manifest)


def write_joint_manifest(
    folder: Path,
    argv: list[str],
    manifests: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the manifest of several runs that were taken together; return it.

    Args:
        folder: gets ``manifest.json``.
        argv: the command line after ``copygym`` that made them all.
        manifests: of the runs.
        result: of all, for the data and rows that they saw.

    Their code, packages and machine are the first run's; ``others`` names what differed.
    """
    first = dict(manifests[0])
    keys = ("code", "packages", "machine")
    differ = [key for key in keys if any(m.get(key) != first.get(key) for m in manifests)]
    manifest = {
        "command": public_text(shlex.join(["copygym", *argv])),
        "config": first["config"],
        "config_sha256": first["config_sha256"],
        "seed": ", ".join(str(m.get("seed")) for m in manifests),
        **{key: first[key] for key in keys},
        "others": differ,
        "data": result.get("data"),
        "rows_seen": result.get("rows_seen"),
        "stages": {
            f"seed {m.get('seed')}": {
                "wall_seconds": m["wall_seconds"],
                "cpu_seconds": m["cpu_seconds"],
            }
            for m in manifests
        },
        "wall_seconds": round(sum(m["wall_seconds"] for m in manifests), 1),
        "cpu_seconds": round(sum(m["cpu_seconds"] for m in manifests), 1),
    }
    write_result(folder / "manifest.json", manifest)
    return manifest


def packages() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def machine() -> dict[str, Any]:
    """Return a summary of the machine without its name or its user's."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "gpu": "not used",
    }


#: What can change a result: all but results that were published before, which nothing reads.
_CODE = (".", ":(exclude)docs/results")

#: An absolute path: what is before its last part says where somebody keeps files.
_ABSOLUTE = re.compile(
    r"""(^|[\s='"(\[,])(?:~|[A-Za-z]:)?(?:[/\\][^/\\\s'",\])]+)*[/\\]([^/\\\s'",\])]+)"""
)


def public_text(text: str) -> str:
    """Return ``text`` with absolute paths cut to their last part; relative ones and URLs stay."""
    return _ABSOLUTE.sub(r"\1\2", text)


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _public(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_public(entry) for entry in value]
    return public_text(value) if isinstance(value, str) else value


def _code(folder: RunFolder) -> dict[str, Any]:
    """Return version, source hash and, in a checkout, commit and the diff against it."""
    code: dict[str, Any] = {"version": packages()["copygym"], "sources_sha256": folder.code}
    checkout = Path(__file__).resolve().parents[2]
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None or not (checkout / "pyproject.toml").exists():
        return code
    code["commit"] = commit.strip()
    diff = _git(checkout, "diff", "HEAD", "--", *_CODE) or ""
    untracked = _git(checkout, "ls-files", "--others", "--exclude-standard", "--", *_CODE) or ""
    code["dirty"] = bool(diff or untracked.strip())
    if code["dirty"]:
        code["diff_sha256"] = hashlib.sha256(diff.encode()).hexdigest()
        code["untracked"] = untracked.split()
        write_text(folder.path / "code.diff", diff)
    return code


def _git(checkout: Path, *arguments: str) -> str | None:
    """Return git's output, or None where git or the repository is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if sys.platform == "linux" and info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
