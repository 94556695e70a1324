"""The options that say how a file is read, the same in every command, and the logs they name."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, nearest, unknown_name
from copygym.core.plugins import is_path
from copygym.experiments.option_values import whole

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog


def add_texts(parser: argparse.ArgumentParser, **told: str) -> None:
    """Add an option ``--NAME`` that takes a text for each name and what its help says."""
    for name, text in told.items():
        parser.add_argument(f"--{name}", help=text)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a table file: ``--separator`` and ``--encoding``."""
    parser.add_argument(
        "--separator",
        metavar="MARK",
        help="between the columns of a CSV (default: comma, tab for .tsv)",
    )
    parser.add_argument(
        "--encoding",
        default="utf-8",
        help="of a CSV without a byte order mark, such as latin-1 (default: utf-8)",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust NAME``: what a folder or file may name beside parts of copygym."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="code of your own that the folder names, such as my_package.MyReward, "
        "my_package:my_dataset or a plug-in's name, may be imported and run; without it a folder "
        "makes parts of copygym alone",
    )


def add_value(
    parser: argparse.ArgumentParser, option: str, parse: Callable[[str, str], Any], **how: Any
) -> None:
    """Add an option whose text is read by a function that says what is wrong with it.

    Args:
        parser: gets the option.
        option: with its dashes.
        parse: returns the value of (text, option), or raises a `UserError`.
        how: further arguments of ``add_argument``.
    """

    def parsed(text: str) -> Any:
        try:
            return parse(text, option)
        except UserError as error:
            # A ValueError, which argparse would put words of its own in the place of.
            raise _Refused(str(error)) from None

    parser.add_argument(option, type=parsed, **how)


class _Refused(Exception):
    """An option's text that means nothing; `Parser` makes it a `UserError`."""


def add_number(
    parser: argparse.ArgumentParser, name: str, told: str, least: int, default: int | None = None
) -> None:
    """Add an option ``--NAME`` that takes a whole number.

    Args:
        parser: gets the option.
        name: without its dashes.
        told: stands in the help.
        least: what is less is refused.
        default: where the option is not given.
    """
    add_value(parser, f"--{name}", whole(least), default=default, help=told, metavar="N")


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    """Add ``--seed``, 0 where it is not given; ``of`` says in the help what it is of."""
    add_number(parser, "seed", f"{of} (default 0)", 0, 0)


def add_json(parser: argparse.ArgumentParser, instead: str = "instead of tables") -> None:
    """Add ``--json``; `print_result` does what it says."""
    parser.add_argument("--json", action="store_true", help=f"print JSON {instead}")


def print_result(result: Any, text: str, options: argparse.Namespace) -> None:
    """Print a result as ``--json`` says: as strict JSON, or as text."""
    if options.json:
        from copygym.experiments.runs.outputs import json_text

        text = json_text(result, sort_keys=False)
    sys.stdout.write(text)


def add_output_folder(parser: argparse.ArgumentParser, files: Sequence[str]) -> None:
    """Add ``--output FOLDER`` of a command that writes several files."""
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"write {', '.join(files)} there"
    )


def add_wandb(parser: argparse.ArgumentParser) -> None:
    """Add what says where W&B keeps something: ``--entity``, ``--project``, ``--group``.

    Without them it is where W&B's own variables say.
    """
    parser.add_argument(
        "--entity",
        default=os.environ.get("WANDB_ENTITY") or None,
        help="W&B team or user (default: $WANDB_ENTITY)",
    )
    parser.add_argument(
        "--project",
        default=os.environ.get("WANDB_PROJECT") or "copygym",
        help="W&B project (default: $WANDB_PROJECT, else copygym)",
    )
    parser.add_argument("--group", help="the group of one sweep's runs in W&B")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a click log: its columns, those of its file, and its time zone."""
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CANONICAL=COLUMN",
        help="read the file's COLUMN as CANONICAL; repeat for more",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="CANONICAL=VALUE",
        help="one value for all rows, as in --set impressions=1 (or an option of a dataset)",
    )
    parser.add_argument(
        "--empty",
        action="append",
        default=[],
        metavar="CANONICAL=VALUE",
        help="what an empty value means, as in --empty clicks=0 or --empty creative_id=hold",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="COLUMN",
        help="leave a column of the file out; repeat for more",
    )
    parser.add_argument(
        "--cap",
        action="append",
        default=[],
        metavar="CANONICAL",
        help="cut a count to what it can be at most: clicks or unsubscribes to the impressions, "
        "conversions to the clicks",
    )
    add_file_options(parser)
    parser.add_argument(
        "--time-zone", metavar="ZONE", help="IANA zone of timestamps without one (default: UTC)"
    )
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        help="how times are written where that is not ISO 8601: '%%d.%%m.%%Y %%H:%%M', epoch or "
        "epoch_ms",
    )


def add_people_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a file of people: their ids, their columns, the file's own form."""
    parser.add_argument("--user", default="user", metavar="COLUMN", help="of ids (default user)")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="read the people's COLUMN as NAME (user_age, user_city, ...); repeat for more",
    )
    parser.add_argument(
        "--like",
        metavar="LOG",
        help="a log of `copygym data map`: the people's columns are called as there",
    )
    add_file_options(parser)


