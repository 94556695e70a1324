"""Text that does nothing but be read: on a terminal, in a Markdown page, in a spreadsheet.

Names, texts and notes come from logs and models, and may hold anything: sequences that set a
terminal's title or clear it, marks that turn the order of letters around, HTML, links, formulas.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

    import polars as pl

#: Control characters (C0, DEL, C1) but tab and line feed, separators of lines that no terminal
#: shows, marks that override or isolate the direction of text, and halves of surrogate pairs.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: The same without what progress bars and colours on a terminal are made of.
_LINE_END = re.compile("\r+\n")
_BAR = re.compile("(\r|\x1b\\[[0-9;]*[mKA])")
#: What makes a cell of a CSV a formula to a spreadsheet, behind apostrophes that were put there.
_FORMULA = r"^'*[=+\-@\t\r\n＝＋－＠]"
#: Numbers may begin with a sign.
_NUMBER = r"^[+-]?(\d+|\d{1,3}(,\d{3})+)?(\.\d+|\.)?([eE][+-]?\d+)?%?$"
_DIGIT = r"\d"


def printable(text: str) -> str:
    """Return text whose control characters are visible: ESC becomes ``\\u001b``.

    Line feeds and tabs stay. What becomes visible is so as JSON spells it, so that JSON stays JSON.
    """
    if text.isprintable():  # isprintable is False of line feeds, but quick
        return text
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", _LINE_END.sub("\n", text))


def inert(text: str) -> str:
    """Return text that shows itself in Markdown: nothing in it is HTML, a link or an image."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    for active, shown in (("](", "]\\("), ("][", "]\\["), ("]:", "]\\:"), ("://", "&#58;//")):
        text = text.replace(active, shown)
    return re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:-1]}&#46;", text)


def inert_cell(text: str) -> str:
    """Return text as a cell of a Markdown table: one line, in which no character is special."""
    line = " ".join(printable(text).split())
    for special in "\\|`":
        line = line.replace(special, f"\\{special}")
    return inert(line)


def harmless(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return a table that no spreadsheet takes for formulas, and the number of changed cells.

    A text that begins with ``= + - @``, a tab or a line's end gets an apostrophe in front, as the
    OWASP advises for CSV, and so does a column's name; texts that are numbers stay. `as_written`
    takes the apostrophes off again.
    """
    import polars as pl

    changed = 0
    columns = []
    for column in table.get_columns():
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        if column.dtype == pl.String:
            danger = (
                column.str.contains(_FORMULA)
                & ~(column.str.contains(_NUMBER) & column.str.contains(_DIGIT))
            ).fill_null(False)
            if count := int(danger.sum()):
                changed += count
                quoted = pl.Series("'" + column)
                column = quoted.zip_with(danger, column).alias(column.name)
        columns.append(column)
    names = [f"'{name}" if re.match(_FORMULA, name) else name for name in table.columns]
    changed += sum(new != old for new, old in zip(names, table.columns, strict=True))
    made = pl.DataFrame(columns)
    made.columns = names
    return made, changed


def as_written(table: pl.DataFrame) -> pl.DataFrame:
    """Return a CSV's table without the apostrophes that `harmless` has put before formulas."""
    import polars as pl

    quoted = f"^'({_FORMULA[1:]})"
    texts = table.with_columns(pl.col(pl.String).str.replace(quoted, "$1"))
    names = [re.sub(quoted, r"\1", name) for name in table.columns]
    # A file may hold a name with the apostrophe and the same without.
    return texts.rename(dict(zip(table.columns, names, strict=True))) if _distinct(names) else texts


def _distinct(names: list[str]) -> bool:
    return len(set(names)) == len(names)


class PrintableStream:
    """A text stream that shows control characters instead of obeying them.

    Args:
        stream: where to write.
        bars: let through what progress bars and colours are made of, if it is a terminal.
    """

    def __init__(self, stream: TextIO, *, bars: bool = False) -> None:
        self._stream = stream
        self._bars = bars and stream.isatty()

    def write(self, text: str) -> int:
        """Write text; returns its own length, as a stream does."""
        if self._bars:
            parts = _BAR.split(text)
            # Every second part is what `_BAR` has found.
            shown = "".join(p if i % 2 else printable(p) for i, p in enumerate(parts))
        else:
            shown = printable(text)
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
