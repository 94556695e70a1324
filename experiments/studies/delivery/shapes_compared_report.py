"""Tables, figures and sections of E6, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from copygym.evaluation.metrics import METRICS
from copygym.experiments.report.figures import PALETTE, Picture, draw, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (
    "clicks_per_user",
    "profit_per_user",
    "unsubscribe_rate",
    "intra_list_diversity",
    "effective_creatives",
    "sends_per_user",
)


def main_table(result: Mapping[str, Any]) -> Table:
    """Return what every agent got with every shape, and how often that is worth choosing."""
    front, values = result["front"], result["estimates"]
    rows = tuple(
        (
            name,
            *(interval(values[name][key], METRICS[key].unit) for key in _SHOWN),
            interval(front[name]["on_front"], "%") if name in front else "-",
        )
        for name in result["policies"]
    )
    caption = (
        f"Interquartile means over {len(result['seeds'])} worlds with 95% bootstrap intervals over "
        f"worlds; agents learned for {result['steps']:,} decisions and met {result['users']:,} "
        f"held-out people, {result['horizon']} slots each. On the front: share of worlds in which "
        "no other agent and shape is as good in clicks, profit, people kept and variety, and "
        f"better in one. {result['judge']}"
    )
    columns = ("agent, shape", *(METRICS[key].label for key in _SHOWN), "on the front %")
    return Table(columns, rows, caption)


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    volumes = ", ".join(
        f"{agent} {interval(entry['hypervolume'])}" for agent, entry in result["agents"].items()
    )
    lost = {n: float(e["contribution"]["value"]) for n, e in result["front"].items()}
    most = max(lost, key=lambda name: lost[name])
    return (
        f"{len(result['agents'])} agents learned with each of {len(result['shapes'])} reward "
        f"shapes for {result['steps']:,} decisions in each of {len(result['seeds'])} worlds. "
        f"{result['judge']} Share of what could be had in all four aims at once that an agent's "
        f"shapes cover together (hypervolume): {volumes}. Most would be lost without {most}, "
        f"{interval(result['front'][most]['contribution'])}."
    )


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    volume = Table(
        ("agent", "hypervolume"),
        tuple((a, interval(e["hypervolume"])) for a, e in result["agents"].items()),
        "Share of the box of all four aims that an agent's shapes cover together. In clicks and "
        "profit 1 is what the planner earned in the same world, in the others that nobody leaves "
        "and that no two sends to a person are alike; 0 is nothing. Interquartile means over "
        "worlds.",
    )
    lost = Table(
        ("agent, shape", "on the front %", "lost without it"),
        tuple(
            (name, interval(entry["on_front"], "%"), interval(entry["contribution"]))
            for name, entry in sorted(
                result["front"].items(), key=lambda item: -float(item[1]["contribution"]["value"])
            )
        ),
        "What the agent's hypervolume would lose without this shape; means over worlds.",
    )
    text = (
        "A shape is worth choosing if nothing else is as good in all aims. It is worth having "
        "where the others leave a gap without it.",
    )
    return [
        Section("What the shapes buy", text, (volume, lost), (_picture(result),)),
        _by_world(result),
    ]


def _picture(result: Mapping[str, Any]) -> Picture:
    """Draw clicks against people who left, and profit against variety."""
    panels = (
        ("unsubscribe_rate", "clicks_per_user"),
        ("intra_list_diversity", "profit_per_user"),
    )

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels))
        for place, (across, up) in zip(axes, panels, strict=True):
            for index, agent in enumerate([*result["agents"], "references"]):
                names = (
                    result["references"]
                    if agent == "references"
                    else [f"{agent}, {shape}" for shape in result["shapes"]]
                )
                _points(place, result, names, across, up, PALETTE[index], agent)
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


def _points(
    place: Any,
    result: Mapping[str, Any],
    names: list[str],
    across: str,
    up: str,
    colour: str,
    label: str,
) -> None:
    for name in names:
        x, y = (scaled(result["estimates"][name][key], METRICS[key].unit) for key in (across, up))
        if x["value"] is None or y["value"] is None:
            continue
        place.plot([x["low"], x["high"]], [y["value"]] * 2, color=colour, lw=0.8, alpha=0.6)
        place.plot([x["value"]] * 2, [y["low"], y["high"]], color=colour, lw=0.8, alpha=0.6)
        place.plot([x["value"]], [y["value"]], "o", color=colour, ms=4.5, label=label)
        label = "_"
        place.annotate(
            name.rpartition(", ")[2],
            (x["value"], y["value"]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=7.5,
        )


def _by_world(result: Mapping[str, Any]) -> Section:
    tables = tuple(
        Table(
            ("world", *result["policies"]),
            tuple(
                (seed, *(_shown(run[name][key]) for name in result["policies"]))
                for seed, run in sorted(result["seeds"].items(), key=lambda item: int(item[0]))
            ),
            METRICS[key].label,
        )
        for key in _SHOWN[:4]
    )
    return Section("By world", (), tables, folded=True)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
