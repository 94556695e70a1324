"""A connection to Ray: a Ray of our own, which only this machine reaches, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from copygym.core.errors import UserError


@contextmanager
def ray_session(init: Mapping[str, Any], *, asked: str, instead: str, option: str) -> Iterator[Any]:
    """Yield the module ``ray``, connected; what was started here ends with the block.

    Args:
        init: arguments of ``ray.init``; ignored where the program is connected already.
        asked: what needs Ray, for the message.
        instead: what to do without it.
        option: the option that holds the address.

    Raises:
        UserError: Ray is not installed, or cannot be reached.
    """
    if init.get("address") == "local":
        # Ray listens on every interface, whatever address it is given, unless it takes this
        # for a machine that cannot join a cluster; it reads the variable when imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError:
        raise UserError(f"{asked} needs Ray: pip install 'copygym[ray]', or {instead}.") from None
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(**init)
        except ConnectionError as error:
            address = init.get("address")
            raise UserError(
                f"{option}={address}: no Ray cluster answers there "
                f"({' '.join(str(error).split())[:200]}); start one, or leave it out."
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
