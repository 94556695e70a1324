"""What an experiment over seeds does for each: its config, its values, and what they rest on.

A seed is all of it anew: the split, the fit, the learning, the luck, and in a synthetic world its
people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from copygym.core.errors import UserError
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.tracking.base import Trackers


def check_seeds(config: Mapping[str, Any]) -> None:
    """Raise `UserError` unless there are seeds enough for an interval."""
    seeds = list(config.get("seeds") or [])
    if not seeds:
        raise UserError("seeds are missing: give at least 2, such as +seeds=[1,2,3].")
    if len(seeds) < 2:
        raise UserError(f"seeds={seeds}: an interval over seeds needs at least 2.")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds={seeds}: a seed given twice counts once; leave the second out.")


def of_seed(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the config of one seed, which is also that of a synthetic world."""
    from copygym.envs.datasets import has_world, loader_options

    data = config["data"]
    if has_world(str(data["name"])) and "seed" in loader_options(str(data["name"])):
        data = {**data, "seed": seed}
    return {**config, "seed": seed, "data": data}


def values_by_seed(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    find: Callable[[dict[str, Any], RunFolder, Trackers], dict[str, Any]],
    unit: str = "world",
) -> list[dict[str, Any]]:
    """Return the values of every seed, in the order of the config's ``seeds``.

    Args:
        config: of the run.
        folder: of the run; a seed has a child of it.
        trackers: of the run; a seed's stages stand apart, as ``seeds/SEED/STAGE``.
        find: takes a seed's config, folder and trackers and returns its values (JSON types);
            called only for seeds that have not finished.
        unit: what a seed is, for the progress bar.
    """
    found = []
    for seed in tqdm(config["seeds"], desc=f"{unit}s", unit=unit, disable=None):
        place = f"seeds/{seed}"
        child = folder.child(place)
        if not child.has_stage("values"):
            values = find(of_seed(config, seed), child, trackers.within(place))
            child.stage("values", partial(Record, values))
        found.append(child.read("values").values)
    return found


def origins(
    seeds: Sequence[int],
    found: Sequence[Mapping[str, Any]],
    *assumptions: str,
    unit: str = "world",
    name: str = "storefront",
) -> dict[str, Any]:
    """Return what a result says of where the values of several worlds come from.

    Args:
        seeds: one a world.
        found: by world its ``data`` (checksum and rows), ``rows_seen``, ``notes`` and
            ``assumptions``; the last two are the first world's.
        assumptions: of the comparison, which come last.
        unit: what a seed is, for the names of rows seen.
        name: of the dataset.
    """
    worlds = list(zip(seeds, found, strict=True))
    return {
        "data": {f"{name}, seed {seed}": world["data"] for seed, world in worlds},
        "rows_seen": {
            f"{unit} {seed}: {part}": entry
            for seed, world in worlds
            for part, entry in world["rows_seen"].items()
        },
        "notes": found[0]["notes"],
        "assumptions": [*found[0]["assumptions"], *assumptions],
    }
