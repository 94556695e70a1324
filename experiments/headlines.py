"""Experiment: replay randomised headline tests as bandits (``experiment=upworthy_headlines``).

Question: had a bandit run these tests instead of an even split, how many more clicks would it
have got, and from which traffic on? Answered on all tests at once, by simulation from each
test's click rates; what is taken for the truth is stated and varied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.envs.errors import unknown_name
from copygym.experiments import headline_replay as replay
from copygym.experiments.bootstrap import ratio, resample_sums, with_interval
from copygym.experiments.figures import lines_figure
from copygym.experiments.folder import Record, RunFolder
from copygym.experiments.report import Section
from copygym.experiments.stages import derived_seed, load_log, same_data, seen
from copygym.experiments.tables import Table, interval, number
from copygym.experiments.tracking import Trackers

if TYPE_CHECKING:
    from copygym.envs.clicklog import ClickLog

#: What is taken for the truth, the one to believe first.
TRUTHS = {
    "shrunken": "observed rates shrunk to their test's mean by the spread within tests",
    "observed": "each headline's observed click rate, which overstates the best one's lead",
}


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Replay every policy on every test; return the result (JSON types).

    Config keys: ``replay.horizons`` (impressions per arm), ``replay.policies``,
    ``replay.prior_share`` (tests that set the priors), ``replay.tests`` (limit or null),
    ``replay.epsilon``, ``replay.explore``, ``replay.resamples``.
    """
    options = config["replay"]
    horizons = _horizons(options["horizons"])
    for name in options["policies"]:
        if name not in replay.POLICIES:
            raise unknown_name("replay.policies entry", name, list(replay.POLICIES))
    log = load_log(config["data"])
    data = same_data(folder, log)
    share = float(options["prior_share"])
    parts = log.split_by_test(
        {"prior": share, "replay": 1 - share}, derived_seed(config["seed"], "split")
    )
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    prior = replay.fit_prior(_tests(parts["prior"], None, 0))
    tests = _tests(parts["replay"], options["tests"], derived_seed(config["seed"], "tests"))
    rates = {"shrunken": replay.shrunken_rates(tests), "observed": replay.observed_rates(tests)}
    outcome: dict[str, Any] = {}
    for truth, truth_BA in rates.items():
        values = {
            name: _replay(name, truth, truth_BA, tests, horizons, prior, config, folder)
            for name in options["policies"]
        }
        outcome[truth] = _summary(values, horizons, options, derived_seed(config["seed"], "boot"))
        for name, values_BG in values.items():
            for g, horizon in enumerate(horizons):
                trackers.log(f"{truth}/{name}", {"ctr": values_BG[:, g].mean()}, horizon)
    arms = tests.arms_B
    strength = replay.within_test_strength(tests)
    return {
        "title": f"Headline tests of {log.name}, replayed as bandits",
        "synthetic": log.synthetic,
        "summary": (
            f"{len(tests):,} randomised headline tests with {int(arms.sum()):,} headlines were "
            f"replayed by {len(options['policies'])} policies with up to {horizons[-1]:,} "
            "impressions per headline. Intervals (95%) are over tests; all policies meet the same "
            f"tests. Priors come from other tests ({rows_seen['prior'].get('tests', 0):,})."
        ),
        "tests": len(tests),
        "arms": int(arms.sum()),
        "prior": {"mean": prior.mean, "strength": prior.strength},
        "within_test_strength": strength,
        "horizons": list(horizons),
        "policies": list(options["policies"]),
        "baseline": _baseline(options["policies"]),
        "truth": outcome,
        "data": {log.name: data},
        "rows_seen": rows_seen,
        "notes": list(log.notes),
        "assumptions": [
            "clicks of a replayed impression are drawn from the headline's click rate in its own "
            "test; time of day and drift within a test are left out.",
            "the 'observed' truth takes sampling noise for quality: it overstates what there is "
            "to gain; 'shrunken' removes the part of the spread that noise explains on average, "
            "and spreads less than the true rates do: the two bracket what there is to gain.",
            "intervals cover the choice of tests only, not the luck of the replayed clicks (one "
            "seed).",
            "policies learn after every round of as many impressions as the test has headlines.",
        ],
        "summary_numbers": _numbers(outcome, horizons[-1]),
    }


def _horizons(values: Any) -> list[int]:
    """Return the impressions per arm at which policies are compared, in their order."""
    return sorted({int(value) for value in values})


def _baseline(names: list[str]) -> str:
    return "uniform" if "uniform" in names else names[0]


def _tests(log: ClickLog, limit: int | None, seed: int) -> replay.Tests:
    log.require("test_id")
    frame = log.frame.select("test_id", "impressions", "clicks").collect(engine="streaming")
    tests = replay.pad_tests(
        frame["test_id"].to_numpy(), frame["impressions"].to_numpy(), frame["clicks"].to_numpy()
    )
    if limit is None or limit >= len(tests):
        return tests
    rows = np.sort(np.random.default_rng(seed).choice(len(tests), size=limit, replace=False))
    return replay.Tests(tests.impressions_BA[rows], tests.clicks_BA[rows], tests.mask_BA[rows])


