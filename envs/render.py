"""Pictures of a user's timeline: what was sent when, on which channel, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from copygym.core.errors import unknown_name
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Event(NamedTuple):
    """One slot of one user's timeline."""

    time: int
    slot: int
    creative: int  #: -1 for hold
    channel: int  #: -1 for hold
    click: bool
    conversion: bool
    unsubscribe: bool
    click_probability: float
    fatigue: float
    revenue: float
    text: str = ""  #: the copy, where it is not the catalogue's


class Timeline:
    """Records the events of one user's episode and draws them.

    Args:
        catalogue: names of creatives, channels and slots.
        horizon: slots per episode, the width of the picture.
    """

    def __init__(self, catalogue: Catalogue, horizon: int) -> None:
        self.catalogue, self.horizon = catalogue, horizon
        self.events: list[Event] = []
        self._finished = False

    def clear(self) -> None:
        """Forget the recorded episode."""
        self.events, self._finished = [], False

    def add(self, outcome: Outcome, row: int, text: str = "") -> None:
        """Record what happened to ``row``; after an episode's end a new timeline begins."""
        if self._finished:
            self.clear()
        event = Event(
            time=len(self.events),
            slot=int(outcome.slot[row]),
            creative=int(outcome.creative[row]),
            channel=int(outcome.channel[row]),
            click=bool(outcome.click[row]),
            conversion=bool(outcome.conversion[row]),
            unsubscribe=bool(outcome.unsubscribe[row]),
            click_probability=float(outcome.click_probability[row]),
            fatigue=float(outcome.fatigue[row]),
            revenue=float(outcome.revenue[row]),
            text=text,
        )
        self.events.append(event)
        self._finished = event.unsubscribe or len(self.events) >= self.horizon

    def render(self, mode: str) -> Any:
        """Return the timeline as text ("ansi") or an (H, W, 3) uint8 picture ("rgb_array")."""
        if mode == "ansi":
            return timeline_text(self.events, self.catalogue)
        if mode == "rgb_array":
            return timeline_picture(self.events, self.catalogue, self.horizon)
        raise unknown_name("render mode", mode, ["ansi", "rgb_array"])


def timeline_text(events: list[Event], catalogue: Catalogue) -> str:
    """Return one line per slot and a line of totals."""
    lines = []
    for event in events:
        what = "hold"
        if event.creative >= 0:
            copy = event.text or catalogue.texts[event.creative]
            copy = copy if len(copy) <= 48 else copy[:47] + "…"
            what = f"{catalogue.channels[event.channel]:<8} {copy}"
        marks = [
            mark
            for mark, happened in (
                ("click", event.click),
                (f"buys {event.revenue:.2f}", event.conversion),
                ("UNSUBSCRIBES", event.unsubscribe),
            )
            if happened
        ]
        lines.append(
            f"{event.time:>3} {catalogue.slots[event.slot]:<10} p={event.click_probability:.3f} "
            f"fatigue={event.fatigue:4.2f}  {what:<58}{' + '.join(marks)}".rstrip()
        )
    sends = sum(event.creative >= 0 for event in events)
    clicks = sum(event.click for event in events)
    revenue = sum(event.revenue for event in events)
    lines.append(f"{len(events)} slots, {sends} sends, {clicks} clicks, revenue {revenue:.2f}")
    return "\n".join(lines)


def draw_timeline(axes: Axes, events: list[Event], catalogue: Catalogue, horizon: int) -> None:
    """Draw the timeline on matplotlib axes: a lane per channel, fatigue as an area below."""
    n_channels = len(catalogue.channels)
    times = np.array([event.time for event in events], dtype=float)
    fatigue = np.array([event.fatigue for event in events], dtype=float)
    if len(events):
        scaled = -0.9 + 0.8 * fatigue / max(1.0, fatigue.max())
        axes.fill_between(times, -0.9, scaled, step="mid", color="#c9b8a0", alpha=0.6, lw=0)
    styles = (
        ("send", "#8aa1b8", "o", lambda e: e.creative >= 0 and not e.click),
        ("click", "#2c7fb8", "o", lambda e: e.click and not e.conversion),
        ("conversion", "#238b45", "*", lambda e: e.conversion),
        ("unsubscribe", "#cb181d", "X", lambda e: e.unsubscribe),
    )
    for label, colour, marker, chosen in styles:
        picked = [event for event in events if chosen(event)]
        axes.scatter(
            [event.time for event in picked],
            [max(event.channel, 0) for event in picked],
            s=90 if marker == "*" else 40,
            c=colour,
            marker=marker,
            label=label,
            zorder=3,
        )
    axes.set_yticks([-0.5, *range(n_channels)], ["fatigue", *catalogue.channels])
    axes.set_xlim(-0.7, horizon - 0.3)
    axes.set_ylim(-1.0, n_channels - 0.4)
    axes.set_xlabel("slot")
    axes.grid(axis="y", alpha=0.2)


def timeline_picture(events: list[Event], catalogue: Catalogue, horizon: int) -> np.ndarray:
    """Return the timeline as an (H, W, 3) uint8 picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.45 * len(catalogue.channels)), dpi=80, layout="tight")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_timeline(axes, events, catalogue, horizon)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.28), ncols=4, frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
