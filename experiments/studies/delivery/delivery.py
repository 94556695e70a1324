"""Study: learn a delivery policy on simulated users and judge it on people it never saw.

The log's users are split. On the training users a simulator is fitted (the proxy), in which the
agents learn. Held-out users judge: in storefront by the world's own truth, elsewhere by a second
simulator fitted on a third part of the users. All policies meet the same users with the same luck.

Records: ``policy`` and the delivery metrics; ``versus`` on paired differences from the baseline
and from the upper reference; ``segment`` on metrics of the largest segments; ``step`` on learning
curves (``learning_reward``: reward per decision while learning).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import policy_metrics, segment_metrics
from copygym.evaluation.records import Records, Rows
from copygym.evaluation.rollout import Setting, rows_of
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import environment, instantiated, learned_name, policies
from copygym.experiments.studies.data import PARTS, load_log, same_data, seen, split_shares
from copygym.experiments.studies.delivery.delivery_report import report
from copygym.experiments.studies.learning import ONE_SEED, learn, play
from copygym.experiments.studies.people import (
    Judge,
    fit,
    make_judge,
    ruled,
    split_users,
    whole_catalogue,
)
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    import numpy as np

    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.evaluation.metrics import Episodes

__all__ = ["check", "report", "seed_records"]

_OVER_SEEDS = (
    "intervals are over {count} seeds, each with its own split, fit, learning and luck; they do "
    "not cover other settings."
)
#: Metrics that are shown by segment.
_BY_SEGMENT = ("clicks_per_user", "profit_per_user")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of the whole experiment with one seed.

    Config keys: ``split`` (shares of users), ``users`` (options of `fit_users`), ``env``,
    ``reward``, ``agent``, ``references``, ``learn.steps``, ``evaluation`` (``users``,
    ``episodes``, ``num_envs``, ``resamples``, ``timelines``, ``baseline``).
    """
    done = compare(config, folder, trackers)
    rows = Rows(int(config["seed"]))
    add_policies(rows, config, done.played)
    segments = done.judge.users.profiles.segments[done.setting.rows]
    add_segments(rows, config, done.played, segments)
    add_curves(rows, done.curves)
    return Records(rows.frame, {rows.seed: told(config, done)})


def told(config: Mapping[str, Any], done: Comparison, **more: Any) -> dict[str, Any]:
    """Return what the numbers of a comparison rest on, and what its report shows beside them.

    Args:
        config: of the run.
        done: the comparison.
        more: further entries, or others in their place.
    """
    log, fitted, judge = done.log, done.fitted, done.judge
    catalogue = fitted.users.catalogue
    origin = {
        "data": {log.name: done.data},
        "rows_seen": done.rows_seen,
        "notes": log.notes,
        "assumptions": _assumptions(fitted, judge, log),
    }
    entries: dict[str, Any] = {
        "log": log.name,
        "learned": learned_name(config),
        "baseline": str(config["evaluation"]["baseline"]),
        "upper": "upper" if "upper" in done.played else None,
        "users": len(done.setting.rows),
        "horizon": done.setting.horizon,
        "steps": int(config["learn"]["steps"]),
        "judge": judge.text,
        "simulated": {
            "rows": log.height,
            "family": fitted.fidelity.family,
            "creatives": catalogue.n_creatives,
            "channels": catalogue.n_channels,
            "slots": catalogue.n_slots,
        },
        "timelines": shown_timelines(judge.users, done.setting, done.timelines),
        "fidelity": fitted.fidelity.to_dict(),
        "segment_by": list(fitted.profile_builder.demographics.segment_columns),
    }
    entries |= {
        "one_seed": ONE_SEED,
        "over_seeds": _OVER_SEEDS,
        "within_seed": ("segment", "step"),
    }
    return about(config, origin, synthetic=log.synthetic, **(entries | more))


def add_policies(rows: Rows, config: Mapping[str, Any], played: Mapping[str, Episodes]) -> None:
    """Add every policy's metrics, and the paired differences from baseline and upper reference."""
    options = config["evaluation"]
    baseline, upper = str(options["baseline"]), "upper" if "upper" in played else None
    seed = derived_seed(config["seed"], "bootstrap")
    numbers = policy_metrics(played, baseline, upper, int(options["resamples"]), seed)
    for name, values in numbers["metrics"].items():
        rows.add_all(values, policy=name)
    for name, values in numbers["differences"].items():
        rows.add_all(values, policy=name, versus=baseline)
    for name, values in (numbers.get("regret") or {}).items():
        if upper != baseline:
            rows.add_all(
                {key: _negated(entry) for key, entry in values.items()}, policy=name, versus=upper
            )


def _negated(entry: Mapping[str, float]) -> dict[str, float]:
    """Return what a policy earned less than another as a difference from it."""
    return {"value": -entry["value"], "low": -entry["high"], "high": -entry["low"]}


def add_segments(
    rows: Rows,
    config: Mapping[str, Any],
    played: Mapping[str, Episodes],
    segments: np.ndarray,
) -> None:
    """Add the metrics of the largest segments of users, and how many users each has.

    Args:
        rows: get the records.
        config: of the run.
        played: episodes by policy.
        segments: (U,) segment of each user who was met.
    """
    seed = derived_seed(config["seed"], "bootstrap")
    resamples = int(config["evaluation"]["resamples"])
    found = segment_metrics(played, segments, _BY_SEGMENT, resamples, seed)
    for segment, entry in found.items():
        rows.add("users", entry["users"], segment=segment)
        for name, values in entry["metrics"].items():
            rows.add_all(values, policy=name, segment=segment)


def add_curves(rows: Rows, curves: Mapping[str, list[dict[str, float]]]) -> None:
    """Add what the policies reported while they learned."""
    for name, curve in curves.items():
        for point in curve:
            for key, value in point.items():
                if key != "step":
                    rows.add(f"learning_{key}", value, policy=name, step=int(point["step"]))


