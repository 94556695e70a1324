"""How much a log says: sentences for runs, tables and reports that rest on too little of it.

`copygym ope` gives each policy a verdict. Everything else that learns from a log or judges by it
says here, by the same limits, where the log cannot support what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.envs.logs.catalogue import HOLD
from copygym.evaluation.ope.judge import LEAST_EVENTS, UNSUPPORTED, WEAK, WEAK_EVENTS
from copygym.evaluation.ope.propensities import CONTRADICTED, propensity_notes
from copygym.experiments.report.tables import Table

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog


def click_cautions(parts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what to say of parts of a log with few clicks; nothing where there are enough.

    Args:
        parts: name -> counts, of which ``clicks``, ``organic`` (clicks while nothing was sent) and
            ``rows`` are read. A part without ``clicks`` is left out.
    """
    clicks = {
        name: int(part["clicks"]) - int(part.get("organic", 0))
        for name, part in parts.items()
        if part.get("clicks") is not None
    }
    few = {name: n for name, n in clicks.items() if n < LEAST_EVENTS}
    some = {name: n for name, n in clicks.items() if LEAST_EVENTS <= n < WEAK_EVENTS}
    if few:
        return [
            f"{UNSUPPORTED}: the log has {_listed(few)}; fewer than {LEAST_EVENTS} tell no "
            "choice from another, whatever the intervals say, so use a longer log."
        ]
    if some:
        return [
            f"{WEAK}: the log has {_listed(some)}; intervals from fewer than {WEAK_EVENTS} are too "
            "short."
        ]
    return []


def _listed(clicks: Mapping[str, int]) -> str:
    (first, n), *rest = clicks.items()
    words = [
        f"{n or 'no'} {'click on a send' if n == 1 else 'clicks on sends'} in its part {first!r}",
        *(f"{m or 'none'} in {name!r}" for name, m in rest[:5]),
    ]
    more = f" and as few in {len(rest) - 5} other parts" if len(rest) > 5 else ""
    return f"{', '.join(words)}{more}"


def cautions(result: Mapping[str, Any]) -> list[str]:
    """Return what a run's table has to say of its log, from the run's result alone."""
    parts = {
        name: part
        for name, part in (result.get("rows_seen") or {}).items()
        if isinstance(part, Mapping)
    }
    return [*click_cautions(parts), *contradictions(result.get("notes", ()))]


def contradictions(notes: Iterable[str]) -> list[str]:
    """Return those notes of a log that void every weight by its propensities."""
    return [note for note in notes if note.startswith(CONTRADICTED)]


def cautioned(table: Table, result: Mapping[str, Any]) -> Table:
    """Return a run's main table with `cautions` at the end of its caption."""
    found = cautions(result)
    if not found:
        return table
    text = " ".join(f"Caution, {sentence}" for sentence in found)
    return replace(table, caption=f"{table.caption} {text}".strip())


def noted(log: ClickLog) -> ClickLog:
    """Return a log whose notes say where its propensities contradict its arms' shares."""
    found = [] if log.synthetic else propensity_notes(log)
    return log.with_notes(*found) if found else log


def log_notes(log: ClickLog) -> list[str]:
    """Return what a check of a log has to say of its evidence: few clicks, wrong propensities."""
    counts = [pl.len().alias("rows"), pl.col("clicks").sum().alias("clicks")]
    found = log.sends().frame.select(counts).collect(engine="streaming").row(0, named=True)
    notes = [] if log.synthetic else propensity_notes(log)
    clicks = int(found["clicks"] or 0)
    if clicks < WEAK_EVENTS:
        verdict = UNSUPPORTED if clicks < LEAST_EVENTS else WEAK
        few = "1 click on a send" if clicks == 1 else f"{clicks or 'no'} clicks on sends"
        why = (
            f"fewer than {LEAST_EVENTS} tell no choice from another"
            if clicks < LEAST_EVENTS
            else f"intervals from fewer than {WEAK_EVENTS} are too short"
        )
        notes.insert(0, f"{verdict}: {few} in {found['rows']:,} rows; {why}.")
    return notes


def organic_clicks(log: ClickLog) -> int:
    """Return the clicks of a log's rows in which nothing was sent."""
    if not log.has("creative_id"):
        return 0
    held = log.frame.filter(pl.col("creative_id") == HOLD).select(pl.col("clicks").sum())
    return int(held.collect(engine="streaming").item() or 0)
