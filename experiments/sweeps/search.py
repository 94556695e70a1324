"""Search with Optuna over the jobs of a sweep: a shared study, and pruning between seeds.

A trial runs its seeds one after the other. After each, the mean so far goes to the study, whose
pruner may end the trial. Within a run nothing is pruned: what an agent earns while it learns is
measured in the proxy, and the objective by another judge.

A search has ``n_trials`` places, each with a seed of its own for the sampler, whatever became of
other trials. The process that runs a trial holds a lock; a trial that nobody holds was killed, and
goes on under its number, so that a search that was killed makes the choices of one that was not. A
trial that failed is tried once more with the same values; then its place is given to others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.files import written
from copygym.core.files.locks import Busy, open_lock
from copygym.core.seeds import derived_seed
from copygym.experiments.runs.folder import read_run
from copygym.experiments.studies.build import instantiated
from copygym.experiments.sweeps.job import NOTES, Job, held
from copygym.experiments.sweeps.runner import SweepRunner, swept_keys

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

#: A sampler that unpickles what it finds in a study.
_PICKLES = "CmaEsSampler"
#: What a trial notes of itself in the study: its place, and that it does not count.
_PLACE, _VOID = "place", "void"
#: The last step after which the pruner let it go on: what it says depends on who has ended since.
_PASSED = "passed"
#: So often the same values are tried in a place before it gets others.
_TRIES = 2


@dataclass(frozen=True)
class Options:
    """Keys of ``hydra/sweeper=optuna``; ``conf/hydra/sweeper/optuna.yaml`` says what each means."""

    objective: str
    direction: str
    n_trials: int
    n_jobs: int
    seeds: list[int] | None
    seed: int
    study_name: str
    storage: str | None
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("n_trials", "n_jobs"):
            value = getattr(self, name)
            if not _whole(value) or value < 1:
                raise UserError(f"hydra.sweeper.{name}={value}: give a whole number of 1 or more.")
        if _PICKLES in str(self.sampler):
            raise UserError(
                f"hydra.sweeper.sampler: {_PICKLES} keeps its state pickled in the study, which "
                "would run what a study from elsewhere holds; take optuna.samplers.GPSampler or "
                "optuna.samplers.TPESampler."
            )
        if self.direction not in ("maximize", "minimize"):
            raise UserError(f"hydra.sweeper.direction={self.direction}: give maximize or minimize.")
        if not _whole(self.seed):
            raise UserError(f"hydra.sweeper.seed={self.seed}: give a whole number of 0 or more.")
        seeds = self.seeds
        if seeds is not None and not (
            isinstance(seeds, list) and seeds and all(_whole(seed) for seed in seeds)
        ):
            raise UserError(
                f"hydra.sweeper.seeds={seeds}: give null or a list of whole numbers of 0 or more."
            )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def search(runner: SweepRunner, overrides: Sequence[Override], raw: Mapping[str, Any]) -> None:
    """Run trials until the study has as many as it should.

    Args:
        runner: of the sweep's jobs.
        overrides: the search space, and what all trials share.
        raw: `Options`.

    Raises:
        UserError: Optuna is missing, an option is wrong, or a job failed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError(
            "hydra/sweeper=optuna needs Optuna: pip install 'copygym[sweeps]', or sweep over a "
            "grid."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = [field.name for field in fields(Options)]
    for name in raw:
        if name not in known and not name.startswith("_"):
            raise unknown_name("key of hydra.sweeper", name, ["params", *known])
    options = Options(**{name: raw[name] for name in known})
    _Search(runner, overrides, options).run()


class _Search:
    def __init__(
        self, runner: SweepRunner, overrides: Sequence[Override], options: Options
    ) -> None:
        self.runner = runner
        self.options = options
        self.swept = swept_keys(overrides)
        self.space = {
            o.get_key_element(): distribution(o) for o in overrides if o.is_sweep_override()
        }
        if not self.space:
            raise UserError(
                "there is nothing to search: give hydra.sweeper.params or KEY=interval(LOW,HIGH)."
            )
        self.fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
        if options.seeds is not None:
            if "seed" in self.swept:
                raise UserError("seed is searched over and in hydra.sweeper.seeds: keep one.")
            self.fixed = [line for line in self.fixed if not line.startswith("seed=")]
        self.rungs = [[f"seed={seed}"] for seed in options.seeds] if options.seeds else [[]]

    def run(self) -> None:
        self._check_values()
        self.runner.begin()
        with self._alone():
            study = self._study()
        try:
            # What fails is not tried again in the same call, or a broken config would be for ever.
            begun: set[int] = set()
            while True:
                with ExitStack() as locks:
                    with self._alone():
                        trials = self._claimed(study, begun, locks)
                    if not trials:
                        break
                    self._batch(study, trials)
        finally:
            self.runner.finish(study=self._summary(study))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from choosing: who makes a study's tables, or asks, is alone."""
        with held(self.runner.folder / NOTES / "study.lock", wait=True):
            yield

    def _check_values(self) -> None:
        """Compose the config at each end of the space before anything is started."""
        ends = {key: _ends(values) for key, values in self.space.items()}
        first = {key: values[0] for key, values in ends.items()}
        for key, values in ends.items():
            for value in values:
                self.runner.check(self._overrides({**first, key: value}, self.rungs[0]))

    def _overrides(self, values: Mapping[str, Any], rung: Sequence[str]) -> list[str]:
        chosen = [f"{key}={value}" for key, value in values.items()]
        return [*self.fixed, *chosen, *rung]

    def _study(self) -> Study:
        import optuna
        from optuna.study import StudyDirection

        space = {key: repr(values) for key, values in self.space.items()}
        about = {"space": space, "fixed": self.fixed, "seeds": self.options.seeds or []}
        about |= {"objective": self.options.objective}
        study = optuna.create_study(
            storage=self._storage(),
            study_name=self.options.study_name,
            direction=StudyDirection[self.options.direction.upper()],
            pruner=instantiated(self.options.pruner, "hydra.sweeper.pruner"),
            load_if_exists=True,
        )
        before = study.user_attrs.get("about")
        if before is None or not any(_has_value(t) for t in study.get_trials(deepcopy=False)):
            before = about  # nothing is lost when a first mistake is mended
            study.set_user_attr("about", about)
        for key, value in about.items():
            if before.get(key) != value:
                raise UserError(
                    f"the study {self.options.study_name!r} in {self.runner.folder} has another "
                    f"{key} ({before.get(key)}, now {value}); choose another out= or "
                    "hydra.sweeper.study_name=."
                )
        if study.direction.name.lower() != self.options.direction:
            raise UserError(
                f"the study {self.options.study_name!r} was begun to "
                f"{study.direction.name.lower()}; choose another out= or hydra.sweeper.study_name=."
            )
        return study

    def _storage(self) -> Any:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = self.runner.folder / "study.journal"
        place = self.options.storage or str(journal)
        if self.options.storage is None:
            written.check_inside(journal, self.runner.folder)
        try:
            if "://" in place:
                return optuna.storages.RDBStorage(place)
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(place, _journal_lock(Path(place))))
        except OSError:
            raise
        except Exception as error:
            raise UserError(
                f"hydra.sweeper.storage={place} cannot be opened "
                f"({' '.join(str(error).split())[:200]}); give a file, or sqlite:///FILE."
            ) from error

    def _trial_lock(self, number: int) -> Path:
        return self.runner.folder / NOTES / f"{self.options.study_name}-trial-{number}.lock"

    def _claimed(self, study: Study, begun: set[int], locks: ExitStack) -> list[Trial]:
        """Return the next trials to run, locked for this process; none: nothing is missing.

        Those of a killed process come with the others that were asked for together with them: what
        a sampler chooses depends on which of the trials before had ended.

        Args:
            study: whose trials.
            begun: places that this call has begun; added to.
            locks: takes the trials' locks.
        """
        size = self.options.n_jobs
        for start in range(0, self.options.n_trials, size):
            trials = []
            for place in range(start, min(start + size, self.options.n_trials)):
                found = _places(study)[place]
                if place in begun or found.ended:
                    continue
                begun.add(place)
                if found.running is None:
                    trial = self._ask(study, place, found)
                    locks.enter_context(held(self._trial_lock(trial.number), wait=True))
                else:
                    try:
                        locks.enter_context(held(self._trial_lock(found.running.number)))
                    except Busy:
                        continue  # another process runs it
                    trial = self._adopted(study, place, found)
                    if trial.number != found.running.number:
                        locks.enter_context(held(self._trial_lock(trial.number), wait=True))
                trials.append(trial)
            if trials:
                return trials
        return []

    def _adopted(self, study: Study, place: int, found: _Place) -> Trial:
        """Return the trial of a killed process, as that process had it."""
        from optuna.trial import Trial, TrialState

        running = found.running
        assert running is not None
        trial = Trial(study, running._trial_id)
        if running.params.keys() == self.space.keys():
            return trial
        # Killed as it was asked for: the rest of its values would be drawn as if they were the
        # first, so that all are drawn again.
        trial.set_user_attr(_VOID, True)
        study.tell(running.number, state=TrialState.FAIL, skip_if_finished=True)
        return self._ask(study, place, found)

    def _ask(self, study: Study, place: int, found: _Place) -> Trial:
        again, drawn = len(found.failed) % _TRIES, len(found.failed) // _TRIES
        # A sampler of its own for each place: what became of other trials doesn't move its seed.
        words = ("search", place, drawn) if drawn else ("search", place)
        make = instantiated(self.options.sampler, "hydra.sweeper.sampler")
        study.sampler = make(seed=derived_seed(self.options.seed, *words))
        if again and found.failed[-1].params.keys() == self.space.keys():
            study.enqueue_trial(found.failed[-1].params, user_attrs={_PLACE: place})
        trial = study.ask(self.space)
        trial.set_user_attr(_PLACE, place)
        return trial

    def _batch(self, study: Study, trials: list[Trial]) -> None:
        scores: dict[int, list[float]] = {trial.number: [] for trial in trials}
        for step, rung in enumerate(self.rungs):
            trials = self._rung(study, trials, scores, step, rung)

    def _rung(
        self,
        study: Study,
        trials: Sequence[Trial],
        scores: dict[int, list[float]],
        step: int,
        rung: Sequence[str],
    ) -> list[Trial]:
        """Run one seed of each trial; return the trials that go on."""
        from optuna.trial import TrialState

        keys = [*self.swept, "seed"]
        jobs = [self.runner.job(self._overrides(t.params, rung), keys) for t in trials]
        outcomes = dict(zip(jobs, self.runner.run(list(dict.fromkeys(jobs))), strict=False))
        going = []
        for trial, job in zip(trials, jobs, strict=True):
            if not outcomes[job].finished:
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                continue
            scores[trial.number].append(self._objective(job))
            mean = math.fsum(scores[trial.number]) / len(scores[trial.number])
            before = study.get_trials(deepcopy=False)[trial.number]  # of a killed process
            if step not in before.intermediate_values:
                trial.report(mean, step)
            if step == len(self.rungs) - 1:
                study.tell(trial.number, mean, skip_if_finished=True)
            elif before.user_attrs.get(_PASSED, -1) < step and trial.should_prune():
                study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                trial.set_user_attr(_PASSED, max(step, before.user_attrs.get(_PASSED, -1)))
                going.append(trial)
        return going

    def _objective(self, job: Job) -> float:
        _, result = read_run(job.folder)
        numbers = result.get("summary_numbers") or {}
        name = self.options.objective
        if name not in numbers and name.startswith("learned/") and "learned" in result:
            name = f"{result['learned']}/{name.partition('/')[2]}"
        value = numbers.get(name)
        if value is None:
            raise UserError(
                f"hydra.sweeper.objective={self.options.objective} is no number of "
                f"{job.folder / 'result.json'}: choose one of {', '.join(sorted(numbers))}."
            )
        return float(value)

    def _summary(self, study: Study) -> dict[str, Any]:
        """Return what ``sweep.json`` says of the study."""
        import sys

        from optuna.trial import TrialState

        trials = study.get_trials(deepcopy=False)
        counts = {s.name.lower(): sum(t.state == s for t in trials) for s in TrialState}
        rows: list[dict[str, Any]] = [
            {
                "number": t.number,
                "state": t.state.name.lower(),
                "value": t.value,
                "params": t.params,
                "means": list(t.intermediate_values.values()),
            }
            for t in trials
        ]
        complete = [row for row in rows if row["state"] == "complete"]
        sign = -1 if self.options.direction == "minimize" else 1
        best = max(complete, key=lambda row: sign * row["value"], default=None)
        if best is not None:
            words = " ".join(f"{key}={value}" for key, value in best["params"].items())
            sys.stderr.write(
                f"\ncopygym: best of {len(complete)} complete trials ({counts['pruned']} pruned): "
                f"{self.options.objective} = {best['value']:.6g} with {words}\n"
            )
        return {
            "objective": self.options.objective,
            "direction": self.options.direction,
            "counts": counts,
            "best": best,
            "trials": rows,
        }


