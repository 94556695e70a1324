"""Best-of-n: no training at all; the writer draws n texts per task and keeps the favourite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from copygym.agents.copywriter.drawing import draw
from copygym.agents.copywriter.training.algorithm import (
    CopyAlgorithm,
    OnProgress,
    Trained,
    check_training,
)
from copygym.agents.copywriter.training.budget import Meter, Spent
from copygym.agents.copywriter.training.feedback import Feedback, Tasks, rows_and_feedback
from copygym.agents.copywriter.training.run import task_order
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyReward, CopyRows, score_copy

#: Tasks scored together: bounds the reward's memory.
_CHUNK = 64


class BestOfNWriter:
    """Draws n texts from a copywriter and keeps the one that the reward likes best.

    Every text that it writes costs n samples of the reward, and `spent` counts them, beside what
    training spent: the bill of best-of-n grows with its use.

    Attributes:
        base: the copywriter that draws.
        n: draws per text.
        kl: KL from ``base`` in nats, ln n - (n - 1) / n; exact where no two draws are equal or
            tie, an upper bound otherwise (Beirami et al. 2024, arXiv 2401.01879, theorem 3).
    """

    def __init__(self, base: Copywriter, reward: CopyReward, n: int) -> None:
        self.base, self.n = base, n
        self.kl = best_of_n_kl(n)
        self._reward = reward
        self._meter = Meter()

    @property
    def spent(self) -> Spent:
        """What writing has cost so far."""
        return self._meter.spent

    def with_reward(self, reward: CopyReward) -> BestOfNWriter:
        """Return the same writer with the reward for other readers' tasks, its bill at zero."""
        return BestOfNWriter(self.base, reward, self.n)

    def write(
        self,
        rows: CopyRows,
        *,
        seed: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        samples: int = 1,
    ) -> list[str]:
        """Return N * ``samples`` texts, those of row 0 first; see `Copywriter.write`."""
        with self._meter as meter:
            texts, scores = draw_and_score(
                self.base,
                rows,
                self._reward,
                meter,
                n=samples * self.n,
                seed=seed,
                temperature=temperature,
                top_p=top_p,
                briefs=True,
            )
        favourites = scores.reshape(-1, self.n).argmax(axis=1)
        return [texts[i * self.n + int(best)] for i, best in enumerate(favourites)]


def draw_and_score(
    writer: Copywriter,
    rows: CopyRows,
    reward: CopyReward,
    meter: Meter,
    *,
    n: int,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    briefs: bool = False,
) -> tuple[list[str], np.ndarray]:
    """Draw n texts for each of N tasks; return N * n texts, row 0's first, and scores (N, n).

    The reward sees every task n times in a row; ``meter`` is charged for samples and tokens. See
    `draw` for ``briefs``.
    """
    drawn = draw(writer, rows, n=n, seed=seed, temperature=temperature, top_p=top_p, briefs=briefs)
    meter.add(Spent(generated=drawn.n_tokens))
    texts = drawn.texts
    scores = np.zeros(len(texts))
    for start in range(0, len(rows), _CHUNK):
        tasks = np.repeat(np.arange(start, min(start + _CHUNK, len(rows))), n)
        part = slice(start * n, start * n + len(tasks))
        scores[part] = meter.score(reward, texts[part], rows.take(tasks))[0]
    return texts, scores.reshape(len(rows), n)


def best_of_n_kl(n: int) -> float:
    """Return ln n - (n - 1) / n, nats (Stiennon et al. 2020, arXiv 2009.01325, appendix G.3)."""
    return math.log(n) - (n - 1) / n


def favourite_weights(n: int, k: int) -> np.ndarray:
    """Return P(rank i is the best of k out of n), (n,) float64, worst rank first.

    C(i - 1, k - 1) / C(n, k) for rank i = 1 ... n: with values sorted by reward, the weighted sum
    is the unbiased estimate of best-of-k from n draws (Nakano et al. 2021, arXiv 2112.09332,
    appendix I).
    """
    return np.array([math.comb(i - 1, k - 1) / math.comb(n, k) for i in range(1, n + 1)])


