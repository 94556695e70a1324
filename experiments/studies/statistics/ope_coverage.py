"""Experiment: do off-policy estimates hold where the truth is known?

Logs are drawn again and again from worlds whose every policy has a known value; each estimator is
asked for the value of several policies, and what it says is compared with the truth: its error,
and how often its 95% intervals cover.

Two worlds. *hillstrom* is made of a real randomised log: a customer's cell is drawn from all
customers, an arm by a logging policy with known, uneven propensities, and the outcome is that of a
real customer of this cell who got this arm. So the truth is the full log's mean of each cell and
arm, and outcomes have their real distribution. *storefront* is the synthetic world: a person and a
slot, the marketer's own propensities, a click by the world's own probability for a rested person.
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
from copygym.evaluation.ope.judge import LEAST_ESS, WEAK_EVENTS
from copygym.evaluation.ope.support import effective_events, support
from copygym.evaluation.ope.terms import Grouped, Terms, terms_of
from copygym.experiments.report.figures import interval_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.data import load_log, same_data
from copygym.experiments.studies.statistics.ope_worlds import (
    World,
    randomised_world,
    storefront_world,
)
from copygym.experiments.tracking.base import Trackers

#: Worlds with a known truth.
WORLDS = ("hillstrom", "storefront")
#: Coverage that a nominal 95% interval should have.
GOAL = (0.93, 0.97)
_COLUMNS = (
    "policy: estimator", "truth", "effective rows", "effective events", "relative error %",
    "bias %", "width %", "bootstrap covers %", "normal covers %",
)  # fmt: skip
#: Replications between two stages, so that a killed run goes on.
_CHUNK = 50


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``truths`` (names in `WORLDS`), ``rows`` (of a log, by world), ``replications``,
    ``evaluation.resamples``, ``cells`` (features that make hillstrom's cells), ``storefront``
    (``seed``, ``n_users``), and ``data`` for hillstrom's file.
    """
    for name in config["truths"]:
        if name not in WORLDS:
            raise unknown_name("entry of truths", str(name), list(WORLDS))
    if not config["truths"]:
        raise UserError(f"truths is empty: name one of {', '.join(WORLDS)}.")
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
    found = {world.name: _measure(world, config, folder) for world in worlds}
    rows = [row for world in worlds for row in _summary(world, found[world.name])]
    return {
        "title": "Do off-policy estimates hold?",
        "synthetic": all(world.synthetic for world in worlds),
        "summary": _verdict(rows, config),
        "rows": rows,
        "log_rows": {world.name: int(config["rows"][world.name]) for world in worlds},
        "replications": int(config["replications"]),
        "data": data,
        "rows_seen": {},
        "notes": notes,
        "assumptions": [
            "logs are drawn with one seed; a coverage from so many of them is itself known up to "
            "its interval.",
            "hillstrom: outcomes are real, but the uneven logging policy is ours, and customers of "
            "one cell are taken as alike.",
            "storefront is synthetic; each decision meets a rested person.",
        ],
        "summary_numbers": {
            f"{r['world']}/{r['outcome']}/{r['policy']}/{r['estimator']}/coverage": r["bootstrap"][
                "value"
            ]
            for r in rows
        },
    }


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
    from tqdm import tqdm

    n, total = int(config["rows"][world.name]), int(config["replications"])
    collected: dict[str, list[np.ndarray]] = {}
    with tqdm(total=total, desc=f"logs of {world.name}", unit="log", disable=None) as bar:
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


