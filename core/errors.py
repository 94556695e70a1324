"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """A mistake in what the user gave: file, row, config or option.

    The message is one sentence that names the file, the row, the column, the value and the way
    out. The command line prints it without a traceback and exits with status 2.
    """


def unknown_name(kind: str, name: str, choices: list[str]) -> UserError:
    """Return the error for a ``name`` that is not among ``choices`` of this ``kind``."""
    meant = nearest(name, choices)
    hint = f" (did you mean {meant!r}?)" if meant else ""
    return UserError(f"unknown {kind} {name!r}{hint}: choose one of {', '.join(sorted(choices))}.")


def nearest(name: str, choices: list[str]) -> str | None:
    """Return the choice that is spelt most like ``name``, or None where none is near."""
    from difflib import get_close_matches  # only where a mistake was made

    lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(name.lower(), list(lower), n=1, cutoff=0.7)
    return lower[found[0]] if found else None