@dataclass
class _Place:
    """What became of the trials in one place of a search.

    Attributes:
        ended: whether one has ended with a value.
        running: one that has begun and not ended; whether anybody runs it is for its lock to say.
        failed: those that failed, in their order.
    """

    ended: bool = False
    running: FrozenTrial | None = None
    failed: list[FrozenTrial] = field(default_factory=list)


class _Places(dict[int, _Place]):
    def __missing__(self, place: int) -> _Place:
        self[place] = _Place()
        return self[place]


def _has_value(trial: FrozenTrial) -> bool:
    from optuna.trial import TrialState

    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _places(study: Study) -> _Places:
    """Return what became of a study's trials, by place.

    A trial that notes no place (killed as it was asked for, or of an earlier version) has the first
    that no other one has.
    """
    from optuna.trial import TrialState

    places = _Places()
    trials = [t for t in study.get_trials(deepcopy=False) if not t.user_attrs.get(_VOID)]
    taken = {t.user_attrs[_PLACE] for t in trials if _PLACE in t.user_attrs}
    for trial in trials:
        place = trial.user_attrs.get(_PLACE)
        if place is None:
            if trial.state == TrialState.FAIL:
                continue  # an earlier version asked for its values again
            place = next(n for n in range(len(trials) + 1) if n not in taken)
            taken.add(place)
        if _has_value(trial):
            places[place].ended = True
        elif trial.state == TrialState.RUNNING:
            places[place].running = trial
        elif trial.state == TrialState.FAIL:
            places[place].failed.append(trial)
    return places