def _replay(
    name: str,
    truth: str,
    truth_BA: np.ndarray,
    tests: replay.Tests,
    horizons: list[int],
    prior: replay.Prior,
    config: Mapping[str, Any],
    folder: RunFolder,
) -> np.ndarray:
    """Return one policy's clicks per impression, (B, G), from its stage."""
    from tqdm import tqdm

    def compute() -> Record:
        rng = np.random.default_rng(derived_seed(config["seed"], "replay", truth, name))
        with tqdm(total=horizons[-1], desc=f"{name} on {truth}", unit="round", disable=None) as bar:
            values = replay.replay(
                name, truth_BA, tests.mask_BA, horizons, prior, config["replay"], rng, bar.update
            )
        return Record(arrays={"ctr_BG": values})

    return folder.stage(f"replay/{truth}/{name}", compute).arrays["ctr_BG"]


def _summary(
    values: Mapping[str, np.ndarray], horizons: list[int], options: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return CTR and relative lift over the baseline, by policy and horizon, with intervals."""
    names = list(values)
    matrix = np.column_stack([values[name] for name in names])
    sums = resample_sums(matrix, int(options["resamples"]), seed)
    means = ratio(sums[:, :-1], sums[:, -1:])
    total = matrix.mean(axis=0)
    width = len(horizons)
    first = names.index(_baseline(names)) * width
    result: dict[str, Any] = {}
    for index, name in enumerate(names):
        result[name] = {}
        for g, horizon in enumerate(horizons):
            column, base = index * width + g, first + g
            lift = with_interval(
                total[column] / total[base] - 1, means[:, column] / means[:, base] - 1
            )
            result[name][str(horizon)] = {
                "ctr": with_interval(float(total[column]), means[:, column]).to_dict(),
                "lift": lift.to_dict(),
            }
    return result


def _numbers(outcome: Mapping[str, Any], horizon: int) -> dict[str, float]:
    return {
        f"{truth}/{name}/lift": entry[str(horizon)]["lift"]["value"]
        for truth, by_name in outcome.items()
        for name, entry in by_name.items()
    }


def main_table(result: Mapping[str, Any]) -> Table:
    """Return click rates by policy and horizon: under the shrunken truth, then the observed."""
    shown = _shown_horizons(result)
    rows = tuple(
        (name, truth, *_cells(result, truth, name, "ctr"))
        for truth in TRUTHS
        for name in result["policies"]
    )
    meanings = "; ".join(f"{truth}: {meaning}" for truth, meaning in TRUTHS.items())
    caption = (
        f"Clicks per 100 impressions with 95% intervals over {result['tests']:,} tests. What is "
        f"taken for the truth: {meanings}."
    )
    columns = ("policy", "truth", *(f"{h:,} impressions per arm" for h in shown))
    return Table(columns, rows, caption)


def _lift_table(result: Mapping[str, Any], truth: str) -> Table:
    rows = tuple((name, *_cells(result, truth, name, "lift")) for name in result["policies"])
    caption = (
        f"% lift over {result['baseline']} with 95% intervals over {result['tests']:,} tests; "
        f"truth: {TRUTHS[truth]}."
    )
    columns = ("policy", *(f"{h:,} impressions per arm" for h in _shown_horizons(result)))
    return Table(columns, rows, caption)


def _shown_horizons(result: Mapping[str, Any]) -> list[int]:
    """Return the first, the middle and the last horizon."""
    horizons = result["horizons"]
    return sorted({horizons[0], horizons[len(horizons) // 2], horizons[-1]})


def _cells(result: Mapping[str, Any], truth: str, name: str, key: str) -> list[str]:
    entry = result["truth"][truth][name]
    return [interval(entry[str(h)][key], "%") for h in _shown_horizons(result)]


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    parts = []
    for truth, meaning in TRUTHS.items():
        lines = {
            name: {
                "x": result["horizons"],
                **{
                    axis: [
                        _percent(result["truth"][truth][name][str(h)]["lift"][entry])
                        for h in result["horizons"]
                    ]
                    for axis, entry in (("y", "value"), ("low", "low"), ("high", "high"))
                },
            }
            for name in result["policies"]
            if name != result["baseline"]
        }
        picture = lines_figure(
            f"lift_{truth}",
            f"Lift in clicks over {result['baseline']} by traffic, 95% bands over tests; "
            f"truth: {meaning}.",
            lines,
            "impressions per arm",
            "lift, %",
            log_x=True,
        )
        parts.append(Section(f"Truth: {truth}", (), (_lift_table(result, truth),), (picture,)))
    policies = Table(
        ("policy", "what it does"),
        tuple((name, replay.POLICIES[name]) for name in result["policies"]),
    )
    prior, strength = result["prior"], result["within_test_strength"]
    text = (
        f"Click rates of an average arm: {100 * prior['mean']:.3g}%, worth "
        f"{number(prior['strength'])} impressions (prior of Thompson sampling, "
        "width of UCB1). Arms of one test spread around their "
        f"mean like a prior worth {number(strength)} impressions.",
    )
    return [*parts, Section("Policies and priors", text, (policies,))]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
