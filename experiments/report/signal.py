"""Cards of text x reader signal as a part of a report: can personal copy be learned here?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table

_CAPTION = (
    "Gain: thousandths of a nat of log loss that knowing who reads which text saves on readers "
    "that no fit saw, with 95% intervals over readers. Luck: share of permutations of the "
    "readers that agree with the clicks as well. Read: whether the model answers by reader."
)


def signal_section(cards: Mapping[str, Mapping[str, Any]]) -> Section:
    """Return the cards of several models as a section.

    Args:
        cards: by the model's name, `ReaderSignal.to_dict` with ``read``.
    """
    columns = ("model", "clicks", "readers", "texts", "gain a send", "gain a click", "luck", "read")
    rows = tuple(
        (
            name,
            f"{card['clicks']:,}",
            f"{card['readers']:,}",
            f"{card['texts']:,}",
            _thousandths(card["per_send"]),
            _thousandths(card["per_click"]),
            "-" if card["gain"] is None else f"{card['luck']:.3f}",
            "yes" if card["read"] else "no",
        )
        for name, card in cards.items()
    )
    points = tuple(f"{name}: {card['verdict']}" for name, card in cards.items())
    return Section("Text x reader signal", (), (Table(columns, rows, _CAPTION),), (), points)


def _thousandths(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (1000 * estimate[edge] for edge in ("value", "low", "high"))
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"
