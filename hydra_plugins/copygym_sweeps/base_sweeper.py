"""What the sweepers share: they take what Hydra hands over and parse what is swept."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from copygym.experiments.sweeps.runner import SweepRunner


class BaseSweeper(Sweeper):
    """A sweeper whose jobs a `SweepRunner` runs. It is abstract, which Hydra's search skips.

    Args:
        params: overrides of the sweep itself, key -> values in Hydra's grammar; the command line
            wins over them.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params
        self.runner: SweepRunner | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every sweeper."""
        from copygym.experiments.sweeps.runner import SweepRunner

        self.hydra_context = hydra_context
        self.config = config
        self.runner = SweepRunner(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that the command line and the sweep's own overrides ask for.

        Raises:
            UserError: an override is wrong, or what `run_jobs` refuses.
        """
        assert self.runner is not None
        self.run_jobs(self.runner, self.runner.parsed(self.params, arguments))

    @abstractmethod
    def run_jobs(self, runner: SweepRunner, overrides: list[Override]) -> None:
        """Run all jobs of the overrides that have not finished in the sweep's folder."""
