"""A run's folder: finished stages, the result, and what makes both repeatable.

A run is a list of named stages (fit, learn an agent, evaluate it ...). A stage's outcome is
written atomically when it ends, so a killed run that is started again with the same config in
the same folder skips what is finished and ends with the same ``result.json``. Later stages read
what earlier ones wrote, in a fresh run too: there is no second code path for resumed ones. What has
been damaged since is made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import check_ends, read_json, understood, whole_folder
from copygym.core.progress import working
from copygym.core.text.plain import printable
from copygym.experiments.runs.code import Code
from copygym.experiments.runs.identity import code_of, difference
from copygym.experiments.runs.outputs import write_result
from copygym.experiments.runs.replacement import (
    check_replaceable,
    drafts_of,
    remove_drafts_of,
    replace_run,
    restore,
)
from copygym.experiments.runs.stage import (
    Record,
    check_stage,
    doing,
    read_stage,
    write_stage,
    wrote,
)
from copygym.experiments.runs.trust import read_state

_STATE = "run.json"
#: Hydra leaves it in the folder of a sweep, which may also be that of its only run.
_SWEEP = "multirun.yaml"
#: Stages whose loss costs little: without others a refused run is not worth keeping,
_CHEAP = ("data", "split", "fit")
#: nor if the others took no more seconds than this.
_LITTLE = 10.0


class OtherRun(UserError):
    """The folder holds a run of another config, or of another version of the code."""


class RunFolder:
    """The folder of one run; make it with `open_run`.

    Attributes:
        path: where this run writes now.
        target: where the result belongs; differs from ``path`` while an old run is replaced.
        finished: True where the same run has already ended here.
        started: True where this process began the run.
        code: the sources that its numbers rest on.
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        config: Mapping[str, Any],
        finished: bool,
        code: Code | None = None,
    ) -> None:
        self.path = path
        self.target = target
        self.config = config
        self.finished = finished
        self.started = False
        # Taken now: sources that change while the run goes on are not what it runs.
        self.code = code_of(config) if code is None else code

    def file(self, *parts: str) -> Path:
        """Return a path inside the folder, its parent made.

        Raises:
            UserError: a link stands in the way.
        """
        path = self.path.joinpath(*parts)
        written.check_inside(path, self.path)
        written.note(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def child(self, name: str) -> RunFolder:
        """Return a folder inside this one with stages of its own, such as one per seed."""
        path = self.path / name
        written.check_inside(path, self.path)
        written.note(path)
        path.mkdir(parents=True, exist_ok=True)
        return RunFolder(path, path, self.config, self.finished, self.code)

    def has_stage(self, name: str) -> bool:
        """Return whether a stage's outcome is there."""
        return self._record(name).exists()

    def stage(self, name: str, compute: Callable[[], Record]) -> Record:
        """Return a stage's record: from disk where it is finished, else computed and stored.

        One of which a file is damaged is computed again, which is said on stderr.

        Args:
            name: unique in the run; slashes make sub-folders.
            compute: called only when the stage isn't finished; must depend on nothing but the
                config and earlier stages.
        """
        record = self._record(name)
        if record.exists():
            try:
                check_stage(record, self.path)
                return read_stage(record)
            except UserError as error:
                sys.stderr.write(
                    f"copygym: {printable(str(error))} The stage {name!r} is made again.\n"
                )
        with doing() as stage, working(name):
            outcome = compute()
        write_stage(self.file("stages", f"{name}.json"), self.path, outcome, stage)
        return self.read(name)

    def read(self, name: str) -> Record:
        """Return the record of a stage that has finished.

        Args:
            name: of the stage, as given to `stage`.

        Raises:
            UserError: the stage has not finished in this folder, or its files are damaged.
        """
        record = self._record(name)
        if not record.exists():
            raise UserError(
                f"the stage {name!r} is missing in {self.path}, where later ones need it; repeat "
                "the run with overwrite=true or in another folder."
            )
        return read_stage(record)

    def damage(self) -> str | None:
        """Return what of the finished stages is damaged, in a sentence; None: nothing is."""
        try:
            for root, record in self._records():
                check_stage(record, root.parent)
                read_stage(record)
        except UserError as error:
            return str(error)
        return None

    def stage_times(self) -> dict[str, dict[str, float]]:
        """Return wall and CPU seconds of each finished stage, of children too.

        A stage that another one computed is not counted in that one, so that they can be added.
        """
        times = {}
        for root, path in self._records():
            stored = read_json(path)
            inside = root.parent.relative_to(self.path)
            name = (inside / path.relative_to(root).with_suffix("")).as_posix()
            with understood(path):
                times[name] = {key: stored[key] for key in ("wall_seconds", "cpu_seconds")}
        return times

    def discard(self) -> None:
        """Remove what a refused run wrote, so that the corrected one can start in the folder.

        Nothing is removed of a run that another process began, or whose finished stages took effort
        (more than some seconds after the fit), nor what somebody else put into the folder.
        """
        if not self.started or self.finished or self._effort() > _LITTLE:
            return
        if self.path == self.target:
            written.empty_of_ours(self.path, keep=_SWEEP)
        else:
            written.remove_ours(self.path)

    def _effort(self) -> float:
        """Return how many seconds the finished stages took that are not cheap by their kind."""
        seconds = 0.0
        for root, path in self._records():
            if path.relative_to(root).with_suffix("").parts[0] not in _CHEAP:
                with understood(path):
                    seconds += float(read_json(path)["wall_seconds"])
        return seconds

    def _records(self) -> list[tuple[Path, Path]]:
        """Return (folder of stages, record) of each finished stage, of children too."""
        roots = sorted(self.path.rglob("stages"))
        return [(root, path) for root in roots for path in sorted(root.rglob("*.json"))]

    @contextmanager
    def new_folder(self, *parts: str) -> Iterator[Path]:
        """Yield an empty folder that takes its final name only when the block succeeds."""
        path = self.file(*parts)
        with whole_folder(path) as draft:
            yield draft
        wrote(path)

    def tidy(self) -> None:
        """Remove the drafts of saves that were killed; the caller holds the folder's lock."""
        written.remove_drafts(self.path)

    def mark_finished(self) -> None:
        """Mark the run as finished and, where it replaces an old one, put it in place.

        Raises:
            UserError: the old run's folder holds files of the user's now; the new one is kept.
        """
        self._write_state("finished")
        self.finished = True
        self.tidy()
        if self.path != self.target:
            replace_run(self.target, self.path)
            self.path = self.target

    def mark_started(self) -> None:
        """Note whose folder this is before anything else is written."""
        self._write_state("started")

    def _write_state(self, state: str) -> None:
        content = {
            "state": state,
            "code": self.code.id,
            "modules": self.code.modules,
            "config": self.config,
        }
        write_result(self.path / _STATE, content)

    def _record(self, name: str) -> Path:
        return self.path / "stages" / f"{name}.json"


def open_run(
    target: Path, config: Mapping[str, Any], *, resume: bool = True, overwrite: bool = False
) -> RunFolder:
    """Return the folder for a run, or say why it cannot be this one.

    Args:
        target: the run's folder; may be absent, empty, or hold a copygym run.
        config: resolved config, JSON types.
        resume: continue an unfinished run of the same config and code; report a finished one.
        overwrite: replace whatever run is there. The old one stays until the new one has ended.

    Raises:
        UserError: ``target`` holds other files, another config's run, another code version's run,
            or any run while ``resume`` and ``overwrite`` are off.
    """
    if target.is_symlink():
        target = target.resolve()
    restore(target, in_use=_in_use(target))
    if target.exists() and not target.is_dir():
        raise UserError(f"out={target} is a file; name a folder.")
    if not _in_use(target):
        return _start(target, target, config)
    if not (target / _STATE).exists():
        raise UserError(
            f"out={target} holds files that no copygym run wrote, such as {_others(target)[0]!r}; "
            "name a new or empty folder."
        )
    if overwrite:
        check_replaceable(target)
        draft = next((d for d in drafts_of(target) if _same(d, config)), None)
        if draft is not None:
            return RunFolder(draft, target, config, finished=False)
        remove_drafts_of(target)
        return _start(written.sibling(target, "new"), target, config)
    check_ends(target)
    try:
        state = read_state(target)
    except UserError:
        raise UserError(
            f"{target / _STATE} is damaged, so that nobody can tell whose run this is: remove "
            f"{target} and run it again."
        ) from None
    other = difference(state, config)
    if other is not None:
        raise OtherRun(
            f"out={target} holds a run with {other}; choose another out=, or add "
            "overwrite=true to replace it."
        )
    if not resume:
        raise UserError(
            f"out={target} already holds this run ({state['state']}); add resume=true to "
            "continue it or overwrite=true to replace it."
        )
    return RunFolder(target, target, config, finished=state["state"] == "finished")


def read_run(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (config, result) of the finished run in ``path``, the config `trust.Stored`.

    Raises:
        UserError: no finished run is there.
    """
    if not (path / _STATE).exists() or not (path / "result.json").exists():
        raise UserError(
            f"{path} holds no finished copygym run; give the folder that `copygym run` printed."
        )
    return read_state(path)["config"], read_json(path / "result.json")


def read_result(folder: Path) -> dict[str, Any]:
    """Return the ``result.json`` of a finished run or multirun, which pages quote.

    Raises:
        UserError: it is missing or damaged, or its texts are none.
    """
    path = folder / "result.json"
    result = read_json(path)
    for key in ("title", "summary"):
        if not isinstance(result.get(key), str):
            raise _no_text(path, key)
    for key in ("notes", "assumptions"):
        texts = result.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _no_text(path, key)
    return result


def _no_text(path: Path, key: str) -> UserError:
    return UserError(
        f"{path} has no {key} that could be read: it is damaged; delete it and make it again by "
        "the same `copygym run`."
    )


def _start(path: Path, target: Path, config: Mapping[str, Any]) -> RunFolder:
    written.keep_list(path)
    for left in path.iterdir():
        if written.is_draft_of(left.name, _STATE):
            left.unlink()
    folder = RunFolder(path, target, config, finished=False)
    folder.mark_started()
    folder.started = True
    return folder


def _in_use(target: Path) -> bool:
    """Return whether a folder holds more than a run leaves that was killed as it began."""
    return target.is_dir() and bool(_others(target))


def _others(target: Path) -> list[str]:
    """Return what is in a folder beside that, sorted; hidden files are easily overlooked."""
    names = sorted(path.name for path in target.iterdir())
    ours = (_SWEEP, written.LIST)
    return [n for n in names if n not in ours and not written.is_draft_of(n, _STATE)]


def _same(draft: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a draft is of a run with this config and code."""
    try:
        return difference(read_state(draft), config) is None
    except UserError:
        return False


__all__ = [
    "OtherRun",
    "Record",
    "RunFolder",
    "open_run",
    "read_result",
    "read_run",
]
