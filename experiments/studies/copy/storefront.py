"""The copywriters' setting in the storefront: readers with profiles, and a truth that judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.seeds import derived_seed
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.population import align_to_catalogue, simulate
from copygym.envs.tasks import CopyRows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.copy.setting import (
    WORLD,
    ClickLogit,
    CopySetting,
    copy_shape,
    describe_parts,
    shares,
)
from copygym.experiments.studies.reward_models import fit_ctr_model

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

#: The world needs no part for a gold model.
_PARTS = ("proxy", "judge", "test")


def storefront_setting(
    log: ClickLog, data: dict[str, Any], config: Mapping[str, Any], folder: RunFolder
) -> CopySetting:
    """Return the setting of a storefront log; its parts are of users.

    The proxy knows from the fitted users how often somebody clicks on a product on this channel in
    this slot, and from the CTR model how much more or less on this text of it than on another.
    """
    from copygym.agents.copywriter.demonstrations import better_copy, preference_pairs
    from copygym.envs.copywriting import draw_tasks
    from copygym.experiments.studies.people import fit, true_world, whole_catalogue
    from copygym.rewards.ctr.response import texts_answered_by

    seed = int(config["seed"])
    parts = log.split_by_user(shares(config, _PARTS), derived_seed(seed, "split"))
    rows_seen = describe_parts(folder, parts)
    catalogue = whole_catalogue(log, config)
    fitted = fit(folder, "proxy", parts["proxy"], parts["judge"], config, catalogue)
    model = fit_ctr_model(folder, "proxy", parts["proxy"], config, "reward_model")
    judge = fit_ctr_model(folder, "judge", parts["judge"], config, "judge_model")
    readers = texts_answered_by(fitted.users, model)
    people = fitted.profiles_of(parts["test"])
    held_out = texts_answered_by(simulate(fitted, people), model)
    gold_users = align_to_catalogue(true_world(config).user_model(profiles=people), catalogue)
    number = {name: int(n) for name, n in config["tasks"].items()}
    train, validation = (
        draw_tasks(readers, number[name], derived_seed(seed, "tasks", name))
        for name in ("train", "validation")
    )
    test = draw_tasks(
        gold_users, number["test"], derived_seed(seed, "tasks", "test"), number.get("readers", 1)
    )
    texts, rows = better_copy(parts["proxy"], fitted.users)
    return CopySetting(
        log=log,
        data=data,
        rows_seen=rows_seen,
        proxy_log=parts["proxy"],
        readers=readers,
        model=model,
        train=train,
        validation=validation,
        test=test,
        demonstrations=(texts, rows),
        preferences=preference_pairs(parts["proxy"], fitted.users),
        reward=copy_shape(config, folder, model, readers, catalogue.texts),
        proxy=copy_shape(config, folder, model, held_out, catalogue.texts),
        judge=ClickLogit(judge),
        gold=_Truth(gold_users),
        human=_human(test, parts["proxy"], derived_seed(seed, "human")),
        training_texts=catalogue.texts,
        gold_text=WORLD,
        fitted=replace(fitted, users=readers),
        gold_users=gold_users,
        held_out=held_out,
    )


@dataclass(frozen=True)
class _Truth:
    """P(click) of rested people of the test part, by the world's own rule."""

    users: UserModel

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        assert self.users.copy_response is not None
        answer = self.users.copy_response(
            list(texts), rows.user, rows.creative, rows.channel, rows.slot
        )
        return 1.0 / (1.0 + np.exp(-np.asarray(answer.click_logit, np.float64)))


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
