"""Copywriting: one brief, one reader, one text; the reward comes from the simulated click."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from copygym.envs.delivery import default_users, draw_key, draw_keys, first_row, step_info
from copygym.envs.errors import UserError
from copygym.envs.kernel import UserBatch, draw_index
from copygym.envs.outcome import RewardShape, click_reward
from copygym.envs.prompts import MAX_COPY, MAX_PROMPT, copywriting_prompt, text_space
from copygym.envs.render import Timeline
from copygym.envs.users import Response, UserModel

_TASK_PARTS = ("creative", "channel", "slot")


class _Desk:
    """N briefs on the desk: draws tasks, prompts for them and answers N texts."""

    def __init__(self, users: UserModel, n: int, reward: RewardShape | None) -> None:
        if users.copy_response is None:
            raise UserError(
                f"{users.name} cannot answer free text: fit users with a text encoder "
                "(users.text_encoder=lsa), or use Delivery-v0."
            )
        self.users, self.n = users, n
        self.reward: RewardShape = click_reward if reward is None else reward
        self.batch = UserBatch(users, n, horizon=1)
        self.task = {part: np.zeros(n, np.int64) for part in _TASK_PARTS}

    def reset(self, options: dict[str, Any] | None = None) -> None:
        """Draw the next task of each row; ``options`` may fix user, creative, channel, slot."""
        options = options or {}
        user = options.get("user")
        self.batch.reset(user=None if user is None else np.atleast_1d(user))
        catalogue = self.users.catalogue
        sizes = (catalogue.n_creatives, catalogue.n_channels, catalogue.n_slots)
        for purpose, (part, size) in enumerate(zip(_TASK_PARTS, sizes, strict=True)):
            fixed = options.get(part)
            values = (
                draw_index(self.batch.key, purpose, size)
                if fixed is None
                else np.broadcast_to(np.asarray(fixed, dtype=np.int64), (self.n,)).copy()
            )
            if values.min() < 0 or values.max() >= size:
                raise UserError(f"options[{part!r}] must lie in 0..{size - 1}.")
            self.task[part] = values
        self.batch.time[:] = self.task["slot"]

    def prompts(self) -> tuple[str, ...]:
        """Return the N prompts."""
        task = self.task
        return tuple(
            copywriting_prompt(
                self.users.catalogue,
                self.users.profiles,
                int(self.batch.user[i]),
                int(task["creative"][i]),
                int(task["channel"][i]),
                int(task["slot"][i]),
            )
            for i in range(self.n)
        )

    def info(self) -> dict[str, Any]:
        """Return the current tasks as indices, (N,) each."""
        return {"user": self.batch.user.copy(), **{k: v.copy() for k, v in self.task.items()}}

    def answer(self, texts: tuple[str, ...] | list[str]) -> tuple[dict[str, Any], np.ndarray]:
        """Show the texts; return info and reward, arrays of (N,)."""
        if len(texts) != self.n:
            raise ValueError(f"got {len(texts)} texts for {self.n} environments")
        cut = [str(text)[:MAX_COPY] for text in texts]
        task = self.task
        assert self.users.copy_response is not None
        response = self.users.copy_response(
            cut, self.batch.user, task["creative"], task["channel"], task["slot"]
        )
        actions = 1 + task["creative"] * self.users.catalogue.n_channels + task["channel"]
        # No propensity: a logging policy chose among the catalogue's texts, not among all.
        outcome, _ = self.batch.step(actions, response=Response(*response))
        outcome = outcome._replace(length=np.array([len(t.split()) for t in cut], np.float64))
        reward, terms = self.reward(outcome)
        return step_info(outcome) | {"reward_terms": terms}, reward


class CopywritingVectorEnv(gym.vector.VectorEnv[tuple[str, ...], tuple[str, ...], np.ndarray]):
    """`CopywritingEnv` for N briefs at once; observations and actions are tuples of N texts.

    Every step ends every row's episode; the returned observation is the next brief
    (`AutoresetMode.SAME_STEP`) and ``info["final_obs"]`` holds the old ones.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        users: UserModel | None = None,
        reward: RewardShape | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.users = default_users() if users is None else users
        self.num_envs, self.render_mode = num_envs, render_mode
        self._desk = _Desk(self.users, num_envs, reward)
        self.single_observation_space = text_space(MAX_PROMPT)
        self.single_action_space = text_space(MAX_COPY)
        self.observation_space = gym.spaces.Tuple([self.single_observation_space] * num_envs)
        self.action_space = gym.spaces.Tuple([self.single_action_space] * num_envs)
        self._timeline = Timeline(self.users.catalogue, 1) if render_mode else None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Put a new brief in every row; see `CopywritingEnv.reset`."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        batch = self._desk.batch
        if seed is not None or batch.episode[0] < 0:
            batch.seed(draw_keys(seed, self.num_envs, self.np_random))
        self._desk.reset(options)
        return self._desk.prompts(), self._desk.info()

    def step(
        self, actions: tuple[str, ...]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show N texts; every row terminates and gets its next brief."""
        done = np.ones(self.num_envs, dtype=bool)
        final = np.array([*self._desk.prompts(), None], dtype=object)[:-1]
        info, reward = self._desk.answer(actions)
        if self._timeline is not None:
            self._timeline.add(info["outcome"], 0, actions[0])
        info |= {"final_obs": final, "_final_obs": done}
        self._desk.reset()
        info |= self._desk.info()
        return self._desk.prompts(), reward, done, np.zeros_like(done), info

    def render(self) -> Any:
        """Return row 0's last answer as text or as a picture."""
        if self._timeline is None or self.render_mode is None:
            return None
        return self._timeline.render(self.render_mode)


class CopywritingEnv(gym.Env[str, str]):
    """Write one copy for a brief and a reader.

    ## Description
    A contextual bandit with texts: the environment shows a brief, a reader, a channel and a slot;
    the agent answers with a copy; the simulated user reads it once.

    ## Action space
    ``Text`` of up to 500 characters; longer copies are cut.

    ## Observation space
    ``Text``: labelled lines ``Brief:``, ``Reader:``, ``Channel:``.

    ## Rewards
    The injected reward shape of the `Outcome`; one per click by default.

    ## Starting state
    User, creative (whose product and brief are used), channel and slot are drawn uniformly; each
    can be fixed by ``options={"user": i, "creative": k, "channel": h, "slot": s}``.

    ## Episode end
    Terminated after one step.

    ## Info
    As `DeliveryEnv`, and the task's indices ``user``, ``creative``, ``channel``, ``slot``.

    ## Arguments
    users (must answer free text), reward, render_mode.

    ## Version history
    - v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        users: UserModel | None = None,
        reward: RewardShape | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.users = default_users() if users is None else users
        self.render_mode = render_mode
        self._desk = _Desk(self.users, 1, reward)
        self.observation_space = text_space(MAX_PROMPT)
        self.action_space = text_space(MAX_COPY)
        self._timeline = Timeline(self.users.catalogue, 1) if render_mode else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Put a new brief on the desk."""
        super().reset(seed=seed)
        batch = self._desk.batch
        if seed is not None or batch.episode[0] < 0:
            batch.seed(np.array([draw_key(self.np_random)]))
        self._desk.reset(options)
        return self._desk.prompts()[0], self._task()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Show the copy to the reader."""
        info, reward = self._desk.answer((action,))
        if self._timeline is not None:
            self._timeline.add(info["outcome"], 0, action)
        single = first_row(info) | self._task()
        return self._desk.prompts()[0], float(reward[0]), True, False, single

    def render(self) -> Any:
        """Return the last answer as text or as a picture."""
        if self._timeline is None or self.render_mode is None:
            return None
        return self._timeline.render(self.render_mode)

    def _task(self) -> dict[str, Any]:
        return {name: int(value[0]) for name, value in self._desk.info().items()}
