"""Changing tastes: a simulator fitted once against those that are updated every period.

In storefront each person's interests walk, and (with a trend) everybody's together. The log is cut
into periods. Before each, some models learn from what has happened; people whom nothing was fitted
on are then predicted in it, and the truth of that moment judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.data import describe, seen
from copygym.experiments.studies.newcomers.known_log import (
    Scored,
    demographics,
    fit_options,
    judged_sends,
    known_log,
    predicted,
    scores,
)

#: How a model keeps up: never; people's profiles only; fitted anew on everything, or on the last
#: periods only.
ONCE, PROFILES, EVERYTHING, WINDOW = "once", "profiles", "everything", "window"
UPDATES = (ONCE, PROFILES, EVERYTHING, WINDOW)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in ``drift`` of a config."""
    own = config["drift"]
    for name in own["updates"]:
        if name not in UPDATES:
            raise unknown_name("entry of drift.updates", str(name), list(UPDATES))
    if not own["updates"]:
        raise UserError(f"drift.updates is empty: choose among {', '.join(UPDATES)}.")
    if not 1 <= int(own["first"]) < int(own["periods"]):
        raise UserError(
            f"drift.first={own['first']}: the first fit needs at least 1 of the "
            f"{own['periods']} periods and must leave at least 1 to predict."
        )
    if int(own["window"]) < 1:
        raise UserError(f"drift.window={own['window']}: give at least 1 period.")
    if not own["worlds"]:
        raise UserError("drift.worlds is empty: name at least one way in which tastes move.")


def edges(log: ClickLog, periods: int) -> np.ndarray:
    """Return (P + 1,) int64 microseconds: equal periods of a log's time, the last one past its end.

    Raises:
        UserError: the log has no times, or they are all one.
    """
    log.require("timestamp")
    time = pl.col("timestamp").cast(pl.Int64)
    span = log.frame.select(low=time.min(), high=time.max()).collect()
    low, high = span["low"].item(), span["high"].item()
    if low is None or high == low:
        raise UserError(
            f"{log.source or log.name}, column timestamp: the log has one period only, in which "
            "nothing can change; use a log of several times."
        )
    return np.linspace(low, high + 1, periods + 1).astype(np.int64)


def baselines(cell: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the scores of a cell are compared with: a name, and its cell."""
    return [] if cell["update"] == ONCE else [(ONCE, {**cell, "update": ONCE})]


def measure(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return one world's ``scores``, ``data`` and ``rows_seen``.

    Scores are of ``tastes`` (a name in ``drift.worlds``), an ``update`` and a ``period`` from 1
    (null for the mean over periods): those of `known_log.scores`.
    """
    own, seed = config["drift"], int(config["seed"])
    found: list[Scored] = []
    rows: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for tastes, changed in own["worlds"].items():
        known = known_log(seed, {**own["data"], **(changed or {})})
        parts, sends = judged_sends(known, config, own)
        rows |= {f"{tastes}, {name}": seen(part) for name, part in parts.items()}
        data[f"drift, {tastes}"] = describe(known.log)
        cuts = edges(known.log, int(own["periods"]))
        fits = Fits(parts["train"], parts["test"], known.world.catalogue, cuts, config)
        models = {name: Updated(name, fits) for name in own["updates"]}
        by_update: dict[str, list[dict[str, float]]] = {name: [] for name in models}
        for p in range(int(own["first"]), int(own["periods"])):
            here = (sends.time >= cuts[p]) & (sends.time < cuts[p + 1])
            now = sends.take(here)
            if not now.clicks.any():
                raise UserError(
                    f"drift: nobody clicked in period {p + 1}, so nothing can be judged; raise "
                    "drift.data.n_users or lower drift.periods."
                )
            for name, model in models.items():
                fitted, profiles = model.before(p)
                users = simulate(fitted, profiles)
                own_scores = scores(predicted(users, fitted, now), now)
                by_update[name].append(own_scores)
                cell = {"tastes": tastes, "update": name, "period": p + 1}
                found.append(Scored(cell, own_scores))
        for name, each in by_update.items():
            means = {key: float(np.mean([entry[key] for entry in each])) for key in each[0]}
            found.append(Scored({"tastes": tastes, "update": name, "period": None}, means))
    return {"scores": found, "about": {}, "rows_seen": rows, "data": data}


class Fits:
    """Simulators by the periods that they were fitted on, each fitted once.

    Args:
        train: who they are fitted on.
        test: who is predicted.
        catalogue: of both.
        cuts: (P + 1,) int64 microseconds.
        config: the run's.
    """

    def __init__(
        self,
        train: ClickLog,
        test: ClickLog,
        catalogue: Catalogue,
        cuts: np.ndarray,
        config: Mapping[str, Any],
    ) -> None:
        self.train, self.test, self.catalogue = train, test, catalogue
        self.cuts, self.config = cuts, config
        self.people = demographics(test)
        self._fitted: dict[tuple[int, int], FittedUsers] = {}

    def on(self, begin: int, end: int) -> FittedUsers:
        """Return the fit on periods ``begin`` to ``end``, the last one excluded."""
        if (begin, end) not in self._fitted:
            settings = fit_options(self.config, self.config["drift"])
            # One seed for all, so that the same periods give the same fit.
            settings["seed"] = derived_seed(int(self.config["seed"]), "drift")
            self._fitted[begin, end] = fit_users(
                between(self.train, self.cuts, begin, end),
                # The fit's own card is not used; its judge sees no later row either.
                holdout=self.seen(begin, end),
                catalogue=self.catalogue,
                **settings,
            )
        return self._fitted[begin, end]

    def seen(self, begin: int, end: int) -> ClickLog:
        """Return what is known of the judged people from these periods."""
        return between(self.test, self.cuts, begin, end)


class Updated:
    """A simulator that is kept up to date in one of the ways of `UPDATES`.

    Before period p it has seen rows before ``cuts[p]`` only, of the training people for the fit,
    of the judged people for their profiles.

    Args:
        how: one of `UPDATES`.
        fits: on whatever periods are asked for.
    """

    def __init__(self, how: str, fits: Fits) -> None:
        self.how, self.fits = how, fits
        self._fitted: FittedUsers | None = None
        self._state: pl.DataFrame | None = None

    def before(self, p: int) -> tuple[FittedUsers, Profiles]:
        """Return the fit and the judged people's profiles as known before period ``p``.

        To be called for one period after the other, from ``drift.first`` on.
        """
        fits = self.fits
        window = int(fits.config["drift"]["window"])
        begin = max(p - window, 0) if self.how == WINDOW else 0
        if self._fitted is None or self.how in (EVERYTHING, WINDOW):
            self._fitted = fits.on(begin, p)
            self._state = self._fitted.profile_builder.summarise(fits.seen(begin, p))
        elif self.how == PROFILES:
            assert self._state is not None
            last = fits.seen(p - 1, p)
            self._state = self._fitted.profile_builder.update(self._state, last)
        assert self._state is not None
        return self._fitted, self._fitted.profile_builder.profiles(self._state, fits.people)


def between(log: ClickLog, cuts: np.ndarray, begin: int, end: int) -> ClickLog:
    """Return the rows of periods ``begin`` to ``end``, the last one excluded."""
    time = pl.col("timestamp").cast(pl.Int64)
    return log.filter((time >= int(cuts[begin])) & (time < int(cuts[end])))
