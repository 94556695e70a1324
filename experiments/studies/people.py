"""The people of an experiment: a log's users in parts, simulated from a fit, or as they truly are.

A fit on some of them is the proxy in which agents learn; others, whom it never saw, judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.simulator.population import align_to_catalogue, held_out_users
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.runs.trust import reading
from copygym.experiments.studies.build import rules_of
from copygym.experiments.studies.data import split_shares

if TYPE_CHECKING:
    from copygym.envs.logs.catalogue import Catalogue
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel
    from copygym.envs.people.world import World
    from copygym.envs.simulator.fitted import FittedUsers

GOLD = "Judged in the synthetic world itself, whose response is known."
FITTED = (
    "Judged by simulated users fitted on people that neither the proxy nor the agents saw; no "
    "experiment has confirmed it."
)


@dataclass(frozen=True)
class Judge:
    """Who judges the policies.

    Attributes:
        users: simulated held-out people; observations are made with the proxy's profiles.
        text: says how, for reports.
    """

    users: UserModel
    text: str


def split_users(log: ClickLog, config: Mapping[str, Any]) -> dict[str, ClickLog]:
    """Return the parts of the log by user: train, test and, where there is no truth, judge."""
    shares = split_shares(config)
    if has_truth(config):
        # The world judges, so that nobody has to be kept for a second simulator.
        shares["test"] += shares.pop("judge")
    total = sum(shares.values())
    fractions = {name: share / total for name, share in shares.items()}
    return log.split_by_user(fractions, derived_seed(config["seed"], "split"))


def has_truth(config: Mapping[str, Any]) -> bool:
    """Return whether the people of the config's dataset are made up, so that their world judges."""
    from copygym.envs.datasets import has_world

    with reading(config):
        return has_world(str(config["data"]["name"]))


def whole_catalogue(log: ClickLog, config: Mapping[str, Any]) -> Catalogue:
    """Return what the whole log shows, so that fits on parts of it have the same actions."""
    from copygym.envs.logs.from_log import catalogue_from_log

    options = _fit_options(config)
    return catalogue_from_log(log, costs=options.get("costs"), slots=options.get("slots"))


def _fit_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `fit_users` in a config."""
    options = {k: v for k, v in (config.get("users") or {}).items() if k != "_target_"}
    if has_truth(config) and options.get("costs") is None:
        options["costs"] = _costs(true_world(config).catalogue)
    return options


def fit(
    folder: RunFolder,
    name: str,
    train: ClickLog,
    test: ClickLog,
    config: Mapping[str, Any],
    catalogue: Catalogue | None = None,
) -> FittedUsers:
    """Return the simulator fitted on ``train`` and judged on ``test``, from its stage.

    Args:
        folder: of the run.
        name: of the simulator, for its stage.
        train: log of the people to fit.
        test: log of the people who judge the fit.
        config: its ``users`` part holds the options.
        catalogue: of the whole log; None: what ``train`` and ``test`` show.
    """
    from copygym.core.progress import progress
    from copygym.envs.simulator.fit import fit_users
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.envs.simulator.update import People

    def compute() -> Record:
        options = {**_fit_options(config), "seed": derived_seed(config["seed"], "fit", name)}
        # A fit has no inner steps to show; the bar tells at least that it is at work.
        with progress(total=1, what=f"fit {name} users", unit="fit") as bar:
            try:
                fitted = fit_users(train, holdout=test, catalogue=catalogue, **options)
            except TypeError as error:
                if "unexpected keyword argument" not in str(error):
                    raise
                raise UserError(f"users: {error}; check the config keys of users.") from error
            with folder.new_folder("users", name) as draft:
                fitted.save(draft)
                # What `copygym update` goes on from, of all whose past is known here.
                People.of(fitted.profile_builder, train).after(fitted.profile_builder, test).save(
                    draft
                )
            bar.update()
        return Record({"card": fitted.fidelity.to_dict()})

    folder.stage(f"fit/{name}", compute)
    return FittedUsers.load(folder.file("users", name))


def _costs(catalogue: Catalogue) -> dict[str, float]:
    return dict(zip(catalogue.channels, catalogue.cost_per_send.tolist(), strict=True))


def make_judge(
    folder: RunFolder,
    proxy: FittedUsers,
    parts: Mapping[str, ClickLog],
    config: Mapping[str, Any],
) -> Judge:
    """Return the held-out people as the truth, or a second fit, simulates them.

    What agents observe of them are the proxy's profiles, made from their own past. Like the
    profiles of the fit, they know the log up to its cut only.
    """
    catalogue = proxy.users.catalogue
    if has_truth(config):
        world = true_world(config)
        profiles = proxy.profiles_of(parts["test"])
        return Judge(align_to_catalogue(world.user_model(profiles=profiles), catalogue), GOLD)
    second = fit(folder, "judge", parts["judge"], parts["test"], config, catalogue)
    return Judge(held_out_users(proxy, parts["test"], judge=second), FITTED)


def ruled(users: UserModel, config: Mapping[str, Any], log: ClickLog) -> UserModel:
    """Return users to whom the config's rules let nothing be sent that they forbid.

    Args:
        users: people of the log.
        config: of the run; its ``rules`` name columns of the log.
        log: of everybody; of a person's rows the last one counts.
    """
    from copygym.envs.rules.rules import Rules
    from copygym.envs.rules.users import with_rules

    rules = rules_of(config)
    if rules == Rules():
        return users
    columns = [column for column in (*rules.consent.values(), rules.time_zone) if column]
    known = [column for column in dict.fromkeys(columns) if log.has(column)]
    people = log.frame.group_by("user_id").agg(pl.col(known).last()).collect()
    return with_rules(users, rules, people)


def true_world(config: Mapping[str, Any]) -> World:
    """Return the world that wrote the log of a config.

    Raises:
        UserError: the people of the config's dataset are real, and so nobody knows the truth.
    """
    from copygym.envs.datasets import make_world

    data = dict(config["data"])
    name = str(data.pop("name"))
    with reading(config):
        world = make_world(name, **data)
    if world is None:
        raise UserError(
            f"dataset={name}: its people are real, so nobody knows their true response; choose "
            "one with a world of its own, such as storefront."
        )
    return world
