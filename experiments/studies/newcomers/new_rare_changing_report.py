"""What E11 says of storefront: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from copygym.evaluation.records import Records, cells, filtered, number
from copygym.experiments.report.blocks import (
    NONE,
    Shown,
    curve,
    estimates_table,
    label_of,
    pivot_table,
)
from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

_EXCESS = "excess log loss, 1/1000 nats"
_CALIBRATION = "predicted / true clicks"
_VALUE = "true clicks per 100 sends"
_WORDS = {
    "once": "fitted once",
    "profiles": "profiles updated",
    "everything": "fitted anew on everything",
    "window": "fitted anew on the latest periods",
}
#: What differences of the main table are taken from.
_DEMOGRAPHICS, _NUMBER, _ONCE = "demographics", "number", "once"


def report(records: Records) -> Report:
    """Return how far predictions of new, rare and changing are from the truth."""
    makers: dict[str, Callable[[pl.DataFrame, Records], Section]] = {
        "cold_start": _cold_start,
        "long_tail": _long_tail,
        "drift": _drift,
    }
    questions = [name for name in makers if name in records.values("question")]
    frames = {name: filtered(records.estimates, question=name) for name in questions}
    return Report(
        f"New users, rare products, changing tastes: {_worlds(records)} of storefront",
        _summary(frames, records),
        _main_table(frames, records),
        [makers[name](frame, records) for name, frame in frames.items()],
    )


def _worlds(records: Records) -> str:
    count = len(records.seeds)
    return f"{count} worlds" if count > 1 else "one world"


def _bands(records: Records) -> str:
    several = "; bands are 95% intervals over worlds (synthetic)."
    return several if len(records.seeds) > 1 else " (synthetic)."


def _main_table(frames: dict[str, pl.DataFrame], records: Records) -> Table:
    """Return the three answers: who or what is predicted, by what, and what that gains."""
    rows: list[tuple[str, ...]] = []
    if "cold_start" in frames:
        frame = frames["cold_start"]
        ends = {min(records.values("n_sends")), max(records.values("n_sends"))}
        rows += [
            (f"new users: {label_of(cell)}", *_pair(frame, _DEMOGRAPHICS, **cell))
            for cell in _profiles(frame)
            if cell["n_sends"] is None or cell["n_sends"] in ends
        ]
    if "long_tail" in frames:
        last = max(records.values("group"))
        names = {1: "most sent creatives", last: f"rarest of {last} groups"}
        rows += [
            (f"{name}: by {model}", *_pair(frames["long_tail"], _NUMBER, model=model, group=group))
            for group, name in names.items()
            for model in records.values("model")
        ]
    if "drift" in frames:
        rows += [
            (
                f"{tastes} tastes: {_WORDS[update]}",
                *_pair(frames["drift"], _ONCE, tastes=tastes, update=update, period=None),
            )
            for tastes in records.values("tastes")
            for update in records.values("update")
        ]
    several = len(records.seeds) > 1
    caption = (
        "How far predictions of people whom nothing was fitted on are from the truth: expected log "
        "loss per send above that of the truth (0 is perfect, lower is better), and its difference "
        "from demographics, from the creative's number, or from a fit that is never updated, in "
        "the same world. "
        + (
            f"Means over {len(records.seeds)} synthetic worlds with 95% bootstrap intervals over "
            "worlds."
            if several
            else "Of one synthetic world."
        )
    )
    return Table(("", _EXCESS, "difference"), tuple(rows), caption)


def _pair(frame: pl.DataFrame, versus: str, **cell: Any) -> tuple[str, str]:
    """Return the excess of a cell and its difference, where there is one."""
    return interval(number(frame, "excess", **cell)), _difference(frame, "excess", versus, **cell)


def _difference(frame: pl.DataFrame, metric: str, versus: str, **cell: Any) -> str:
    found = _differences(frame, metric=metric, versus=versus, **cell)
    return NONE if found.is_empty() else interval(found.row(0, named=True))


def _differences(frame: pl.DataFrame, **cell: Any) -> pl.DataFrame:
    """Return paired differences; none where nothing was compared."""
    if "versus" not in frame.columns:
        return frame.clear()
    return filtered(frame.drop_nulls("versus"), **cell)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    return filtered(frame, versus=None)


def _profiles(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return ``profile`` and ``n_sends`` of all that predicts."""
    predicts = filtered(_plain(frame), metric="excess")
    return list(cells(predicts, ["profile", "n_sends"]))


