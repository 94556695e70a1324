"""Jobs as Ray tasks, on this machine or on a cluster whose nodes share the sweep's folder.

The published launcher holds cloudpickle below 3, and with it half of the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class RayLauncher(Launcher):
    """Runs each job as one Ray task.

    Args:
        init: arguments of ``ray.init``; ignored where the program is connected already.
        remote: options of the task, such as ``num_cpus`` and ``max_retries``.
    """

    def __init__(self, init: dict[str, Any], remote: dict[str, Any]) -> None:
        self.init = init
        self.remote = remote

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to every launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Run the jobs; one whose worker died is returned as failed.

        Raises:
            UserError: Ray is not installed, or cannot be reached.
        """
        from hydra.core.singleton import Singleton

        from copygym.core.ray_session import ray_session

        with ray_session(
            self.init,
            asked="hydra/launcher=ray",
            instead="choose another launcher",
            option="hydra.launcher.init.address",
        ) as ray:
            task = ray.remote(**self.remote)(_execute)
            # Once into the object store, not once a job.
            shared = ray.put(
                (self.hydra_context, self.config, self.task_function, Singleton.get_state())
            )
            running = [
                task.remote(shared, list(overrides), initial_job_idx + number)
                for number, overrides in enumerate(job_overrides)
            ]
            return [_result(ray, reference) for reference in running]


def _execute(shared: Any, overrides: list[str], number: int) -> JobReturn:
    """Run one job in a worker, as Hydra's own launchers do."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals

    context, config, task_function, state = shared
    setup_globals()
    Singleton.set_state(state)
    job_config = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job_config):
        job_config.hydra.job.id = f"{job_config.hydra.job.name}_{number}"
        job_config.hydra.job.num = number
    HydraConfig.instance().set_config(job_config)
    return run_job(
        hydra_context=context,
        config=job_config,
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _result(ray: Any, reference: Any) -> JobReturn:
    try:
        returned: JobReturn = ray.get(reference)
        return returned
    except ray.exceptions.RayError as error:
        failed = JobReturn(status=JobStatus.FAILED)
        failed.return_value = error
        return failed
