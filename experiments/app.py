"""``copygym run``: a thin Hydra app; `execute` does the work and needs no Hydra.

Hydra composes the config and owns sweeps. What it would write itself (``.hydra/``, a log file) is
switched off in ``conf/config.yaml``: the run's folder is `folder.RunFolder`'s, so that a folder
which belongs to another run is never touched.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.locks import locked
from copygym.core.files.storage import read_json, write_text
from copygym.core.text.plain import printable
from copygym.evaluation.records import Records
from copygym.experiments.report.evidence import cautioned
from copygym.experiments.report.page import (
    check_report,
    load_job,
    read_report,
    write_report,
)
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.folder import RunFolder, open_run, read_result
from copygym.experiments.runs.manifest import write_manifest
from copygym.experiments.runs.numerics import check_numerics, counted_as
from copygym.experiments.runs.publish import check_publish
from copygym.experiments.runs.trust import trust_config
from copygym.experiments.runs.validate import validate
from copygym.experiments.studies.data import check_data
from copygym.experiments.studies.results import (
    PUBLISHED,
    publish_results,
    show,
    write_records,
)
from copygym.experiments.studies.study import Study
from copygym.experiments.sweeps.job import attempt, quoted, write_fault
from copygym.experiments.sweeps.overrides import as_spelt, how_to_write
from copygym.experiments.tracking.base import Trackers, make_trackers

#: Faults of the output folder that are the user's to mend.
_FOLDER_FAULTS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

#: Keys of earlier versions, and what the same is called now.
_RENAMED = {
    "parts": "split",
    "worlds": "seed, of which a multirun goes over several (seed=1,2,3)",
    "seeds": "seed, of which a multirun goes over several (seed=1,2,3)",
    "budget": "learn.steps, or env.budget for currency",
    "baseline": "evaluation.baseline",
    "resamples": "evaluation.resamples",
    "replay.resamples": "evaluation.resamples",
    "overopt.resamples": "evaluation.resamples",
    "evaluation.customers": "evaluation.users",
    "copywriter.sft.lr": "copywriter.sft.learning_rate",
    "training.lr": "training.learning_rate",
    "federated.local_lr": "federated.local_learning_rate",
}

#: Folders of config files that are no groups to choose from.
_INNER = ("hydra", "paper")

#: What the user can mend.
_MISTAKES = (UserError, HydraException, OmegaConfBaseException)


def register_resolvers() -> None:
    """Register what the config tree uses; idempotent.

    ``${fresh:NAME,TIME}`` is the default folder of a run or a sweep, ``${groups:}`` the list of
    config groups in the help text.
    """

    def fresh(name: str, time: str, *, _root_: DictConfig) -> str:
        hydra_config = _root_.get("hydra") or (
            HydraConfig.get() if HydraConfig.initialized() else None
        )
        if hydra_config is not None and hydra_config.mode == RunMode.MULTIRUN:
            return f"multirun/{name}"
        return _reserved(f"outputs/{name}/{time}")

    OmegaConf.register_new_resolver("groups", _listed_groups, replace=True)
    # A sweep goes on in the folder of the same call before; a run without out= begins anew.
    OmegaConf.register_new_resolver("fresh", fresh, replace=True)


def _listed_groups() -> str:
    """Return a line for each group that can be chosen from, the user's own included."""
    if not GlobalHydra.instance().is_initialized():
        return ""
    loader = GlobalHydra.instance().config_loader()
    lines = []
    for group in sorted(loader.list_groups("")):
        options = loader.get_group_options(group)
        if group not in _INNER and options:
            lines.append(f"{group}: {', '.join(options)}")
    return "\n".join(lines)


register_resolvers()

#: When the running `run_app` began, seconds since the epoch.
_began: list[float] = []
#: Default folders that the running `run_app` has made for its run, by the name that they go by.
_made: dict[str, str] = {}


def _reserved(folder: str) -> str:
    """Return a default folder that no other run has: a number is added to one that is there.

    Nothing is made where a config is only composed or printed.
    """
    if not _began or any(argument in sys.argv[1:] for argument in ("--cfg", "-c", "--info", "-i")):
        return folder
    number = 1
    while folder not in _made:
        candidate = folder if number == 1 else f"{folder}-{number}"
        try:
            Path(candidate).parent.mkdir(parents=True, exist_ok=True)
            Path(candidate).mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError:
            return folder  # Hydra meets the same fault, which `run_app` puts into a sentence
        _made[folder] = candidate
    return _made[folder]


