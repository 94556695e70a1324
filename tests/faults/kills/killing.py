"""Commands that are killed at random moments, again and again, until one gets to its end.

A server has imported everything once; each command is a fork of it, in a session of its own, so
that SIGKILL takes whatever it has started. Half of the kills come after a random time, half before
a random change to a file (a file that is opened to be written, renamed, made or removed): that is
where a kill can do harm, and there are few such moments in a run.

    python killing.py        # is the server: a request a line on stdin, an answer a line on stdout
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Changes to files, as `sys.addaudithook` names them.
_CHANGES = (
    "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink",
    "shutil.rmtree",
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: What is noted of each process, beside its folder.
_KINDS = ("changes", "stderr", "memory")
#: Seconds after which a command is taken for one that hangs.
LONGEST = 600
#: What of a file says when it was made, or how long that took.
_TIMES = ("seconds", "datetime")
#: Checksums of content that holds times; the content is compared.
_CHECKSUMS = ("files", "values_sha256")
#: Files that say nothing else, or name the times and the place of a run.
_UNCOMPARED = (
    "manifest.json",
    "metrics.jsonl",
    "sweep.json",
    "multirun.yaml",
)
#: The state of a checkout while the tests run is none of theirs.
_OF_THE_CHECKOUT = "code.diff"
#: Figures and pages are drawn from the records, which are compared; `.jobs` holds locks and notes.
_UNCOMPARED_FOLDERS = ("figures", "wandb", ".jobs")
_UNCOMPARED_ENDINGS = (".html", ".md", ".svg", ".png", ".lock", ".journal")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status, or minus the signal.
        changes: how many changes to files it made, or began.
        seconds: that it took.
        errors: what it said on stderr.
        memory: bytes that its process held after each command, where it was to do several.
    """

    status: int
    changes: int
    seconds: float
    errors: str
    memory: tuple[int, ...] = ()

    @property
    def killed(self) -> bool:
        """Whether the kill met it."""
        return self.status == -signal.SIGKILL

    @property
    def traceback(self) -> bool:
        """Whether it ended in a fault of ours."""
        return not self.killed and ("Traceback (most recent" in self.errors or self.status == 1)


class Server:
    """Runs copygym's commands in forks of one process."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1",
            "WANDB_MODE": "disabled", "COPYGYM_FSYNC": "off",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        arguments: Sequence[str],
        place: Path,
        *,
        seconds: float | None = None,
        changes: int | None = None,
        inject: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run ``copygym ARGUMENTS`` in a folder; kill it where a moment is given.

        Args:
            arguments: after ``copygym``.
            place: current folder; ``home`` in it is `COPYGYM_HOME`.
            seconds: after which it is killed.
            changes: to files before which it is killed.
            inject: ``errno`` with which each file is opened or folder made from the change
                ``after`` on; or ``size``, bytes beyond which no file grows.
            environment: further variables.
        """
        (ended,) = self.together(
            [[arguments]],
            place,
            seconds=seconds,
            changes=changes,
            inject=inject,
            environment=environment,
        )
        return ended

    def together(
        self, processes: Sequence[Sequence[Sequence[str]]], place: Path, **how: Any
    ) -> list[Ended]:
        """Run several processes at a time, each of which does commands one after the other.

        Args:
            processes: of each the commands, of each the arguments.
            place: current folder of all.
            how: see `run`.
        """
        request = {"processes": processes, "place": str(place), **how}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def server() -> Iterator[Server]:
    """Yield a server that is ended after the block."""
    started = Server()
    try:
        yield started
    finally:
        started.close()


@dataclass
class Outcome:
    """What became of a command that was killed again and again.

    Attributes:
        kills: how many met it.
        refused: sentences with which it refused to go on.
        tracebacks: ends of tracebacks.
        losses: what was lost or left behind, each in words.
    """

    kills: int = 0
    refused: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.refused or self.tracebacks or self.losses)