def people_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_people_options` was told, as arguments of `read_people`."""
    return {
        "user": options.user,
        "columns": pairs(options.map, "--map"),
        "like": options.like,
        **file_arguments(options),
    }


def file_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_file_options` was told, as arguments of `open_table`."""
    return {"separator": options.separator, "encoding": options.encoding}


def log_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_log_options` was told, as arguments of `ClickLog.read`."""
    return {
        "columns": pairs(options.map, "--map"),
        "constants": pairs(options.set, "--set"),
        **file_arguments(options),
        "time_zone": options.time_zone,
        "empty": pairs(options.empty, "--empty"),
        "ignore": options.ignore,
        "time_format": options.time_format,
        "cap": options.cap,
    }


def told(options: argparse.Namespace) -> list[str]:
    """Return the options of `add_log_options` that were given, as on a command line."""
    given = {"--map": options.map, "--set": options.set, "--empty": options.empty}
    given |= {"--ignore": options.ignore, "--cap": options.cap}
    words = [f"{option} {shlex.quote(value)}" for option in given for value in given[option]]
    words += [f"--separator {options.separator!r}"] if options.separator else []
    words += [f"--encoding {options.encoding}"] if options.encoding != "utf-8" else []
    words += [f"--time-zone {options.time_zone}"] if options.time_zone else []
    return words + (
        [f"--time-format {shlex.quote(options.time_format)}"] if options.time_format else []
    )


def pairs(values: list[str], option: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` arguments as a mapping.

    Raises:
        UserError: one is none, or a name is given twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, mark, right = value.partition("=")
        if not mark or not name or not right:
            form = "canonical=column, as in clicks=opened" if option == "--map" else "NAME=VALUE"
            raise UserError(f"{option} {value!r}: write {form}.")
        if name in found:
            raise UserError(f"{option} {value!r}: {name} is {found[name]!r} already; give it once.")
        found[name] = right
    return found


def named_log(text: str, options: argparse.Namespace, argument: str = "--log") -> ClickLog:
    """Return the log that a user names.

    Args:
        text: a file, ``table=FILE``, a name of `copygym data map`, or ``NAME`` or ``NAME=PATH`` of
            a dataset, which may be ``package.module:attribute``.
        options: of `add_log_options`.
        argument: where ``text`` was given, for messages.

    Raises:
        UserError: no such file or dataset, an option that a dataset does not have, or a fault of
            the log.
    """
    from copygym.envs import datasets
    from copygym.envs.datasets.own import named
    from copygym.envs.logs.clicklog import ClickLog

    name, _, path = text.partition("=")
    dataset = name in datasets.available() or is_path(name)
    if dataset and name != "table" and not Path(text).is_file():
        told = {
            "--map": options.map,
            "--separator": options.separator,
            "--encoding": None if options.encoding == "utf-8" else options.encoding,
            "--time-zone": options.time_zone,
            "--empty": options.empty,
            "--ignore": options.ignore,
            "--cap": options.cap,
            "--time-format": options.time_format,
        }
        for option, value in told.items():
            if value:
                shown = value[0] if isinstance(value, list) else value
                raise UserError(f"{option}={shown}: dataset {name} maps its columns itself.")
        own = {key: _value(value) for key, value in pairs(options.set, "--set").items()}
        return datasets.load(name, path or None, **own)
    if named.is_own(text):
        return named.load(text, **log_arguments(options))
    file = path if name == "table" and path else text
    if not Path(file).exists() and "." not in Path(file).name:
        if argument != "--log":
            raise unknown_name("dataset", name, datasets.available())
        raise UserError(
            f"{argument}={text}: there is no such file, and no such dataset among "
            f"{', '.join([*datasets.available(), *named.names()])}."
        )
    return ClickLog.read(file, **log_arguments(options))


def _value(text: str) -> Any:
    """Return a loader's option as the type that it stands for."""
    words: dict[str, Any] = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return int(text)
    except ValueError:
        return text


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` where argparse would print its usage and leave."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments as argparse does.

        Raises:
            UserError: they are wrong.
        """
        try:
            return super().parse_known_args(args, namespace)
        except _Refused as refused:
            raise UserError(str(refused)) from None

    def error(self, message: str) -> Any:
        """Raise the message as one sentence that says where the help is.

        Raises:
            UserError: always.
        """
        wrong = message.removeprefix("unrecognized arguments: ").split()[0]
        meant = nearest(wrong.partition("=")[0], self._all_options()) if wrong != message else None
        hint = f" (did you mean {meant}?)" if meant else ""
        raise UserError(f"{self.prog}: {message}{hint}; see `{self.prog} --help`.")

    def _all_options(self) -> list[str]:
        """Return the options of this parser and of its commands."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    found += inner._option_string_actions
        return found


def command_parser(name: str, description: str, examples: str) -> Parser:
    """Return the parser of a command, whose help prints its texts line by line as they are.

    Args:
        name: of the command, such as ``copygym ope``.
        description: what it does.
        examples: stand below the arguments.
    """
    return Parser(
        prog=name,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