def run_app(arguments: list[str]) -> int:
    """Run the Hydra app on command-line arguments; returns the exit code.

    Raises:
        UserError: the config is wrong, or the run found a mistake in what it was given.
    """
    # Hydra would print its own traceback and exit; raised errors become one sentence here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    arguments = as_spelt(arguments)
    # argparse takes overrides in one row only: `KEY=VALUE -m KEY=A,B` would be refused.
    arguments.sort(key=lambda argument: argument not in ("-m", "--multirun"))
    previous, sys.argv = sys.argv, ["copygym run", *arguments]
    _began.append(time.time())
    try:
        _one_option_each(arguments)
        from hydra_plugins.copygym_sweeps import register

        register()
        hydra.main(version_base="1.3", config_path="pkg://copygym.conf", config_name="config")(
            app
        )()
    except (HydraException, OmegaConfBaseException) as error:
        raise config_error(error) from error
    except ValueError as error:
        if not str(error).startswith("Config group override must be"):
            raise
        raise UserError(
            f"an override has a group without an option ({' '.join(arguments)}): write GROUP=NAME."
        ) from error
    except OSError as error:
        if error.errno not in _FOLDER_FAULTS and not _in_the_way(error, arguments):
            raise
        raise UserError(
            write_fault(error)
            or f"cannot write to {error.filename or 'the output folder'}: {error.strerror}; choose "
            "another out= or publish=."
        ) from error
    except _Refused as refused:
        assert refused.__cause__ is not None
        raise refused.__cause__ from None
    finally:
        sys.argv = previous
        _began.pop()
        for made in _made.values():
            with suppress(OSError):
                Path(made).rmdir()  # nothing came of it
        _made.clear()
    return 0


def _one_option_each(arguments: list[str]) -> None:
    """Raise `UserError` where a group is given several options or none: Hydra would mix them."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        group = key.partition("@")[0]
        # Experiments are made to be put on top of each other.
        if group == "experiment" or not _options(group):
            continue
        if value.startswith("[") or value == "null":
            raise UserError(
                f"{argument} is not one option: choose one of {', '.join(_options(group))}, or "
                f"run several with `copygym run -m {key}=A,B`."
            )


def _options(group: str) -> list[str]:
    """Return the options of a config group that come with copygym; none where it is no group."""
    folder = files("copygym.conf") / group
    if not group.isidentifier() or not folder.is_dir():
        return []
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith("yaml"))


def _groups() -> list[str]:
    """Return the config groups that come with copygym, without `_INNER`."""
    found = (entry.name for entry in files("copygym.conf").iterdir() if entry.is_dir())
    return sorted(name for name in found if name not in _INNER and _options(name))


def _in_the_way(error: OSError, arguments: list[str]) -> bool:
    """Return whether an error is the given folder's: elsewhere a missing file is a fault of ours.

    /proc says of a new folder that it does not exist (ENOENT); a folder where a result file
    should go is EISDIR.
    """
    if not isinstance(error.filename, str):
        return False
    place = Path(error.filename).absolute()
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in ("out", "publish"):
            continue
        folder = Path(value.strip("'\"")).absolute()
        if error.errno == errno.ENOENT and place in (folder, *folder.parents):
            return True
        if error.errno == errno.EISDIR and folder in (place, *place.parents):
            return True
    return False


def app(config: DictConfig) -> dict[str, str] | None:
    """Run one job of a composed config; returns the `Outcome` of a sweep's job as a dict."""
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN
    target = Path(hydra_config.runtime.output_dir)
    choices = hydra_config.runtime.choices
    names = {
        "group": Path(hydra_config.sweep.dir).name if multirun else str(config.name),
        "job_type": f"{config.name}-{choices['agent']}" if "agent" in choices else config.name,
        "name": f"{target.name}" if multirun else f"{config.name}-{config.seed}",
    }
    argv = ["run", *_overrides(hydra_config)]

    def work() -> None:
        # A sweep's jobs run in folders of their own name, so that an empty one is nobody else's.
        fresh = _just_made(target) or (multirun and not any(target.iterdir()))
        try:
            # A multirun publishes what its jobs show together.
            own = resolved(config) | ({"publish": None} if multirun else {})
            execute(own, target, argv, names, fresh=fresh, quiet=multirun)
        except (HydraException, OmegaConfBaseException) as error:
            raise config_error(error) from error

    if multirun:
        outcome = attempt(work, target)
        ours = str(hydra_config.sweeper.get("_target_")).startswith("hydra_plugins.copygym_sweeps.")
        if outcome.status == "failed" and not ours:
            raise UserError(outcome.error)  # other sweepers know of no outcomes
        return asdict(outcome)
    try:
        work()
    except UserError as error:
        raise _Refused from error
    return None


