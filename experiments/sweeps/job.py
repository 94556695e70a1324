"""What every sweep shares, whoever chooses its jobs: one attempt at a job, and what became of it.

A job's folder lies in the sweep's and bears the name of what tells the job from others, so that
the same call meets the same folders again. Beside them, ``.jobs/`` holds a lock and a note for
each job: who works on it, and what became of it where a process died before it could say so.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shlex
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from copygym.core.errors import UserError
from copygym.core.files.locks import Busy, open_lock
from copygym.core.files.storage import read_json
from copygym.core.files.written import check_inside
from copygym.experiments.runs.outputs import write_result

NOTES = ".jobs"
#: Keys that name no job's folder unless they are swept over.
UNNAMED = ("out", "resume", "overwrite", "publish", "data.path", "sweep")
#: Longer names are cut, in bytes: file systems take 255, W&B's run names 128 characters.
LONGEST_NAME = 128


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: those of its config, in Hydra's grammar.
        folder: where it runs.
    """

    overrides: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> str:
        """The command that runs, or goes on with, this job alone, in the same folder."""
        own = [o for o in self.overrides if override_key(o) != "out"]
        # A file of the group `sweep` turns a run into a sweep.
        mode = ["hydra.mode=RUN"] if any(override_key(o) == "sweep" for o in own) else []
        return shlex.join(["copygym", "run", *own, *mode, f"out={quoted(str(self.folder))}"])

    @property
    def note(self) -> Path:
        """The file that tells what became of the job."""
        return self.folder.parent / NOTES / f"{self.folder.name}.json"

    @property
    def lock(self) -> Path:
        """The file that who works on the job holds locked."""
        return self.note.with_suffix(".lock")


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: finished; earlier (it was finished before); failed; held (by another process).
        error: of a failed one, in a sentence.
        trace: its traceback, where the error is not the user's.
    """

    status: str
    error: str = ""
    trace: str = ""

    @property
    def finished(self) -> bool:
        """Whether the job's result is there."""
        return self.status in ("finished", "earlier")


def override_key(override: str) -> str:
    """Return the key of an override, without its prefix and package."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def quoted(value: str) -> str:
    """Return ``value`` as Hydra's grammar takes it, quoted only where it must be."""
    if re.fullmatch(r"[\w./+-]+", value, re.ASCII):
        return value
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.double).with_quotes()


def job_name(overrides: Sequence[str], swept: Sequence[str]) -> str:
    """Return the folder name of a job; other overrides, other name.

    A name that is too long begins with what the sweep goes over and the seed. No name has a
    character that a shell, a glob or a path takes for its own.

    Args:
        overrides: of the job.
        swept: keys that the sweep goes over.
    """
    kept = [o for o in overrides if override_key(o) not in UNNAMED or override_key(o) in swept]
    first = sorted(o for o in kept if override_key(o) in swept)
    rest = sorted(o for o in kept if override_key(o) not in swept)
    raw = ",".join(sorted(kept)) or "job"
    if _plain_name(raw) == raw and _fits(raw):
        return raw
    mark = hashlib.sha256(raw.encode()).hexdigest()[:10]
    name = f"{_plain_name(raw)}-{mark}"
    if _fits(name):
        return name
    # Too long: the sweep's own values and the seed go first, by the last words of their keys where
    # they must; what else there is fills the rest.
    seed = next(
        (_plain_name(o)[: LONGEST_NAME // 4] for o in kept if override_key(o) == "seed"), ""
    )
    told = ",".join(_plain_name(o) for o in first if override_key(o) != "seed")
    if not _fits(f"{told},{seed}-{mark}"):
        told = ",".join(_short(o) for o in first if override_key(o) != "seed")
    while not _fits(f"{told},{seed}-{mark}"):
        told = told[:-1]
    others = [_plain_name(o) for o in rest if override_key(o) != "seed"]
    name = ",".join(part for part in (told, seed, *others) if part)
    while not _fits(f"{name}-{mark}"):
        name = name[:-1]
    return f"{name}-{mark}"


def job_folder(sweep: Path, overrides: Sequence[str], swept: Sequence[str]) -> Path:
    """Return the folder of a job: one that is there, though it was named for another sweep.

    Args:
        sweep: folder of the sweep.
        overrides: of the job.
        swept: keys that the sweep goes over.
    """
    folder = sweep / job_name(overrides, swept)
    match = re.search(r"-[0-9a-f]{10}$", folder.name)
    if match is None or folder.exists() or not sweep.is_dir():
        return folder
    # Marks are of all overrides, whichever of them a sweep goes over.
    found = sorted(p for p in sweep.iterdir() if p.name.endswith(match[0]))
    return next((p for p in found if (p / "run.json").is_file()), folder)


def _fits(name: str) -> bool:
    return len(name.encode()) <= LONGEST_NAME


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    return _plain_name(f"{key.rpartition('.')[2]}={value}")


def _plain_name(text: str) -> str:
    """Return text without quotes, brackets and what else a shell, a glob or a path reads."""
    text = re.sub(r"[\"'\[\](){}]", "", text)
    return re.sub(r"[^\w.,=+@-]+", "_", text)


def attempt(work: Callable[[], object], folder: Path) -> Outcome:
    """Do the work of one job and return what became of it; no error of the job leaves here.

    Args:
        work: runs the job; raises what is wrong with it.
        folder: the job's, inside the sweep's.
    """
    job = Job((), folder)
    try:
        with held(job.lock):
            _leave(job.note, Outcome("started"))
            outcome = _tried(work)
            _leave(job.note, outcome)
    except Busy:
        return Outcome("held")
    return outcome


def _tried(work: Callable[[], object]) -> Outcome:
    try:
        work()
    except Busy:
        return Outcome("held")
    except UserError as error:
        return Outcome("failed", one_line(error))
    except OSError as error:
        return Outcome("failed", write_fault(error) or _bug(error), traceback.format_exc())
    except Exception as error:
        return Outcome("failed", _bug(error), traceback.format_exc())
    return Outcome("finished")


def _bug(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def one_line(error: object) -> str:
    """Return an error's text as one line, of a length that a list can bear."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]} ..."


def write_fault(error: OSError) -> str | None:
    """Return what to do about a place that cannot be written to; None for other errors."""
    if error.errno == errno.EFBIG:
        return (
            f"{error.filename or 'a file of the output folder'} has grown beyond what a file may "
            "here (see `ulimit -f`); lift the limit and repeat the command, which goes on where it "
            "was."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space is left for {error.filename or 'the output folder'}; make room and repeat "
            "the command, which goes on where it was."
        )
    return None


def _leave(note: Path, outcome: Outcome) -> None:
    # The outcome is returned as well; a full disk must not turn a note into the job's failure.
    with suppress(OSError):
        write_result(note, asdict(outcome))


def told(job: Job) -> Outcome | None:
    """Return what a job's note says; None where there is none that can be read."""
    if not job.note.exists():
        return None
    try:
        note = read_json(job.note)
        return Outcome(str(note["status"]), str(note["error"]), str(note["trace"]))
    except (UserError, KeyError):
        return None


@contextmanager
def held(lock: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file in the sweep's folder, which all machines of a cluster see.

    Where the file system knows no locks, only processes on one machine are kept apart, by
    `copygym.core.files.locks.locked`.

    Raises:
        Busy: another process holds it, and ``wait`` is off.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        check_inside(lock.parent, lock.parent.parent)
        stream = open_lock(lock)
    except (OSError, UserError):
        yield  # the job itself will say what is wrong with the folder
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(f"another process holds {lock}.") from None
        except OSError:
            pass
        yield
