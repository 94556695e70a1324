"""Study: whom to send what, learned from a randomised one-decision log (Hillstrom).

One part of the customers fits simulated users, on whom policies learn with one decision each.
What the policies are worth is estimated off-policy on the other part, where the arms were drawn
at random with known propensities: no simulator stands between the policies and the evidence.

Records: an outcome (visit, spend, ...) as ``metric`` by ``policy`` and ``estimator``, ``versus`` a
fixed arm on paired differences; how much of the log speaks for a policy (``ess``, ``max_weight``,
``mean_weight``); the ``share`` of each ``arm`` in a ``segment``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.simulator.population import simulate
from copygym.evaluation.ope.decisions import Decisions, decisions
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.intervals import Bootstrap, difference, value_terms
from copygym.evaluation.ope.judge import evidence, verdict_of
from copygym.evaluation.ope.support import Support, effective_events, support
from copygym.evaluation.ope.terms import Terms, check_log, importance_weights, terms_of
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy, environment, instantiated
from copygym.experiments.studies.data import load_log, same_data, seen, split_shares
from copygym.experiments.studies.delivery.delivery import add_curves
from copygym.experiments.studies.delivery.uplift_report import report
from copygym.experiments.studies.learning import ONE_SEED, file_name, learn
from copygym.experiments.studies.people import fit
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel
    from copygym.envs.simulator.fitted import FittedUsers

__all__ = ["check", "report", "seed_records"]

_OVER_SEEDS = (
    "intervals are over {count} splits of the same log, each with one seed of its fit and learning."
)
#: Columns of the log that can be outcomes; models predict these.
_OUTCOMES = ("clicks", "revenue")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one split of the customers.

    Config keys: ``split`` (train, test), ``users``, ``env``, ``learn.steps``, ``learners`` (name
    -> ``agent``, ``reward`` and optionally ``steps``), ``outcomes`` (name -> log column: clicks or
    revenue), ``evaluation`` (``estimator``, ``resamples``, ``users``).
    """
    done = judged(config, folder, trackers)
    found = done.found
    rows = Rows(int(config["seed"]))
    for policy, by_outcome in found["values"].items():
        for outcome, by_estimator in by_outcome.items():
            for estimator, entry in by_estimator.items():
                rows.add(outcome, entry, policy=policy, estimator=estimator)
    for versus, by_policy in found["differences"].items():
        for policy, by_outcome in by_policy.items():
            for outcome, by_estimator in by_outcome.items():
                for estimator, entry in by_estimator.items():
                    rows.add(outcome, entry, policy=policy, versus=versus, estimator=estimator)
    for policy, entry in found["support"].items():
        rows.add_all(entry, policy=policy)
    for policy, by_segment in found["shares"].items():
        for segment, entry in by_segment.items():
            rows.add("users", entry["customers"], policy=policy, segment=segment)
            for arm in found["arms"]:
                rows.add("share", entry[arm], policy=policy, segment=segment, arm=arm)
    add_curves(rows, done.curves)
    told = about(
        config,
        done.origin,
        synthetic=done.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        within_seed=("segment", "step"),
        log=done.log.name,
        learners=list(config["learners"]),
        outcomes=list(config["outcomes"]),
        estimator=config["evaluation"]["estimator"],
        arms=found["arms"],
        users=found["customers"],
        steps=int(config["learn"]["steps"]),
        verdicts=found["verdicts"],
        fidelity=done.fitted.fidelity.to_dict(),
        segment_by=list(done.fitted.profile_builder.demographics.segment_columns),
    )
    return Records(rows.frame, {rows.seed: told})


@dataclass(frozen=True)
class Judged:
    """Policies that learned on one part of the customers, judged by the others.

    Attributes:
        log: the randomised log.
        fitted: simulated customers of the first part.
        curves: learning curve by learner.
        found: ``values`` (policy -> outcome -> estimator -> estimate), ``differences`` (arm ->
            policy -> ...), ``support``, ``verdicts``, ``shares`` (learner -> segment -> arm),
            ``arms`` and ``customers``.
        origin: what the numbers rest on, for `about`.
    """

    log: ClickLog
    fitted: FittedUsers
    curves: dict[str, list[dict[str, float]]]
    found: dict[str, Any]
    origin: dict[str, Any]


