"""Tables, figures and sections of E10, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

#: Metric -> heading.
_SHOWN = {
    "auc": "AUC",
    "auc_lost": "AUC lost",
    "log_loss": "log loss",
    "ece": "calibration error",
    "truth_correlation": "agreement with the truth",
    "attack_auc": "attack AUC",
}


def main_table(result: Mapping[str, Any]) -> Table:
    """Return what every setting is worth, what it cost, and what an attacker finds."""
    first = next(iter(result["estimates"].values()))
    shown = {key: heading for key, heading in _SHOWN.items() if key in first}
    names = [*result["references"], *(n for n, s in result["settings"].items() if not s["people"])]
    rows = tuple(_row(result, name, shown) for name in names)
    caption = (
        f"Interquartile means over {len(result['seeds'])} {result['unit']} with 95% bootstrap "
        f"intervals over them; {result['people']:,} people were learned from and "
        f"{result['judges']:,} others judge. AUC lost is against central without privacy, paired "
        f"by seed. Budgets are of whole people, with delta {result['delta']:g}, by the accountant "
        f"{result['accountant']}; noise is in clips. Attack AUC is that of a threshold on a "
        "person's loss (0.5 is a guess); no attacker whatsoever can exceed the bound."
    )
    columns = ("learned", "epsilon spent", "noise", *shown.values(), "bound on attacks")
    return Table(columns, rows, caption)


def _row(result: Mapping[str, Any], name: str, shown: Mapping[str, str]) -> tuple[str, ...]:
    setting = result["settings"].get(name, {})
    values = (interval(result["estimates"][name][key]) for key in shown)
    bound = "-" if setting.get("epsilon") is None else f"{setting['attack_bound']:.3f}"
    return (name, _spent(setting), number(setting.get("noise") or None), *values, bound)


def _spent(setting: Mapping[str, Any]) -> str:
    if not setting:
        return "-"
    return "infinite" if setting["epsilon"] is None else f"{setting['spent']:.2f}"


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    values = result["estimates"]
    budgets = [s["epsilon"] for n, s in result["settings"].items() if n.startswith("central, eps")]
    tight, loose = (f"central, epsilon {e:g}" for e in (min(budgets), max(budgets)))
    return (
        f"A click model of {result['parameters']} parameters that learned from "
        f"{result['people']:,} people ranks the sends of others with AUC "
        f"{interval(values['central']['auc'])}. Hiding each person's whole history costs "
        f"{interval(values[loose]['auc_lost'])} of it at epsilon {max(budgets):g} and "
        f"{interval(values[tight]['auc_lost'])} at epsilon {min(budgets):g}; learning federated "
        f"costs {interval(values['federated']['auc_lost'])}."
    )


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [
        Section(
            "What a budget costs",
            (
                "Central takes one gradient of each person of a round, federated the sum of "
                "several local steps; clipped bounds what one person adds, and a budget adds "
                "noise to the sum.",
            ),
            pictures=(_by_epsilon(result), _by_round(result)),
        )
    ]
    if any(setting["people"] for setting in result["settings"].values()):
        found.append(_by_people(result))
    return [*found, _by_seed(result)]


def _by_epsilon(result: Mapping[str, Any]) -> Picture:
    lines = {}
    budgets = sorted({s["epsilon"] for s in result["settings"].values() if s["epsilon"]})
    for kind in ("central", "federated"):
        entries = [result["estimates"][f"{kind}, epsilon {e:g}"]["auc"] for e in budgets]
        lines[f"{kind}, private"] = _line(budgets, entries)
    for kind in ("central", "federated"):
        entry = result["estimates"][kind]["auc"]
        lines[f"{kind}, no privacy"] = _line([budgets[0], budgets[-1]], [entry, entry])
    caption = (
        "AUC on held-out people against the budget epsilon of whole people; bands are 95% "
        f"intervals over {result['unit']}."
    )
    return lines_figure("epsilon", caption, lines, "epsilon", "AUC", log_x=True)


def _by_round(result: Mapping[str, Any]) -> Picture:
    lines = {}
    for name, curve in result["curves"].items():
        rounds = sorted(curve, key=int)
        steps = result["settings"][name]["local_steps"]
        label = f"{name}, {steps} local step{'s' if steps > 1 else ''}"
        lines[label] = _line([int(r) for r in rounds], [curve[r] for r in rounds])
    caption = (
        "AUC on held-out people by round, without privacy: the parameters of that round, not yet "
        "their average."
    )
    return lines_figure("rounds", caption, lines, "rounds", "AUC")


def _line(x: list[Any], entries: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    y, low, high = ([entry[key] for entry in entries] for key in ("value", "low", "high"))
    return {"x": x, "y": y, "low": low, "high": high}


def _by_people(result: Mapping[str, Any]) -> Section:
    few = {name: s for name, s in result["settings"].items() if s["people"]}
    epsilon = next(s["epsilon"] for s in few.values() if s["epsilon"])
    rows, lines = [], {}
    for budget in (None, epsilon):
        everybody = "central" if budget is None else f"central, epsilon {budget:g}"
        names = [name for name, s in few.items() if s["epsilon"] == budget]
        names = [*sorted(names, key=lambda name: int(few[name]["people"])), everybody]
        people = [few[n]["people"] if n in few else result["people"] for n in names]
        label = "no privacy" if budget is None else f"epsilon {budget:g}"
        entries = [result["estimates"][name] for name in names]
        lines[label] = _line(people, [entry["auc"] for entry in entries])
        rows += [
            (f"{count:,}", label, interval(entry["auc"]), interval(entry["attack_auc"]))
            for count, entry in zip(people, entries, strict=True)
        ]
    table = Table(
        ("people", "budget", "AUC", "attack AUC"),
        tuple(rows),
        "The same training on fewer people, all else equal. The noise hides one person whatever "
        "the number, so that it weighs less on the mean of many.",
    )
    caption = f"AUC on held-out people by the number learned from; 95% bands over {result['unit']}."
    picture = lines_figure("people", caption, lines, "people learned from", "AUC", log_x=True)
    return Section("How many people it takes", (), (table,), (picture,))


def _by_seed(result: Mapping[str, Any]) -> Section:
    seeds = sorted(result["seeds"].items(), key=lambda item: int(item[0]))
    tables = tuple(
        Table(
            ("learned", *(seed for seed, _ in seeds)),
            tuple(
                (name, *(number(run[name][key], 4) for _, run in seeds))
                for name in result["estimates"]
            ),
            f"{heading}, by seed",
        )
        for key, heading in _SHOWN.items()
        if key in ("auc", "attack_auc")
    )
    return Section("By seed", (), tables, folded=True)
