"""``copygym reproduce``: a paper experiment by its name, and expected against obtained.

Every job goes through `run_app`, as ``copygym run`` does; what is added is where it writes, what it
is asked to show, and what it costs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError
from copygym.experiments.commands.paper import (
    Job,
    chosen,
    expected_table,
    jobs,
)
from copygym.experiments.options import Parser, add_number, command_parser
from copygym.experiments.report.tables import Table
from copygym.experiments.sweeps.job import quoted

#: File with expected against obtained, beside the published results.
EXPECTED = "expected.md"

_DESCRIPTION = (
    "Runs every job of a paper experiment as `copygym run` does, publishes its results, table, "
    "figures, manifest and report, and compares what was expected with what came out. A run that "
    "was stopped goes on where it was when the command is repeated. Without a name: the list of "
    "experiments, their cost and the data that they need."
)
_EXAMPLES = """examples:
  copygym reproduce                        the experiments
  copygym reproduce E5 --tiny              that it works here, in about a minute, numbers aside
  copygym reproduce E5                     in full, into docs/results/E5
  copygym reproduce E5 --jobs 8            eight seeds at a time; a cluster: hydra/launcher=...
  copygym reproduce E1 --data DATA         on real logs, too: DATA is a file, or a folder that holds
                                           one or has a folder per dataset (DATA/hillstrom, ...)
  copygym reproduce all --data DATA --yes  everything, one after the other
  copygym reproduce E5 learn.steps=50000   with other settings: no longer what the paper has

needs: real logs are read from --data, or from where `copygym data get NAME` puts them.
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, no data, or a job that found a mistake.
    """
    options = _parser().parse_intermixed_args(arguments)
    names = [word for word in options.what if "=" not in word]
    overrides = [word for word in options.what if "=" in word]
    if not names:
        if overrides:
            raise UserError(f"{overrides[0]} is for no experiment: name one, such as E5.")
        sys.stdout.write(listing(jobs()))
        return 0
    todo = chosen(names)
    ready = [job for job in todo if _at_hand(job, options.data)]
    waiting = [job for job in todo if job not in ready]
    if not ready:
        raise UserError(_needs(waiting))
    sys.stdout.write(_plan(ready, waiting, options.tiny))
    if "all" in names and not options.yes:
        _ask()
    failed = []
    for job in ready:
        try:
            reproduce(job, options, overrides)
        except UserError as error:
            if len(ready) == 1:
                raise
            sys.stderr.write(f"copygym: {job.experiment}: {' '.join(str(error).split())}\n")
            failed.append(job.experiment)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(ready)} jobs failed ({', '.join(failed)}); the reasons stand "
            "above, and the same command goes on with what is missing."
        )
    return 0


def _parser() -> Parser:
    parser = command_parser("copygym reproduce", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="NAME | KEY=VALUE",
        help="E1, E2, ... or all, or one experiment of several by its file (e5_hillstrom); and "
        "config keys, as for `copygym run`",
    )
    parser.add_argument("--tiny", action="store_true", help="the smallest form of each")
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the real logs are")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/reproduce"),
        metavar="FOLDER",
        help="where runs are kept (default outputs/reproduce)",
    )
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="FOLDER",
        help="gets a folder for each job (default docs/results; with --tiny nothing is published)",
    )
    add_number(
        parser, "jobs", "seeds that are run at a time (default: as many as there are cores)", 1
    )
    parser.add_argument("--yes", action="store_true", help="all: do not ask")
    return parser


def listing(every: list[Job]) -> str:
    """Return the list of experiments: question, cost, needs."""
    lines = ["Paper experiments; `copygym reproduce NAME` runs one, --help says more.", ""]
    by_id: dict[str, list[Job]] = {}
    for job in every:
        by_id.setdefault(job.id, []).append(job)
    for name in sorted(by_id, key=lambda name: int(name[1:])):
        lines.append(f"{name:<5}{by_id[name][0].question}")
        lines += [f"     {_described(job)}" for job in by_id[name]]
    return "\n".join(lines) + "\n"


def _described(job: Job) -> str:
    needs = f"  needs {job.data}" if job.data else "  synthetic"
    return f"  {job.experiment:<18}{_cost(job):>20}{needs}"


def _cost(job: Job) -> str:
    return "cost not measured" if job.minutes is None else f"{job.minutes:,.0f} CPU minutes"


def _plan(ready: list[Job], waiting: list[Job], tiny: bool) -> str:
    """Return what is going to be run and what it costs."""
    lines = [_described(job) for job in ready]
    if tiny:
        lines.append("in their tiny forms: about a minute each, and the numbers mean nothing")
    elif len(ready) > 1:
        known = sum(job.minutes or 0 for job in ready)
        unknown = sum(job.minutes is None for job in ready)
        more = f" and {unknown} not measured" if unknown else ""
        lines.append(f"together {known:,.0f} CPU minutes{more}, on one core of the docs' machine")
    if waiting:
        lines.append(f"left out: {_needs(waiting)}")
    return "\n".join(lines) + "\n"


def _needs(waiting: list[Job]) -> str:
    names = ", ".join(f"{job.experiment} needs {job.data}" for job in waiting)
    gets = " and ".join(f"`copygym data get {d}`" for d in dict.fromkeys(j.data for j in waiting))
    return f"{names}: say {gets}, or where it is by --data PATH."


def _at_hand(job: Job, data: Path | None) -> bool:
    """Return whether a job's data may be there; what is wrong with them its run will tell."""
    from copygym.envs.datasets.card import default_folder

    return job.data is None or data is not None or default_folder(job.data).is_dir()