def judged(config: Mapping[str, Any], folder: RunFolder, trackers: Trackers) -> Judged:
    """Let the learners learn on one part of the customers and judge them off-policy by the rest."""
    log = load_log(config["data"])
    log.require("user_id", "creative_id", "propensity")
    data = same_data(folder, log)
    shares = {name: share for name, share in split_shares(config).items() if share}
    parts = log.split_by_user(shares, derived_seed(config["seed"], "split"))
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    fitted = fit(folder, "proxy", parts["train"], parts["test"], config)
    curves = _teach(folder, trackers, fitted.users, config)
    record = folder.stage(
        "off_policy", lambda: Record(_off_policy(config, folder, fitted, parts["test"]))
    )
    origin = {
        "data": {log.name: data},
        "rows_seen": rows_seen,
        "notes": list(log.notes),
        "assumptions": [
            "the randomisation and its propensities are taken as the log gives them.",
            "a policy's decision for one customer does not change another's response.",
            "costs of a send are not part of the outcomes.",
        ],
    }
    return Judged(log, fitted, curves, record.values, origin)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    estimator = config["evaluation"]["estimator"]
    if estimator not in ESTIMATORS:
        raise UserError(
            f"evaluation.estimator={estimator} is unknown: choose one of {', '.join(ESTIMATORS)}."
        )
    for name, column in config["outcomes"].items():
        if column not in _OUTCOMES:
            raise UserError(
                f"outcomes.{name}={column}: choose a log column among {', '.join(_OUTCOMES)}."
            )
    for name, parts in config["learners"].items():
        Policy(name, parts["agent"]).make()
        instantiated(parts["reward"], f"learners.{name}.reward")


def _teach(
    folder: RunFolder, trackers: Trackers, users: UserModel, config: Mapping[str, Any]
) -> dict[str, list[dict[str, float]]]:
    """Let every learner learn on simulated customers; return the learning curves."""
    curves = {}
    for name, parts in config["learners"].items():
        env = environment(config)(
            int(config["env"]["num_envs"]),
            users=users,
            horizon=int(config["env"]["horizon"]),
            reward=instantiated(parts["reward"], f"learners.{name}.reward"),
        )
        seed = derived_seed(config["seed"], "learn", name)
        policy = Policy(name, parts["agent"])
        steps = int(parts.get("steps") or config["learn"]["steps"])
        curves[name] = learn(policy, env, steps, seed, folder, trackers)
        env.close()
    return curves


def _off_policy(
    config: Mapping[str, Any], folder: RunFolder, fitted: FittedUsers, held_out: ClickLog
) -> dict[str, Any]:
    """Return off-policy estimates of all policies on the held-out customers."""
    test = held_out.collect()
    limit = config["evaluation"]["users"]
    if limit is not None:
        test = test.sample(min(limit, test.height), seed=derived_seed(config["seed"], "customers"))
    users = _customers(fitted, test)
    catalogue = users.catalogue
    arms = fixed_arms(catalogue)
    logs = {
        outcome: catalogue_decisions(held_out.with_frame(test.lazy()), column, catalogue)
        for outcome, column in config["outcomes"].items()
    }
    models = response_models(users)
    learned = _learned(config, folder, users)
    policies = {
        name: np.eye(catalogue.n_actions)[np.full(len(test), a)] for name, a in arms.items()
    } | learned
    terms: dict[Hashable, Terms] = {}
    supports: dict[str, Support] = {}
    for policy, chances_NA in policies.items():
        for outcome, log in logs.items():
            check_log(log.actions, log.propensities, chances_NA)
            model = models[config["outcomes"][outcome]]
            row = (log.actions, log.propensities, log.rewards, chances_NA, model, log.trials)
            terms[policy, outcome] = terms_of(*row)
            supports[policy] = support(terms[policy, outcome].weights)
    resamples, seed = int(config["evaluation"]["resamples"]), config["seed"]
    bootstrap = Bootstrap(None, resamples, derived_seed(seed, "bootstrap"))
    valued = value_terms(terms, bootstrap)

    def by_outcome(policy: str, baseline: str | None = None) -> dict[str, dict[str, Any]]:
        return {
            outcome: {
                name: (
                    one.bootstrap
                    if baseline is None
                    else difference(one, valued[baseline, outcome][name])
                ).to_dict()
                for name, one in valued[policy, outcome].items()
            }
            for outcome in logs
        }

    return {
        "values": {policy: by_outcome(policy) for policy in policies},
        "differences": {
            arm: {policy: by_outcome(policy, arm) for policy in policies if policy != arm}
            for arm in arms
        },
        "support": {policy: asdict(one) for policy, one in supports.items()},
        "verdicts": verdicts(logs, policies),
        "arms": list(arms),
        "customers": len(test),
        "shares": _shares(learned, users.profiles.segments, arms),
    }


