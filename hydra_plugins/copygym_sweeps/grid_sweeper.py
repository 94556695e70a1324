"""Every combination of comma-separated values; one job's failure stops no other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_plugins.copygym_sweeps.base_sweeper import BaseSweeper

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from copygym.experiments.sweeps.runner import SweepRunner


class GridSweeper(BaseSweeper):
    """Runs the product of all values.

    Args:
        params: overrides of the sweep itself, key -> values in Hydra's grammar (``0,1,2``,
            ``range(5)``); the command line wins over them.
    """

    def run_jobs(self, runner: SweepRunner, overrides: list[Override]) -> None:
        """Run all jobs that have not finished in the sweep's folder.

        Raises:
            UserError: a value is wrong (no job has run then), or a job failed.
        """
        from copygym.experiments.sweeps.runner import swept_keys

        values = [values_of(override) for override in overrides]
        # Each value once, not each combination: composing a config takes a fifth of a second.
        first = [options[0] for options in values]
        runner.check(first)
        for place, (override, options) in enumerate(zip(overrides, values, strict=True)):
            for option in options[1:]:
                if not runner.check_value(override, option):
                    runner.check([*first[:place], option, *first[place + 1 :]])
        swept = swept_keys(overrides)
        jobs = [runner.job(chosen, swept) for chosen in itertools.product(*values)]
        runner.begin()
        runner.run(list(dict.fromkeys(jobs)))
        runner.finish()
        runner.take_together(swept)


def values_of(override: Override) -> Sequence[str]:
    """Return an override for each of its values.

    Raises:
        UserError: there is none, or they cannot be counted.
    """
    from copygym.core.errors import UserError

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
