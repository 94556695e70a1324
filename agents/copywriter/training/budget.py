"""What training and writing cost: one account for every algorithm, so that they can be compared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.tasks import CopyReward, CopyRows, score_copy


@dataclass(frozen=True)
class Spent:
    """A bill; bills add up.

    Attributes:
        samples: texts that the training reward scored. What a judge scores for early stopping is
            evaluation, and isn't among them.
        generated: tokens drawn from a model.
        trained: response tokens in backward passes, once for every pass.
        cpu_seconds: CPU time of this process, all threads, judging included.
    """

    samples: int = 0
    generated: int = 0
    trained: int = 0
    cpu_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens generated and trained on."""
        return self.generated + self.trained

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.samples + other.samples,
            self.generated + other.generated,
            self.trained + other.trained,
            self.cpu_seconds + other.cpu_seconds,
        )

    def to_dict(self) -> dict[str, float]:
        """Return the four numbers as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, float]) -> Spent:
        """Read what `to_dict` returned."""
        return cls(
            int(content["samples"]),
            int(content["generated"]),
            int(content["trained"]),
            float(content["cpu_seconds"]),
        )


class Meter:
    """Runs up a bill; the only door through which an algorithm may reach its reward.

    Use as a context manager around the work whose CPU seconds should count; it may be entered
    again, and a nested entry counts once.

    Args:
        samples: how many texts may be scored in all; None: no limit.
        start: what an interrupted run had already spent.
    """

    def __init__(self, samples: int | None = None, *, start: Spent | None = None) -> None:
        if samples is not None and samples < 1:
            raise UserError(f"the budget is {samples} samples; give at least 1.")
        self.limit = samples
        self._bill = start or Spent()
        self._depth = 0
        self._since = 0.0

    def __enter__(self) -> Meter:
        if self._depth == 0:
            self._since = time.process_time()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._bill += Spent(cpu_seconds=time.process_time() - self._since)

    @property
    def spent(self) -> Spent:
        """The bill so far, the running block included."""
        running = time.process_time() - self._since if self._depth else 0.0
        return self._bill + Spent(cpu_seconds=running)

    @property
    def left(self) -> float:
        """Samples that may still be scored; infinite without a limit."""
        return float("inf") if self.limit is None else self.limit - self._bill.samples

    def add(self, spent: Spent) -> None:
        """Add tokens, or a bill whose CPU seconds were not counted here."""
        self._bill += spent

    def score(
        self, reward: CopyReward, texts: Sequence[str], rows: CopyRows
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Score N texts through `score_copy` and charge N samples.

        Returns:
            scores (N,) float64 and the named terms, (N,) float64 each.

        Raises:
            UserError: the reward's answer has another length, or is not finite.
            RuntimeError: the budget would be exceeded: an algorithm must ask `left` first.
        """
        if len(texts) > self.left:
            raise RuntimeError(
                f"{len(texts)} samples asked for with {self.left:.0f} of {self.limit} left"
            )
        scores, terms = score_copy(reward, texts, rows)
        self._bill += Spent(samples=len(texts))
        return scores, terms


__all__ = ["Meter", "Spent"]