def catalogue_decisions(log: ClickLog, column: str, catalogue: Catalogue) -> Decisions:
    """Return the log's decisions with the catalogue's actions as arms, logged or not.

    Args:
        log: N held-out decisions, with propensities.
        column: of the outcome.
        catalogue: has one channel.
    """
    found = decisions(log, column)
    arms = (HOLD, *catalogue.creative_ids)
    return replace(found, arms=arms, actions=logged_actions(found.frame, catalogue))


def verdicts(
    logs: Mapping[str, Decisions], policies: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Return by policy and outcome whether the log supports the value, and what to know of it.

    Args:
        logs: outcome -> the N held-out decisions with this outcome.
        policies: name -> (N, A) float64 probabilities.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, chances_NA in policies.items():
        found[name] = {}
        for outcome, log in logs.items():
            weights = importance_weights(log.actions, log.propensities, chances_NA)
            events = effective_events(Terms(log.rewards, weights, trials=log.trials))
            bad, weak = evidence(support(weights), events, outcome)
            bad = [*log.propensity_check.contradictions, *bad]
            found[name][outcome] = {"verdict": verdict_of(bad, weak), "warnings": [*bad, *weak]}
    return found


def _customers(fitted: FittedUsers, test: pl.DataFrame) -> UserModel:
    """Return simulated users whose row i is the customer of row i of ``test``."""
    builder = fitted.profile_builder
    duplicated = test["user_id"].is_duplicated()
    if duplicated.any():
        raise UserError(
            f"off-policy log, column user_id: {test['user_id'].filter(duplicated)[0]!r} has more "
            "than one row; this experiment needs one decision per customer."
        )
    return simulate(fitted, builder.cold_start(test))


def logged_actions(test: pl.DataFrame, catalogue: Catalogue) -> np.ndarray:
    """Return (N,) int64 actions of a log's rows."""
    if catalogue.n_channels != 1:
        raise UserError(
            f"the log has {catalogue.n_channels} channels; this experiment compares creatives on "
            "one channel."
        )
    place = {name: catalogue.action(k, 0) for k, name in enumerate(catalogue.creative_ids)}
    place[HOLD] = 0
    return np.array([place[name] for name in test["creative_id"]], dtype=np.int64)


def response_models(users: UserModel) -> dict[str, np.ndarray]:
    """Return each outcome's expectation under the fitted response, (U, A) float64 by column."""
    click = 1.0 / (1.0 + np.exp(-users.click_logit[:, 0].astype(np.float64)))
    with np.errstate(over="ignore"):
        conversion = 1.0 / (1.0 + np.exp(-users.conversion_logit.astype(np.float64)))
    return {"clicks": click, "revenue": click * conversion * users.expected_revenue}


def fixed_arms(catalogue: Catalogue) -> dict[str, int]:
    """Return the action of each policy that treats everybody alike."""
    arms = {"nothing": 0}
    arms.update({name: catalogue.action(k, 0) for k, name in enumerate(catalogue.creative_ids)})
    return arms


def _learned(
    config: Mapping[str, Any], folder: RunFolder, users: UserModel
) -> dict[str, np.ndarray]:
    """Return the action probabilities (N, A) that each learner gives the customers."""
    from copygym.agents.delivery.base import load_agent
    from copygym.envs.delivery import DeliveryVectorEnv

    env = DeliveryVectorEnv(len(users), users=users, horizon=int(config["env"]["horizon"]))
    seed = derived_seed(config["seed"], "observe")
    observation, info = env.reset(seed=seed, options={"user": np.arange(len(users))})
    found = {}
    for name in config["learners"]:
        agent = load_agent(folder.file("agents", file_name(name)))
        agent.bind(users)
        state = env.state if agent.privileged else None
        found[name] = agent.propensities(observation, info["action_mask"], state)
    env.close()
    return found


def _shares(
    learned: Mapping[str, np.ndarray], segments: np.ndarray, arms: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Return by learner and segment how often each arm is chosen."""
    names, counts = np.unique(segments, return_counts=True)
    largest = names[np.argsort(-counts, kind="stable")[:12]]
    return {
        policy: {
            str(segment): {
                "customers": int((segments == segment).sum()),
                **{
                    arm: float(probabilities[segments == segment, action].mean())
                    for arm, action in arms.items()
                },
            }
            for segment in largest
        }
        for policy, probabilities in learned.items()
    }
