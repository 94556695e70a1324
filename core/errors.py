"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """A mistake in what the user gave: file, row, config or option.

    The message is one sentence that names the file, the row, the column, the value and the way
    out. The command line prints it without a traceback and exits with status 2.
    """


def unknown_name(kind: str, name: str, choices: list[str]) -> UserError:
    """Return the error for a ``name`` that is not among ``choices`` of this ``kind``."""
    return UserError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(choices))}.")
