"""Figures for reports: matplotlib, as SVG that follows the page's light or dark colours.

Text and axes are drawn in one sentinel colour, which becomes ``currentColor`` in the SVG. Data
colours are from Okabe and Ito's palette, which people with colour-blindness can tell apart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.plain import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from copygym.envs.logs.catalogue import Catalogue
    from copygym.envs.render import Event

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("-", "--", ":")
_INK = "#010203"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "legend.frameon": False,
    # Long enough to tell dashes beside a marker.
    "legend.handlelength": 3.2,
    "svg.fonttype": "none",
    # Fixed, so that the same results give the same file.
    "svg.hashsalt": "copygym",
    "text.color": _INK,
    # Copy and names may hold two dollar signs.
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: file name without ending.
        caption: what one sees; also its text for screen readers.
        svg: inline SVG for the report.
        png: the same on white, for W&B and files.
    """

    name: str
    caption: str
    svg: str
    png: bytes


def draw(
    name: str, caption: str, size: tuple[float, float], plot: Callable[[Figure], None]
) -> Picture:
    """Draw a figure of ``size`` (inches) by calling ``plot`` with an empty one.

    Raises:
        UserError: the name is no name of a file: a result that was read from a folder may hold it.
    """
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UserError(f"a figure is called {name!r}: give it letters, digits, - and _ alone.")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    drawn = printable(svg.getvalue())
    return Picture(name, caption, _inline(drawn, name, caption), png.getvalue())


def _inline(svg: str, name: str, caption: str) -> str:
    """Return the SVG element alone, in the page's colour and with ids of its own."""
    from html import escape

    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    # Two figures in one page must not share the ids that their clip paths and markers refer to.
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    label = escape(printable(caption), quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def scaled(estimate: Mapping[str, float | None], unit: str = "%") -> dict[str, float | None]:
    """Return an estimate as figures show it: a share (unit "%") times 100, None left as it is."""
    factor = 100.0 if unit == "%" else 1.0
    return {edge: None if value is None else factor * value for edge, value in estimate.items()}


def interval_figure(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    strong: str | None = None,
) -> Picture:
    """Draw one panel per metric with each policy's value and interval.

    Args:
        name: file name.
        caption: text below.
        panels: heading -> policy -> ``{value, low, high}``.
        strong: policy to draw in the second colour.
    """
    policies = list(next(iter(panels.values())))

    def plot(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, (heading, values) in zip(axes, panels.items(), strict=True):
            for y, policy in enumerate(policies):
                entry = values[policy]
                value = entry["value"]
                if value is None:
                    continue
                colour = PALETTE[1] if policy == strong else PALETTE[0]
                low, high = entry["low"], entry["high"]
                if low is not None and high is not None:
                    place.plot([low, high], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
                place.plot([value], [y], "o", color=colour, ms=5.5)
            place.set_title(heading)
            place.set_ylim(len(policies) - 0.5, -0.5)
            place.grid(axis="x", alpha=0.25)
            place.tick_params(axis="y", length=0)
            place.spines["left"].set_visible(False)
            place.locator_params(axis="x", nbins=5)
        axes[0].set_yticks(range(len(policies)), policies)

    return draw(name, caption, (2.6 * len(panels) + 1.4, 0.34 * len(policies) + 1.0), plot)


def lines_figure(
    name: str,
    caption: str,
    lines: Mapping[str, Mapping[str, Sequence[float | None]]],
    x_label: str,
    y_label: str,
    log_x: bool = False,
) -> Picture:
    """Draw lines, each with an optional band; beyond the palette they are dashed.

    Args:
        name: file name.
        caption: text below.
        lines: label -> ``{"x", "y"}`` and, for a band, ``{"low", "high"}``.
        x_label: with unit.
        y_label: with unit.
        log_x: logarithmic x axis.
    """

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (label, line) in enumerate(lines.items()):
            colour = PALETTE[index % len(PALETTE)]
            dashes = _DASHES[index // len(PALETTE) % len(_DASHES)]
            x, y = _floats(line["x"]), _floats(line["y"])
            marker = "o" if len(x) < 12 else None
            axes.plot(x, y, dashes, color=colour, lw=1.8, label=label, marker=marker)
            if "low" in line:
                low, high = _floats(line["low"]), _floats(line["high"])
                axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.25)
        if len(lines) > len(PALETTE):
            # So many names would hide the lines.
            figure.legend(loc="outside right upper")
        elif len(lines) > 1:
            axes.legend(loc="best")

    return draw(name, caption, (7.2, 3.4), plot)


def calibration_figure(name: str, caption: str, curve: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw observed against predicted click rate by bin.

    Args:
        name: file name.
        caption: text below.
        curve: the bins of `copygym.core.scores.calibration_curve`, as JSON types.
    """

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        predicted = _floats([entry["predicted"] for entry in curve])
        observed, low, high = (_floats([entry["real"][i] for entry in curve]) for i in range(3))
        axes.plot(predicted, observed, "o-", color=PALETTE[0], ms=5, lw=1.2)
        axes.vlines(predicted, low, high, color=PALETTE[0], alpha=0.5)
        top = float(np.nanmax(np.concatenate([predicted, observed]))) * 1.05
        axes.plot([0, top], [0, top], color=PALETTE[6], lw=1, ls="--")
        axes.set_xlabel("predicted click rate")
        axes.set_ylabel("observed click rate")
        axes.grid(alpha=0.25)

    return draw(name, caption, (4.6, 3.8), plot)


def timelines_figure(
    name: str,
    caption: str,
    timelines: Mapping[str, list[Event]],
    catalogue: Catalogue,
    horizon: int,
) -> Picture:
    """Draw the timelines of some users below each other."""
    from copygym.envs.render import draw_timeline

    lanes = 0.5 + 0.34 * len(catalogue.channels)

    def plot(figure: Figure) -> None:
        axes: np.ndarray = figure.subplots(len(timelines), 1, sharex=True, squeeze=False)[:, 0]
        for place, (title, events) in zip(axes, timelines.items(), strict=True):
            draw_timeline(place, events, catalogue, horizon)
            place.set_title(title, loc="left")
            place.set_xlabel("")
        axes[-1].set_xlabel("slot")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))

    return draw(name, caption, (7.6, (lanes + 0.4) * len(timelines) + 0.7), plot)


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
