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
