"""Study E7: does a text prior speed up online tests?

Randomised headline tests are replayed as bandits from their click rates. A reward model that
learned from other tests predicts each headline's click rate, and the question is how many more
clicks a bandit gets that starts from these predictions (LOLA, arXiv 2406.02611), from which traffic
on it stops to matter, and what pure prediction and pure bandits get.

Records: ``clicks`` per impression by ``truth`` (what is taken for it), ``policy`` and ``horizon``
(impressions per headline), and its ``lift`` ``versus`` UCB; of tuned policies the chosen ``n_aux``
and the ``tuning_clicks`` of each ``n_aux`` tried. Without a policy: how well the reward model ranks
the replayed tests, and the priors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import ratio, resample_sums, with_interval
from copygym.core.seeds import derived_seed
from copygym.evaluation.headlines.replay import (
    POLICIES,
    TUNED,
    Prior,
    Settings,
    Tests,
    fit_prior,
    observed_rates,
    pad_tests,
    replay,
    shrunken_rates,
    within_test_strength,
)
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import load_log, same_data
from copygym.experiments.studies.headlines.bandits_report import report
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.ctr.data import CopyCounts, part_sizes, some_tests, split_counts
from copygym.rewards.ctr.model import load_ctr_model
from copygym.rewards.ctr.ranking import ranking_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check", "report", "seed_records"]

#: Parts of the tests, in the order in which they are drawn: the model learns on ``train`` and is
#: stacked and calibrated on ``validation``; n_aux is chosen on ``tune``.
PARTS = ("train", "validation", "tune", "replay")
#: What is taken for the truth.
RATES: dict[str, Callable[[Tests], np.ndarray]] = {
    "observed": observed_rates,
    "shrunken": shrunken_rates,
}
#: The policy that every other is compared with.
UCB = "ucb"
#: Folder of the reward model in the run's folder, where `copygym score` looks for it.
MODEL = "reward_model"
_ONE_SEED = (
    "intervals cover the choice of tests and the luck of their clicks; split, training and the "
    "choice of n_aux are of one seed."
)
_OVER_SEEDS = (
    "intervals are over {count} splits of the same log, each with one seed of its training, its "
    "choice of n_aux and its clicks."
)


@dataclass(frozen=True)
class Job:
    """What every replay of a run shares.

    Attributes:
        horizons: impressions per headline, ascending.
        tuning: values of n_aux to try, ascending.
        prior: of click rates, from the training tests.
        settings: of the policies.
        seed: of the run.
        folder: of the run.
    """

    horizons: list[int]
    tuning: list[int]
    prior: Prior
    settings: Settings
    seed: int
    folder: RunFolder


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    check_policies(config["replay"]["policies"])
    _settings(config)
    for name in config["split"]:
        if name not in PARTS:
            raise unknown_name("part of split", str(name), list(PARTS))
    missing = [name for name in PARTS if name not in config["split"]]
    if missing:
        raise UserError(f"split lacks {missing[0]}; give each of {', '.join(PARTS)} a share.")
    instantiated(config["reward_model"], "reward model")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Train the model, choose n_aux, replay every policy; return the records of one split.

    Config keys: ``reward_model``; ``split`` (shares of tests); ``tests`` (how many to use, or
    null); ``replay.horizons`` (impressions per headline), ``replay.policies``, the fields of
    `Settings`, ``replay.tuning`` (values of n_aux to try); ``evaluation.resamples``.
    """
    options = config["replay"]
    resamples = int(config["evaluation"]["resamples"])
    boot = derived_seed(config["seed"], "boot")
    horizons = sorted(set(options["horizons"]))
    names = check_policies(options["policies"])
    settings = _settings(config)
    log = load_log(config["data"])
    log.require("test_id", "text")
    data = same_data(folder, log)
    parts = split_parts(CopyCounts.from_log(log), config)
    rows_seen = folder.stage("split", lambda: Record(part_sizes(parts))).values
    prior = fit_prior(_tests(parts["train"], None))
    predicted = _predictions(parts, config, folder)
    tune, tests = (_tests(parts[name], predicted[name]) for name in ("tune", "replay"))
    ranking = ranking_metrics(predicted["replay"], parts["replay"], resamples=resamples, seed=boot)
    job = Job(horizons, sorted(set(options["tuning"])), prior, settings, config["seed"], folder)
    values, tuned = replay_all(job, names, tune, tests)
    rows = Rows(int(config["seed"]))
    for truth, by_name in values.items():
        _add_clicks(rows, by_name, horizons, resamples, boot, truth)
        for name, values_BG in by_name.items():
            for g, horizon in enumerate(horizons):
                trackers.log(f"{truth}/{name}", {"clicks": values_BG[:, g].mean()}, horizon)
    for truth, by_tuned in tuned.items():
        for name, entry in by_tuned.items():
            cell = {"truth": truth, "policy": name}
            rows.add_lines("n_aux", "horizon", horizons, entry["chosen"], **cell)
            for n_aux, clicks in zip(entry["n_aux"], entry["clicks"], strict=True):
                rows.add_lines(
                    "tuning_clicks", "horizon", horizons, clicks, **cell, tried=int(n_aux)
                )
    for key in ("pairwise", "best_of_k", "best_of_k_random", "lift"):
        rows.add(f"prediction_{key}", ranking[key])
    rows.add("prior_mean", prior.mean)
    rows.add("prior_strength", prior.strength)
    rows.add("within_test_strength", within_test_strength(tests))
    told = about(
        config,
        {
            "data": data,
            "rows_seen": rows_seen,
            "notes": list(log.notes),
            "assumptions": _assumptions(rows_seen),
        },
        synthetic=log.synthetic,
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS,
        log=log.name,
        tests=len(tests),
        arms=int(tests.arms_B.sum()),
        tuning_tests=len(tune),
        policies=names,
        settings={f.name: getattr(settings, f.name) for f in fields(Settings)},
    )
    return Records(rows.frame, {rows.seed: told})


