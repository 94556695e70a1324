"""What a copywriter learns from: writing tasks, and what is known of good answers to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import gymnasium as gym

from copygym.core.errors import UserError
from copygym.envs.tasks import CopyReward, CopyRows

#: The kinds of feedback; `CopyAlgorithm.learns_from` names those that an algorithm can use.
REWARD, DEMONSTRATIONS, PREFERENCES = "reward", "demonstrations", "preferences"


@dataclass(frozen=True)
class Demonstrations:
    """A text to imitate for each of N tasks.

    `copygym.agents.copywriter.demonstrations.better_copy` finds some in a log.

    Attributes:
        texts: N texts.

    Raises:
        UserError: a text is empty.
    """

    texts: Sequence[str]

    def __post_init__(self) -> None:
        for row, text in enumerate(self.texts):
            if not text.strip():
                raise UserError(f"the text of row {row} is empty; leave such rows out.")

    def __len__(self) -> int:
        """N."""
        return len(self.texts)


@dataclass(frozen=True)
class Preferences:
    """A text to prefer and one to avoid for each of N tasks.

    `copygym.agents.copywriter.demonstrations.preference_pairs` finds some in a log.

    Attributes:
        better: N texts.
        worse: N texts.

    Raises:
        UserError: there are more of one than of the other.
    """

    better: Sequence[str]
    worse: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.better) != len(self.worse):
            raise UserError(
                f"preferences hold {len(self.better)} better and {len(self.worse)} worse texts; "
                "give one of each per pair."
            )

    def __len__(self) -> int:
        """N."""
        return len(self.better)


Feedback = CopyReward | Demonstrations | Preferences
#: Writing tasks in rows, or a Copywriting-v0 of any form, which draws tasks and pays for texts.
Tasks = CopyRows | gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]


def kind_of(feedback: Feedback) -> str:
    """Return the feedback's kind: `REWARD`, `DEMONSTRATIONS` or `PREFERENCES`."""
    if isinstance(feedback, Demonstrations):
        return DEMONSTRATIONS
    return PREFERENCES if isinstance(feedback, Preferences) else REWARD


def digest_of(feedback: Feedback) -> str:
    """Return 16 hex digits of the texts of demonstrations or preferences; a reward's kind alone.

    A reward is code, which has no content to compare.
    """
    if not isinstance(feedback, Demonstrations | Preferences):
        return REWARD
    content = json.dumps([list(texts) for texts in astuple(feedback)])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def rows_and_feedback(
    algorithm: str,
    learns_from: Sequence[str],
    tasks: Tasks,
    feedback: Feedback | None,
    *,
    samples: int,
    seed: int,
) -> tuple[CopyRows, Feedback]:
    """Return the tasks in rows and the feedback on them, checked.

    An environment gives the tasks of its users that `copygym.envs.copywriting.draw_tasks` draws,
    one for each sample of the budget, and its own answers as the reward.

    Args:
        algorithm: its name, for messages.
        learns_from: the kinds of feedback that it can use.
        tasks: N tasks, or a ``Copywriting-v0``.
        feedback: on the N tasks; None with an environment.
        samples: the budget.
        seed: of the environment's tasks.

    Raises:
        UserError: feedback of another kind or for another number of tasks, none, or some beside an
            environment; an environment that is no ``Copywriting-v0``.
    """
    if not isinstance(tasks, CopyRows):
        from copygym.envs.copywriting import EnvReward, draw_tasks

        if feedback is not None:
            raise UserError(
                f"{algorithm} got feedback beside an environment, which pays for texts itself; "
                "give the environment a copy_reward, or give its rows in its place."
            )
        feedback = EnvReward.of(tasks)
        tasks = draw_tasks(feedback.users, max(1, samples), seed)
    wanted = " or ".join(learns_from)
    if feedback is None:
        raise UserError(f"{algorithm} learns from {wanted}; it got none.")
    kind = kind_of(feedback)
    if kind == REWARD and not callable(feedback):
        raise UserError(
            f"{algorithm} learns from {wanted}; it got a {type(feedback).__name__}, which is none."
        )
    if kind not in learns_from:
        raise UserError(f"{algorithm} learns from {wanted}; it got {kind}.")
    if isinstance(feedback, Demonstrations | Preferences) and len(feedback) != len(tasks):
        raise UserError(
            f"{algorithm} got {kind} for {len(feedback)} tasks and {len(tasks)} tasks; give one "
            "for each."
        )
    return tasks, feedback


__all__ = [
    "DEMONSTRATIONS",
    "PREFERENCES",
    "REWARD",
    "Demonstrations",
    "Feedback",
    "Preferences",
    "Tasks",
    "digest_of",
    "kind_of",
    "rows_and_feedback",
]
