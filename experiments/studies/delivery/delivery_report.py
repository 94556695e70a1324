"""Tables, figures and sections of a delivery run, from its saved result alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.render import Event
from copygym.envs.simulator.fidelity import ORGANIC_TOO
from copygym.evaluation.metrics import METRICS
from copygym.experiments.report.figures import (
    Picture,
    calibration_figure,
    interval_figure,
    lines_figure,
    metric_panels,
    timelines_figure,
)
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

MAIN = ("ctr", "clicks_per_user", "profit_per_user", "unsubscribe_rate")
_OUTCOMES = (
    "reward_per_user",
    "sends_per_user",
    "organic_per_user",
    "cvr",
    "revenue_per_user",
    "cost_per_user",
    "step_regret",
)
_VARIETY = ("coverage", "effective_creatives", "gini", "intra_list_diversity", "novelty")


def main_table(result: Mapping[str, Any]) -> Table:
    """Return CTR, clicks, profit and unsubscribes by policy with intervals."""
    caption = (
        f"95% intervals over {result['users']:,} held-out users (bootstrap), "
        f"{result['horizon']} slots each. {result['judge']}"
        f"{remarks(result['metrics'], result.get('assumptions', ()))}"
    )
    return policy_table(result, MAIN, "metrics", caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [_comparison(result), _more_metrics(result)]
    for section in (
        learning_section(result),
        _timelines(result),
        _segments(result),
        fidelity_section(result),
    ):
        if section is not None:
            found.append(section)
    return found


def remarks(metrics: Mapping[str, Any], assumptions: Collection[str]) -> str:
    """Return what a caption says of clicks without a send, and of what the log does not record.

    Args:
        metrics: policy -> metric -> estimate.
        assumptions: of the simulated users.
    """
    said = _profit_remark(metrics, assumptions)
    if _organic(metrics):
        said = (
            " CTR: clicks on sends, over sends. Clicks per user also count organic ones, made in "
            f"slots in which nothing was sent.{said}"
        )
    if any("the log records no unsubscribes" in text for text in assumptions):
        said += " Unsubscribes are declared and not measured, as the log records none."
    return said


def _profit_remark(metrics: Mapping[str, Any], assumptions: Collection[str]) -> str:
    """Return why all profits are 0, where they are: an interval of zeros is no knowledge."""
    money = ("revenue_per_user", "cost_per_user")
    if any(by[key]["value"] for by in metrics.values() for key in money):
        return ""
    unknown = ("the log records no conversions", "the log records no revenue")
    if any(text.startswith(unknown) for text in assumptions):
        return " Profit is 0 as the log records no revenue and a send costs nothing."
    return " Profit is 0 as nobody happened to buy anything; its interval does not tell who would."


def _organic(metrics: Mapping[str, Any]) -> bool:
    return any((by.get("organic_per_user") or {}).get("value") for by in metrics.values())


def policy_table(
    result: Mapping[str, Any], keys: tuple[str, ...], part: str, caption: str
) -> Table:
    """Return metrics ``keys`` of a part of the result ("metrics", "differences", "regret")."""
    names = [name for name in result["policies"] if name in result[part]]
    rows = tuple(
        (name, *(interval(result[part][name][key], METRICS[key].unit) for key in keys))
        for name in names
    )
    strong = names.index(result["learned"]) if result["learned"] in names else None
    columns = ("policy", *(METRICS[key].label for key in keys))
    return Table(columns, rows, caption, strong)


def _comparison(result: Mapping[str, Any]) -> Section:
    panels = metric_panels({name: result["metrics"][name] for name in result["policies"]}, MAIN)
    picture = interval_figure(
        "policies",
        "Value of each policy with 95% intervals; the learned one in orange.",
        panels,
        result["learned"],
    )
    tables = [
        policy_table(
            result,
            MAIN,
            "differences",
            f"Difference from {result['baseline']}, paired by user: every policy meets the same "
            "users with the same luck. Percentages are percentage points.",
        )
    ]
    if result.get("regret"):
        caption = "Shortfall against the upper reference (regret), paired by user."
        tables.append(
            policy_table(result, ("clicks_per_user", "reward_per_user"), "regret", caption)
        )
    return Section("Policies compared", (), tuple(tables), (picture,))


def _more_metrics(result: Mapping[str, Any]) -> Section:
    organic = _organic(result["metrics"])
    keys = tuple(key for key in _OUTCOMES if key != "organic_per_user" or organic)
    outcomes = policy_table(
        result, keys, "metrics", f"Per user over the whole horizon.{_bought(result)}"
    )
    variety = policy_table(
        result,
        _VARIETY,
        "metrics",
        "Which creatives were sent. Coverage: share of the catalogue; effective creatives: "
        "exp(entropy); Gini: 0 is even; intra-list diversity: chance that two sends to a user "
        "differ; novelty: self-information under the log's popularity.",
    )
    return Section("More outcomes, and variety", (), (outcomes, variety))


def _bought(result: Mapping[str, Any]) -> str:
    unknown = "the log records no conversions"
    if not any(text.startswith(unknown) for text in result.get("assumptions", ())):
        return ""
    return " CVR and revenue are 0 as the log records no conversions."


def learning_section(result: Mapping[str, Any]) -> Section | None:
    """Return the learning curves, or None where no policy has one."""
    lines = {}
    for name, curve in result["curves"].items():
        points = [point for point in curve if point.get("reward") is not None]
        if len(points) > 2:
            x = [point["step"] for point in points]
            lines[name] = {"x": x, "y": _smoothed([point["reward"] for point in points])}
    if not lines:
        return None
    picture = lines_figure(
        "learning",
        "Reward while learning on simulated users (exploration included), running mean over a "
        "tenth of the run.",
        lines,
        "decisions",
        "reward per decision",
    )
    return Section("Learning curve", (), (), (picture,))


def _smoothed(values: list[float]) -> list[float]:
    window = max(1, len(values) // 10)
    padded = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=float)]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    smooth: list[float] = ((padded[ends] - padded[starts]) / (ends - starts)).tolist()
    return smooth


def _timelines(result: Mapping[str, Any]) -> Section | None:
    stored = result.get("timelines")
    if not stored or not stored["users"]:
        return None
    catalogue = _catalogue(stored["catalogue"])
    timelines = {
        f"user {index + 1} ({user['segment']})": [Event(*event) for event in user["events"]]
        for index, user in enumerate(stored["users"])
    }
    picture = timelines_figure(
        "timelines",
        f"What {result['learned']} sent to some users, by channel and slot, and what came of it.",
        timelines,
        catalogue,
        result["horizon"],
    )
    return Section("Timelines", (), (), (picture,))


def _catalogue(names: Mapping[str, Any]) -> Catalogue:
    k = len(names["creative_ids"])
    return Catalogue(
        creative_ids=tuple(names["creative_ids"]),
        texts=tuple(names["texts"]),
        product_ids=("",) * k,
        topics=("",),
        topic_of_creative=np.zeros(k, dtype=np.int64),
        channels=tuple(names["channels"]),
        slots=tuple(names["slots"]),
        cost_per_send=np.zeros(len(names["channels"])),
        popularity=np.full(k, 1 / k),
    )


def _segments(result: Mapping[str, Any]) -> Section | None:
    if not result.get("segments"):
        return None
    names = result["policies"]
    rows = tuple(
        (
            segment,
            f"{entry['users']:,}",
            *(interval(entry["metrics"][name]["clicks_per_user"]) for name in names),
        )
        for segment, entry in result["segments"].items()
    )
    caption = (
        "Clicks per user by segment, 95% intervals over its users; the largest segments."
        f"{segment_remark(result)}"
    )
    table = Table(("segment", "users", *names), rows, caption)
    return Section("By segment", (), (table,))


def segment_remark(result: Mapping[str, Any]) -> str:
    """Return what a caption says of the columns whose values name the segments."""
    columns = result.get("segment_by")
    return f" Segments are by {' | '.join(columns)}." if columns else ""


def fidelity_section(result: Mapping[str, Any]) -> Section | None:
    """Return the fidelity card, or None where nothing was fitted."""
    card = result.get("fidelity")
    if not card:
        return None
    text = (
        f"Users simulated by the {card['family']} response model, fitted on "
        f"{card['fitted_rows']:,} rows of {card['fitted_users']:,} users, against "
        f"{card['held_out_rows']:,} rows of {card['held_out_users']:,} users that the fit never "
        "saw.",
    )
    scores = Table(
        ("measure", "simulator", "compare with"),
        (
            (
                "log loss, nats",
                f"{card['log_loss']:.5f}",
                f"{card['log_loss_base']:.5f} (base rate)",
            ),
            ("log loss skill", _triple(card["log_loss_skill"]), "0"),
            ("Brier score", f"{card['brier']:.6f}", "-"),
            ("Brier skill", _triple(card["brier_skill"]), "0"),
            ("AUC", _triple(card["auc"]), "0.5"),
            ("ECE", _triple(card["ece"], 5), f"{card['ece_floor']:.5f} (perfect model)"),
        ),
        "Skill: share of the base rate's loss that is removed. Intervals: 95%, users as clusters. "
        "That of the ECE leans upwards, as resamples carry the noise twice; compare the value "
        "itself with what noise alone makes of a perfect model.",
    )
    by = segment_remark(result)
    groups = [
        _group_table(card, kind, by) for kind in dict.fromkeys(g["kind"] for g in card["groups"])
    ]
    points = tuple(card["effects"])
    pictures = (_calibration(card),) if card["curve"] else ()
    return Section("How real are the simulated users?", text, (scores, *groups), pictures, points)


def _calibration(card: Mapping[str, Any]) -> Picture:
    caption = (
        "Predicted and observed click rate of held-out users in bins of equal size, 95% intervals."
    )
    return calibration_figure("calibration", caption, card["curve"])


def _group_table(card: Mapping[str, Any], kind: str, by: str, largest: int = 8) -> Table:
    groups = [g for g in card["groups"] if g["kind"] == kind]
    inside = sum(g["real"][1] <= g["simulated"] <= g["real"][2] for g in groups)
    shown = sorted(groups, key=lambda g: -g["impressions"])[:largest]
    rows = tuple(
        (
            g["name"],
            f"{100 * g['simulated']:.2f}",
            " ".join(
                (
                    f"{100 * g['real'][0]:.2f}",
                    f"[{100 * g['real'][1]:.2f},",
                    f"{100 * g['real'][2]:.2f}]",
                )
            ),
            f"{g['impressions']:,}",
        )
        for g in shown
    )
    caption = (
        f"By {kind}: {inside} of {len(groups)} simulated rates lie in the real one's 95% interval"
        f"{'' if len(shown) == len(groups) else f'; the {len(shown)} largest are shown'}."
    )
    if kind == "segment":
        caption += by
    if kind != "channel" and any(g["name"] == HOLD for g in card["groups"]):
        caption += f" {ORGANIC_TOO}"
    return Table((kind, "simulated rate %", "real rate %", "impressions"), rows, caption)


def _triple(values: list[float | None], digits: int = 4) -> str:
    shown = ["-" if value is None else f"{value:.{digits}f}" for value in values]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"
