"""``copygym run``: the Hydra app, in one process or as one of several that train a model."""

from __future__ import annotations

from copygym.core.processes import join, serve


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: the config is wrong, or the run found a mistake in what it was given.
    """
    peers = join()
    if not peers.first:
        serve()
        return 0
    from copygym.experiments.app import run_app

    try:
        return run_app(arguments)
    finally:
        peers.dismiss()
