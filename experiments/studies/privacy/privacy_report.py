"""What E10 says: tables, figures and words from its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from copygym.evaluation.records import NUMBER, Records, cells, filtered, number
from copygym.experiments.report.blocks import NONE, Shown, by_seed
from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.report.tables import number as digits

#: From whom AUC is lost: learned centrally, nothing clipped, nothing noised; and its counterpart.
CENTRAL, FEDERATED = "central", "federated"
#: Metric -> heading.
_SHOWN = {
    "auc": "AUC",
    "auc_lost": "AUC lost",
    "log_loss": "log loss",
    "ece": "calibration error",
    "truth_correlation": "agreement with the truth",
    "attack_auc": "attack AUC",
}
_CELL = ("learner", "epsilon", "people")
_BY_SEED = {"auc": Shown("AUC"), "attack_auc": Shown("attack AUC")}


def report(records: Records) -> Report:
    """Return what each budget costs, federated learning costs, and how many people it takes."""
    about, count = records.first, len(records.seeds)
    frame = filtered(records.estimates, round=None)
    sections = [
        Section(
            "What a budget costs",
            (
                "Central takes one gradient of each person of a round, federated the sum of "
                "several local steps; clipped bounds what one person adds, and a budget adds "
                "noise to the sum.",
            ),
            pictures=(_by_epsilon(frame, records), *_by_round(records)),
        )
    ]
    if records.values("people"):
        sections.append(_by_people(frame, records))
    if count > 1:
        label = pl.struct(_CELL).map_elements(label_of, return_dtype=pl.String)
        plain = records.where(round=None)
        labelled = Records(plain.frame.with_columns(learner=label), records.about)
        sections.append(by_seed(labelled, "learner", _BY_SEED, unit=_unit(records)))
    worlds = f"{count} {about['unit']}" if count > 1 else f"one {_unit(records)}"
    return Report(
        f"What does privacy cost? {worlds}, {about['log']}",
        _summary(frame, records),
        _main_table(frame, records),
        sections,
    )


def label_of(cell: dict[str, Any]) -> str:
    """Return the name of a setting: learner, people and budget."""
    people = "" if cell["people"] is None else f", {cell['people']:,} people"
    epsilon = "" if cell["epsilon"] is None else f", epsilon {cell['epsilon']:g}"
    return f"{cell['learner']}{people}{epsilon}"


def _unit(records: Records) -> str:
    return str(records.first["unit"]).partition(" ")[0].removesuffix("s")


def _people(records: Records, part: str) -> int:
    """Return how many people a part has, on average over seeds."""
    return int(np.mean([about["people"][part] for about in records.about.values()]))


def _over(records: Records) -> str:
    if len(records.seeds) < 2:
        return f"Values of one {_unit(records)}"
    return (
        f"Interquartile means over {len(records.seeds)} {records.first['unit']} with 95% bootstrap "
        "intervals over them"
    )


def _main_table(frame: pl.DataFrame, records: Records) -> Table:
    """Return what every setting is worth, what it cost, and what an attacker finds."""
    about = records.first
    frame = filtered(frame, people=None)
    shown = {key: name for key, name in _SHOWN.items() if key in records.values("metric")}
    private = frame["metric"].is_in(["epsilon_spent", "noise", "attack_bound"])
    settings, known = frame.filter(~private), set(about["local_steps"])
    lines = []
    for cell in cells(settings, _CELL):

        def entry(metric: str, cell: dict[str, Any] = cell) -> dict[str, Any]:
            found = filtered(frame, metric=metric, **cell)
            return found.row(0, named=True) if found.height else dict.fromkeys(NUMBER)

        spent, bound = entry("epsilon_spent")["value"], entry("attack_bound")["value"]
        free = "infinite" if cell["learner"] in known else NONE
        lines.append(
            (
                label_of(cell),
                free if spent is None else f"{spent:.2f}",
                digits(entry("noise")["value"]),
                *(interval(entry(key)) for key in shown),
                NONE if bound is None else f"{bound:.3f}",
            )
        )
    caption = (
        f"{_over(records)}; {_people(records, 'train'):,} people were learned from and "
        f"{_people(records, 'test'):,} others judge. AUC lost is against central without privacy, "
        f"paired by seed. Budgets are of whole people, with delta {about['delta']:g}, by the "
        f"accountant {about['accountant']}; noise is in clips. Attack AUC is that of a threshold "
        "on a person's loss (0.5 is a guess); no attacker whatsoever can exceed the bound."
    )
    columns = ("learned", "epsilon spent", "noise", *shown.values(), "bound on attacks")
    return Table(columns, tuple(lines), caption)


def _summary(frame: pl.DataFrame, records: Records) -> str:
    frame = filtered(frame, people=None)
    budgets = records.values("epsilon")

    def cost(learner: str, epsilon: float | None) -> str:
        return interval(number(frame, "auc_lost", learner=learner, epsilon=epsilon))

    auc = interval(number(frame, "auc", learner=CENTRAL, epsilon=None))
    return (
        f"A click model of {records.first['parameters']} parameters that learned from "
        f"{_people(records, 'train'):,} people ranks the sends of others with AUC {auc}. Hiding "
        f"each person's whole history costs {cost(CENTRAL, max(budgets))} of it at epsilon "
        f"{max(budgets):g} and {cost(CENTRAL, min(budgets))} at epsilon {min(budgets):g}; learning "
        f"federated costs {cost(FEDERATED, None)}."
    )


def _bands(records: Records) -> str:
    return f"; bands are 95% intervals over {records.first['unit']}" if _several(records) else ""


def _several(records: Records) -> bool:
    return len(records.seeds) > 1


def _line(rows: pl.DataFrame, x: list[Any]) -> dict[str, list[Any]]:
    """Return a line of `lines_figure`, with a band where there are intervals."""
    line = {"x": x, "y": rows["value"].to_list()}
    if rows["low"].is_not_null().any():
        line |= {edge: rows[edge].to_list() for edge in ("low", "high")}
    return line


def _by_epsilon(frame: pl.DataFrame, records: Records) -> Picture:
    frame = filtered(frame, metric="auc", people=None)
    budgets = sorted(records.values("epsilon"))
    kinds = (CENTRAL, FEDERATED)
    lines = {}
    for kind in kinds:
        private = filtered(frame, learner=kind, epsilon=budgets).sort("epsilon")
        lines[f"{kind}, private"] = _line(private, budgets)
    for kind in kinds:
        plain = filtered(frame, learner=kind, epsilon=None)
        lines[f"{kind}, no privacy"] = _line(pl.concat([plain] * 2), [budgets[0], budgets[-1]])
    caption = f"AUC on held-out people against the budget epsilon of whole people{_bands(records)}."
    return lines_figure("epsilon", caption, lines, "epsilon", "AUC", log_x=True)


def _by_round(records: Records) -> tuple[Picture, ...]:
    """Return the learning curves, where there are any."""
    frame = records.estimates.filter(pl.col("round").is_not_null()).sort("round")
    lines = {}
    for name in frame["learner"].unique(maintain_order=True).sort():
        rows, steps = filtered(frame, learner=name), records.first["local_steps"][name]
        label = f"{name}, {steps} local step{'s' if steps > 1 else ''}"
        lines[label] = _line(rows, rows["round"].to_list())
    if not lines:
        return ()
    caption = (
        "AUC on held-out people by round, without privacy: the parameters of that round, not yet "
        "their average."
    )
    return (lines_figure("rounds", caption, lines, "rounds", "AUC"),)


def _by_people(frame: pl.DataFrame, records: Records) -> Section:
    frame, everybody = filtered(frame, learner=CENTRAL), _people(records, "train")
    few = frame.filter(pl.col("people").is_not_null())
    rows, lines = [], {}
    for epsilon in (None, *few["epsilon"].drop_nulls().unique().to_list()):
        own = filtered(frame, epsilon=epsilon).with_columns(pl.col("people").fill_null(everybody))
        own = own.sort("people")
        label = "no privacy" if epsilon is None else f"epsilon {epsilon:g}"
        auc = filtered(own, metric="auc")
        lines[label] = _line(auc, auc["people"].to_list())
        rows += [
            (
                f"{count:,}",
                label,
                *(interval(number(own, key, people=count)) for key in ("auc", "attack_auc")),
            )
            for count in auc["people"]
        ]
    table = Table(
        ("people", "budget", "AUC", "attack AUC"),
        tuple(rows),
        "The same training on fewer people, all else equal. The noise hides one person whatever "
        "the number, so that it weighs less on the mean of many.",
    )
    caption = f"AUC on held-out people by the number learned from{_bands(records)}."
    picture = lines_figure("people", caption, lines, "people learned from", "AUC", log_x=True)
    return Section("How many people it takes", (), (table,), (picture,))