def _summary(frames: dict[str, pl.DataFrame], records: Records) -> str:
    count = len(records.seeds)
    judged = "judged by their own truth" if count > 1 else "judged by its own truth"
    worlds = (
        f"{count} synthetic storefront worlds" if count > 1 else "One synthetic storefront world"
    )
    parts = [f"{worlds}, {judged}."]
    if "cold_start" in frames:
        cell = {"profile": "shrunk", "n_sends": max(records.values("n_sends"))}
        excess, value = (
            _difference(frames["cold_start"], key, _DEMOGRAPHICS, **cell)
            for key in ("excess", "value")
        )
        if excess != NONE:
            parts.append(
                f"New users: after {cell['n_sends']} sends a shrunk profile changes the excess log "
                f"loss of demographics by {excess} (1/1000 nats) and true clicks per 100 sends by "
                f"{value}."
            )
    if "long_tail" in frames:
        last = max(records.values("group"))
        cell = {"model": "number and text", "group": last}
        excess = _difference(frames["long_tail"], "excess", _NUMBER, **cell)
        if excess != NONE:
            parts.append(
                f"Rare products: in the rarest of {last} groups, text beside the creative's number "
                f"changes it by {excess}."
            )
    for tastes in records.values("tastes") if "drift" in frames else ():
        cell = {"tastes": tastes, "update": "everything", "period": None}
        excess = _difference(frames["drift"], "excess", _ONCE, **cell)
        if excess != NONE:
            parts.append(
                f"{tastes.capitalize()} tastes: fitting anew on everything changes it by {excess}."
            )
    return " ".join(parts)


