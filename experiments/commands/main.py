"""The ``copygym`` command: finds out what is wanted and imports nothing else before."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO, cast

_HELP = """\
copygym: reinforcement learning for personalised marketing copy.

usage: copygym COMMAND [ARGUMENTS]

commands:
  run [KEY=VALUE ...]     run an experiment; `copygym run --help` lists groups and keys
  run -m KEY=A,B ...      run every combination; the same command again runs what is missing
  reproduce [NAME]        a paper experiment, expected against obtained; without a name the list
  report FOLDER           rebuild report.html from a run's saved results
  evaluate RUN ...        play a run's saved agents again: other luck, more users, several runs
  data list|card|get|check   datasets: what there is, how to get it, whether a file is fit
  fidelity NAME[=FILE] ...   how far simulated users are from the log's real ones
  ope --log LOG --policy FILE   what other policies would have earned, from a log
  score --model RUN --input FILE.csv --output OUT.csv   click scores from a reward model
  write --model RUN --briefs FILE.csv   copy for any briefs from a trained copywriter
  export RUN --output FOLDER   a run's copywriter for transformers, vLLM and the like
  deliver --policy RUN --people FILE --out PLAN          a plan: who gets what, when and why
  ingest --plan PLAN --outcomes FILE --out LOG           what came of it, as the next log
  monitor --plan PLAN --outcomes FILE    a running campaign against what was promised
  update RUN --log NEW --out FOLDER   a run learns from a further log, in a new folder
  abtest FILE | srm | plan   judge an A/B test, check its sample ratio, plan its size
  doctor                  is this machine ready, and what should be mended?
  completion bash|zsh|fish   a script with which the shell completes all this
  wandb sweep|workspace   a W&B Sweep from a multirun's arguments, a W&B view as code

examples:
  copygym run experiment=quickstart
  copygym run experiment=hillstrom data.path=hillstrom.csv
  copygym run -m experiment=delivery agent=linucb,logistic_ts seed=0,1,2

options:
  -h, --help      show this
  -q, --quiet     before COMMAND: no progress, on a terminal or off it (also COPYGYM_QUIET=1)
  --version       show the version

exit codes: 0 done, 1 a bug of ours, 2 a mistake in what was given, 130 interrupted
"""

#: Exit codes: 0 done, 1 a bug of ours (a file keeps its traceback), 2 a mistake in what was given.
BUG, USER_ERROR, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (the console script's entry point).

    Args:
        argv: arguments after the program's name; None takes the process's own.
    """
    streams = sys.stdout, sys.stderr
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except Exception as error:
        if argv is not None or os.environ.get("COPYGYM_DEBUG"):
            raise  # a caller in Python, or a developer, wants the traceback itself
        return _bug(error)
    finally:
        # A process of its own ends here, perhaps with a traceback, which may quote anything too.
        if argv is not None:
            sys.stdout, sys.stderr = streams


def _bug(error: Exception) -> int:
    """Say in one sentence that we have met a bug of ours, and where its traceback is."""
    import tempfile
    import traceback

    from copygym.core.text.plain import printable

    place = ""
    with contextlib.suppress(OSError):
        number, name = tempfile.mkstemp(prefix="copygym-bug-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"copygym {' '.join(sys.argv[1:])}\n\n")
            traceback.print_exception(error, file=file)
        place = f"; {name} has the traceback: please send it along when you report this"
    reason = printable(" ".join(str(error).split()))[:300]
    with contextlib.suppress(OSError):
        sys.stderr.write(f"copygym: a bug of ours ({type(error).__name__}: {reason}){place}.\n")
    return BUG


def _main(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("-q", "--quiet"):
        # Read by copygym.core.progress, and by the processes that this one starts.
        os.environ["COPYGYM_QUIET"] = "1"
        arguments = arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_HELP)
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"copygym {version('copygym')}\n")
        return 0
    # Only now: this import takes longer than the whole of --help.
    from copygym.core.errors import UserError
    from copygym.core.text.plain import PrintableStream, printable

    # Names and texts of logs, models and folders are printed in many places: none of them may
    # speak to the terminal.
    sys.stdout = cast(TextIO, PrintableStream(sys.stdout))
    sys.stderr = cast(TextIO, PrintableStream(sys.stderr, bars=True))
    try:
        return _dispatch(arguments)
    except UserError as error:
        sys.stderr.write(f"copygym: {' '.join(printable(str(error)).split())}\n")
        return USER_ERROR
    except MemoryError as error:
        said = printable(" ".join(str(error).split())) or "an array does not fit"
        sys.stderr.write(
            f"copygym: there is not enough memory ({said}): ask for less, such as fewer users, "
            "slots, episodes or resamples, or use a machine with more.\n"
        )
        return USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write(
            "\ncopygym: interrupted; what was finished is kept: repeat the command to go on "
            "(a run needs out= set to its folder).\n"
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`copygym data list | head`): nothing left to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from copygym.experiments.sweeps.job import write_fault

        fault = write_fault(error)
        if fault is None:
            raise
        sys.stderr.write(f"copygym: {' '.join(printable(fault).split())}\n")
        return USER_ERROR


#: Command -> the module whose ``main`` runs it.
COMMANDS = {
    "run": "copygym.experiments.commands.run",
    "reproduce": "copygym.experiments.commands.reproduce",
    "report": "copygym.experiments.commands.report",
    "evaluate": "copygym.experiments.commands.evaluate.command",
    "data": "copygym.experiments.commands.data",
    "fidelity": "copygym.experiments.commands.fidelity",
    "ope": "copygym.experiments.commands.statistics.ope",
    "score": "copygym.experiments.commands.score",
    "write": "copygym.experiments.commands.write",
    "export": "copygym.experiments.commands.export",
    "abtest": "copygym.experiments.commands.statistics.abtest",
    "deliver": "copygym.experiments.commands.campaign.deliver",
    "ingest": "copygym.experiments.commands.campaign.ingest",
    "monitor": "copygym.experiments.commands.campaign.monitor",
    "update": "copygym.experiments.commands.campaign.update",
    "completion": "copygym.experiments.commands.setup.completion",
    "doctor": "copygym.experiments.commands.setup.doctor",
    "wandb": "copygym.experiments.commands.wandb",
}


def _dispatch(arguments: list[str]) -> int:
    from copygym.core.errors import unknown_name

    name = arguments[0]
    if name not in COMMANDS:
        raise unknown_name("command", name, list(COMMANDS))
    # Our matrices are small: more threads wait for each other (learning took ten times the CPU
    # time on two busy cores), and sums that depend on their number change the results. It must
    # be set before numpy and torch are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # TRL sets options that transformers renames; nobody who uses a command can mend that.
    warnings.filterwarnings("ignore", r".*gradient_checkpointing", FutureWarning)
    return int(importlib.import_module(COMMANDS[name]).main(arguments[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
