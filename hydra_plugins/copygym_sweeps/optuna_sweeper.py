"""A search by Optuna, whose trials are jobs of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra_plugins.copygym_sweeps.base_sweeper import BaseSweeper

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from copygym.experiments.sweeps.runner import SweepRunner


class OptunaSweeper(BaseSweeper):
    """Searches the space that ``params`` and the command line describe.

    Args:
        params: key -> values in Hydra's grammar: choice, range, interval; ``tag(log, ...)``.
        options: every other key of ``hydra/sweeper=optuna``; see
            `copygym.experiments.sweeps.search.Options`.
    """

    def __init__(self, params: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(params)
        self.options = options

    def run_jobs(self, runner: SweepRunner, overrides: list[Override]) -> None:
        """Run the trials that the study still lacks.

        Raises:
            UserError: Optuna is missing, an option is wrong, or a job failed.
        """
        from copygym.experiments.sweeps.search import search

        search(runner, overrides, self.options)
