"""What a run has worked on: versions of packages, the machine, and which accelerator torch used.

Nothing is imported for it: torch is asked only where the run itself has loaded it.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from copygym.experiments.runs.code import outside_packages

#: Packages that copygym's own bring along, and whose versions change results all the same.
_INDIRECT = ("accelerate", "datasets", "tokenizers", "triton")
#: Tools of developers, which no run uses; what is in another extra, too, is listed for that.
_TOOLS = "dev"
_MIB_PER_GIB = 1024
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def packages(config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the installed versions of the packages that results depend on.

    Args:
        config: of the run; packages of plug-ins that it names, or that are loaded, are listed too.
    """
    names = {"copygym", *_requirements(), *_INDIRECT, *_plugins(config or {})}
    versions = {"python": platform.python_version()}
    for name in sorted(names, key=str.lower):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"copygym": "not installed", **versions}


def _requirements() -> set[str]:
    """Return the names of copygym's dependencies and of those of its extras."""
    try:
        listed = metadata.requires("copygym") or []
    except metadata.PackageNotFoundError:
        return set()
    names = set()
    for requirement in listed:
        name = re.match(r"[\w.-]+", requirement)
        extra = _EXTRA.search(requirement)
        if name and not (extra and extra[1] == _TOOLS):
            names.add(name[0])
    return names


def _plugins(config: Mapping[str, Any]) -> set[str]:
    """Return the distributions that a config names, or whose parts for copygym are loaded."""
    names = set()
    for group in metadata.entry_points().groups:
        if group.startswith("copygym."):
            for entry in metadata.entry_points(group=group):
                if entry.dist is not None and entry.module in sys.modules:
                    names.add(entry.dist.name)
    outside = outside_packages(config)
    if outside:
        distributions = metadata.packages_distributions()
        names.update(name for top in outside for name in distributions.get(top, ()))
    return names


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
        "accelerator": accelerator(),
    }


def accelerator() -> dict[str, Any]:
    """Return which accelerators this process could see, and whether torch has used one in it.

    Returns:
        ``devices``: of each its ``name``, ``memory_gib`` and, where torch has used it,
        ``peak_gib``, the most memory that tensors took; ``driver``: version, or None;
        ``torch``: "not loaded", or what it was built for: "cpu", "cuda 12.8", "rocm 6.4";
        ``used``: whether torch has put anything on a device. Other processes of the run do not
        count, nor does an earlier one that was stopped.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        listed, driver = _nvidia()
        return {"devices": listed, "driver": driver, "torch": "not loaded", "used": False}
    built = {"cuda": torch.version.cuda, "rocm": getattr(torch.version, "hip", None)}
    name = next((f"{kind} {version}" for kind, version in built.items() if version), "cpu")
    listed, driver = _nvidia()
    # Asking torch for a device's name would start CUDA where the run has left it alone.
    if torch.cuda.is_initialized():
        listed = [_cuda_device(torch, index) for index in range(torch.cuda.device_count())]
    elif _metal(torch):
        listed, name = [_metal_device(torch)], "metal"
    used = any(device.get("peak_gib") for device in listed)
    return {"devices": listed, "driver": driver, "torch": name, "used": used}


def _cuda_device(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "memory_gib": _gib(properties.total_memory),
        "peak_gib": _gib(torch.cuda.max_memory_allocated(index), digits=3),
    }


def _metal(torch: Any) -> bool:
    backend = getattr(torch.backends, "mps", None)
    return backend is not None and bool(backend.is_available())


def _metal_device(torch: Any) -> dict[str, Any]:
    # It keeps no peak; what the driver holds for this process is the nearest to it.
    return {
        "name": _processor(),
        "memory_gib": _memory_gib(),
        "peak_gib": _gib(torch.mps.driver_allocated_memory(), digits=3),
    }


def _nvidia() -> tuple[list[dict[str, Any]], str | None]:
    """Return NVIDIA's devices that this process may use, and the driver's version."""
    fields = "index,uuid,name,memory.total,driver_version"
    text = output_of(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
    rows = [[entry.strip() for entry in line.split(",")] for line in (text or "").splitlines()]
    rows = [row for row in rows if len(row) == fields.count(",") + 1]
    devices = [
        {"name": name, "memory_gib": _from_mib(memory)}
        for index, uuid, name, memory, _ in rows
        if _is_visible(index, uuid, os.environ.get("CUDA_VISIBLE_DEVICES"))
    ]
    return devices, rows[0][-1] if rows else None


def _is_visible(index: str, uuid: str, allowed: str | None) -> bool:
    """Return whether ``CUDA_VISIBLE_DEVICES`` lets a process see a device.

    CUDA stops at the first entry that it does not know, such as -1.
    """
    if allowed is None:
        return True
    for entry in (entry.strip() for entry in allowed.split(",")):
        if not entry.isdigit() and not entry.startswith("GPU-"):
            return False
        if entry == index or (entry.startswith("GPU-") and uuid.startswith(entry)):
            return True
    return False


def output_of(command: Iterable[str]) -> str | None:
    """Return what a program prints, or None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _from_mib(text: str) -> float | None:
    try:
        return round(float(text) / _MIB_PER_GIB, 1)
    except ValueError:  # "[N/A]", where the memory is shared with the processor
        return None


def _gib(count: int, digits: int = 1) -> float:
    return round(count / 2**30, digits)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if sys.platform == "linux" and info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _memory_gib() -> float | None:
    try:
        return _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None
