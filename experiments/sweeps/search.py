"""Search with Optuna over the jobs of a sweep: a shared study, and pruning between seeds.

A trial runs its seeds one after the other. After each, the mean so far goes to the study, whose
pruner may end the trial. Within a run nothing is pruned: what an agent earns while it learns is
measured in the proxy, and the objective by another judge.

The process that runs a trial holds a lock; a trial that nobody holds was killed, and is asked for
again with the same values, so that its folder goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.locks import Busy
from copygym.core.seeds import derived_seed
from copygym.experiments.runs.folder import read_run
from copygym.experiments.studies.build import instantiated
from copygym.experiments.sweeps.job import NOTES, Job, held
from copygym.experiments.sweeps.runner import SweepRunner, swept_keys

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

#: A sampler that unpickles what it finds in a study.
_PICKLES = "CmaEsSampler"


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
        # One at a time, because two processes that make a database's tables collide.
        with held(self.runner.folder / NOTES / "study.lock", wait=True):
            study = self._study()
            self._adopt(study)
        try:
            # Each failed trial leaves a gap; it is not filled in the same call, or a broken
            # config would be tried for ever.
            for size in _batches(self.options.n_trials - self._taken(study), self.options.n_jobs):
                wanted = min(size, self.options.n_trials - self._taken(study))
                if wanted < 1:
                    break
                self._batch(study, wanted)
        finally:
            self.runner.finish(study=self._summary(study))

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
        if before is None or not self._values(study):
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

        place = self.options.storage or str(self.runner.folder / "study.journal")
        try:
            if "://" in place:
                return optuna.storages.RDBStorage(place)
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(place))
        except OSError:
            raise
        except Exception as error:
            raise UserError(
                f"hydra.sweeper.storage={place} cannot be opened "
                f"({' '.join(str(error).split())[:200]}); give a file, or sqlite:///FILE."
            ) from error

    def _trial_lock(self, number: int) -> Path:
        return self.runner.folder / NOTES / f"{self.options.study_name}-trial-{number}.lock"

    def _adopt(self, study: Study) -> None:
        """Ask again for the values of trials whose process was killed."""
        from optuna.trial import TrialState

        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                with held(self._trial_lock(trial.number)):
                    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                    if trial.params.keys() == self.space.keys():
                        study.enqueue_trial(trial.params)
            except Busy:
                continue

    def _values(self, study: Study) -> int:
        """Return how many trials have ended with a value."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(study.get_trials(deepcopy=False, states=states))

    def _taken(self, study: Study) -> int:
        """Return how many trials have ended with a value, or are at work in any process."""
        from optuna.trial import TrialState

        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return self._values(study) + len(running)

    def _batch(self, study: Study, size: int) -> None:
        from optuna.trial import TrialState

        with ExitStack() as locks:
            trials = []
            for _ in range(size):
                trial = self._ask(study)
                locks.enter_context(held(self._trial_lock(trial.number), wait=True))
                # Another process that began just now may have taken it for a killed one's.
                if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
                    trials.append(trial)
            scores: dict[int, list[float]] = {trial.number: [] for trial in trials}
            for step, rung in enumerate(self.rungs):
                trials = self._rung(study, trials, scores, step, rung)

    def _ask(self, study: Study) -> Trial:
        # A sampler of its own for each trial: a search that was killed and goes on makes the
        # same choices as one that was not.
        number = len(study.get_trials(deepcopy=False))
        make = instantiated(self.options.sampler, "hydra.sweeper.sampler")
        study.sampler = make(seed=derived_seed(self.options.seed, "search", number))
        return study.ask(self.space)

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
            trial.report(mean, step)
            if step == len(self.rungs) - 1:
                study.tell(trial.number, mean, skip_if_finished=True)
            elif trial.should_prune():
                study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
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


def _batches(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, max(total, 0), size)]


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