def _settings(config: Mapping[str, Any]) -> Settings:
    return Settings(**{f.name: config["replay"][f.name] for f in fields(Settings)})


def check_policies(names: Sequence[str]) -> list[str]:
    """Return the policies to compare.

    Raises:
        UserError: one is unknown, or the one that every other is compared with is missing.
    """
    for name in names:
        if name not in POLICIES and name not in TUNED:
            raise unknown_name("replay.policies entry", str(name), [*POLICIES, *TUNED])
    if UCB not in names:
        raise UserError(f"replay.policies lacks {UCB}, with which the others are compared; add it.")
    return list(dict.fromkeys(names))


def split_parts(counts: CopyCounts, config: Mapping[str, Any]) -> dict[str, CopyCounts]:
    """Return the tests' parts; a headline, even by a chain of tests, is in one part only.

    Raises:
        UserError: no test has two headlines and a click.
    """
    _tests(counts, None)  # refuses a log without clicks before anything is learned from it
    counts = some_tests(counts, config.get("tests"), derived_seed(config["seed"], "tests"))
    shares = {name: float(config["split"][name]) for name in PARTS}
    return split_counts(counts, shares, derived_seed(config["seed"], "split"))


def _tests(counts: CopyCounts, prediction_N: np.ndarray | None) -> Tests:
    return pad_tests(counts.test, counts.impressions, counts.clicks, prediction_N)


def _predictions(
    parts: Mapping[str, CopyCounts], config: Mapping[str, Any], folder: RunFolder
) -> dict[str, np.ndarray]:
    """Return predicted click rates of the headlines of ``tune`` and ``replay``, (N,) each."""

    def train() -> Record:
        model = instantiated(config["reward_model"], "reward model")
        seed = derived_seed(config["seed"], "reward model")
        model.fit(parts["train"], parts["validation"], seed=seed)
        model.save(folder.file(MODEL))
        return Record({"report": model.report})

    def score() -> Record:
        model = load_ctr_model(folder.file(MODEL))
        return Record(
            arrays={name: model.probability(parts[name].texts) for name in ("tune", "replay")}
        )

    folder.stage("train", train)
    return folder.stage("predict", score).arrays


