"""Fidelity cards as parts of a report: of one simulator in full, and of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from copygym.core.estimates import Estimate
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.fidelity import ORGANIC_TOO, FidelityCard, GroupRate
from copygym.experiments.report.blocks import NONE
from copygym.experiments.report.figures import Picture, calibration_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table

_SCORES = (
    "Skill: share of the base rate's loss that is removed. Intervals: 95%, users as clusters. "
    "That of the ECE leans upwards, as resamples carry the noise twice; compare the value "
    "itself with what noise alone makes of a perfect model."
)
_CURVE = "Predicted and observed click rate of held-out users in bins of equal size, 95% intervals."


def cards_table(cards: Sequence[FidelityCard], caption: str = "") -> Table:
    """Return the main scores of several cards, a row each."""
    rows = []
    for card in cards:
        inside = [
            f"{sum(group.inside for group in groups)} of {len(groups)}"
            for groups in (card.groups_of("arm"), card.groups_of("segment"))
        ]
        rows.append(
            (
                f"{card.name} ({card.family})",
                "synthetic" if card.synthetic else "real",
                _estimate(card.log_loss_skill),
                _estimate(card.auc),
                _estimate(card.ece, 5),
                *inside,
            )
        )
    columns = ("simulator", "log", "log loss skill", "AUC", "ECE", "arms inside", "segments inside")
    return Table(columns, tuple(rows), caption)


def card_section(
    card: FidelityCard,
    heading: str,
    *,
    largest: int = 8,
    segments: str = "",
    drawn: bool = True,
) -> Section:
    """Return a card as a section.

    Args:
        card: of one simulator.
        heading: of the section.
        largest: so many groups of each kind are shown.
        segments: sentence on what segments are, with a space before it.
        drawn: show the calibration curve as a picture, else as a table; a picture leaves the
            assumptions to the report that it is part of.
    """
    text = (
        f"Users simulated by the {card.family} response model, fitted on {card.fitted_rows:,} "
        f"rows of {card.fitted_users:,} users, against {card.held_out_rows:,} rows of "
        f"{card.held_out_users:,} users that the fit never saw."
    )
    if not drawn and card.synthetic:
        text = f"Synthetic log. {text}"
    tables = [_scores(card)]
    if card.curve and not drawn:
        tables.append(_curve(card))
    tables += [
        _groups(card, kind, largest, segments if kind == "segment" else "")
        for kind in dict.fromkeys(group.kind for group in card.groups)
    ]
    points = list(card.effects)
    pictures: tuple[Picture, ...] = ()
    if not drawn:
        points += [f"Assumed: {sentence}" for sentence in card.assumptions]
    elif card.curve:
        curve = [asdict(one) for one in card.curve]
        pictures = (calibration_figure("calibration", _CURVE, curve),)
    return Section(heading, (text,), tuple(tables), pictures, tuple(points))


def _scores(card: FidelityCard) -> Table:
    rows = (
        (
            "log loss, nats",
            f"{card.log_loss:.5f}",
            f"{card.log_loss_base:.5f} (base rate {_percent(card.base_rate)}%)",
        ),
        ("log loss skill", _estimate(card.log_loss_skill), "0"),
        ("Brier score", f"{card.brier:.6f}", NONE),
        ("Brier skill", _estimate(card.brier_skill), "0"),
        ("AUC", _estimate(card.auc), "0.5"),
        ("ECE", _estimate(card.ece, 5), f"{card.ece_floor:.5f} (perfect model)"),
    )
    return Table(("measure", "simulator", "compare with"), rows, _SCORES)


def _curve(card: FidelityCard) -> Table:
    rows = tuple(
        (_percent(one.predicted), _interval(one.real), f"{one.impressions:,}") for one in card.curve
    )
    return Table(("predicted rate %", "real rate %", "impressions"), rows, _CURVE)


def _groups(card: FidelityCard, kind: str, largest: int, remark: str) -> Table:
    groups = card.groups_of(kind)
    shown = sorted(groups, key=lambda group: -group.impressions)[:largest]
    inside = sum(group.inside for group in groups)
    caption = (
        f"By {kind}: {inside} of {len(groups)} simulated rates lie in the real one's 95% interval"
        f"{'' if len(shown) == len(groups) else f'; the {len(shown)} largest are shown'}.{remark}"
    )
    if kind != "channel" and any(group.name == HOLD for group in card.groups):
        caption += f" {ORGANIC_TOO}"
    rows = tuple(map(_group, shown))
    return Table((kind, "simulated rate %", "real rate %", "impressions"), rows, caption)


def _group(group: GroupRate) -> tuple[str, str, str, str]:
    real = _interval(group.real)
    return group.name, _percent(group.simulated), real, f"{group.impressions:,}"


def _estimate(estimate: Estimate, digits: int = 4) -> str:
    """Return ``value [low, high]``; a card that was stored has None where there is no number."""
    value, low, high = (NONE if x is None else f"{x:.{digits}f}" for x in estimate)
    return f"{value} [{low}, {high}]"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f}"


def _interval(rate: Estimate) -> str:
    value, low, high = map(_percent, rate)
    return f"{value} [{low}, {high}]"
