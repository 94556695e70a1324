"""The front door to A/B statistics: two samples to an effect with its interval and p-value."""

from __future__ import annotations

from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.abtest.compare import (
    PLANNED,
    Comparison,
    arms_from_counts,
    arms_from_values,
    compare,
)

_NAMES = ("control", "treatment")


def ab_test(
    control: Any,
    treatment: Any,
    *,
    method: str = "fixed",
    level: float = 0.95,
    planned: int = PLANNED,
) -> Comparison:
    """Compare the means of two samples; of zeros and ones, the rates.

    Args:
        control: (N,) one number for each unit that was randomised (a user, say): clicked or not,
            clicks, revenue. Several rows of one unit are to be added up first.
        treatment: (M,) likewise.
        method: ``fixed`` for one look at the planned size (Welch's test; exact where events are
            few), ``always_valid`` to look as often as one likes.
        level: coverage of the intervals.
        planned: ``always_valid`` only: units of both samples at which its interval is narrowest;
            to be fixed before the test, and any value is valid.

    Returns:
        The comparison: ``difference`` and ``lift`` with intervals, ``p``, and a ``note`` that says
        what to beware of.

    Raises:
        UserError: a sample that is no list of at least two finite numbers, samples that do not
            vary, or an unknown method.
    """
    samples = [_sample(name, v) for name, v in zip(_NAMES, (control, treatment), strict=True)]
    arm = np.repeat([0, 1], [len(sample) for sample in samples])
    arms = arms_from_values(_NAMES, arm, np.concatenate(samples))
    (found,) = compare(arms, level=level, method=method, planned=planned)
    return found


def ab_test_of_counts(
    control: tuple[int, int],
    treatment: tuple[int, int],
    *,
    method: str = "fixed",
    level: float = 0.95,
    planned: int = PLANNED,
) -> Comparison:
    """Compare two rates that are known as counts.

    Args:
        control: units that clicked, and all units, each of which was randomised by itself.
        treatment: likewise.
        method: as in `ab_test`.
        level: as in `ab_test`.
        planned: as in `ab_test`.

    Raises:
        UserError: not two whole numbers each, more clicks than units, or no click at all.
    """
    for name, counts in zip(_NAMES, (control, treatment), strict=True):
        if np.shape(counts) != (2,):
            raise UserError(f"ab_test: {name} is {counts!r}; give (clicks, units).")
    clicks, units = zip(control, treatment, strict=True)
    arms = arms_from_counts(_NAMES, units, clicks)
    (found,) = compare(arms, level=level, method=method, planned=planned)
    return found


def _sample(name: str, values: Any) -> np.ndarray:
    """Return a sample as (N,) float64.

    Raises:
        UserError: it is none.
    """
    try:
        sample = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"ab_test: {name} holds values that are no numbers.") from None
    if sample.ndim != 1:
        raise UserError(
            f"ab_test: {name} has shape {sample.shape}; give one number for each unit, (N,)."
        )
    bad = np.flatnonzero(~np.isfinite(sample))
    if len(bad):
        raise UserError(
            f"ab_test: {name}[{bad[0]}] is {sample[bad[0]]}; give a finite number, 0 for a unit in "
            "which nothing happened."
        )
    return sample