def replay_all(
    job: Job, names: Sequence[str], tune: Tests, tests: Tests
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, Any]]]:
    """Replay policies under each truth, n_aux of the tuned ones chosen on ``tune``.

    Returns:
        truth -> policy -> (B, G) clicks, and truth -> tuned policy -> what was tried and chosen.
    """
    from copygym.core.progress import progress

    values: dict[str, dict[str, np.ndarray]] = {truth: {} for truth in RATES}
    tuned: dict[str, dict[str, Any]] = {truth: {} for truth in RATES}
    steps = [(truth, name) for truth in RATES for name in names]
    for truth, name in progress(steps, "replay", unit="policy"):
        chosen = None
        if name in TUNED:
            tuned[truth][name] = _tuned(job, truth, name, tune)
            chosen = tuned[truth][name]["chosen"]
        values[truth][name] = _replayed(job, truth, name, tests, chosen)
    return values, tuned


def _replayed(
    job: Job, truth: str, name: str, tests: Tests, chosen: list[int] | None
) -> np.ndarray:
    """Return one policy's clicks, (B, G), from its stage; all policies meet the same luck.

    ``chosen`` is a tuned policy's n_aux at each horizon.
    """
    seed = derived_seed(job.seed, "replay")

    def compute() -> Record:
        truth_BA = RATES[truth](tests)
        if chosen is None:
            clicks_BG = replay(name, tests, truth_BA, job.horizons, job.prior, job.settings, seed)
            return Record(arrays={"clicks_BG": clicks_BG})
        base, setting = TUNED[name]
        clicks_BG = np.empty((len(tests), len(job.horizons)))
        for n_aux in set(chosen):
            at = [g for g, value in enumerate(chosen) if value == n_aux]
            asked = replace(job.settings, **{setting: n_aux})
            horizons = [job.horizons[g] for g in at]
            clicks_BG[:, at] = replay(base, tests, truth_BA, horizons, job.prior, asked, seed)
        return Record(arrays={"clicks_BG": clicks_BG})

    return job.folder.stage(f"replay/{truth}/{name}", compute).arrays["clicks_BG"]


def _tuned(job: Job, truth: str, name: str, tests: Tests) -> dict[str, Any]:
    """Return, for each horizon, the n_aux with the most clicks on the tuning tests."""
    base, setting = TUNED[name]
    seed = derived_seed(job.seed, "tune")

    def compute() -> Record:
        truth_BA = RATES[truth](tests)
        tried = (replace(job.settings, **{setting: n_aux}) for n_aux in job.tuning)
        means_VG = np.array(
            [
                replay(base, tests, truth_BA, job.horizons, job.prior, asked, seed).mean(axis=0)
                for asked in tried
            ]
        )
        return Record(
            {
                "tests": len(tests),
                "n_aux": job.tuning,
                "clicks": means_VG.tolist(),
                "chosen": [job.tuning[v] for v in means_VG.argmax(axis=0)],
            }
        )

    return job.folder.stage(f"tune/{truth}/{name}", compute).values


def _add_clicks(
    rows: Rows,
    values: Mapping[str, np.ndarray],
    horizons: list[int],
    resamples: int,
    seed: int,
    truth: str,
) -> None:
    """Add clicks and lift over UCB, by policy and horizon, with intervals over tests."""
    names = list(values)
    matrix = np.column_stack([values[name] for name in names])
    sums = resample_sums(matrix, resamples, seed)
    means = ratio(sums[:, :-1], sums[:, -1:])
    total = matrix.mean(axis=0)
    width = len(horizons)
    first = names.index(UCB) * width
    for index, name in enumerate(names):
        for g, horizon in enumerate(horizons):
            column, base = index * width + g, first + g
            cell = {"truth": truth, "policy": name, "horizon": horizon}
            rows.add("clicks", with_interval(float(total[column]), means[:, column]), **cell)
            lift = with_interval(
                total[column] / total[base] - 1, means[:, column] / means[:, base] - 1
            )
            rows.add("lift", lift, **cell, versus=UCB)


def _assumptions(seen: Mapping[str, Any]) -> list[str]:
    return [
        "clicks of a replayed impression are drawn from the headline's click rate in its own "
        "test; time of day and drift within a test are left out.",
        "the 'observed' truth takes sampling noise for quality: it overstates what there is to "
        "gain; 'shrunken' removes the part of the spread that noise explains on average, and "
        "spreads less than the true rates do: the two bracket what there is to gain.",
        "a policy sees every click before the next impression; real traffic comes in batches.",
        f"n_aux is chosen under the same kind of truth that judges it, on {seen['tune']['tests']:,}"
        " tests that are not replayed.",
    ]
