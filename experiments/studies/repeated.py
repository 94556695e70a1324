"""Any experiment over seeds: is what one world, or one split of a log, shows more than its luck?

The experiment that ``repeat.job`` names runs once a seed, in a folder of its own, and its numbers
are taken together. What it found with the lowest seed stands below in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.over_seeds import estimates
from copygym.experiments.report.page import load_job
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.data import load_log, same_data
from copygym.experiments.studies.learning import ONE_SEED, ONE_SPLIT
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.repeated_report import main_table, place_of, sections, summary
from copygym.experiments.studies.seeds import check_seeds, values_by_seed
from copygym.experiments.tracking.base import Trackers

__all__ = ["main_table", "run", "sections"]

_OF_WORLDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, split, fit and "
    "learning."
)
_OF_SPLITS = (
    "intervals are over {count} splits, each with one seed of its fit and learning; all are of the "
    "same log, whose own luck no split can show."
)


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run an experiment with every seed; return the result (JSON types).

    Config keys: ``seeds``, ``repeat.job`` (module of the experiment) and its own keys. Its result
    has ``summary_numbers`` named COLUMN/ROW and may have ``curves``: figure -> ``x_label``,
    ``y_label`` and ``lines`` (label -> ``x``, ``y``, a point each for as many steps). Its module
    may say in ``NUMBERS`` what a column is.

    Raises:
        UserError: there is nothing to repeat, it has no numbers, there are fewer than two seeds, or
            the experiment refuses the config.
    """
    job = _job(config)
    check_seeds(config)
    unit = "world" if has_truth(config) else "split"
    if unit == "split":
        # Of a synthetic world every seed has a log of its own, and its folder knows it.
        same_data(folder, load_log(config["data"]))
    found = values_by_seed(config, folder, trackers, partial(_of_one, job), unit)
    first = found[int(np.argmin(config["seeds"]))]
    order = list(dict.fromkeys(name for one in found for name in one["order"]))
    numbers = [one["summary_numbers"] for one in found]
    boot = derived_seed(config["seed"], "bootstrap")
    over_all = (_OF_WORLDS if unit == "world" else _OF_SPLITS).format(count=len(found))
    result: dict[str, Any] = {
        "title": f"{first['title']}, {len(found)} {unit}s",
        "synthetic": first["synthetic"],
        "job": config["repeat"]["job"],
        "unit": unit,
        "seeds": {str(s): n for s, n in zip(config["seeds"], numbers, strict=True)},
        "order": order,
        "estimates": together(order, numbers, boot),
        "curves": mean_curves([one.get("curves", {}) for one in found], boot),
        "first": first,
        "data": _by_seed(config["seeds"], [one["data"] for one in found], unit),
        "rows_seen": _by_seed(config["seeds"], [one["rows_seen"] for one in found], unit),
        "notes": first["notes"],
        "assumptions": [
            *(text for text in first["assumptions"] if text not in (ONE_SEED, ONE_SPLIT)),
            over_all,
        ],
    }
    result["summary"] = summary(result)
    result["summary_numbers"] = {
        f"{column}/{row}": result["estimates"][row][column]["value"]
        for column, row in map(place_of, order)
    }
    return result


def _job(config: Mapping[str, Any]) -> ModuleType:
    """Return the module of the experiment that is repeated."""
    name = (config.get("repeat") or {}).get("job")
    if not name:
        raise UserError(
            "there is nothing to repeat: name an experiment's module, such as "
            "+repeat.job=copygym.experiments.studies.delivery.delivery."
        )
    if name == __name__:
        raise UserError(f"repeat.job={name} would repeat itself; name another experiment.")
    return load_job(str(name), "repeat.job")


def _of_one(
    job: ModuleType, config: dict[str, Any], folder: RunFolder, trackers: Trackers
) -> dict[str, Any]:
    found: dict[str, Any] = job.run(config, folder, trackers)
    if not found.get("summary_numbers"):
        raise UserError(
            f"repeat.job={config['repeat']['job']} has no summary numbers of which a mean could be "
            "taken; repeat another experiment."
        )
    # In a stored result keys are sorted.
    return {**found, "order": list(found["summary_numbers"])}


def together(
    names: Sequence[str], numbers: Sequence[Mapping[str, float | None]], seed: int = 0
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return row -> column -> ``{value, low, high}``: means over seeds with 95% intervals.

    Args:
        names: COLUMN/ROW of all numbers.
        numbers: by seed, those that it has. One that is absent or None in a seed is None in all: a
            mean over the seeds that happen to have it would be of a selection.
        seed: of the bootstrap over seeds.
    """
    table: dict[str, list[str]] = {}
    for column, row in map(place_of, names):
        table.setdefault(row, []).append(column)
    runs = [
        {row: {c: one.get(f"{c}/{row}") for c in columns} for row, columns in table.items()}
        for one in numbers
    ]
    return estimates(runs, seed=seed, statistic="mean")


def mean_curves(curves: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Return figure -> curves whose points are means over seeds, with intervals of y.

    The n-th point of a line is the mean of every seed's n-th; a line ends where its shortest does.
    """
    found: dict[str, Any] = {}
    for name, figure in curves[0].items():
        lines = {}
        for label in figure["lines"]:
            own = [one[name]["lines"][label] for one in curves]
            length = min(len(line["y"]) for line in own)
            points = [{str(n): {"y": float(line["y"][n])} for n in range(length)} for line in own]
            entries = [
                entry["y"] for entry in estimates(points, seed=seed, statistic="mean").values()
            ]
            lines[label] = {
                "x": np.mean([line["x"][:length] for line in own], axis=0).tolist(),
                "y": [entry["value"] for entry in entries],
                "low": [entry["low"] for entry in entries],
                "high": [entry["high"] for entry in entries],
            }
        found[name] = {**figure, "lines": lines}
    return found


def _by_seed(seeds: Sequence[int], found: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """Return entries under their seed's name; under their own where all seeds have the same."""
    if all(one == found[0] for one in found):
        return dict(found[0])
    return {
        f"{unit} {seed}: {name}": entry
        for seed, one in zip(seeds, found, strict=True)
        for name, entry in one.items()
    }
