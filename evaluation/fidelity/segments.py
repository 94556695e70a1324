"""Simulated against real click rates by group of held-out impressions, at the real base rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import unknown_name
from copygym.core.estimates import design_effect, wilson
from copygym.envs.logs.clicklog import ClickLog

#: Features of more levels than this make no segments.
MOST_LEVELS = 12
#: What `group_rates` says of a group.
RATES = ("impressions", "simulated_rate", "real_rate", "rate_ratio", "z", "inside")


def user_segments(
    log: ClickLog, frame: pl.DataFrame, names: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Return the level of each row by user feature, (N,) str each.

    Args:
        log: names its ``user_*`` features.
        frame: N rows of it.
        names: features, with or without ``user_``; None: all with at most 12 levels.

    Raises:
        UserError: the log has no such feature.
    """
    known = log.user_features()
    if names is None:
        wanted = [name for name in known if frame[name].n_unique() <= MOST_LEVELS]
    else:
        wanted = [name if name.startswith("user_") else f"user_{name}" for name in names]
        for name in wanted:
            if name not in known:
                raise unknown_name("entry of evaluation.segments", name, known)
    return {
        name.removeprefix("user_"): frame[name].cast(pl.String).fill_null("unknown").to_numpy()
        for name in wanted
    }


def group_rates(
    predicted: np.ndarray,
    trials: np.ndarray,
    clicks: np.ndarray,
    unit: np.ndarray,
    groups: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Return each group's simulated and real click rate.

    Args:
        predicted: (N,) simulated click probabilities.
        trials: (N,) impressions.
        clicks: (N,) clicks.
        unit: (N,) int independent users.
        groups: kind -> (N,) str, the segment of each row.

    Returns:
        By group: its ``kind`` and ``segment``, and the numbers that `RATES` names: ``impressions``,
        ``simulated_rate``, ``real_rate`` with its 95% Wilson interval (users as clusters),
        ``rate_ratio`` real / simulated with the same interval divided by the simulated rate (None
        where that is 0), ``z``: the gap in standard errors, were the simulated rate right (score
        test, inflated by the design effect), and ``inside``: whether the simulated rate lies in the
        real one's interval. Largest groups come first within a kind.
    """
    found = []
    for kind, names in groups.items():
        rates = [
            _rate(kind, str(segment), rows, predicted, trials, clicks, unit)
            for segment in np.unique(names)
            for rows in [np.flatnonzero(names == segment)]
        ]
        found += sorted(rates, key=lambda rate: (-rate["impressions"], rate["segment"]))
    return found


def _rate(
    kind: str,
    segment: str,
    rows: np.ndarray,
    predicted: np.ndarray,
    trials: np.ndarray,
    clicks: np.ndarray,
    unit: np.ndarray,
) -> dict[str, Any]:
    n, k = trials[rows], clicks[rows]
    total, hits = float(n.sum()), float(k.sum())
    p = float((n * predicted[rows]).sum()) / total
    effect = design_effect(n, k, unit[rows])
    real = wilson(hits, total, effect)
    observed = real.to_dict()
    error = float(np.sqrt(effect * p * (1 - p) / total))
    return {
        "kind": kind,
        "segment": segment,
        "impressions": int(total),
        "simulated_rate": p,
        "real_rate": observed,
        "rate_ratio": {key: value / p for key, value in observed.items()} if p > 0 else None,
        "z": (hits / total - p) / error if error > 0 else 0.0,
        "inside": bool(real.low <= p <= real.high),
    }


def chance_of_worst(z_G: Sequence[float]) -> float:
    """Return how likely a worst gap as large as this is, were every simulated rate right.

    Sidak's ``1 - (1 - p)^G`` with the two-sided normal p of the worst of G groups, as if groups
    shared no impression; where they do, it is larger than the truth.

    Args:
        z_G: the groups' gaps in standard errors.
    """
    from scipy.stats import norm

    p = 2 * float(norm.sf(np.abs(z_G).max()))
    return float(-np.expm1(len(z_G) * np.log1p(-min(p, 1 - 1e-12))))