def kill_often(
    runs: Server,
    arguments: Sequence[str],
    whole: Path,
    prepare: Any,
    *,
    kills: int,
    seed: int,
) -> Outcome:
    """Kill a command so often; compare what it leaves with what an uninterrupted one leaves.

    Args:
        runs: the server.
        arguments: of the command.
        whole: folder in which it ran, or will run, undisturbed; made if it is not there.
        prepare: makes a folder with what the command reads.
        kills: how many must meet it.
        seed: of the moments.
    """
    found = Outcome()
    prepare(whole)
    first = runs.run(arguments, whole)
    if first.status != 0:
        found.tracebacks.append(f"undisturbed, it ended with {first.status}: {first.errors[-500:]}")
        return found
    wanted = contents(whole)
    draw = random.Random(f"{seed} {arguments}")
    attempt = 0
    while found.kills < kills and found.clean:
        place = whole.with_name(f"{whole.name}-{attempt}")
        prepare(place)
        attempt += 1
        while True:
            moment: dict[str, Any] = {}
            if found.kills < kills:
                if draw.random() < 0.5:
                    moment = {"changes": draw.randint(1, max(1, first.changes))}
                else:
                    moment = {"seconds": draw.uniform(0.0, first.seconds)}
            ended = runs.run(arguments, place, **moment)
            if not ended.killed:
                break
            found.kills += 1
        told = f"after {found.kills} kills of attempt {attempt}: {ended.errors.strip()[-600:]}"
        missing = differences(wanted, contents(place))
        if ended.traceback:
            found.tracebacks.append(told)
        elif ended.status != first.status and missing:
            found.refused.append(told)
        else:
            # One that says "is there already" was killed after its last change.
            found.losses += [f"{told}\n{line}" for line in missing]
    return found


def contents(place: Path) -> dict[str, Any]:
    """Return what lies in a folder, by name, without times; bytes, or JSON types."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        parts = name.split("/")
        if path.is_dir() or path.name == _OF_THE_CHECKOUT:
            continue
        if parts[0] == "home" and not _is_draft(path.name):
            continue
        if path.name in _UNCOMPARED or path.name.endswith(_UNCOMPARED_ENDINGS):
            found[name] = "there"
        elif any(part in _UNCOMPARED_FOLDERS for part in parts):
            if _is_draft(path.name):
                found[name] = "there"
        elif path.suffix == ".json":
            text = path.read_text().replace(str(place), "PLACE")
            found[name] = _timeless(json.loads(text))
        elif path.name == "records.parquet":
            found[name] = _records(path)
        elif path.suffix == ".safetensors":
            found[name] = _tensors(path)
        elif path.name == ".copygym-files":
            found[name] = sorted(set(path.read_text().split("\n")) - {_OF_THE_CHECKOUT})
        else:
            found[name] = path.read_bytes().replace(str(place).encode(), b"PLACE")
    return found


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith((".tmp", ".new", ".old", ".gone"))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _timeless(entry)
            for key, entry in value.items()
            if key not in _CHECKSUMS and not any(word in key for word in _TIMES)
        }
    if isinstance(value, list):
        return [_timeless(entry) for entry in value]
    return value


def _records(path: Path) -> list[Any]:
    """Return a table's rows but for those of times."""
    import polars as pl

    frame = pl.read_parquet(path)
    if "metric" in frame.columns:
        frame = frame.filter(~pl.col("metric").str.contains("seconds"))
    return [frame.columns, frame.rows()]


