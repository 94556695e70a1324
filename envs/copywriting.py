"""Copywriting: one brief, one reader, one text; the reward comes from the simulated click."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from copygym.core.errors import UserError
from copygym.envs.base import (
    SimulatedEnv,
    SimulatedVectorEnv,
    default_users,
    draw_keys,
    first_row,
    reset_options,
    step_info,
)
from copygym.envs.people.kernel import UserBatch, draw_index, whole_numbers
from copygym.envs.people.model import Response, UserModel
from copygym.envs.people.outcome import RewardFunction, apply_reward, reward_shape
from copygym.envs.prompts import MAX_COPY, MAX_PROMPT, text_space
from copygym.envs.tasks import CopyReward, CopyRows, copy_rows, score_copy

_TASK_PARTS = ("creative", "channel", "slot")


class _Desk:
    """N briefs on the desk: draws tasks, prompts for them and answers N texts."""

    def __init__(
        self,
        users: UserModel,
        n: int,
        reward: RewardFunction | None = None,
        copy_reward: CopyReward | None = None,
    ) -> None:
        if reward is not None and copy_reward is not None:
            raise UserError(
                "Copywriting-v0 got both reward and copy_reward: give one, or make one callable "
                "that adds them."
            )
        self.users, self.n, self.copy_reward = users, n, copy_reward
        self.reward = reward_shape(reward)
        self.batch = UserBatch(users, n, horizon=1)
        self.task = {part: np.zeros(n, np.int64) for part in _TASK_PARTS}
        self._rows: CopyRows | None = None

    def reset(self, options: dict[str, Any] | None = None) -> None:
        """Draw the next task of each row; ``options`` may fix user, creative, channel, slot."""
        options = reset_options(options, ("user", *_TASK_PARTS))
        self._rows = None
        self.batch.reset(user=options.get("user"))
        catalogue = self.users.catalogue
        sizes = (catalogue.n_creatives, catalogue.n_channels, catalogue.n_slots)
        for purpose, (part, size) in enumerate(zip(_TASK_PARTS, sizes, strict=True)):
            fixed = options.get(part)
            values = (
                draw_index(self.batch.key, purpose, size)
                if fixed is None
                else _spread(fixed, part, self.n)
            )
            if values.min() < 0 or values.max() >= size:
                raise UserError(f"options[{part!r}] must lie in 0..{size - 1}.")
            self.task[part] = values
        self.batch.time[:] = self.task["slot"]

    @property
    def rows(self) -> CopyRows:
        """The current tasks, put into words once."""
        if self._rows is None:
            user = self.batch.user.copy()
            self._rows = copy_rows(self.users, user, *(self.task[part] for part in _TASK_PARTS))
        return self._rows

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
        if self.copy_reward is None:
            reward, terms = apply_reward(self.reward, outcome)
        else:
            reward, terms = score_copy(self.copy_reward, cut, self.rows)
        return step_info(outcome) | {"reward_terms": terms}, reward


class CopywritingVectorEnv(SimulatedVectorEnv[tuple[str, ...], tuple[str, ...]]):
    """`CopywritingEnv` for N briefs at once; observations and actions are tuples of N texts.

    Every step ends every row's episode; the returned observation is the next brief
    (`AutoresetMode.SAME_STEP`) and ``info["final_obs"]`` holds the old ones.
    """

    metadata = SimulatedVectorEnv.metadata | {"render_fps": 1}

    def __init__(
        self,
        num_envs: int = 1,
        users: UserModel | None = None,
        reward: RewardFunction | None = None,
        render_mode: str | None = None,
        copy_reward: CopyReward | None = None,
    ) -> None:
        self._set_up(_require_answers(users), render_mode, slots=1)
        self.num_envs = num_envs
        self._desk = _Desk(self.users, num_envs, reward, copy_reward)
        self.single_observation_space = text_space(MAX_PROMPT)
        self.single_action_space = text_space(MAX_COPY)
        self.observation_space = gym.spaces.Tuple([self.single_observation_space] * num_envs)
        self.action_space = gym.spaces.Tuple([self.single_action_space] * num_envs)

    @property
    def rows(self) -> CopyRows:
        """The current tasks as a copywriter takes them, N rows."""
        return self._desk.rows

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Put a new brief in every row; see `CopywritingEnv.reset`."""
        reset_options(options, ("user", *_TASK_PARTS))
        self._seed(seed, self._desk.batch)
        self._desk.reset(options)
        return self._desk.rows.prompts, self._desk.info()

    def step(
        self, actions: tuple[str, ...]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show N texts; every row terminates and gets its next brief."""
        done = np.ones(self.num_envs, dtype=bool)
        final = np.array([*self._desk.rows.prompts, None], dtype=object)[:-1]
        info, reward = self._desk.answer(actions)
        self._record(info["outcome"], actions[0])
        info |= {"final_obs": final, "_final_obs": done}
        self._desk.reset()
        info |= self._desk.info()
        return self._desk.rows.prompts, reward, done, np.zeros_like(done), info


class CopywritingEnv(SimulatedEnv[str, str]):
    """Write one copy for a brief and a reader.

    ## Description
    A contextual bandit with texts: the environment shows a brief, a reader, a channel and a slot;
    the agent answers with a copy; the simulated user reads it once.

    ## Action space
    ``Text`` of up to 500 characters; longer copies are cut.

    ## Observation space
    ``Text``: labelled lines ``Brief:``, ``Reader:``, ``Channel:``.

    ## Rewards
    The injected reward shape of the `Outcome`, one per click by default; or, where ``copy_reward``
    is given, ``copy_reward(texts, rows)``, whose terms are in ``info["reward_terms"]``. A copy
    reward judges the text and leaves the click's luck out of it; the click is simulated all the
    same. One that compares the texts of a batch sees a single text here and N in the vector form.

    ## Starting state
    User, creative (whose product and brief are used), channel and slot are drawn uniformly; each
    can be fixed by ``options={"user": i, "creative": k, "channel": h, "slot": s}``.

    ## Episode end
    Terminated after one step.

    ## Info
    As `DeliveryEnv`, and the task's indices ``user``, ``creative``, ``channel``, ``slot``.

    ## Arguments
    users (must answer free text), reward or copy_reward, render_mode.

    ## Version history
    - v0: first version. ``copy_reward`` and ``rows`` came later; results without them are the same.
      Before the first release the storefront's truth, the default users, became stricter with
      jumbled texts; its answers to the catalogue's copies did not change.
    """

    metadata = SimulatedEnv.metadata | {"render_fps": 1}

    def __init__(
        self,
        users: UserModel | None = None,
        reward: RewardFunction | None = None,
        render_mode: str | None = None,
        copy_reward: CopyReward | None = None,
    ) -> None:
        self._set_up(_require_answers(users), render_mode, slots=1)
        self._desk = _Desk(self.users, 1, reward, copy_reward)
        self.observation_space = text_space(MAX_PROMPT)
        self.action_space = text_space(MAX_COPY)

    @property
    def rows(self) -> CopyRows:
        """The current task as a copywriter takes it, one row."""
        return self._desk.rows

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Put a new brief on the desk."""
        reset_options(options, ("user", *_TASK_PARTS))
        self._seed(seed, self._desk.batch)
        self._desk.reset(options)
        return self._desk.rows.prompts[0], self._task()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Show the copy to the reader."""
        info, reward = self._desk.answer((action,))
        self._record(info["outcome"], action)
        single = first_row(info) | self._task()
        return self._desk.rows.prompts[0], float(reward[0]), True, False, single

    def _task(self) -> dict[str, Any]:
        return {name: int(value[0]) for name, value in self._desk.info().items()}


def _spread(values: Any, part: str, n: int) -> np.ndarray:
    """Return an option that fixes a part of the tasks, one number or one a row, as (N,) int64."""
    numbers = whole_numbers(values, f"options[{part!r}]")
    if numbers.shape not in ((), (1,), (n,)):
        raise UserError(f"options[{part!r}] has shape {numbers.shape}; give one number, or {n}.")
    return np.broadcast_to(numbers, (n,)).copy()


def _require_answers(users: UserModel | None) -> UserModel:
    users = default_users() if users is None else users
    if users.copy_response is None:
        raise UserError(
            f"{users.name} cannot answer free text: fit users with a text encoder "
            "(users.text_encoder=lsa), or use Delivery-v0."
        )
    return users


def draw_tasks(users: UserModel, n: int, seed: int, readers: int = 1) -> CopyRows:
    """Return the N tasks that ``CopywritingVectorEnv(n, users)`` draws in ``reset(seed=seed)``.

    Unlike the environment, this takes users who cannot answer free text: a reward may come from
    elsewhere.

    Args:
        users: the population.
        n: number of tasks, at least 1.
        seed: of the draw; task i is the first one of a `CopywritingEnv` with seed ``seed + i``.
        readers: of how many readers each copy is asked. Above 1, products, channels and slots are
            those of the first tasks that 1 would draw, and each is asked for by so many readers in
            a row, none of whom comes twice while there are others: what was written for one can
            then be shown to the others.
    """
    for name, value in (("n", n), ("readers", readers)):
        if value < 1:
            raise UserError(f"draw_tasks got {name}={value}; ask for at least one.")
    if readers > 1:
        asked = draw_tasks(users, -(-n // readers), seed)
        index = np.arange(n) // readers
        who = np.random.default_rng(seed).permutation(len(users))
        return copy_rows(
            users,
            np.resize(who, n),
            asked.creative[index],
            asked.channel[index],
            asked.slot[index],
        )
    desk = _Desk(users, n)
    desk.batch.seed(draw_keys(seed, n, np.random.default_rng(seed)))
    desk.reset()
    return desk.rows


def replay(
    env: CopywritingEnv | CopywritingVectorEnv, rows: CopyRows, texts: Sequence[str], seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Answer the tasks ``rows`` with ``texts`` in the environment, as an agent would.

    With the same ``copy_reward`` in the environment this returns what `score_copy` returns,
    number for number. Rows are shown ``num_envs`` at a time, a last batch filled up with its own
    first rows; so a reward that compares the texts of a batch agrees where ``num_envs`` is N.

    Args:
        env: single or vector environment (``gym.make``'s wrappers are looked through) of the
            users that ``rows`` were made of.
        rows: N tasks.
        texts: N copies.
        seed: of the simulated readers' luck: row i's is that of a single environment with
            ``seed + i``.

    Returns:
        The rewards (N,) float64 and the named terms (N,).
    """
    if len(texts) != len(rows):
        raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
    bare = env.unwrapped
    assert isinstance(bare, CopywritingEnv | CopywritingVectorEnv)
    size = bare.num_envs if isinstance(bare, CopywritingVectorEnv) else 1
    rewards: list[np.ndarray] = []
    terms: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), size):
        index = np.arange(start, min(start + size, len(rows)))
        shown = np.resize(index, size)
        answers = tuple(texts[i] for i in shown.tolist())
        reward, named = _show(bare, rows.take(shown), answers, seed + start)
        rewards.append(reward[: len(index)])
        for name, value in named.items():
            terms.setdefault(name, []).append(value[: len(index)])
    if not rewards:
        return np.zeros(0), {}
    return np.concatenate(rewards), {name: np.concatenate(parts) for name, parts in terms.items()}


