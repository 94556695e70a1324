"""Tables, figures and sections of E11 in storefront, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

Estimates = Mapping[str, Mapping[str, Mapping[str, Any]]]

_EXCESS = "excess log loss, 1/1000 nats"
_CALIBRATION = "predicted / true clicks"


def main_table(result: Mapping[str, Any]) -> Table:
    """Return the three answers: who or what is predicted, by what, and what that gains."""
    rows: list[tuple[str, ...]] = []
    if "cold_start" in result:
        found, reveal = (
            result["cold_start"]["estimates"],
            result["cold_start"]["settings"]["reveal"],
        )
        rows += [
            (f"new users: {name}", *_pair(found, name, f"{name} - demographics"))
            for name in _cold_rows(result["cold_start"], [reveal[0], reveal[-1]])
        ]
    if "long_tail" in result:
        tail = result["long_tail"]
        last = str(tail["settings"]["groups"])
        rows += [
            (
                f"{_group(group, last)}: by {model}",
                *_pair(tail["estimates"], f"{model}, {group}", f"{model} - number, {group}"),
            )
            for group in ("1", last)
            for model in tail["settings"]["models"]
        ]
    if "drift" in result:
        settings = result["drift"]["settings"]
        rows += [
            (
                f"{tastes} tastes: {_WORDS[update]}",
                *_pair(
                    result["drift"]["estimates"],
                    f"{tastes}, {update}, all",
                    f"{tastes}, {update} - once, all",
                ),
            )
            for tastes in settings["worlds"]
            for update in settings["updates"]
        ]
    caption = (
        "How far predictions of people whom nothing was fitted on are from the truth: expected log "
        "loss per send above that of the truth (0 is perfect, lower is better), and its difference "
        "from demographics, from the creative's number, or from a fit that is never updated, in "
        f"the same world. Means over {len(result['worlds'])} synthetic worlds with 95% bootstrap "
        "intervals over worlds."
    )
    return Table(("", _EXCESS, "difference"), tuple(rows), caption)


_WORDS = {
    "once": "fitted once",
    "profiles": "profiles updated",
    "everything": "fitted anew on everything",
    "window": "fitted anew on the latest periods",
}


def _group(group: str, last: str) -> str:
    return "most sent creatives" if group == "1" else f"rarest of {last} groups"


def _pair(found: Estimates, name: str, difference: str) -> tuple[str, str]:
    other = found.get(difference)
    return (
        interval(found[name]["excess"]),
        "-" if other is None else interval(other["excess"]),
    )


def _cold_rows(part: Mapping[str, Any], reveal: Sequence[int]) -> list[str]:
    """Return the names of profiles with the numbers of sends in ``reveal``, in table order."""
    names = ["population", *part["settings"]["profiles"]]
    wanted = [entry for name in names for entry in (name, *(f"{name}, {n}" for n in reveal))]
    return [name for name in wanted if name in part["estimates"]]


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    parts = [f"{len(result['worlds'])} synthetic storefront worlds, judged by their own truth."]
    if "cold_start" in result:
        cold = result["cold_start"]
        most = cold["settings"]["reveal"][-1]
        gain = cold["estimates"].get(f"shrunk, {most} - demographics")
        if gain is not None:
            parts.append(
                f"New users: after {most} sends a shrunk profile changes the excess log loss of "
                f"demographics by {interval(gain['excess'])} (1/1000 nats) and true clicks per 100 "
                f"sends by {interval(gain['value'])}."
            )
    if "long_tail" in result:
        tail = result["long_tail"]
        last = tail["settings"]["groups"]
        gain = tail["estimates"].get(f"number and text - number, {last}")
        if gain is not None:
            parts.append(
                f"Rare products: in the rarest of {last} groups, text beside the creative's number "
                f"changes it by {interval(gain['excess'])}."
            )
    if "drift" in result:
        for tastes in result["drift"]["settings"]["worlds"]:
            gain = result["drift"]["estimates"].get(f"{tastes}, everything - once, all")
            if gain is not None:
                parts.append(
                    f"{tastes.capitalize()} tastes: fitting anew on everything changes it by "
                    f"{interval(gain['excess'])}."
                )
    return " ".join(parts)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    makers = {"cold_start": _cold_start, "long_tail": _long_tail, "drift": _drift}
    return [make(result[part]) for part, make in makers.items() if part in result]


# ------------------------------------------------------------------ new users


def _cold_start(part: Mapping[str, Any]) -> Section:
    found, reveal = part["estimates"], part["settings"]["reveal"]
    columns = ("profile, sends revealed", _EXCESS, "log loss", "AUC", _CALIBRATION,
               "true clicks per 100 sends")  # fmt: skip
    keys = ("excess", "log_loss", "auc", "calibration", "value")
    rows = [
        (name, *(interval(found[name][key]) for key in keys)) for name in _cold_rows(part, reveal)
    ]
    rows.append(("truth", "0", "-", "-", "1", interval(found["truth"]["value"])))
    whole = Table(
        columns,
        tuple(rows),
        f"The same {part['sends']:,} sends of {part['people']:,} people (means over worlds) for "
        "every row: those after the largest number revealed. True clicks: everybody, rested, is "
        "sent in each slot what is predicted to be clicked most.",
    )
    paired = Table(
        ("difference", _EXCESS, "AUC", "true clicks per 100 sends"),
        tuple(
            (name, *(interval(found[name][key]) for key in ("excess", "auc", "value")))
            for first in _cold_rows(part, reveal)
            for name in (
                f"{first} - {other}" for other in ("population", "demographics", "raw means")
            )
            if name in found
        ),
        "Differences within a world; negative excess is better.",
    )
    lines = {
        name: _line(found, [(n, f"{name}, {n}") for n in reveal], "excess")
        for name in part["settings"]["profiles"]
        if f"{name}, {reveal[0]}" in found
    }
    for name in ("population", "demographics"):
        if name in found:
            lines[name] = _line(found, [(n, name) for n in reveal], "excess", band=False)
    # 0 has no place on a logarithmic axis: it stands left of 1.
    for line in lines.values():
        line["x"] = [max(n, 0.5) for n in reveal]
    picture = lines_figure(
        "cold_start",
        "Excess log loss of people whom nobody was fitted on, by how many of their sends are "
        f"revealed ({', '.join(str(n) for n in reveal)}); bands are 95% intervals over worlds "
        "(synthetic).",
        lines,
        "sends revealed (none: left of 1)",
        _EXCESS,
        log_x=True,
    )
    return Section("New users", (), (whole, paired), (picture,))


def _line(
    found: Estimates, points: list[tuple[float, str]], key: str, *, band: bool = True
) -> dict[str, Any]:
    """Return x, y and perhaps low and high of the named estimates."""
    entries = [found[name][key] for _, name in points]
    line: dict[str, Any] = {"x": [x for x, _ in points], "y": [e["value"] for e in entries]}
    if band:
        line |= {edge: [e[edge] for e in entries] for edge in ("low", "high")}
    return line


# ------------------------------------------------------------------ rare products


def _long_tail(part: Mapping[str, Any]) -> Section:
    found, models = part["estimates"], part["settings"]["models"]
    groups = [str(g + 1) for g in range(int(part["settings"]["groups"]))]
    sizes = Table(
        ("group", "share of sends %", "sends per creative"),
        tuple(
            (g, interval(part["groups"][g]["share"], "%"), interval(part["groups"][g]["sends"]))
            for g in groups
        ),
        f"{part['creatives']} creatives by how often the training log sent them; 1 is the most "
        "sent.",
    )
    by_group = tuple(
        Table(
            ("group", *models, *(f"{m} - number" for m in models if m != "number")),
            tuple(
                (
                    g,
                    *(interval(found[f"{m}, {g}"][key]) for m in models),
                    *(
                        interval(found[f"{m} - number, {g}"][key])
                        if f"{m} - number, {g}" in found
                        else "-"
                        for m in models
                        if m != "number"
                    ),
                )
                for g in (*groups, "all")
            ),
            caption,
        )
        for key, caption in (
            ("excess", f"{_EXCESS}, of held-out people's sends of these creatives."),
            ("error", "Error of the logits (root mean square against the truth, rested people, "
                      "every creative, channel and slot alike)."),
            ("calibration", "Gap of predicted and true clicks, creative by creative, over the true "
                            "ones."),
            ("log_loss", "Log loss of the clicks, nats per send."),
        )
    )  # fmt: skip
    lines = {
        model: _line(found, [(int(g), f"{model}, {g}") for g in groups], "error")
        for model in models
    }
    picture = lines_figure(
        "long_tail",
        "Error of the click logits by popularity of the creative, 1 the most sent; bands are 95% "
        "intervals over worlds (synthetic).",
        lines,
        "group by popularity in the training log (1: most sent)",
        "error of the logits",
    )
    return Section("Rare products", (), (sizes, *by_group), (picture,))


# ------------------------------------------------------------------ changing tastes


def _drift(part: Mapping[str, Any]) -> Section:
    found, settings = part["estimates"], part["settings"]
    updates = settings["updates"]
    periods = list(range(int(settings["first"]) + 1, int(settings["periods"]) + 1))
    tables: list[Table] = []
    pictures: list[Picture] = []
    for tastes in settings["worlds"]:
        others = [u for u in updates if u != "once" and f"{tastes}, {u} - once, all" in found]
        for key, caption in (("excess", _EXCESS), ("calibration", _CALIBRATION), ("auc", "AUC")):
            compared = others if key != "calibration" else []
            rows = tuple(
                (
                    f"{period}",
                    *(interval(found[f"{tastes}, {u}, {period}"][key]) for u in updates),
                    *(interval(found[f"{tastes}, {u} - once, {period}"][key]) for u in compared),
                )
                for period in (*periods, "all")
            )
            columns = ("period", *updates, *(f"{u} - once" for u in compared))
            tables.append(Table(columns, rows, f"{tastes.capitalize()} tastes: {caption}."))
        lines = {
            _WORDS[u]: _line(found, [(p, f"{tastes}, {u}, {p}") for p in periods], "excess")
            for u in updates
        }
        pictures.append(
            lines_figure(
                f"drift_{tastes}",
                f"{tastes.capitalize()} tastes: excess log loss by period, with and without "
                "updates; bands are 95% intervals over worlds (synthetic).",
                lines,
                "period",
                _EXCESS,
            )
        )
    return Section("Changing tastes", (), tuple(tables), tuple(pictures))
