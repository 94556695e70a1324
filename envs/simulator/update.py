"""New rows into fitted users: profiles by their sums, the response from its own posterior.

What a log leaves behind is kept in two tables of sums (`People`), and in the posterior of the
response model, so that no old row is read again:

| part | is updated |
|---|---|
| profiles | exactly: the sums of both logs are those of one log |
| P(click), P(conversion given a click) | by warm start: the old posterior is the prior |
| calibration | becomes part of the response: the prior is the calibrated posterior |
| unsubscribes, fatigue, audiences, text axes | not: they stay what the fit found |

A creative, channel or slot that the fit did not know has no number in its catalogue: such rows are
left out and counted, and only a new fit takes them in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.files.storage import atomic
from copygym.core.scores import log_losses
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog, creative_key
from copygym.envs.profiles.builder import ProfileBuilder, Profiles, user_key
from copygym.envs.simulator.data import who
from copygym.envs.simulator.delay import Delay
from copygym.envs.simulator.fitted import FittedResponse, FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.envs.simulator.response.design import Counts
from copygym.envs.simulator.response.encode import EncodedRows, encode, with_state
from copygym.envs.simulator.response.logistic import LogisticResponse

_FILES = ("people.parquet", "sends.parquet")


@dataclass(frozen=True)
class People:
    """What must be kept of people between two logs: sums alone.

    Attributes:
        profiles: the state of `ProfileBuilder.summarise`, a row a user.
        sends: ``user_id``, ``creative_id``, ``sends``: how often each saw what.
    """

    profiles: pl.DataFrame
    sends: pl.DataFrame

    @classmethod
    def of(cls, builder: ProfileBuilder, log: ClickLog) -> People:
        """Return what a log says of its people."""
        return cls(builder.summarise(log), _sends(log))

    def after(self, builder: ProfileBuilder, log: ClickLog) -> People:
        """Return the sums of both: of what is known and of a further log."""
        both = pl.concat([self.sends, _sends(log)])
        return People(builder.update(self.profiles, log), _added_up(both))

    @staticmethod
    def kept(folder: Path) -> bool:
        """Return whether a folder holds what `save` writes."""
        return all((folder / name).is_file() for name in _FILES)

    def save(self, folder: Path) -> None:
        """Write both tables as Parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in zip(_FILES, (self.profiles, self.sends), strict=True):
            with atomic(folder / name) as temporary:
                frame.write_parquet(temporary)

    @classmethod
    def load(cls, folder: Path) -> People:
        """Read what `save` wrote.

        Raises:
            UserError: a table is missing or damaged.
        """
        frames = []
        for name in _FILES:
            path = folder / name
            if not path.is_file():
                raise UserError(
                    f"{path} does not exist: the run kept no sums of its people, as an older "
                    "version wrote it; name the log that it learned from (--past)."
                )
            try:
                frames.append(pl.read_parquet(path, glob=False, hive_partitioning=False))
            except (pl.exceptions.PolarsError, OSError) as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"{path} is no readable Parquet file ({reason}).") from None
        return cls(*frames)


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        users: fitted users with the updated response, for the same population.
        people: everybody's sums after the update.
        rows: of the new log that told of clicks.
        left_out: rows of creatives, channels or slots that the fit does not know.
        log_loss: nats per impression that the model of before had on the new rows, and ..
        expected: .. what it expected to have: more than chance apart, and people have changed.
    """

    users: FittedUsers
    people: People
    rows: int
    left_out: int
    log_loss: float
    expected: float


@dataclass(frozen=True)
class NewRows:
    """Rows of a new log as a fit sees them, with everybody's profile as it was before them.

    Attributes:
        rows: sends (and holds, where the fit has organic clicks).
        profiles: of their people.
        offset: (N,) what fatigue and repetition add to the logit.
        left_out: rows that the catalogue does not know.
    """

    rows: EncodedRows
    profiles: Profiles
    offset: np.ndarray
    left_out: int

    def logit(self, response: FittedResponse) -> np.ndarray:
        """Return (N,) float64 calibrated logits of the rows, state included."""
        cells, catalogue = response.encoder.cells(), response.encoder.catalogue
        cell = self.rows.slot.astype(np.int64) * catalogue.n_actions + self.rows.action
        out = np.empty(len(self.rows))
        for start in range(0, len(out), 100_000):
            part = slice(start, start + 100_000)
            features = self.profiles.features[self.rows.user[part]]
            out[part] = response.click_model.logit(features, cells.take(cell[part]))
        return response.layer.apply(out) + self.offset


def read_new(fitted: FittedUsers, people: People, log: ClickLog) -> NewRows:
    """Return a log's rows with the profiles and the repetitions of the time before it.

    Fatigue begins at rest: it fades within days, and the sums keep no times of sends.

    Args:
        fitted: the fit.
        people: as they were before the log.
        log: what came after.

    Raises:
        UserError: no row shows anything that the fit knows.
    """
    catalogue, layer = fitted.users.catalogue, fitted.response.layer
    rows, ids = encode(log, None, catalogue)
    left_out = log.height - len(rows)
    offset = np.zeros(len(rows))
    if rows.time is not None and log.has("user_id"):
        hours = fitted.settings.get("slot_hours")
        decay = fitted.users.dynamics.fatigue_decay
        rows, _ = with_state(rows, catalogue, decay, hours)
        assert rows.fatigue is not None and rows.repetitions is not None
        seen = rows.repetitions + _seen_before(people.sends, rows, ids, catalogue)
        tired = np.where(rows.sent, rows.fatigue, 0.0)
        offset = layer.state_effect(tired, np.where(rows.sent, seen, 0))
    profiles = fitted.profile_builder.profiles(people.profiles, who(log, ids))
    keep = rows.sent
    if np.isfinite(fitted.users.click_logit[:, :, 0]).any():
        keep = np.ones(len(rows), dtype=bool)  # people click without a send
    index = np.flatnonzero(keep)
    return NewRows(rows.take(index), profiles, offset[index], left_out)


def update_users(
    fitted: FittedUsers,
    people: People,
    log: ClickLog,
    *,
    keep: float = 1.0,
    new: NewRows | None = None,
    delay: Delay | None = None,
) -> Update:
    """Return fitted users that have learned from a further log.

    Args:
        fitted: of a logistic response.
        people: sums of everything that the fit has seen.
        log: later rows.
        keep: share of what the response has learned that still counts (`LogisticResponse.updated`).
        new: the log as `read_new` gives it, where that is known already.
        delay: of clicks that are still to come; None: all are there.

    Raises:
        UserError: the response is of a family that has no posterior, or no row is known.
    """
    model = fitted.click_model
    if not isinstance(model, LogisticResponse):
        raise UserError(
            f"the response is a {type(model).__name__}, which keeps no posterior to go on from; "
            "fit anew on both logs, or fit with users=logistic."
        )
    layer = fitted.response.layer
    if layer.curve is not None:
        raise UserError(
            "the run's click model is calibrated by steps (users.calibration=isotonic), which no "
            "posterior can take over; fit anew on both logs, or with users.calibration=platt."
        )
    new = read_new(fitted, people, log) if new is None else new
    probability = 1.0 / (1.0 + np.exp(-new.logit(fitted.response)))
    trials, clicks = new.rows.trials.astype(np.float64), new.rows.clicks.astype(np.float64)
    cells = fitted.response.encoder.cells()
    counts = new.rows.counts(new.profiles.features, fitted.users.catalogue.n_actions, new.offset)
    if delay is not None:
        counts = _waited(counts, new.rows, delay)
    # What the calibration took off is part of what is known: the prior is the calibrated model.
    calibrated = model.rescaled(layer.intercept, layer.slope)
    response = replace(
        fitted.response,
        click_model=calibrated.updated(counts, cells, keep),
        layer=replace(layer, intercept=0.0, slope=1.0),
    )
    response = _with_conversions(response, new, keep)
    after = people.after(fitted.profile_builder, log)
    # The same population, as it is now known.
    profiles = fitted.profile_builder.profiles(after.profiles, fitted.users.profiles.user_ids)
    response = replace(response, features_UP=profiles.features)
    latest = after.profiles["last"].max() if "last" in after.profiles.columns else fitted.cut
    learned = replace(fitted, response=response)
    users = replace(simulate(learned, profiles), logging_policy=fitted.users.logging_policy)
    return Update(
        replace(learned, users=users, cut=latest),  # type: ignore[arg-type]
        after,
        len(new.rows),
        new.left_out,
        _mean_loss(probability, trials, clicks),
        _mean_loss(probability, trials, trials * probability),
    )


def _waited(counts: Counts, rows: EncodedRows, delay: Delay) -> Counts:
    """Return counts as if all clicks had come, without sends that are too young to say."""
    if rows.time is None:
        raise UserError("delay: the log has no times, so nobody knows how long its sends waited.")
    weights = delay.weights(rows.time)
    return replace(counts, successes=counts.successes * weights).take(weights > 0)


def _with_conversions(response: FittedResponse, new: NewRows, keep: float) -> FittedResponse:
    model, catalogue = response.conversion_model, response.encoder.catalogue
    if not isinstance(model, LogisticResponse) or new.rows.conversions is None:
        return response
    counts = new.rows.conversion_counts(new.profiles.features)
    if not len(counts):
        return response
    a = catalogue.n_actions
    actions = response.encoder.cells().take(np.arange(a))._replace(slot=np.full(a, -1))
    return replace(response, conversion_model=model.updated(counts, actions, keep))


def _mean_loss(probability: np.ndarray, trials: np.ndarray, clicks: np.ndarray) -> float:
    return float(log_losses(probability, trials, clicks).sum() / trials.sum())


def _sends(log: ClickLog) -> pl.DataFrame:
    frame = log.frame.select(
        user_id=user_key(log), creative_id=creative_key(log), sends=pl.col("impressions")
    )
    sent = frame.filter(pl.col("creative_id") != HOLD).collect(engine="streaming")
    return _added_up(sent.with_columns(pl.col("sends").cast(pl.Int64)))


def _added_up(frame: pl.DataFrame) -> pl.DataFrame:
    keys = ["user_id", "creative_id"]
    return frame.drop_nulls("user_id").group_by(keys).agg(pl.col("sends").sum()).sort(keys)


def _seen_before(
    sends: pl.DataFrame, rows: EncodedRows, ids: pl.Series, catalogue: Catalogue
) -> np.ndarray:
    """Return (N,) int64 how often each row's person saw its creative before the log."""
    k = catalogue.n_creatives
    known = sends.select(
        user=_place(sends["user_id"], ids),
        creative=_place(sends["creative_id"], pl.Series(catalogue.creative_ids)),
        sends="sends",
    ).drop_nulls()
    key = known["user"].to_numpy().astype(np.int64) * k + known["creative"].to_numpy()
    order = np.argsort(key)
    sorted_key = np.append(key[order], -1)
    creative = catalogue.creative_of_action[rows.action]
    wanted = rows.user.astype(np.int64) * k + creative
    place = np.searchsorted(sorted_key[:-1], wanted)
    count = np.append(known["sends"].to_numpy()[order], 0)
    return np.where((sorted_key[place] == wanted) & (creative >= 0), count[place], 0)


def _place(values: pl.Series, names: pl.Series) -> pl.Series:
    codes = pl.int_range(len(names), eager=True)
    return values.replace_strict(names, codes, default=None, return_dtype=pl.Int64)
