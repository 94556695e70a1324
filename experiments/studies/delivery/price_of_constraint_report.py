"""What the price of constraints says: tables, figure and words from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, estimates_table, shown
from copygym.experiments.report.figures import PALETTE, Picture, draw
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAIN = ("clicks_per_user", "profit_per_user", "sends_per_user", "unsubscribe_rate")
_OWN = {"used": Shown("used of the limit %", "%"), "price": Shown("price, clicks a send")}
_AXES = {
    "budget": "budget, sends a user",
    "cap": "cap, sends a user",
    "floor": "floor, sends a user",
}
_LINES = ("constrained", "clipped")


def report(records: Records) -> Report:
    """Return what each limit costs, and what is gained by learning under it."""
    about, frame = records.first, records.estimates
    count = len(records.seeds)
    worlds = f"{count} worlds" if count > 1 else "one world"
    caption = (
        f"Interquartile means over {worlds} with 95% bootstrap intervals; agents learned for "
        f"{about['steps']:,} decisions and met {about['users']:,} held-out people, "
        f"{about['horizon']} slots each. A budget is a mean over people, a cap holds for each of "
        f"them, a floor is for the product that the free agent shows least. {about['judge']}"
    )
    table = estimates_table(
        frame, ("rule", "limit", "policy"), {**shown(_MAIN), **_OWN}, caption,
        heading="rule, limit, policy",
    )  # fmt: skip
    free = interval(number(frame, "clicks_per_user", policy="free"))
    better = [row for row in _gains(records) if row[3].split(" of ")[0] == row[3].split(" of ")[1]]
    total = len(_gains(records))
    summary = (
        f"In {worlds} of storefront the free agent earns {free} clicks a user. Learning under a "
        f"limit beats clipping in every world at {len(better)} of {total} limits."
    )
    gains = Table(
        (
            "rule, limit",
            "gain in clicks a user",
            "gain in profit a user",
            "worlds in which clicks gain",
        ),
        tuple(_gains(records)),
        "Constrained less clipped, in the same world with the same luck.",
    )
    section = Section("Learning under the limit against clipping", (), (gains,), (_picture(frame),))
    return Report("The price of constraints", summary, table, [section])


def _gains(records: Records) -> list[tuple[str, str, str, str]]:
    """Return a row for each limit: gains in clicks and profit, and worlds in which clicks gain."""
    found = []
    cells = records.frame.select("rule", "limit").drop_nulls().unique(maintain_order=True)
    for rule, limit in cells.iter_rows():
        texts, better = [], ""
        for metric in ("clicks_per_user", "profit_per_user"):
            one, other = (
                records.by_seed(metric, rule=rule, limit=limit, policy=policy) for policy in _LINES
            )
            gain = one - other
            texts.append(f"{gain.mean():+.3f} ({gain.min():+.3f} to {gain.max():+.3f})")
            better = better or f"{int((gain > 0).sum())} of {len(gain)}"
        found.append((f"{rule} {limit:g}", *texts, better))
    return found  # type: ignore[return-value]


def _picture(frame: pl.DataFrame) -> Picture:
    rules = [rule for rule in _AXES if len(filtered(frame, rule=rule))]
    metrics = ("clicks_per_user", "profit_per_user")

    def plot(figure: Figure) -> None:
        axes = figure.subplots(len(metrics), max(1, len(rules)), squeeze=False)
        for row, metric in enumerate(metrics):
            free = number(frame, metric, policy="free")["value"]
            for place, rule in zip(axes[row], rules, strict=True):
                for colour, policy in zip(PALETTE, _LINES, strict=False):
                    line = filtered(frame, metric=metric, rule=rule, policy=policy).sort("limit")
                    x = line["limit"].to_list()
                    place.plot(x, line["value"].to_list(), "o-", color=colour, label=policy)
                    if line["low"].is_not_null().all():
                        place.fill_between(
                            x, line["low"].to_list(), line["high"].to_list(), color=colour,
                            alpha=0.15, lw=0,
                        )  # fmt: skip
                if free is not None:
                    place.axhline(free, color="grey", ls="--", lw=1, label="free")
                place.set_xlabel(_AXES[rule])
                place.grid(alpha=0.25)
            axes[row][0].set_ylabel(METRICS[metric].label)
        if rules:
            handles, labels = axes[0][0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))

    caption = (
        "Clicks and profit against each limit: agents that learned under it, and the free agent "
        "clipped to it. Interquartile means over worlds with 95% intervals."
    )
    return draw("price_of_constraint", caption, (9.6, 5.6), plot)
