"""What would be sent of what was written: for each reader what the reward likes best.

All that a writer wrote for one product, channel and slot competes for each of its readers, whomever
it was written for: what suits one reader may suit another more than their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.agents.copywriter.protocol import Writer
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.grounding import deliverable

#: Maps M texts and the M tasks that they answer to M scores.
Worth = Callable[[Sequence[str], CopyRows], np.ndarray]


@dataclass(frozen=True)
class Sent:
    """What would be sent.

    Attributes:
        texts: one a task.
        shares: of ``own`` (tasks to which new copy is sent) and of what is known of the drafts.
    """

    texts: list[str]
    shares: dict[str, float]


@dataclass(frozen=True)
class Drafts:
    """What one writer wrote for N tasks.

    Attributes:
        texts: N * D texts, those of task 0 first.
        passed: (N * D,) bool, whether a text passes the check of its claims.
    """

    texts: list[str]
    passed: np.ndarray

    def first(self, tasks: int) -> list[str]:
        """Return the first draft of each of N tasks, before any choice."""
        return self.texts[:: len(self.texts) // tasks]

    def shares(self, tasks: int) -> dict[str, float]:
        """Return the shares of drafts that pass, and of tasks with such a draft."""
        by_task = self.passed.reshape(tasks, -1)
        return {"passed_first": float(by_task.mean()), "passed": float(by_task.any(1).mean())}


def draw_drafts(writer: Writer, tasks: CopyRows, options: Mapping[str, Any], seed: int) -> Drafts:
    """Let a writer draw ``draws`` texts for each task, and check them.

    Args:
        writer: draws the texts.
        tasks: N tasks.
        options: ``draws``, ``temperature`` and ``top_p``.
        seed: of the draws.
    """
    draws = int(options["draws"])
    texts = writer.write(
        tasks,
        seed=derived_seed(seed, "send"),
        temperature=float(options["temperature"]),
        top_p=float(options["top_p"]),
        samples=draws,
    )
    return Drafts(texts, deliverable(texts, tasks.take(np.repeat(np.arange(len(tasks)), draws))))


def pooled(drafts: Drafts, group: np.ndarray) -> list[list[str]]:
    """Return for each of N tasks what was written for its group and passed, each text once.

    Args:
        drafts: of N tasks.
        group: (N,) int64 group of each task.
    """
    each = np.repeat(group, len(drafts.texts) // len(group))
    pools: dict[int, dict[str, None]] = {int(code): {} for code in group}
    for i in np.flatnonzero(drafts.passed).tolist():
        pools[int(each[i])][drafts.texts[i]] = None
    return [list(pools[int(code)]) for code in group]


def best_of(pools: Sequence[Sequence[str]], tasks: CopyRows, worth: Worth) -> list[str]:
    """Return the text of each task's pool that is worth most to its reader, the first of equals.

    Args:
        pools: N pools, none of them empty.
        tasks: N tasks.
        worth: scores texts.
    """
    size = [len(pool) for pool in pools]
    asked = tasks.take(np.repeat(np.arange(len(pools)), size))
    values = worth([text for pool in pools for text in pool], asked)
    parts = np.split(values, np.cumsum(size)[:-1])
    return [pool[int(part.argmax())] for pool, part in zip(pools, parts, strict=True)]


def sent_of(
    new: Sequence[Sequence[str]],
    logged: Sequence[Sequence[str]],
    tasks: CopyRows,
    worth: Worth,
    *,
    with_log: bool,
) -> Sent:
    """Return what would be sent of new copy, or of new and logged copy.

    Args:
        new: N pools; where one is empty, logged copy is sent.
        logged: N pools of the log's copy, none of them empty.
        tasks: N tasks.
        worth: scores texts.
        with_log: the log's copy competes everywhere.
    """
    pools = [
        list(dict.fromkeys((*own, *old))) if with_log or not own else list(own)
        for own, old in zip(new, logged, strict=True)
    ]
    texts = best_of(pools, tasks, worth)
    own_share = np.mean([text not in old for text, old in zip(texts, logged, strict=True)])
    return Sent(texts, {"own": float(own_share)})