@dataclass(frozen=True, kw_only=True)
class BestOfN(CopyAlgorithm):
    """Best-of-n sampling, the reference that needs no gradient.

    Training draws n texts for a few tasks and reports what the best of 1, 2, 4 ... n would be
    worth. With a judge, n is the one of these that the judge likes best: more draws follow the
    training reward further, and may follow its errors.

    Attributes:
        n: the most draws per text.
        probe: tasks that are drawn for in training; fewer where the budget is smaller.
        temperature: of the draws in training; `BestOfNWriter.write` has its own.
    """

    n: int = 16
    probe: int = 32
    temperature: float = 1.0

    name = "best_of_n"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"n is {self.n}; best-of-n draws at least 1 text.")
        if self.probe < 1:
            raise UserError(f"probe is {self.probe}; look at 1 task or more.")

    def train(
        self,
        writer: Copywriter,
        tasks: Tasks,
        feedback: Feedback | None = None,
        *,
        samples: int,
        seed: int,
        folder: Path | None = None,
        judge: CopyReward | None = None,
        judge_rows: CopyRows | None = None,
        on_progress: OnProgress | None = None,
    ) -> Trained:
        """Choose n; ``folder`` stays empty, as there is nothing worth resuming."""
        rows, feedback = rows_and_feedback(
            self.name, self.learns_from, tasks, feedback, samples=samples, seed=seed
        )
        reward = cast(CopyReward, feedback)
        check_training(writer, rows, samples, judge, judge_rows)
        if samples < self.n:
            raise UserError(
                f"the budget of {samples} samples is smaller than n {self.n}; raise samples or "
                "lower n."
            )
        pool = rows if judge_rows is None else judge_rows
        probes = pool.take(task_order(len(pool), min(self.probe, samples // self.n), seed))
        with Meter(samples) as meter:
            texts, scores = draw_and_score(
                writer,
                probes,
                reward,
                meter,
                n=self.n,
                seed=seed,
                temperature=self.temperature,
            )
            judged = None
            if judge is not None:
                repeated = probes.take(np.repeat(np.arange(len(probes)), self.n))
                judged = score_copy(judge, texts, repeated)[0].reshape(scores.shape)
            history = [
                {key: float(value) for key, value in meter.spent.to_dict().items()} | line
                for line in worth_by_n(scores, judged)
            ]
        for line in history:
            if on_progress is not None:
                on_progress(meter.spent.samples, dict(line))
        best = history[-1] if judged is None else max(history, key=lambda line: line["judge"])
        n = int(best["n"])
        return Trained(
            writer=BestOfNWriter(writer.copy(), reward, n),
            spent=meter.spent,
            history=history,
            stopped="n is given" if judged is None else f"the judge likes the best of {n} most",
            info={key: value for key, value in best.items() if key in ("n", "kl", "judge")},
            examples=_examples(texts, scores, probes, meter.spent.samples),
        )


def worth_by_n(scores_NK: np.ndarray, judged_NK: np.ndarray | None) -> list[dict[str, float]]:
    """Return what the best of 1, 2, 4 ... K draws is worth, one line each.

    Args:
        scores_NK: (N, K) training rewards of K draws for N tasks.
        judged_NK: (N, K) the judge's scores of the same texts.
    """
    n = scores_NK.shape[1]
    order = np.argsort(scores_NK, axis=1, kind="stable")
    lines = []
    for k in sorted({*(2**i for i in range(n.bit_length()) if 2**i <= n), n}):
        weights = favourite_weights(n, k)
        ranked = np.take_along_axis(scores_NK, order, axis=1)
        line = {"n": float(k), "kl": best_of_n_kl(k), "reward": float((ranked @ weights).mean())}
        if judged_NK is not None:
            judged = np.take_along_axis(judged_NK, order, axis=1)
            line["judge"] = float((judged @ weights).mean())
        lines.append(line)
    return lines


def _examples(
    texts: list[str], scores_NK: np.ndarray, tasks: CopyRows, samples: int
) -> list[dict[str, float | str]]:
    n = scores_NK.shape[1]
    return [
        {
            "samples": samples,
            "prompt": tasks.prompts[row],
            "text": texts[row * n + int(scores_NK[row].argmax())],
            "reward": float(scores_NK[row].max()),
        }
        for row in range(min(4, len(tasks)))
    ]


__all__ = [
    "BestOfN",
    "BestOfNWriter",
    "best_of_n_kl",
    "draw_and_score",
    "favourite_weights",
    "worth_by_n",
]