def _just_made(target: Path) -> bool:
    """Return whether Hydra has made this run's folder; it does so before our code runs."""
    if not _began or any(target.iterdir()):
        return False
    # Nothing of ours has changed the folder yet, so an older one keeps its older time.
    return target.stat().st_ctime >= _began[-1]


def _overrides(hydra_config: Any) -> list[str]:
    """Return the overrides that make this one job, without those of the sweep around it."""
    own = [o for o in hydra_config.overrides.hydra if o.startswith("hydra.searchpath")]
    return [*own, *hydra_config.overrides.task]


class _Refused(BaseException):
    """Carries a `UserError` past Hydra, which would print a line of its own for an exception."""


def composed(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config with which ``copygym run OVERRIDES`` would run, resolved.

    Args:
        overrides: ``KEY=VALUE`` as on a command line.

    Raises:
        UserError: there is no such key or option, or a value is missing.
    """
    register_resolvers()
    try:
        with initialize_config_module("copygym.conf", version_base="1.3"):
            return resolved(compose("config", overrides=as_spelt(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise config_error(error) from error


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return a config with its interpolations resolved, as plain containers."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def execute(
    config: dict[str, Any],
    target: Path,
    argv: list[str],
    names: Mapping[str, str],
    *,
    fresh: bool = False,
    quiet: bool = False,
) -> Path:
    """Run (or resume, or report) the job of a resolved config in ``target``.

    Args:
        config: resolved config; ``job`` names the experiment's module.
        target: the run's folder.
        argv: the command line after ``copygym``, for the manifest.
        names: ``group``, ``job_type``, ``name`` for W&B.
        fresh: ``target`` was made, empty, for this very run.
        quiet: print no table of a study: its multirun shows all seeds together.

    Returns:
        The path of the report.

    Raises:
        UserError: a mistake in the config or the data; a run that it kept from starting leaves
            no folder behind.
    """
    fresh = fresh or not target.exists()
    try:
        validate(config)
        check_numerics(config)
        study = load_job(str(config["job"]))
        trust_config(config)
        if config["publish"]:
            check_publish(Path(config["publish"]), list(PUBLISHED))
        with locked(target):
            folder = open_run(
                target, config, resume=config["resume"], overwrite=config["overwrite"]
            )
            folder.tidy()
            try:
                with _nothing_taken_out(argv):
                    return _finished(study, config, folder, argv, names, quiet)
            except Exception as error:
                # Neither is a mistake in the command: a full disk, a lack of memory.
                if not isinstance(error, OSError | MemoryError):
                    folder.discard()
                raise
    except _MISTAKES:
        if fresh and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        raise


@contextmanager
def _nothing_taken_out(argv: Sequence[str]) -> Iterator[None]:
    """Blame a key that is missing inside the block on an override that has taken a key out.

    Raises:
        UserError: in the place of a `KeyError`, where there is such an override.
    """
    try:
        yield
    except KeyError as error:
        taken = [argument for argument in argv if argument.startswith("~")]
        if not taken:
            raise
        raise UserError(
            f"the config has no {error.args[0]!r}, which this experiment needs: leave out "
            f"{' and '.join(taken)}, or choose another experiment."
        ) from error


def _finished(
    study: Study,
    config: dict[str, Any],
    folder: RunFolder,
    argv: list[str],
    names: Mapping[str, str],
    quiet: bool,
) -> Path:
    """Run the job unless it is finished; show its result and return the report's path."""
    if folder.finished and _whole(folder) and _readable(folder, None if quiet else study):
        check_data(folder, config)
        sys.stderr.write(f"copygym: this run is finished; its result is in {folder.path}\n")
    else:
        _run_study(study, config, folder, argv, names)
    if quiet:
        return folder.path / "report.html"
    report = _present(study, folder)
    if config["publish"]:
        publish_results(folder.path, Path(config["publish"]))
    return report


def _whole(folder: RunFolder) -> bool:
    """Return whether all files of a finished run's stages are as written; else say which is not."""
    damage = folder.damage()
    if damage is not None:
        sys.stderr.write(f"copygym: {printable(damage)} Its stage is made again.\n")
    return damage is None


def _readable(folder: RunFolder, study: Study | None) -> bool:
    """Return whether a finished run's files can be read; else they are made of its stages again.

    Args:
        folder: of the run.
        study: whose report has to be made of them; None: none has.
    """
    try:
        read_result(folder.path)
        read_json(folder.path / "manifest.json")
        Records.read(folder.path)
        if study is not None:
            check_report(folder.path, study)
    except UserError as error:
        sys.stderr.write(
            f"copygym: {printable(str(error))} It is made again from the run's stages.\n"
        )
        return False
    return True


def _run_study(
    study: Study,
    config: dict[str, Any],
    folder: RunFolder,
    argv: list[str],
    names: Mapping[str, str],
) -> None:
    write_text(folder.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    trackers = make_trackers(config["tracker"], folder.path, config, names)
    failed = True
    try:
        own = {"name": config["name"], "seed": config["seed"]}
        study.check(config)
        with counted_as(config):
            records = study.seed_records(config, folder, trackers)
            result = write_records(folder.path, records, study, **own)
            write_manifest(folder, argv, result)
        _, report = write_report(folder.path, study)
        trackers.records(records.frame)
        _mirror(trackers, cautioned(report.table, result), report.sections, result)
        failed = False
    finally:
        trackers.finish(failed)
    folder.mark_finished()


def _mirror(trackers: Trackers, table: Table, sections: list[Any], result: dict[str, Any]) -> None:
    trackers.table("main", table)
    for section in sections:
        for picture in section.pictures:
            trackers.image(picture.name, picture.png)
    trackers.summary(result.get("summary_numbers", {}))


def _present(study: Study, folder: RunFolder) -> Path:
    """Print the main table and the report's path on stdout."""
    result = read_json(folder.path / "result.json")
    page = folder.path / "report.html"
    if not page.exists():
        write_report(folder.path, study)
    # A sweep's workers print too, where no command stands between them and the terminal.
    show(result, read_report(folder.path, study).table, page)
    return page


#: Of a base without an experiment.
_NO_JOB = "job has no value: choose an experiment=NAME, or name a job=MODULE."


def _no_key(override: str, cause: BaseException | None) -> UserError:
    """Return the error for a key that the config lacks: those beside it, the likeliest first."""
    parent = getattr(cause, "parent_node", None)
    key = str(getattr(cause, "full_key", None) or override)
    name = key.rpartition(".")[2]
    keys = parent if isinstance(parent, DictConfig) else ()
    beside = [str(k) for k in keys if not str(k).startswith("_")]
    if key in _groups():
        return UserError(
            f"this experiment has no {key} that could be chosen: its parts are {', '.join(beside)}."
        )
    if "." not in key:
        beside += [group for group in _groups() if group not in beside]
    likely = get_close_matches(name, beside, n=len(beside) or 1, cutoff=0.6)
    if key in _RENAMED:
        return UserError(f"there is no config key {key!r} any more: it is called {_RENAMED[key]}.")
    ordered = [*likely, *(name for name in beside if name not in likely)]
    choices = f"choose one of {', '.join(ordered)}" if ordered else "it is no group of keys"
    return UserError(
        f"there is no config key or group {key!r}: {choices}; `copygym run --cfg job` prints all, "
        "and a + in front adds a key."
    )


def config_error(error: Exception) -> UserError:
    """Return Hydra's or OmegaConf's error as one sentence that says what to do."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = [*(error.options or _options(group))]
        if group == "dataset" and options:
            from copygym.envs.datasets.own import named

            options += named.names()
        if options:
            return unknown_name(group or "config", option, list(options))
        return UserError(f"there is no config {error.missing_cfg_file!r}: check --config-name.")
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return UserError(
            f"cannot read the override {error.override!r}: {how_to_write(error.override)}"
        )
    match = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if match:
        key, _, value = match[1].partition("=")
        return UserError(
            f"{match[1]} has several values: quote it if it is one, as in "
            f"{shlex.quote(f'{key}={quoted(value)}')}, or run several with `copygym run -m`."
        )
    match = re.search(r"Could not append to config. An item is already at '([^']+)'", text)
    if match:
        return UserError(f"there is a config key {match[1]!r} already: leave out the + before it.")
    match = re.search(r"Could not override '([^']+)'", text)
    if match:
        return _no_key(match[1], error.__cause__)
    if isinstance(error, MissingMandatoryValue):
        return UserError(
            _NO_JOB
            if error.full_key == "job"
            else f"{error.full_key} has no value: give one by {error.full_key}=VALUE."
        )
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        text = f"{text} ({' '.join(str(error.__cause__).split())})"
    return UserError(f"the config is wrong: {text}")
