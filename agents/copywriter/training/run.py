"""What every algorithm does around its updates: budget, history, judge, examples, checkpoints."""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from copygym.agents.copywriter.training.algorithm import (
    CopyAlgorithm,
    OnProgress,
    Trained,
    Writer,
    check_training,
)
from copygym.agents.copywriter.training.budget import Meter, Spent
from copygym.agents.copywriter.training.checkpoint import (
    CHECKPOINT,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from copygym.agents.copywriter.training.feedback import (
    Demonstrations,
    Feedback,
    Preferences,
    Tasks,
    digest_of,
    rows_and_feedback,
)
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyReward, CopyRows, score_copy

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

#: Texts kept of each example table.
_EXAMPLES = 4
_JUDGE_SEED = 90_001
#: What a look's mean score is called in the history.
JUDGE, HELD_OUT = "judge", "held_out"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When to look, save and stop; the settings that every algorithm with updates has.

    Attributes:
        judge_every: updates between two looks of the judge; it also looks at the start and end.
            Where there is none, SFT looks at held-out copy as often.
        patience: bad looks in a row after which training stops; 0: never.
        margin: 0: a look without a new best is bad. Above: a look is bad if the judge's scores
            fell from the best look's by more than this many standard errors of the difference,
            task by task. The weights of the last look that was not bad are what training returns.
        temperature: of the samples that are learned from, and of the texts that the judge reads.
            PPO trains the probabilities at it.
        max_kl: mean KL, nats per text, beyond which training stops; 0: never.
        examples_every: updates between two tables of example texts; 0: none.
        save_every: updates between two checkpoints.
    """

    judge_every: int = 4
    patience: int = 4
    margin: float = 1.0
    temperature: float = 1.0
    max_kl: float = 0.0
    examples_every: int = 5
    save_every: int = 5

    def __post_init__(self) -> None:
        for name in ("judge_every", "save_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("patience", "margin", "max_kl", "examples_every"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; give 0 to switch it off.")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; it must be positive.")


class TrainingRun:
    """One call of `CopyAlgorithm.train`.

    The algorithm calls `start`, scores texts with `score`, ends each update with `end_update`
    until that returns False, and returns `finish`. The run keeps the weights of the judge's last
    good look, and its checkpoint holds all that the same call needs to go on.

    Use as a context manager: CPU seconds count inside, and the progress bar closes.

    Args:
        algorithm: its name.
        settings: its settings, JSON types; a checkpoint of others is refused.
        writer: the starting writer.
        rows: N tasks.
        feedback: on them.
        watch: when to look, save and stop.
    """

    def __init__(
        self,
        algorithm: str,
        settings: Mapping[str, Any],
        writer: Writer,
        rows: CopyRows,
        feedback: Feedback,
        *,
        samples: int,
        seed: int,
        folder: Path | None,
        judge: CopyReward | None,
        judge_rows: CopyRows | None,
        on_progress: OnProgress | None,
        watch: Watch,
    ) -> None:
        check_training(writer, rows, samples, judge, judge_rows)
        self.algorithm, self.seed, self.watch = algorithm, seed, watch
        self.rows, self.feedback = rows, feedback
        self._judge, self._judge_rows = judge, judge_rows
        #: Looks at a model where there is no judge; returns scores (H,) of what was held out.
        self.examine: Callable[[torch.nn.Module], np.ndarray] | None = None
        self._on_progress = on_progress
        self._folder = None if folder is None else Path(folder)
        self._print = fingerprint(algorithm, settings, rows, judge_rows, samples, seed, writer)
        self._print["feedback"] = digest_of(feedback)
        self.samples, self.meter = samples, Meter(samples)
        self.history: list[dict[str, float]] = []
        self.examples: list[dict[str, float | str]] = []
        self.updates = 0
        self.texts = 0
        self.stopped = ""
        self._kept: dict[str, torch.Tensor] = {}
        self._kept_judge, self._bad_looks = -math.inf, 0
        self._best_scores = np.zeros(0)
        self._batch: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._shown: list[tuple[str, str, float]] = []
        self._bar: Any = None

    def __enter__(self) -> TrainingRun:
        from copygym.core.progress import progress

        self._bar = progress(
            total=self.meter.limit,
            what=self.algorithm,
            unit="sample",
            leave=False,
        )
        self.meter.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.meter.__exit__()
        self._bar.close()

    # ------------------------------------------------------------------ updates

    def start(self, writer: Writer, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Take up the folder's checkpoint, or let the judge see where training starts.

        Returns:
            what the algorithm gave as ``state`` to `end_update`; empty without a checkpoint.

        Raises:
            UserError: the checkpoint is of another algorithm, other settings, rows or seed.
        """
        found = None
        if self._folder is not None:
            found = read_checkpoint(self._folder / CHECKPOINT, self._print)
        if found is None:
            self._look(writer, model)
            return {}
        tensors, state = found
        self._take_up(state)
        self._kept = _part(tensors, "kept/")
        put_weights(model, _part(tensors, "weights/"))
        return _part(tensors, "state/")

    def score(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        """Return the reward of N texts (N,) float64, charged to the budget."""
        assert not isinstance(self.feedback, Demonstrations | Preferences)
        scores, terms = self.meter.score(self.feedback, texts, rows)
        self._batch.append((scores, terms))
        self._shown = [
            (rows.prompts[i], texts[i], float(scores[i])) for i in range(min(_EXAMPLES, len(texts)))
        ]
        return scores

    def end_update(
        self,
        writer: Writer,
        model: torch.nn.Module,
        *,
        state: Callable[[], Mapping[str, torch.Tensor]] = dict,
        last: bool = False,
        texts: float = 0,
        **metrics: float,
    ) -> bool:
        """End an update: history, guards, judge, checkpoint, progress.

        Args:
            writer: the writer as it is now.
            model: its model, whose trainable weights are kept.
            state: makes what a checkpoint needs besides the weights, such as the optimiser's.
            last: True after the last update that the budget allows.
            texts: texts that the update learned from without asking a reward.
            metrics: the algorithm's own numbers; one that is not finite stops training. Where
                ``sound`` is 0, its guards saw that the writer has broken down: these weights are
                not kept, whatever the judge says of them.

        Returns:
            True to go on.
        """
        self.updates += 1
        self.texts += int(texts)
        line = self._line(metrics)
        for key in [key for key, value in line.items() if not math.isfinite(value)]:
            self.stop(f"{key} became {line.pop(key)}")
        self.history.append(line)
        self._keep_examples()
        if self.watch.max_kl and line.get("kl", 0.0) > self.watch.max_kl:
            self.stop(f"KL {line['kl']:.2f} passed {self.watch.max_kl:g}")
        if last:
            self.stop("the budget is spent")
        if self.stopped or self.updates % self.watch.judge_every == 0:
            self._look(writer, model, sound=bool(line.get("sound", 1.0)))
        if self.stopped or self.updates % self.watch.save_every == 0:
            self._save(model, state)
        self._report()
        return not self.stopped

    def stop(self, why: str) -> None:
        """Remember why training ends; the first reason counts."""
        self.stopped = self.stopped or why

    def finish(self, writer: Writer, model: torch.nn.Module, **info: float | str) -> Trained:
        """Put the weights of the last good look into ``model`` and return the outcome."""
        if self._kept:
            put_weights(model, self._kept)
            info[self._looker] = self._kept_judge
        return Trained(
            writer=writer,
            spent=self.meter.spent,
            history=self.history,
            stopped=self.stopped,
            info=info,
            examples=self.examples,
        )

    # ------------------------------------------------------------------ parts

    def _look(self, writer: Writer, model: torch.nn.Module, *, sound: bool = True) -> None:
        """Let the judge score the writer, and keep the weights if they are sound and did not fall.

        The same seed every time, so that two looks differ by the weights and not by luck.
        """
        scores = self._seen(writer, model)
        if scores is None:
            return
        score, margin = float(scores.mean()), self.watch.margin
        if self.history:
            self.history[-1][self._looker] = score
        first = len(self._best_scores) == 0
        best = first or score > float(self._best_scores.mean())
        if not sound:
            return
        if not best and (margin == 0 or fell(scores, self._best_scores, margin)):
            self._bad_looks += 1
            if self.watch.patience and self._bad_looks >= self.watch.patience:
                change = f"a fall of over {margin:g} standard errors" if margin else "no gain"
                who = "judge" if self._looker == JUDGE else "held-out copy"
                self.stop(f"the {who} saw {change} in {self.watch.patience} looks")
            return
        # Not only the best look: of looks that differ by luck alone, the one after the most
        # samples has learned the most.
        self._kept = {name: value.clone() for name, value in trainable(model).items()}
        self._kept_judge, self._bad_looks = score, 0
        if best:
            self._best_scores = scores

    @property
    def _looker(self) -> str:
        """The history's name of what looks: `JUDGE` or `HELD_OUT`."""
        return JUDGE if self._judge is not None else HELD_OUT

    def _seen(self, writer: Writer, model: torch.nn.Module) -> np.ndarray | None:
        """Return the scores of a look, (N,); None where nobody looks.

        What a judge tells beside its scores is noted, and plays no part.
        """
        if self._judge is not None and self._judge_rows is not None:
            temperature = self.watch.temperature
            texts = writer.write(self._judge_rows, seed=_JUDGE_SEED, temperature=temperature)
            scores, beside = score_copy(self._judge, texts, self._judge_rows)
            if self.history:
                self.history[-1].update({f"judge/{k}": float(v.mean()) for k, v in beside.items()})
            return scores
        return None if self.examine is None else self.examine(model)

    def _save(
        self, model: torch.nn.Module, state: Callable[[], Mapping[str, torch.Tensor]]
    ) -> None:
        if self._folder is None:
            return
        kept = self._kept_judge
        run = {
            "spent": self.meter.spent.to_dict(),
            "history": self.history,
            "examples": self.examples,
            "updates": self.updates,
            "texts": self.texts,
            "stopped": self.stopped,
            "kept_judge": None if math.isinf(kept) else kept,
            "best_scores": self._best_scores.tolist(),
            "bad_looks": self._bad_looks,
        }
        tensors = {f"weights/{name}": value for name, value in trainable(model).items()}
        tensors |= {f"state/{name}": value for name, value in state().items()}
        tensors |= {f"kept/{name}": value for name, value in self._kept.items()}
        write_checkpoint(self._folder / CHECKPOINT, self._print, tensors, run)

    def _take_up(self, run: Mapping[str, Any]) -> None:
        self.meter.add(Spent.from_dict(run["spent"]))
        self.history, self.examples = run["history"], run["examples"]
        self.updates, self.texts, self.stopped = run["updates"], run["texts"], run["stopped"]
        self._kept_judge = -math.inf if run["kept_judge"] is None else run["kept_judge"]
        self._best_scores = np.array(run["best_scores"])
        self._bad_looks = run["bad_looks"]
        self._bar.update(self._used)

    @property
    def _used(self) -> int:
        """Texts of the budget that are used up."""
        return self.meter.spent.samples + self.texts

    def _report(self) -> None:
        self._bar.update(self._used - self._bar.n)
        if self._on_progress is not None:
            self._on_progress(self._used, dict(self.history[-1]))

    def _line(self, metrics: Mapping[str, float]) -> dict[str, float]:
        spent = self.meter.spent
        line = {key: float(value) for key, value in spent.to_dict().items()}
        if self.history and "reward" in self.history[-1]:
            line["reward"] = self.history[-1]["reward"]
        if self._batch:
            line["reward"] = float(np.mean(np.concatenate([part[0] for part in self._batch])))
            for term in self._batch[0][1]:
                values = np.concatenate([part[1][term] for part in self._batch])
                line[f"reward/{term}"] = float(np.mean(values))
        self._batch = []
        return line | {key: float(value) for key, value in metrics.items()}

    def _keep_examples(self) -> None:
        every = self.watch.examples_every
        if not every or (self.updates - 1) % every:
            return
        spent = self.meter.spent.samples
        for prompt, text, score in self._shown:
            self.examples.append(
                {"samples": spent, "prompt": prompt, "text": text, "reward": score}
            )


def task_order(n_rows: int, n: int, seed: int) -> np.ndarray:
    """Return n row indices (n,) int64: one shuffle of all rows after another.

    The first m of n are the same for every n, so that a larger budget only adds tasks.
    """
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(n_rows) for _ in range(-(-n // n_rows))]
    return np.concatenate([*rounds, np.zeros(0, np.int64)])[:n].astype(np.int64)


def fell(scores: np.ndarray, best: np.ndarray, margin: float) -> bool:
    """Tell whether the mean of ``scores`` (N,) is under that of ``best`` by ``margin`` errors.

    The standard error is that of the mean difference of the N pairs.
    """
    drop = best - scores
    error = drop.std(ddof=1) / math.sqrt(len(drop)) if len(drop) > 1 else 0.0
    return bool(drop.mean() > margin * error)


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that training changes, by name."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def put_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy named ``weights`` into ``model`` in place."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed the global generators inside the block, and put their states back after it.

    For libraries that draw from them (PEFT's initial weights, transformers' Trainer).
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - theirs, not ours
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


class RunAlgorithm(Watch, CopyAlgorithm):
    """An algorithm whose updates go through a `TrainingRun`; its fields are its settings."""

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
        """Return a better writer; see `CopyAlgorithm.train`."""
        rows, feedback = rows_and_feedback(
            self.name, self.learns_from, tasks, feedback, samples=samples, seed=seed
        )
        run = TrainingRun(
            self.name,
            self.settings(),
            writer,
            rows,
            feedback,
            samples=samples,
            seed=seed,
            folder=folder,
            judge=judge,
            judge_rows=judge_rows,
            on_progress=on_progress,
            watch=self,
        )
        return self.train_in(run, writer)

    def settings(self) -> dict[str, Any]:
        """Return what a checkpoint must share with the run that takes it up, JSON types."""
        return asdict(self)

    @abstractmethod
    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Enter ``run``, make its updates and return what its `TrainingRun.finish` gives.

        Raises:
            UserError: the budget ``run.samples`` is too small for one update.
        """


__all__ = [
    "HELD_OUT",
    "JUDGE",
    "RunAlgorithm",
    "TrainingRun",
    "Watch",
    "fell",
    "isolated_rng",
    "put_weights",
    "task_order",
    "trainable",
]