def _compared(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the records with ``column`` naming what it is less than, where it is a difference."""
    if "versus" not in frame.columns:
        return frame
    less = pl.concat_str([pl.lit(" - "), pl.col("versus")])
    return frame.with_columns(pl.concat_str([pl.col(column), less], ignore_nulls=True))


def _or_all(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the records with "all" where the numeric ``column`` is null."""
    return frame.with_columns(pl.col(column).cast(pl.String).fill_null("all"))


# ------------------------------------------------------------------ new users


def _cold_start(frame: pl.DataFrame, records: Records) -> Section:
    whole = estimates_table(
        filtered(_plain(frame), profile=[cell["profile"] for cell in _profiles(frame)]),
        ["profile", "n_sends"],
        {
            "excess": Shown(_EXCESS),
            "log_loss": Shown("log loss"),
            "auc": Shown("AUC"),
            "calibration": Shown(_CALIBRATION),
            "value": Shown(_VALUE),
        },
        f"The same {_mean(records, 'sends'):,} sends of {_mean(records, 'people'):,} people (means "
        "over worlds) for every row: those after the largest number revealed. True clicks: "
        "everybody, rested, is sent in each slot what is predicted to be clicked most.",
        heading="profile, sends revealed",
    )
    truth = interval(number(frame, "value", profile="truth"))
    whole = Table(
        whole.columns, (*whole.rows, ("truth", "0", NONE, NONE, "1", truth)), whole.caption
    )
    label = pl.concat_str(["profile", pl.col("n_sends").cast(pl.String)], separator=", ",
                          ignore_nulls=True)  # fmt: skip
    paired = estimates_table(
        _compared(_differences(frame).with_columns(label=label), "label"),
        "label",
        {"excess": Shown(_EXCESS), "auc": Shown("AUC"), "value": Shown(_VALUE)},
        "Differences within a world; negative excess is better.",
        heading="difference",
    )
    return Section("New users", (), (whole, paired), (_by_sends(frame, records),))


def _mean(records: Records, key: str) -> int:
    """Return a count of the judged people's, on average over worlds."""
    counts = [about["cold_start"][key] for about in records.about.values()]
    return round(sum(counts) / len(counts))


def _by_sends(frame: pl.DataFrame, records: Records) -> Picture:
    frame = filtered(_plain(frame), metric="excess")
    reveal = sorted(records.values("n_sends"))
    # 0 has no place on a logarithmic axis: it stands left of 1.
    x = [max(n, 0.5) for n in reveal]
    lines: dict[str, dict[str, Any]] = {}
    several = frame.drop_nulls("n_sends").sort("n_sends")
    for profile in frame.drop_nulls("n_sends")["profile"].unique(maintain_order=True):
        own = filtered(several, profile=profile)
        lines[profile] = {"x": x, "y": own["value"].to_list()}
        if own["low"].is_not_null().any():
            lines[profile] |= {edge: own[edge].to_list() for edge in ("low", "high")}
    for row in filtered(frame, n_sends=None).iter_rows(named=True):
        lines[row["profile"]] = {"x": x, "y": [row["value"]] * len(x)}
    return lines_figure(
        "cold_start",
        "Excess log loss of people whom nobody was fitted on, by how many of their sends are "
        f"revealed ({', '.join(map(str, reveal))}){_bands(records)}",
        lines,
        "sends revealed (none: left of 1)",
        _EXCESS,
        log_x=True,
    )


# ------------------------------------------------------------------ rare products


def _long_tail(frame: pl.DataFrame, records: Records) -> Section:
    sizes = estimates_table(
        frame,
        "group",
        {"share": Shown("share of sends %", "%"), "sends": Shown("sends per creative")},
        f"{records.first['long_tail']['creatives']} creatives by how often the training log sent "
        "them; 1 is the most sent.",
    )
    scores = frame.drop_nulls("model")
    by_group = _or_all(_compared(scores, "model"), "group")
    captions = {
        "excess": f"{_EXCESS}, of held-out people's sends of these creatives.",
        "error": "Error of the logits (root mean square against the truth, rested people, every "
        "creative, channel and slot alike).",
        "calibration": "Gap of predicted and true clicks, creative by creative, over the true "
        "ones.",
        "log_loss": "Log loss of the clicks, nats per send.",
    }
    tables = [
        pivot_table(by_group, "group", "model", metric, caption)
        for metric, caption in captions.items()
    ]
    picture = curve(
        _plain(scores),
        "group",
        "model",
        "error",
        "long_tail",
        "Error of the click logits by popularity of the creative, 1 the most sent"
        f"{_bands(records)}",
        "group by popularity in the training log (1: most sent)",
        "error of the logits",
    )
    return Section("Rare products", (), (sizes, *tables), (picture,))


# ------------------------------------------------------------------ changing tastes


def _drift(frame: pl.DataFrame, records: Records) -> Section:
    tables: list[Table] = []
    pictures: list[Picture] = []
    for tastes in records.values("tastes"):
        own = filtered(frame, tastes=tastes)
        compared = _or_all(_compared(own, "update"), "period")
        for metric, caption in (("excess", _EXCESS), ("calibration", _CALIBRATION), ("auc", "AUC")):
            shown = compared if metric != "calibration" else _plain(compared)
            title = f"{tastes.capitalize()} tastes: {caption}."
            tables.append(pivot_table(shown, "period", "update", metric, title))
        words = pl.col("update").replace(list(_WORDS), list(_WORDS.values()))
        pictures.append(
            curve(
                _plain(own).with_columns(words),
                "period",
                "update",
                "excess",
                f"drift_{tastes}",
                f"{tastes.capitalize()} tastes: excess log loss by period, with and without "
                f"updates{_bands(records)}",
                "period",
                _EXCESS,
            )
        )
    return Section("Changing tastes", (), tuple(tables), tuple(pictures))
