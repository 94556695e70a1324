"""Experiment E9: do the A/B statistics hold under peeking? (``experiment=e9``)

Simulated tests with a known truth say how often each method errs: naive and always-valid tests
by number of looks, their power, CUPED's variance, and intervals from tests that a bandit
allocates. Where the Upworthy archive is given, its sample ratios are audited as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import Estimate, mean_estimate, wilson
from copygym.core.seeds import derived_seed
from copygym.evaluation.abtest.planning import Plan, power, sample_size
from copygym.evaluation.abtest.sequential import peeking_error
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.statistics import peeking_simulation as simulate
from copygym.experiments.studies.statistics.peeking_report import main_table, sections
from copygym.experiments.tracking.base import Trackers

__all__ = ["main_table", "run", "sections"]

ALPHA = 0.05
#: p-value under which a test of the archive is flagged.
THRESHOLD = 1e-3


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Simulate, and audit where there is a log; return the result (JSON types).

    Config keys: ``peeking``, ``power``, ``cuped``, ``bandit`` (see ``conf/experiment/e9.yaml``),
    ``data.path`` for the audit.
    """
    looks = sorted({int(k) for k in config["peeking"]["looks"]})
    uneven = [k for k in looks if looks[-1] % k]
    if uneven:
        raise UserError(
            f"peeking.looks: {uneven[0]} looks cannot be spaced evenly among {looks[-1]}; give "
            "divisors of the largest."
        )
    for key in ("power", "bandit"):
        for lift in config[key]["lifts"]:
            if not 0 < float(config["peeking"]["ctr"]) * (1 + float(lift)) < 1:
                raise UserError(
                    f"{key}.lifts: a lift of {lift} on the click rate peeking.ctr="
                    f"{config['peeking']['ctr']} is no rate between 0 and 1."
                )
    data, rows_seen, audit, notes = _audit(config, folder)
    null = folder.stage("peeking", lambda: _peeking(config, looks))
    strength = folder.stage("power", lambda: _power(config))
    adjusted = folder.stage("cuped", lambda: _cuped(config))
    bandit = folder.stage("bandit", lambda: _bandit(config))
    digest = hashlib.sha256()
    for record in (null, strength, adjusted, bandit):
        for name in sorted(record.arrays):
            digest.update(np.ascontiguousarray(record.arrays[name]).tobytes())
    peeked = _peeking_result(null, looks)
    for entry in peeked:
        trackers.log(
            "peeking",
            {"naive": entry["naive"]["value"], "always_valid": entry["always_valid"]["value"]},
            entry["looks"],
        )
    result = {
        "title": "A/B statistics under peeking",
        "synthetic": True,
        "peeking": peeked,
        "power": _power_result(config, strength),
        "cuped": _cuped_result(config, adjusted),
        "bandit": _bandit_result(config, bandit),
        "audit": audit,
        "settings": {key: config[key] for key in ("peeking", "power", "cuped", "bandit")},
        "data": {
            "simulated tests": {
                "sha256": digest.hexdigest(),
                "rows": len(null.arrays["naive_RK"]),
                "synthetic": True,
            },
            **data,
        },
        "rows_seen": rows_seen,
        "notes": notes,
        "assumptions": [
            "users of a simulated test are independent and their click rates stay the same; real "
            "ones come back and change with the day of the week, which no test here knows of.",
            "intervals cover the luck of the simulation only (one seed).",
        ],
    }
    return {**result, "summary": _summary(result), "summary_numbers": _numbers(result)}


def _bar(total: int, what: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit="test", disable=None)


def _seeded(config: Mapping[str, Any], *purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(derived_seed(config["seed"], *purpose))


# ------------------------------------------------------------------ peeking


def _peeking(config: Mapping[str, Any], looks: list[int]) -> Record:
    options = config["peeking"]
    rng, most = _seeded(config, "peeking"), looks[-1]
    naive, valid = [], []
    with _bar(int(options["replications"]), "peeking") as bar:
        for size in simulate.chunks(int(options["replications"])):
            rates = [float(options["ctr"])] * 2
            z_RL = simulate.z_paths(rng, size, most, int(options["users"]), rates)
            naive.append([simulate.ever_rejected(z_RL, k, ALPHA, None) for k in looks])
            valid.append([simulate.ever_rejected(z_RL, k, ALPHA, most) for k in looks])
            bar.update(size)
    arrays = {"naive_RK": np.hstack(naive).T, "always_valid_RK": np.hstack(valid).T}
    return Record(arrays={key: value.astype(np.uint8) for key, value in arrays.items()})


def _peeking_result(record: Record, looks: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "looks": k,
            "naive": share(record.arrays["naive_RK"][:, place]).to_dict(),
            "always_valid": share(record.arrays["always_valid_RK"][:, place]).to_dict(),
            "theory": peeking_error(k, ALPHA),
        }
        for place, k in enumerate(looks)
    ]


