"""Study E8: do off-policy estimates hold where the truth is known?

Logs are drawn again and again from worlds whose every policy has a known value; each estimator is
asked for the value of several policies, and what it says is compared with the truth: its error,
and how often its 95% intervals cover.

Two worlds. *hillstrom* is made of a real randomised log: a customer's cell is drawn from all
customers, an arm by a logging policy with known, uneven propensities, and the outcome is that of a
real customer of this cell who got this arm. So the truth is the full log's mean of each cell and
arm, and outcomes have their real distribution. *storefront* is the synthetic world: a person and a
slot, the marketer's own propensities, a click by the world's own probability for a rested person.

Records: ``world``, ``outcome``, ``policy`` and ``estimator``, and the estimates' errors relative to
the ``truth``, the coverage of both kinds of interval, and how much of a log speaks for the policy.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import wilson
from copygym.core.seeds import derived_seed
from copygym.evaluation.ope.decisions import FOLDS, fit_arms
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.intervals import Bootstrap, value_terms
from copygym.evaluation.ope.support import effective_events, support
from copygym.evaluation.ope.terms import Grouped, Terms, terms_of
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.data import load_log, same_data
from copygym.experiments.studies.statistics.ope_coverage_report import report
from copygym.experiments.studies.statistics.ope_worlds import (
    World,
    randomised_world,
    storefront_world,
)
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

#: Worlds with a known truth.
WORLDS = ("hillstrom", "storefront")
#: Replications between two stages, so that a killed run goes on.
_CHUNK = 50


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    for name in config["truths"]:
        if name not in WORLDS:
            raise unknown_name("entry of truths", str(name), list(WORLDS))
    if not config["truths"]:
        raise UserError(f"truths is empty: name one of {', '.join(WORLDS)}.")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Draw logs, estimate every policy in each, and return the records.

    Config keys: ``truths`` (names in `WORLDS`), ``rows`` (of a log, by world), ``replications``,
    ``evaluation.resamples``, ``cells`` (features that make hillstrom's cells), ``storefront``
    (``seed``, ``n_users``), and ``data`` for hillstrom's file.
    """
    data: dict[str, Any] = {}
    notes: list[str] = []
    worlds: list[World] = []
    for name in config["truths"]:
        if name == "hillstrom":
            log = load_log(config["data"])
            log.require("creative_id", "propensity")
            data[log.name] = same_data(folder, log)
            notes += log.notes
            worlds.append(randomised_world(log, list(config["cells"])))
        else:
            worlds.append(storefront_world(**config["storefront"]))
            data["storefront"] = {
                "sha256": "generated from its seed",
                "rows": len(worlds[-1].share_G),
            }
    rows = Rows(int(config["seed"]))
    for world in worlds:
        _add_world(rows, world, _measure(world, config, folder))
    origin = {
        "data": data,
        "notes": notes,
        "assumptions": [
            "hillstrom: outcomes are real, but the uneven logging policy is ours, and customers of "
            "one cell are taken as alike.",
            "storefront is synthetic; each decision meets a rested person.",
        ],
    }
    told = about(
        config,
        origin,
        synthetic=all(world.synthetic for world in worlds),
        one_seed="logs are drawn with one seed; a coverage from so many of them is itself known up "
        "to its interval.",
        over_seeds="intervals are over {count} seeds, with each of which all logs are drawn anew.",
        log_rows={world.name: int(config["rows"][world.name]) for world in worlds},
        replications=int(config["replications"]),
    )
    return Records(rows.frame, {rows.seed: told})


