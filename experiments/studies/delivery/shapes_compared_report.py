"""What E6 says: tables, figure and words from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.evaluation.metrics import METRICS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, by_seed, estimates_table, label_of, shown
from copygym.experiments.report.figures import PALETTE, Picture, draw, scaled
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAIN = (
    "clicks_per_user",
    "profit_per_user",
    "unsubscribe_rate",
    "intra_list_diversity",
    "effective_creatives",
    "sends_per_user",
)
_CELL = ("agent", "shape")
_ON_FRONT = {"on_front": Shown("on the front %", "%")}


def report(records: Records) -> Report:
    """Return what every agent got with every shape, and which shapes are worth choosing."""
    about, frame = records.first, records.estimates
    count = len(records.seeds)
    worlds = f"{count} worlds" if count > 1 else "one world"
    caption = (
        f"Interquartile means over {worlds} with 95% bootstrap intervals over "
        f"worlds; agents learned for {about['steps']:,} decisions and met {about['users']:,} "
        f"held-out people, {about['horizon']} slots each. On the front: share of worlds in which "
        "no other agent and shape is as good in clicks, profit, people kept and variety, and "
        f"better in one. {about['judge']}"
    )
    # The planner, which knows the truth, stands last.
    order = frame.filter(pl.col("metric") != "hypervolume").sort(
        pl.col("agent") == "upper", maintain_order=True
    )
    table = estimates_table(
        order, _CELL, {**shown(_MAIN), **_ON_FRONT}, caption, heading="agent, shape"
    )
    return Report(
        f"Which reward shape? {worlds} of storefront",
        _summary(records, worlds),
        table,
        [_section(frame), _by_world(records)],
    )


def _summary(records: Records, worlds: str) -> str:
    about, frame = records.first, records.estimates
    volumes = filtered(frame, metric="hypervolume")
    agents = volumes["agent"].to_list()
    said = ", ".join(f"{a} {interval(number(frame, 'hypervolume', agent=a))}" for a in agents)
    most = filtered(frame, metric="contribution").sort("value", descending=True).row(0, named=True)
    return (
        f"{len(agents)} agents learned with each of {len(records.values('shape'))} reward "
        f"shapes for {about['steps']:,} decisions in each of {worlds}. "
        f"{about['judge']} Share of what could be had in all four aims at once that an agent's "
        f"shapes cover together (hypervolume): {said}. Most would be lost without "
        f"{most['agent']}, {most['shape']}, {interval(most)}."
    )


def _section(frame: pl.DataFrame) -> Section:
    volume = estimates_table(
        frame,
        "agent",
        {"hypervolume": Shown("hypervolume")},
        "Share of the box of all four aims that an agent's shapes cover together. In clicks and "
        "profit 1 is what the planner earned in the same world, in the others that nobody leaves "
        "and that no two sends to a person are alike; 0 is nothing. Interquartile means over "
        "worlds.",
    )
    front = filtered(frame, metric=["on_front", "contribution"])
    # By what would be lost, the most first.
    lost = front.filter(pl.col("metric") == "contribution").sort("value", descending=True)
    front = pl.concat([lost, front.filter(pl.col("metric") == "on_front")])
    table = estimates_table(
        front,
        _CELL,
        {**_ON_FRONT, "contribution": Shown("lost without it")},
        "What the agent's hypervolume would lose without this shape; means over worlds.",
    )
    text = (
        "A shape is worth choosing if nothing else is as good in all aims. It is worth having "
        "where the others leave a gap without it.",
    )
    return Section("What the shapes buy", text, (volume, table), (_picture(frame),))


def _by_world(records: Records) -> Section:
    label = pl.concat_str(list(_CELL), separator=", ", ignore_nulls=True)
    labelled = Records(records.frame.with_columns(policy=label), records.about)
    return by_seed(labelled, "policy", _MAIN[:4], unit="world")


def _picture(frame: pl.DataFrame) -> Picture:
    """Draw clicks against people who left, and profit against variety."""
    panels = (
        ("unsubscribe_rate", "clicks_per_user"),
        ("intra_list_diversity", "profit_per_user"),
    )
    cells = frame.filter(pl.col("shape").is_not_null() | (pl.col("agent") != "upper"))
    agents = cells.filter(pl.col("shape").is_not_null())["agent"].unique(maintain_order=True)

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels))
        for place, (across, up) in zip(axes, panels, strict=True):
            for index, agent in enumerate([*agents, None]):
                own = (
                    filtered(cells, shape=None).filter(~pl.col("agent").is_in(agents.to_list()))
                    if agent is None
                    else filtered(cells, agent=agent).filter(pl.col("shape").is_not_null())
                )
                _points(place, own, across, up, PALETTE[index], agent or "references")
            place.set_xlabel(METRICS[across].label)
            place.set_ylabel(METRICS[up].label)
            place.grid(alpha=0.25)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))

    caption = (
        "What each shape buys: clicks against people who left, profit against variety. "
        "Interquartile means over worlds with 95% intervals; the planner is outside."
    )
    return draw("aims", caption, (9.6, 4.6), plot)


def _points(place: Any, frame: pl.DataFrame, across: str, up: str, colour: str, label: str) -> None:
    for cell in frame.select(_CELL).unique(maintain_order=True).iter_rows(named=True):
        x, y = (
            scaled(number(frame, metric, **cell), METRICS[metric].unit) for metric in (across, up)
        )
        if x["value"] is None or y["value"] is None:
            continue
        for pair_x, pair_y in (
            ([x["low"], x["high"]], [y["value"]] * 2),
            ([x["value"]] * 2, [y["low"], y["high"]]),
        ):
            if None not in (*pair_x, *pair_y):
                place.plot(pair_x, pair_y, color=colour, lw=0.8, alpha=0.6)
        place.plot([x["value"]], [y["value"]], "o", color=colour, ms=4.5, label=label)
        label = "_"
        place.annotate(
            cell["shape"] or label_of(cell),
            (x["value"], y["value"]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=7.5,
        )
