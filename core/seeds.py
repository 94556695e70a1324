"""Seeds for each purpose of a run."""

from __future__ import annotations

import zlib

import numpy as np


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose of a run, below 2**31.

    Seeds of different purposes are independent, so that adding a stage changes no other one.
    """
    words = [zlib.crc32(str(part).encode()) for part in purpose]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1)[0] >> 1)
