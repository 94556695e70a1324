"""Hydra plugins of copygym: how sweeps choose their jobs, and Ray to launch them.

Hydra finds them in an installed package by itself; `register` also serves editable installs,
whose folders its search does not see. Hydra imports every plugin at each start, for any program
in the environment, so that the modules import nothing heavy.
"""

from __future__ import annotations


def register() -> None:
    """Make the plugins known to Hydra; idempotent."""
    from hydra.core.plugins import Plugins

    from hydra_plugins.copygym_sweeps.grid_sweeper import GridSweeper
    from hydra_plugins.copygym_sweeps.optuna_sweeper import OptunaSweeper
    from hydra_plugins.copygym_sweeps.ray_launcher import RayLauncher

    for plugin in (GridSweeper, OptunaSweeper, RayLauncher):
        Plugins.instance().register(plugin)
