"""The copywriters' setting where a log has readers: people with profiles, and others who judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.seeds import derived_seed
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.population import simulate
from copygym.envs.tasks import CopyReward, CopyRows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.copy.setting import (
    ClickLogit,
    CopySetting,
    UntunedFluency,
    Witnessed,
    copy_shape,
    describe_parts,
    setting_seed,
    shares,
)
from copygym.experiments.studies.gold import Gold, judges_of, parts_of
from copygym.experiments.studies.reward_models import fit_ctr_model

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.rewards.copy.fluency import Fluency

#: What readers can be taken for instead of what they are.
BLIND, PERMUTED = "blind", "permuted"


def storefront_setting(
    log: ClickLog, data: dict[str, Any], config: Mapping[str, Any], folder: RunFolder
) -> CopySetting:
    """Return the setting of a log with readers, the storefront's or another; parts are of users.

    The proxy knows from the fitted users how often somebody clicks on a product on this channel in
    this slot, and from the CTR model how much more or less on this text of it than on another.

    Args:
        log: the whole log.
        data: its checksum and rows.
        config: of the run.
        folder: of the run.
    """
    from copygym.agents.copywriter.demonstrations import better_copy, preference_pairs
    from copygym.envs.copywriting import draw_tasks
    from copygym.experiments.studies.people import fit, whole_catalogue
    from copygym.rewards.copy.grounding import grounded

    seed = int(config["seed"])
    parts = log.split_by_user(shares(config, parts_of(config)), derived_seed(seed, "split"))
    rows_seen = describe_parts(folder, parts)
    catalogue = whole_catalogue(log, config)
    fitted = fit(folder, "proxy", parts["proxy"], parts["judge"], config, catalogue)
    people = fitted.profiles_of(parts["test"])
    judges = judges_of(config, folder, parts, fitted, people, catalogue)
    fluency = UntunedFluency(config["copywriter"]["model"], folder)
    known = _rewards(config, folder, parts, fitted, people, fluency)
    gold_users = judges.gold
    number = {name: int(n) for name, n in config["tasks"].items()}
    train, validation = (
        draw_tasks(known.readers, number[name], derived_seed(seed, "tasks", name))
        for name in ("train", "validation")
    )
    test = draw_tasks(
        gold_users, number["test"], derived_seed(seed, "tasks", "test"), number.get("readers", 1)
    )
    # What suits a reader by the model where it knows readers, by the audience's clicks where not;
    # a writer that has seen claims which no brief carries would make such claims.
    texts, rows = better_copy(
        parts["proxy"],
        fitted.users,
        score=known.model.score if known.model.reads_readers else None,
        allowed=grounded,
    )
    return CopySetting(
        log=log,
        data=data,
        rows_seen=rows_seen,
        proxy_log=parts["proxy"],
        readers=known.readers,
        model=known.model,
        train=train,
        validation=validation,
        test=test,
        demonstrations=(texts, rows),
        preferences=preference_pairs(parts["proxy"], fitted.users),
        reward=known.reward,
        proxy=known.proxy,
        judge=Witnessed(known.judge, *judges.witness(validation, known.readers)),
        gold=Gold(gold_users),
        human=_human(test, parts["proxy"], derived_seed(seed, "human")),
        training_texts=catalogue.texts,
        gold_text=judges.text,
        fitted=replace(fitted, users=known.readers),
        gold_users=gold_users,
        held_out=known.held_out,
        fluency=fluency,
    )


@dataclass(frozen=True)
class _Rewards:
    """What is learned of clicks, by `CopySetting`'s names."""

    model: Any
    judge: ClickLogit
    readers: UserModel
    held_out: UserModel
    reward: CopyReward
    proxy: CopyReward


def _rewards(
    config: Mapping[str, Any],
    folder: RunFolder,
    parts: Mapping[str, ClickLog],
    fitted: FittedUsers,
    people: Profiles,
    fluency: Fluency | None,
    kind: str = "",
) -> _Rewards:
    """Return the models of clicks and the rewards that they make.

    Args:
        config: of the run.
        folder: of the run; the models of another ``kind`` lie in a child of it.
        parts: of the log.
        fitted: the simulated users of the proxy.
        people: profiles of the test part.
        fluency: of texts under the untuned writer.
        kind: what the models take for the readers' profiles: these (""), nothing (`BLIND`), or
            while they learn those of others (`PERMUTED`).
    """
    from copygym.rewards.ctr.response import texts_answered_by

    seed = int(config["seed"])
    if kind == PERMUTED:
        # Left to itself, a model finds that wrong profiles tell nothing, and reads none.
        keys = ("reward_model", "judge_model")
        config = {**config, **{key: {**config[key], "readers": True} for key in keys}}
    models = folder.child(kind) if kind else folder
    # What a profile tells of the time before a send may tell its click, what it tells of later not.
    model, judge = (
        fit_ctr_model(
            models,
            name,
            parts[name],
            config,
            key,
            taken_for(fitted.profiles_of(parts[name]), kind, seed),
            fitted.cut,
        )
        for name, key in (("proxy", "reward_model"), ("judge", "judge_model"))
    )
    users, held_out = fitted.users, simulate(fitted, people)
    if kind == BLIND:
        users, held_out = (
            replace(known, profiles=taken_for(known.profiles, kind, seed))
            for known in (users, held_out)
        )
    readers, held_out = (texts_answered_by(known, model) for known in (users, held_out))
    reward, proxy = (
        copy_shape(config, model, known, users.catalogue.texts, fluency)
        for known in (readers, held_out)
    )
    return _Rewards(model, ClickLogit(judge, readers), readers, held_out, reward, proxy)


