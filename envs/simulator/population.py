"""Simulated users for other people than those of the fit, and in another catalogue's order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.model import CopyResponse, Response, UserModel
from copygym.envs.profiles.audiences import with_audiences
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fitted import FittedResponse, FittedUsers


def simulate(fitted: FittedUsers, profiles: Profiles) -> UserModel:
    """Return the fitted response of other people.

    Args:
        fitted: response models and profile builder.
        profiles: U people, made by ``fitted.profile_builder``.

    Returns:
        Their user model. The logging policy of a person is that of the fitted people of the same
        segment (of all, where the segment is new).
    """
    users, response = fitted.users, fitted.response
    if profiles.names != users.profiles.names:
        raise UserError(
            f"{users.name}: the profiles have other features than the fit; make them with its own "
            "profile builder."
        )
    audiences = fitted.profile_builder.audiences
    if profiles.audience is None and audiences is not None:
        profiles = with_audiences(profiles, audiences)
    c, u = users.catalogue, len(profiles)
    cells = response.encoder.cells()
    step = max(1, 4_000_000 // (c.n_slots * c.n_actions))
    flat = np.empty((u, c.n_slots * c.n_actions), dtype=np.float32)
    for start in range(0, u, step):
        rows = slice(start, start + step)
        table = response.click_model.table(profiles.features[rows], cells)
        flat[rows] = response.layer.apply(table)
    click = flat.reshape(u, c.n_slots, c.n_actions)
    if np.isneginf(users.click_logit[:, :, 0]).all():
        click[:, :, 0] = -np.inf
    conversion = np.full((u, c.n_actions), -np.inf, dtype=np.float32)
    if response.conversion_model is not None:
        actions = cells.take(np.arange(c.n_actions))._replace(slot=np.full(c.n_actions, -1))
        conversion = response.conversion_model.table(profiles.features, actions).astype(np.float32)
    return replace(
        users,
        profiles=profiles,
        click_logit=click,
        conversion_logit=conversion,
        # Both depend on the action only in a fitted model.
        expected_revenue=np.repeat(users.expected_revenue[:1], u, axis=0),
        unsubscribe_offset=np.repeat(users.unsubscribe_offset[:1], u, axis=0),
        allowed=None,
        awake=None,
        logging_policy=_logging_policy(users, profiles),
        copy_response=_copy_response(response, profiles),
    )


def held_out_users(
    fitted: FittedUsers, log: ClickLog, judge: FittedUsers | None = None
) -> UserModel:
    """Return the people of a log that a fit never saw, to judge agents that learned in that fit.

    Agents observe the profiles that ``fitted`` makes of these people, from before its cut.

    Args:
        fitted: the simulator in which the agents learned.
        log: of the held-out people.
        judge: another fit, on rows that ``fitted`` never saw, by which the people respond. None:
            they respond by ``fitted`` itself, so that an agent is judged on other people, and not
            on other answers.

    Raises:
        UserError: the two fits have other creatives, channels or slots; fit both with the
            ``catalogue`` of the whole log.
    """
    profiles = fitted.profiles_of(log)
    if judge is None:
        return simulate(fitted, profiles)
    own = judge.profiles_of(log, users=profiles.user_ids)
    users = align_to_catalogue(simulate(judge, own), fitted.users.catalogue)
    return replace(users, profiles=profiles)


def _copy_response(response: FittedResponse, profiles: Profiles) -> FittedResponse:
    return replace(response, features_UP=profiles.features)


def _logging_policy(users: UserModel, profiles: Profiles) -> np.ndarray | None:
    if users.logging_policy is None:
        return None
    table = users.logging_policy.astype(np.float64)
    names, code = np.unique(users.profiles.segments, return_inverse=True)
    by_segment = np.stack([table[code == index].mean(axis=0) for index in range(len(names))])
    place = np.searchsorted(names, profiles.segments)
    known = names[np.minimum(place, len(names) - 1)] == profiles.segments
    everyone = table.mean(axis=0)
    return np.where(known[:, None, None], by_segment[np.minimum(place, len(names) - 1)], everyone)


def align_to_catalogue(users: UserModel, catalogue: Catalogue) -> UserModel:
    """Return ``users`` with creatives, channels and slots in the order of ``catalogue``.

    An agent knows actions by number, so that the world which judges it must count like the one
    in which it learned.

    Raises:
        UserError: the two catalogues do not hold the same names.
    """
    old = users.catalogue
    creative = _order(old.creative_ids, catalogue.creative_ids, "creative", users.name)
    channel = _order(old.channels, catalogue.channels, "channel", users.name)
    slot = _order(old.slots, catalogue.slots, "slot", users.name)
    sends = 1 + creative[:, None] * old.n_channels + channel[None, :]
    action = np.concatenate([[0], sends.ravel()])
    costs = old.cost_per_send[channel]
    topic = np.array([catalogue.topics[t] for t in catalogue.topic_of_creative])
    topics = np.array([old.topics[t] for t in old.topic_of_creative[creative]])
    if (topic != topics).any():
        raise UserError(f"{users.name}: a creative's topic differs between the two catalogues.")
    policy = users.logging_policy
    assert users.allowed is not None
    return replace(
        users,
        catalogue=replace(catalogue, cost_per_send=costs),
        click_logit=users.click_logit[:, slot][:, :, action],
        conversion_logit=users.conversion_logit[:, action],
        expected_revenue=users.expected_revenue[:, action],
        unsubscribe_offset=users.unsubscribe_offset[:, action],
        allowed=users.allowed[:, action],
        awake=None if users.awake is None else users.awake[:, slot],
        logging_policy=None if policy is None else policy[:, slot][:, :, action],
        copy_response=None
        if users.copy_response is None
        else _Reordered(users.copy_response, creative, channel, slot),
    )


@dataclass(frozen=True)
class _Reordered:
    """A `CopyResponse` whose creatives, channels and slots are counted in another order."""

    inner: CopyResponse
    creative: np.ndarray
    channel: np.ndarray
    slot: np.ndarray

    def __call__(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Score N texts; see `CopyResponse`."""
        return self.inner(
            texts, users, self.creative[creatives], self.channel[channels], self.slot[slots]
        )


def _order(old: tuple[str, ...], new: tuple[str, ...], kind: str, name: str) -> np.ndarray:
    """Return (len(new),) int64 places of the new names among the old ones."""
    missing = sorted(set(new) ^ set(old))
    if missing:
        raise UserError(
            f"{name}: {kind} {missing[0]!r} is not in both parts of the log; give each part more "
            "users (split) or leave it out."
        )
    return np.array([old.index(entry) for entry in new], dtype=np.int64)
