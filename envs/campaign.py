"""Campaign: write and deliver at once, to an audience, under one shared budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from copygym.core.errors import UserError
from copygym.envs.base import (
    SimulatedEnv,
    SimulatedVectorEnv,
    first_row,
    reset_options,
    step_info,
)
from copygym.envs.delivery import observation_space
from copygym.envs.people.kernel import UserBatch, whole_numbers
from copygym.envs.people.model import Response, UserModel
from copygym.envs.people.outcome import RewardFunction, apply_reward, reward_shape
from copygym.envs.prompts import MAX_COPY, MAX_PROMPT, clean_text, describe_reader, text_space


class _Room:
    """B campaigns of M users each: one user's decision per campaign and step."""

    def __init__(
        self,
        users: UserModel,
        n: int,
        audience: int,
        horizon: int,
        budget: float | None,
        reward: RewardFunction | None,
        stale_budget: bool,
        caps: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        if audience < 1:
            raise UserError(f"audience is {audience}; a campaign needs at least one user.")
        self.users, self.n, self.audience, self.horizon = users, n, audience, horizon
        self.stale_budget = stale_budget
        self.reward = reward_shape(reward)
        self.batch = UserBatch(users, n * audience, horizon, budget, caps or ())
        self.first = np.arange(n) * audience  # row of each campaign's first user
        self.turn = np.zeros(n, np.int64)  # whose decision it is, 0..M-1
        self.active = np.zeros((n, audience), dtype=bool)
        self.budget = np.full(n, self.batch.budget)

    @property
    def rows(self) -> np.ndarray:
        """(B,) rows of the batch whose decision it is."""
        return self.first + self.turn

    @property
    def has_keys(self) -> bool:
        """Whether an episode has begun."""
        return self.batch.has_keys

    def seed(self, base_key: np.ndarray) -> None:
        """Give every campaign a base key, (B,) uint64; its users' keys count up from there."""
        offsets = np.arange(self.audience, dtype=np.uint64)
        self.batch.seed((base_key[:, None] + offsets[None, :]).ravel())

    def reset(self, which: np.ndarray, users: np.ndarray | None = None) -> None:
        """Begin the next episode of campaigns ``which``, (C,) int64."""
        rows = (self.first[which][:, None] + np.arange(self.audience)).ravel()
        self.batch.reset(rows, None if users is None else users.ravel())
        self.turn[which], self.active[which] = 0, True
        self.budget[which] = self.batch.budget

    def _charge(self) -> None:
        """Tell the current users what is left of the shared budget."""
        self.batch.charge(self.rows, self.budget, shown=not self.stale_budget)

    def masks(self) -> np.ndarray:
        """Return the allowed and affordable actions, (B, A) bool."""
        self._charge()
        return self.batch.masks(self.rows)

    def observe(self) -> dict[str, Any]:
        """Return the observation: delivery (B, D) float32 and B descriptions of readers."""
        self._charge()
        profiles, user = self.users.profiles, self.batch.user[self.rows]
        readers = tuple(clean_text(describe_reader(profiles, int(u)), MAX_PROMPT) for u in user)
        return {"delivery": self.batch.observe(self.rows), "reader": readers}

    def step(
        self, deliver: np.ndarray, texts: tuple[str, ...]
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
        """Advance; return info, reward, terminated and truncated, arrays of (B,)."""
        self._charge()
        rows = self.rows
        actions = np.where(
            np.take_along_axis(self.batch.masks(rows), deliver[:, None], axis=1)[:, 0], deliver, 0
        )
        cut = [str(text)[:MAX_COPY] for text in texts]
        written = np.array([bool(text.strip()) for text in cut]) & (actions > 0)
        response = self._response(actions, cut, written) if written.any() else None
        outcome, propensity = self.batch.step(actions, rows, response)
        if response is not None:
            words = np.array([len(text.split()) for text in cut], np.float64)
            outcome = outcome._replace(length=np.where(written, words, outcome.length))
            if propensity is not None:  # no logging policy ever sent a text that was just written
                propensity = np.where(written, 0.0, propensity)
        self.budget -= outcome.cost
        reward, terms = apply_reward(self.reward, outcome)
        self.active[np.arange(self.n), self.turn] = ~outcome.unsubscribe & (
            self.batch.time[rows] < self.horizon
        )
        finished = np.logical_not(self.active.any(axis=1))
        out_of_time = self.batch.time.reshape(self.n, -1).max(axis=1) >= self.horizon
        self._pass_turn(~finished)
        info = step_info(outcome, propensity)
        info |= {"reward_terms": terms, "budget_left": self.budget.copy()}
        return info, reward, finished & ~out_of_time, finished & out_of_time

    def _pass_turn(self, playing: np.ndarray) -> None:
        """Move each campaign that goes on to its next subscribed user."""
        order = (self.turn[:, None] + 1 + np.arange(self.audience)) % self.audience
        upcoming = np.take_along_axis(self.active, order, axis=1).argmax(axis=1)
        following = order[np.arange(self.n), upcoming]
        self.turn = np.where(playing, following, self.turn)

    def _response(self, actions: np.ndarray, texts: list[str], written: np.ndarray) -> Response:
        """Return the catalogue's response with that of the written texts in its place."""
        users, catalogue = self.users, self.users.catalogue
        if users.copy_response is None:
            raise UserError(
                f"{users.name} cannot answer free text: leave copy empty to send the catalogue's "
                "own, or fit users with a text encoder (users.text_encoder=lsa)."
            )
        user = self.batch.user[self.rows]
        slot = self.batch.time[self.rows] % catalogue.n_slots
        response = np.stack(
            [
                users.click_logit[user, slot, actions],
                users.conversion_logit[user, actions],
                users.expected_revenue[user, actions],
                users.unsubscribe_offset[user, actions],
            ]
        ).astype(np.float64)
        index = np.flatnonzero(written)
        response[:, index] = users.copy_response(
            [texts[i] for i in index],
            user[index],
            catalogue.creative_of_action[actions[index]],
            catalogue.channel_of_action[actions[index]],
            slot[index],
        )
        return Response(*response)


def _audience(options: dict[str, Any]) -> np.ndarray | None:
    """Return the users that a reset asks for, one row of the population each."""
    users = options.get("user")
    return None if users is None else whole_numbers(users, "options['user']")


def _spaces(room: _Room) -> tuple[gym.spaces.Dict, gym.spaces.Dict]:
    observation = {"delivery": observation_space(room.batch), "reader": text_space(MAX_PROMPT)}
    action = {
        "deliver": gym.spaces.Discrete(room.users.catalogue.n_actions),
        "copy": text_space(MAX_COPY),
    }
    return gym.spaces.Dict(observation), gym.spaces.Dict(action)


def _batched(space: gym.spaces.Dict, n: int) -> gym.spaces.Dict:
    """Return the space of ``n`` at once: arrays in one block, texts in a tuple."""
    return gym.spaces.Dict(
        {
            name: gym.spaces.Tuple([part] * n)
            if isinstance(part, gym.spaces.Text)
            else batch_space(part, n)
            for name, part in space.items()
        }
    )


class CampaignVectorEnv(SimulatedVectorEnv[dict[str, Any], dict[str, Any]]):
    """`CampaignEnv` for B campaigns at once.

    Observations and actions are dicts of batches: ``delivery`` (B, D), ``reader`` B texts;
    ``deliver`` (B,), ``copy`` B texts. A finished campaign starts again in the same step;
    ``info["final_obs"]`` then holds its last delivery observation, (B, D).

    Attributes:
        audience, horizon, budget: as they were given.
        observation_layout: name -> columns of a part of ``delivery``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        users: UserModel | None = None,
        audience: int = 8,
        horizon: int = 28,
        budget: float | None = None,
        reward: RewardFunction | None = None,
        render_mode: str | None = None,
        stale_budget: bool = False,
        caps: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._set_up(users, render_mode, horizon * audience)
        self.num_envs = num_envs
        self._room = _Room(
            self.users, num_envs, audience, horizon, budget, reward, stale_budget, caps
        )
        self.audience, self.horizon, self.budget = audience, horizon, budget
        self.observation_layout = self._room.batch.layout()
        self.single_observation_space, self.single_action_space = _spaces(self._room)
        self.observation_space = _batched(self.single_observation_space, num_envs)
        self.action_space = _batched(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start every campaign; ``options={"user": (B, M)}`` fixes the audiences."""
        options, room = reset_options(options), self._room
        self._seed(seed, room)
        room.reset(np.arange(self.num_envs), _audience(options))
        self._clear_timeline()
        return room.observe(), {"action_mask": room.masks()}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one decision in every campaign."""
        deliver = np.asarray(actions["deliver"], dtype=np.int64)
        room = self._room
        info, reward, terminated, truncated = room.step(deliver, tuple(actions["copy"]))
        self._record(info["outcome"], actions["copy"][0])
        done = terminated | truncated
        if done.any():
            info["final_obs"], info["_final_obs"] = room.observe()["delivery"], done
            room.reset(np.flatnonzero(done))
        info["action_mask"] = room.masks()
        return room.observe(), reward, terminated, truncated, info


class CampaignEnv(SimulatedEnv[dict[str, Any], dict[str, Any]]):
    """Write and deliver to an audience under one shared budget: the full P, F, G objective.

    ## Description
    An audience of M users is visited in turn, slot after slot. At each visit the agent chooses a
    creative and a channel, or holds, and may write its own copy for that creative's brief. All
    sends draw on one budget, which makes this a constrained MDP: `info["budget_left"]` and the
    outcome's ``cost`` are the constraint's side.

    ## Action space
    ``Dict``: ``deliver`` as in `DeliveryEnv` (0 holds); ``copy`` a ``Text``, used in place of the
    creative's copy unless it is empty.

    ## Observation space
    ``Dict``: ``delivery``, the observation of `DeliveryEnv` for the user whose turn it is, with
    the shared budget; ``reader``, that user in words.

    ## Rewards
    The injected reward shape of the decision's `Outcome`; one per click by default.

    ## Starting state
    M users drawn from the population; ``options={"user": [i, ...]}`` fixes them.

    ## Episode end
    Truncated when every subscribed user has seen ``horizon`` slots; terminated if all
    unsubscribed before. Unsubscribed users are passed over.

    ## Info
    As `DeliveryEnv`, and ``budget_left`` in currency.

    ## Arguments
    users, audience (M), horizon (slots per user), budget (currency for the whole audience; None
    is unlimited), reward, render_mode, stale_budget (as in v0; for old results only), caps
    (as in `DeliveryVectorEnv`).

    ## Version history
    - v1: ``budget_left`` of the observation is what is left of the shared budget.
    - v0: first version. A user's ``budget_left`` was that after the user's own last send, without
      what had gone to the others since. Rewards, masks and ``info`` are the same as in v1, and so
      is everything without a budget.
    """

    def __init__(
        self,
        users: UserModel | None = None,
        audience: int = 8,
        horizon: int = 28,
        budget: float | None = None,
        reward: RewardFunction | None = None,
        render_mode: str | None = None,
        stale_budget: bool = False,
        caps: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._set_up(users, render_mode, horizon * audience)
        self._room = _Room(self.users, 1, audience, horizon, budget, reward, stale_budget, caps)
        self.audience, self.horizon, self.budget = audience, horizon, budget
        self.observation_layout = self._room.batch.layout()
        self.observation_space, self.action_space = _spaces(self._room)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the next campaign."""
        options = reset_options(options)
        self._seed(seed, self._room)
        self._room.reset(np.zeros(1, np.int64), _audience(options))
        self._clear_timeline()
        return self._observation(), {"action_mask": self.action_masks()}

    def step(
        self, action: dict[str, Any]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take the decision for the user whose turn it is."""
        arrays, reward, terminated, truncated = self._room.step(
            np.array([int(action["deliver"])]), (action["copy"],)
        )
        self._record(arrays["outcome"], action["copy"])
        info = first_row(arrays)
        info["action_mask"] = self.action_masks()
        return self._observation(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def action_masks(self) -> np.ndarray:
        """Return which deliveries are allowed and affordable now, (A,) bool."""
        return self._room.masks()[0].copy()

    def _observation(self) -> dict[str, Any]:
        batch = self._room.observe()
        return {"delivery": batch["delivery"][0], "reader": batch["reader"][0]}