def _summary(world: World, found: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    for key, values in found.items():
        outcome, policy, estimator = key.split("/")
        truth = world.truth(outcome, policy)
        value, low, high, normal_low, normal_high, ess, events = values.T
        rows.append(
            {
                "world": world.name,
                "outcome": outcome,
                "policy": policy,
                "estimator": estimator,
                "truth": truth,
                "relative_error": float(np.sqrt(np.mean((value - truth) ** 2)) / truth),
                "relative_bias": float((value.mean() - truth) / truth),
                "relative_width": float(np.mean(high - low) / truth),
                "bootstrap": share((low <= truth) & (truth <= high)),
                "normal": share((normal_low <= truth) & (truth <= normal_high)),
                "effective_rows": float(ess.mean()),
                "effective_events": float(events.mean()),
            }
        )
    order = {name: index for index, name in enumerate(ESTIMATORS)}
    place = {name: index for index, name in enumerate(world.targets)}
    outcomes = list(world.mean)
    return sorted(
        rows,
        key=lambda r: (outcomes.index(r["outcome"]), place[r["policy"]], order[r["estimator"]]),
    )


def share(hits: np.ndarray) -> dict[str, float]:
    """Return a share of (R,) bool with its 95% Wilson interval."""
    return wilson(int(hits.sum()), len(hits)).to_dict()


def _verdict(rows: list[dict[str, Any]], config: Mapping[str, Any]) -> str:
    supported = [r for r in rows if _counts(r)]
    inside = sum(GOAL[0] <= r["bootstrap"]["value"] <= GOAL[1] for r in supported)
    return (
        f"{int(config['replications']):,} logs were drawn from each world and every policy's value "
        f"estimated from each. Of {len(supported)} pairs of a policy that the log supports and an "
        f"estimator other than DM, the 95% bootstrap intervals of {inside} cover the truth in "
        f"{GOAL[0]:.0%} to {GOAL[1]:.0%} of the logs. DM's interval does not know its model's own "
        f"error, and policies with fewer than {WEAK_EVENTS} effective events are left out of the "
        "count."
    )


def _counts(row: Mapping[str, Any]) -> bool:
    """Return whether a row's interval is expected to hold: the log supports it, and not DM."""
    return row["estimator"] != "dm" and _speaks(row)


def _speaks(row: Mapping[str, Any]) -> bool:
    """Return whether the log supports the row's policy, by the bounds of `copygym ope`."""
    return row["effective_rows"] >= LEAST_ESS and row["effective_events"] >= WEAK_EVENTS


def main_table(result: Mapping[str, Any]) -> Table:
    """Return error and coverage of each estimator, over the policies that the logs support."""
    rows = []
    for key in dict.fromkeys((r["world"], r["outcome"]) for r in result["rows"]):
        for name in ESTIMATORS:
            ours = [
                r
                for r in result["rows"]
                if (r["world"], r["outcome"]) == key and r["estimator"] == name
                if _speaks(r)
            ]
            if not ours:
                continue
            covered = [100 * r["bootstrap"]["value"] for r in ours]
            normal = [100 * r["normal"]["value"] for r in ours]
            rows.append(
                (
                    f"{key[0]}, {key[1]}: {name}",
                    f"{len(ours)}",
                    f"{100 * np.mean([r['relative_error'] for r in ours]):.1f}",
                    f"{100 * np.mean([r['relative_bias'] for r in ours]):+.1f}",
                    f"{np.mean(covered):.1f} ({min(covered):.1f} to {max(covered):.1f})",
                    f"{np.mean(normal):.1f} ({min(normal):.1f} to {max(normal):.1f})",
                )
            )
    columns = (
        "world, outcome: estimator", "policies", "relative error %", "bias %",
        "bootstrap covers %", "normal covers %",
    )  # fmt: skip
    sizes = ", ".join(f"{n:,} rows in {w}" for w, n in result["log_rows"].items())
    caption = (
        f"Mean over the policies with at least {LEAST_ESS} effective rows and {WEAK_EVENTS} "
        f"effective events (lowest and highest in brackets), from {result['replications']:,} logs "
        f"of {sizes}; 95% intervals."
    )
    return Table(columns, tuple(rows), caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = []
    for key in dict.fromkeys((r["world"], r["outcome"]) for r in result["rows"]):
        ours = [r for r in result["rows"] if (r["world"], r["outcome"]) == key]
        table = Table(
            _COLUMNS,
            tuple(
                (
                    f"{r['policy']}: {r['estimator']}",
                    f"{r['truth']:.4g}",
                    f"{r['effective_rows']:,.0f}",
                    f"{r['effective_events']:,.0f}",
                    f"{100 * r['relative_error']:.1f}",
                    f"{100 * r['relative_bias']:+.1f}",
                    f"{100 * r['relative_width']:.1f}",
                    *(_percent(r[kind]) for kind in ("bootstrap", "normal")),
                )
                for r in ours
            ),
            "Coverage with its own 95% interval. Errors and widths are relative to the truth.",
        )
        panels = {
            policy: {
                r["estimator"]: scaled(r["bootstrap"])
                for r in ours
                # Far below the others, it would leave them no room.
                if r["policy"] == policy and r["estimator"] != "dm"
            }
            for policy in dict.fromkeys(r["policy"] for r in ours)
        }
        picture = interval_figure(
            f"coverage_{key[0]}_{key[1]}",
            f"How often 95% bootstrap intervals cover the truth, %: {key[0]}, {key[1]}. Without "
            "DM, whose interval does not know its model's error.",
            panels,
        )
        found.append(Section(f"{key[0]}: {key[1]}", tables=(table,), pictures=(picture,)))
    text = tuple(f"{name}: {words}." for name, words in ESTIMATORS.items())
    return [*found, Section("Estimators", points=text)]


def _percent(entry: Mapping[str, float]) -> str:
    return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"
