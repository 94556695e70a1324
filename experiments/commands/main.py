"""The ``copygym`` command: finds out what is wanted and imports nothing else before."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
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
  abtest FILE | srm | plan   judge an A/B test, check its sample ratio, plan its size
  wandb sweep|workspace   a W&B Sweep from a multirun's arguments, a W&B view as code

examples:
  copygym run experiment=quickstart
  copygym run experiment=hillstrom data.path=hillstrom.csv
  copygym run -m experiment=delivery agent=linucb,logistic_ts seed=0,1,2

options:
  -h, --help      show this
  --version       show the version
"""

#: Exit codes: 0 done, 1 a bug of ours (with traceback), 2 a mistake in what was given.
USER_ERROR, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (the console script's entry point).

    Args:
        argv: arguments after the program's name; None takes the process's own.
    """
    streams = sys.stdout, sys.stderr
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    finally:
        # A process of its own ends here, perhaps with a traceback, which may quote anything too.
        if argv is not None:
            sys.stdout, sys.stderr = streams


def _main(arguments: list[str]) -> int:
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


def _dispatch(arguments: list[str]) -> int:
    from copygym.core.errors import unknown_name

    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "reproduce": _reproduce,
        "report": _report,
        "evaluate": _evaluate,
        "data": _data,
        "fidelity": _fidelity,
        "ope": _ope,
        "score": _score,
        "write": _write,
        "abtest": _abtest,
        "wandb": _wandb,
    }
    command = commands.get(arguments[0])
    if command is None:
        raise unknown_name("command", arguments[0], list(commands))
    # TRL sets options that transformers renames; nobody who uses a command can mend that.
    warnings.filterwarnings("ignore", r".*gradient_checkpointing", FutureWarning)
    return command(arguments[1:])


def _run(arguments: list[str]) -> int:
    # Our matrices are small: more threads wait for each other (learning took ten times the CPU
    # time on two busy cores), and sums that depend on their number change the results. It must
    # be set before numpy and torch are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.core.processes import join, serve

    peers = join()
    if not peers.first:
        serve()
        return 0
    from copygym.experiments.app import run_app

    try:
        return run_app(arguments)
    finally:
        peers.dismiss()


def _reproduce(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.reproduce import main as reproduce_main

    return reproduce_main(arguments)


def _report(arguments: list[str]) -> int:
    from pathlib import Path

    from copygym.experiments.options import add_trust, command_parser

    parser = command_parser(
        "copygym report", "Rebuilds report.html from a run's saved results.", ""
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a finished run")
    add_trust(parser)
    options = parser.parse_args(arguments)
    from copygym.core.components import trust
    from copygym.experiments.report.page import write_report

    trust(options.trust)
    path, _ = write_report(options.folder)
    sys.stdout.write(f"{path}\n")
    return 0


def _evaluate(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.evaluate.command import main as evaluate_main

    return evaluate_main(arguments)


def _data(arguments: list[str]) -> int:
    from copygym.experiments.commands.data import main as data_main

    return int(data_main(arguments) or 0)


def _fidelity(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.fidelity import main as fidelity_main

    return fidelity_main(arguments)


def _ope(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.ope import main as ope_main

    return ope_main(arguments)


def _score(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.score import main as score_main

    return score_main(arguments)


def _write(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.write import main as write_main

    return write_main(arguments)


def _abtest(arguments: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from copygym.experiments.commands.abtest import main as abtest_main

    return abtest_main(arguments)


def _wandb(arguments: list[str]) -> int:
    from copygym.experiments.commands.wandb import main as wandb_main

    return wandb_main(arguments)


if __name__ == "__main__":
    sys.exit(main())