class _JournalLock:
    """The lock of a study's journal: the kernel's, which a killed process holds no more.

    Optuna's own are files that a killed process leaves, and the next one waits half a minute.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f".{journal.name}.lock")
        self._stream: Any = None

    def acquire(self) -> bool:
        import fcntl

        stream = open_lock(self._path)
        fcntl.flock(stream, fcntl.LOCK_EX)
        self._stream = stream
        return True

    def release(self) -> None:
        self._stream.close()


def _journal_lock(journal: Path) -> Any:
    """Return the lock of a journal, of which half a last line is cut off.

    None where the system knows no such locks: then Optuna's is taken.
    """
    lock = _JournalLock(journal)
    try:
        lock.acquire()
    except (ImportError, OSError):
        return None
    try:
        if journal.is_file():
            content = journal.read_bytes()
            # A full disk or a power cut; Optuna would read the next line as a part of it.
            if content and not content.endswith(b"\n"):
                os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()
    return lock


def distribution(override: Override) -> BaseDistribution:
    """Return what Optuna draws a swept override's values from.

    Choices stay in Hydra's grammar, so that strings, numbers and lists alike come back as they
    were written.

    Raises:
        UserError: there is nothing to choose from.
    """
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value: Any = override._value
    log = "log" in getattr(value, "tags", ())
    try:
        if isinstance(value, IntervalSweep):
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log=log)
            assert value.start is not None and value.end is not None
            return FloatDistribution(value.start, value.end, log=log)
        if isinstance(value, RangeSweep):
            steps = list(value.range())
            whole = all(isinstance(step, int) for step in steps)
            if whole and not log:
                return IntDistribution(min(steps), max(steps), step=abs(int(value.step)))
            if not log:
                step = abs(float(value.step))
                low = float(min(steps))
                high = round(low + step * (len(steps) - 1), 12)  # free of the sum's rounding
                return FloatDistribution(low, high, step=step)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        said = " ".join(str(error).split()) or "it is empty"
        raise UserError(f"{override.input_line} is no search space: {said}") from None


def _ends(values: BaseDistribution) -> list[Any]:
    choices = getattr(values, "choices", None)
    return list(choices) if choices is not None else [values.low, values.high]  # type: ignore[attr-defined]
