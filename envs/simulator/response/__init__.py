"""Response models: P(click), P(conversion | click), revenue and unsubscribes from a log."""

from copygym.envs.simulator.response.design import ActionEncoder, Actions, Counts, Sizes
from copygym.envs.simulator.response.model import (
    FAMILIES,
    ResponseModel,
    load_response,
    make_response,
)

__all__ = [
    "FAMILIES",
    "ActionEncoder",
    "Actions",
    "Counts",
    "ResponseModel",
    "Sizes",
    "load_response",
    "make_response",
]
