"""Every combination of comma-separated values; one job's failure stops no other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from copygym.experiments.sweep_runner import SweepRunner


class GridSweeper(Sweeper):
    """Runs the product of all values.

    Args:
        params: overrides of the sweep itself, key -> values in Hydra's grammar (``0,1,2``,
            ``range(5)``); the command line wins over them.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params
        self.runner: SweepRunner | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every sweeper."""
        from copygym.experiments.sweep_runner import SweepRunner

        self.hydra_context = hydra_context
        self.config = config
        self.runner = SweepRunner(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run all jobs that have not finished in the sweep's folder.

        Raises:
            UserError: a value is wrong (no job has run then), or a job failed.
        """
        from copygym.experiments.sweep_runner import swept_keys

        assert self.runner is not None
        overrides = self.runner.parsed(self.params, arguments)
        values = [values_of(override) for override in overrides]
        # Each value once, not each combination: composing a config takes a fifth of a second.
        first = [options[0] for options in values]
        self.runner.check(first)
        for place, (override, options) in enumerate(zip(overrides, values, strict=True)):
            for option in options[1:]:
                if not self.runner.check_value(override, option):
                    self.runner.check([*first[:place], option, *first[place + 1 :]])
        swept = swept_keys(overrides)
        jobs = [self.runner.job(chosen, swept) for chosen in itertools.product(*values)]
        self.runner.begin()
        self.runner.run(list(dict.fromkeys(jobs)))
        self.runner.finish()


def values_of(override: Override) -> Sequence[str]:
    """Return an override for each of its values.

    Raises:
        UserError: there is none, or they cannot be counted.
    """
    from copygym.envs.errors import UserError

    key = override.get_key_element()
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line} has no end of values: list them, or search with "
            "hydra/sweeper=optuna."
        )
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise UserError(f"{override.input_line} is a sweep over nothing: give it a value.")
    return values