def replicate(world: World, n: int, resamples: int, seed: int) -> dict[tuple[str, str, str], list]:
    """Draw one log; return the estimates of all policies in it.

    Returns:
        (outcome, policy, estimator) -> value, ends of the bootstrap interval, ends of the normal
        one, effective rows, effective events.
    """
    rng = np.random.default_rng(seed)
    cell, arm, outcomes = world.draw(n, rng)
    propensities = world.logging_GA[cell, arm]
    features, fold = world.features_GP[cell], rng.permutation(np.arange(n) % FOLDS)
    terms: dict[Hashable, Terms] = {}
    for outcome, rewards in outcomes.items():
        model = fit_arms(features, fold, arm, rewards, np.ones(n), world.logging_GA.shape[1])
        for name, target_GA in world.targets.items():
            terms[outcome, name] = terms_of(
                arm, propensities, rewards, Grouped(target_GA, cell), model
            )
    valued = value_terms(terms, Bootstrap(None, resamples, seed))
    found = {}
    for (outcome, name), by_estimator in valued.items():  # type: ignore[misc]
        entry = terms[outcome, name]
        speaks = [support(entry.weights).ess, effective_events(entry)]
        for estimator, one in by_estimator.items():
            found[outcome, name, estimator] = [*one.bootstrap, *one.normal[1:], *speaks]
    return found


def _measure(world: World, config: Mapping[str, Any], folder: RunFolder) -> dict[str, np.ndarray]:
    """Return ``outcome/policy/estimator`` -> (R, 7) of all replications, stage by stage."""
    from copygym.core.progress import progress

    n, total = int(config["rows"][world.name]), int(config["replications"])
    collected: dict[str, list[np.ndarray]] = {}
    with progress(total=total, what=f"logs of {world.name}", unit="log") as bar:
        for start in range(0, total, _CHUNK):
            indices = range(start, min(start + _CHUNK, total))

            def compute(indices: range = indices) -> Record:
                lists: dict[str, list[list[float]]] = {}
                for index in indices:
                    seed = derived_seed(config["seed"], world.name, index)
                    for key, kept in replicate(
                        world, n, int(config["evaluation"]["resamples"]), seed
                    ).items():
                        lists.setdefault("/".join(key), []).append(kept)
                    bar.update()
                return Record({}, {key: np.array(values) for key, values in lists.items()})

            there = folder.has_stage(f"logs/{world.name}/{start}")
            record = folder.stage(f"logs/{world.name}/{start}", compute)
            bar.update(len(indices) if there else 0)
            for key, values in record.arrays.items():
                collected.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in collected.items()}


def _add_world(rows: Rows, world: World, found: Mapping[str, np.ndarray]) -> None:
    """Add the errors and the coverage of each policy's estimates in one world."""
    order = {name: index for index, name in enumerate(ESTIMATORS)}
    place = {name: index for index, name in enumerate(world.targets)}
    outcomes = list(world.mean)

    def by_place(key: str) -> tuple[int, int, int]:
        outcome, policy, estimator = key.split("/")
        return outcomes.index(outcome), place[policy], order[estimator]

    for key in sorted(found, key=by_place):
        outcome, policy, estimator = key.split("/")
        truth = world.truth(outcome, policy)
        value, low, high, normal_low, normal_high, ess, events = found[key].T
        cell = {"world": world.name, "outcome": outcome, "policy": policy, "estimator": estimator}
        error = np.sqrt(np.mean((value - truth) ** 2)) / truth
        rows.add("truth", truth, **cell)
        rows.add("relative_error", float(error), **cell)
        rows.add("relative_bias", float((value.mean() - truth) / truth), **cell)
        rows.add("relative_width", float(np.mean(high - low) / truth), **cell)
        covered = share((low <= truth) & (truth <= high))
        rows.add("bootstrap_coverage", covered, **cell)
        normal = share((normal_low <= truth) & (truth <= normal_high))
        rows.add("normal_coverage", normal, **cell)
        rows.add("effective_rows", float(ess.mean()), **cell)
        rows.add("effective_events", float(events.mean()), **cell)


def share(hits: np.ndarray) -> dict[str, float]:
    """Return a share of (R,) bool with its 95% Wilson interval."""
    return wilson(int(hits.sum()), len(hits)).to_dict()
