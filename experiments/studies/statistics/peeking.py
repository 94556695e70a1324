"""Study E9: do the A/B statistics hold under peeking?

Simulated tests with a known truth say how often each method errs: naive and always-valid tests
by number of looks, their power, CUPED's variance, and intervals from tests that a bandit
allocates. Where the Upworthy archive is given, its sample ratios are audited as well.

Records: ``question`` (peeking, power, cuped, bandit, audit), ``method`` ("theory" is what a formula
says), ``looks``, ``lift``, ``correlation`` or ``weeks``, and shares of tests: ``rejected``,
``covered``, ``flagged``.
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
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.statistics import peeking_simulation as simulate
from copygym.experiments.studies.statistics.peeking_report import report
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

ALPHA = 0.05
#: p-value under which a test of the archive is flagged.
THRESHOLD = 1e-3


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    looks = _looks(config)
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


def _looks(config: Mapping[str, Any]) -> list[int]:
    return sorted({int(k) for k in config["peeking"]["looks"]})


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Simulate, and audit where there is a log; return the records.

    Config keys: ``peeking``, ``power``, ``cuped``, ``bandit`` (see ``conf/experiment/e9.yaml``),
    ``data.path`` for the audit.
    """
    rows = Rows(int(config["seed"]))
    data, rows_seen, notes = _add_audit(rows, config, folder)
    null = folder.stage("peeking", lambda: _peeking(config, _looks(config)))
    strength = folder.stage("power", lambda: _power(config))
    adjusted = folder.stage("cuped", lambda: _cuped(config))
    bandit = folder.stage("bandit", lambda: _bandit(config))
    digest = hashlib.sha256()
    for record in (null, strength, adjusted, bandit):
        for name in sorted(record.arrays):
            digest.update(np.ascontiguousarray(record.arrays[name]).tobytes())
    _add_peeking(rows, config, null)
    _add_power(rows, config, strength)
    _add_cuped(rows, config, adjusted)
    _add_bandit(rows, config, bandit)
    simulated = {
        "sha256": digest.hexdigest(),
        "rows": len(null.arrays["naive_RK"]),
        "synthetic": True,
    }
    origin = {
        "data": {"simulated tests": simulated, **data},
        "rows_seen": rows_seen,
        "notes": notes,
        "assumptions": [
            "users of a simulated test are independent and their click rates stay the same; real "
            "ones come back and change with the day of the week, which no test here knows of.",
        ],
    }
    told = about(
        config,
        origin,
        synthetic=True,
        one_seed="intervals cover the luck of the simulation only (one seed).",
        over_seeds="intervals are over {count} seeds of the simulation.",
        settings={key: config[key] for key in ("peeking", "power", "cuped", "bandit")},
        users_per_arm={
            name: int(config["power"]["looks"]) * size for name, size in _sizes(config).items()
        },
        threshold=THRESHOLD,
    )
    return Records(rows.frame, {rows.seed: told})


def _bar(total: int, what: str) -> Any:
    from copygym.core.progress import progress

    return progress(total=total, what=what, unit="test")


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


def _add_peeking(rows: Rows, config: Mapping[str, Any], record: Record) -> None:
    for place, looks in enumerate(_looks(config)):
        cell = {"question": "peeking", "looks": looks}
        for method in ("naive", "always_valid"):
            hits = record.arrays[f"{method}_RK"][:, place]
            rows.add("rejected", share(hits), method=method, **cell)
        rows.add("rejected", peeking_error(looks, ALPHA), method="theory", **cell)


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


def _add_power(rows: Rows, config: Mapping[str, Any], record: Record) -> None:
    options, sizes = config["power"], _sizes(config)
    looks, ctr = int(options["looks"]), float(config["peeking"]["ctr"])
    fixed_units = 2 * looks * sizes["fixed"]
    for place, lift in enumerate(options["lifts"]):
        outcome_RM = record.arrays["outcome_BRM"][place]
        cell = {"question": "power", "lift": float(lift)}
        for column, method in enumerate(("fixed", "always_valid_same_size", "always_valid")):
            rows.add("rejected", share(outcome_RM[:, column]), method=method, **cell)
        theory = power(Plan(ctr, float(lift)), fixed_units) if lift else ALPHA
        rows.add("rejected", theory, method="theory", **cell)
        used = outcome_RM[:, 3] * sizes["always_valid"] / (looks * sizes["fixed"])
        rows.add("users_of_fixed", mean_estimate(used, 500), method="always_valid", **cell)


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


def _add_cuped(rows: Rows, config: Mapping[str, Any], record: Record) -> None:
    for place, rho in enumerate(config["cuped"]["correlations"]):
        cell = {"question": "cuped", "correlation": float(rho)}
        ratio, covered = (record.arrays[name][place] for name in ("ratio_BR", "covered_BR"))
        rows.add("variance_ratio", mean_estimate(ratio, 500), method="cuped", **cell)
        rows.add("variance_ratio", 1 - float(rho) ** 2, method="theory", **cell)
        rows.add("covered", share(covered), method="cuped", **cell)


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


def _add_bandit(rows: Rows, config: Mapping[str, Any], record: Record) -> None:
    for place, lift in enumerate(config["bandit"]["lifts"]):
        for column, method in enumerate(("naive_end", "naive_always", "always_valid")):
            hits = record.arrays["covered_BRM"][place][:, column]
            cell = {"question": "bandit", "lift": float(lift)}
            rows.add("covered", share(hits), method=method, **cell)


# ------------------------------------------------------------------ audit


def _add_audit(
    rows: Rows, config: Mapping[str, Any], folder: RunFolder
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Add how many tests of the log are flagged; return (data, rows seen, notes)."""
    if config["data"]["path"] is None:
        return {}, {}, []
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
    for weeks, flags in record.arrays.items():
        if len(flags):
            rows.add("flagged", share(flags), question="audit", weeks=weeks)
            rows.add("tests", len(flags), question="audit", weeks=weeks)
    rows_seen = folder.stage("seen", lambda: Record({"audit": seen(log)})).values
    return {log.name: data}, rows_seen, list(log.notes)
