"""Experiment: learn a delivery policy on simulated users and judge it on people it never saw.

The log's users are split. On the training users a simulator is fitted (the proxy), in which the
agents learn. Held-out users judge: in storefront by the world's own truth, elsewhere by a second
simulator fitted on a third part of the users. All policies meet the same users with the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.evaluation.metrics import policy_metrics, segment_metrics
from copygym.evaluation.rollout import Setting, rows_of
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.runs.seeds import derived_seed
from copygym.experiments.studies.build import environment, instantiated, learned_name, policies
from copygym.experiments.studies.data import PARTS, load_log, same_data, seen, split_shares
from copygym.experiments.studies.delivery.delivery_report import main_table, sections
from copygym.experiments.studies.learning import ONE_SEED, learn, play
from copygym.experiments.studies.people import Judge, fit, make_judge, split_users, whole_catalogue
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.evaluation.metrics import Episodes

__all__ = ["main_table", "run", "sections"]


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole experiment; return the result (JSON types).

    Config keys: ``split`` (shares of users), ``users`` (options of `fit_users`), ``env``,
    ``reward``, ``agent``, ``references``, ``learn.steps``, ``evaluation`` (``users``,
    ``episodes``, ``num_envs``, ``resamples``, ``timelines``, ``baseline``).
    """
    done = compare(config, folder, trackers)
    log, judge, setting = done.log, done.judge, done.setting
    result = summarise(config, done.played, judge, setting)
    result.update(
        title=f"Delivery on {log.name}: {result['learned']}",
        synthetic=log.synthetic,
        summary=_summary(config, log, done.fitted, result),
        curves=done.curves,
        timelines=shown_timelines(judge.users, setting, done.timelines),
        fidelity=done.fitted.fidelity.to_dict(),
        segment_by=list(done.fitted.profile_builder.demographics.segment_columns),
        data={log.name: done.data},
        rows_seen=done.rows_seen,
        notes=list(log.notes),
        assumptions=_assumptions(done.fitted, judge, log),
    )
    return result


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


def summarise(
    config: Mapping[str, Any], played: Mapping[str, Episodes], judge: Judge, setting: Setting
) -> dict[str, Any]:
    """Return the numbers of the result: metrics, differences, regret and segments."""
    options = config["evaluation"]
    baseline = str(options["baseline"])
    seed, resamples = derived_seed(config["seed"], "bootstrap"), int(options["resamples"])
    upper = "upper" if "upper" in played else None
    numbers = policy_metrics(played, baseline, upper, resamples, seed)
    learned = learned_name(config)
    segments = judge.users.profiles.segments[setting.rows]
    return {
        **numbers,
        "segments": segment_metrics(
            played, segments, ("clicks_per_user", "profit_per_user"), resamples, seed
        ),
        "policies": list(played),
        "learned": learned,
        "baseline": baseline,
        "upper": upper,
        "users": len(setting.rows),
        "horizon": setting.horizon,
        "judge": judge.text,
        "summary_numbers": {
            f"{name}/{key}": entry["value"]
            for name, by_key in numbers["metrics"].items()
            for key, entry in by_key.items()
        },
    }


def _summary(
    config: Mapping[str, Any], log: ClickLog, fitted: FittedUsers, result: Mapping[str, Any]
) -> str:
    """Return the report's first paragraph."""
    kind = "a synthetic log" if log.synthetic else "a real log"
    catalogue = fitted.users.catalogue
    gain = result["differences"].get(result["learned"], {}).get("clicks_per_user")
    words = ""
    if gain is not None:
        words = (
            f" Against {result['baseline']}, it changed the clicks of a user by "
            f"{gain['value']:+.3g} [{gain['low']:+.3g}, {gain['high']:+.3g}]."
        )
    return (
        f"From {kind} ({log.name}, {log.height:,} rows), users were simulated "
        f"({fitted.fidelity.family} response, {catalogue.n_creatives} creatives, "
        f"{catalogue.n_channels} channels, {catalogue.n_slots} slots); {result['learned']} learned "
        f"on them for {int(config['learn']['steps']):,} decisions and was evaluated on "
        f"{result['users']:,} held-out users over {result['horizon']} slots. "
        f"{result['judge']}{words}"
    )


def _assumptions(fitted: FittedUsers, judge: Judge, log: ClickLog) -> list[str]:
    sentences = [
        *fitted.users.assumptions,
        *(f"the judge: {text}" for text in judge.users.assumptions),
        ONE_SEED,
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