def share(values_R: np.ndarray) -> Estimate:
    """Return the share of true values with Wilson's 95% interval."""
    return wilson(int(np.sum(values_R)), len(values_R))


# ------------------------------------------------------------------ power


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Return users per arm and look of the fixed and of the always-valid design."""
    options, ctr = config["power"], float(config["peeking"]["ctr"])
    looks = int(options["looks"])
    sizes = {}
    for name in ("fixed", "always_valid"):
        plan = Plan(ctr, float(options["planned_lift"]), always_valid=name == "always_valid")
        units = sample_size(plan, float(options["planned_power"]))
        sizes[name] = int(np.ceil(units / 2 / looks))
    return sizes


def _power(config: Mapping[str, Any]) -> Record:
    options, ctr = config["power"], float(config["peeking"]["ctr"])
    looks, sizes = int(options["looks"]), _sizes(config)
    rows = []
    with _bar(int(options["replications"]) * len(options["lifts"]), "power") as bar:
        for lift in options["lifts"]:
            rng = _seeded(config, "power", str(lift))
            rates = [ctr, ctr * (1 + float(lift))]
            found = []
            for size in simulate.chunks(int(options["replications"])):
                z_RL = simulate.z_paths(rng, size, looks, sizes["fixed"], rates)
                long_RL = simulate.z_paths(rng, size, looks, sizes["always_valid"], rates)
                found.append(
                    [
                        simulate.ever_rejected(z_RL, 1, ALPHA, None),
                        simulate.ever_rejected(z_RL, looks, ALPHA, looks),
                        simulate.ever_rejected(long_RL, looks, ALPHA, looks),
                        simulate.first_rejection(long_RL, ALPHA, looks),
                    ]
                )
                bar.update(size)
            rows.append(np.hstack(found).T)
    return Record(arrays={"outcome_BRM": np.stack(rows).astype(np.int32)})


def _power_result(config: Mapping[str, Any], record: Record) -> dict[str, Any]:
    options, sizes = config["power"], _sizes(config)
    looks, ctr = int(options["looks"]), float(config["peeking"]["ctr"])
    fixed_units = 2 * looks * sizes["fixed"]
    rows = []
    for place, lift in enumerate(options["lifts"]):
        outcome_RM = record.arrays["outcome_BRM"][place]
        used = outcome_RM[:, 3] * sizes["always_valid"] / (looks * sizes["fixed"])
        rows.append(
            {
                "lift": float(lift),
                "fixed": share(outcome_RM[:, 0]).to_dict(),
                "formula": power(Plan(ctr, float(lift)), fixed_units) if lift else ALPHA,
                "always_valid_same_size": share(outcome_RM[:, 1]).to_dict(),
                "always_valid": share(outcome_RM[:, 2]).to_dict(),
                "used": mean_estimate(used, 500).to_dict(),
            }
        )
    per_arm = {name: looks * size for name, size in sizes.items()}
    return {"rows": rows, "users_per_arm": per_arm, "looks": looks}


# ------------------------------------------------------------------ CUPED


def _cuped(config: Mapping[str, Any]) -> Record:
    options = config["cuped"]
    replications, correlations = int(options["replications"]), options["correlations"]
    ratios, covered = [], []
    with _bar(replications * len(correlations), "CUPED") as bar:
        for correlation in correlations:
            runs = simulate.cuped_runs(
                _seeded(config, "cuped", str(correlation)),
                replications,
                int(options["users"]),
                float(correlation),
                on_test=bar.update,
            )
            ratios.append(runs.ratio_R)
            covered.append(runs.covered_R)
    return Record(arrays={"ratio_BR": np.stack(ratios), "covered_BR": np.stack(covered)})


def _cuped_result(config: Mapping[str, Any], record: Record) -> list[dict[str, Any]]:
    return [
        {
            "correlation": float(rho),
            "theory": 1 - float(rho) ** 2,
            "ratio": mean_estimate(record.arrays["ratio_BR"][place], 500).to_dict(),
            "covered": share(record.arrays["covered_BR"][place]).to_dict(),
        }
        for place, rho in enumerate(config["cuped"]["correlations"])
    ]


# ------------------------------------------------------------------ bandits


def _bandit(config: Mapping[str, Any]) -> Record:
    options, ctr = config["bandit"], float(config["peeking"]["ctr"])
    batches, size = int(options["batches"]), int(options["size"])
    rows = []
    with _bar(int(options["replications"]) * len(options["lifts"]), "bandit") as bar:
        for lift in options["lifts"]:
            rng, found = _seeded(config, "bandit", str(lift)), []
            rates = [ctr, ctr * (1 + float(lift))]
            for part in simulate.chunks(int(options["replications"])):
                shown = simulate.thompson_batches(
                    rng, part, batches, size, rates, float(options["floor"])
                )
                runs = simulate.bandit_runs(shown, rates[1] - rates[0], ALPHA, batches * size)
                found.append(np.stack(runs[:3]))
                bar.update(part)
            rows.append(np.hstack(found).T)
    return Record(arrays={"covered_BRM": np.stack(rows).astype(np.uint8)})


def _bandit_result(config: Mapping[str, Any], record: Record) -> list[dict[str, Any]]:
    names = ("naive_end", "naive_always", "always_valid")
    return [
        {
            "lift": float(lift),
            **{
                name: share(record.arrays["covered_BRM"][place][:, column]).to_dict()
                for column, name in enumerate(names)
            },
        }
        for place, lift in enumerate(config["bandit"]["lifts"])
    ]


# ------------------------------------------------------------------ audit


def _audit(
    config: Mapping[str, Any], folder: RunFolder
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, list[str]]:
    """Return (data, rows seen, audit, notes); without a log the audit is None."""
    if config["data"]["path"] is None:
        return {}, {}, None, []
    from copygym.envs.datasets.upworthy import sample_ratio_report

    if config["data"]["name"] != "upworthy":
        raise UserError(
            f"dataset={config['data']['name']}: E9 audits the Upworthy archive; check another "
            "file with `copygym abtest srm`."
        )
    if not config["data"]["include_broken_weeks"]:
        raise UserError("E9 compares the broken weeks with the others: it needs them included.")
    log = load_log(config["data"])
    data = same_data(folder, log)

    def compute() -> Record:
        report = sample_ratio_report(log, THRESHOLD)
        report = report.filter(report["arms"] > 1)
        flags = {
            part: report.filter(report["broken_weeks"] == broken)["flagged"].to_numpy()
            for part, broken in (("inside", True), ("outside", False))
        }
        return Record(arrays={part: values.astype(np.uint8) for part, values in flags.items()})

    record = folder.stage("audit", compute)
    parts = {
        part: {"tests": len(flags), "flagged": share(flags).to_dict()}
        for part, flags in record.arrays.items()
        if len(flags)
    }
    rows_seen = folder.stage("seen", lambda: Record({"audit": seen(log)})).values
    audit = {"name": log.name, "threshold": THRESHOLD, "parts": parts}
    return {log.name: data}, rows_seen, audit, list(log.notes)


def _summary(result: Mapping[str, Any]) -> str:
    last = result["peeking"][-1]
    text = (
        f"In {result['data']['simulated tests']['rows']:,} simulated tests without any effect, a "
        f"5% test that was looked at {last['looks']} times found one in "
        f"{last['naive']['value']:.1%} of them; the always-valid test did in "
        f"{last['always_valid']['value']:.1%}."
    )
    if result["audit"] is None:
        return f"{text} No log was given (data.path), so no sample ratio was audited."
    parts = result["audit"]["parts"]
    said = " and ".join(
        f"{entry['flagged']['value']:.1%} of {entry['tests']:,} tests {part} the broken weeks"
        for part, entry in parts.items()
    )
    return f"{text} Real data: the sample-ratio check flags {said}."


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for entry in result["peeking"]:
        for method in ("naive", "always_valid"):
            numbers[f"type_1_error/{method}/{entry['looks']}"] = entry[method]["value"]
    for part, entry in (result["audit"] or {"parts": {}})["parts"].items():
        numbers[f"srm_flagged/{part}"] = entry["flagged"]["value"]
    return numbers
