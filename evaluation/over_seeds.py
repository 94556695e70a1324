"""Values of policies over seeds: one number of each, with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from copygym.core.estimates import RESAMPLES
from copygym.evaluation.aggregate import aggregate

#: policy -> metric -> value, of one seed.
Values = Mapping[str, Mapping[str, float | None]]


def estimates(
    runs: Sequence[Values], resamples: int = RESAMPLES, seed: int = 0, statistic: str = "iqm"
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return policy -> metric -> ``{value, low, high}`` over seeds.

    Args:
        runs: one mapping per seed, R >= 2, all with the same policies and metrics; a metric that
            is no number in one of them (the CTR of a policy that sent nothing) is None.
        resamples: of the bootstrap over seeds.
        seed: of the draws.
        statistic: of `aggregate`; "mean" for shares of seeds, whose middle half says little.

    Raises:
        UserError: there is one seed only.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for policy, metrics in runs[0].items():
        found[policy] = {}
        for metric in metrics:
            scores = [run[policy][metric] for run in runs]
            if any(value is None or not np.isfinite(value) for value in scores):
                found[policy][metric] = {"value": None, "low": None, "high": None}
                continue
            scores_R1 = np.array(scores, dtype=np.float64)[:, None]
            (entry,) = aggregate(scores_R1, (statistic,), resamples=resamples, seed=seed).values()
            found[policy][metric] = dict(entry.to_dict())
    return found
