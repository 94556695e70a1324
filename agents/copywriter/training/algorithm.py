"""The one interface of everything that trains a copywriter, and its names."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from copygym.agents.copywriter.protocol import Writer
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.feedback import REWARD, Feedback, Tasks
from copygym.core.errors import UserError, unknown_name
from copygym.core.plugins import find
from copygym.envs.tasks import CopyReward, CopyRows

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

#: Called after an update with the part of the budget that is used up, in texts, and that update's
#: line of the history.
OnProgress = Callable[[int, dict[str, float]], None]


@dataclass
class Trained:
    """What an algorithm made, and what it cost.

    Attributes:
        writer: the trained writer. With a judge it is the one of its last look that was no fall
            (see `copygym.agents.copywriter.training.run.Watch`).
        spent: the bill of training.
        history: one line per update. Every line has ``samples``, ``generated``, ``trained``,
            ``cpu_seconds`` (so far) and, unless the reward was never asked, ``reward``: its mean
            over the samples scored since the line before, or the previous value where none was.
            ``judge`` where the writer was judged, and ``judge/TERM`` for what the judge named
            beside; ``reward/TERM`` for each term of the reward; and the
            algorithm's own numbers, such as ``kl``, nats per text from the starting writer.
        stopped: why training ended.
        info: facts about the result, such as where DPO's pairs came from.
        examples: samples of the training texts now and then: ``samples`` (so far), ``prompt``,
            ``text``, ``reward``.
    """

    writer: Writer
    spent: Spent
    history: list[dict[str, float]]
    stopped: str
    info: dict[str, float | str] = field(default_factory=dict)
    examples: list[dict[str, float | str]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Trained({self.writer!r}, {len(self.history)} updates, {self.stopped!r})"


class CopyAlgorithm(ABC):
    """Improves a copywriter by feedback on texts, within a budget of texts.

    Attributes:
        name: in the registry and in reports.
        learns_from: kinds of feedback that it can use (`copygym.agents.copywriter.training.
            feedback`), the one that suits it best first.
    """

    name: ClassVar[str]
    learns_from: ClassVar[tuple[str, ...]] = (REWARD,)

    @abstractmethod
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
        """Return a better writer; ``writer`` itself is left as it is.

        Args:
            writer: where to start, and what KL is measured from.
            tasks: N writing tasks to train on; or a ``Copywriting-v0``, single or vector, which
                draws them and pays for the texts, and which training resets.
            feedback: on answers to these tasks: a reward, called only through `score_copy`;
                `Demonstrations`; or `Preferences`. None with an environment.
            samples: the budget: texts that the reward may score; never more are. Without a reward,
                texts to learn from, where a text counts each time that it is gone through.
            seed: fixes every draw; on a CPU the same seed gives the same writer.
            folder: where checkpoints go; the same call resumes from them. None: no checkpoints.
            judge: held-out reward that decides when to stop and which state to keep.
            judge_rows: tasks on which the judge looks; needed with ``judge``.
            on_progress: called after every update.

        Raises:
            UserError: feedback that the algorithm cannot use, a reward that is not finite or of
                the wrong length, no tasks, a budget too small for one update, a checkpoint of
                other settings.
        """


_ROOM = "copygym.agents.copywriter.algorithms"
#: Algorithm name -> where its class is.
ALGORITHMS: dict[str, str] = {
    "sft": f"{_ROOM}.sft.algorithm:SFT",
    "ppo": f"{_ROOM}.ppo.algorithm:PPO",
    "rloo": f"{_ROOM}.online:RLOO",
    "grpo": f"{_ROOM}.online:GRPO",
    "dpo": f"{_ROOM}.dpo:DPO",
    "rejection": f"{_ROOM}.rejection:Rejection",
    "best_of_n": f"{_ROOM}.best_of_n:BestOfN",
}


def make_algorithm(name: str, **options: Any) -> CopyAlgorithm:
    """Return the algorithm of this name; ``options`` go to its constructor.

    Args:
        name: one of `ALGORITHMS`, or of a plug-in (`copygym.core.plugins`).
        options: of the algorithm.

    Raises:
        UserError: no such algorithm, or no such option.
    """
    kind = find("algorithm", name, ALGORITHMS, needs=("train",))
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    algorithm: CopyAlgorithm = kind(**options)
    return algorithm


def check_training(
    writer: object,
    rows: CopyRows,
    samples: int,
    judge: CopyReward | None,
    judge_rows: CopyRows | None,
) -> None:
    """Refuse what no algorithm can work with, before anything is computed.

    Raises:
        UserError: no rows, an empty brief, no budget, a judge without rows.
    """
    if len(rows) == 0:
        raise UserError("there are no writing tasks to train on; give at least one row.")
    for row, brief in enumerate(rows.briefs):
        if not brief.strip():
            raise UserError(f"the brief of row {row} is empty; give every task a brief.")
    if samples < 1:
        raise UserError(f"the budget is {samples} samples; give at least 1.")
    if judge is not None and (judge_rows is None or len(judge_rows) == 0):
        raise UserError("a judge was given without judge_rows; give the tasks it should look at.")
    if not hasattr(writer, "model"):
        raise UserError(
            f"a {type(writer).__name__} has no weights to train; give the Copywriter behind it."
        )


__all__ = [
    "ALGORITHMS",
    "CopyAlgorithm",
    "OnProgress",
    "Trained",
    "Writer",
    "check_training",
    "make_algorithm",
]
