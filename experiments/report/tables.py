"""A table that prints the same on a terminal, in Markdown and in the report."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from copygym.core.text.plain import inert, inert_cell, printable

#: Characters after which a sentence goes on in the next line of a terminal.
TEXT_WIDTH = 44


@dataclass(frozen=True)
class Table:
    """Rows of ready-formatted cells; the first column is text, the others are numbers.

    Attributes:
        columns: headings.
        rows: one tuple of cells per row, as long as ``columns``.
        caption: what the table shows and how its intervals were made.
        strong: index of the row to stress, or None.
        texts: indices of columns that hold sentences: they wrap, and read from the left.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    strong: int | None = None
    texts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row[:1]} has {len(row)} cells for {self.columns}")

    def to_text(self) -> str:
        """Return the table as aligned plain text."""
        lines = [tuple(map(_one_line, line)) for line in (self.columns, *self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        for i in self.texts:
            widths[i] = min(widths[i], TEXT_WIDTH)

        def align(line: Sequence[str]) -> str:
            cells = [
                cell.ljust(width) if i == 0 or i in self.texts else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            return "  ".join(cells).rstrip()

        def wrapped(line: Sequence[str]) -> list[str]:
            parts = [
                textwrap.wrap(cell, widths[i]) or [""] if i in self.texts else [cell]
                for i, cell in enumerate(line)
            ]
            return [align(row) for row in zip_longest(*parts, fillvalue="")]

        head, *body = map(wrapped, lines)
        rule = align(["-" * w for w in widths])
        # Rows of several lines need a gap to be told apart.
        gap = [""] if any(len(row) > 1 for row in body) else []
        return "\n".join([*head, rule, *(line for row in body for line in [*row, *gap])]).rstrip()

    def to_markdown(self) -> str:
        """Return the table as a GitHub-flavoured Markdown table, in which cells are text alone."""
        rule = ["---" if i == 0 or i in self.texts else "---:" for i in range(len(self.columns))]
        head, *body = [[inert_cell(cell) for cell in line] for line in (self.columns, *self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))

    def to_page(self, lead: str = "") -> str:
        """Return ``lead`` and the caption above the table, as a page of Markdown."""
        above = f"{lead}{inert(self.caption)}\n\n" if self.caption else lead
        return f"{above}{self.to_markdown()}\n"


def _one_line(cell: str) -> str:
    return " ".join(printable(cell).splitlines()).replace("\t", " ")


def interval(estimate: Mapping[str, Any], unit: str = "") -> str:
    """Format ``{"value", "low", "high"}`` as ``value [low, high]``.

    ``unit`` is "%" for a share (shown times 100), or "" for a plain number.
    """
    value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "-"
    scale = 100.0 if unit == "%" else 1.0
    digits = _digits(value * scale, None if low is None or high is None else (high - low) * scale)
    text = f"{value * scale:.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with ``digits`` significant digits; None becomes "-"."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _digits(value: float, width: float | None) -> int:
    """Return the decimals at which an interval of ``width`` shows two significant digits."""
    import math

    # Equal numbers whose sums were rounded differently have no width.
    noise = max(1e-9 * abs(value), 1e-12)
    size = width if width and width > noise else abs(value)
    if not size or not math.isfinite(size):
        return 2
    return min(6, max(0, 1 - math.floor(math.log10(size))))