def _ask() -> None:
    """Go on only if the user says so.

    Raises:
        UserError: nobody can be asked, or the answer was no.
    """
    if not sys.stdin.isatty():
        raise UserError("reproduce all: nobody is there to ask whether to start; add --yes.")
    sys.stdout.write("start? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("reproduce all: not started; name some of the experiments instead.")


def reproduce(job: Job, options: argparse.Namespace, overrides: list[str]) -> Table:
    """Run one job (or go on with it, or show it), publish it; return expected against obtained."""
    from copygym.core.files.storage import write_text
    from copygym.evaluation.records import Records
    from copygym.experiments.app import run_app
    from copygym.experiments.runs.numerics import told_apart

    out = options.out / f"{job.experiment}{'-tiny' if options.tiny else ''}"
    target = _published(job, options)
    arguments = [f"experiment={job.experiment}", f"out={quoted(str(out))}"]
    arguments += [f"{key}={value}" for key, value in job.overrides.items()]
    if options.tiny:
        arguments.append("tiny=true")
    if job.data and options.data is not None:
        arguments.append(f"data.path={quoted(str(_data(job, options.data)))}")
    if target is not None:
        arguments.append(f"publish={quoted(str(target))}")
    arguments += _at_a_time(options.jobs)
    sys.stdout.write(f"\n{job.id}: {job.question} ({job.experiment})\n")
    published = _manifest(target or Path("docs/results") / job.folder)
    run_app([*arguments, *overrides])
    # A multirun has its records beside its jobs, a single run in its own folder.
    table = expected_table(job, Records.read(out), judged=not options.tiny)
    if table.rows:
        sys.stdout.write(f"\n{job.id}, expected against obtained\n\n{table.to_text()}\n\n")
    apart = [] if published is None else told_apart(published, _manifest(out) or {})
    if apart:
        sys.stdout.write(
            f"counted otherwise than the published run, so that numbers may differ beyond their "
            f"intervals: {'; '.join(apart)}.\n"
        )
    if options.tiny:
        sys.stdout.write("a tiny run shows that it works; its numbers mean nothing\n")
    elif table.rows and target is not None:
        head = f"`copygym reproduce {job.id}`: expected against obtained ({job.experiment})."
        write_text(target / EXPECTED, table.to_page(f"{head}\n\n"))
    sys.stdout.flush()
    return table


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest in a folder of results; None where there is none that can be read."""
    from copygym.core.files.storage import read_json

    if not (folder / "manifest.json").is_file():
        return None
    try:
        return read_json(folder / "manifest.json")
    except UserError:
        return None


def _at_a_time(jobs: int | None) -> list[str]:
    """Return the overrides by which a multirun's seeds are run ``jobs`` at a time.

    Raises:
        UserError: several were asked for, and joblib's launcher is not installed.
    """
    import os
    from importlib.util import find_spec

    affinity = getattr(os, "sched_getaffinity", None)
    count = jobs or (len(affinity(0)) if affinity else os.cpu_count()) or 1
    if count == 1:
        return []
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        if jobs is None:
            return []
        raise UserError(
            f"--jobs={jobs} needs the extra sweeps: pip install 'copygym[sweeps]', or leave it out."
        )
    return ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}"]


def _published(job: Job, options: argparse.Namespace) -> Path | None:
    parent: Path | None = options.publish
    if parent is None and not options.tiny:
        parent = Path("docs/results")
    return None if parent is None else parent / job.folder


def _data(job: Job, data: Path) -> Path:
    """Return the place of a job's dataset.

    Raises:
        UserError: ``data`` is not there.
    """
    if not data.exists():
        raise UserError(f"--data={data} does not exist; give the file or folder of the logs.")
    own = data / str(job.data)
    return own if own.is_dir() else data
