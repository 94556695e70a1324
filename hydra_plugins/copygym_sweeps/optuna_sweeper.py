"""A search by Optuna, whose trials are jobs of a sweep."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches the space that ``params`` and the command line describe.

    Args:
        params: key -> values in Hydra's grammar: choice, range, interval; ``tag(log, ...)``.
        options: every other key of ``hydra/sweeper=optuna``; see
            `copygym.experiments.sweep_search.Options`.
    """

    def __init__(self, params: dict[str, Any] | None = None, **options: Any) -> None:
        self.params = params
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every sweeper."""
        from copygym.experiments.sweep_runner import SweepRunner

        self.hydra_context = hydra_context
        self.config = config

        self.runner = SweepRunner(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study still lacks.

        Raises:
            UserError: Optuna is missing, an option is wrong, or a job failed.
        """
        from copygym.experiments.sweep_search import search

        search(self.runner, self.runner.parsed(self.params, arguments), self.options)
