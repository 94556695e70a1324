"""How far long work is: a bar on a terminal, a dated line now and then in a file or a CI log.

Nothing is said of work that takes less than `PATIENCE` seconds, nor of any where somebody asked for
quiet (``copygym --quiet``, or ``COPYGYM_QUIET=1``).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tqdm import tqdm

#: Seconds of work before a word is said of it.
PATIENCE = 5.0
#: Seconds between two lines about the same work, where there is no terminal.
EVERY = 30.0
#: The environment variable that asks for quiet; ``0`` and nothing do not.
QUIET = "COPYGYM_QUIET"

#: When anything was said, so that a stage with a bar of its own needs no second sign of life.
_last_said = 0.0


def quiet() -> bool:
    """Return whether somebody asked for quiet."""
    return os.environ.get(QUIET, "0") not in ("", "0")


def say(text: str) -> None:
    """Write a dated line to stderr, above the bars of a terminal."""
    global _last_said
    if quiet():
        return
    _last_said = time.monotonic()
    line = f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}"
    if sys.stderr.isatty():
        tqdm.write(line, file=sys.stderr)
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Lines:
    """Where bars write to without a terminal: each new drawing becomes a dated line."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> int:
        """Say what a bar draws; blanks only wipe it out on a terminal."""
        line = text.strip()
        if line and line != self._last:
            self._last = line
            say(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is flushed as it is written."""


class _Bar(tqdm):
    #: No thread beside each bar.
    monitor_interval = 0

    def refresh(self, *args: Any, **kwargs: Any) -> None:
        """Draw the bar again; lines come at their own pace, whatever has changed."""
        if self.bar_format is None:  # only lines have one
            super().refresh(*args, **kwargs)


def progress(
    things: Iterable[Any] | None = None,
    what: str = "",
    *,
    total: float | None = None,
    unit: str = "",
    **how: Any,
) -> Any:
    """Return `tqdm` around ``things``: an iterator, a context manager, with ``update``.

    Args:
        things: what is gone through; None where ``update`` counts.
        what: the work, in a few words.
        total: the count, where ``things`` does not tell it.
        unit: what is counted, such as ``log``.
        how: further arguments of `tqdm`, such as ``initial`` or ``leave``.
    """
    if total is None and things is not None:
        total = len(things) if isinstance(things, Sized) else None
    layout: dict[str, Any] = {"delay": 1.0} if sys.stderr.isatty() else _lines(unit, total, **how)
    if unit:
        layout["unit"] = unit
    return _Bar(things, what, total=total, disable=quiet(), **layout, **how)


def _lines(unit: str, total: float | None, unit_scale: bool = False, **_: Any) -> dict[str, Any]:
    """Return the arguments of a bar that is made of lines."""
    before, behind = ("", unit) if unit_scale else (f"{unit} " if unit else "", "")
    count = f"{before}{{n_fmt}}{behind}"
    if total:
        count = f"{{percentage:.0f}}%, {before}{{n_fmt}} of {{total_fmt}}{behind}"
    return {
        "file": _Lines(),
        "mininterval": EVERY,
        "miniters": 1,
        "delay": PATIENCE,
        "bar_format": f"{{desc}}: {count}, {{elapsed}} gone"
        + (", {remaining} left" if total else "")
        + "{postfix}",
    }


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say of the work inside the block that it goes on, and at its end how long it took.

    Args:
        what: the work, in a few words.
    """
    if quiet():
        yield
        return
    began, ended = time.monotonic(), threading.Event()

    def watch() -> None:
        if ended.wait(PATIENCE):
            return
        say(f"{what} ...")
        while not ended.wait(EVERY):
            if time.monotonic() - _last_said >= 2 * EVERY:
                say(f"{what}: {_clock(time.monotonic() - began)} gone")

    threading.Thread(target=watch, daemon=True, name=f"progress of {what}").start()
    try:
        yield
    finally:
        ended.set()
    if (took := time.monotonic() - began) >= PATIENCE:
        say(f"{what}: done in {_clock(took)}")


def _clock(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))
