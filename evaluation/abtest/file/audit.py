"""Audit of sample ratios: of one test, or of all tests in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.evaluation.abtest.file.arms import refuse_totals
from copygym.evaluation.abtest.file.reader import read_counts
from copygym.evaluation.abtest.file.table import Columns
from copygym.evaluation.abtest.sample_ratio import SRM_THRESHOLD, named_weights, sample_ratio

#: Units from which an arm that has half of them all is more likely a row of sums.
_MANY = 100


def audited_file(
    path: Path,
    arm: str | None,
    test: str | None,
    impressions: str | None,
    user: str | None,
    separator: str | None = None,
    encoding: str = "utf-8",
    weights: Sequence[float] | Mapping[str, float] | None = None,
) -> dict[str, dict[str, float]]:
    """Return units by arm by test of a file; one nameless test where ``test`` is None.

    Without ``arm`` the column "arm" is taken; in a file that has none, every row is an arm. Arms
    are in the order of `abtest_arms.choose`, the control first. With ``weights``, the planned
    ratio as `audit` takes it, an arm may have as many units as all others together.

    Raises:
        UserError: the file cannot be read, or an arm is a row of sums.
    """
    columns = Columns(arm=arm or "", test=test, impressions=impressions, user=user)
    tests: dict[str, dict[str, float]] = {}
    counted, summed = read_counts(path, columns, separator, encoding)
    for name, arm_name, units in counted.iter_rows():
        tests.setdefault(name, {})[arm_name] = float(units)
    for name, arms in tests.items():
        units_A = np.array(list(arms.values()))
        # Few units may be half of all by chance; users and rows are counted here, and no sums.
        known = weights is not None or units_A.max() < _MANY or not summed
        counts = {} if known else {"units": units_A}
        named = list(weights) if isinstance(weights, Mapping) else []
        refuse_totals(list(arms), counts, partial(_place, path, name), named)
    return tests


def _place(path: Path, test: str, arm: str) -> str:
    """Return where an arm stands, for messages."""
    return f"{path}, test {test!r}" if test else str(path)


def audit(
    tests: Mapping[str, Mapping[str, float]],
    weights: Sequence[float] | Mapping[str, float] | None = None,
    threshold: float = SRM_THRESHOLD,
) -> dict[str, Any]:
    """Check every test with two arms or more; return JSON types.

    Args:
        tests: test -> arm -> units.
        weights: planned ratio in the order of the arms, or by name; None means even.
        threshold: p-value under which a test has a mismatch.

    Raises:
        UserError: no test has two arms, or one that cannot be checked.
    """
    checked: list[dict[str, Any]] = []
    alone = 0
    for name, arms in tests.items():
        if len(arms) < 2:
            alone += 1
            continue
        try:
            ratio = named_weights(weights, list(arms)) if isinstance(weights, Mapping) else weights
            found = sample_ratio(list(arms.values()), ratio, threshold)
        except UserError as error:
            raise UserError(f"test {name!r}: {error}" if name else str(error)) from None
        checked.append(
            {
                "test": name,
                "units": dict(arms),
                "expected": dict(zip(arms, found.expected_A.tolist(), strict=True)),
                "p": found.p,
                "mismatch": found.mismatch,
            }
        )
    if not checked:
        raise UserError("no test has two arms, so there is no ratio to check.")
    flagged = sum(entry["mismatch"] for entry in checked)
    return {
        "tests": checked,
        "checked": len(checked),
        "mismatches": flagged,
        "one_arm_only": alone,
        "threshold": threshold,
    }
