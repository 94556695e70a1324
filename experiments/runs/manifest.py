"""The manifest: everything that is needed to get the same numbers again.

It names no host, no user and no home folder: a manifest is made to be published.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copygym.core.files.storage import write_text
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.runs.identity import config_hash
from copygym.experiments.runs.machine import machine, output_of, packages
from copygym.experiments.runs.numerics import numerics
from copygym.experiments.runs.outputs import write_result


def write_manifest(folder: RunFolder, argv: list[str], stages: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` (and ``code.diff`` for a checkout with changes) to the run folder.

    Args:
        folder: the run's folder; the times of all its finished stages are added up.
        argv: the command line after ``copygym``.
        stages: what the stages saw: data checksums, rows and users by split.
    """
    times = folder.stage_times()
    versions = packages(folder.config)
    code = _code(folder, versions["copygym"])
    manifest = {
        "command": public_text(shlex.join(["copygym", *argv])),
        "config": _public(folder.config),
        "config_sha256": config_hash(folder.config),
        "seed": folder.config.get("seed"),
        "code": code,
        "packages": versions,
        "data": stages.get("data"),
        "rows_seen": stages.get("rows_seen"),
        "machine": machine(),
        "numerics": numerics(folder.config),
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

    Their code, packages, machine and numerics are the first run's; ``others`` names what differed.
    """
    first = dict(manifests[0])
    keys = ("code", "packages", "machine", "numerics")
    differ = [key for key in keys if any(m.get(key) != first.get(key) for m in manifests)]
    manifest = {
        "command": public_text(shlex.join(["copygym", *argv])),
        "config": first["config"],
        "config_sha256": first["config_sha256"],
        "seed": ", ".join(str(m.get("seed")) for m in manifests),
        **{key: first.get(key) for key in keys},
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


def _code(folder: RunFolder, version: str) -> dict[str, Any]:
    """Return version, source hash and, in a checkout, commit and the diff against it."""
    code: dict[str, Any] = {"version": version, "sources_sha256": folder.code.id}
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
    return output_of(["git", "-C", str(checkout), *arguments])
