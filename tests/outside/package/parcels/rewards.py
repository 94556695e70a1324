"""A reward's term."""

import numpy as np


def frugal(outcome, price=0.01):
    """Return a click less the price of what was sent."""
    return outcome.click.astype(np.float64) - price * outcome.sent