def _tensors(path: Path) -> list[Any]:
    """Return what is in a safetensors file but for its notes, in which a checkpoint has times."""
    content = path.read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    header.pop("__metadata__", None)
    return [header, content[size:]]


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what two folders do not have in common, a line for each file."""
    lines = []
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            lines.append(f"{name} is missing")
        elif name not in wanted:
            lines.append(f"{name} was left behind")
        elif wanted[name] != found[name]:
            lines.append(f"{name} differs{_where(wanted[name], found[name])}")
    return lines


def _where(wanted: Any, found: Any, key: str = "") -> str:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                return _where(wanted.get(name), found.get(name), f"{key}.{name}")
    said = f"{wanted!r:.80} and {found!r:.80}"
    return f" at {key[1:] or 'its bytes'}: {said}"


def _serve() -> None:
    """Answer requests until there are no more."""
    _preload()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        place = Path(request["place"])
        begun = []
        for number, commands in enumerate(request["processes"]):
            files = {kind: place.with_name(f"{place.name}.{number}.{kind}") for kind in _KINDS}
            for file in files.values():
                file.write_bytes(b"")
            start = time.monotonic()
            child = os.fork()
            if child == 0:
                _commands(request, commands, place, files)
            begun.append((child, start, files))
        found = []
        for child, start, files in begun:
            status = _wait(child, start, request.get("seconds"))
            found.append(
                {
                    "status": status,
                    "changes": files["changes"].stat().st_size,
                    "seconds": time.monotonic() - start,
                    "errors": files["stderr"].read_text(errors="replace"),
                    "memory": [int(size) for size in files["memory"].read_text().split()],
                }
            )
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def _preload() -> None:
    """Import what commands import late, so that a fork need not."""
    import importlib

    for name in (
        "torch", "polars", "numba", "scipy.stats", "hydra", "matplotlib.figure",
        "safetensors.torch", "stable_baselines3", "sb3_contrib", "sklearn.linear_model", 
        "transformers",
        "copygym.experiments.app", "copygym.experiments.studies.delivery.delivery",
        "copygym.experiments.studies.copy.copywriting",
        "copygym.experiments.studies.campaign.campaign",
    ):  # fmt: skip
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def _wait(child: int, start: float, seconds: float | None) -> int:
    """Wait for a fork, kill it and all that it has started when its time is over."""
    end = start + (LONGEST if seconds is None else seconds)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:  # it has not made its session yet
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a command has started and left
    return os.waitstatus_to_exitcode(status)


def _commands(
    request: Mapping[str, Any],
    commands: Sequence[Sequence[str]],
    place: Path,
    files: Mapping[str, Path],
) -> None:
    """Be a process that does commands; never returns."""
    os.setsid()
    os.chdir(place)
    os.environ["COPYGYM_HOME"] = str(place / "home")
    os.environ.update(request.get("environment") or {})
    fresh = os.O_CREAT | os.O_TRUNC | os.O_RDWR
    out, errors = os.open(os.devnull, os.O_RDWR), os.open(files["stderr"], fresh)
    os.dup2(out, 0)
    os.dup2(out, 1)
    os.dup2(errors, 2)
    memory = os.open(files["memory"], fresh)
    _watch(request, place, os.open(files["changes"], fresh))
    status = 1
    try:
        from copygym.experiments.commands.main import main

        for arguments in commands:
            status = main(list(arguments))
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            os.write(memory, f"{pages * os.sysconf('SC_PAGE_SIZE')}\n".encode())
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _watch(request: Mapping[str, Any], place: Path, counter: int) -> None:
    """Count changes to files below a folder; die, or fail, at the one that was asked for."""
    count, last = 0, request.get("changes")
    inject = dict(request.get("inject") or {})
    if "size" in inject:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (inject["size"], resource.RLIM_INFINITY))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, int) or not _below(path, place):
            return
        count += 1
        os.write(counter, b".")
        if last is not None and count >= last:
            os.killpg(0, signal.SIGKILL)
        if "errno" in inject and count >= inject["after"] and event in ("open", "os.mkdir"):
            raise OSError(inject["errno"], os.strerror(inject["errno"]), os.fspath(path))

    sys.addaudithook(hook)


def _below(path: Any, place: Path) -> bool:
    text = os.fsdecode(path)
    return not Path(text).is_absolute() or text.startswith(f"{place}{os.sep}")


if __name__ == "__main__":
    _serve()
