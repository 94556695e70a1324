"""The argument parser of the commands that need no Hydra."""

from __future__ import annotations

import argparse
from typing import Any

from copygym.envs.errors import UserError


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` where argparse would print its usage and leave."""

    def error(self, message: str) -> Any:
        """Raise the message as one sentence that says where the help is.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`.")


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