def other_rewards(
    config: Mapping[str, Any], folder: RunFolder, setting: CopySetting, kind: str
) -> CopySetting:
    """Return a setting with the same tasks and truth whose rewards take readers for others.

    Args:
        config: of the run.
        folder: of the run.
        setting: with the readers as they are.
        kind: what is taken for the readers' profiles by the models and what they answer: `BLIND`,
            nothing, or `PERMUTED`, those of others, while they learn.
    """
    from copygym.experiments.studies.people import fit

    config = {**config, "seed": setting_seed(config)}
    parts = setting.log.split_by_user(
        shares(config, parts_of(config)), derived_seed(config["seed"], "split")
    )
    assert setting.gold_users is not None and isinstance(setting.judge, Witnessed)
    catalogue = setting.readers.catalogue
    fitted = fit(folder, "proxy", parts["proxy"], parts["judge"], config, catalogue)
    people = setting.gold_users.profiles
    known = _rewards(config, folder, parts, fitted, people, setting.fluency, kind)
    return replace(
        setting,
        readers=known.readers,
        model=known.model,
        reward=known.reward,
        proxy=known.proxy,
        judge=replace(setting.judge, judge=known.judge),
        held_out=known.held_out,
    )


def taken_for(profiles: Profiles, kind: str, seed: int) -> Profiles:
    """Return what the people of these profiles are taken for; their ids stay."""
    n = len(profiles)
    if kind == BLIND:
        features = np.zeros_like(profiles.features)
        return Profiles(profiles.user_ids, features, profiles.names, np.full(n, "everybody"))
    if kind == PERMUTED:
        order = np.random.default_rng(derived_seed(seed, kind)).permutation(n)
        return replace(profiles.take(order), user_ids=profiles.user_ids)
    return profiles


def launch_setting(config: Mapping[str, Any], setting: CopySetting) -> CopySetting | None:
    """Return the same people and models with tasks of products that the log never showed.

    The proxy is the CTR model alone, since nobody was ever sent one of these products. ``human``
    is the marketer's default copy of each.

    Args:
        config: of the run; ``tasks.launches`` of them.
        setting: on the log's products.

    Returns:
        None where the world has no launches, or none are wanted.
    """
    from copygym.envs.copywriting import draw_tasks
    from copygym.experiments.studies.people import true_world
    from copygym.rewards.ctr.response import answered_by

    tasks, data = int(config["tasks"].get("launches", 0)), config["data"]
    if not tasks or data.get("catalogue") != "large" or not data["launches_per_field"]:
        return None
    assert setting.gold_users is not None
    world: Any = true_world(config)
    gold = world.launches.user_model(profiles=setting.gold_users.profiles)
    nothing = np.zeros_like(gold.conversion_logit)
    unknown = replace(
        gold,
        click_logit=np.zeros_like(gold.click_logit),
        conversion_logit=nothing,
        expected_revenue=nothing,
        unsubscribe_offset=nothing,
        logging_policy=None,
    )
    profiles = bool(getattr(setting.model, "reads_readers", False))
    held_out = answered_by(unknown, setting.model, profiles=profiles)
    seed = derived_seed(setting_seed(config), "tasks", "launches")
    test = draw_tasks(gold, tasks, seed, int(config["tasks"].get("readers", 1)))
    default = [gold.catalogue.texts[k] for k in test.creative]
    return replace(
        setting,
        test=test,
        proxy=copy_shape(config, setting.model, held_out, setting.training_texts, setting.fluency),
        gold=Gold(gold),
        human=(default, default),
        gold_users=gold,
        held_out=held_out,
        readers=held_out,
    )


def logged_copy(log: ClickLog) -> pl.DataFrame:
    """Return a log's copies by product, best first: product_id, text, sends, rate.

    The rate is shrunk to the product's mean by a hundred sends.
    """
    frame = (
        log.sends()
        .frame.group_by("product_id", "text")
        .agg(pl.col("impressions").sum().alias("sends"), pl.col("clicks").sum())
        .collect(engine="streaming")
    )
    mean = (pl.col("clicks").sum() / pl.col("sends").sum()).over("product_id")
    rate = (pl.col("clicks") + 100 * mean) / (pl.col("sends") + 100)
    return frame.with_columns(rate=rate).sort(
        "product_id", "rate", "text", descending=[False, True, False]
    )


def _human(rows: CopyRows, log: ClickLog, seed: int) -> tuple[list[str], list[str]]:
    """Return the log's best copy for each task's product, and any of its copies."""
    rng = np.random.default_rng(seed)
    copies = {
        str(key[0]): frame["text"].to_list()
        for key, frame in logged_copy(log).group_by("product_id", maintain_order=True)
    }
    best = [copies[product][0] for product in rows.products]
    return best, [str(rng.choice(copies[product])) for product in rows.products]