@dataclass(frozen=True)
class Prepared:
    """A log, the users simulated from it, and the people who judge.

    Attributes:
        log: the click log.
        data: its checksum and rows.
        rows_seen: rows, users and clicks of each part of the log.
        fitted: the proxy.
        judge: who judges.
        setting: of the evaluation.
    """

    log: ClickLog
    data: dict[str, Any]
    rows_seen: dict[str, Any]
    fitted: FittedUsers
    judge: Judge
    setting: Setting

    def origin(self) -> dict[str, Any]:
        """Return what a result over seeds says of where its values come from (JSON types)."""
        return {
            "data": self.data,
            "rows_seen": self.rows_seen,
            "notes": list(self.log.notes),
            "assumptions": list(self.judge.users.assumptions),
        }


@dataclass(frozen=True)
class Comparison(Prepared):
    """What the stages of one run left behind, beside what was prepared.

    Attributes:
        played: episodes by policy, in the order of tables.
        curves: learning curve by policy.
        timelines: events of some users under the learned policy.
    """

    played: dict[str, Episodes]
    curves: dict[str, list[dict[str, float]]]
    timelines: list[list[Any]]


def prepare(config: dict[str, Any], folder: RunFolder) -> Prepared:
    """Fit the proxy and find who judges; skips finished stages."""
    log = load_log(config["data"])
    data = same_data(folder, log)
    parts = split_users(log, config)
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    catalogue = whole_catalogue(log, config)
    fitted = fit(folder, "proxy", parts["train"], parts["test"], config, catalogue)
    judge = make_judge(folder, fitted, parts, config)
    fitted = replace(fitted, users=ruled(fitted.users, config, log))
    judge = replace(judge, users=ruled(judge.users, config, log))
    return Prepared(log, data, rows_seen, fitted, judge, evaluation_setting(judge.users, config))


def compare(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Comparison:
    """Fit the proxy, let all policies learn in it and evaluate them; skips finished stages."""
    check(config)
    made = prepare(config, folder)
    curves = teach(folder, trackers, made.fitted.users, config)
    played: dict[str, Episodes] = {}
    timelines: list[list[Any]] = []
    learned = learned_name(config)
    for name in policies(config):
        wanted = int(config["evaluation"]["timelines"]) if name == learned else 0
        played[name], events = play(name, made.setting, folder, "evaluate", wanted)
        timelines = events or timelines
    return Comparison(**vars(made), played=played, curves=curves, timelines=timelines)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    check_agents(config)
    for part, share in {**dict.fromkeys(PARTS), **split_shares(config)}.items():
        if not share:
            raise UserError(f"split.{part}={share or 0:g}: give a share of users above 0.")


def check_agents(config: Mapping[str, Any]) -> None:
    """Check that each policy and the reward can be made, and that the baseline is one of them."""
    agents = policies(config)
    for policy in agents.values():
        policy.make()
    instantiated(config["reward"], "reward")
    environment(config)
    baseline = config["evaluation"]["baseline"]
    if baseline not in agents:
        raise UserError(
            f"evaluation.baseline={baseline} is no policy of this run; choose one of "
            f"{', '.join(agents)}."
        )


def learning_env(users: UserModel, config: Mapping[str, Any]) -> DeliveryVectorEnv:
    """Return the environment of a config in which agents learn on ``users``."""
    options = config["env"]
    return environment(config)(
        int(options["num_envs"]),
        users=users,
        horizon=int(options["horizon"]),
        reward=instantiated(config["reward"], "reward"),
        budget=options["budget"],
    )


def teach(
    folder: RunFolder, trackers: Trackers, users: UserModel, config: Mapping[str, Any]
) -> dict[str, list[dict[str, float]]]:
    """Let every policy of the config learn on ``users``; return the learning curves."""
    env = learning_env(users, config)
    curves = {
        name: learn(
            policy,
            env,
            int(config["learn"]["steps"]),
            derived_seed(config["seed"], "learn", name),
            folder,
            trackers,
        )
        for name, policy in policies(config).items()
    }
    env.close()
    return curves


def evaluation_setting(users: UserModel, config: Mapping[str, Any]) -> Setting:
    """Return what the evaluation holds fixed across policies."""
    options = config["evaluation"]
    seed = derived_seed(config["seed"], "evaluate")
    return Setting(
        users=users,
        rows=rows_of(len(users), options["users"], seed),
        horizon=int(config["env"]["horizon"]),
        reward=instantiated(config["reward"], "reward"),
        budget=config["env"]["budget"],
        episodes=int(options["episodes"]),
        seed=seed,
        num_envs=int(options["num_envs"]),
        environment=environment(config),
    )


def _assumptions(fitted: FittedUsers, judge: Judge, log: ClickLog) -> list[str]:
    sentences = [
        *fitted.users.assumptions,
        *(f"the judge: {text}" for text in judge.users.assumptions),
    ]
    # The log's own notes have a section of their own.
    return [s for s in dict.fromkeys(sentences) if s.removeprefix("the judge: ") not in log.notes]


def shown_timelines(users: UserModel, setting: Setting, events: list[list[Any]]) -> dict[str, Any]:
    """Return some users' events under their segment, without their ids."""
    catalogue = users.catalogue
    segments = users.profiles.segments[setting.rows]
    return {
        "catalogue": {
            "creative_ids": list(catalogue.creative_ids),
            "texts": list(catalogue.texts),
            "channels": list(catalogue.channels),
            "slots": list(catalogue.slots),
        },
        "users": [
            {"segment": str(segments[index]), "events": [list(event) for event in row]}
            for index, row in enumerate(events)
        ],
    }
