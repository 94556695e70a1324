"""Worlds in which every policy's value is known, to draw logs from and judge estimators by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog


@dataclass(frozen=True)
class World:
    """A world of cells (who and when) and arms in which every policy's value is known.

    Attributes:
        name: for tables.
        synthetic: True where no real person is in it.
        share_G: (G,) probability of each cell.
        logging_GA: (G, A) the logging policy.
        features_GP: (G, P) what the response model may know of a cell, the first column ones.
        targets: name -> (G, A) policies to judge.
        outcomes: name -> outcomes in pools, as `pool` says; None: Bernoulli with ``mean_GA``.
        mean: outcome -> (G, A) true means.
        pool: (G, A, 2) int64 first and end of a cell's and arm's part of the outcomes' arrays.
    """

    name: str
    synthetic: bool
    share_G: np.ndarray
    logging_GA: np.ndarray
    features_GP: np.ndarray
    targets: dict[str, np.ndarray]
    mean: dict[str, np.ndarray]
    outcomes: dict[str, np.ndarray] | None = None
    pool: np.ndarray | None = None

    def truth(self, outcome: str, target: str) -> float:
        """Return the value of a policy."""
        means_G = (self.targets[target] * self.mean[outcome]).sum(axis=1)
        return float(self.share_G @ means_G)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict]:
        """Return cells (n,), arms (n,) and named outcomes (n,) of a fresh log."""
        cell = rng.choice(len(self.share_G), n, p=self.share_G)
        cdf = np.cumsum(self.logging_GA, axis=1)[cell]
        arm = (rng.random((n, 1)) * cdf[:, -1:] >= cdf).sum(axis=1)
        luck = rng.random(n)
        if self.outcomes is None or self.pool is None:
            drawn = {name: (luck < m[cell, arm]).astype(float) for name, m in self.mean.items()}
            return cell, arm, drawn
        first, end = self.pool[cell, arm].T
        row = first + (luck * (end - first)).astype(np.int64)
        return cell, arm, {name: values[row] for name, values in self.outcomes.items()}


def randomised_world(log: ClickLog, cells: list[str]) -> World:
    """Return the world of a randomised log with one decision per row.

    The logging policy sends little and knows the cells; targets are each arm for everybody, all
    arms alike, and mostly the arm with the best click rate of the cell.

    Args:
        log: rows with ``creative_id``, ``clicks`` and, where there is any, ``revenue``.
        cells: features whose combinations are the cells.

    Raises:
        UserError: a feature is missing, or an arm was never tried in a cell.
    """
    log.require("creative_id", *cells)
    frame = log.collect()
    arms = sorted(frame["creative_id"].unique(), key=lambda arm: (arm != HOLD, arm))
    cell = frame.select(cells).with_row_index("__row__")
    names = cell.drop("__row__").unique(maintain_order=True).sort(cells).with_row_index("__cell__")
    g = cell.join(names, on=cells, how="left", maintain_order="left")["__cell__"].to_numpy()
    a = np.array([arms.index(arm) for arm in frame["creative_id"]])
    size_GA = np.zeros((len(names), len(arms)), dtype=np.int64)
    np.add.at(size_GA, (g, a), 1)
    if (size_GA == 0).any():
        place, arm = np.argwhere(size_GA == 0)[0]
        raise UserError(
            f"cells: no row of {arms[arm]} where {names.drop('__cell__').row(int(place))}; use "
            "fewer features."
        )
    order = np.lexsort((a, g))
    end = np.cumsum(size_GA.ravel()).reshape(size_GA.shape)
    outcomes = {"visit": frame["clicks"].to_numpy().astype(float)[order]}
    if log.has("revenue"):
        outcomes["spend"] = frame["revenue"].fill_null(0).to_numpy().astype(float)[order]
    pool = np.stack([end - size_GA, end], axis=-1)
    mean = {
        name: np.add.reduceat(values, pool[..., 0].ravel()).reshape(size_GA.shape) / size_GA
        for name, values in outcomes.items()
    }
    n_cells, n_arms = size_GA.shape
    # Between three parts hold to one of the others and the reverse, by turns.
    tilt = np.where(np.arange(n_cells)[:, None] % 2 == 0, [[3.0, 2.0]], [[1.0, 2.0]])
    logging = np.ones((n_cells, n_arms))
    logging[:, :2] = tilt
    logging /= logging.sum(axis=1, keepdims=True)
    best = np.eye(n_arms)[mean["visit"].argmax(axis=1)]
    targets = {
        f"always {arm}": np.tile(np.eye(n_arms)[i], (n_cells, 1)) for i, arm in enumerate(arms)
    }
    targets["uniform"] = np.full((n_cells, n_arms), 1 / n_arms)
    targets["mostly best of cell"] = 0.9 * best + 0.1 / n_arms
    features = np.column_stack([np.ones(n_cells), np.eye(n_cells)[:, 1:]])
    share = size_GA.sum(axis=1) / size_GA.sum()
    return World(
        "hillstrom", log.synthetic, share, logging, features, targets, mean, outcomes, pool
    )


def storefront_world(seed: int, n_users: int) -> World:
    """Return the synthetic world: cells are a person in a slot, arms all sends and hold.

    Targets: all arms alike; ``tilted``, the logging policy with each send's chance multiplied by
    its true click rate; and ``rare``, half logging, half always the arm that logging sends least,
    for which no log of a usual size speaks.
    """
    from copygym.envs.storefront.world import StorefrontWorld

    users = StorefrontWorld(seed=int(seed), n_users=int(n_users)).user_model()
    assert users.logging_policy is not None
    u, s, n_arms = users.click_logit.shape
    logging = users.logging_policy.reshape(u * s, n_arms).astype(np.float64)
    logging /= logging.sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        mean = 1.0 / (1.0 + np.exp(-users.click_logit.reshape(u * s, n_arms).astype(np.float64)))
    tilted = logging * mean
    tilted *= (1.0 - logging[:, :1]) / tilted.sum(axis=1, keepdims=True)
    tilted[:, 0] = logging[:, 0]
    rare = 0.5 * logging
    rare[:, logging.mean(axis=0).argmin()] += 0.5
    targets = {"uniform": np.full(logging.shape, 1 / n_arms), "tilted": tilted, "rare": rare}
    profile = users.profiles.features.astype(np.float64)
    spread = profile.std(axis=0) > 0
    profile = (profile - profile.mean(axis=0))[:, spread] / profile.std(axis=0)[spread]
    features = np.column_stack(
        [np.ones(u * s), np.repeat(profile, s, axis=0), np.tile(np.eye(s)[:, 1:], (u, 1))]
    )
    share = np.full(u * s, 1 / (u * s))
    return World("storefront", True, share, logging, features, targets, {"click": mean})