@dataclass(frozen=True)
class EnvReward:
    """What ``Copywriting-v0`` pays for texts, as a `CopyReward`: what a writer trains on.

    The simulated readers' luck is a function of the texts and tasks of a batch, so that the same
    batch earns the same in a run that is taken up again. Every call resets the environment.

    Attributes:
        env: single or vector environment; rows are shown ``num_envs`` at a time (`replay`).
    """

    env: CopywritingEnv | CopywritingVectorEnv

    @classmethod
    def of(cls, env: Any) -> EnvReward:
        """Return the reward of an environment, whose wrappers are looked through.

        Raises:
            UserError: it is no ``Copywriting-v0``.
        """
        bare = getattr(env, "unwrapped", env)
        if not isinstance(bare, CopywritingEnv | CopywritingVectorEnv):
            raise UserError(
                f"a {type(bare).__name__} gives no writing tasks: train a copywriter on a "
                "Copywriting-v0, or on rows of tasks and a reward."
            )
        return cls(bare)

    @property
    def users(self) -> UserModel:
        """The population that reads."""
        return self.env.users

    def __call__(
        self, texts: Sequence[str], rows: CopyRows
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return rewards and named terms, (N,) float64 each."""
        content = json.dumps([list(texts), *(part.tolist() for part in rows.options().values())])
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
        return replay(self.env, rows, texts, seed=int.from_bytes(digest[:4], "big"))


def _show(
    env: CopywritingEnv | CopywritingVectorEnv, rows: CopyRows, texts: tuple[str, ...], seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return reward and terms of as many texts as the environment has rows."""
    if isinstance(env, CopywritingVectorEnv):
        env.reset(seed=seed, options=rows.options())
        _, rewards, _, _, info = env.step(texts)
        return rewards, info["reward_terms"]
    env.reset(seed=seed, options={part: int(value[0]) for part, value in rows.options().items()})
    _, reward, _, _, info = env.step(texts[0])
    return np.array([reward]), {name: np.array([v]) for name, v in info["reward_terms"].items()}
