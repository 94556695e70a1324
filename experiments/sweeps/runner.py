"""A sweep's jobs: checked before the first one starts, launched, and accounted for at the end.

Hydra's launchers start the jobs; this module knows none of them. A launcher that breaks (a worker
was killed) takes with it what was in flight; what had not begun is launched again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from copygym.core.errors import UserError
from copygym.core.files import written
from copygym.core.files.storage import read_json, write_text
from copygym.evaluation.records import Records
from copygym.experiments.report.page import load_job
from copygym.experiments.runs.folder import OtherRun, open_run, read_result
from copygym.experiments.runs.outputs import write_result
from copygym.experiments.runs.validate import validate
from copygym.experiments.sweeps.job import (
    Job,
    Outcome,
    held,
    job_folder,
    one_line,
    override_key,
    quoted,
    told,
)
from copygym.experiments.sweeps.overrides import as_spelt

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction


class SweepRunner:
    """Makes, checks, launches and lists the jobs of one sweep.

    Attributes:
        folder: of the sweep.
        outcomes: by job, in the order in which they were first asked for.
    """

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.folder = Path(str(config.hydra.sweep.dir))
        self.outcomes: dict[Job, Outcome] = {}
        self._context = hydra_context
        self._config = config
        self._launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._data_seen: dict[str, str] = {}

    def parsed(self, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[Override]:
        """Return the overrides of a sweep, a later one of the same key in the earlier's place.

        Args:
            params: ``hydra.sweeper.params``, the sweep's own.
            arguments: of the command line, which win.

        Raises:
            UserError: a value is a list or nothing, or ``out`` is swept over.
        """
        for key, value in (params or {}).items():
            if value is None or isinstance(value, list | tuple | dict) or not str(value).strip():
                raise UserError(
                    f"hydra.sweeper.params.{key}={value}: write the values in a row, such as "
                    f"{key}: 0,1,2."
                )
        lines = [f"{key}={value}" for key, value in (params or {}).items()]
        overrides = self._parser().parse_overrides([*as_spelt(lines), *arguments])
        found = {o.get_key_element(): o for o in overrides}
        if "out" in found and found["out"].is_sweep_override():
            raise UserError("out has several values, but a sweep has one folder: name one.")
        return list(found.values())

    def _parser(self) -> OverridesParser:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        return OverridesParser.create(config_loader=self._context.config_loader)

    def job(self, overrides: Sequence[str], swept: Sequence[str]) -> Job:
        """Return the job with these overrides; ``swept`` are the keys that the sweep goes over."""
        return Job(tuple(overrides), job_folder(self.folder, overrides, swept))

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return a job's resolved config.

        Raises:
            HydraException, OmegaConfBaseException: there is no such key or option.
        """
        composed = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)
        try:
            with open_dict(composed):
                del composed["hydra"]
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        finally:
            HydraConfig.instance().cfg = before
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    def check(self, overrides: Sequence[str]) -> None:
        """Check the config of a job that may never be run, such as one for each swept value.

        Raises:
            UserError: a value is wrong.
        """
        config = self.compose(overrides)
        validate(config)
        load_job(str(config["job"]))

    def check_value(self, override: Override, option: str) -> bool:
        """Check one value of a swept key by itself, which takes no time.

        Args:
            override: the sweep's.
            option: the key with one of its values.

        Returns:
            False where only `check` can tell: another option of a group makes another config.

        Raises:
            UserError: the value is wrong.
        """
        key = override.key_or_group
        if key == "job" or self._context.config_loader.get_group_options(key):
            return False
        (single,) = self._parser().parse_overrides([option])
        value: Any = single.value()
        if not (isinstance(value, str) and "${" in value):
            for part in reversed(key.split(".")):
                value = {part: value}
            validate(value)
        return True

    def begin(self) -> None:
        """Make the folder of the sweep and leave its config there.

        Raises:
            UserError: files of the user's have the names of the sweep's own.
        """
        written.keep_list(self.folder)
        for name, key in (("multirun.yaml", "hydra:"), ("sweep.json", '"counts":')):
            path = self.folder / name
            # Of a sweep before copygym noted what it writes.
            if path.is_file() and key in path.read_text(encoding="utf-8", errors="replace"):
                written.note(path)
            written.check_ours(path)
        write_text(self.folder / "multirun.yaml", OmegaConf.to_yaml(self._config))

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs, but for those whose result is there already; return what became of them.

        Raises:
            UserError: a folder holds a run of another config or another version of the code;
                no job has been started then.
        """
        for job in jobs:
            self.outcomes[job] = Outcome("earlier" if self._settled(job) else "failed")
        self._launch([job for job in jobs if not self.outcomes[job].finished])
        return [self.outcomes[job] for job in jobs]

    def _settled(self, job: Job) -> bool:
        """Return whether a job's result is there and is what the job would make today."""
        if not (job.folder / "run.json").exists():
            return False
        config = self.compose(job.overrides)
        if config["overwrite"] or not config["resume"]:
            return False
        try:
            if not open_run(job.folder, config).finished or not self._same_data(job, config):
                return False
            read_result(job.folder)
            Records.read(job.folder)
            read_json(job.folder / "manifest.json")
        except OtherRun:
            raise
        except UserError:
            return False  # the job itself says what is wrong, and the others go on
        return True

    def _same_data(self, job: Job, config: Mapping[str, Any]) -> bool:
        from copygym.experiments.studies.data import describe, load_log

        data = config.get("data")
        record = job.folder / "stages" / "data.json"
        if not data or not record.exists() or not data.get("path"):
            return True
        if not Path(data["path"]).exists():
            return True  # taken away since: the result stays what it is
        key = json.dumps(data, sort_keys=True, default=str)
        if key not in self._data_seen:
            self._data_seen[key] = describe(load_log(data))["sha256"]
        return bool(read_json(record)["values"].get("sha256") == self._data_seen[key])

    def _launch(self, jobs: list[Job]) -> None:
        index = 0
        while jobs:
            for job in jobs:
                job.note.unlink(missing_ok=True)
            # Named here alone, and for workers that start elsewhere as well.
            place = f"hydra.sweep.dir={quoted(str(self.folder.absolute()))}"
            batch = [
                [*job.overrides, place, f"hydra.sweep.subdir={quoted(job.folder.name)}"]
                for job in jobs
            ]
            try:
                returns = self._launcher.launch(batch, initial_job_idx=index)
            except Exception as error:
                jobs, index = self._left(jobs, error), index + len(jobs)
                continue
            for job, returned in zip(jobs, returns, strict=True):
                self.outcomes[job] = _outcome(returned)
            return

    def _left(self, jobs: list[Job], error: Exception) -> list[Job]:
        """Account for the jobs of a launcher that broke; return those that had not begun."""
        left = []
        said = f"{type(error).__name__}: {one_line(error)}"
        for job in jobs:
            note = told(job)
            if note is None:
                left.append(job)
                continue
            if note.status == "started":
                with held(job.lock, wait=True):  # others of the launcher's may still be at work
                    note = told(job) or note
            if note.status == "started":
                note = Outcome("failed", f"its process ended without a word ({said})")
            self.outcomes[job] = note
        if len(left) < len(jobs):
            return left
        for job in left:
            self.outcomes[job] = Outcome("failed", f"the launcher could not start it ({said})")
        return []

    def finish(self, **more: Any) -> None:
        """Write ``sweep.json`` and say on stderr what became of every job.

        Args:
            more: further entries of ``sweep.json``.

        Raises:
            UserError: a job failed.
        """
        counts = {
            status: sum(o.status == status for o in self.outcomes.values())
            for status in ("finished", "earlier", "held", "failed")
        }
        jobs = [
            {
                "folder": job.folder.name,
                "command": job.command,
                "status": outcome.status,
                "error": outcome.error,
                "trace": outcome.trace,
            }
            for job, outcome in self.outcomes.items()
        ]
        sys.stderr.write(self._listed(counts))
        try:
            write_result(self.folder / "sweep.json", {"counts": counts, "jobs": jobs, **more})
        except OSError as error:
            sys.stderr.write(f"copygym: sweep.json could not be written: {error.strerror}\n")
        if counts["failed"]:
            raise UserError(
                f"{counts['failed']} of {len(self.outcomes)} jobs failed (above, and in "
                f"{self.folder / 'sweep.json'}); the same command runs again what is missing."
            )

    def take_together(self, swept: Sequence[str]) -> None:
        """Report the jobs of a study as one, in the folder of the sweep.

        Jobs that another process runs are not there yet: whoever ends last reports them.

        Args:
            swept: keys that the sweep goes over.

        Raises:
            UserError: records lack a seed, or what is to be published would write over other files.
        """
        from copygym.experiments.sweeps.together import take_together

        jobs = [job for job, outcome in self.outcomes.items() if outcome.finished]
        if len(jobs) < len(self.outcomes) or not jobs:
            return
        study = load_job(str(self.compose(jobs[0].overrides)["job"]))
        publish = self._config.get("publish")
        command = ["run", "-m", *map(str, self._config.hydra.overrides.task)]
        target = None if publish is None else Path(str(publish))
        take_together(self.folder, jobs, swept, study, command, target)

    def _listed(self, counts: Mapping[str, int]) -> str:
        words = {
            "finished": "finished",
            "earlier": "finished earlier",
            "held": "left to another process that runs them",
            "failed": "failed",
        }
        told = ", ".join(f"{counts[key]} {word}" for key, word in words.items() if counts[key])
        many = "1 job" if len(self.outcomes) == 1 else f"{len(self.outcomes)} jobs"
        lines = [f"\ncopygym: {many} in {self.folder}: {told or 'nothing was missing'}"]
        for job, outcome in self.outcomes.items():
            if outcome.status == "failed":
                lines += [f"failed: {outcome.error}", f"    {job.command}"]
            elif outcome.status == "held":
                lines += [f"left to another process: {job.folder.name}"]
        return "\n".join(lines) + "\n"


def _outcome(returned: Any) -> Outcome:
    """Return the outcome in Hydra's `JobReturn`."""
    try:
        value = returned.return_value
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {one_line(error)}")
    return Outcome(**value)


def swept_keys(overrides: Sequence[Override]) -> list[str]:
    """Return the keys that a sweep goes over."""
    return [override_key(o.get_key_element()) for o in overrides if o.is_sweep_override()]
