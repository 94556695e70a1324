"""Storefront logs with the truth of every row, and what a fit says of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from copygym.core.scores import auc_counts, log_losses
from copygym.core.seeds import derived_seed
from copygym.envs.datasets.storefront import make_world
from copygym.envs.datasets.storefront_log import simulate_log
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.response.encode import encode, with_state
from copygym.envs.storefront.world import ASSUMPTION, StorefrontWorld
from copygym.experiments.studies.build import known_options

_TRUTH = "click_probability"


@dataclass(frozen=True)
class KnownLog:
    """A storefront log and what is hidden from all but the judge.

    Attributes:
        world: that wrote it.
        log: as `copygym.envs.datasets.storefront.load` gives it.
        truth: ``user_id``, ``timestamp`` and ``click_probability`` of every row.
    """

    world: StorefrontWorld
    log: ClickLog
    truth: pl.DataFrame


def known_log(seed: int, options: Mapping[str, Any]) -> KnownLog:
    """Return the log of a storefront world with its truth.

    Args:
        seed: of the world and the log.
        options: ``n_slots``, and those of `copygym.envs.datasets.storefront.make_world`.

    Raises:
        UserError: an option that there is not.
    """
    world_options = {key: value for key, value in options.items() if key != "n_slots"}
    known_options(make_world, world_options, "data option")
    world = make_world(seed, **world_options)
    frame = simulate_log(world, int(options["n_slots"]), seed, truth=True)
    log = ClickLog.from_frame(
        frame.drop(_TRUTH), name="storefront", synthetic=True, notes=(ASSUMPTION,)
    )
    return KnownLog(world, log, frame.select("user_id", "timestamp", _TRUTH))


@dataclass(frozen=True)
class Sends:
    """N sends of U people, sorted by user and time; every array but the first is (N,).

    Attributes:
        ids: (U,) str, sorted.
        user: int64 rows of ``ids``.
        order: int64 how many sends the user had before.
        time: int64 microseconds.
        slot: int64.
        action: int64.
        clicks: float64, 0 or 1.
        fatigue: float64 before the send.
        repetitions: int64 earlier sends of the creative.
        truth: float64 true chance of a click, state and drift included.
    """

    ids: np.ndarray
    user: np.ndarray
    order: np.ndarray
    time: np.ndarray
    slot: np.ndarray
    action: np.ndarray
    clicks: np.ndarray
    fatigue: np.ndarray
    repetitions: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.user)

    def take(self, keep: np.ndarray) -> Sends:
        """Return the sends where ``keep`` (N,) bool; the people stay."""
        return replace(
            self, **{f.name: getattr(self, f.name)[keep] for f in fields(self) if f.name != "ids"}
        )


def sends_of(known: KnownLog, part: ClickLog, catalogue: Catalogue, decay: float) -> Sends:
    """Return the sends of a part of a known log (whole users) with their state and truth.

    Args:
        known: the log.
        part: some of its users, with all of their rows.
        catalogue: numbers actions and slots.
        decay: share of fatigue that a slot leaves.
    """
    rows, ids = encode(part, None, catalogue)
    rows, _ = with_state(rows, catalogue, decay, None)
    here = known.truth.join(part.frame.select("user_id").unique().collect(), on="user_id")
    here = here.sort("user_id", "timestamp")
    assert rows.time is not None and rows.fatigue is not None and rows.repetitions is not None
    if not np.array_equal(here["timestamp"].cast(pl.Int64).to_numpy(), rows.time):
        raise ValueError("the part does not hold whole users of the known log")
    sent = np.flatnonzero(rows.sent)
    user = rows.user[sent].astype(np.int64)
    first = np.searchsorted(user, user)
    return Sends(
        ids.to_numpy().astype(np.str_),
        user,
        np.arange(len(user)) - first,
        rows.time[sent],
        rows.slot[sent].astype(np.int64),
        rows.action[sent].astype(np.int64),
        rows.clicks[sent].astype(np.float64),
        rows.fatigue[sent],
        rows.repetitions[sent],
        here[_TRUTH].to_numpy()[sent],
    )


def judged_sends(
    known: KnownLog, config: Mapping[str, Any], part: Mapping[str, Any]
) -> tuple[dict[str, ClickLog], Sends]:
    """Return the parts of a known log and the sends of those who judge, whom nothing is fitted on.

    Args:
        known: the log.
        config: of the run: ``seed``, and the fatigue of ``users``.
        part: of it: ``split``, shares of users, ``test`` among them.
    """
    seed = derived_seed(int(config["seed"]), "split")
    parts = known.log.split_by_user(dict(part["split"]), seed)
    decay = float(config["users"]["dynamics"]["fatigue_decay"])
    return parts, sends_of(known, parts["test"], known.world.catalogue, decay)


def fit_options(config: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a part's fits: the config's ``users`` and its own ``options``.

    Args:
        config: of the run.
        part: of it; its ``options`` of the response family go before those of ``users``.
    """
    found = {key: value for key, value in config["users"].items() if key != "_target_"}
    found["options"] = {**(found.get("options") or {}), **(part.get("options") or {})}
    return found


def demographics(log: ClickLog) -> pl.DataFrame:
    """Return ``user_id`` and the ``user_*`` columns of a log's users, sorted by id."""
    rows = log.frame.group_by("user_id").agg(pl.col(log.user_features()).max())
    return rows.collect(engine="streaming").sort("user_id")


def predicted(users: UserModel, fitted: FittedUsers, sends: Sends) -> np.ndarray:
    """Return (N,) float64 chance of a click that simulated people give each send.

    Args:
        users: the people of the sends, in their order.
        fitted: whose effects of fatigue and repetition are added.
        sends: N sends.
    """
    logit = users.click_logit[sends.user, sends.slot, sends.action].astype(np.float64)
    logit += fitted.response.layer.state_effect(sends.fatigue, sends.repetitions)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


class Scored(NamedTuple):
    """The scores of one cell of a part, as a stage keeps them: a pair in JSON.

    Attributes:
        cell: columns of the records.
        scores: metric -> number.
    """

    cell: dict[str, Any]
    scores: dict[str, float]


def scores(chance: np.ndarray, sends: Sends) -> dict[str, float]:
    """Return how well a prediction (N,) fits N sends.

    ``log_loss`` in nats per send, ``excess``: how much that is above the expected log loss of the
    truth at the same sends, times 1000 (the mean Kullback-Leibler divergence: no luck of clicks),
    ``auc``, and ``calibration``: predicted clicks over true ones.
    """
    ones = np.ones(len(sends))
    true = sends.truth
    own = log_losses(chance, ones, true).mean()
    return {
        "log_loss": float(log_losses(chance, ones, sends.clicks).mean()),
        "excess": float(1000 * (own - log_losses(true, ones, true).mean())),
        "auc": auc_counts(chance, ones, sends.clicks),
        "calibration": float(chance.sum() / true.sum()),
    }
