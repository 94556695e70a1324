"""What of a writer's rewrites would be sent: the best of a few drafts, or the human original.

A draft is sent if it passes the gate and the reward puts it above the original by a margin; else
nothing changes for the reader. Shapes: N tasks, n drafts of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from copygym.agents.copywriter.protocol import Writer
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyReward, CopyRows, score_copy
from copygym.rewards.copy.rewriting import require_originals

#: Tells of N texts for N tasks which may be sent, (N,) bool.
Passes = Callable[[Sequence[str], CopyRows], np.ndarray]

#: Tasks scored together: bounds the reward's memory.
_CHUNK = 64


@dataclass(frozen=True)
class Rewriter:
    """Writes n drafts of each task and returns the best that may be sent, or the original.

    Attributes:
        base: writes the drafts.
        reward: chooses; drafts and original of a task are scored in one batch.
        passes: the gate; the original passes always.
        drafts: n.
        margin: by how much a draft must be above the original, in units of the reward: the best
            of n guesses is too high a guess.

    Raises:
        UserError: no draft, or a margin below 0.
    """

    base: Writer
    reward: CopyReward
    passes: Passes
    drafts: int = 8
    margin: float = 0.1

    def __post_init__(self) -> None:
        if self.drafts < 1 or not self.margin >= 0.0:
            raise UserError(
                f"drafts is {self.drafts} and margin {self.margin:g}; rewriting takes 1 draft or "
                "more and a margin from 0."
            )

    def write(
        self, rows: CopyRows, *, seed: int, temperature: float = 1.0, top_p: float = 1.0
    ) -> list[str]:
        """Return N texts, each a draft or the row's original.

        Raises:
            UserError: tasks without originals.
        """
        require_originals(rows, "a rewriter")
        texts = self.base.write(
            rows, seed=seed, temperature=temperature, top_p=top_p, samples=self.drafts
        )
        return self.choose(texts, rows)

    def choose(self, drafts: Sequence[str], rows: CopyRows) -> list[str]:
        """Return what is sent of N * n drafts, row 0's first."""
        originals, n = require_originals(rows, "a rewriter"), self.drafts
        chosen: list[str] = []
        for start in range(0, len(rows), _CHUNK):
            part = rows.take(np.arange(start, min(start + _CHUNK, len(rows))))
            texts = [
                text
                for row in range(start, start + len(part))
                for text in (*drafts[row * n : (row + 1) * n], originals[row])
            ]
            tasks = part.take(np.repeat(np.arange(len(part)), n + 1))
            scores = score_copy(self.reward, texts, tasks)[0].reshape(-1, n + 1)
            may = np.asarray(self.passes(texts, tasks), bool).reshape(-1, n + 1)[:, :n]
            above = np.where(may, scores[:, :n] - scores[:, n:], -np.inf)
            best = above.argmax(axis=1)
            gain = above[np.arange(len(part)), best]
            pick = np.where(gain > self.margin, best, n)
            chosen += [texts[row * (n + 1) + int(k)] for row, k in enumerate(pick)]
        return chosen


__all__ = ["Passes", "Rewriter"]
