"""A copy term, and an algorithm that leaves a writer as it is."""

import numpy as np

from copygym.agents.copywriter.training.algorithm import CopyAlgorithm, Trained
from copygym.agents.copywriter.training.budget import Spent
from copygym.envs.tasks import score_copy


def shouting(resources, mark="!"):
    """Return the term that counts exclamation marks."""
    return lambda texts, rows: np.array([text.count(mark) for text in texts], np.float64)


class FirstDraft(CopyAlgorithm):
    """Asks the reward once, and learns nothing."""

    name = "first_draft"

    def __init__(self, drafts=2):
        self.drafts = drafts

    def train(self, writer, rows, reward, *, samples, seed, folder=None, judge=None,
              judge_rows=None, on_progress=None):  # fmt: skip
        tasks = rows.take(np.arange(min(self.drafts, len(rows), samples)))
        scores, _ = score_copy(reward, writer.write(tasks, seed=seed), tasks)
        line = {"samples": float(len(tasks)), "generated": 0.0, "trained": 0.0,
                "cpu_seconds": 0.0, "reward": float(scores.mean())}  # fmt: skip
        return Trained(writer, Spent(samples=len(tasks)), [line], "one draft is enough")
