"""Rare products: how well creatives are predicted by how often they were sent.

Creatives fall into groups (deciles) by their sends in the training log. People whom nothing was
fitted on judge, by their clicks and by the world's truth, models that know a creative by its
number, by its text, by both, or by its number with a CTR model for the texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.scores import log_losses
from copygym.core.seeds import derived_seed
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.population import simulate
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.data import describe, seen
from copygym.experiments.studies.newcomers.known_log import (
    Scored,
    Sends,
    demographics,
    fit_options,
    judged_sends,
    known_log,
    predicted,
)
from copygym.experiments.studies.reward_models import fit_ctr_model
from copygym.rewards.ctr.response import texts_answered_by

#: What a model knows a creative by, and the options of its fit. A fit of more creatives than
#: max_creatives knows them by text and product alone.
NUMBER = "number"
KNOWN_BY: dict[str, dict[str, Any]] = {
    NUMBER: {"text_encoder": None},
    "text": {"options": {"max_creatives": 1}},
    "number and text": {},
}
#: The number's tables, in which a CTR model says how the texts of a product differ.
WITH_CTR = "number, CTR model"
MODELS = (*KNOWN_BY, WITH_CTR)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in ``long_tail`` of a config."""
    own = config["long_tail"]
    for name in own["models"]:
        if name not in MODELS:
            raise unknown_name("entry of long_tail.models", str(name), list(MODELS))
    if not own["models"]:
        raise UserError(f"long_tail.models is empty: choose among {', '.join(MODELS)}.")
    if int(own["groups"]) < 2:
        raise UserError(f"long_tail.groups={own['groups']}: a tail needs at least 2 groups.")


def deciles(sends_K: np.ndarray, groups: int = 10) -> np.ndarray:
    """Return (K,) int64 group of each creative, 0 the most sent; sizes differ by at most one.

    Args:
        sends_K: (K,) how often each was sent; equal ones keep their order.
        groups: how many.

    Raises:
        UserError: fewer creatives than groups.
    """
    count = len(sends_K)
    if count < groups:
        raise UserError(
            f"{count} creatives make no {groups} groups by popularity; lower long_tail.groups or "
            "use a log with more creatives."
        )
    order = np.argsort(-np.asarray(sends_K), kind="stable")
    group = np.empty(count, np.int64)
    group[order] = np.arange(count) * groups // count
    return group


def baselines(cell: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the scores of a cell are compared with: a name, and its cell."""
    if cell["model"] in (None, NUMBER):
        return []
    return [(NUMBER, {**cell, "model": NUMBER})]


def measure(config: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return one world's ``scores``, ``data``, ``rows_seen``, and what it has in ``about``.

    Scores are of a ``model`` and a ``group`` from 1, the most sent (null for all creatives):
    `group_scores`; and of a group alone its ``share`` of the training sends and ``sends`` per
    creative.
    """
    own, seed = config["long_tail"], int(config["seed"])
    known = known_log(seed, own["data"])
    parts, sends = judged_sends(known, config, own)
    catalogue = known.world.catalogue
    sent_K = np.zeros(catalogue.n_creatives)
    counted = parts["train"].sends().frame.group_by("creative_id").agg(pl.len()).collect()
    for name, count in counted.iter_rows():
        sent_K[catalogue.creative_ids.index(name)] = count
    group_K = deciles(sent_K, int(own["groups"]))
    gold = known.world.user_model(users=known.world.rows_of(sends.ids))
    settings = fit_options(config, own)
    base = dict(settings.pop("options", None) or {})
    people = demographics(parts["test"])
    found: dict[str, list[Scored]] = {}

    def judge(name: str, users: UserModel, chance: np.ndarray) -> None:
        creative = catalogue.creative_of_action[sends.action]
        error_K = _error(users, gold)
        groups = [(g + 1, group_K == g) for g in range(int(own["groups"]))]
        found[name] = [
            Scored(
                {"model": name, "group": group},
                group_scores(chance, sends, creative, here, error_K),
            )
            for group, here in (*groups, (None, np.ones(len(group_K), bool)))
        ]

    fits = [name for name in KNOWN_BY if name in own["models"]]
    if WITH_CTR in own["models"] and NUMBER not in fits:
        fits.append(NUMBER)
    for name in fits:
        more = KNOWN_BY[name]
        fitted = fit_users(
            parts["train"],
            holdout=parts["test"],
            catalogue=catalogue,
            **{
                **settings,
                **more,
                "options": {**base, **more.get("options", {})},
                "seed": derived_seed(seed, "long tail", name),
            },
        )
        profiles = fitted.profiles_of(parts["test"], users=people["user_id"].to_numpy())
        users = simulate(fitted, profiles)
        if name in own["models"]:
            judge(name, users, predicted(users, fitted, sends))
        if name == NUMBER and WITH_CTR in own["models"]:
            model = fit_ctr_model(folder, "long_tail", parts["train"], config, "reward_model")
            answered = texts_answered_by(users, model)
            judge(WITH_CTR, answered, predicted(answered, fitted, sends))
    sizes = [
        Scored(
            {"model": None, "group": g + 1},
            {
                "share": float(sent_K[group_K == g].sum() / sent_K.sum()),
                "sends": float(sent_K[group_K == g].mean()),
            },
        )
        for g in range(int(own["groups"]))
    ]
    return {
        "scores": [*sizes, *(entry for name in own["models"] for entry in found[name])],
        "about": {"creatives": len(group_K)},
        "data": {"long_tail": describe(known.log)},
        "rows_seen": {name: seen(part) for name, part in parts.items()},
    }


def _error(users: UserModel, gold: UserModel) -> np.ndarray:
    """Return (K,) float64 mean squared error of each creative's logits over people and slots."""
    c = users.catalogue
    gap = users.click_logit[:, :, 1:].astype(np.float64) - gold.click_logit[:, :, 1:]
    by_action = (gap**2).mean(axis=(0, 1))
    return np.asarray(by_action.reshape(c.n_creatives, c.n_channels).mean(axis=1))


def group_scores(
    chance: np.ndarray, sends: Sends, creative: np.ndarray, here: np.ndarray, error_K: np.ndarray
) -> dict[str, float]:
    """Return how well the creatives of a group are predicted.

    Args:
        chance: (N,) predicted chances of a click.
        sends: N sends of people that were not fitted.
        creative: (N,) int64 of each send.
        here: (K,) bool, the group.
        error_K: (K,) mean squared error of each creative's logits.

    Returns:
        ``log_loss`` in nats per send; ``excess`` over the truth's (`known_log.scores`);
        ``calibration``: gap of predicted and true clicks, creative by creative, over the true ones
        (0 is right); ``error``: root of the mean squared error of the logits of rested people,
        every creative, channel and slot alike.
    """
    rows = here[creative]
    p, true, k = chance[rows], sends.truth[rows], sends.clicks[rows]
    gap_K = np.bincount(creative[rows], p - true, len(here))
    ones = np.ones(len(p))
    excess = log_losses(p, ones, true) - log_losses(true, ones, true)
    some = len(p) > 0
    return {
        "log_loss": float(log_losses(p, ones, k).mean()) if some else float("nan"),
        "excess": float(1000 * excess.mean()) if some else float("nan"),
        "calibration": float(np.abs(gap_K).sum() / true.sum()) if some else float("nan"),
        "error": float(np.sqrt(error_K[here].mean())),
    }
