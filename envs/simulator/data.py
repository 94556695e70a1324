"""A click log made ready for a fit: encoded rows, profiles, and who is in which part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.text.encoders import make_text_encoder
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog, all_clicked
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.profiles.audiences import find_audiences, with_audiences
from copygym.envs.profiles.builder import ProfileBuilder, Profiles, user_key
from copygym.envs.simulator.response.design import ActionEncoder, Actions
from copygym.envs.simulator.response.encode import EncodedRows, encode, with_state

#: Parts of a log: users who fit the response, calibrate it, and judge it.
FIT, CALIBRATE, JUDGE = 0, 1, 2


@dataclass(frozen=True)
class FitData:
    """The encoded log with profiles, and who is in which part.

    Attributes:
        rows: all N rows of the training log and the holdout.
        profiles: of all their users, from the past only.
        builder: that made them.
        catalogue: what the logs show.
        encoder: of its actions.
        cells: their features.
        part: (N,) int8 `FIT`, `CALIBRATE` or `JUDGE`; -1 for rows that only make profiles.
        timeline: whether rows are single decisions in time, so that they have a state.
        organic: whether users click without a send; hold rows then belong to the fit.
        slot_hours: length of a slot.
        cut: end of the time that profiles are made from, microseconds; None: the whole log.
    """

    rows: EncodedRows
    profiles: Profiles
    builder: ProfileBuilder
    catalogue: Catalogue
    encoder: ActionEncoder
    cells: Actions
    part: np.ndarray
    timeline: bool
    organic: bool
    slot_hours: float
    cut: int | None = None

    def rows_of(self, *parts: int) -> EncodedRows:
        """Return the rows of ``parts`` that tell of clicks: sends, and hold where organic."""
        keep = np.isin(self.part, parts)
        if not self.organic:
            keep &= self.rows.sent
        return self.rows.take(np.flatnonzero(keep))


def prepare(
    log: ClickLog,
    holdout: ClickLog | None,
    catalogue: Catalogue,
    declared: Dynamics,
    profile_options: dict[str, Any],
    rng: np.random.Generator,
    *,
    history_fraction: float,
    slot_hours: float | None,
    fractions: tuple[float, float],
    text: tuple[str | None, int, int],
    audiences: str | int | None = None,
) -> FitData:
    """Encode the logs, build the profiles and assign the parts.

    Args:
        log: training log.
        holdout: see `copygym.envs.simulator.fit.fit_users`.
        catalogue: of both logs.
        declared: its ``fatigue_decay`` makes the state.
        profile_options: of `ProfileBuilder`.
        rng: draws the parts.
        history_fraction: see `copygym.envs.simulator.fit.fit_users`.
        slot_hours: likewise.
        fractions: shares of the users that calibrate and that judge.
        text: name of the text encoder, largest number of dimensions, seed.
        audiences: see `copygym.envs.simulator.fit.fit_users`.

    Raises:
        UserError: a part without rows, or a fit without clicks.
    """
    if not 0 < history_fraction < 1:
        raise UserError(f"users.history_fraction is {history_fraction}; it must lie in (0, 1).")
    rows, user_ids = encode(log, holdout, catalogue)
    shown, clicked = (int(count[rows.sent].sum()) for count in (rows.trials, rows.clicks))
    if shown == clicked:
        raise UserError(f"{log.source or log.name}: {all_clicked(shown)}")
    timed = rows.time is not None and log.has("user_id")
    if profile_options.get("history", "auto") is True and not timed:
        raise UserError(
            f"{log.source or log.name}: profiles.history is true, but without user_id and "
            "timestamp a profile would know the click it predicts; set it to auto."
        )
    timeline = timed and rows.trials.mean() <= 1.5
    hours = 24.0 / catalogue.n_slots
    if timeline:
        rows, hours = with_state(rows, catalogue, declared.fatigue_decay, slot_hours)
    cut = None
    if timed and profile_options.get("history", "auto") is not False:
        assert rows.time is not None
        cut = int(np.quantile(rows.time[~rows.held_out], history_fraction, method="lower"))
        if cut <= rows.time[~rows.held_out].min():
            cut, profile_options = None, profile_options | {"history": False}
    builder, profiles = _profiles(log, holdout, cut, profile_options, user_ids)
    # Nobody who is held out tells what the audiences are, but everybody belongs to one.
    learned = profiles.take(np.unique(rows.user[~rows.held_out]))
    builder.audiences = find_audiences(learned, audiences, text[2])
    if builder.audiences is not None:
        profiles = with_audiences(profiles, builder.audiences)
    part = _parts(rows, cut, fractions, rng)
    seen = (part == FIT) | (part == CALIBRATE)
    organic = bool(rows.clicks[seen & ~rows.sent].sum() > 0)
    encoder_name, dims, seed = text
    text_encoder = make_text_encoder(
        encoder_name if log.has("text") else None, catalogue.texts, seed=seed
    )
    encoder = ActionEncoder(catalogue, text_encoder, text_dims=dims)
    data = FitData(
        rows, profiles, builder, catalogue, encoder, encoder.cells(), part, timeline, organic,
        hours, cut,
    )  # fmt: skip
    for name, which in (("fit", FIT), ("calibrate", CALIBRATE), ("judge", JUDGE)):
        chosen = data.rows_of(which)
        if not len(chosen) or (which == FIT and not chosen.clicks.sum()):
            missing = "no clicks" if len(chosen) else "no rows"
            raise UserError(
                f"{log.source or log.name}: {missing} are left to {name} the response; use a "
                "longer log or other fractions."
            )
    return data


def _profiles(
    log: ClickLog,
    holdout: ClickLog | None,
    cut: int | None,
    options: dict[str, Any],
    user_ids: pl.Series,
) -> tuple[ProfileBuilder, Profiles]:
    """Return the builder (fitted on the training log) and the profiles of ``user_ids``."""
    everything = log
    if holdout is not None:
        frames = [log.frame, holdout.frame]
        everything = log.with_frame(pl.concat(frames, how="diagonal_relaxed"))
    builder = ProfileBuilder(**options).fit(log.filter(_before(cut)))
    return builder, profiles_before(builder, everything, cut, user_ids)


def _before(cut: int | None) -> pl.Expr:
    return pl.lit(True) if cut is None else pl.col("timestamp").cast(pl.Int64) < cut


def profiles_before(
    builder: ProfileBuilder, log: ClickLog, cut: int | None, user_ids: pl.Series | None = None
) -> Profiles:
    """Return profiles that know of ``log`` only what lies before ``cut``.

    Args:
        builder: fitted.
        log: holds the users, before the cut or after it; who only comes after it gets the
            cold-start profile of his demographics.
        cut: microseconds; None: everything is known.
        user_ids: who, in this order; None: every user of the log, by id.
    """
    frame = who(log, user_ids)
    return builder.transform(log.filter(_before(cut)), users=frame)


def who(log: ClickLog, user_ids: pl.Series | None = None) -> pl.DataFrame:
    """Return ``user_id`` and the ``user_*`` columns of a log's people, a row each.

    Args:
        log: of the people; demographics may stand in any row.
        user_ids: who, in this order ("?": rows without a user); None: every user, by id.
    """
    key = user_key(log) if user_ids is None else user_key(log).fill_null("?")
    known = (
        log.frame.group_by(key.alias("user_id"))
        .agg(pl.col(log.user_features()).max())
        .filter(pl.col("user_id").is_not_null())
        .collect(engine="streaming")
    )
    if user_ids is None:
        return known.sort("user_id")
    wanted = user_ids.cast(pl.String).alias("user_id").to_frame()
    return wanted.join(known, on="user_id", how="left", maintain_order="left")


def _parts(
    rows: EncodedRows, cut: int | None, fractions: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return (N,) int8 parts, drawn by unit; rows before ``cut`` belong to none."""
    calibrate, judge = fractions
    unit = np.unique(rows.unit, return_inverse=True)[1]
    draw = rng.permutation(int(unit.max()) + 1) / (unit.max() + 1.0)
    part_of_unit = np.where(draw < judge, JUDGE, np.where(draw < judge + calibrate, CALIBRATE, FIT))
    part = np.where(rows.held_out, JUDGE, part_of_unit[unit]).astype(np.int8)
    if cut is not None:
        assert rows.time is not None
        part[rows.time < cut] = -1
    return part
