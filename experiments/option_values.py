"""Values of options as people write them: whole numbers, numbers, percentages, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from copygym.core.errors import UserError

#: Beyond 2^53 whole numbers are not counted exactly as floats.
_MOST = 2**53 - 1


def number(text: str, option: str) -> float:
    """Return a finite number or a percentage as a number.

    Raises:
        UserError: it is neither.
    """
    word = text.strip()
    try:
        value = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{option}={text}: give a number or a percentage, such as 0.1 or 10%.")
    return value


def share(text: str, option: str) -> float:
    """Return a number between 0 and 1, neither of them.

    Raises:
        UserError: it is none.
    """
    value = number(text, option)
    if not 0 < value < 1:
        raise UserError(f"{option}={text}: it must lie between 0 and 1 (or 0% and 100%).")
    return value


def whole(least: int) -> Callable[[str, str], int]:
    """Return what reads a whole number that is not less than ``least``; 1e6 is one."""

    def read(text: str, option: str) -> int:
        word = text.strip()
        try:
            # As a whole number where it is one, because floats are exact to 2^53 only.
            value = int(word) if re.fullmatch(r"[+-]?[0-9]+", word) else _exact(word)
        except (ValueError, OverflowError):
            raise UserError(
                f"{option}={text}: give a whole number of {least} or more, without marks between "
                "its digits."
            ) from None
        if value < least:
            raise UserError(f"{option}={text}: give a whole number of {least} or more.")
        if value > _MOST:
            raise UserError(f"{option}={text}: it must be at most {_MOST:,}.")
        return value

    return read


def _exact(text: str) -> int:
    """Return a number such as 1e6 that is whole; raise a ValueError for any other."""
    value = float(text)
    if "_" in text or not value.is_integer():
        raise ValueError
    return int(value)


__all__ = ["number", "share", "whole"]
